"""Plans by rules B as a researcher changes them: rules, schemes, mixed types, ends, remarks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

import tflite_schema as ts
from kernels.ops import find, names
from kernels.opspec import Role
from qcore.calibrate import Calibration
from qcore.errors import BadRecipe, BadStatistics
from qcore.graph import graphs as graphs_of
from qcore.params import Affine
from qcore.plan import legacy
from qcore.plan.values import Form, Step
from qcore.quantize import Quantized, quantize
from qcore.recipe import Recipe, recipe
from qcore.rounding import Requantized, Rounding
from qcore.schemes import Scheme
from qcore.testing import graphs
from qcore.testing.build import Builder
from tests.twin.runs import Runner


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    with Runner() as made:
        yield made


@dataclass(frozen=True)
class Doubled(Scheme):
    """Twice the steps that min-max would take."""

    key: ClassVar[str] = "doubled-in-a-test"
    symmetric: ClassVar[bool] = True

    def choose(self, stats, q):
        m = np.maximum(np.abs(stats.lo), np.abs(stats.hi))
        return Affine((2 * m / q.qmax).astype(np.float32), np.zeros(m.shape, np.int64))


def made_of(model: ts.Model, found: Recipe | str = "int16x8", **changes: object) -> Quantized:
    found = recipe(found).replace(**changes) if changes else recipe(found)
    return quantize(model, found, Calibration.from_model(model))


def part(made: Quantized):
    return made.plan.subgraphs[0]


def step(made: Quantized, name: str) -> Step:
    return next(s for s in part(made).steps if s.name == name and s.source is not None)


def form(made: Quantized, f: int) -> Form:
    return part(made).forms[f]


def values(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.RandomState(seed).uniform(-1, 1, shape).astype(np.float32)


def two_layers() -> ts.Model:
    b = Builder()
    x = b.input((1, 8), "x", range=(-1, 1))
    y = b.op("FULLY_CONNECTED", [x, b.const(values(6, 8), "w1"), values(6)], (1, 6), range=(-6, 6),
             names=["first"])  # fmt: skip
    z = b.op("FULLY_CONNECTED", [y, b.const(values(4, 6, seed=1), "w2"), values(4)], (1, 4),
             range=(-9, 9), names=["second"])  # fmt: skip
    return b.model([b.op("SOFTMAX", [z], (1, 4), range=(0, 1), beta=1.0, names=["probabilities"])])


def test_the_plan_says_what_it_did():
    made = made_of(two_layers())
    steps = part(made).steps
    assert [s.name for s in steps] == ["FULLY_CONNECTED", "FULLY_CONNECTED", "SOFTMAX"]
    assert {s.mode for s in steps} == {"int16x8"}
    first = steps[0]
    weights, bias, out = (
        form(made, f) for f in (first.inputs[1], first.inputs[2], first.outputs[0])
    )
    assert (weights.dtype, bias.dtype, out.dtype) == ("int8", "int64", "int16")
    assert weights.params.axis == 0 and weights.params.groups == 6
    expected = form(made, first.inputs[0]).params.scale * weights.params.scale
    assert np.array_equal(bias.params.scale, expected)
    assert form(made, steps[2].outputs[0]).params == Affine.of(1 / 32768)
    assert form(made, steps[2].outputs[0]).rule == "fixed by SOFTMAX"
    assert str(made.plan)


def test_a_scheme_of_ones_own_reaches_every_operand(runner):
    found = recipe("int16x8").with_rule(operand="activation", scheme=Doubled())
    found = found.with_rule(operand="weight", name="w2", scheme=Doubled())
    plain, changed = made_of(two_layers()), made_of(two_layers(), found)
    for f in (
        step(changed, "FULLY_CONNECTED").inputs[0],
        step(changed, "FULLY_CONNECTED").outputs[0],
    ):
        ratio = form(changed, f).params.scale / form(plain, f).params.scale
        assert ratio == pytest.approx(2, rel=1e-6)
    w1, w2 = (next(f for f in part(changed).forms if f.tensor == t) for t in _weights(changed))
    assert (w1.rule, w2.rule) == ("symmetric", "doubled-in-a-test")
    assert runner.refusal(changed.to_bytes()) is None


def _weights(made: Quantized) -> list[int]:
    return [s.inputs[1] for s in part(made).steps if s.name == "FULLY_CONNECTED"]


def test_a_rounding_of_ones_own_makes_the_integers():
    @dataclass(frozen=True)
    class Zero(Rounding):
        key: ClassVar[str] = "zero-in-a-test"

        def encode(self, values, params, stats, q):
            return np.zeros(values.shape, q.dtype)

    found = recipe("int16x8").with_rule(operand="weight", name="w1", rounding=Zero())
    written = ts.read(made_of(two_layers(), found).to_bytes())
    names_of = {t.name: i for i, t in enumerate(written.subgraphs[0].tensors)}
    assert not ts.array(written, 0, names_of["w1"]).any()
    assert ts.array(written, 0, names_of["w2"]).any()


def test_a_rule_leaves_an_operator_float_by_name():
    made = made_of(two_layers(), recipe("int16x8").with_rule(name="second", mode="float"))
    names_ = [s.name for s in part(made).steps]
    assert names_ == ["FULLY_CONNECTED", "DEQUANTIZE", "FULLY_CONNECTED", "QUANTIZE", "SOFTMAX"]
    second = part(made).steps[2]
    assert second.mode == "float32" and "recipe" in second.note
    assert form(made, second.inputs[1]).dtype == "float32"


def test_types_can_be_mixed_by_operator(runner):
    found = recipe("int16x8").with_rule(operator="SOFTMAX", operand="activation", dtype="int8")
    made = made_of(two_layers(), found, output_type="float32")
    assert [s.name for s in part(made).steps][-3:] == ["QUANTIZE", "SOFTMAX", "DEQUANTIZE"]
    softmax = step(made, "SOFTMAX")
    assert softmax.mode == "int8"
    assert form(made, softmax.outputs[0]).params == Affine.of(1 / 256, -128)
    x = values(1, 8, seed=5)
    exact = runner.outputs(two_layers(), x)[0]
    assert runner.outputs(made.to_bytes(), x)[0] == pytest.approx(exact, abs=0.02)


def test_int8_layers_beside_int16_ones_have_int32_biases(runner):
    found = recipe("int16x8").with_rule(name="second", operator="FULLY_CONNECTED", mode="static")
    found = found.with_rule(operator="FULLY_CONNECTED", operand="input", name="first", dtype="int8")
    found = found.with_rule(
        operator="FULLY_CONNECTED", operand="activation", name="second", dtype="int8"
    )
    made = made_of(two_layers(), found, input_type="float32", output_type="float32")
    second = [s for s in part(made).steps if s.name == "FULLY_CONNECTED"][1]
    assert second.mode == "int8" and form(made, second.inputs[2]).dtype == "int32"
    assert runner.refusal(made.to_bytes()) is None


def test_biases_of_32_bits_beside_int16(runner):
    made = made_of(two_layers(), recipe("int16x8").with_rule(operand="bias", dtype="int32"))
    first = step(made, "FULLY_CONNECTED")
    assert form(made, first.inputs[2]).dtype == "int32"
    assert first.options["quantized_bias_type"] == "INT32"
    x = values(1, 8, seed=5)
    exact = runner.outputs(two_layers(), x)[0]
    assert runner.outputs(made.to_bytes(), x)[0] == pytest.approx(exact, abs=0.02)


def test_weights_of_four_bits_raise_the_version(runner):
    found = recipe("int16x8").with_rule(operand="weight", dtype="int4")
    made = made_of(two_layers(), found)
    first = step(made, "FULLY_CONNECTED")
    assert form(made, first.inputs[1]).dtype == "int4" and first.version == 13


@pytest.mark.parametrize(
    ("name", "input_type", "output_type", "inserted"),
    [
        ("int16x8", "float32", "int16", ["QUANTIZE"]),
        ("int16x8", "int16", "float32", ["DEQUANTIZE"]),
        ("int16x8", "float32", "float32", ["QUANTIZE", "DEQUANTIZE"]),
        ("int8_legacy", "uint8", "uint8", ["QUANTIZE", "QUANTIZE"]),
        ("int8_legacy", "uint8", "float32", ["QUANTIZE", "DEQUANTIZE"]),
        ("int16x8", "int8", "int16", ["QUANTIZE"]),
    ],
)
def test_ends_of_every_type(name, input_type, output_type, inserted, runner):
    made = made_of(two_layers(), name, input_type=input_type, output_type=output_type)
    assert [s.name for s in part(made).steps if s.inserted] == inserted
    graph = ts.read(made.to_bytes()).subgraphs[0]
    ends = (graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]])
    assert [t.type.name.lower() for t in ends] == [input_type, output_type]
    assert [t.name for t in ends] == ["x", "probabilities"]
    x = values(1, 8, seed=3)
    exact = runner.outputs(two_layers(), x)[0]
    assert runner.outputs(made.to_bytes(), x)[0] == pytest.approx(exact, abs=0.03)


def test_an_end_that_cannot_have_its_type_says_so():
    with pytest.raises(BadRecipe, match=r"probabilities.*int16.*int8"):
        made_of(two_layers(), output_type="int8")


def test_a_called_subgraph_keeps_float_ends():
    model = two_layers()
    model = model.replace(subgraphs=(*model.subgraphs, model.subgraphs[0]))
    called = graphs_of(model)[1]
    found = recipe("int16x8")
    made = legacy.plan_subgraph(called, found, Calibration.from_model(model))
    assert made.forms[made.inputs[0]].dtype == "float32"
    assert made.steps[0].name == "QUANTIZE"


def loop() -> ts.Model:
    """LEAKY_RELU, then three times x -> x / 2 in a WHILE, then FULLY_CONNECTED."""
    main, inner, test = Builder(), Builder(), Builder()
    i, x = test.input((), dtype="INT32"), test.input((1, 4), range=(-2, 2))
    low = test.op("LESS", [i, np.array(3, np.int32)], (), dtype="BOOL")
    i, x = inner.input((), dtype="INT32"), inner.input((1, 4), range=(-2, 2))
    following = inner.op("ADD", [i, np.array(1, np.int32)], (), dtype="INT32")
    half = inner.op("MUL", [x, np.full((1, 4), 0.5, np.float32)], (1, 4), range=(-1, 1))
    x = main.input((1, 4), range=(-2, 2))
    y = main.op("LEAKY_RELU", [x], (1, 4), range=(-1, 2), alpha=0.5)
    _, z = main.op(
        "WHILE", [np.array(0, np.int32), y], (), (1, 4), dtype=["INT32", "FLOAT32"],
        range=[None, (-2, 2)], cond_subgraph_index=1, body_subgraph_index=2,
    )  # fmt: skip
    out = main.op("FULLY_CONNECTED", [z, values(3, 4), values(3)], (1, 3), range=(-3, 3))
    model = main.model([out])
    subgraphs, buffers = list(model.subgraphs), list(model.buffers)
    for part_ in (test.model([low]), inner.model([following, half])):
        graph, offset = part_.subgraphs[0], len(buffers) - 1
        buffers += part_.buffers[1:]
        moved = (t.replace(buffer=t.buffer + offset if t.buffer else 0) for t in graph.tensors)
        subgraphs.append(graph.replace(tensors=tuple(moved)))
    return model.replace(subgraphs=tuple(subgraphs), buffers=tuple(buffers))


@pytest.mark.parametrize("ends", ["int16", "float32"])
def test_a_loop_is_quantized_inside_and_out(ends, runner):
    made = made_of(loop(), "int16x8", input_type=ends, output_type=ends)
    modes = [[s.name for s in p.steps if s.mode == "int16x8"] for p in made.plan.subgraphs]
    assert "FULLY_CONNECTED" in modes[0] and "MUL" in modes[2]
    assert step(made, "WHILE").note
    x = values(1, 4, seed=9)
    exact = runner.outputs(loop(), x)[0]
    assert runner.outputs(made.to_bytes(), x)[0] == pytest.approx(exact, abs=1e-3)


def test_nothing_is_silent():
    b = Builder()
    x = b.input((1, 4), range=(0, 0))
    w = values(3, 4)
    w[1] = 0
    y = b.op("FULLY_CONNECTED", [x, w, np.zeros(3, np.float32)], (1, 3), range=(2, 2))
    z = b.op("RELU", [b.op("ROUND", [y], (1, 3), range=(-1, 1))], (1, 3), range=(0, 1e37))
    made = made_of(b.model([z]))
    notes = {f.tensor: f.note for f in part(made).forms if f.note}
    assert "all zero" in notes[x] and "[-1, 1]" in notes[x]
    assert "1 of 3 channels all zero" in notes[step(made, "FULLY_CONNECTED").inputs[1]]
    assert "single value" in notes[y] and "huge" in notes[z]
    assert step(made, "ROUND").note


def test_saturated_biases_are_counted():
    b = Builder()
    x = b.input((1, 2), range=(-1e-3, 1e-3))
    bias = np.array([0.1, 3e9, -5e9], np.float32)
    y = b.op("FULLY_CONNECTED", [x, values(3, 2), bias], (1, 3), range=(-1e10, 1e10))
    found = recipe("int8_legacy").with_rule(operand="weight", scheme=Doubled())
    made = made_of(b.model([y]), found)
    counted = form(made, step(made, "FULLY_CONNECTED").inputs[2])
    assert counted.saturated == 0  # the guard raised the weights' range for them
    raised = form(made, step(made, "FULLY_CONNECTED").inputs[1])
    assert "raised for the bias" in raised.note


def test_a_range_that_is_not_finite_is_refused():
    b = Builder()
    x = b.input((1, 4), "broken", range=(-1, np.inf))
    model = b.model([b.op("RELU", [x], (1, 4), range=(0, 1))])
    with pytest.raises(BadStatistics, match="broken"):
        made_of(model)


def test_a_recipe_without_activation_types_says_so():
    found = Recipe("empty", (), dialect="legacy").with_rule(mode="static")
    with pytest.raises(BadRecipe, match="activation"):
        made_of(two_layers(), found)


def test_the_source_is_not_changed():
    model = two_layers()
    before = ts.to_bytes(model)
    made_of(model)
    assert ts.to_bytes(model) == before


def test_default_plans_of_random_graphs_run(runner, depth):
    """Whatever the ranges: nothing is made that the interpreter does not prepare and run."""
    left = 0
    for name in ("int16x8", "int8_legacy"):
        for seed in range(50_000, 50_000 + 60 * depth):
            model = graphs.random_graph(seed, odd=0.3)
            made = made_of(model, name)
            for s in part(made).steps:
                if s.mode == "float32" and not s.inserted:
                    assert s.note, f"{name}, random_graph({seed}, odd=0.3): {s.name} is float, why?"
                    left += 1
            refusal = runner.refusal(made.to_bytes())
            # Where float values exceed their stated range 65,000 times over, QUANTIZE itself wraps.
            if refusal is not None and "only defined for" in refusal:
                continue
            assert refusal is None, f"{name}, random_graph({seed}, odd=0.3): {refusal}"
    assert left > 20


def test_a_constant_requantized_twice_is_a_plug():
    first = Requantized(
        0.5, 0, -1.0, 1.0, -127, 127, recipe("int8_legacy").rules[2].scheme.rounding
    )
    assert Rounding.from_json(first.to_json()) == first


# Operators beyond the older quantizer's list, one by one: what they compute is close to float.
def beyond() -> list[str]:
    found = []
    for name in names():
        spec = find(name)
        extra = "int16" in spec.kernels and "int16" not in spec.legacy
        if extra and name not in legacy.choice.HELD_BACK and name not in ("QUANTIZE", "DEQUANTIZE"):
            found.append(name)
    return found


def _single(name: str) -> tuple[ts.Model, list[np.ndarray]] | None:
    """A model of one operator with exact ranges, and inputs for it."""
    b = Builder()
    x, y = values(2, 3, seed=1), values(2, 3, seed=2)
    mask = np.array([[1, 0, 1], [0, 0, 1]], np.bool_)

    def over(v: np.ndarray) -> tuple[float, float]:
        return float(v.min()), float(v.max())

    if name == "PRELU":
        alpha = values(3, seed=3)
        out = np.where(x > 0, x, x * alpha)
        made = b.op(name, [b.input((2, 3), range=over(x)), alpha], (2, 3), range=over(out))
        return b.model([made]), [x]
    if name == "SQRT":
        made = b.op("ABS", [b.input((2, 3), range=over(x))], (2, 3), range=(0, 1))
        return b.model([b.op(name, [made], (2, 3), range=(0, 1))]), [x]
    if name == "SELECT_V2":
        t = b.tensor((2, 3), "mask", dtype="BOOL", data=mask)
        ends = [b.input((2, 3), range=over(v)) for v in (x, y)]
        return b.model([b.op(name, [t, *ends], (2, 3), range=over(np.where(mask, x, y)))]), [x, y]
    if name in ("EQUAL", "NOT_EQUAL"):
        y = np.where(mask, x, y)
        ends = [b.input((2, 3), range=over(v)) for v in (x, y)]
        return b.model([b.op(name, ends, (2, 3), dtype="BOOL")]), [x, y]
    if name == "TOPK_V2":
        top = b.op(name, [b.input((2, 3), range=over(x)), np.array(2, np.int32)], (2, 2), (2, 2),
                   dtype=["FLOAT32", "INT32"], range=[over(x), None])[0]  # fmt: skip
        return b.model([top]), [x]
    if name == "DYNAMIC_UPDATE_SLICE":
        start = np.zeros(2, np.int32)
        ends = [b.input((2, 3), range=over(x)), b.input((1, 3), range=over(y[:1]))]
        both = np.concatenate([y[:1], x[1:]])
        return b.model([b.op(name, [*ends, start], (2, 3), range=over(both))]), [x, y[:1]]
    if name == "REVERSE_SEQUENCE":
        lengths = np.array([2, 3], np.int32)
        made = b.op(name, [b.input((2, 3), range=over(x)), lengths], (2, 3), range=over(x),
                    seq_dim=1, batch_dim=0)  # fmt: skip
        return b.model([made]), [x]
    if name == "MATRIX_DIAG":
        made = b.op(name, [b.input((2, 3), range=over(x))], (2, 3, 3), range=over(x))
        return b.model([made]), [x]
    if name == "MATRIX_SET_DIAG":
        whole = values(2, 3, 3, seed=4)
        ends = [b.input(v.shape, range=over(v)) for v in (whole, x)]
        return b.model([b.op(name, ends, (2, 3, 3), range=(-1, 1))]), [whole, x]
    return None


@pytest.mark.parametrize("name", beyond())
def test_operators_beyond_the_list_are_right(name, runner):
    if (single := _single(name)) is None:
        pytest.skip(
            f"no model with {name} here; random graphs and the operator's own tests have it"
        )
    model, inputs = single
    made = made_of(model, "int16x8", input_type="float32", output_type="float32")
    assert step(made, name).mode == "int16x8", step(made, name).note
    exact, ours = runner.outputs(model, *inputs)[0], runner.outputs(made.to_bytes(), *inputs)[0]
    if exact.dtype == np.bool_:
        assert np.array_equal(exact, ours)
    else:
        assert ours == pytest.approx(exact, abs=2e-3)


def test_the_older_quantizer_knows_no_operator_without_a_role():
    """Every operand of an operator that B quantizes has a role that the planner handles."""
    for name in names():
        spec = find(name)
        if spec.legacy:
            assert all(isinstance(o.role, Role) for o in (*spec.inputs, *spec.outputs)), name
