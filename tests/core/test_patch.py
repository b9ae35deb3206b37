"""From plan to file: forms become tensors, equal constants share a buffer, signatures follow."""

from __future__ import annotations

import numpy as np
import pytest

import tflite_schema as ts
from kernels.ranges import INT8_NARROW
from qcore import patch
from qcore.graph import Graph
from qcore.params import Affine, Stats
from qcore.plan import common
from qcore.plan.values import Form, Plan, Step
from qcore.rounding import Nearest
from qcore.testing.build import Builder


def two_readers() -> ts.Model:
    """x * w + w: one constant with two readers."""
    b = Builder()
    x = b.input((1, 4), "x")
    w = b.const(np.array([-1, -0.5, 0.25, 1], np.float32), "w")
    y = b.op("MUL", [x, w], (1, 4), names=["y"])
    z = b.op("ADD", [y, w], (1, 4), names=["z"])
    return b.model(outputs=[z])


def int8_form(tensor: int, scale: float, **fields) -> Form:
    return Form(
        tensor, "int8", Affine.of(scale), stats=Stats.of(-1, 1), range=INT8_NARROW,
        rounding=Nearest(), **fields,
    )  # fmt: skip


def written(model: ts.Model, part) -> ts.Model:
    return ts.read(ts.to_bytes(model, patch.lower(model, Plan("test", (part,)))))


def constants(model: ts.Model) -> dict[str, list[int]]:
    found = {}
    for i, tensor in enumerate(model.subgraphs[0].tensors):
        values = ts.array(model, 0, i)
        if values is not None:
            found[tensor.name] = values.tolist()
    return found


def test_the_plan_that_changes_nothing_changes_nothing():
    model = two_readers()
    assert ts.read(ts.to_bytes(model)) == written(model, common.float_plan(Graph(model)))


def test_a_constant_becomes_the_integers_of_its_form():
    model = two_readers()
    part = common.float_plan(Graph(model))
    forms = list(part.forms)
    forms[1] = int8_form(1, 1 / 127)
    made = written(model, part.replace(forms=tuple(forms)))
    assert constants(made) == {"w": [-127, -64, 32, 127]}
    quantization = made.subgraphs[0].tensors[1].quantization
    assert quantization.scale.tolist() == [np.float32(1 / 127)]
    assert quantization.zero_point.tolist() == [0]


def test_two_forms_of_a_constant_are_two_tensors_and_equal_ones_share_a_buffer():
    model = two_readers()
    part = common.float_plan(Graph(model))
    for second, buffers in ((1 / 127, 1), (1 / 64, 2)):
        forms = [*part.forms]
        forms[1] = int8_form(1, 1 / 127)
        forms.append(int8_form(1, second, name="w again"))
        add = part.steps[1].replace(inputs=(part.steps[1].inputs[0], len(forms) - 1))
        made = written(model, part.replace(forms=tuple(forms), steps=(part.steps[0], add)))
        assert set(constants(made)) == {"w", "w again"}
        used = {
            t.buffer
            for t in made.subgraphs[0].tensors
            if ts.array(made, 0, made.subgraphs[0].tensors.index(t)) is not None
        }
        assert len(used) == buffers


def test_inserted_operators_and_moved_inputs_are_followed_by_the_signature():
    model = two_readers()
    tensors = model.subgraphs[0].tensors
    model = model.replace(
        signature_defs=(
            ts.SignatureDef(
                inputs=(ts.TensorMap("x", 0),),
                outputs=(ts.TensorMap("z", len(tensors) - 1),),
                signature_key="serve",
                subgraph_index=0,
            ),
        )
    )
    part = common.float_plan(Graph(model))
    forms = [*part.forms, Form(0, "int8", Affine.of(0.5, 3), name="x_int8")]
    dequantize = Step(None, "DEQUANTIZE", 2, (len(forms) - 1,), (0,))
    made = written(
        model,
        part.replace(forms=tuple(forms), steps=(dequantize, *part.steps), inputs=(len(forms) - 1,)),
    )
    graph = made.subgraphs[0]
    assert [op.name for op in graph.operators] == ["DEQUANTIZE", "MUL", "ADD"]
    assert graph.tensors[graph.inputs[0]].name == "x_int8"
    assert made.signature_defs[0].inputs[0].tensor_index == graph.inputs[0]
    assert made.signature_defs[0].outputs[0].tensor_index == graph.outputs[0]


@pytest.mark.parametrize("axis", [None, 0, 3])
def test_a_large_constant_is_encoded_in_blocks_that_join(monkeypatch, axis):
    rng = np.random.default_rng(5)
    values = rng.standard_normal((37, 3, 2, 5)).astype(np.float32)
    b = Builder()
    x = b.input((1, 5))
    w = b.const(values, "w")
    y = b.op("ADD", [x, w], values.shape)
    model = b.model(outputs=[y])
    graph = Graph(model)
    stats = common.constant_stats(values, axis)
    scale = np.maximum(-stats.lo, stats.hi) / 127
    form = Form(
        w, "int8", Affine(scale, np.zeros(scale.shape), axis), stats=stats, range=INT8_NARROW,
        rounding=Nearest(),
    )  # fmt: skip
    whole = np.concatenate(list(patch.Encoder(graph, form).chunks()))
    monkeypatch.setattr(patch, "BLOCK", 64)
    chunks = list(patch.Encoder(graph, form).chunks())
    assert len(chunks) > 10
    assert np.array_equal(np.concatenate(chunks), whole)
    assert whole.size == patch.Encoder(graph, form).nbytes == values.size
