"""Strategies of numbers: they are what they promise, they occur, and they shrink."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from kernels import fixedpoint as fp
from kernels.ranges import INT4, INT8, INT16, INT32, UINT8
from kernels.stage import Rule
from qcore.errors import BadInput
from qcore.testing import strategies as qs
from qcore.testing.strategies import numbers
from tests import oracle

RULES = st.sampled_from(list(Rule))
QUICK = settings(database=None, phases=(Phase.generate, Phase.shrink), max_examples=2000)
BRIEF = settings(database=None, phases=[Phase.generate], max_examples=5, report_multiple_bugs=False)
HALF = Fraction(1, 2)


def is_float32(value: float) -> bool:
    return float(np.float32(value)) == value and np.isfinite(value)


def halfway(x: Fraction) -> bool:
    return x.denominator == 2


def is_tie(x: int, multiplier: int, shift: int, rule: Rule, step: int) -> bool:
    """Whether the exact value that is rounded at this step is halfway, by fractions alone."""
    if rule is Rule.M64:
        reduced = int(fp.reduce_multiplier(multiplier))
        return halfway(Fraction(x * reduced) / Fraction(2) ** (15 - shift))
    factor = Fraction(multiplier) * Fraction(2) ** (shift - 31)
    if rule is Rule.XF:
        factor = oracle.f32(factor)
        return oracle.f32(oracle.f32(Fraction(x)) * factor) == x * factor and halfway(x * factor)
    if rule is Rule.F64:
        return oracle.f64(x * factor) == x * factor and halfway(x * factor)
    if rule is Rule.SGL:
        return halfway(x * factor)
    left = x << max(shift, 0)
    if not -(2**31) <= left < 2**31:
        return False
    if step == 0:
        return halfway(Fraction(left * multiplier, 2**31))
    return halfway(Fraction(oracle.rdhm(left, multiplier)) / 2 ** max(-shift, 0))


# --- they are what they promise -------------------------------------------------------------------


@given(st.data())
def test_ranges_and_zero_points(data):
    q = data.draw(qs.int_ranges())
    assert 2 <= q.bits <= 16
    assert q.qmin <= data.draw(qs.zero_points(q)) <= q.qmax
    assert data.draw(qs.int_ranges(["int4"])) == INT4


@given(st.data())
def test_floats_are_float32(data):
    scale = data.draw(qs.scales32())
    assert is_float32(scale) and scale > 0
    assert 0.25 <= data.draw(qs.scales32(0.25, 3.0)) <= 3.0
    power = data.draw(qs.powers_of_two32(-149, 127))
    assert is_float32(power) and power > 0
    beside = [np.nextafter(np.float32(power), np.float32(e)) for e in (0.0, np.inf)]
    with np.errstate(over="ignore"):
        assert any(np.frexp(np.float64(v))[0] == 0.5 for v in (power, *beside))
    assert np.frexp(data.draw(qs.powers_of_two32(neighbours=False)))[0] == 0.5
    magnitude = data.draw(qs.magnitudes32(100.0))
    assert is_float32(magnitude) and 0 <= magnitude <= 100
    assert abs(data.draw(qs.finite32(8.0))) <= 8


@given(st.data())
def test_near_ties_are_near_ties(data):
    scale = data.draw(qs.scales32(2.0**-100, 2.0**100))
    for ulps in (0, 2):
        x = np.float32(data.draw(qs.near_ties32(scale, 140, ulps)))
        n = np.round(float(x) / scale - 0.5)
        tie = np.float32((n + 0.5) * scale)
        steps = abs(int(x.view(np.int32)) - int(tie.view(np.int32)))
        assert steps <= ulps, (x, tie)


@given(st.data())
def test_weights_are_float32_arrays(data):
    scale = data.draw(qs.scales32())
    x = data.draw(qs.weights_for(scale))
    assert x.dtype == np.float32 and 1 <= x.size <= 12 and not np.isnan(x).any()
    assert np.isfinite(data.draw(qs.weights_for(2.0**-5, infinite=False))).all()


@given(st.integers(2, 4).flatmap(qs.tied_scales))
def test_tied_scales_make_exact_ties(scales):
    assert all(is_float32(s) and s > 0 for s in scales)
    *inputs, output = (Fraction(s) for s in scales)
    product = Fraction(1)
    for s in inputs:
        product *= s
        assert oracle.f32(product) == product
    ratio = product / output
    k = ratio.denominator.bit_length() - 1
    assert ratio.denominator == 2**k and 1 <= k <= 8
    assert halfway(ratio * 2 ** (k - 1)) and halfway(-3 * ratio * 2 ** (k - 1))


@given(st.data())
def test_ties_are_ties(data):
    rule = data.draw(RULES)
    multiplier, shift = data.draw(qs.multipliers()), data.draw(qs.shifts(rule))
    lo, hi = numbers._bounds(rule)
    for step in (0, 1):
        found = qs.ties(multiplier, shift, rule, step)
        if not found.is_empty:
            x = data.draw(found)
            assert lo <= x <= hi
            assert is_tie(x, multiplier, shift, rule, step), (x, multiplier, shift, rule, step)


def test_the_tie_test_can_fail():
    """Beside a tie there is none, and what is one for a rule is none for another."""
    m = 3 * 2**29
    for rule, step in ((Rule.DBL, 0), (Rule.DBL, 1), (Rule.SGL, 0), (Rule.F64, 0), (Rule.XF, 0)):
        x = find(qs.ties(m, -1, rule, step), lambda x: True, settings=QUICK)
        assert is_tie(x, m, -1, rule, step)
        assert not is_tie(2 * x, m, -1, rule, step)
    assert is_tie(2, 2**30, 1, Rule.DBL, 0) is False
    assert qs.ties(0, 0).is_empty and qs.ties(2**30, 0, Rule.DBL, 1).is_empty
    assert qs.ties(m, -1, Rule.SGL, 1).is_empty


def test_ties_are_found_wherever_they_are():
    """Against a search through small accumulators, for factors that have ties among them."""
    for rule in (Rule.DBL, Rule.SGL, Rule.F64, Rule.XF):
        for multiplier in (2**30, 3 * 2**29, 5 * 2**28):
            for shift in (-5, -1, 0, 3):
                for step in (0, 1):
                    there = {
                        x for x in range(-300, 300)
                        if (step == 0 or rule is Rule.DBL)
                        and is_tie(x, multiplier, shift, rule, step)
                    }  # fmt: skip
                    strategy = qs.ties(multiplier, shift, rule, step)
                    if not there:
                        assert strategy.is_empty or abs(_first(strategy)) >= 300
                    else:
                        assert abs(_first(strategy)) == min(map(abs, there))


def _first(strategy: st.SearchStrategy[int]) -> int:
    return find(strategy, lambda x: True, settings=settings(QUICK, max_examples=20))


@given(qs.ties(0x5A3D70A4, -6, Rule.DBL, 1))
def test_second_ties_split_the_rules(x):
    """Away from zero and up differ at negative ties of the second step, and only there."""
    double, up = (int(f(x, 0x5A3D70A4, -6)) for f in (fp.multiply_double, fp.multiply_up))
    assert double == (up - 1 if x < 0 else up)


@given(st.data())
def test_accumulators_are_in_range(data):
    rule = data.draw(RULES)
    multiplier, shift = data.draw(qs.multipliers()), data.draw(qs.shifts(rule))
    x = data.draw(qs.accumulators(multiplier, shift, rule, data.draw(qs.int_ranges())))
    bits = 47 if rule is Rule.M64 else 31
    assert -(2**bits) <= x < 2**bits
    assert 0 <= multiplier < 2**31 and -31 <= shift <= 30
    assert -(2**31) <= data.draw(qs.int32s()) < 2**31


BROKEN = {
    "int_ranges": (lambda *names: st.just(INT32), test_ranges_and_zero_points),
    "zero_points": (lambda q: st.just(q.qmax + 1), test_ranges_and_zero_points),
    "scales32": (lambda *ends: st.just(0.1), test_floats_are_float32),
    "powers_of_two32": (lambda *ends, **more: st.just(3.0), test_floats_are_float32),
    "magnitudes32": (lambda limit: st.just(-1.0), test_floats_are_float32),
    "finite32": (lambda limit: st.just(9.0), test_floats_are_float32),
    "near_ties32": (lambda *given: st.just(0.0), test_near_ties_are_near_ties),
    "weights_for": (lambda *a, **b: st.just(np.float32([np.nan])), test_weights_are_float32_arrays),
    "ties": (lambda *given: st.just(1), test_ties_are_ties),
    "accumulators": (lambda *given: st.just(2**47), test_accumulators_are_in_range),
    "multipliers": (lambda: st.just(-1), test_accumulators_are_in_range),
    "shifts": (lambda rule: st.just(31), test_accumulators_are_in_range),
    "int32s": (lambda: st.just(2**31), test_accumulators_are_in_range),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_wrong_number_would_be_seen(name, monkeypatch):
    broken, test = BROKEN[name]
    monkeypatch.setattr(qs, name, broken)
    with pytest.raises((AssertionError, ValueError)):
        BRIEF(given(st.data())(test.hypothesis.inner_test))()


def test_wrong_ratios_would_be_seen():
    for scales in ((0.1, 0.2), (3.0, 1.0), (1.0, 3.0), (1.0, 2.0**9)):
        with pytest.raises(AssertionError):
            test_tied_scales_make_exact_ties.hypothesis.inner_test(scales)


@pytest.mark.parametrize("rule", list(Rule), ids=lambda r: r.name)
def test_accumulators_reach_what_hurts(rule):
    m, shift = 3 * 2**29, -4
    made = qs.accumulators(m, shift, rule, INT8, zero_point=-3)
    lo, hi = numbers._bounds(rule)
    factor = Fraction(m) * Fraction(2) ** (shift - 31)
    wanted = [
        lambda x: x == lo,
        lambda x: x == hi,
        lambda x: is_tie(x, m, shift, rule, 0),
        lambda x: x < 0 and is_tie(x, m, shift, rule, 0),
        lambda x: is_tie(x + 1, m, shift, rule, 0),
        # int8's end, and one that only a tie's rounding keeps inside
        lambda x: abs(x * factor - 130) <= factor / 2,
        lambda x: 0 < abs(abs(x * factor + 125) - HALF) <= factor,
    ]
    if rule in (Rule.DBL, Rule.UP, Rule.MIX8, Rule.MIX16):
        wanted.append(lambda x: is_tie(x, m, shift, rule, 1) and not is_tie(x, m, shift, rule, 0))
    for condition in wanted:
        assert condition(find(made, condition, settings=QUICK))


def test_a_left_shift_overflows():
    edge = find(qs.accumulators(2**30 + 5, 9), lambda x: x << 9 > 2**31 - 1, settings=QUICK)
    assert edge == 2**22


# --- they shrink ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strategy", "condition", "least"),
    [
        (qs.int_ranges(), lambda q: True, INT8),
        (qs.int_ranges(), lambda q: q.qmin == 0, UINT8),
        (qs.int_ranges(), lambda q: q.bits > 8 and not q.narrow, INT16),
        (qs.zero_points(INT8), lambda z: True, 0),
        (qs.zero_points(INT8), lambda z: z > 5, 6),
        (qs.finite32(), lambda x: True, 0.0),
        (qs.finite32(), lambda x: x < -2.5, -3.0),
        (qs.scales32(), lambda s: True, 1.0),
        (qs.scales32(), lambda s: s > 7, 8.0),
        (qs.scales32(), lambda s: s < 2.0**-126, None),
        (qs.powers_of_two32(), lambda p: True, 1.0),
        (qs.magnitudes32(), lambda m: True, 0.0),
        (qs.near_ties32(0.25), lambda x: True, 0.125),
        (qs.near_ties32(0.25), lambda x: x < -1, -1.125),
        (qs.weights_for(0.25).map(list), lambda w: True, [0.125]),
        (qs.weights_for(0.25).map(list), lambda w: np.isinf(w).any(), [np.inf]),
        (qs.tied_scales(2), lambda s: True, (1.0, 2.0)),
        (qs.tied_scales(3), lambda s: s[0] != 1, None),
        (qs.int32s(), lambda x: x > 1 << 20, (1 << 20) + 1),
        (qs.multipliers(), lambda m: m > 0, 2**30),
        (qs.shifts(), lambda s: True, 0),
        (qs.ties(2**30, -3), lambda x: True, 1),
        (qs.ties(3 * 2**29, -3, Rule.SGL), lambda x: x < 0, -16),
        (qs.accumulators(3 * 2**29, -3), lambda x: True, 0),
        (qs.accumulators(3 * 2**29, -3), lambda x: is_tie(x, 3 * 2**29, -3, Rule.DBL, 1), 5),
        (qs.accumulators(2**30, 0, Rule.M64), lambda x: x >= 2**31, 2**31),
    ],
)
def test_shrinks(strategy, condition, least):
    found = find(strategy, condition, settings=QUICK)
    assert condition(found)
    if least is not None:
        assert found == least


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: qs.int_ranges(["int9"]), "int9; known are: int2"),
        (lambda: qs.int_ranges([]), "no integer range to draw"),
        (lambda: find(qs.tied_scales(1), lambda s: True), "at least 2"),
    ],
)
def test_refused(call, words):
    with pytest.raises(BadInput, match=words):
        call()
