"""E4-E14: scales, zero points and the bias guard of both quantizers, against the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import affine, scales
from kernels.errors import BadArray, BadRange, NotFinite
from kernels.ranges import INT4, INT8, INT8_NARROW, INT16, INT16_NARROW, UINT8
from qcore.testing.strategies import magnitudes32, scales32
from qcore.testing.strategies.numbers import MAX32, TINY32
from tests import oracle
from tests.kernels.same import assert_same

FLT_MIN = 1.1754943508222875e-38
ASYMMETRIC = st.sampled_from([INT8, UINT8, INT16, INT4])
ex = oracle.exact


@st.composite
def bounds(draw) -> tuple[float, float]:
    """A float32 range: one-sided, symmetric, tiny around the 1e-6 limit, huge, or any."""
    m = draw(magnitudes32())
    other = draw(st.one_of(magnitudes32(), st.just(m), st.just(0.0)))
    near = draw(st.floats(0.0, 3e-6).map(lambda v: float(np.float32(v))))
    lo, hi = draw(
        st.sampled_from(
            [(-m, m), (-m, other), (-other, m), (0.0, m), (-m, 0.0), (m, m), (-m, -m),
             (0.0, near), (-near, near), (-near, FLT_MIN), (-m, FLT_MIN)]
        )
    )  # fmt: skip
    return (lo, hi) if lo <= hi else (hi, lo)


def check(function, oracle_function, groups, *rest):
    """One vectorized call over all groups against the oracle group by group."""
    arrays = [np.array(v) for v in zip(*groups, strict=True)]
    got = function(*arrays, *[r[0] for r in rest])
    want = [oracle_function(*map(ex, g), *[v for r in rest for v in r[1]]) for g in groups]
    if isinstance(got, tuple):
        for part, column in zip(got, zip(*want, strict=True), strict=True):
            assert_same(part, column, function.__name__)
    else:
        assert_same(got, want, function.__name__)


@given(st.lists(bounds(), min_size=1, max_size=8), ASYMMETRIC)
def test_asymmetric(groups, q):
    ends = (q, (q.qmin, q.qmax))
    for widen in ("activation", "constant", "none"):
        check(scales.asymmetric_mlir, oracle.asymmetric_mlir, groups, ends, (widen, (widen,)))
    check(scales.asymmetric_legacy, oracle.asymmetric_legacy, groups, ends)
    got = scales.asymmetric_mlir(*(np.array(v) for v in zip(*groups, strict=True)), q)
    assert got.scale.dtype == np.float32 and got.zero_point.dtype == np.int64
    assert ((q.qmin <= got.zero_point) & (got.zero_point <= q.qmax)).all()


@given(st.lists(bounds(), min_size=1, max_size=8))
def test_int16_and_power_of_two(groups):
    check(scales.activation16_mlir, oracle.activation16_mlir, groups)
    check(scales.activation16_legacy, oracle.activation16_legacy, groups)
    check(scales.power_of_two_mlir, oracle.power_of_two_mlir, groups)
    check(scales.power_of_two_legacy, oracle.power_of_two_legacy, groups)


@given(
    st.lists(magnitudes32(), min_size=1, max_size=8), st.sampled_from([INT8_NARROW, INT16_NARROW])
)
def test_symmetric(values, q):
    groups = [(v,) for v in values]
    check(scales.symmetric_mlir, oracle.symmetric_mlir, groups, (q, (q.qmin, q.qmax)))
    check(scales.symmetric_double, oracle.symmetric_double, groups, (q, (q.qmin, q.qmax)))
    check(scales.symmetric_legacy, oracle.symmetric_legacy, groups, (q, (q.qmax,)))
    check(scales.symmetric_legacy_tensor, oracle.symmetric_legacy_tensor, groups, (q, (q.qmax,)))


@given(scales32(), st.lists(scales32(), min_size=1, max_size=8))
def test_bias_scale(s_in, s_w):
    with np.errstate(over="ignore", under="ignore"):
        got = scales.bias_scale(s_in, np.float32(s_w))
    assert_same(got, [oracle.bias_scale(ex(s_in), ex(s)) for s in s_w])


@st.composite
def guarded(draw):
    """Bias, input scale and weight magnitude; the bias often at the limit of the guard."""
    s_in = draw(scales32().filter(lambda s: 1e-20 < s < 1e20))
    m = draw(st.one_of(magnitudes32(1e15), st.floats(2.0**-10, 10, width=16)))
    weight = max(m, 5e-7) / 127
    limit = (2**30 - 1) * s_in * weight
    b = draw(
        st.one_of(
            st.sampled_from([0.0, limit, np.nextafter(limit, 0), limit * 1.0000001, limit * 9]),
            magnitudes32(1e30),
        )
    )
    sign = draw(st.sampled_from([-1, 1]))
    return sign * float(np.float32(min(b, MAX32))), s_in, float(np.float32(m))


@pytest.mark.parametrize("per_tensor", [False, True])
@given(case=guarded())
def test_bias_guards(per_tensor, case):
    b, s_in, m = case
    weight = scales.symmetric_mlir(np.array([m]), INT8_NARROW)
    with np.errstate(over="ignore", under="ignore"):
        got = scales.bias_guard_mlir(np.array([b]), s_in, weight, per_tensor)
    want = oracle.bias_guard_mlir(ex(b), ex(s_in), ex(weight[0]), per_tensor)
    for part, value in zip(got, want, strict=True):
        assert_same(part, [value], "mlir")
    got = scales.bias_guard_legacy(np.array([b]), s_in, np.array([m]), per_tensor)
    want = oracle.bias_guard_legacy(ex(b), ex(s_in), ex(m), per_tensor)
    for part, value in zip(got, want, strict=True):
        assert_same(part, [value], "legacy")


def test_guard_takes_the_largest_bias_of_a_tensor():
    bias = np.float32([1.0, -3e9, 5.0])
    one = scales.bias_guard_mlir(bias, 1.0, np.float32([1.0]), per_tensor=True)
    two = scales.bias_guard_mlir(bias[1:2], 1.0, np.float32([1.0]), per_tensor=True)
    assert one.raised.tolist() == [True] and one.weight_scale == two.weight_scale
    each = scales.bias_guard_mlir(bias, 1.0, np.ones(3, np.float32))
    assert each.raised.tolist() == [False, True, False]
    assert each.weight_scale[[0, 2]].tolist() == [1.0, 1.0]


@given(case=guarded())
def test_guarded_bias_stays_within_half_of_int32(case):
    """P: after the guard, |integer| <= 2^30, one float32 step above the limit at most (E14)."""
    b, s_in, m = case
    bias = np.array([b], np.float32)
    mlir = scales.bias_guard_mlir(bias, s_in, scales.symmetric_mlir(np.array([m]), INT8_NARROW))
    if 1e-30 < mlir.bias_scale[0] < 1e30:
        assert abs(int(affine.encode_bias(bias, mlir.bias_scale)[0])) <= 2**30 + 128


# --- what the measurements say (twin of the official converter, tensorflow 2.21) ------------------


@pytest.mark.parametrize(
    ("lo", "hi", "mlir", "legacy"),
    [
        (0.0, FLT_MIN, (7.843137e-09, 0), (4.6099e-41, -128)),
        (1.0, 1.0, (0.003921569, -128), (0.003921569, -128)),
        (-1.0, -1.0, (0.003921569, 127), (0.003921569, 127)),
        (0.0, float(np.float32(1e-6)), (1.176e-08, -43), (3.92e-09, -128)),
        (-3e38, 3e38, (np.inf, -128), (np.inf, -128)),
    ],
)
def test_measured_degenerate_ranges(lo, hi, mlir, legacy):
    for function, want in ((scales.asymmetric_mlir, mlir), (scales.asymmetric_legacy, legacy)):
        scale, zero_point = function(lo, hi, INT8)
        assert scale[0] == pytest.approx(want[0], rel=1e-3) and zero_point[0] == want[1]


def test_measured_constants():
    scale, zero_point = scales.asymmetric_mlir(0.7, 0.7, INT8, widen="constant")
    assert scale[0] == np.float32(0.002745098) and zero_point[0] == -128
    assert scales.symmetric_legacy(np.float32(0.7), INT8_NARROW)[0] == np.float32(0.005511811)
    assert scales.symmetric_mlir(0.0, INT8_NARROW)[0] == np.float32(3.937008e-09)
    assert scales.symmetric_legacy(0.0, INT8_NARROW)[0] == 0
    assert scales.symmetric_legacy_tensor(0.0, INT8_NARROW)[0] == 1
    assert scales.symmetric_double(1e-9, INT8_NARROW)[0] == 1e-6 / 254
    for m in (0.3, 1.0, 7.7e-4):
        assert scales.symmetric_mlir(np.float32(m), INT8_NARROW)[0] == np.float32(m) / np.float32(
            127
        )


def test_symmetric_ranges_split_the_two_quantizers():
    """E7: the true zero point of [-m, m] is -1/2; which way noise tips it differs."""
    m = np.random.default_rng(1).uniform(0.01, 10, 20_000).astype(np.float32).astype(np.float64)
    mlir, legacy = (f(-m, m, INT8) for f in (scales.asymmetric_mlir, scales.asymmetric_legacy))
    assert (mlir.scale == legacy.scale).all()
    assert set(mlir.zero_point) == set(legacy.zero_point) == {-1, 0}
    assert 0.4 < (mlir.zero_point == -1).mean() < 0.6 < 0.8 < (legacy.zero_point == -1).mean() < 0.9


def test_zero_is_exact():
    """E4: quantize(0) is the zero point and dequantizes to 0, for every range."""
    rng = np.random.default_rng(2)
    lo = rng.uniform(-5, 3, 500)
    hi = lo + rng.uniform(0, 5, 500)
    for function in (scales.asymmetric_mlir, scales.asymmetric_legacy):
        scale, zero_point = function(lo, hi, INT8)
        q = affine.quantize(np.zeros(500, np.float32), scale, zero_point, INT8)
        assert (q == zero_point).all()
        assert (affine.dequantize(q, scale, zero_point) == 0).all()


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: scales.asymmetric_mlir(np.nan, 1.0, INT8), NotFinite),
        (lambda: scales.asymmetric_legacy(0.0, np.inf, INT8), NotFinite),
        (lambda: scales.asymmetric_mlir(1.0, 0.0, INT8), BadRange),
        (lambda: scales.asymmetric_mlir(0.0, 1.0, INT8, widen="both"), BadRange),
        (lambda: scales.asymmetric_mlir(np.zeros((2, 2)), np.ones((2, 2)), INT8), BadArray),
        (lambda: scales.symmetric_mlir(-1.0, INT8_NARROW), NotFinite),
        (lambda: scales.symmetric_legacy(np.nan, INT8_NARROW), NotFinite),
        (lambda: scales.bias_guard_mlir(np.ones(3), 1.0, np.ones(2)), BadArray),
        (lambda: scales.bias_guard_legacy(np.ones(3), 1.0, np.ones(1)), BadArray),
        (lambda: scales.bias_guard_mlir(np.array([np.inf]), 1.0, np.ones(1)), NotFinite),
        (lambda: scales.bias_guard_legacy(np.array([np.nan]), 1.0, np.ones(1)), NotFinite),
    ],
)
def test_refused(call, error):
    with pytest.raises(error):
        call()


def test_scalars_are_one_group():
    assert scales.asymmetric_mlir(-1.0, 1.0, INT8).scale.shape == (1,)
    assert scales.symmetric_double(TINY32, INT8_NARROW).dtype == np.float64


def test_the_comparison_can_fail():
    with pytest.raises(AssertionError):
        check(scales.symmetric_legacy, lambda m, q: oracle.symmetric_legacy(m, q + 1), [(0.3,)],
              (INT8_NARROW, (127,)))  # fmt: skip
