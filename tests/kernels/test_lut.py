"""Tables of functions: what they hold, and that both ways to read them agree.

That they are the official kernels' tables is shown by `python -m qcore.testing`.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from kernels import libm, lut
from kernels.jit import jit
from kernels.ranges import INT8, UINT8

CODES16 = np.arange(-32768, 32768).astype(np.int16)


@jit
def _twins(x, out):
    for i in range(x.size):
        out[0, i] = libm_expf(x[i])
        out[1, i] = libm_logf(abs(x[i]))
        out[2, i] = libm_tanhf(x[i])


libm_expf, libm_logf, libm_tanhf = libm.expf, libm.logf, libm.tanhf


def test_jitted_functions_have_the_bits_of_the_library():
    x = np.random.default_rng(0).normal(0, 8, 20000).astype(np.float32)
    got = np.empty((3, x.size), np.float32)
    _twins(x, got)
    for mine, theirs in zip(got, (libm.exp(x), libm.log(np.abs(x)), libm.tanh(x)), strict=True):
        np.testing.assert_array_equal(mine.view(np.int32), theirs.view(np.int32))


def test_library_functions_are_good_to_the_last_bit_or_so():
    x = np.linspace(-9, 9, 4001).astype(np.float32)
    for name in ("exp", "expm1", "tanh", "erf", "erfc", "sin", "cos"):
        want = np.array([getattr(math, name)(float(v)) for v in x])
        np.testing.assert_allclose(getattr(libm, name)(x), want, rtol=3e-7, atol=1e-37)


def test_infinities_are_values():
    x = np.array([100, -200, 0], np.float32)
    np.testing.assert_array_equal(libm.exp(x), np.array([np.inf, 0, 1], np.float32))
    assert libm.exp64(np.array([1000.0]))[0] == np.inf
    assert libm.log(np.zeros(1, np.float32))[0] == -np.inf


@pytest.mark.parametrize("q", [INT8, UINT8])
def test_8_bits(q):
    codes = np.arange(q.qmin, q.qmax + 1).astype(q.dtype)
    table = lut.table8(libm.tanh, 0.02, 3, 1 / 100, 7, q)
    want = np.clip(np.round(np.tanh((codes.astype(float) - 3) * 0.02) * 100) + 7, q.qmin, q.qmax)
    assert np.abs(lut.lookup8(codes, table) - want).max() <= 1
    np.testing.assert_array_equal(lut.gather8(codes, table), lut.lookup8(codes, table))


def test_8_bits_saturate():
    table = lut.table8(libm.exp, 1.0, 0, 1e-6, 0, INT8)
    assert lut.lookup8(np.array([127], np.int8), table) == 127


def test_rounding_before_or_after_the_zero_point():
    def one(x: np.ndarray) -> np.ndarray:
        return np.full(x.shape, -0.25, np.float32)

    assert lut.table8(one, 1, 0, 0.1, 0, INT8)[0] == -3  # -2.5 half away
    assert lut.table8_xnnpack(one, 1, 0, 0.1, 5, INT8)[0] == 2  # 2.5 half even
    assert lut.table8_xnnpack(one, 1, 0, 0.1, 5, INT8, half_even=False)[0] == 3


def test_16_bits():
    s, t = 1e-4, 1e-3
    table = lut.table16(libm.exp, s, 0, t, 0)
    want = np.exp(CODES16 * s) / t
    got = lut.lookup16(CODES16, table)
    # A chord of 128 codes misses (128 s)^2 / 8 of the value, a corrected one half of it; and the
    # cells are 65535 / 512 codes wide, so that the upper end is one code off.
    bound = np.abs(want) * ((128 * s) ** 2 / 16 + s) + 2
    assert (np.abs(got - want) <= bound).all()
    np.testing.assert_array_equal(lut.gather16(CODES16, table), got)
    np.testing.assert_array_equal(got[::128], table[:-1])


def test_nodes_of_the_logistic_function():
    nodes = lut.sigmoid_table()
    assert nodes.shape == (256,) and (np.diff(nodes) >= 0).all()
    assert [int(nodes[i]) for i in (0, 4, 24, 255)] == [32768, 35493, 47911, 65535]
    want = 65536 / (1 + np.exp(-np.arange(256) / 24))
    assert (np.abs(nodes - want) <= 1.3).all()
