"""The compact values: what is merged, rounded, ordered, and on the front."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcore.compare.values import Bins, Latency, Seen
from qcore.metrics import Difference
from qcore.params import Affine
from qcore.report import data as D
from tests.report import made


@pytest.mark.parametrize(
    ("x", "short"),
    [
        (None, None), (math.nan, None), (math.inf, "Infinity"), (-math.inf, "-Infinity"),
        (0.0, 0), (1234.56, 1235), (0.000123456, 0.0001235), (-7.0, -7), (2.5e20, 2.5e20),
    ],
)  # fmt: skip
def test_numbers_have_four_digits_and_json_has_them(x, short):
    assert D.number(x) == short
    assert json.loads(json.dumps(D.number(x), allow_nan=False)) == short


@given(
    st.lists(st.integers(0, 1000), min_size=1, max_size=300).filter(sum),
    st.floats(-100, 100), st.floats(0.001, 10),
)  # fmt: skip
def test_histograms_lose_no_count_and_no_end(counts, first, step):
    edges = first + step * np.arange(len(counts) + 1)
    short_edges, short = D.histogram(Bins(np.array(counts), edges))
    assert sum(short) == sum(counts) and len(short) <= D.BINS
    assert short_edges[0] == D.number(edges[0], 7) and short_edges[-1] == D.number(edges[-1], 7)
    assert len(short_edges) in (2, len(short) + 1)


def test_neighbours_are_put_together():
    counts = np.arange(256)
    edges, short = D.histogram(Bins(counts, np.arange(-128.0, 129.0)))
    assert edges == [-128, 128]
    assert short == counts.reshape(64, 4).sum(axis=1).tolist()


def test_uneven_edges_stay():
    assert D.histogram(Bins(np.array([1, 2]), np.array([0.0, 1.0, 9.0]))) == [[0, 1, 9], [1, 2]]
    assert D.histogram(Bins(np.zeros(3, int), np.arange(4.0))) is None
    assert D.histogram(None) is None


def brute_front(points):
    def beats(a, b):
        return all(x <= y for x, y in zip(a, b)) and a != b

    known = [i for i, p in enumerate(points) if p is not None]
    return [i for i in known if not any(beats(points[j], points[i]) for j in known)]


_POINTS = st.lists(
    st.none() | st.tuples(*[st.integers(0, 4).map(float)] * 3), max_size=12
)  # fmt: skip


@given(_POINTS)
def test_the_front_is_what_the_definition_says(points):
    assert D.front(points) == brute_front(points)


def test_a_wrong_front_would_be_seen():
    points = [(1.0, 2.0), (2.0, 1.0), (2.0, 2.0)]
    assert D.front(points) == [0, 1] == brute_front(points)
    assert brute_front(points) != [0, 1, 2]


def test_fronts_leave_out_what_was_not_measured_and_what_failed():
    whole = made.comparison(3)
    failed = dataclasses.replace(whole.candidates[0], error="the interpreter aborted")
    slow = dataclasses.replace(whole.candidates[1], latency=(Latency("litert", "xnnpack", 1.0, 3),))
    found = D.data(dataclasses.replace(whole, candidates=(failed, slow, whole.candidates[2])))
    for key, numbers in found["fronts"].items():
        assert numbers and 1 not in numbers, key
        assert not (key.endswith("litert reference") and 2 in numbers)
    assert found["fronts"]["accuracy|bytes"] == [0, 2]
    assert "score|bytes" not in found["fronts"]


def test_the_broken_layer_is_the_first_of_the_worst():
    whole = made.comparison(3, 12)
    found = D.data(whole)
    assert found["worst"][0] == [1, 8]
    assert len(found["worst"]) == 2 * 12 + 11  # the third has no counterpart of one layer
    assert found["texts"][found["seen"][1]["reasons"][8][0]].startswith("range set by one outlier")


def test_the_worst_are_limited_and_never_exact():
    whole = made.comparison(2, 60)
    found = D.worst(whole)
    assert [sum(c == n for c, _ in found) for n in (0, 1)] == [D.WORST, D.WORST]
    key = whole.layers[0].key
    exact = Seen(1, "float32", None, total=made.difference(math.inf))
    one = dataclasses.replace(whole.candidates[0], seen={key: exact})
    assert D.worst(dataclasses.replace(whole, candidates=(one,))) == []


def test_every_column_has_an_entry_for_every_layer():
    whole = made.comparison(3, 12)
    found = D.data(whole)
    for seen in found["seen"]:
        assert {len(column) for column in seen.values()} == {12}
    assert found["seen"][2]["total"][3] is None
    assert found["texts"][found["seen"][2]["why"][3]] == "folded into the operator before it"
    assert found["candidates"][0]["db"] is None and found["candidates"][0]["agreement"] is None


@pytest.mark.parametrize(
    ("dtype", "params", "ends"),
    [
        ("int8", Affine.of(0.5, -128), [0, 127.5]),
        ("int16", Affine.of(1.0), [-32768, 32767]),
        ("int4", Affine([1.0, 2.0], [0, 0], axis=0), [-16, 14]),
        ("float32", None, None),
        ("bool", Affine.of(1.0), None),
    ],
)
def test_representable_ranges(dtype, params, ends):
    assert D.representable(Seen(0, dtype, params, Difference())) == ends


def test_names_that_stand_twice_are_told_apart():
    assert D.unique(["a", "b", "a", "a", "a (2)"]) == ["a", "b", "a (2)", "a (3)", "a (2) (2)"]
