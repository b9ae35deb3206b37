"""Operators of mode int16x8 in an int8 model: files that run, to the runtime's own integers."""

from __future__ import annotations

import re
from collections import Counter
from contextlib import ExitStack
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qcore
import tflite_schema as ts
from kernels import ops
from kernels.call import Call, Tensor
from kernels.profile import OPTIMIZED, REFERENCE, XNNPACK
from qcore.calibrate import Calibration
from qcore.errors import BadRecipe, QcoreError
from qcore.plan.values import Step
from qcore.quantize import Quantized, apply_plan, quantize
from qcore.recipe import Recipe, recipe
from qcore.schemes import Percentile
from qcore.testing import strategies as qs
from qcore.testing.build import Builder
from qcore.testing.checks import ModelCheck
from qcore.testing.checks.model import WORKER, compare
from qcore.testing.checks.runtime import MEMORY, SECONDS, Asked
from qcore.testing.properties import WITHIN
from qcore.testing.strategies.data import FINITE
from tests.plan.test_properties import ANY, assert_whole, sentence

PATHS = (REFERENCE, OPTIMIZED, XNNPACK)
DIALECTS = ("int8", "int8_legacy")
# Refusals that have nothing to do with int16: roots of negative samples, a constant output when all
# tensors are kept, divisors outside their range.
OTHERS = ("is only defined for", "failed to setup XNNPACK runtime", "data[i] != zero_point")


def network(last: str = "SOFTMAX") -> ts.Model:
    """Four convolutions in a row, an average, a RESHAPE, and an operator at the end."""
    rng = np.random.default_rng(5)
    b = Builder()
    x = b.input((1, 6, 6, 3), "x")
    depth = 3
    for i, units in enumerate((4, 5, 4, 3)):
        w = b.const(rng.normal(0, 0.3, (units, 3, 3, depth)).astype(np.float32))
        bias = b.const(rng.normal(0, 0.1, units).astype(np.float32))
        x = b.op(
            "CONV_2D", [x, w, bias], (1, 6, 6, units), names=[f"conv{i}"], padding="SAME",
            stride_w=1, stride_h=1,
        )  # fmt: skip
        depth = units
    x = b.op(
        "AVERAGE_POOL_2D", [x], (1, 3, 3, 3), names=["pool"], padding="VALID", stride_w=2,
        stride_h=2, filter_width=2, filter_height=2,
    )  # fmt: skip
    x = b.op("RESHAPE", [x, b.const(np.array([1, 27], np.int32))], (1, 27), names=["flat"])
    beta = {"beta": 1.0} if last == "SOFTMAX" else {}
    return b.model(outputs=[b.op(last, [x], (1, 27), names=["last"], **beta)])


@pytest.fixture(scope="module")
def samples() -> list[np.ndarray]:
    return list(np.random.default_rng(6).normal(0, 1, (3, 1, 6, 6, 3)).astype(np.float32))


@pytest.fixture(scope="module")
def calibration(samples: list[np.ndarray]) -> Calibration:
    return qcore.calibrate(network(), samples)


def steps(made: Quantized) -> list[tuple[str, str]]:
    """(operator, type that it writes) of every step."""
    part = made.plan.subgraphs[0]
    return [(s.name, part.forms[s.outputs[0]].dtype) for s in part.steps]


def step(made: Quantized, name: str, number: int = 0) -> Step:
    return [s for s in made.plan.subgraphs[0].steps if s.name == name][number]


def assert_equal(made: Quantized, samples: list[np.ndarray], floats: bool = False) -> None:
    """No integer differs from the official runtime's, on any path; floats: beside operators left
    float, whose results only have to be within their bounds."""
    found = qcore.verify(made, samples)
    assert {path.path for path in found.paths} == {profile.path for profile in PATHS}
    for path in found.paths:
        assert path.compared.elements > 0 and path.tensors.elements > 0
        assert path.ok and not path.failed
        assert floats or path.tensors.differing == 0


@st.composite
def with_islands(draw: st.DrawFn, model: ts.Model, base: tuple[str, ...]) -> Recipe:
    """A recipe with some of the model's operators in int16x8, and other types at its ends."""
    found = recipe(draw(st.sampled_from(base)))
    names = [
        s.tensors[t].name for s in model.subgraphs for op in s.operators for t in op.outputs[:1]
    ]
    for name in draw(st.lists(st.sampled_from([n for n in names if n] or ["*"]), max_size=6)):
        mode = draw(st.sampled_from(("int16x8", "int16x8", "int16x8", "float")))
        found = found.with_rule(name=name, mode=mode)
    if draw(st.booleans()):
        found = found.with_rule(name="re:[02468]$", mode="int16x8")
    whole = found.name.startswith("int8")
    ends = st.sampled_from(("float32", "int8", "uint8", "int16") if whole else ("float32",))
    return found.replace(input_type=draw(ends), output_type=draw(ends))


def types(model: ts.Model, op: ts.Operator, part: ts.SubGraph) -> set[str]:
    """Types of the quantized values that an operator reads and writes, constants left out."""
    found = (part.tensors[t] for t in (*op.inputs, *op.outputs) if t >= 0)
    return {
        t.type.name
        for t in found
        if t.quantization is not None and t.quantization.scale is not None
        and not model.buffers[t.buffer].nbytes
    }  # fmt: skip


@pytest.mark.parametrize("base", DIALECTS)
def test_random_islands_compute_what_the_runtime_computes(base, depth):
    """Written, allocated, run on three paths, equal in every integer of every tensor."""
    counts: Counter[str] = Counter()
    done = [ModelCheck(profile) for profile in PATHS]
    with ExitStack() as stack:
        asked = [stack.enter_context(Asked(d.profile, SECONDS, MEMORY, WORKER)) for d in done]

        @settings(max_examples=20 * depth, suppress_health_check=ANY)
        @given(st.data())
        def runs(data: st.DataObject) -> None:
            model = data.draw(qs.float_models(most=5))
            chosen = data.draw(with_islands(model, (base,)))
            try:
                made = quantize(model, chosen, Calibration.from_model(model))
            except QcoreError as error:
                assert "asks for" in sentence(error) or "is a weight with" in str(error), error
                counts["refused"] += 1
                return
            assert_whole(made)
            file = ts.read(made.to_bytes())
            for part in file.subgraphs:
                kinds = [types(file, op, part) for op in part.operators]
                counts["int16"] += {"INT16"} in kinds
                counts["both"] += {"INT16"} in kinds and {"INT8"} in kinds
                counts["borders"] += {"INT16", "INT8"} in kinds
            samples = data.draw(qs.calibration_data(model, FINITE, most=1))
            for ask, check in zip(asked, done, strict=True):
                refused = compare(ask, file, samples, "fast", check, WITHIN)
                if refused and check.profile.is_reference and "find op for builtin" in refused:
                    counts["unregistered"] += 1  # TILE 3, ELU 1: kernels that only the others have
                    continue
                assert not refused or any(o in refused for o in OTHERS), refused

        runs()
    assert counts["borders"] >= 3 * depth and counts["both"] >= 3 * depth, counts
    assert all(d.models > 3 * depth and d.compared > 500 for d in done), done
    assert all(d.models > 8 * depth for d in done[1:]), done


@pytest.mark.parametrize("base", [*DIALECTS, "int8_float_io", "int16x8", "dynamic"])
def test_a_rule_that_selects_nothing_changes_nothing(base):
    counts: Counter[str] = Counter()

    @settings(max_examples=10, suppress_health_check=ANY)
    @given(qs.float_models(most=5))
    def holds(model: ts.Model) -> None:
        found = Calibration.from_model(model)
        ruled = recipe(base).with_rule(name="no operator", mode="int16x8")
        try:
            plain = quantize(model, base, found)
        except QcoreError as error:
            with pytest.raises(type(error), match=re.escape(str(error))):
                quantize(model, ruled, found)
            return
        assert quantize(model, ruled, found).to_bytes() == plain.to_bytes()
        counts["same"] += 1

    holds()
    assert counts["same"] >= 5


@pytest.mark.parametrize("base", DIALECTS)
def test_neighbours_share_int16_and_borders_are_quantized(base, samples, calibration):
    made = quantize(network(), recipe(base).with_rule(name="conv[12]", mode="int16x8"), calibration)
    assert steps(made) == [
        ("CONV_2D", "int8"), ("QUANTIZE", "int16"), ("CONV_2D", "int16"), ("CONV_2D", "int16"),
        ("QUANTIZE", "int8"), ("CONV_2D", "int8"), ("AVERAGE_POOL_2D", "int8"),
        ("RESHAPE", "int8"), ("SOFTMAX", "int8"),
    ]  # fmt: skip
    part = made.plan.subgraphs[0]
    inside = [s for s in part.steps if s.mode == "int16x8" and s.source is not None]
    assert [s.source for s in inside] == [1, 2]
    for s in inside:
        x, w, b = (part.forms[f] for f in s.inputs)
        assert (x.dtype, w.dtype, b.dtype) == ("int16", "int8", "int64")
        assert w.params.groups > 1 and not x.params.zero_point.any()
        assert b.params.scale == pytest.approx(x.params.scale * w.params.scale, rel=1e-6)
        assert s.options["quantized_bias_type"] == "INT64"
    # Outside, everything is as without the rule.
    plain = quantize(network(), base, calibration).plan.subgraphs[0]
    grids = {f.tensor: f.params for f in plain.forms if f.dtype == "int8" and f.rounding is None}
    outside = [f for f in part.forms if f.dtype == "int8" and f.rounding is None]
    assert len(outside) == 7 and all(f.params.same(grids[f.tensor]) for f in outside)
    assert_equal(made, samples)


def test_the_border_into_int16_rounds_and_clips_nothing(calibration):
    made = quantize(network(), recipe("int8").with_rule(name="conv1", mode="int16x8"), calibration)
    part, border = made.plan.subgraphs[0], step(made, "QUANTIZE")
    source, target = part.forms[border.inputs[0]].params, part.forms[border.outputs[0]].params
    codes = np.arange(-128, 128, dtype=np.int8)
    for profile in PATHS:
        x = Tensor("int8", codes, source.scale, source.zero_point)
        y = Tensor("int16", None, target.scale, target.zero_point, declared=codes.shape)
        (out,) = ops.module("QUANTIZE").reference(Call("QUANTIZE", (x,), (y,), profile=profile))
        assert (out == (codes.astype(np.int64) - source.zero_point) * 128).all()


@pytest.mark.parametrize(
    ("base", "ends"),
    [*(("int8", ends) for ends in ("float32", "int8", "uint8", "int16")), ("int8_legacy", "uint8")],
)
def test_islands_at_the_ends_of_the_graph(base, ends, samples, calibration):
    """The ends have the type that the recipe says; a float is quantized to int16 at once."""
    chosen = recipe(base).with_rule(name="re:^(conv0|last)$", mode="int16x8")
    made = quantize(network(), chosen.replace(input_type=ends, output_type=ends), calibration)
    part = made.plan.subgraphs[0]
    assert {part.forms[f].dtype for f in (*part.inputs, *part.outputs)} == {ends}
    assert part.forms[step(made, "SOFTMAX").outputs[0]].dtype == "int16"
    if ends == "float32":
        assert steps(made)[:2] == [("QUANTIZE", "int16"), ("CONV_2D", "int16")]
        assert step(made, "DEQUANTIZE").inputs == step(made, "SOFTMAX").outputs
    if ends == "int8":  # what the kernel would write
        assert part.forms[part.outputs[0]].params.same(qcore.Affine.of(1 / 256, -128))
    assert_equal(made, samples)


def test_both_sides_quantize_a_float_input_for_themselves():
    rng = np.random.default_rng(7)
    b = Builder()
    x = b.input((2, 4), "x")
    w = b.const(rng.normal(0, 1, (3, 4)).astype(np.float32))
    outputs = [b.op("FULLY_CONNECTED", [x, w, None], (2, 3), names=[n]) for n in ("a", "b")]
    model, samples = b.model(outputs=outputs), [rng.normal(0, 1, (2, 4)).astype(np.float32)]
    chosen = recipe("int8_float_io").with_rule(name="b", mode="int16x8")
    made = quantize(model, chosen, samples)
    part = made.plan.subgraphs[0]
    assert steps(made)[:2] == [("QUANTIZE", "int8"), ("QUANTIZE", "int16")]
    assert all(s.inputs == part.inputs for s in part.steps[:2])
    weights = {s.inputs[1] for s in part.steps if s.name == "FULLY_CONNECTED"}
    assert len(weights) == 1  # stored once
    assert_equal(made, samples)


def test_a_constant_beside_activations_is_stored_as_each_side_reads_it():
    rng = np.random.default_rng(8)
    b = Builder()
    x, c = b.input((2, 4), "x"), b.const(rng.normal(0, 1, (2, 4)).astype(np.float32))
    outputs = [b.op("ADD", [x, c], (2, 4), names=[n]) for n in ("a", "b")]
    model, samples = b.model(outputs=outputs), [rng.normal(0, 1, (2, 4)).astype(np.float32)]
    for base in DIALECTS:
        made = quantize(model, recipe(base).with_rule(name="b", mode="int16x8"), samples)
        part = made.plan.subgraphs[0]
        both = [step(made, "ADD", n) for n in (0, 1)]
        assert [part.forms[s.inputs[1]].dtype for s in both] == ["int8", "int16"]
        assert both[1].options["pot_scale_int16"] is False
        assert_equal(made, samples)


@pytest.mark.parametrize("base", DIALECTS)
def test_int16_is_closer_to_float(base):
    """The more of it, and with all of it only the rounding of the weights is left."""
    model = network("TANH")
    samples = list(np.random.default_rng(6).normal(0, 1, (16, 1, 6, 6, 3)).astype(np.float32))
    found = qcore.calibrate(model, samples)
    truth = [next(iter(qcore.run(model, x, mode="real").values())) for x in samples]

    def sqnr(chosen: Recipe) -> float:
        made = quantize(model, chosen.replace(input_type="float32", output_type="float32"), found)
        values = [next(iter(qcore.run(made, x, mode="fast").values())) for x in samples]
        return qcore.metrics.SQNR_dB(np.stack(truth), np.stack(values))

    plain = recipe(base)
    islands = ("re:conv", "re:conv|pool|flat", "*")
    values = [sqnr(plain), *(sqnr(plain.with_rule(name=n, mode="int16x8")) for n in islands)]
    assert all(two > one + 1 for one, two in pairwise(values)), values
    assert values[-1] == pytest.approx(sqnr(recipe("weight_only")), abs=0.2)


def test_what_is_averaged_at_a_border_keeps_its_range(calibration):
    """Not that of the average, in which it would be clipped."""
    made = quantize(
        network(), recipe("int8").with_rule(name="re:conv", mode="int16x8"), calibration
    )
    plain = quantize(network(), "int8", calibration)
    (one,), (other,) = (
        [m.plan.subgraphs[0].forms[step(m, "AVERAGE_POOL_2D").outputs[0]].params]
        for m in (made, plain)
    )
    assert one.same(other)


def test_the_whole_model_in_either_dialect(samples, calibration):
    for base in DIALECTS:
        chosen = recipe(base).with_rule(mode="int16x8")
        chosen = chosen.replace(input_type="int16", output_type="int16")
        made = quantize(network(), chosen, calibration)
        assert {dtype for _, dtype in steps(made)} == {"int16"} and len(steps(made)) == 7
        assert_equal(made, samples)


def test_beside_int16_by_dtype_and_tuned_weights(samples):
    chosen = recipe("int16x8").replace(dialect="mlir").with_rule(name="conv1", mode="int16x8")
    made = quantize(network(), chosen, samples)
    assert {dtype for _, dtype in steps(made)} == {"int16"} and len(steps(made)) == 7
    assert_equal(made, samples)
    made = quantize(
        network(), recipe("int8_tuned").with_rule(name="conv1", mode="int16x8"), samples
    )
    assert steps(made)[1:4] == [("QUANTIZE", "int16"), ("CONV_2D", "int16"), ("QUANTIZE", "int8")]
    assert_equal(made, samples)


def test_in_a_model_of_float_activations(samples, calibration):
    """The rule brings all that it needs: a recipe without a word of activations takes it."""
    made = quantize(network(), recipe("dynamic").with_rule(name="conv2", mode="int16x8"), samples)
    assert steps(made)[2:5] == [
        ("QUANTIZE", "int16"),
        ("CONV_2D", "int16"),
        ("DEQUANTIZE", "float32"),
    ]
    assert_equal(made, samples, floats=True)


@pytest.mark.parametrize("base", DIALECTS)
def test_without_a_kernel_it_is_float_and_the_plan_says_so(base, samples):
    model = network("LOG_SOFTMAX")
    made = quantize(model, recipe(base).with_rule(name="re:flat|last", mode="int16x8"), samples)
    assert step(made, "LOG_SOFTMAX").mode == "float32"
    assert step(made, "LOG_SOFTMAX").note == "no runtime has an int16 kernel"
    assert step(made, "RESHAPE").mode == "int16x8"
    assert_equal(made, samples, floats=True)


def test_computed_weights_keep_an_operator_float():
    rng = np.random.default_rng(9)
    b = Builder()
    x, w = b.input((2, 4), "x"), b.input((3, 4), "w")
    out = b.op("FULLY_CONNECTED", [x, w, None], (2, 3), names=["y"])
    samples = [(rng.normal(0, 1, (2, 4)), rng.normal(0, 1, (3, 4)))]
    samples = [tuple(a.astype(np.float32) for a in s) for s in samples]
    made = quantize(b.model(outputs=[out]), recipe("int8").with_rule(mode="int16x8"), samples)
    assert step(made, "FULLY_CONNECTED").note.endswith("'w' is computed")


def test_schemes_of_activations_are_kept_where_they_can_be_symmetric(calibration, samples):
    chosen = recipe("int8").with_rule(name="conv1", mode="int16x8")

    def rule(chosen: Recipe) -> str:
        made = quantize(network(), chosen, samples)
        part = made.plan.subgraphs[0]
        form = part.forms[step(made, "CONV_2D", 1).outputs[0]]
        assert form.dtype == "int16" and not form.params.zero_point.any()
        return form.rule

    assert rule(chosen) == "symmetric"
    percentile = chosen.with_rule(operand="activation", scheme=Percentile(99.0))
    assert rule(percentile) == "percentile"
    odd = chosen.with_rule(operand="activation", scheme=Percentile(99.0, symmetric=False))
    assert rule(odd) == "symmetric"


@pytest.mark.parametrize("base", DIALECTS)
def test_a_dtype_for_a_few_activations_is_refused(base, calibration):
    """It would give operators two types; the message names what does it."""
    symmetric = {"key": "symmetric", "arithmetic": recipe(base).dialect}
    chosen = recipe(base).with_rule(
        operand="activation", name="conv1", dtype="int16", scheme=symmetric
    )
    with pytest.raises(BadRecipe, match='mode = "int16x8" instead of a dtype') as caught:
        quantize(network(), chosen, calibration)
    assert "int16" in sentence(caught.value)


def test_a_border_left_out_would_be_seen(samples, calibration):
    """The runtime refuses the file, and a border on another grid is another file's integers."""
    chosen = recipe("int8").with_rule(name="conv1", mode="int16x8")
    made = quantize(network(), chosen, calibration)
    assert_equal(made, samples)
    part, border = made.plan.subgraphs[0], step(made, "QUANTIZE")
    kept = tuple(
        s.replace(inputs=tuple(border.inputs[0] if f == border.outputs[0] else f for f in s.inputs))
        for s in part.steps
        if s is not border
    )
    wrong = apply_plan(made.source, made.plan.replace(subgraphs=(part.replace(steps=kept),)))
    with pytest.raises(AssertionError):
        assert_equal(wrong, samples)
