"""Numbers one at a time, as jitted loops take them, against the same functions on arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kernels import fixedpoint as fp
from kernels import rounding, scalar
from kernels.fixedpoint import INT32_MAX, INT32_MIN
from kernels.ranges import INT8, INT16, UINT8
from kernels.stage import Rule, Stage, requantize
from qcore.testing.strategies import scales32

int32 = st.one_of(
    st.sampled_from([INT32_MIN, INT32_MIN + 1, -1, 0, 1, INT32_MAX - 1, INT32_MAX]),
    st.integers(-300, 300),
    st.integers(INT32_MIN, INT32_MAX),
    st.builds(lambda k, n: (2 * k + 1) << n, st.integers(-8, 7), st.integers(0, 27)),  # ties
)
int64 = st.one_of(int32, st.integers(-(2**46), 2**46))
# Powers of two and simple ratios make ties; the rest is what models have.
factors = st.one_of(
    st.integers(-31, 6).map(lambda e: 2.0**e),
    st.builds(lambda n, e: n * 2.0**e, st.sampled_from([3.0, 5.0, 0.75]), st.integers(-20, 4)),
    st.floats(2.0**-31, 64.0),
    st.floats(0.9999, 1.0001),
)


def equal(one: Callable[..., Any], many: Callable[..., Any], values: list[Any], *rest: Any) -> None:
    """`one` on each value is `many` on all of them."""
    want = many(np.array(values), *rest)
    got = np.array([one(v, *rest) for v in values])
    assert values and (got == want).all(), (one.__name__, rest, got[got != want], want[got != want])


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=9))
def test_wrap(values: list[int]) -> None:
    equal(scalar.wrap32, fp.wrap32, values)
    equal(scalar.wrap16, fp.wrap16, values)


@given(int32, int32, int32)
def test_clip(x: int, a: int, b: int) -> None:
    lo, hi = sorted((a, b))
    assert scalar.clip(x, lo, hi) == np.clip(x, lo, hi)


@given(int64, int64.filter(bool))
@example(-7, 2)
@example(7, -2)
@example(INT32_MIN, -1)
def test_cdiv(a: int, b: int) -> None:
    whole = abs(a) // abs(b)
    assert scalar.cdiv(a, b) == (whole if (a < 0) == (b < 0) else -whole)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@given(data=st.data())
def test_roundings_of_floats(kind: type, data: st.DataObject) -> None:
    width = 32 if kind is np.float32 else 64
    edges = [0.5, -0.5, 1.5, -2.5, 8388607.5 if width == 32 else 4503599627370495.5]
    near = [np.nextafter(kind(e), kind(s)) for e in edges for s in (0, np.inf, -np.inf)]
    value = data.draw(
        st.one_of(
            st.sampled_from([kind(e) for e in edges] + near),
            st.floats(-(2.0**60), 2.0**60, width=width),
            st.integers(-(2**22), 2**22).map(lambda n: n / 2),
        )
    )
    x = kind(value)
    if kind is np.float64:
        assert scalar.half_away64(x) == rounding.half_away(x)
        return
    assert scalar.half_away32(x) == rounding.half_away(x)


@given(st.lists(int32, min_size=1, max_size=9), int32, st.integers(0, 31))
@example([INT32_MIN], INT32_MIN, 31)
@example([-3, -1, 1, 3, -6, 6], 2**30, 1)
def test_high_product_and_shifts(values: list[int], other: int, exponent: int) -> None:
    equal(scalar.rdhm, fp.rdhm, values, other)
    equal(scalar.pot_away, fp.pot_away, values, exponent)
    equal(scalar.pot_up, fp.pot_up, values, exponent)


@given(st.lists(int32, min_size=1, max_size=9), factors)
@example([INT32_MIN, INT32_MAX], 1.0)
@example([-1, 1, -3, 3], 0.5)
@example([INT32_MAX], 2.0**6)
def test_factors(values: list[int], factor: float) -> None:
    multiplier, shift = (int(v) for v in fp.quantize_multiplier(factor))
    equal(scalar.dbl, fp.multiply_double, values, multiplier, shift)
    equal(scalar.up, fp.multiply_up, values, multiplier, shift)
    equal(scalar.single, fp.multiply_single, values, multiplier, shift)
    equal(scalar.float64, fp.multiply_float64, values, factor)


@given(st.lists(int64, min_size=1, max_size=9), factors)
@example([2**46, -(2**46)], 1.0 - 2.0**-40)
def test_wide_accumulators(values: list[int], factor: float) -> None:
    multiplier, shift = (int(v) for v in fp.quantize_multiplier(factor))
    reduced = int(fp.reduce_multiplier(multiplier))
    want = fp.multiply_int64(np.array(values), multiplier, shift)
    assert [scalar.m64(v, reduced, shift) for v in values] == want.tolist()


@given(st.lists(int32, min_size=1, max_size=9), scales32().filter(lambda s: s < 256), st.data())
def test_xnnpack(values: list[int], scale: float, data: st.DataObject) -> None:
    q = data.draw(st.sampled_from([INT8, UINT8]))
    zero_point = data.draw(st.integers(q.qmin, q.qmax))
    low = data.draw(st.integers(q.qmin, q.qmax))
    rest = np.float32(scale), zero_point, low, q.qmax
    equal(scalar.xf, fp.requantize_xnnpack, values, *rest)


@pytest.mark.parametrize("rule", Rule, ids=lambda rule: rule.name)
@given(
    rows=st.lists(int32, min_size=20, max_size=40),
    few=st.lists(factors, min_size=1, max_size=3),
    data=st.data(),
)
def test_stage(rule: Rule, rows: list[int], few: list[float], data: st.DataObject) -> None:
    """`requantize` in a loop over channels is `Stage.__call__` on the array, by every rule."""
    q = data.draw(st.sampled_from([INT8, UINT8, INT16]))
    zero_point = 0 if q is INT16 else data.draw(st.integers(q.qmin, q.qmax))
    clamp = sorted(data.draw(st.tuples(*[st.integers(q.qmin, q.qmax)] * 2)))
    channels = data.draw(st.sampled_from([1, 7, 8, 9, 17, 20]))
    per_channel = data.draw(st.booleans())
    factor = [few[c % len(few)] for c in range(channels)] if per_channel else few[0]
    stage = Stage.of(rule, factor, zero_point, (clamp[0], clamp[1]), q)
    acc = np.array(rows[: len(rows) // channels * channels], np.int64).reshape(-1, channels)
    p = stage.parameters(channels)
    got = [[requantize(v, c, p) for c, v in enumerate(row)] for row in acc]
    want = stage(acc)
    assert acc.size and want.dtype == q.dtype
    assert (np.array(got) == want).all(), (rule, factor, acc[np.array(got) != want])


def test_a_wrong_rule_is_seen() -> None:
    """The accumulators above do tell the rules apart."""
    acc = np.array([[-6, -2, 2, 6]])
    made = {
        rule: tuple(Stage.of(rule, 0.25, 0, (-128, 127), INT8)(acc)[0].tolist())
        for rule in (Rule.DBL, Rule.UP, Rule.XF)
    }
    assert len(set(made.values())) == 3, made
    with pytest.raises(AssertionError):
        equal(scalar.dbl, fp.multiply_up, [-6, -2], 2**30, -1)
