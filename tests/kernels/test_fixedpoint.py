"""E22-E28: multipliers and every rule that applies one, against the oracle."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import fixedpoint as fp
from kernels.errors import BadRange, NotFinite
from kernels.ranges import INT8
from kernels.stage import Rule
from kernels.trace import tracing
from qcore.testing.strategies import accumulators, int32s, multipliers, scales32, shifts
from tests import oracle
from tests.kernels.same import assert_same

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1


@st.composite
def cases(draw, rule=Rule.DBL):
    multiplier, shift = draw(multipliers()), draw(shifts(rule))
    x = draw(st.lists(accumulators(multiplier, shift, rule), min_size=1, max_size=16))
    return x, multiplier, shift


@given(
    st.one_of(
        st.floats(0, 2.0**40, allow_subnormal=True),
        st.floats(2.0**-34, 2.0**-30),
        st.builds(lambda n, e, d: (n + 0.5 * d) * 2.0 ** (e - 31), st.integers(2**30, 2**31),
                  st.integers(-33, 20), st.integers(-1, 1)),
        st.floats(-8, 8),
    )
)  # fmt: skip
def test_quantize_multiplier(factor):
    multiplier, shift = fp.quantize_multiplier(np.array([factor]))
    m, s = oracle.quantize_multiplier(Fraction(factor))
    if m == -(2**31):  # the official carry looks at +2^31 only, and -2^30 * 2 is the same number
        assert (int(multiplier[0]), int(shift[0])) == (m, s)
    assert_same(multiplier, [m])
    assert_same(shift, [s])


def test_quantize_multiplier_by_hand():
    factors = np.array([0.0, 1.0, 0.5, 1 - 2.0**-40, 2.0**-32, 2.0**-33, 3.0, -0.75])
    multiplier, shift = fp.quantize_multiplier(factors)
    assert multiplier.tolist() == [
        0, 2**30, 2**30, 2**30, 2**30, 0, 3 * 2**29, -3 * 2**29,
    ]  # fmt: skip
    assert shift.tolist() == [0, 1, 0, 1, -31, 0, 2, 0]
    assert [a.ndim for a in fp.quantize_multiplier(0.3)] == [0, 0]


def test_a_carry_moves_the_shift_and_comes_before_the_flush():
    shifts = np.arange(-34, 20)
    multiplier, shift = fp.quantize_multiplier((1 - 2.0**-40) * 2.0**shifts)
    kept = shifts + 1 >= -31
    assert multiplier.tolist() == np.where(kept, 2**30, 0).tolist()
    assert shift.tolist() == np.where(kept, shifts + 1, 0).tolist()


def test_ends_of_int32():
    assert (fp.INT32_MIN, fp.INT32_MAX) == (INT32_MIN, INT32_MAX)


@given(st.lists(st.tuples(int32s(), int32s()), min_size=1, max_size=20))
def test_rdhm(pairs):
    a, b = (np.array(v, np.int32) for v in zip(*pairs, strict=True))
    got = fp.rdhm(a, b)
    assert_same(got, [oracle.rdhm(*p) for p in pairs])
    assert_same(got, [oracle.rdhm_by_steps(*p) for p in pairs])


def test_rdhm_saturates_once():
    assert fp.rdhm(INT32_MIN, INT32_MIN) == INT32_MAX
    assert fp.rdhm(INT32_MIN, INT32_MAX) == -INT32_MAX


@given(st.lists(int32s(), min_size=1, max_size=20), st.integers(0, 31))
def test_shifts(x, e):
    array = np.array(x)
    assert_same(fp.pot_away(array, e), [oracle.pot_away(v, e) for v in x], "away")
    assert_same(fp.pot_up(array, e), [oracle.pot_up(v, e) for v in x], "up")


def test_shift_ties_differ_only_below_zero():
    x = np.arange(-8, 9)
    away, up = fp.pot_away(x, 1), fp.pot_up(x, 1)
    assert x[away != up].tolist() == [-7, -5, -3, -1]


@given(cases())
def test_double_up_and_mixed(case):
    x, m, s = case
    array = np.array(x, np.int32)
    double = [oracle.multiply_double(v, m, s) for v in x]
    up = [oracle.multiply_up(v, m, s) for v in x]
    assert_same(fp.multiply_double(array, m, s), double, f"DBL {m} {s}")
    assert_same(fp.multiply_up(array, m, s), up, f"UP {m} {s}")
    for lanes in (1, 4, 8):
        edge = len(x) // lanes * lanes
        got = fp.multiply_mixed(array, m, s, lanes)
        assert_same(got, up[:edge] + double[edge:], f"MIX{lanes}")


@given(cases(Rule.SGL))
def test_single(case):
    x, m, s = case
    got = fp.multiply_single(np.array(x), m, s)
    assert_same(got, [oracle.multiply_single(v, m, s) for v in x])


def test_double_and_single_differ():
    """E26: 3 * 0.4999.. style double rounding: the first rounding makes the tie of the second."""
    m, s = 2**31 - 1, -1
    assert int(fp.multiply_double(3, m, s)) == 2
    assert int(fp.multiply_single(3, m, s)) == 1


@given(st.lists(int32s(), min_size=1, max_size=16), st.floats(0, 0.9), st.integers(-9, 9))
def test_float64(x, factor, n):
    for f in (factor, 2.0**n, 0.5, 1 / 3):
        got = fp.multiply_float64(np.array(x), f)
        assert_same(got, [oracle.multiply_float64(v, Fraction(f)) for v in x])


@given(cases(Rule.M64))
def test_int64_accumulators(case):
    x, m, s = case
    got = fp.multiply_int64(np.array(x), m, s)
    assert_same(got, [oracle.multiply_int64(v, m, s) for v in x])


def test_reduced_multiplier():
    m = np.array([2**30, 2**30 + 2**15 - 1, 2**30 + 2**15, 0x7FFEFFFF, 0x7FFF0000, 2**31 - 1])
    assert fp.reduce_multiplier(m).tolist() == [16384, 16384, 16385, 32767, 32767, 32767]


@given(st.lists(int32s(), min_size=1, max_size=16), scales32(), scales32(), scales32(),
       st.integers(-128, 127))  # fmt: skip
def test_xnnpack(x, one, two, out, zero_point):
    exact = [oracle.exact(v) for v in (one, two, out)]
    scale = oracle.xnnpack_scale(*exact)
    with np.errstate(over="ignore", under="ignore"):
        ours = fp.xnnpack_scale(one, two, out)
    assert_same(ours, [scale])
    for s in (ours, np.float32(0.5), np.float32(2.0**-7)):
        if not 0 < s < np.inf:
            continue
        with np.errstate(over="ignore", under="ignore"):
            got = fp.requantize_xnnpack(np.array(x), s, zero_point, -128, 127)
        e = oracle.exact(s)
        want = [oracle.requantize_xnnpack(v, e, zero_point, -128, 127) for v in x]
        assert_same(got, want, f"scale {s}")


ACTIVATIONS = {"none": (-np.inf, np.inf), "relu": (0.0, np.inf), "relu6": (0.0, 6.0),
               "relu_n1_to_1": (-1.0, 1.0)}  # fmt: skip


@pytest.mark.parametrize("name", ACTIVATIONS)
@given(scale=st.one_of(st.floats(2.0**-12, 8.0, width=32), st.sampled_from([4.0, 12.0, 2.0])),
       zero_point=st.integers(-128, 127))  # fmt: skip
def test_activation_ranges(name, scale, zero_point):
    lo, hi = ACTIVATIONS[name]
    args = (oracle.exact(lo), oracle.exact(hi), oracle.exact(scale), zero_point, -128, 127)
    got = fp.activation_range(lo, hi, scale, zero_point, INT8)
    assert got == oracle.activation_range(*args)
    got = fp.activation_range_xnnpack(lo, hi, scale, zero_point, INT8)
    assert got == oracle.activation_range_xnnpack(*args)


def test_activation_ranges_differ_at_a_tie():
    """Measured: RELU6 with scale 4: 6 / 4 is a tie, rounded before or after the zero point."""
    assert fp.activation_range(0.0, 6.0, 4.0, 1, INT8) == (1, 3)
    assert fp.activation_range_xnnpack(0.0, 6.0, 4.0, 1, INT8) == (1, 2)
    assert fp.activation_range(0.0, 6.0, 4.0, -3, INT8)[1] == -1
    assert fp.activation_range_xnnpack(0.0, 6.0, 4.0, -3, INT8)[1] == -2
    assert fp.activation_range(0.0, 1.0, 1.0, 127, INT8) == (127, 127)


def test_rules_differ_at_a_negative_tie():
    """-3 * 0.5 = -1.5: the same accumulator and factor, one line a rule."""
    m, s = (int(v) for v in fp.quantize_multiplier(0.5))
    assert int(fp.multiply_double(-3, m, s)) == -1  # first rounding, ties up
    assert int(fp.multiply_double(-6, m, s - 1)) == -2  # second rounding, ties away
    assert int(fp.multiply_up(-6, m, s - 1)) == -1
    assert int(fp.multiply_single(-3, m, s)) == -1
    assert int(fp.multiply_float64(-3, 0.5)) == -2
    assert int(fp.requantize_xnnpack(-3, np.float32(0.5), 0, -128, 127)) == -2  # to even
    assert int(fp.requantize_xnnpack(-5, np.float32(0.5), 0, -128, 127)) == -2


def test_per_channel_arrays_broadcast():
    x = np.arange(-50, 50).reshape(4, 25) * 1001
    multiplier, shift = fp.quantize_multiplier(np.linspace(0.001, 0.1, 25))
    got = fp.multiply_double(x, multiplier, shift)
    one = [fp.multiply_double(x[:, c], multiplier[c], shift[c]) for c in range(25)]
    assert (got == np.stack(one, axis=1)).all()
    first = fp.multiply_mixed(x.T, multiplier[:, None], shift[:, None], 8, axis=0)
    assert (first.T == fp.multiply_mixed(x, multiplier, shift, 8)).all()


def test_left_shifts_of_32_and_more():
    """Scalar code counts them modulo 32, vector code shifts everything out."""
    x, m = np.array([3, -5, 2**31 - 1]), 2**30
    for shift in range(32, 70):
        low = fp.multiply_double(x, m, shift % 32)
        assert (fp.multiply_double(x, m, shift) == low).all()
        assert fp.multiply_up(x, m, shift).tolist() == [0, 0, 0]
        assert fp.multiply_mixed(x, m, shift, 2).tolist() == [0, 0, int(low[2])]
    assert fp.multiply_double(x, m, 33).tolist() == [3, -5, -1]
    assert fp.multiply_up(x, m, 31).tolist() == [-(2**30), -(2**30), -(2**30)]


def test_counts_of_the_64_bit_rule_go_modulo_64():
    x, m = np.array([3, -5, 2**40 + 1, -(2**46)]), 2**31 - 1

    def wrap(v, bits):
        return (v + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1)

    for shift in range(-31, 80):
        half, total = wrap(1 << ((14 - shift) % 64), 64), (15 - shift) % 64
        want = [wrap(wrap(int(v) * 32767 + half, 64) >> total, 32) for v in x]
        with tracing() as steps:
            assert fp.multiply_int64(x, m, shift).tolist() == want, shift
        assert int(steps[0].exact[1]) == wrap(1 << total, 64)


def test_products_beyond_int64_saturate():
    x = np.array([INT32_MAX, INT32_MIN, 1, -1, 3])
    assert fp.multiply_float64(x, 2.0**70).tolist() == [2**62, -(2**62)] * 2 + [2**62]
    assert fp.multiply_float64(x[2:], 2.0**61).tolist() == [2**61, -(2**61), 2**62]


def test_wraps():
    assert int(fp.wrap32(2**31)) == INT32_MIN and int(fp.wrap32(-(2**31) - 1)) == INT32_MAX
    assert int(fp.wrap16(40000)) == 40000 - 65536


@pytest.mark.parametrize("factor", [np.nan, np.inf, -np.inf])
def test_bad_factors(factor):
    with pytest.raises(NotFinite, match="quantize_multiplier"):
        fp.quantize_multiplier(factor)


def test_bad_lanes():
    with pytest.raises(BadRange, match="lanes"):
        fp.multiply_mixed(np.zeros(3), 1, 0, 0)


UP, AWAY, EVEN = "ties up", "ties away", "ties to even"
NOTES = {
    "rdhm": (lambda: fp.rdhm(3, 2**30), [(f"high product, {UP}", 2, "E23", (3 << 30, 1 << 31))]),
    "pot_away": (
        lambda: fp.pot_away(np.array([-3, -6]), np.array([1, 2])),
        [(f"right shift, {AWAY}", [-2, -2], "E24", ([-3, -6], [2, 4]))],
    ),
    "pot_up": (
        lambda: fp.pot_up(np.array([-3, -6]), np.array([1, 2])),
        [(f"right shift, {UP}", [-1, -1], "E24", ([-3, -6], [2, 4]))],
    ),
    "single": (
        lambda: fp.multiply_single(3, 2**30, -1),
        [(f"one rounding, {UP}", 1, "E26", (3 << 30, 1 << 32))],
    ),
    "float64": (
        lambda: fp.multiply_float64(-3, 0.5),
        [(f"float64 product, {AWAY}", -2, "E27", (-1.5, 1))],
    ),
    "int64": (
        lambda: fp.multiply_int64(3, 2**30, -1),
        [(f"16-bit multiplier, {UP}", 1, "E26", (3 << 14, 1 << 16))],
    ),
    "xnnpack": (
        lambda: fp.requantize_xnnpack(-3, np.float32(0.5), 0, -128, 127),
        [(f"float32 product, {EVEN}", -2, "E28", (-1.5, 1))],
    ),
    "quantize_multiplier": (
        lambda: fp.quantize_multiplier(3.0),
        [("multiplier", 3 << 29, "E22", None), ("shift", 2, "E22", None)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NOTES)
def test_what_a_rounding_notes_for_explain(name):
    """Its result, and the exact value as a fraction: numerator and denominator."""
    call, want = NOTES[name]
    with tracing() as steps:
        call()

    def plain(exact):
        return None if exact is None else tuple(np.asarray(part).tolist() for part in exact)

    assert [(s.name, s.value.tolist(), s.equation, plain(s.exact)) for s in steps] == want


def test_the_comparison_can_fail():
    with pytest.raises(AssertionError):
        assert_same(
            fp.multiply_up(np.array([-6]), 2**30, -1), [oracle.multiply_double(-6, 2**30, -1)]
        )
