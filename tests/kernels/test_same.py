"""The comparisons themselves: each must be able to fail, and to refuse to compare nothing."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from tests.kernels.same import assert_identical, assert_same


def test_accepts_what_is_equal():
    assert_same(np.array([1, -2]), [1, -2])
    assert_same(np.array([0.5, np.inf, np.nan]), [Fraction(1, 2), float("inf"), float("nan")])
    assert_same(np.array([True, False]), [True, False])
    assert_identical(np.array([0.0, np.nan]), np.array([0.0, np.nan]))


@pytest.mark.parametrize(
    ("got", "expected"),
    [
        ([1, 2], [1, 3]),
        ([0.1], [Fraction(1, 10)]),
        ([np.nan], [Fraction(0)]),
        ([0.0], [float("nan")]),
        ([np.inf], [float("-inf")]),
        ([True], [False]),
        ([1, 2], [1]),
        ([], []),
    ],
)
def test_refuses_what_differs_or_is_empty(got, expected):
    with pytest.raises(AssertionError):
        assert_same(np.array(got), expected)


@pytest.mark.parametrize(
    ("got", "expected"),
    [
        (np.zeros(2), np.ones(2)),
        (np.zeros(2), np.zeros(3)),
        (np.zeros(2), np.zeros(2, np.float32)),
        (np.array([0.0]), np.array([-0.0])),
        (np.array([np.nan]), np.array([0.0])),
        (np.zeros(0), np.zeros(0)),
    ],
)
def test_identical_refuses(got, expected):
    with pytest.raises(AssertionError):
        assert_identical(got, expected)
