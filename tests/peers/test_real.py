"""Models of any input types run on real values by the official interpreter."""

from __future__ import annotations

import numpy as np

import qcore
from qcore.peers.interpreter import run
from qcore.peers.real import run_real
from tests.execute.models import counter, dense


def test_quantized_in_and_dequantized_out(rng):
    x = rng.uniform(-5, 5, (1, 7)).astype(np.float32)
    (y,) = next(run_real(dense(), [x]))
    (stored,) = qcore.run(dense(), x).values()
    assert stored.dtype == np.int8 and np.unique(stored).size > 2
    np.testing.assert_array_equal(y, (stored.astype(np.float32) + 7) * np.float32(0.06))


def test_integers_are_real_values():
    x = np.array([[-5, 0, 3, 1, 1, 6, -2]], np.int8)
    (of_integers,), (of_floats,) = run_real(dense(), [x, x.astype(np.float32)])
    np.testing.assert_array_equal(of_integers, of_floats)
    (taken_as_codes,) = qcore.run(dense(), x).values()
    assert not np.array_equal(of_integers, (taken_as_codes.astype(np.float32) + 7) * 0.06)


def test_floats_stay():
    x = np.array([1.5, -2], np.float32)
    want = next(run(counter(), [x]))
    np.testing.assert_array_equal(next(run_real(counter(), [x]))[0], next(iter(want.values())))
