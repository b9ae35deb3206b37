"""Random models with random recipes that tune: nothing but integers of linear operators changes,
and the files run to the runtime's own integers."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import tflite_schema as ts
from kernels.profile import Profile
from qcore.calibrate import Calibration
from qcore.errors import QcoreError
from qcore.graph import graphs
from qcore.params import TensorKey
from qcore.plan import Plan
from qcore.quantize import Quantized, apply_plan, quantize
from qcore.recipe import Recipe, recipe
from qcore.testing import strategies as qs
from qcore.testing.checks import ModelCheck
from qcore.testing.checks.model import WORKER, compare
from qcore.testing.checks.runtime import MEMORY, SECONDS, Asked
from qcore.testing.properties import WITHIN
from qcore.testing.strategies.data import FINITE
from qcore.tune.biases import with_own_biases
from qcore.tune.moments import Moments
from qcore.tune.operators import linears
from tests.plan.test_properties import ANY, assert_whole, sentence

OPERATORS = (
    "FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "RESHAPE", "CONCATENATION", "RELU",
    "SOFTMAX", "MAX_POOL_2D",
)  # fmt: skip
BASES = ("int8", "int8_float_io", "int8_legacy", "int16x8", "dynamic", "weight_only", "int4")


@st.composite
def tuning(draw: st.DrawFn, model: ts.Model) -> tuple[Recipe, Recipe]:
    """A recipe, and the same with tuned constants."""
    plain = recipe(draw(st.sampled_from(BASES))).with_rule(operand="weight", min_elements=0)
    names = [o.name for s in model.subgraphs for op in s.operators
             for o in (s.tensors[t] for t in op.outputs)]  # fmt: skip
    for name in draw(st.lists(st.sampled_from([n for n in names if n] or ["*"]), max_size=2)):
        mode = draw(st.sampled_from(("float", "float16", "dynamic", "weight_only")))
        plain = plain.with_rule(name=name, mode=mode)
    if draw(st.booleans()):
        plain = plain.with_rule(operand="weight", granularity="per_tensor")
    made = plain
    if weights := draw(st.booleans()):
        made = made.with_rule(operand="weight", rounding="gptq")
    if draw(st.booleans()) or not weights:
        made = made.with_rule(operand="bias", rounding="corrected")
    return plain, made


def observed(model: ts.Model, seed: int, level: str) -> dict[TensorKey, Moments]:
    """Moments of random columns, some of which are always 0, for most operators."""
    rng = np.random.default_rng(seed)
    found = {}
    for graph in graphs(model):
        for one in linears(graph):
            if rng.random() < 0.1:
                continue
            x = rng.normal(1, 1, (one.groups, rng.integers(1, 20), one.size))
            x[:, :, rng.random(one.size) < 0.1] = 0
            found[one.key] = Moments.start(one.groups, one.size, level)
            found[one.key].update([x.astype(np.float32)])
    return found


def differences(made: Quantized, plain: Quantized) -> Counter[str]:
    """Asserts that the plans are one but for roundings, and that what is read as float, or by no
    linear operator, is as it was; counts constants that are not."""
    seen: Counter[str] = Counter()
    before, after = plain.plan.subgraphs, made.plan.subgraphs
    for graph, one, two in zip(graphs(plain.source), before, after, strict=True):
        assert one.steps == two.steps
        if one.forms != two.forms:
            assert [f.replace(rounding=None) for f in one.forms] == [
                f.replace(rounding=None) for f in two.forms
            ]
        kept = {two.forms[f].tensor for step in two.steps if not step.inserted for f in step.inputs
                if f >= 0 and two.forms[f].dtype == "float32" and two.forms[f].rule == "kept"
                and step.mode == "float32"}  # fmt: skip
        for tensor in range(len(graph.tensors)):
            if not graph.is_constant(tensor):
                continue
            old, new = (ts.array(q.source, graph.subgraph, tensor) for q in (plain, made))
            if np.array_equal(old, new, equal_nan=old.dtype.kind == "f"):
                continue
            assert np.isfinite(new).all() and tensor not in kept | set(graph.outputs)
            names = {graph.operators[i].name for i, _ in graph.readers[tensor]}
            roles = {p for _, p in graph.readers[tensor]}
            assert names <= {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"} and roles <= {1, 2}
            seen["weights" if 1 in roles else "biases"] += 1
            assert 1 in roles or len(graph.readers[tensor]) == 1
    return seen


def test_random_models(depth: int) -> None:
    counts: Counter[str] = Counter()
    done = ModelCheck(Profile("optimized"))
    with Asked(done.profile, SECONDS, MEMORY, WORKER) as ask:

        @settings(max_examples=80 * depth, suppress_health_check=ANY)
        @given(st.data())
        def holds(data: st.DataObject) -> None:
            model = data.draw(qs.float_models(OPERATORS, most=4))
            level = data.draw(st.sampled_from(("covariance",) * 5 + ("mean",)))
            plain, tuned = data.draw(tuning(model))
            counts["linear"] += any(any(linears(graph)) for graph in graphs(model))
            moments = observed(model, data.draw(st.integers(0, 999)), level)
            calibration = Calibration.from_model(model)
            try:
                want = quantize(with_own_biases(model, tuned), plain, calibration)
            except QcoreError as error:
                sentence(error)
                counts["refused"] += 1
                return
            try:
                made = quantize(model, tuned, replace(calibration, moments=moments))
            except QcoreError as error:
                said = sentence(error)
                assert "which the calibration does not have" in said, said
                counts["without"] += 1
                return
            found = differences(made, want)
            counts.update(found)
            counts["noted"] += any("so that" in note for note in made.plan.notes)
            assert_whole(made)
            file = ts.read(made.to_bytes())
            again = Plan.from_json(json.loads(json.dumps(made.plan.to_json())))
            assert apply_plan(made.source, again).to_bytes() == made.to_bytes()
            if found:
                samples = data.draw(qs.calibration_data(model, FINITE, most=1))
                refused = compare(ask, file, samples, "fast", done, WITHIN)
                assert not refused or "is only defined for positive" in refused, refused

        holds()
    assert counts["weights"] > 5 * depth and counts["biases"] > 3 * depth, counts
    assert counts["noted"] and done.models > 5 * depth and done.compared > 500, (counts, done)
