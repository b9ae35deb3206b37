"""Constants through compiled kernels: NumPy's integers, on every target, and when they are used."""

from __future__ import annotations

import ctypes
import mmap
import subprocess
import sys
import threading
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import qcore
import tflite_schema as ts
from bench.make_large import large
from kernels import affine, packing, reductions, streaming
from kernels.errors import NotFinite
from kernels.ranges import INT4, INT8, INT8_NARROW, UINT8
from kernels.simd import target
from kernels.simd.build import CompilerFailed
from qcore.testing.strategies import finite32, scales32, weights_for
from tests.kernels.same import assert_identical

ROOT = Path(__file__).resolve().parents[2]
MAX32 = float(np.finfo(np.float32).max)
TINY32 = float(np.finfo(np.float32).smallest_subnormal)
RANGES = st.sampled_from([INT4, INT8, INT8_NARROW, UINT8])

# Shape and shape of the parameters: a tensor, channels of every axis, blocks, and lengths around
# those of vectors, of four vectors, and of rows that are repeated.
LAYOUTS = [
    ((1,), ()), ((15,), ()), ((16,), ()), ((63,), ()), ((81,), ()), ((3, 130), ()),
    ((5, 16), (5, 1)), ((5, 33), (5, 1)), ((3, 79), (3, 1)), ((9, 32), (9, 1)),
    ((40, 3), (40, 1)), ((7, 5), (7, 1)), ((3, 150), (1, 150)), ((9, 17), (1, 17)),
    ((400, 7), (1, 7)), ((1, 3, 3, 20), (1, 1, 1, 20)), ((3, 9, 4), (1, 9, 1)),
    ((3, 9, 21), (1, 9, 1)), ((4, 6, 9), (4, 1, 9)), ((2, 3, 20), (2, 3, 20)),
]  # fmt: skip


@cache
def kernels(name: str) -> dict[str, streaming.Entry]:
    with target.use(name):
        return streaming.load()


@pytest.fixture(scope="module", params=target.TARGETS)
def entries(request) -> dict[str, streaming.Entry]:
    if request.param not in target.available():
        pytest.skip(f"this processor has no {request.param}")
    return kernels(request.param)


def both(entries, call):
    """What the kernels make, what NumPy makes, and the names of the kernels that were called."""
    used: list[str] = []

    def noted(name, entry):
        def call(*given):
            used.append(name)
            entry(*given)

        return call

    with streaming.using({}):
        want = call()
    with streaming.using({name: noted(name, entry) for name, entry in entries.items()}):
        got = call()
    return got, want, used


def check(entries, call, kernel):
    got, want, used = both(entries, call)
    assert any(name.startswith(kernel) for name in used)
    for a, b in zip(got, want, strict=True):
        assert_identical(a, b)


def askew(values: np.ndarray) -> np.ndarray:
    """The same values at an address that is no multiple of two."""
    room = np.zeros(values.nbytes + 1, np.uint8)
    made = room[1:].view(values.dtype).reshape(values.shape)
    made[...] = values
    return made


@st.composite
def encodings(draw: st.DrawFn):
    """(values, scale, zero point, range): ties and their neighbours, denormals, infinities."""
    shape, pattern = draw(st.sampled_from(LAYOUTS))
    q = draw(RANGES)
    some = draw(st.lists(scales32(), min_size=1, max_size=4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    scale = rng.choice(some, pattern)
    zero_point = rng.integers(q.qmin, q.qmax + 1, pattern) * draw(st.booleans())
    values = np.concatenate([draw(weights_for(s)) for s in some])
    w = rng.choice(values, shape)
    # What is dense around ties at the places' own scales.
    ties = ((rng.integers(-300, 300, shape) + 0.5 - zero_point) * scale).astype(np.float64)
    near = rng.choice([0, 1e-7, -1e-6, 1e-4, 0.3], shape) * scale
    with np.errstate(over="ignore"):
        w = np.where(rng.random(shape) < 0.5, w, (ties + near).astype(np.float32))
    w = askew(w) if draw(st.booleans()) else w
    return w, scale, zero_point, q


@given(case=encodings())
def test_integers(entries, case):
    w, scale, zero_point, q = case
    scattered = scale.ndim == 3 and scale.shape[0] > 1 and scale.shape[1] == 1

    def call():
        single = scale.astype(np.float32)
        finite = np.clip(w, -MAX32, MAX32)  # an inverse may be 0
        return (
            affine.encode_double(w, scale, zero_point, q),
            affine.encode_double(w, single, 0, q),
            affine.encode_inverse32(finite, single, q),
            affine.encode_max32(finite, single * np.float32(q.qmax), q),
        )

    got, want, used = both(entries, call)
    assert scattered or any(name.startswith("encode_integers") for name in used)
    for a, b in zip(got, want, strict=True):
        assert_identical(a, b)


def test_dense_ties_need_float64(entries, rng):
    """And a kernel that did not look again would be found."""
    scale = np.exp(rng.uniform(-60, 60, (64, 1)))
    zero_point = rng.integers(-128, 128, scale.shape)
    ties = rng.integers(-600, 600, (64, 4000)) + 0.5
    w = ((ties + rng.choice([0, 1e-7, -1e-5, 1e-4, -3e-4], ties.shape)) * scale).astype("f4")
    for given_w, s, z in ((w, scale, zero_point), (w.T, scale.T, zero_point.T)):
        values = np.ascontiguousarray(given_w)

        def call(values=values, s=s, z=z):
            return [affine.encode_double(values, s, zero, INT8) for zero in (z, 0)]

        check(entries, call, "encode_integers")
        want = call()[0]
        with streaming.using(entries), pytest.MonkeyPatch.context() as patch:
            patch.setattr(affine, "MARGIN", -1.0)  # no step is in doubt
            assert (call()[0] != want).any()


def test_scales_and_zero_points_out_of_the_way(entries):
    """A scale of 0 (every value becomes the zero point), one whose inverse is infinite in float32,
    a zero point that float32 steps are not made for."""
    w = np.array([0, 1, -1, 1e-44, -3e-45, 1e38, np.inf, -np.inf] * 9, np.float32)
    finite = w[np.isfinite(w)]
    scales, far = (1e-44, 1e-310, 3e38, 1e300), (257.0, 1e6, -1e30)
    cases = [(w, s, 3) for s in scales] + [(w, 0.1, z) for z in far] + [(finite, 0.0, -5)]
    for values, scale, zero_point in cases:
        rows, columns = np.stack([values] * 5), np.full((1, values.size), scale)
        for form, x, s in (("runs", values, scale), ("columns", rows, columns)):

            def call(x=x, s=s, z=zero_point):
                return [affine.encode_double(x, s, z, INT8)]

            check(entries, call, f"encode_integers_{form}")


@pytest.mark.parametrize("size", [1, 15, 16, 64, 200])
@pytest.mark.parametrize("bad", [0, -1])
def test_what_has_no_integer_is_refused(entries, size, bad):
    w = np.ones((3, size), np.float32)
    w[-1 - bad, bad] = np.nan
    one, columns = np.ones((3, 1), np.float32), np.ones((1, size), np.float32)
    with streaming.using(entries):
        for scale in (np.float32(1), one, columns):
            for call in (
                lambda s=scale: affine.encode_max32(w, s, INT8),
                lambda s=scale: affine.encode_double(w, s, 0, INT8),
                lambda s=scale: affine.encode_max32(w * 0 + np.inf, s * 0, INT8),
                lambda s=scale: affine.encode_double(w * 0 + np.inf, s * 0, 0, INT8),
            ):
                with pytest.raises(NotFinite):
                    call()


HALVES = st.one_of(
    finite32(), finite32(70000), finite32(2.0**-13),
    st.sampled_from([np.inf, -np.inf, 65504, 65519.996, 65520, MAX32, TINY32, 2.0**-25, -0.0]),
)  # fmt: skip


@given(values=st.lists(HALVES, min_size=1, max_size=12), size=st.integers(1, 200))
def test_halves(entries, values, size):
    w = np.resize(np.array(values, np.float32), size)
    check(entries, lambda: [affine.encode_float16(w).view(np.uint16)], "encode_halves")
    check(entries, lambda: [affine.encode_float16(askew(w)).view(np.uint16)], "encode_halves")


def test_halves_of_every_neighbour(entries):
    halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    middles = (halves[:-1] + halves[1:]) / 2
    near = [np.nextafter(middles, np.float32(end)) for end in (-np.inf, np.inf)]
    w = np.concatenate([halves, middles, *near])
    w = np.concatenate([w, -w, [np.nan, -np.nan]]).astype(np.float32)
    for values in (w[:-2], w):
        check(entries, lambda v=values: [affine.encode_float16(v).view(np.uint16)], "encode_halves")


@given(data=st.data())
def test_extremes(entries, data):
    shape, pattern = data.draw(st.sampled_from(LAYOUTS[:18]))
    varying = [d for d, length in enumerate(pattern) if length > 1]
    axis = varying[0] if varying else data.draw(st.sampled_from([None, *range(len(shape))]))
    special = st.sampled_from([np.inf, -np.inf, np.nan, 0.0, -0.0, TINY32])
    some = data.draw(st.lists(st.one_of(finite32(), special), min_size=1, max_size=9))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    x = rng.choice(np.array(some, np.float32), shape)
    x = askew(x) if data.draw(st.booleans()) else x
    got, want, _ = both(entries, lambda: reductions.min_max(x, axis))
    for a, b in zip(got, want, strict=True):
        assert_identical(a + np.float32(0), b + np.float32(0))  # either zero


@pytest.mark.parametrize(("shape", "axis", "form"), [
    ((9, 33), 0, "runs"), ((5000,), None, "runs"), ((3, 5, 40), 1, "runs"),
    ((70, 130), 1, "columns"), ((900, 3), 1, "columns"), ((3, 9, 4), 1, "columns"),
])  # fmt: skip
def test_the_place_of_an_extreme(entries, shape, axis, form):
    """Wherever it is: the smallest value, the largest, or a NaN."""
    x = np.zeros(shape, np.float32)
    for place in range(0, x.size, max(1, x.size // 97)):
        for value in (1, -1, np.nan):
            x.reshape(-1)[place] = value
            check(entries, lambda: reductions.min_max(x, axis), f"encode_extremes_{form}")
        x.reshape(-1)[place] = 0


@pytest.mark.parametrize("size", [1, 2, 30, 32, 34, 200, 201])
def test_nibbles(entries, size, rng):
    values = rng.integers(-8, 8, size).astype(np.int8)
    for given_values in (values, values.view(np.uint8) & np.uint8(15)):
        got, want, used = both(entries, lambda v=given_values: packing.pack4(v))
        assert_identical(got, want)
        assert bool(used) == (size % 2 == 0)


def test_nothing_outside_is_touched(entries, rng):
    """Inputs end where a page begins that cannot be read; outputs lie between other bytes."""
    page = mmap.PAGESIZE
    room = mmap.mmap(-1, 6 * page)
    everything = np.frombuffer(room, np.uint8)
    last = everything.__array_interface__["data"][0] + 5 * page
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    assert protect(ctypes.c_void_p(last), ctypes.c_size_t(page), 0) == 0
    for shape, pattern in LAYOUTS:
        size = int(np.prod(shape))
        w = everything[5 * page - 4 * size : 5 * page].view(np.float32).reshape(shape)
        w[...] = rng.standard_normal(shape)
        m = rng.uniform(0.5, 3, pattern).astype(np.float32)
        for kind, call in (
            (np.int8, lambda out, m=m, w=w: affine.encode_max32(w, m, INT8, out=out)),
            (np.int8, lambda out, m=m, w=w: affine.encode_double(w, m / 99, 1, INT8, out=out)),
            (np.float16, lambda out, m=m, w=w: affine.encode_float16(w, out=out)),
        ):
            width = np.dtype(kind).itemsize
            around = np.full(size * width + 128, 77, np.uint8)
            out = around[64 : 64 + size * width].view(kind).reshape(shape)
            with streaming.using(entries):
                call(out)
            assert (around[:64] == 77).all() and (around[-64:] == 77).all()
        with streaming.using(entries):
            for axis in (None, *range(w.ndim)):
                reductions.min_max(w, axis)
    assert protect(ctypes.c_void_p(last), ctypes.c_size_t(page), 3) == 0


@pytest.mark.parametrize("kernel", streaming.KERNELS)
def test_a_wrong_kernel_is_found(kernel, rng):
    """Each one changed in a byte of what it writes."""
    entries = kernels(target.available()[0])
    right = entries[kernel]

    def wrong(line, begin, end):
        right(line, begin, end)
        ctypes.cast(line[1], ctypes.POINTER(ctypes.c_uint8))[1] ^= 1

    w = rng.standard_normal((6, 1100)).astype(np.float32)
    calls = {
        "runs_single": lambda: [affine.encode_max32(w, 1, INT8)],
        "columns_single": lambda: [affine.encode_max32(w, w[:1] ** 2 + 1, INT8)],
        "runs_double": lambda: [affine.encode_double(w, 1, 0, INT8)],
        "columns_double": lambda: [affine.encode_double(w, w[:1] ** 2 + 1, 0, INT8)],
        "extremes_runs": lambda: reductions.min_max(w, 0),
        "extremes_columns": lambda: reductions.min_max(w, 1),
        "halves": lambda: [affine.encode_float16(w)],
        "nibbles": lambda: [packing.pack4((w > 0).astype(np.int8))],
    }
    (call,) = (each for name, each in calls.items() if kernel.endswith(name))
    check(entries, call, kernel)
    with pytest.raises(AssertionError):
        check({**entries, kernel: wrong}, call, kernel)


@pytest.mark.parametrize("recipe", ["dynamic", "weight_only", "float16"])
def test_files_are_the_same(recipe):
    model = ts.read(ts.to_bytes(large(2_000_000, 320)))

    entries = kernels(target.available()[0])
    made, want, used = both(entries, lambda: qcore.quantize(model, recipe).to_bytes())
    assert made == want
    assert len(set(used)) >= 2  # ranges and integers


@pytest.fixture
def fresh(monkeypatch):
    """A process that has read nothing."""
    entries: dict[str, streaming.Entry] = {}
    monkeypatch.setattr(streaming, "_loaded", entries)
    monkeypatch.setattr(streaming, "_entries", entries)
    monkeypatch.setattr(streaming, "_seen", {})
    monkeypatch.setattr(streaming, "_asked", threading.Lock())
    monkeypatch.setattr(streaming, "PAYS", 100_000)
    return entries


def ended(before: set[threading.Thread]) -> int:
    """Waits for the threads begun since; how many there were."""
    begun = set(threading.enumerate()) - before
    for thread in begun:
        thread.join()
    return len(begun)


def test_loaded_once_it_pays_and_beside_the_work(fresh, monkeypatch, rng):
    real, go, calls = streaming.load, threading.Event(), []

    def slow():
        calls.append(1)
        go.wait()
        return real()

    monkeypatch.setattr(streaming, "load", slow)
    w = rng.standard_normal(10_000).astype(np.float32)
    before = set(threading.enumerate())
    want = affine.encode_max32(w, 3, INT8)
    reductions.min_max(w)
    affine.encode_max32(w[:100], 3, INT8)
    assert not calls  # other purposes, and what is small
    for _ in range(5):
        assert_identical(affine.encode_max32(w, 3, INT8), want)  # does not wait
    assert not fresh
    go.set()
    assert ended(before) == 1 and calls == [1] and set(fresh) == set(streaming.KERNELS)
    assert_identical(affine.encode_max32(w, 3, INT8), want)


def test_without_a_compiler_numpy_goes_on(fresh, monkeypatch, rng):
    calls = []

    def broken():
        calls.append(1)
        raise CompilerFailed("it crashed")

    monkeypatch.setattr(streaming, "load", broken)
    w = rng.standard_normal(30_000).astype(np.float32)
    before = set(threading.enumerate())
    want = affine.encode_max32(w, 3, INT8)
    ended(before)
    for _ in range(3):
        assert_identical(affine.encode_max32(w, 3, INT8), want)
    assert calls == [1] and not fresh


def test_a_small_model_loads_nothing():
    program = (
        "import sys, threading, numpy as np\n"
        "from kernels import affine, reductions, streaming\n"
        "streaming.PAYS = int(sys.argv[1]) if sys.argv[1:] else streaming.PAYS\n"
        "w = np.ones(1 << 20, np.float32)\n"
        "reductions.min_max(w); affine.encode_float16(w); affine.encode_double(w, 1, 0, "
        "affine.INT8)\n"
        "[t.join() for t in threading.enumerate() if t is not threading.current_thread()]\n"
        "print('llvmlite' in sys.modules)"
    )
    for pays, loaded in (([], "False"), ([str(1 << 20)], "True")):
        run = subprocess.run(
            [sys.executable, "-c", program, *pays],
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert run.stdout.strip() == loaded
