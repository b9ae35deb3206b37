"""Observers against definitions written out here, and their algebra: merging is one pass."""

from __future__ import annotations

import json
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qcore.errors import BadInput, BadRecipe
from qcore.observers import (
    HistogramObserver,
    MinMax,
    MovingAverage,
    Observer,
    State,
    TFLite,
    extremes,
    find,
)
from qcore.observers import moving_average as moving_average_module
from qcore.observers.base import BLOCK
from qcore.observers.histogram import exponent_for
from qcore.observers.tflite import sharing
from tests.calibrate import graphs

floats = st.floats(width=32, allow_nan=False, allow_infinity=False)
arrays = hnp.arrays(np.float32, st.integers(1, 40), elements=floats)
parts = st.lists(arrays, min_size=1, max_size=6)
observers = pytest.mark.parametrize(
    "observer",
    [
        MinMax(),
        MovingAverage(),
        MovingAverage(0.5),
        HistogramObserver(),
        HistogramObserver(8),
        TFLite(),
    ],
    ids=str,
)


def observe(observer: Observer, samples: list[np.ndarray]) -> State:
    state = observer.start()
    for values in samples:
        state.update(values, *extremes(values))
    return state


def histogram_oracle(samples: list[np.ndarray], bins: int) -> dict[Fraction, int]:
    """Left edge -> count, in exact arithmetic, all data at once."""
    values = [Fraction(float(v)) for s in samples for v in s]
    lo, hi = min(values), max(values)
    largest = max(abs(lo), abs(hi))
    exponent = -149 - 24
    if largest:
        while Fraction(2) ** (exponent + 24) <= largest:
            exponent += 1
    while (
        math.floor(hi / Fraction(2) ** exponent) - math.floor(lo / Fraction(2) ** exponent) >= bins
    ):
        exponent += 1
    width = Fraction(2) ** exponent
    counts: dict[Fraction, int] = {}
    for v in values:
        edge = math.floor(v / width) * width
        counts[edge] = counts.get(edge, 0) + 1
    return counts


@given(parts, st.sampled_from([2, 7, 64, 2048]))
def test_histogram_is_the_exact_one(samples: list[np.ndarray], bins: int) -> None:
    found = observe(HistogramObserver(bins), samples).stats()
    histogram = found.extra
    assert histogram.counts.size <= bins
    got = {
        Fraction(float(edge)): int(n)
        for edge, n in zip(histogram.edges[:-1], histogram.counts)
        if n
    }
    assert got == histogram_oracle(samples, bins)
    assert histogram.counts.sum() == found.count == sum(s.size for s in samples)


def test_histogram_oracle_fails_for_another_histogram() -> None:
    samples = [np.array([0.0, 1.0, 3.0], np.float32)]
    other = [np.array([0.0, 1.0, 2.0], np.float32)]
    assert histogram_oracle(samples, 8) != histogram_oracle(other, 8)


@pytest.mark.parametrize("scale", [1e-42, 1e-20, 1.0, 1e20, 3e38])
def test_histogram_of_many_values_at_any_scale(rng: np.random.Generator, scale: float) -> None:
    values = (rng.uniform(-1, 1, 70_001) * scale).astype(np.float32)
    found = observe(HistogramObserver(256), [values[:10], values[10:]]).stats().extra
    numbers = np.floor(np.ldexp(values.astype(np.float64), -found.exponent)).astype(int)
    expected = np.bincount(numbers - found.first, minlength=found.counts.size)
    assert np.array_equal(found.counts, expected) and len(expected) > 100


@given(floats, floats, floats, floats)
def test_histogram_exponent_grows_with_the_range(a: float, b: float, c: float, d: float) -> None:
    inner, outer = sorted((a, b)), sorted((a, b, c, d))
    assert exponent_for(inner[0], inner[1], 64) <= exponent_for(outer[0], outer[-1], 64)


@observers
@given(parts, st.data())
def test_merging_parts_is_one_pass(
    observer: Observer, samples: list[np.ndarray], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(samples)))
    left, right = observe(observer, samples[:cut]), observe(observer, samples[cut:])
    assert left.merge(right) == observe(observer, samples)


@observers
@given(parts, parts, parts)
def test_merging_is_associative(observer, a, b, c) -> None:
    x, y, z = (observe(observer, p) for p in (a, b, c))
    assert x.merge(y).merge(z) == x.merge(y.merge(z))


@observers
@given(parts)
def test_json_round_trip_is_exact(observer: Observer, samples: list[np.ndarray]) -> None:
    state = observe(observer, samples)
    text = json.dumps(state.to_json())
    back = observer.state.from_json(json.loads(text))
    assert back == state and back.stats() == state.stats()
    again = observe(observer, samples)
    again.update(np.float32([1e3]), 1e3, 1e3)
    assert again != state or samples[0].max() >= 1e3


def test_extremes_over_blocks(rng: np.random.Generator) -> None:
    values = rng.standard_normal(3 * BLOCK + 17).astype(np.float32)
    assert extremes(values) == (float(values.min()), float(values.max()))
    values[2 * BLOCK + 5] = np.nan
    assert math.isnan(extremes(values)[0])
    values[2 * BLOCK + 5] = -np.inf
    assert extremes(values)[0] == -np.inf
    assert extremes(np.float32([])) == (np.inf, -np.inf)
    assert math.copysign(1, extremes(np.float32([-0.0]))[0]) == 1


def test_moving_average_is_litert_quantizers() -> None:
    qsv = pytest.importorskip(
        "litert_quantizer.utils.qsv_utils", reason="extra `peers` (litert-quantizer) is missing"
    )
    rng = np.random.default_rng(3)
    samples = [
        (rng.standard_normal(50) * 10.0 ** rng.integers(-6, 6)).astype(np.float32)
        for _ in range(60)
    ]
    theirs: dict = {}
    for s in samples:
        new = {"min": s.min(keepdims=True), "max": s.max(keepdims=True)}
        theirs = qsv.moving_average_update(theirs, new)
    found = observe(MovingAverage(), samples).stats()
    assert (found.lo[0], found.hi[0]) == (float(theirs["min"][0]), float(theirs["max"][0]))
    swapped = observe(MovingAverage(), samples[::-1]).stats()
    assert swapped != found


def test_moving_average_forgets_old_samples_without_changing(monkeypatch) -> None:
    rng = np.random.default_rng(4)
    samples = [rng.standard_normal(5).astype(np.float32) for _ in range(40)]
    whole = observe(MovingAverage(), samples)
    monkeypatch.setattr(moving_average_module, "KEPT", 7)
    bounded = observe(MovingAverage(), samples)
    assert len(bounded.los) == 7 and bounded.stats() == whole.stats()
    right = observe(MovingAverage(), samples[:6])
    assert bounded.merge(right).stats() == observe(MovingAverage(), samples + samples[:6]).stats()
    with pytest.raises(BadInput, match="only 7 samples are remembered"):
        right.merge(bounded)


def test_states_with_other_settings_do_not_merge() -> None:
    with pytest.raises(BadInput, match="8 and 16 bins"):
        HistogramObserver(8).start().merge(HistogramObserver(16).start())
    with pytest.raises(BadInput, match="smoothing"):
        MovingAverage(0.5).start().merge(MovingAverage(0.6).start())
    with pytest.raises(BadInput):
        MovingAverage(1.0)
    with pytest.raises(BadInput):
        HistogramObserver(1)


def test_find() -> None:
    assert find("minmax") == MinMax() and find(MovingAverage(0.9)) == MovingAverage(0.9)
    assert find(MovingAverage(0.9).to_json()) == MovingAverage(0.9)
    with pytest.raises(BadRecipe, match="known are: histogram, minmax, moving_average, tflite"):
        find("percentile")


def plan(model):
    graph = model.subgraphs[0]
    sizes = {i: 4 * math.prod(t.shape) for i, t in enumerate(graph.tensors)}
    return sharing(graph, lambda i: model.buffers[graph.tensors[i].buffer].nbytes > 0, sizes)


def shared(model) -> dict[str, str]:
    names = [t.name for t in model.subgraphs[0].tensors]
    return {names[a]: names[b] for a, b in plan(model).overwritten.items()}


def three(
    second: tuple, extra: list | None = None, outputs: list | None = None, a=(1, 4), b=(1, 4)
):
    """x -> a = exp(x) -> b = second -> y = exp(b), and what else reads."""
    tensors = {
        "x": (1, 4),
        "c": np.ones((1, 4), np.float32),
        "a": a,
        "b": b,
        "y": (1, 4),
        "z": (1, 4),
    }
    operators = [("EXP", ["x"], ["a"]), second, ("EXP", ["b"], ["y"]), *(extra or [])]
    return graphs.model(tensors, operators, ["x"], outputs or ["y"])


def test_in_place_rules_of_the_arena() -> None:
    add = ("ADD", ["a", "c"], ["b"], graphs.ADD)
    assert shared(three(add)) == {"a": "b"}
    assert shared(three(("ADD", ["c", "a"], ["b"], graphs.ADD))) == {"a": "b"}
    assert shared(three(("SOFTMAX", ["a"], ["b"], graphs.SOFTMAX))) == {"a": "b"}
    assert shared(three(("EXP", ["a"], ["b"]))) == {}
    # not a graph input, not into a graph output, not when read twice, not of another size
    assert shared(three(("ADD", ["x", "c"], ["b"], graphs.ADD))) == {}
    assert shared(three(add, outputs=["b"])) == {}
    assert shared(three(add, outputs=["y", "a"])) == {}
    assert shared(three(add, [("EXP", ["a"], ["z"])])) == {}
    assert shared(three(("ADD", ["a", "a"], ["b"], graphs.ADD))) == {}
    assert shared(three(add, a=(1, 1))) == {}
    # a scalar is never shared
    assert shared(three(("MUL", ["a", "c"], ["b"], graphs.MUL), a=(), b=())) == {}
    # through a view: the value under it must be read once as well
    view = ("RESHAPE", ["a"], ["b"], graphs.RESHAPE)
    after = [("ADD", ["b", "c"], ["z"], graphs.ADD), ("EXP", ["z"], ["y"])]
    tensors = {
        "x": (1, 4),
        "c": np.ones((1, 4), np.float32),
        "a": (1, 4),
        "b": (1, 4),
        "z": (1, 4),
        "y": (1, 4),
        "w": (1, 4),
    }
    once = graphs.model(tensors, [("EXP", ["x"], ["a"]), view, *after], ["x"], ["y"])
    assert shared(once) == {"b": "z"}
    twice = graphs.model(
        tensors, [("EXP", ["x"], ["a"]), view, ("EXP", ["a"], ["w"]), *after], ["x"], ["y"]
    )
    assert shared(twice) == {} and not plan(once).spoiled
    # a view of a result computed in place: z takes the memory of a, although b is still to be read
    chained = [
        ("EXP", ["x"], ["a"]),
        ("ADD", ["a", "c"], ["b"], graphs.ADD),
        ("RESHAPE", ["b"], ["w"], graphs.RESHAPE),
        ("SOFTMAX", ["w"], ["z"], graphs.SOFTMAX),
        ("MUL", ["z", "b"], ["y"], graphs.MUL),
    ]
    spoiling = graphs.model(tensors, chained, ["x"], ["y"])
    assert shared(spoiling) == {"a": "b", "w": "z"}
    both = [*chained[:3], ("ADD", ["w", "b"], ["z"], graphs.ADD), ("EXP", ["z"], ["y"])]
    found = graphs.model(tensors, both, ["x"], ["y"])
    assert shared(found) == {"a": "b", "w": "z", "b": "z"} and not plan(found).spoiled
    assert plan(spoiling).spoiled == ((3, 3),)


def test_tflite_start_value() -> None:
    found = observe(TFLite(), [np.float32([-3.0, -1.0])]).stats()
    assert (found.lo[0], found.hi[0]) == (-3.0, 2.0**-126)
