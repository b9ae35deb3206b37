"""E2: the named roundings, exhaustively where that is possible."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.errors import BadArray, KernelError
from kernels.rounding import ROUNDINGS, below_half, by_name, half_away, half_up
from tests import oracle
from tests.kernels.same import assert_identical, assert_same

FLOATS = (np.float16, np.float32, np.float64)


def naive_half_away(x: np.ndarray) -> np.ndarray:
    """The usual wrong one (E2.2): the checks below must be able to tell it from the right one."""
    return np.copysign(np.floor(np.abs(x) + x.dtype.type(0.5)), x)


def critical(dtype: type) -> np.ndarray:
    """n + 1/2 and both neighbours for every n where such values exist, up to 2^23 of them."""
    digits = np.finfo(dtype).nmant
    if digits <= 23:
        half = np.arange(2 ** (digits - 1), dtype=np.float64) + 0.5
    else:
        low = np.arange(1 << 12, dtype=np.float64)
        powers = 2.0 ** np.arange(digits)
        half = np.concatenate([low, powers, powers - 1, powers + low[1]]) + 0.5
    half = half.astype(dtype)
    around = [half, np.nextafter(half, dtype(0)), np.nextafter(half, dtype(np.inf))]
    ends = np.array([0, 0.25, 2**digits - 1, 2**digits, 2**digits + 1, 2 ** (digits + 1) - 1])
    values = np.concatenate([*around, ends[ends < float(np.finfo(dtype).max)].astype(dtype)])
    return np.concatenate([values, -values])


def expected_half_away(x: np.ndarray) -> np.ndarray:
    """Independent of the implementation: split off the fraction, which is exact, and compare it."""
    whole = np.trunc(x)
    return whole + np.copysign((np.abs(x - whole) >= 0.5).astype(x.dtype), x)


@pytest.mark.parametrize("dtype", FLOATS)
def test_half_away_on_every_critical_value(dtype):
    x = critical(dtype)
    got, want = half_away(x), expected_half_away(x)
    assert got.dtype == dtype and x.size > 1000
    assert (got == want).all(), x[got != want][:5]


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_critical_values_reveal_the_naive_formula(dtype):
    x = critical(dtype)
    wrong = x[naive_half_away(x) != expected_half_away(x)]
    assert np.nextafter(dtype(0.5), dtype(0)) in wrong


@pytest.mark.parametrize("name", ROUNDINGS)
def test_every_float16(name):
    x = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    x = x[np.isfinite(x)]
    got = ROUNDINGS[name](x)
    assert_same(got, [oracle.ROUNDINGS[name](oracle.exact(v)) for v in x], name)
    assert (np.signbit(got) == np.signbit(x)).all()


def test_every_float32_half_away(depth):
    """All 2^32 on --depth deep (also run once by hand: 0 differ); a stride of them otherwise."""
    step = 1 << 23
    for start in range(0, 0x7F800000, step if depth > 1 else 7 * step):
        x = np.arange(start, start + step, 1 if depth > 1 else 16, dtype=np.uint32)
        x = x.view(np.float32)
        x = x[np.isfinite(x)]
        exact = x.astype(np.float64)
        want = np.where(exact >= 2.0**24, exact, np.floor(exact + 0.5)).astype(np.float32)
        assert (half_away(x) == want).all() and (half_away(-x) == -want).all(), hex(start)


@pytest.mark.parametrize("name", ROUNDINGS)
@given(x=st.floats(allow_nan=False, allow_infinity=False), n=st.integers(-(2**53), 2**53))
def test_float64_is_the_oracle(name, x, n):
    for value in (x, n + 0.5, np.nextafter(n + 0.5, 0.0), np.nextafter(n + 0.5, np.inf)):
        got = ROUNDINGS[name](np.array([value]))
        assert_same(got, [oracle.ROUNDINGS[name](oracle.exact(value))], name)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ROUNDINGS)
def test_special_values_pass_through(name, dtype):
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, -0.25], dtype)
    want = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, -0.0], dtype)
    assert_identical(ROUNDINGS[name](x), want, name)


@pytest.mark.parametrize("name", ROUNDINGS)
def test_in_place_and_scalar(name):
    x = np.array([-2.5, -0.5, 0.5, 1.5])
    want = ROUNDINGS[name](x.copy())
    assert ROUNDINGS[name](x, out=x) is x
    assert_identical(x, want)
    assert float(ROUNDINGS[name](np.float32(3.75))) in (3.0, 4.0)


def test_known_traps():
    assert half_away(np.float64(0.49999999999999994)) == 0.0
    assert half_away(np.float64(2.0**52 + 1)) == 2.0**52 + 1
    assert half_up(np.float64(-1.5)) == -1.0
    assert below_half(np.dtype(np.float32)) == np.float32(0.49999997)


def test_refusals():
    assert by_name("half_even") is ROUNDINGS["half_even"]
    with pytest.raises(KernelError, match="half_away, half_even"):
        by_name("nearest")
    with pytest.raises(BadArray, match="int64"):
        half_away(np.array([1], np.int64))
    for other in (np.bool_, np.uint8, np.complex64):
        with pytest.raises(BadArray, match="needs a float array"):
            half_away(np.array([1], other))
