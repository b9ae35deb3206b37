"""Metrics: worked values, sums that add up, and no good number for nothing compared."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qcore.errors import BadInput
from qcore.metrics import Difference, SQNR_dB, agreement, top1


def test_sqnr_of_a_worked_case():
    # signal 1 + 4 + 4 = 9, noise 0.09: a factor of 100, 20 dB
    x = np.array([1.0, 2.0, -2.0])
    assert SQNR_dB(x, x + np.array([0.3, 0, 0])) == pytest.approx(20.0)


def test_the_other_measures_of_the_worked_case():
    found = Difference.of(np.array([3.0, 4.0]), np.array([4.0, 3.0]))
    assert found.rms == found.mean_absolute == 1.0
    assert found.cosine == pytest.approx(24 / 25)
    nothing = Difference()
    assert all(map(math.isnan, (nothing.rms, nothing.mean_absolute, nothing.cosine)))


def test_sqnr_at_the_ends():
    x = np.float32([1, 2])
    assert SQNR_dB(x, x) == math.inf
    assert SQNR_dB(0 * x, x) == -math.inf
    assert math.isnan(SQNR_dB(x[:0], x[:0]))
    assert SQNR_dB(x, np.float32([np.nan, 2])) == -math.inf
    assert SQNR_dB(np.float32([1e30]), np.float32([1.01e30])) == pytest.approx(40.0, abs=0.1)


def test_equal_strange_values_are_equal_and_others_are_not():
    x = np.array([np.nan, np.inf, -np.inf, 1.0])
    assert Difference.of(x, x).differing == 0
    assert Difference.of(x, -x).differing == 3
    assert Difference.of(x, -x).largest == math.inf


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(BadInput, match=r"\(2,\) and \(3,\)"):
        SQNR_dB(np.zeros(2), np.zeros(3))
    with pytest.raises(BadInput, match="labels"):
        top1(np.zeros((3, 2)), np.zeros(2))


FLOATS = hnp.arrays(np.float32, (7,), elements=st.floats(-(2.0**40), 2.0**40, width=32))


@given(a=FLOATS, b=FLOATS, cut=st.integers(0, 7))
def test_parts_add_up_to_the_whole(a, b, cut):
    whole = Difference.of(a, b)
    parts = Difference.of(a[:cut], b[:cut]) + Difference.of(a[cut:], b[cut:])
    assert (whole.count, whole.differing, whole.largest) == (
        parts.count,
        parts.differing,
        parts.largest,
    )
    for name in ("signal", "noise", "other", "absolute"):
        assert getattr(parts, name) == pytest.approx(getattr(whole, name), rel=1e-12)


def test_blocks_change_nothing(rng):
    x = rng.normal(size=200_000).astype(np.float32)
    y = x + rng.normal(size=x.size).astype(np.float32) / 100
    straight = 10 * np.log10((x.astype(float) ** 2).sum() / ((x.astype(float) - y) ** 2).sum())
    assert SQNR_dB(x, y) == pytest.approx(straight, rel=1e-9)
    assert Difference.of(x, y).largest == np.abs(x.astype(float) - y).max()


def test_class_scores():
    scores = np.array([[1, 2], [3, 0], [5, 5]])
    assert top1(scores, np.array([1, 0, 1])) == pytest.approx(2 / 3)
    assert agreement(scores, scores) == 1.0
    assert math.isnan(top1(np.zeros((0, 2)), np.zeros(0)))
