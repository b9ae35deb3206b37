"""What holds for every plan and every file: random models, recipes, calibrations and data.

The checkers themselves are tested in tests/testing/test_check_files.py, what was found in
test_defects.py.
"""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tflite_schema as ts
from kernels.profile import Profile
from qcore.binding import Binder
from qcore.calibrate import Calibration, calibrate
from qcore.errors import BadInput, BadStatistics, QcoreError, RuntimeFailed
from qcore.execute import Executor
from qcore.params import Stats
from qcore.plan import Plan
from qcore.quantize import Quantized, apply_plan, quantize
from qcore.testing import strategies as qs
from qcore.testing.checks import CheckFailed, ModelCheck, check_quantized, check_roundtrip
from qcore.testing.checks.model import WORKER, compare
from qcore.testing.checks.runtime import MEMORY, SECONDS, Asked
from qcore.testing.properties import WITHIN
from qcore.testing.strategies.data import DATA_KINDS, FINITE
from tests.schema.test_round_trip import bindings_differ, by_bindings

ANY = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
STATIC = ("int8", "int8_float_io", "int8_legacy", "int16x8")


def sentence(error: Exception) -> str:
    """The message, which is one sentence on one line."""
    text = str(error)
    assert text and "\n" not in text and "Traceback" not in text and len(text) < 600, text
    assert not text.endswith(".") or text.endswith("..."), text
    return text


def quantized(model: ts.Model) -> bool:
    tensors = (t for s in model.subgraphs for t in s.tensors)
    return any(t.quantization is not None and t.quantization.scale is not None for t in tensors)


def assert_whole(made: Quantized) -> Counter[str]:
    """Everything that must hold for a result; returns what was compared."""
    counts: Counter[str] = Counter()
    data = made.to_bytes()
    written = ts.read(data)
    counts["tensors"] += check_roundtrip(data).tensors
    if quantized(written):
        found = check_quantized(written)
        counts.update(vars(found))
    else:  # float16, or nothing that the recipe speaks of
        types = {t.type for s in written.subgraphs for t in s.tensors if t.quantization is not None}
        assert not types & {ts.TensorType.INT8, ts.TensorType.INT16, ts.TensorType.UINT8}
    assert made.to_bytes() == data
    assert apply_plan(made.source, made.plan).to_bytes() == data
    plain = made.plan.to_json()
    again = Plan.from_json(json.loads(json.dumps(plain)))
    assert again == made.plan and again.to_json() == plain
    assert apply_plan(made.source, again).to_bytes() == data
    return counts


def test_every_file_holds_what_its_operators_demand():
    total: Counter[str] = Counter()

    @settings(suppress_health_check=ANY)
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        model = data.draw(qs.float_models())
        recipe = data.draw(qs.recipes(model))
        try:
            made = quantize(model, recipe, Calibration.from_model(model))
        except QcoreError as error:
            sentence(error)
            total["refused"] += 1
            return
        total.update(assert_whole(made))
        total["made"] += 1

    holds()
    assert total["made"] > 3 * total["refused"]
    assert all(total[what] > 0 for what in ("biases", "weights")), total
    assert all(total[what] > total["made"] for what in ("grids", "tied", "values")), total


def test_deviations_switched_over_are_no_reason_to_stop():
    """The converter's own answers may be wrong, but the file is whole and the error a sentence."""
    total: Counter[str] = Counter()

    @settings(max_examples=40, suppress_health_check=ANY)
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        model = data.draw(qs.float_models())
        recipe = data.draw(qs.recipes(model, deviations=True))
        try:
            made = quantize(model, recipe, Calibration.from_model(model))
        except QcoreError as error:
            sentence(error)
            return
        total["tensors"] += check_roundtrip(made).tensors

    holds()
    assert total["tensors"] > 0


@settings(max_examples=25, suppress_health_check=ANY)
@given(qs.quantized_models())
def test_the_generated_bindings_read_the_same(made):
    """flatbuffers' own reader sees in the file what it sees in the file read and written again."""
    data = made.to_bytes()
    assert bindings_differ(by_bindings(data), by_bindings(ts.to_bytes(ts.read(data)))) == ""


@settings(max_examples=25, suppress_health_check=ANY)
@given(st.data())
def test_edits_of_a_plan_commute(data):
    """In any order, and so do pruning and reading with them."""
    made = data.draw(qs.quantized_models())
    fixed = [e for e in made.edits if isinstance(e, (ts.AddTensor, ts.AddBuffer))]
    others = [e for e in made.edits if not isinstance(e, (ts.AddTensor, ts.AddBuffer))]
    shuffled = data.draw(st.permutations(others))
    at = data.draw(st.integers(0, len(shuffled)))
    edits = (*shuffled[:at], *fixed, *shuffled[at:])
    assert ts.to_bytes(made.source, edits) == made.to_bytes()


@settings(max_examples=25, suppress_health_check=ANY)
@given(st.data())
def test_a_plan_that_is_edited_does_what_it_says(data):
    """Another name for a form is another name in the file, and nothing else."""
    made = data.draw(qs.quantized_models())
    part = made.plan.subgraphs[0]
    number = data.draw(st.sampled_from(range(len(part.forms))))
    forms = list(part.forms)
    forms[number] = forms[number].replace(name="renamed by hand")
    changed = made.plan.replace(
        subgraphs=(part.replace(forms=tuple(forms)), *made.plan.subgraphs[1:])
    )
    one, other = made.model, apply_plan(made.source, changed).model
    names = [t.name for t in other.subgraphs[0].tensors]
    used = {f for step in part.steps for f in (*step.inputs, *step.outputs)}
    if number in {*used, *part.inputs, *part.outputs}:
        assert names.count("renamed by hand") == 1
    assert len(names) == len(one.subgraphs[0].tensors)


def test_every_file_runs_here_and_in_the_official_interpreter(depth):
    """Both on the same real values, to the same integers, whatever the ends of the file are, and
    with several signatures, branches, loops and variables."""
    counts: Counter[str] = Counter()
    done = ModelCheck(Profile("optimized"))
    with Asked(done.profile, SECONDS, MEMORY, WORKER) as ask:

        @settings(max_examples=25 * depth, suppress_health_check=ANY)
        @given(st.data())
        def runs(data: st.DataObject) -> None:
            model = data.draw(qs.float_models(most=4))
            recipe = data.draw(qs.recipes(model))
            try:
                made = quantize(model, recipe, Calibration.from_model(model))
            except QcoreError as error:
                sentence(error)
                return
            file = ts.read(made.to_bytes())
            samples = data.draw(qs.calibration_data(model, FINITE, most=1))
            refused = compare(ask, file, samples, "reference", done, WITHIN)
            assert not refused or "is only defined for positive" in refused, refused
            counts["several subgraphs"] += len(file.subgraphs) > 1

        runs()
    assert done.models > 10 * depth and done.compared > 1000, done
    assert counts["several subgraphs"] > 3, counts


@pytest.mark.parametrize("kind", DATA_KINDS)
def test_calibration_data_of_every_kind(kind, depth):
    """No crash, no lie: ranges are those of the data, and what no range can be made of is said."""
    counts: Counter[str] = Counter()

    @settings(max_examples=depth, suppress_health_check=ANY)
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        model = data.draw(qs.float_models(most=3, ranges=False))
        observer = data.draw(qs.observers("minmax", "moving_average", "histogram"))
        recipe = data.draw(qs.recipes(model, base=STATIC))
        samples = data.draw(qs.calibration_data(model, [kind]))
        try:
            found = calibrate(model, samples, observer, progress=False)
        except (BadInput, RuntimeFailed) as error:
            text = sentence(error)
            assert "sample" in text or isinstance(error, RuntimeFailed), text
            counts["refused"] += 1
            return
        counts["calibrated"] += 1
        assert found.samples == len(samples)
        for stats in found.values():
            assert np.isfinite([stats.lo, stats.hi]).all() and (stats.lo <= stats.hi).all()
        if observer.key == "minmax":
            counts["ranges"] += same_as_data(model, samples, found)
        try:
            made = quantize(model, recipe, found)
        except QcoreError as error:
            sentence(error)
            return
        assert_whole(made)

    holds()
    assert counts, kind


def same_as_data(model: ts.Model, samples: list, found: Calibration) -> int:
    """Asserts that the ranges of the inputs are those of the samples; returns how many."""
    binder = Binder(model)
    seen: dict[tuple[int, int], list[np.ndarray]] = {}
    for bound in binder.all(samples):
        entry = binder.entries[bound.entry]
        for i, array in zip(entry.inputs, bound.arrays):
            if array.dtype == np.float32:
                seen.setdefault((entry.subgraph, i.tensor), []).append(array)
    compared = 0
    for key, arrays in seen.items():
        stats = {(k.subgraph, k.tensor): v for k, v in found.items()}.get(key)
        if stats is not None:
            assert stats.lo == min(a.min() for a in arrays)
            assert stats.hi == max(a.max() for a in arrays)
            compared += 1
    return compared


@pytest.mark.parametrize("recipe", ["int8", "dynamic"])
def test_no_samples_are_refused_where_they_are_needed(recipe):
    @settings(max_examples=3)
    @given(qs.float_models(most=1, ranges=False, several=False))
    def holds(model: ts.Model) -> None:
        if recipe == "dynamic":
            assert_whole(quantize(model, recipe, []))
            return
        with pytest.raises(QcoreError, match="sample"):
            quantize(model, recipe, [])

    holds()


@settings(max_examples=30, suppress_health_check=ANY)
@given(st.data())
def test_observers_merged_over_any_split_are_one_pass(data):
    """On the activations of random models, for every observer."""
    model = data.draw(qs.float_models(most=2, ranges=False))
    samples = data.draw(qs.calibration_data(model, FINITE, least=2, most=4))
    observer = data.draw(qs.observers())
    executor = Executor(model, "reference", "reference")
    kept = [tensors for _, tensors in executor.run(samples, tensors=True)]
    cuts = data.draw(st.lists(st.integers(0, len(kept)), max_size=2))
    ends = [0, *sorted(cuts), len(kept)]

    def state(part: list[dict[int, np.ndarray]], tensor: int):
        found = observer.start()
        for values in part:
            v = values.get(tensor)
            if v is None or v.dtype != np.float32 or not v.size or not np.isfinite(v).all():
                continue
            lo, hi = float(v.min()) + 0.0, float(v.max()) + 0.0
            if observer.ordered:
                found.append(lo, hi, v.size)
            else:
                found.update(v.reshape(-1), lo, hi)
        return found

    for tensor in {t for values in kept for t in values}:
        whole = state(kept, tensor)
        parts = [state(kept[a:b], tensor) for a, b in pairwise(ends)]
        merged = parts[0]
        for part in parts[1:]:
            merged = merged.merge(part)
        assert merged == whole
        stats = whole.stats()
        assert isinstance(stats, Stats) and (whole.stats() == merged.stats())


def test_a_range_of_nan_is_refused_by_name():
    """What a calibration of one's own may bring."""

    @settings(max_examples=15, suppress_health_check=ANY)
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        model = data.draw(qs.float_models(("ABS", "ADD", "RESHAPE"), most=2, several=False))
        found = Calibration.from_model(model)
        worst = data.draw(st.sampled_from([np.nan, np.inf, -np.inf]))
        states = {key: type(state)(worst, worst) for key, state in found.states.items()}
        with pytest.raises(BadStatistics, match="no scale can stand for"):
            quantize(model, "int8", Calibration(states, found.names))

    holds()


def test_a_wrong_file_would_be_seen():
    """The property above, on a planner that is off by one float32 step."""
    from qcore.plan.values import SubgraphPlan

    def wrong(part: SubgraphPlan) -> SubgraphPlan:
        forms = list(part.forms)
        at = next(s.outputs[0] for s in part.steps if s.source is not None)
        params = forms[at].params
        up = np.nextafter(params.scale, np.float32(np.inf))
        forms[at] = forms[at].replace(params=type(params)(up, params.zero_point))
        return part.replace(forms=tuple(forms))

    @settings(max_examples=5, suppress_health_check=ANY)
    @given(qs.float_models(("RESHAPE", "SLICE"), most=1, several=False))
    def seen(model: ts.Model) -> None:
        made = quantize(model, "int8", Calibration.from_model(model))
        assert_whole(made)
        plan = made.plan.replace(subgraphs=tuple(map(wrong, made.plan.subgraphs)))
        with pytest.raises(CheckFailed, match="is tied to"):
            assert_whole(apply_plan(made.source, plan))

    seen()
