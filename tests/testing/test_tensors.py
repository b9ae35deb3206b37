"""Quantized tensors and groups of floats: they are what they promise, and they shrink."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from kernels.ranges import INT4
from qcore.errors import BadInput
from qcore.params import Affine
from qcore.testing import strategies as qs
from qcore.testing.strategies import tensors
from tests import oracle

QUICK = settings(database=None, phases=(Phase.generate, Phase.shrink), max_examples=1000)
TINY, HUGE = 2.0**-22, 2.0**100


@given(qs.quantized_tensors())
def test_every_value_has_its_scale(made):
    p, values = made.params, made.values
    assert values.dtype == made.q.dtype
    assert values.size and values.min() >= made.q.qmin and values.max() <= made.q.qmax
    assert (p.scale > 0).all() and np.isfinite(p.scale).all()
    assert ((p.zero_point >= made.q.qmin) & (p.zero_point <= made.q.qmax)).all()
    scale, zero_point = made.spread()
    real = made.real()
    grid = list(values.shape)
    if p.axis is not None and p.block:
        grid[p.axis] //= p.block
    for at in itertools.product(*map(range, values.shape)):
        g = 0
        if p.axis is not None:
            place = list(at)
            place[p.axis] //= max(p.block, 1)
            g = int(np.ravel_multi_index(place, grid)) if p.block else place[p.axis]
        assert scale[at] == p.scale[g] and zero_point[at] == p.zero_point[g]
        exact = oracle.exact(p.scale[g]) * (int(values[at]) - int(p.zero_point[g]))
        assert oracle.exact(real[at]) == oracle.f32(exact)


def test_a_wrong_tensor_would_be_seen():
    made = find(
        qs.quantized_tensors(INT4, (2, 6), (1, 3)), lambda t: t.values.any(), settings=QUICK
    )
    p = made.params
    promise = test_every_value_has_its_scale.hypothesis.inner_test
    promise(made)
    for wrong in (
        replace(made, values=made.values.astype(np.int16)),
        replace(made, values=made.values * np.int8(100)),
        replace(made, params=Affine(p.scale * 0, p.zero_point, p.axis, p.block)),
        replace(made, params=Affine(p.scale, p.zero_point + 100, p.axis, p.block)),
    ):
        with pytest.raises(AssertionError):
            promise(wrong)


@given(st.data())
def test_what_is_asked_for(data):
    made = data.draw(qs.quantized_tensors(INT4, (4, 6), (1, 3), symmetric=True))
    assert made.values.shape == (4, 6) and made.q is INT4
    assert (made.params.axis, made.params.block, made.params.groups) == (1, 3, 8)
    assert not made.params.zero_point.any()


def test_every_granularity_occurs():
    assert find(qs.granularities((2, 6)), lambda g: True, settings=QUICK) == (None, 0)
    for wanted in ((0, 0), (1, 0), (0, 2), (1, 1), (1, 3), (1, 6)):
        assert find(qs.granularities((2, 6)), lambda g, w=wanted: g == w, settings=QUICK) == wanted
    with pytest.raises(BaseException):  # noqa: B017  NoSuchExample; blocks of 4 do not divide 6
        find(qs.granularities((2, 6)), lambda g: g == (1, 4), settings=QUICK)


PROMISES = {
    "ordinary": lambda x: TINY < np.abs(x).max() <= 2.0**20,
    "positive": lambda x: x.min() >= 0 < x.max(),
    "negative": lambda x: x.max() <= 0 > x.min(),
    "zero": lambda x: not x.any(),
    "constant": lambda x: np.unique(x).size == 1 and x.all(),
    "single": lambda x: x.size == 1 and x.all(),
    "outlier": lambda x: x.size > 1 and np.sort(np.abs(x))[-1] >= 2**10 * np.sort(np.abs(x))[-2],
    "tiny": lambda x: 2.0**-100 <= np.abs(x).max() <= TINY,
    "denormal": lambda x: 0 < np.abs(x).max() <= 2.0**-118,
    "huge": lambda x: HUGE <= np.abs(x).max() <= 2.0**126,
    "widest": lambda x: np.isinf(x.max() - x.min()),
    "empty": lambda x: x.size == 0,
    "nan": lambda x: np.isnan(x).sum() == 1,
    "inf": lambda x: np.isinf(x).sum() == 1 and not np.isnan(x).any(),
}


def test_every_kind_has_a_promise():
    assert set(PROMISES) == {*qs.KINDS, *qs.NO_RANGE} == set(tensors._KINDS)


@pytest.mark.parametrize("kind", PROMISES)
@given(data=st.data())
@settings(max_examples=25)
def test_kinds_are_what_they_say(kind, data):
    found = data.draw(qs.groups(3, 6, [kind]))
    assert 1 <= len(found) <= 3
    for group in found:
        assert group.dtype == np.float32 and group.ndim == 1 and group.size <= 8
        with np.errstate(over="ignore"):
            assert PROMISES[kind](group)
    stats = qs.stats_of(found)
    assert stats.groups == len(found)
    for g, group in enumerate(found):
        if kind not in qs.NO_RANGE:
            assert (stats.lo[g], stats.hi[g]) == (group.min(), group.max())
        else:
            assert not (np.isfinite(stats.lo[g]) and np.isfinite(stats.hi[g]))


def test_a_promise_can_fail():
    one = np.ones(3, np.float32)
    assert [k for k, holds in PROMISES.items() if holds(one)] == [
        "ordinary",
        "positive",
        "constant",
    ]


@pytest.mark.parametrize(
    ("strategy", "condition", "least"),
    [
        (qs.groups(), lambda g: True, [[1.0]]),
        (qs.groups(), lambda g: len(g) > 1, [[1.0], [1.0]]),
        (qs.groups(), lambda g: any(x.size > 2 for x in g), [[0.0, 0.0, 0.0]]),
        (qs.groups(), lambda g: any(not x.any() for x in g), [[0.0]]),
        (qs.groups(kinds=["constant"]), lambda g: True, [[1.0, 1.0]]),
        (qs.groups(kinds=["negative"]), lambda g: True, [[-1.0]]),
        (qs.groups(kinds=["outlier"]), lambda g: True, [[1024.0, 1.0]]),
        (qs.groups(kinds=["inf"]), lambda g: True, [[np.inf]]),
        (qs.groups(kinds=["huge"]), lambda g: True, [[HUGE]]),
        (qs.quantized_tensors().map(lambda t: t.real()), lambda x: True, 0.0),
        (
            qs.quantized_tensors(shape=(2, 2)).map(lambda t: t.real()),
            lambda x: x.any(),
            [[0.0, 0.0], [0.0, 1.0]],
        ),
    ],
)
def test_shrinks(strategy, condition, least):
    found = find(strategy, condition, settings=QUICK)
    made = [x.tolist() for x in found] if isinstance(found, list) else found.tolist()
    assert made == least


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: qs.groups(kinds=["odd"]), "odd; known are: ordinary"),
        (lambda: qs.groups(kinds=[]), "no kind of group to draw"),
        (
            lambda: find(qs.quantized_tensors(shape=(2, 6), granularity=(1, 4)), lambda t: True),
            "blocks of 4 along axis 1",
        ),
    ],
)
def test_refused(call, words):
    with pytest.raises(BadInput, match=words):
        call()
