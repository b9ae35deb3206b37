"""E21: extremes per group, whatever axis carries the groups and however long the runs are."""

from __future__ import annotations

import numpy as np
import pytest

from kernels import blocks, reductions
from kernels.errors import BadArray
from kernels.reductions import max_abs, min_max
from tests.kernels.same import assert_identical

CASES = [
    ((1,), None), ((500,), None), ((500,), 0), ((4, 50), None), ((4, 50), 0), ((50, 4), 1),
    ((300, 3), 1), ((3, 300), 1), ((3, 7, 5), 1), ((3, 200, 5), 1), ((3, 70, 1), 1),
    ((3, 5, 200), 1), ((1, 3, 3, 9), 3), ((1, 3, 3, 90), -1), ((1, 9), 0), ((9, 1), 1),
    ((2, 90, 3), 1), ((3, 20, 10), 1), ((7, 20), 0), ((7, 8), 0),
]  # fmt: skip


@pytest.fixture
def small_blocks(monkeypatch):
    for name, value in (("BLOCK", 64), ("LONG_RUN", 12), ("SIDE_BY_SIDE", 30), ("SHORT_RUN", 20)):
        monkeypatch.setattr(reductions, name, value)
    monkeypatch.setattr(blocks, "BLOCK", 64)


def whole(x, axis):
    """The same by one NumPy call on the whole array."""
    others = None if axis is None else tuple(d for d in range(x.ndim) if d != axis % x.ndim)
    with np.errstate(invalid="ignore"):
        low, high = np.min(x, axis=others), np.max(x, axis=others)
    return np.atleast_1d(low), np.atleast_1d(high)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("kind", ["mixed", "positive", "negative", "special", "strided"])
@pytest.mark.parametrize(("shape", "axis"), CASES)
def test_every_layout(shape, axis, kind, dtype, rng):
    x = rng.standard_normal(shape).astype(dtype)
    if kind in ("positive", "negative"):
        x = np.abs(x) * dtype(1 if kind == "positive" else -1)
    elif kind == "special":
        for value in (np.inf, -np.inf, np.nan, -np.nan, np.finfo(dtype).smallest_subnormal):
            x[rng.random(shape) < 0.02] = value
    elif kind == "strided":
        x = np.asfortranarray(np.repeat(x, 2, axis=-1)[..., ::2])
    low, high = min_max(x, axis)
    want_low, want_high = whole(x, axis)
    assert low.shape == high.shape == want_low.shape and low.dtype == dtype
    assert_identical(low + dtype(0), want_low + dtype(0), "low")
    assert_identical(high + dtype(0), want_high + dtype(0), "high")
    assert_identical(max_abs(x, axis), np.maximum(np.abs(want_low), np.abs(want_high)), "max_abs")


@pytest.mark.parametrize(
    ("shape", "axis"), [((3, 70000), 0), ((70000, 3), 1), ((2, 40000, 2), 1), ((500, 70), 0),
                        ((2, 9000, 9), 1), ((140000,), None), ((70, 500), 1)]
)  # fmt: skip
def test_real_block_size(shape, axis, rng):
    x = rng.standard_normal(shape).astype(np.float32)
    low, high = whole(x, axis)
    got = min_max(x, axis)
    assert_identical(got[0], low)
    assert_identical(got[1], high)
    assert_identical(max_abs(x, axis), np.maximum(-low, high))


def test_a_nan_stays_in_its_group():
    for shape, axis in (((4, 100), 0), ((100, 4), 1), ((4, 5000), 0)):
        x = np.ones(shape, np.float32)
        x[(2, 7) if axis == 0 else (7, 2)] = -np.nan
        for result in (*min_max(x, axis), max_abs(x, axis)):
            assert np.isnan(result).tolist() == [False, False, True, False]


def test_the_comparison_can_fail(rng):
    x = rng.standard_normal((5, 60)).astype(np.float32)
    with pytest.raises(AssertionError):
        assert_identical(max_abs(x, 0), max_abs(np.nextafter(x, np.float32(9)), 0))


@pytest.mark.parametrize(
    ("x", "axis"),
    [(np.zeros(3, np.int8), None), (np.zeros((0, 3), np.float32), 1), (np.zeros(3), 1)],
)
def test_refused(x, axis):
    with pytest.raises(BadArray):
        min_max(x, axis)
    with pytest.raises(BadArray):
        max_abs(x, axis)
