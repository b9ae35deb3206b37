"""Strategies of whole models, data and recipes: what is drawn occurs, runs, and shrinks."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

import tflite_schema as ts
from qcore.binding import Binder, entries
from qcore.calibrate import Calibration
from qcore.graph import Graph
from qcore.observers import Observer
from qcore.quantize import Quantized
from qcore.recipe import Recipe, names
from qcore.testing import strategies as qs
from qcore.testing.graphs import operators
from qcore.testing.strategies.data import DATA_KINDS
from qcore.testing.strategies.graphs import CALLS
from tests.twin.runs import Runner

MANY = settings(
    max_examples=400, derandomize=True, database=None, phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
SEARCH = settings(
    max_examples=100, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


def operators_of(model: ts.Model) -> list[str]:
    return [op.name for s in model.subgraphs for op in s.operators]


def occurring(models: st.SearchStrategy[ts.Model], tries: settings = MANY) -> Counter[str]:
    """How many of the models hold each operator and each feature."""
    seen: Counter[str] = Counter()

    @tries
    @given(models)
    def look(model: ts.Model) -> None:
        seen.update(set(operators_of(model)))
        first = Graph(model, 0)
        ends = set(first.outputs)
        reads = Counter(t for op in first.operators for t in op.inputs if t >= 0)
        seen["several signatures"] += len(model.signature_defs or ()) > 1
        seen["several outputs"] += len(ends) > 1
        seen["an output that is read"] += any(reads[t] for t in ends & first.producer.keys())
        seen["an output that is an input"] += bool(ends & set(first.inputs))
        seen["an output that is a constant"] += any(map(first.is_constant, ends))
        seen["an output twice"] += len(ends) < len(first.outputs)
        seen["a branch"] += any(reads[t] > 1 for t in first.producer)
        seen["a shared constant"] += any(n > 1 and first.is_constant(t) for t, n in reads.items())
        used = {t for op in first.operators for t in (*op.inputs, *op.outputs)}
        seen["an unused tensor"] += len({*used, *ends} - {-1}) < len(first.tensors)
        seen["an unread input"] += any(not reads[t] for t in first.inputs)
        seen["a shared buffer"] += _shared(model)
        seen["tensors of one name"] += len({t.name for t in first.tensors}) < len(first.tensors) - 1

    look()
    return seen


def rare(seen: Counter[str]) -> list[str]:
    """Features, and operators that call subgraphs, which hardly ever occur."""
    features = [k for k in seen if " " in k]
    assert len(features) == 12
    return [k for k in (*features, *CALLS) if seen[k] < 3]


def test_everything_that_is_promised_occurs():
    seen = occurring(qs.float_models())
    assert rare(seen) == []
    assert len(set(operators()) & seen.keys()) > 50, set(operators()) - seen.keys()


def _shared(model: ts.Model) -> bool:
    used = [{t.buffer for t in s.tensors if t.buffer} for s in model.subgraphs]
    return any(a & b for i, a in enumerate(used) for b in used[i + 1 :])


@settings(max_examples=25)
@given(qs.float_models())
def test_float_models_can_be_bound_and_carry_ranges(model):
    assert ts.read(ts.to_bytes(model)).subgraphs == model.subgraphs
    assert len(Calibration.from_model(model)) > 0
    assert len(entries(model)) == max(1, len(model.signature_defs or ()))


def test_the_official_interpreter_runs_them(depth):
    with Runner() as runner:

        @settings(max_examples=25 * depth, suppress_health_check=list(HealthCheck))
        @given(qs.float_models(ranges=False))
        def runs(model: ts.Model) -> None:
            assert (refusal := runner.refusal(model)) is None, refusal

        runs()


def test_only_the_operators_asked_for():
    @settings(max_examples=20)
    @given(qs.float_models(("ADD", "RELU"), several=False))
    def holds(model: ts.Model) -> None:
        assert set(operators_of(model)) <= {"ADD", "RELU"}

    holds()


def test_a_failure_becomes_one_operator():
    few = qs.float_models(("ABS", "CONCATENATION"), most=3, several=False)
    model = find(few, lambda m: "CONCATENATION" in operators_of(m), settings=SEARCH)
    assert operators_of(model) == ["CONCATENATION"]


HOLDS = {
    "zero": lambda arrays: not any(a.any() for a in arrays),
    "constant": lambda arrays: all(np.ptp(a) == 0 for a in arrays),
    "outlier": lambda arrays: any(np.abs(a).max() >= 1e4 for a in arrays),
    "nan": lambda arrays: any(np.isnan(a).any() for a in arrays),
    "infinity": lambda arrays: any(np.isinf(a).any() for a in arrays),
    "tiny": lambda arrays: all(np.abs(a).max() < 1e-38 for a in arrays),
}
WRONG = {
    "zero": [[0, 1]], "constant": [[0, 1]], "outlier": [[1, 100]], "nan": [[1, np.inf]],
    "infinity": [[1, np.nan]], "tiny": [[1e-30]],
}  # fmt: skip


@pytest.mark.parametrize("kind", DATA_KINDS)
def test_calibration_data_are_what_their_kind_says(kind):
    seen: Counter[str] = Counter()
    holds = HOLDS.get(kind, lambda arrays: all(np.isfinite(a).all() for a in arrays))

    @settings(max_examples=12, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def look(data: st.DataObject) -> None:
        model = data.draw(qs.float_models(most=1, several=False))
        samples = data.draw(qs.calibration_data(model, [kind], least=0))
        seen[f"{min(len(samples), 2)}"] += 1
        if not samples:
            return
        arrays = [a for b in Binder(model).all(samples) for a in b.arrays]
        assert holds([a for a in arrays if a.dtype == np.float32])

    look()
    assert seen["0"] and seen["2"], seen


@settings(max_examples=40)
@given(st.data())
def test_recipes_are_whole_and_can_be_saved(data):
    model = data.draw(st.none() | qs.float_models(most=2))
    found = data.draw(qs.recipes(model, deviations=True))
    assert Recipe.from_json(found.to_json()) == found
    observer = data.draw(qs.observers())
    assert Observer.from_json(observer.to_json()) == observer


def test_every_shipped_recipe_occurs():
    seen: set[str] = set()

    @settings(MANY, max_examples=150)
    @given(qs.recipes(most=0))
    def look(found: Recipe) -> None:
        seen.add(found.name)

    look()
    assert seen == set(names())


@settings(max_examples=15, suppress_health_check=list(HealthCheck))
@given(qs.quantized_models(by=qs.recipes(base=("int8",), most=0)))
def test_quantized_models_are_of_their_recipe(quantized):
    assert isinstance(quantized, Quantized)
    assert ts.read(quantized.to_bytes()).subgraphs
    assert quantized.plan.recipe == "int8"


def test_a_wrong_strategy_would_be_seen():
    """What the first test counts is really looked at: the plainest models have next to none."""
    plain = qs.float_models(("RELU",), most=1, several=False)
    absent = rare(occurring(plain.filter(lambda m: len(m.subgraphs[0].tensors) == 2), SEARCH))
    assert len(absent) > 10 and {*CALLS, "several signatures", "a shared constant"} <= {*absent}


@pytest.mark.parametrize(("kind", "given_"), [(k, o) for k in WRONG for o in WRONG[k]])
def test_wrong_data_would_be_seen(kind, given_):
    assert not HOLDS[kind]([np.float32(given_)])
