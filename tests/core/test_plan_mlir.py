"""Static plans by rules A, without TensorFlow: what must hold whatever the converter does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

import tflite_schema as ts
from kernels import ops
from kernels.opspec import Role, Tie
from qcore.calibrate import Calibration
from qcore.errors import BadRecipe
from qcore.graph import Graph
from qcore.params import Affine
from qcore.plan.mlir import plan_subgraph
from qcore.plan.values import SubgraphPlan
from qcore.recipe import Recipe, recipe
from qcore.schemes import MinMax, Scheme
from qcore.testing import graphs
from qcore.testing.build import Builder

f32, i32 = np.float32, np.int32


def planned(model: ts.Model, found: Recipe | str = "int8") -> tuple[Graph, SubgraphPlan]:
    graph = Graph(model, 0)
    found = recipe(found)
    return graph, plan_subgraph(graph, found, Calibration.from_model(model))


def dense(bias: bool = True) -> ts.Model:
    """FULLY_CONNECTED and EXP."""
    b = Builder()
    x = b.input((1, 4), "x", range=(-1, 1))
    w = b.const(np.linspace(-1, 1, 12).reshape(3, 4).astype(f32), "w")
    operands = [x, w, b.const(np.ones(3, f32), "bias")] if bias else [x, w]
    y = b.op("FULLY_CONNECTED", operands, (1, 3), range=(-2, 2), names=["y"])
    return b.model([b.op("EXP", [y], (1, 3), range=(0, 8), names=["z"])])


def by_name(graph: Graph, plan: SubgraphPlan, name: str) -> list:
    return [f for f in plan.forms if graph.name(f.tensor) == name]


# --- invariants on random graphs ------------------------------------------------------------------


@pytest.mark.parametrize("name", ["int8", "int8_float_io"])
def test_every_plan_is_consistent(name, depth):
    checked = 0
    for seed in range(150 * depth):
        graph, plan = planned(graphs.random_graph(seed), name)
        where = f"random_graph({seed})"
        written = set(plan.inputs)
        for step in plan.steps:
            for form in step.inputs:
                if form >= 0 and not graph.is_constant(plan.forms[form].tensor):
                    assert form in written, (
                        f"{where}: {step.name} reads {form} before it is written"
                    )
            written.update(step.outputs)
            if step.source is None:
                continue
            spec = ops.find(step.name)
            data = [
                plan.forms[f]
                for p, f in enumerate(step.inputs)
                if f >= 0 and spec.operand(p).role in (Role.ACTIVATION, Role.WEIGHT)
            ]
            results = [plan.forms[f] for f in step.outputs]
            if step.mode == "float32":
                assert step.note, f"{where}: {step.name} is float without a reason"
                assert all(f.params is None for f in results), where
            elif step.mode == "int8":
                assert all(f.dtype != "float32" for f in (*data, *results)), f"{where}: {step.name}"
                if spec.tie_under("mlir") is Tie.SAME:
                    grids = {f.params for f in (*data, *results) if f.params is not None}
                    assert len(grids) == 1, f"{where}: {step.name} {step.source} is tied"
            checked += 1
        assert set(plan.outputs) <= written, where
        gone = {source for source, _ in plan.folded}
        kept = {s.source for s in plan.steps if s.source is not None}
        assert gone | kept == set(range(len(graph.operators))), where
    assert checked > 600 * depth


def test_planning_is_deterministic():
    model = graphs.random_graph(7)
    assert planned(model)[1] == planned(model)[1]


def test_inputs_and_outputs_keep_their_names():
    for name in ("int8", "int8_float_io"):
        graph, plan = planned(dense(), name)
        assert [plan.forms[f].name or graph.name(plan.forms[f].tensor) for f in plan.inputs] == [
            "x"
        ]
        assert [plan.forms[f].name or graph.name(plan.forms[f].tensor) for f in plan.outputs] == [
            "z"
        ]
        names = [f.name or graph.name(f.tensor) for f in plan.forms]
        assert len(set(names)) == len(names)


def test_no_form_is_left_over(depth):
    for seed in range(40 * depth):
        _, plan = planned(graphs.random_graph(seed))
        used = {*plan.inputs, *plan.outputs}
        for step in plan.steps:
            used |= {*step.inputs, *step.outputs, *step.intermediates}
        assert used - {-1} == set(range(len(plan.forms))), f"random_graph({seed})"


# --- recipes --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Coarse(Scheme):
    """Steps of a quarter, whatever the range."""

    key = "test-coarse"

    def choose(self, stats, q):
        return Affine(np.full(stats.groups, 0.25), np.zeros(stats.groups))


def test_a_scheme_for_activations_and_one_for_weights():
    found = recipe("int8").with_rule(operand="activation", scheme=Coarse())
    graph, plan = planned(dense(), found)
    for name in ("x", "y", "z"):
        (form,) = by_name(graph, plan, name)
        assert form.params == Affine.of(0.25) and form.rule == "test-coarse"
    found = recipe("int8").with_rule(operand="weight", scheme=Coarse())
    graph, plan = planned(dense(), found)
    (weight,) = by_name(graph, plan, "w")
    assert np.all(weight.params.scale == 0.25)
    (x,), (bias,) = by_name(graph, plan, "x"), by_name(graph, plan, "bias")
    assert np.array_equal(bias.params.scale, x.params.scale[0] * weight.params.scale)


def test_bits_granularity_and_rounding_of_weights():
    found = recipe("int8").with_rule(operand="weight", dtype="int4", granularity="per_tensor")
    graph, plan = planned(dense(), found)
    (weight,) = by_name(graph, plan, "w")
    assert weight.dtype == "int4" and weight.params.axis is None
    assert (weight.range.qmin, weight.range.qmax) == (-7, 7)
    found = found.with_rule(operand="weight", rounding="nearest")
    assert by_name(*planned(dense(), found), "w")[0].rounding.key == "nearest"


def test_rules_by_name_make_float_islands():
    found = recipe("int8").with_rule(name="z", mode="float")
    _, plan = planned(dense(), found)
    assert [s.name for s in plan.steps] == ["FULLY_CONNECTED", "DEQUANTIZE", "EXP", "QUANTIZE"]
    (step,) = (s for s in plan.steps if s.name == "EXP")
    assert step.mode == "float32" and step.note == "the recipe says float"


def test_a_recipe_without_schemes_is_refused():
    bare = Recipe("bare", (recipe("int8").rules[0],), input_type="int8", output_type="int8")
    with pytest.raises(BadRecipe, match="scheme"):
        planned(dense(), bare)


def test_ends_of_another_type_are_refused():
    found = recipe("int8").replace(input_type="int16")
    with pytest.raises(BadRecipe, match="int16"):
        planned(dense(), found)


# --- remarks --------------------------------------------------------------------------------------


def test_every_degenerate_range_is_remarked():
    b = Builder()
    x = b.input((1, 4), "x", range=(0, 0))
    y = b.op("ABS", [x], (1, 4), range=(1.0, 1.0), names=["y"])
    z = b.op("EXP", [y], (1, 4), range=(-3e38, 3e38), names=["z"])
    graph, plan = planned(b.model([z]), recipe("int8").like_converter())
    notes = {graph.name(f.tensor): f.note for f in plan.forms}
    assert "all zero" in notes["x"] and "single value" in notes["y"]
    assert "huge" in notes["z"] and "infinite" in notes["z"]


def test_reasons_name_the_tensor():
    b = Builder()
    x = b.input((1, 4), "x", range=(-1, 1))
    y = b.op("EXP", [x], (1, 4), names=["loose"])
    z = b.op("ADD", [y, x], (1, 4), range=(0, 4), names=["z"])
    bad = b.const(np.array([np.nan, 1, 2, 3], f32), "bad")
    w = b.op("MUL", [z, bad], (1, 4), range=(0, 1), names=["w"])
    neg = b.op("NEG", [w], (1, 4), range=(-1, 0))
    _, plan = planned(b.model([neg]))
    notes = {s.name: s.note for s in plan.steps if s.source is not None}
    assert notes["EXP"] == "output 0 (loose) has no range"
    assert notes["ADD"] == "input 0 (loose) has no range"
    assert notes["MUL"] == "input 1 (bad) is not finite"
    assert notes["NEG"] == "the converter has no integer NEG"


def test_a_raised_weight_scale_is_remarked():
    b = Builder()
    x = b.input((1, 2), "x", range=(0, 1e-3))
    w = b.const(np.array([[1e-3, 0], [1, 1]], f32), "w")
    y = b.op("FULLY_CONNECTED", [x, w, np.array([100, 1], f32)], (1, 2), range=(0, 100))
    graph, plan = planned(b.model([y]))
    (weight,) = by_name(graph, plan, "w")
    assert "1 of 2 scales raised for the bias" in weight.rule


@pytest.mark.parametrize("low, mode", [(0.0, "float32"), (1.0, "int8")])
def test_a_divisor_that_can_be_zero_keeps_div_float(low, mode):
    b = Builder()
    x, y = (b.input((1, 4), name, range=(low, 2)) for name in "xy")
    model = b.model([b.op("DIV", [x, y], (1, 4), range=(0, 9))])
    (step,) = (s for s in planned(model)[1].steps if s.source == 0)
    assert step.mode == mode
    found = recipe("int8").replace(deviations={"zero_divisors": False})
    (step,) = (s for s in planned(model, found)[1].steps)
    assert step.mode == "int8"


@pytest.mark.parametrize(
    "key, name, reads, written",
    [
        ("runtime_limits", "ADD", [(-1, 1), (-1, 1)], (-1e-7, 1e-7)),
        ("negative_roots", "SQRT", [(-1, 1)], (0, 1)),
    ],
)
def test_what_a_kernel_cannot_compute_stays_float(key, name, reads, written):
    b = Builder()
    inputs = [b.input((1, 4), f"x{i}", range=r) for i, r in enumerate(reads)]
    model = b.model([b.op(name, inputs, (1, 4), range=written)])
    (step,) = (s for s in planned(model)[1].steps if s.source == 0)
    assert step.mode == "float32" and step.note
    found = recipe("int8").replace(deviations={key: False})
    (step,) = (s for s in planned(model, found)[1].steps if s.source == 0)
    assert step.mode == "int8"


def test_a_constant_read_in_two_ways_is_stored_twice():
    b = Builder()
    x = b.input((1, 4), "x", range=(-1, 1))
    c = b.const(np.linspace(-1, 2, 16).reshape(4, 4).astype(f32), "c")
    y = b.op("FULLY_CONNECTED", [x, c], (1, 4), range=(-2, 2))
    z = b.op("ADD", [x, c], (4, 4), range=(-3, 3))
    model = b.model([y, z])
    graph, plan = planned(model)
    assert sorted(f.params.groups for f in by_name(graph, plan, "c")) == [1, 4]
    graph, plan = planned(model, recipe("int8").replace(deviations={"shared_weights": False}))
    assert [f.params.groups for f in by_name(graph, plan, "c")] == [4]


def test_minmax_of_constants_is_widened_as_the_converter_does():
    b = Builder()
    x = b.input((1, 2), "x", range=(-1, 1))
    c = b.const(np.full(2, 1e-7, f32), "c")
    graph, plan = planned(b.model([b.op("ADD", [x, c], (1, 2), range=(-1, 1))]))
    (form,) = by_name(graph, plan, "c")
    expected = MinMax(widen="constant").choose(form.stats, form.range)
    assert form.params == expected


def test_a_scale_that_comes_late_reaches_everyone():
    """The second slice is visited before the first one gives their source its scale."""
    b = Builder()
    x = b.input((1, 8), range=(-1, 1))
    w = np.linspace(-1, 1, 64).reshape(8, 8).astype(f32)
    y = b.op("FULLY_CONNECTED", [x, w, None], (1, 8), range=(-2, 2))
    y = b.op("RESHAPE", [y, np.array([2, 4], i32)], (2, 4), range=(-2, 2))

    def half(start: int) -> int:
        ends = [np.array(v, i32) for v in ([0, start], [2, start + 2], [1, 1])]
        return b.op("STRIDED_SLICE", [y, *ends], (2, 2), range=(-2, 2))

    first = b.op("MAXIMUM", [half(0), np.array(-1, f32)], (2, 2), range=(-1, 1))
    first = b.op("EXP", [first], (2, 2), range=(0, 3))
    second = b.op("LOGISTIC", [half(2)], (2, 2), range=(0, 1))
    model = b.model([b.op("CONCATENATION", [first, second], (2, 4), axis=1, range=(0, 3))])

    def logistic(found: Recipe):
        return next(s for s in planned(model, found)[1].steps if s.name == "LOGISTIC")

    assert logistic(recipe("int8").replace(deviations={"unreached": True})).mode == "int8"
    left = logistic(recipe("int8"))
    assert left.mode == "float32" and "handed no scale" in left.note


def test_results_that_nobody_reads_leave_an_operator_integer():
    """The converter leaves such an operator float or not, from run to run."""
    b = Builder()
    x = b.input((1, 4, 8), range=(-1, 1))
    first, *_ = b.op("UNPACK", [x], *[(1, 8)] * 4, axis=1, num=4, range=[(-1, 1)] * 4)
    _, plan = planned(b.model([b.op("TANH", [first], (1, 8), range=(-1, 1))]))
    assert [(s.name, s.mode) for s in plan.steps] == [("UNPACK", "int8"), ("TANH", "int8")]
