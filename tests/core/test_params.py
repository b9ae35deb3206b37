"""The values between the stages: frozen, compared by content, saved exactly."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcore.params import Affine, Stats

scales = st.lists(st.floats(0, 2.0**100, width=32), min_size=1, max_size=5)


@given(scales, st.integers(-128, 127), st.sampled_from([None, 0, 3]))
def test_affine_survives_json(values, zero_point, axis):
    made = Affine(values, [zero_point] * len(values), axis)
    assert Affine.from_json(json.loads(json.dumps(made.to_json()))) == made


def test_affine_is_compared_bit_for_bit():
    one, next_up = np.float32(0.1), np.nextafter(np.float32(0.1), np.float32(1))
    assert Affine.of(one) == Affine.of(one) and hash(Affine.of(one)) == hash(Affine.of(one))
    assert Affine.of(one) != Affine.of(next_up)
    assert Affine.of(one) != Affine.of(one, 1)
    assert Affine([one], [0], axis=0) != Affine([one], [0], axis=None)


def test_affine_cannot_be_changed():
    made = Affine.of(1.0)
    with pytest.raises(ValueError, match="read-only"):
        made.scale[0] = 2


def test_along_broadcasts_on_its_axis():
    scale, zero_point = Affine([1, 2, 3], [0, 0, 1], axis=1).along(3)
    assert scale.shape == zero_point.shape == (1, 3, 1)
    assert Affine.of(2.0).along(4)[0].shape == ()


def test_affine_wants_one_zero_point_for_each_scale():
    with pytest.raises(ValueError, match="2 groups and zero_point 1"):
        Affine([1, 2], [0])


def test_union_holds_both_ranges():
    made = Stats([-1, 0], [1, 2], 3).union(Stats([-2, 1], [0, 5], 4))
    assert made == Stats([-2, 0], [1, 5], 7)
