"""E1, E3, E15-E19: the affine map and the converter's encoders, bit for bit against the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import affine, blocks
from kernels.errors import BadArray, BadRange, NotFinite
from kernels.ranges import (
    INT4,
    INT8,
    INT8_NARROW,
    INT16,
    INT16_NARROW,
    INT32,
    INT64,
    UINT8,
    IntRange,
)
from kernels.rounding import ROUNDINGS
from qcore.testing.strategies import finite32, magnitudes32, scales32, weights_for
from tests import oracle
from tests.kernels.same import assert_identical, assert_same

RANGES = st.sampled_from([INT8, INT8_NARROW, INT4, UINT8, INT16, INT16_NARROW])
NARROW = st.sampled_from([INT8_NARROW, INT16_NARROW, INT8])


def zero_points(q):
    return st.integers(q.qmin, q.qmax)


# --- against the oracle ---------------------------------------------------------------------------


@pytest.mark.parametrize("rounding", ROUNDINGS)
@given(data=st.data())
def test_quantize(rounding, data):
    q = data.draw(st.one_of(RANGES, st.just(INT32)))
    scale, zero_point = data.draw(scales32()), data.draw(zero_points(q))
    x = data.draw(weights_for(scale))
    got = affine.quantize(x, np.float32(scale), zero_point, q, ROUNDINGS[rounding])
    assert got.dtype == q.dtype
    want = [
        oracle.quantize(
            oracle.exact(v), oracle.exact(scale), zero_point, q.qmin, q.qmax,
            rounding=oracle.ROUNDINGS[rounding],
        )
        for v in x
    ]  # fmt: skip
    assert_same(got, want, f"quantize {rounding} {q}")


@given(data=st.data())
def test_quantize_float64(data):
    scale, zero_point = data.draw(scales32()), data.draw(zero_points(INT8))
    x = data.draw(weights_for(scale)).astype(np.float64) * (1 + 2**-40)
    got = affine.quantize(x, scale, zero_point, INT8)
    want = [
        oracle.quantize(
            oracle.exact(v), oracle.exact(scale), zero_point, -128, 127, form=oracle.FLOAT64
        )
        for v in x
    ]
    assert_same(got, want)


@given(data=st.data())
def test_quantize_int64_saturates(data):
    scale = data.draw(scales32())
    far = np.minimum([2.0**62 * scale, 2.0**63 * scale], 3e38).astype(np.float32)
    x = np.append(data.draw(weights_for(scale)), far)
    got = affine.quantize(x, np.float32(scale), 0, INT64)
    limit = 2**63 - 1
    want = [oracle.quantize(oracle.exact(v), oracle.exact(scale), 0, -limit, limit) for v in x]
    assert_same(got, want)


@pytest.mark.parametrize("q", [INT8, UINT8, INT16, INT32, INT64], ids=str)
@given(data=st.data())
def test_dequantize(q, data):
    values = data.draw(st.lists(st.integers(q.qmin, q.qmax), min_size=1, max_size=12))
    scale = data.draw(scales32())
    zero_point = data.draw(zero_points(q)) if q.bits <= 32 else 0
    array = np.array(values, q.dtype)
    for dtype, form in ((np.float32, oracle.FLOAT32), (np.float64, oracle.FLOAT64)):
        got = affine.dequantize(array, np.float32(scale), zero_point, dtype)
        assert got.dtype == dtype
        want = [oracle.dequantize(v, oracle.exact(scale), zero_point, form) for v in values]
        assert_same(got, want, f"{q} {dtype}")
    wide = affine.dequantize(array, np.float64(scale), zero_point)
    assert_identical(wide, affine.dequantize(array, np.float32(scale), zero_point))


def test_differences_of_int64_are_exact_before_they_are_floats():
    values = np.array([2**53 + 1, -(2**53) - 1, 2**60 + 1])
    got = affine.dequantize(values, np.float64(1), np.array([1, -1, 1]), np.float64)
    assert got.tolist() == [2.0**53, -(2.0**53), 2.0**60]


def test_a_scale_in_float64_is_not_made_float32():
    values = np.arange(-128, 128).astype(np.int8)
    want = (values * 0.1).astype(np.float32)
    assert_identical(affine.dequantize(values, np.float64(0.1), 0), want)
    assert (affine.dequantize(values, np.float32(0.1), 0) != want).any()


@pytest.mark.parametrize("q", [INT8, INT8_NARROW, INT4, UINT8, INT16], ids=str)
@pytest.mark.parametrize("beyond", [0.5, 1.0, 1.5, 2.0])
def test_one_value_just_beyond_an_end(q, beyond):
    """The quick look whether anything has to be clipped is exact at both ends."""
    for end, value in ((q.qmax, q.qmax + beyond), (q.qmin, q.qmin - beyond)):
        for x in (np.float32([1, value]), np.float32([value])):
            want = [1, end][-len(x) :]
            assert affine.encode_double(x, 1.0, 0, q).tolist() == want
            assert affine.encode_double(x - 1, 1.0, 1, q).tolist() == want
            assert affine.encode_double(x, np.ones(x.shape), 0, q).tolist() == want
            assert affine.encode_inverse32(x, 1.0, q).tolist() == want
            assert affine.quantize(x, np.float32(1), 0, q).tolist() == want


def test_nothing_is_quantized_to_nothing():
    for shape in ((0,), (0, 3), (3, 0)):
        x = np.zeros(shape, np.float32)
        assert affine.quantize(x, np.float32(1), 0, INT8).shape == shape
        assert affine.dequantize(x.astype(np.int8), np.float32(1), 0).shape == shape
        assert affine.encode_double(x, 1.0, 0, INT8).shape == shape


def test_zero_points_that_float32_does_not_have():
    for z in (2**24 + 1, -(2**24) - 1, 2**31 - 1):
        got = affine.dequantize(np.array([0, 2, -3], np.int8), np.float32(1), z, np.float32)
        assert got.tolist() == [float(np.float32(v - z)) for v in (0, 2, -3)]


@pytest.mark.parametrize(
    ("q", "zero_point"), [(INT16, 0), (INT16, 5), (INT8, 3000), (INT8, 300_000)], ids=str
)
def test_large_steps_need_float64(q, zero_point, rng):
    """Ties far from 0 in steps: float32 is wrong by more than the quick way allows for."""
    scale = rng.uniform(0.01, 0.02, (50, 1))
    ties = (
        rng.integers(-32000, 32000, (50, 400)) if q is INT16 else rng.integers(-120, 120, (50, 400))
    )
    w = ((ties + 0.5 - zero_point) * scale).astype(np.float32)
    want = np.clip(ROUNDINGS["half_away"](w / scale + zero_point), q.qmin, q.qmax)
    got = affine.encode_double(w, scale, zero_point, q)
    assert_identical(got, want.astype(q.dtype))
    with np.errstate(over="ignore"):
        quick = np.rint(w * (1 / scale).astype(np.float32) + np.float32(zero_point))
    assert (quick != want).any()


def test_a_zero_point_far_outside_needs_float64(rng):
    """Near ties, but not on them: those the quick way would look at again."""
    scale = rng.uniform(0.01, 0.02, (50, 1))
    steps = rng.integers(-120, 120, (50, 400)) + rng.uniform(0.495, 0.505, (50, 400))
    w = ((steps - 30_000) * scale).astype(np.float32)
    want = np.clip(ROUNDINGS["half_away"](w / scale + 30_000), INT8.qmin, INT8.qmax)
    assert_identical(affine.encode_double(w, scale, 30_000, INT8), want.astype(np.int8))


@pytest.mark.parametrize("ends", [(0, 30000), (-30000, 0)], ids=str)
def test_a_range_with_one_far_end_needs_float64(ends, rng):
    q = IntRange(*ends, np.dtype(np.int16))
    scale = rng.uniform(0.01, 0.02, (50, 1))
    w = ((rng.integers(*ends, (50, 400)) + 0.5) * scale).astype(np.float32)
    want = np.clip(ROUNDINGS["half_away"](w / scale), *ends)
    assert_identical(affine.encode_double(w, scale, 0, q), want.astype(np.int16))
    assert (np.rint(w * (1 / scale).astype(np.float32)) != want).any()


def test_a_scale_changed_by_just_the_limit_is_not_changed():
    w = np.float32([1e-30, -1e-30])
    got = affine.encode_tensor_mlir(w, w[0], affine.ADJUSTED, INT8_NARROW)
    assert got.tolist() == [127, -127]
    more = np.nextafter(affine.ADJUSTED, 1)
    assert affine.encode_tensor_mlir(w, w[0], more, INT8_NARROW).tolist() == [0, 0]


@pytest.mark.usefixtures("small_blocks")
def test_float16_goes_on_after_a_piece_that_is_clipped():
    w = np.repeat(np.float32([1e9, 1.5, -1e9, 2.5]), 64)
    want = np.repeat(np.float16([65504, 1.5, -65504, 2.5]), 64)
    assert_identical(affine.encode_float16(w, out=np.zeros(w.shape, np.float16)), want)


def test_float16_is_rounded_once():
    """5 * scale is just above a tie of float16, and in float32 the tie itself."""
    scale = np.float32(np.ceil((1 + 2.0**-11) * 2**26 / 5) / 2**26)
    assert np.float32(5) * scale == 1 + 2.0**-11 < 5 * float(scale)
    got = affine.dequantize(np.array([5, -5], np.int8), scale, 0, np.float16)
    assert got.tolist() == [1 + 2.0**-10, -1 - 2.0**-10]


@given(data=st.data())
def test_encode_inverse32(data):
    q = data.draw(NARROW)
    scale = data.draw(st.one_of(scales32(), st.just(0.0)))
    w = data.draw(weights_for(scale or 1.0, infinite=False))
    got = affine.encode_inverse32(w, scale, q)
    want = [
        oracle.encode_inverse32(oracle.exact(v), oracle.exact(scale), q.qmin, q.qmax) for v in w
    ]
    assert_same(got, want)


@given(data=st.data())
def test_encode_max32(data):
    q = data.draw(NARROW)
    m = data.draw(magnitudes32())
    w = data.draw(weights_for(m / q.qmax or 1.0, infinite=False))
    got = affine.encode_max32(w, m, q)
    want = [oracle.encode_max32(oracle.exact(v), oracle.exact(m), q.qmin, q.qmax) for v in w]
    assert_same(got, want)


@given(data=st.data())
def test_encode_double(data):
    q = data.draw(RANGES)
    zero_point = data.draw(zero_points(q))
    stored, exact = scales32(), magnitudes32().map(lambda m: m / 127)
    scale = data.draw(st.one_of(stored, exact, st.just(0.0), st.floats(1e-9, 1e3)))
    w = data.draw(weights_for(scale or 1.0, infinite=scale != 0))
    got = affine.encode_double(w, scale, zero_point, q)
    want = [
        oracle.encode_double(oracle.exact(v), oracle.exact(scale), zero_point, q.qmin, q.qmax)
        for v in w
    ]
    assert_same(got, want)


@given(data=st.data())
def test_encode_tensor_mlir(data):
    m = data.draw(magnitudes32(2.0**20))
    own = m / 127 if m else 1.0
    scale = own + data.draw(st.sampled_from([0.0, 1e-9, 9.9e-4, 1e-3, 1.01e-3, 0.3]))
    w = data.draw(weights_for(scale, infinite=False))
    got = affine.encode_tensor_mlir(w, m, scale, INT8_NARROW)
    want = [
        oracle.encode_tensor_mlir(oracle.exact(v), oracle.exact(m), oracle.exact(scale), -127, 127)
        for v in w
    ]
    assert_same(got, want)


@pytest.mark.parametrize("q", [INT32, INT64], ids=str)
@given(data=st.data())
def test_encode_bias(q, data):
    tiny = st.sampled_from([0.0, 1e-45, 1e-39, 3e-39]).map(lambda v: float(np.float32(v)))
    scale = data.draw(st.one_of(scales32(), tiny))
    some = st.one_of(
        finite32(),
        st.integers(-(2**33), 2**33).map(lambda n: n * scale),
        st.sampled_from([float("inf"), float("-inf"), 0.0]),
    )
    with np.errstate(over="ignore"):
        bias = np.array(data.draw(st.lists(some, min_size=1, max_size=12))).astype(np.float32)
    got = affine.encode_bias(bias, scale, q)
    want = [oracle.encode_bias(oracle.exact(v), oracle.exact(scale), q.bits) for v in bias]
    assert got.dtype == q.dtype
    assert_same(got, want)


def test_steps_beside_the_ends_of_int64_saturate():
    """A zero point added to them would wrap in int64."""
    x = np.array([2.0**63 - 1024, 1e19, 2.0**40, -(2.0**40), -1e19, 1024 - 2.0**63])
    for q in (INT32, IntRange(-(2**29), 2**29 - 1, np.dtype(np.int32))):
        for zero_point in (q.qmax, q.qmin):
            got = affine.quantize(x, 1.0, zero_point, q)
            assert got.tolist() == [q.qmax] * 3 + [q.qmin] * 3


@pytest.mark.filterwarnings("error")
def test_a_bias_that_saturates_gives_no_warning():
    bias = np.float32([np.inf, 3e38, -3e38, -np.inf])
    for q in (INT32, INT64):
        assert affine.encode_bias(bias, 1.0, q).tolist() == [q.qmax] * 2 + [q.qmin] * 2


def test_a_bias_of_scale_0_is_0_and_one_of_a_scale_without_inverse_saturates():
    bias = np.float32([1.5, -2, 0, np.inf])
    assert affine.encode_bias(bias, 0.0).tolist() == [0, 0, 0, 0]
    assert affine.encode_bias(bias[:3], 1e-45).tolist() == [INT32.qmax, INT32.qmin, 0]
    mixed = affine.encode_bias(bias[:3], np.float32([0.5, 0, 0.5]))
    assert mixed.tolist() == [3, 0, 0]


@given(data=st.data())
def test_requantize_constant(data):
    values = data.draw(st.lists(st.integers(-128, 127), min_size=1, max_size=12))
    scale, new = data.draw(scales32()), data.draw(scales32())
    z, new_z = data.draw(zero_points(INT8)), data.draw(zero_points(INT8))
    got = affine.requantize_constant(
        np.array(values, np.int8), np.float32(scale), z, np.float32(new), new_z
    )
    s, n = oracle.exact(scale), oracle.exact(new)
    want = [oracle.requantize_constant(v, s, z, n, new_z, -128, 127) for v in values]
    assert_same(got, want)


@given(st.lists(st.one_of(st.floats(width=32), st.floats(-(2.0**-13), 2.0**-13, width=32),
                          st.floats(-65536, 65536, width=32)), min_size=1))  # fmt: skip
def test_encode_float16(values):
    w = np.array(values, np.float32)
    got = affine.encode_float16(w)
    assert got.dtype == np.float16
    assert_same(got, [oracle.encode_float16(oracle.exact(v)) for v in w])


def test_float16_ties_and_ends():
    w = np.float32(
        [2049, 2051, 65504, 65519, 65520, np.inf, -1e9, 2.0**-25, 1.5 * 2.0**-24, np.nan]
    )
    got = affine.encode_float16(w)
    want = [2048, 2052, 65504, 65504, 65504, 65504, -65504, 0, 2.0**-23, np.nan]
    assert_identical(got, np.float16(want))


# --- what makes the encoders different ------------------------------------------------------------


def test_the_encoders_are_not_the_same_function():
    """E17: on weights close to a tie each pair differs by one somewhere, so none is another."""
    rng = np.random.default_rng(5)
    m = rng.uniform(0.1, 3, 64).astype(np.float32)
    scale = m / np.float32(127)
    w = ((rng.integers(-127, 127, (64, 4096)) + 0.5) * scale[:, None].astype(float)).astype(
        np.float32
    )
    by_inverse = affine.encode_inverse32(w, scale[:, None], INT8_NARROW)
    by_max = affine.encode_max32(w, m[:, None], INT8_NARROW)
    by_double = affine.encode_double(w, (m.astype(np.float64) / 127)[:, None], 0, INT8_NARROW)
    for one, two in ((by_inverse, by_max), (by_inverse, by_double), (by_max, by_double)):
        assert 0 < np.count_nonzero(one != two) < one.size
        assert np.abs(one.astype(int) - two.astype(int)).max() == 1


def test_rounding_before_or_after_the_zero_point():
    """E3, E16: -0.5 steps and zero point 1: before gives -1 + 1 = 0, after half_away(0.5) = 1."""
    x = np.float32([-0.5])
    assert affine.quantize(x, np.float32(1), 1, INT8).tolist() == [0]
    assert affine.encode_double(x, 1.0, 1, INT8).tolist() == [1]


# --- layout: any axis, any size, in pieces --------------------------------------------------------

SHAPES = [
    ((), ()),
    ((1,), (1,)),
    ((7,), ()),
    ((200,), (1,)),
    ((5, 40), (5, 1)),
    ((5, 40), (1, 40)),
    ((300, 3), (1, 3)),
    ((2, 300), (1, 300)),
    ((3, 130, 5), (1, 130, 1)),
    ((3, 5, 130), (1, 5, 1)),
    ((1, 3, 3, 70), (1, 1, 1, 70)),
    ((1, 3, 3, 5), (1, 1, 1, 5)),
    ((4, 1, 6, 9), (4, 1, 6, 1)),
    ((4, 6, 9), (4, 6, 1)),
    ((4, 6, 9), (4, 1, 9)),
    ((2, 3, 4, 5), (2, 1, 4, 1)),
    ((2, 70, 2, 70), (1, 70, 1, 70)),
    ((2, 3, 4), (4,)),
    ((2, 3, 4), (3, 1)),
    ((2, 3, 4), (2, 3, 4)),
    ((0, 4), (1, 4)),
]


@pytest.fixture
def small_blocks(monkeypatch):
    for module in (blocks, affine):
        monkeypatch.setattr(module, "BLOCK", 64)
    monkeypatch.setattr(blocks, "LONG_RUN", 8)


def simple(w, inverse, q):
    """The definition of the float32 encoders on whole arrays."""
    return np.clip(ROUNDINGS["half_away"](w * inverse), q.qmin, q.qmax).astype(q.dtype)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(("shape", "pattern"), SHAPES)
@pytest.mark.parametrize("order", ["C", "F", "strided", "float16"])
def test_every_layout(shape, pattern, order, rng):
    w = np.asarray(rng.standard_normal(shape), np.float32)
    if order == "F" and w.ndim:
        w = np.asfortranarray(w)
    elif order == "strided" and w.ndim:
        w = np.repeat(w, 2, axis=-1)[..., ::2]
    elif order == "float16":
        w = w.astype(np.float16)
    m = np.asarray(rng.uniform(0.5, 3, pattern), np.float32)
    z = rng.integers(-100, 100, pattern)
    wide = w.astype(np.float32)
    out = np.full(shape, 99, np.int8)
    assert affine.encode_max32(w, m, INT8_NARROW, out=out) is out
    assert out.size == 0 or out.shape == shape
    if w.size == 0:
        return
    inverse = affine.inverse_max32(m, INT8_NARROW)
    assert_identical(out, simple(wide, inverse, INT8_NARROW), "max32")
    got = affine.encode_inverse32(w, m, INT8)
    assert_identical(got, simple(wide, affine.inverse32(m), INT8), "inverse32")
    got = affine.encode_double(w, m, z, INT8)
    steps = ROUNDINGS["half_away"](wide.astype(np.float64) / m + z)
    assert_identical(got, np.clip(steps, -128, 127).astype(np.int8), "double")
    got = affine.quantize(wide, m, z, INT8)
    steps = ROUNDINGS["half_away"](wide / m).astype(int) + z
    assert_identical(got, np.clip(steps, -128, 127).astype(np.int8), "quantize")
    back = affine.dequantize(got, m, z)
    assert_identical(back, ((got.astype(int) - z) * m.astype(np.float64)).astype(np.float32))
    assert_identical(affine.encode_float16(w), wide.astype(np.float16), "float16")


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(("shape", "pattern"), [s for s in SHAPES if 0 not in s[0]])
def test_ties_in_every_layout(shape, pattern, rng):
    """Each value is looked at twice, by its own scale and zero point."""
    scale = np.asarray(2.0 ** rng.integers(-3, 4, pattern))
    zero_point = rng.integers(-20, 20, pattern)
    steps = rng.integers(-90, 90, shape) + 0.5
    w = np.asarray((steps - zero_point) * scale, np.float32)
    got = affine.encode_double(w, scale, zero_point, INT8)
    assert_identical(got, np.asarray(ROUNDINGS["half_away"](steps)).astype(np.int8))


@pytest.mark.parametrize(("shape", "axis"), [((3, 70000), 0), ((70000, 3), 1), ((2, 40000, 2), 1),
                                             ((2000, 50), 0), ((50, 2000), 1)])  # fmt: skip
def test_real_block_size(shape, axis, rng):
    w = rng.standard_normal(shape).astype(np.float32)
    m = rng.uniform(0.5, 3, shape[axis]).astype(np.float32)
    along = affine.along(m, axis, len(shape))
    got = affine.encode_max32(w, along, INT8_NARROW)
    assert_identical(got, simple(w, affine.inverse_max32(along, INT8_NARROW), INT8_NARROW))


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("size", [63, 64, 65, 66, 67, 200])
def test_pieces_of_the_wide_way_fit_their_memory(size):
    x = np.arange(size, dtype=np.float32)
    assert affine.encode_double(x, 1.0, 0, INT16).tolist() == list(range(size))
    assert affine.encode_double(x, 1.0, -5, INT16).tolist() == list(range(-5, size - 5))


def test_slices_of_the_first_axis_give_the_whole(rng):
    w = rng.standard_normal((37, 11)).astype(np.float32)
    scale = rng.uniform(0.01, 0.02, (37, 1)).astype(np.float32)
    whole = affine.encode_inverse32(w, scale, INT8_NARROW)
    cuts = [slice(0, 5), slice(5, 36), slice(36, 37)]
    parts = [affine.encode_inverse32(w[c], scale[c], INT8_NARROW) for c in cuts]
    assert_identical(np.concatenate(parts), whole)


def test_no_temporary_of_the_size_of_the_tensor():
    import tracemalloc

    w = np.zeros((1 << 11, 1 << 10), np.float32)  # 8 MB
    out = np.empty(w.shape, np.int8)
    half = np.empty(w.shape, np.float16)
    one = np.ones((1 << 11, 1), np.float32)
    other = np.ones((1, 1 << 10), np.float32)
    peaks = []
    for call in (
        lambda: affine.encode_max32(w, one, INT8_NARROW, out=out),
        lambda: affine.encode_inverse32(w, other, INT8_NARROW, out=out),
        lambda: affine.encode_double(w, one, 0, INT8_NARROW, out=out),
        lambda: affine.encode_float16(w, out=half),
        lambda: affine.quantize(w, one, 0, INT8, out=out),
        lambda: w * one,  # what the limit would catch
    ):
        tracemalloc.start()
        call()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert max(peaks[:-1]) < 1.5e6 < w.nbytes <= peaks[-1]


@pytest.mark.parametrize("q", [INT4, INT8, INT8_NARROW, UINT8], ids=str)
def test_float32_steps_are_the_float64_integers(q, rng, monkeypatch):
    """Dense around ties, where the quick way of encode_double has to look again, and beyond q."""
    scale = np.exp(rng.uniform(-60, 60, (64, 1)))
    zero_point = rng.integers(q.qmin, q.qmax + 1, scale.shape)
    ties = rng.integers(-600, 600, (64, 4000)) + 0.5
    w = ((ties + rng.choice([0, 1e-7, -1e-5, 1e-4, -3e-4, 0.2], ties.shape)) * scale).astype("f4")
    w[5, :3] = np.inf, -np.inf, 0
    for z in (np.zeros_like(zero_point), zero_point):
        quick = affine.encode_double(w, scale, z, q)
        want = np.empty_like(quick)
        with np.errstate(invalid="ignore"):
            affine._encode_wide(w, scale, z.astype(float), q, want)
        assert_identical(quick, want)
        monkeypatch.setattr(affine, "MARGIN", -1.0)  # without a second look they differ
        assert (affine.encode_double(w, scale, z, q) != want).any()
        monkeypatch.undo()


def test_float16_of_every_neighbour(rng):
    """Each float16, each middle between two, and the float32 values next to both."""
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    halves = np.sort(halves[np.isfinite(halves)].astype(np.float32))
    exact = np.concatenate([halves, (halves[:-1] + halves[1:]) / 2, [np.float32(-0.0)]])
    up, down = np.float32(np.inf), np.float32(-np.inf)
    x = np.concatenate([exact, np.nextafter(exact, up), np.nextafter(exact, down)])
    rng.shuffle(x)
    x = x[np.abs(x) <= 65504]
    with np.errstate(under="ignore"):
        want = x.astype(np.float16)
    assert_identical(affine.encode_float16(x).view(np.uint16), want.view(np.uint16))


# --- refusals -------------------------------------------------------------------------------------

SEVENTEEN = IntRange(-(2**16), 2**16 - 1, np.dtype(np.int32))
THIRTY_THREE = IntRange(-(2**32), 2**32 - 1, np.dtype(np.int64))


@pytest.mark.parametrize("size", [1, 5, 64, 1000, 100_000])
@pytest.mark.parametrize("where", ["first", "last"])
def test_nan_is_refused_wherever_it_is(size, where):
    w = np.zeros(size, np.float32)
    w[0 if where == "first" else -1] = np.nan
    for call in (
        lambda: affine.encode_max32(w, 1.0, INT8_NARROW),
        lambda: affine.encode_inverse32(w, 1.0, INT8_NARROW),
        lambda: affine.encode_double(w, 1.0, 0, INT8),
        lambda: affine.encode_bias(w, 1.0),
        lambda: affine.quantize(w, np.float32(1), 0, INT8),
    ):
        with pytest.raises(NotFinite, match="NaN"):
            call()


def test_infinity_saturates_and_has_no_integer_under_a_zero_inverse():
    w = np.float32([np.inf, -np.inf])
    assert affine.encode_max32(w, 1.0, INT8_NARROW).tolist() == [127, -127]
    assert affine.encode_double(w, 1.0, 3, INT8).tolist() == [127, -128]
    with pytest.raises(NotFinite):
        affine.encode_max32(w, np.inf, INT8_NARROW)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: affine.encode_max32(np.zeros(2), 1.0, INT8), BadArray),
        (lambda: affine.encode_max32(np.float32([1]), 1.0, INT32), BadArray),
        (lambda: affine.encode_max32(np.float32([1, 2]), np.ones(3), INT8), BadArray),
        (lambda: affine.encode_max32(np.float32([1, 2]), np.ones((1, 2)), INT8), BadArray),
        (
            lambda: affine.encode_max32(np.float32([1]), 1, INT8, out=np.empty(1, np.int16)),
            BadArray,
        ),
        (lambda: affine.encode_max32(np.float32([1]), 1, INT8, out=np.empty(2, np.int8)), BadArray),
        (
            lambda: affine.encode_max32(np.float32([1]), 1, INT8, out=np.empty(1, np.uint8)),
            BadArray,
        ),
        (
            lambda: affine.encode_max32(
                np.ones((2, 2), np.float32), 1, INT8, out=np.empty((2, 2), np.int8, "F")
            ),
            BadArray,
        ),
        (lambda: affine.encode_max32(np.float32([1]), 1.0, SEVENTEEN), BadArray),
        (
            lambda: affine.encode_max32(np.float32([1, 2]), 1, INT8, out=np.empty(1, np.int8)),
            BadArray,
        ),
        (lambda: affine.quantize(np.float16([1]), 1, 0, INT8), BadArray),
        (lambda: affine.quantize(np.float32([1]), 1, 5, THIRTY_THREE), BadRange),
        (lambda: affine.quantize(np.float32([1, 2]), np.ones(3), 0, INT8), BadArray),
        (lambda: affine.quantize(np.float32([1, 2]), np.ones(3), np.zeros(3), INT8), BadArray),
        (lambda: affine.quantize(np.float32([1, 2]), 1, np.zeros(3), INT8), BadArray),
        (lambda: affine.quantize(np.float32([1]), 0, 0, INT8), NotFinite),
        (lambda: affine.quantize(np.float32([1]), np.nan, 0, INT8), NotFinite),
        (lambda: affine.quantize(np.float32([1]), -1.0, 0, INT8), NotFinite),
        (lambda: affine.quantize(np.float32([1]), 1, 5, INT64), BadRange),
        (lambda: affine.dequantize(np.float32([1]), 1, 0), BadArray),
        (lambda: affine.along(np.ones(3), None, 2), BadArray),
        (lambda: affine.along(np.ones((3, 1)), 0, 2), BadArray),
        (lambda: affine.along(np.ones(3), 2, 2), BadArray),
    ],
)
def test_refused(call, error):
    with pytest.raises(error):
        call()


def test_along():
    assert affine.along(np.ones(3), -1, 4).shape == (1, 1, 1, 3)
    assert affine.along(np.ones(3), 0, 2).shape == (3, 1)
    assert affine.along(np.ones((1,)), None, 2).shape == ()


def test_the_comparison_sees_one_step():
    w = np.float32([1 / 127])
    want = oracle.encode_max32(oracle.exact(w[0]), oracle.exact(1.0), -127, 127)
    got = affine.encode_max32(w, 1.0, INT8_NARROW)
    assert_same(got, [want])
    with pytest.raises(AssertionError, match="should be"):
        assert_same(got + np.int8(1), [want])
