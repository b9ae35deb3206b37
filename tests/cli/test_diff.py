"""`qcore.diff`: equal files are equal however numbered, and each kind of change is seen."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import qcore
import tflite_schema as ts
from qcore.diff import KINDS, diff, ulp


@pytest.fixture(scope="module")
def model(corpus):
    return qcore.load(corpus.entry("fmnist_dscnn_int8").path)


def with_tensor(model: ts.Model, index: int, **changes) -> ts.Model:
    sub = model.subgraphs[0]
    tensors = list(sub.tensors)
    tensors[index] = tensors[index].replace(**changes)
    return model.replace(subgraphs=(sub.replace(tensors=tuple(tensors)),))


def with_quantization(model: ts.Model, index: int, **changes) -> ts.Model:
    old = model.subgraphs[0].tensors[index].quantization
    return with_tensor(model, index, quantization=old.replace(**changes))


def with_operator(model: ts.Model, index: int, **changes) -> ts.Model:
    sub = model.subgraphs[0]
    operators = list(sub.operators)
    operators[index] = operators[index].replace(**changes)
    return model.replace(subgraphs=(sub.replace(operators=tuple(operators)),))


def with_constant(model: ts.Model, index: int, change) -> ts.Model:
    buffers = list(model.buffers)
    buffer = model.subgraphs[0].tensors[index].buffer
    data = np.array(ts.array(model, 0, index))
    change(data.reshape(-1))
    buffers[buffer] = buffers[buffer].replace(data=data)
    return model.replace(buffers=tuple(buffers))


def constant(model: ts.Model, dtype: str) -> int:
    return next(
        i for i, t in enumerate(model.subgraphs[0].tensors)
        if t.type.name == dtype and ts.array(model, 0, i) is not None
    )  # fmt: skip


def one_change(a: ts.Model, b: ts.Model):
    found = diff(a, b)
    assert found.compared > 0 and not found.same
    (change,) = found.changes
    return change


def test_a_model_is_equal_to_itself(model):
    found = diff(model, model)
    assert found.same and found.compared == len(model.subgraphs[0].tensors)


def test_a_renumbered_model_is_equal(model):
    sub = model.subgraphs[0]
    n = len(sub.tensors)

    def turned(numbers):
        return tuple(-1 if i < 0 else n - 1 - i for i in numbers)

    operators = tuple(
        op.replace(inputs=turned(op.inputs), outputs=turned(op.outputs)) for op in sub.operators
    )
    other = model.replace(
        subgraphs=(
            sub.replace(
                tensors=sub.tensors[::-1], operators=operators,
                inputs=turned(sub.inputs), outputs=turned(sub.outputs),
            ),
        ),
        signature_defs=tuple(
            s.replace(
                inputs=tuple(m.replace(tensor_index=n - 1 - m.tensor_index) for m in s.inputs),
                outputs=tuple(m.replace(tensor_index=n - 1 - m.tensor_index) for m in s.outputs),
            )
            for s in model.signature_defs
        ),
    )  # fmt: skip
    assert diff(model, other).same


@pytest.mark.parametrize("steps", [1, 3])
def test_scales_are_compared_in_ulp(model, steps):
    index = model.subgraphs[0].operators[2].outputs[0]
    scale = model.subgraphs[0].tensors[index].quantization.scale
    moved = (scale.view(np.int32) + steps).view(np.float32)
    change = one_change(model, with_quantization(model, index, scale=moved))
    assert (change.kind, change.count, change.of, change.largest) == ("scale", 1, 1, steps)


def test_one_channel_of_many(model):
    index = constant(model, "INT8")
    scale = model.subgraphs[0].tensors[index].quantization.scale.copy()
    scale[3] *= 2
    change = one_change(model, with_quantization(model, index, scale=scale))
    assert (change.kind, change.count, change.of) == ("scale", 1, scale.size)
    assert change.largest == 1 << 23


def test_zero_points_are_compared_in_steps(model):
    index = model.subgraphs[0].operators[2].outputs[0]
    zero = model.subgraphs[0].tensors[index].quantization.zero_point
    change = one_change(model, with_quantization(model, index, zero_point=zero + 5))
    assert (change.kind, change.largest) == ("zero_point", 5)


@pytest.mark.parametrize("dtype", ["INT8", "INT32"])
def test_integers_are_counted(model, dtype):
    index = constant(model, dtype)

    def change_two(values):
        values[:2] += np.array([1, -2], values.dtype)

    change = one_change(model, with_constant(model, index, change_two))
    assert (change.kind, change.count, change.largest) == ("values", 2, 2)


def test_the_largest_possible_step_does_not_wrap(model):
    index = constant(model, "INT8")
    a = with_constant(model, index, lambda v: v.__setitem__(0, -128))
    b = with_constant(model, index, lambda v: v.__setitem__(0, 127))
    assert one_change(a, b).largest == 255


def test_an_inserted_operator_is_one_difference(model):
    sub = model.subgraphs[0]
    at = 4
    read = sub.operators[at].inputs[0]
    new = len(sub.tensors)
    inserted = ts.Operator(ts.OperatorCode.of("QUANTIZE"), (read,), (new,))
    operators = list(sub.operators)
    operators[at] = operators[at].replace(inputs=(new, *operators[at].inputs[1:]))
    operators.insert(at, inserted)
    changed = model.replace(
        subgraphs=(
            sub.replace(
                tensors=(*sub.tensors, sub.tensors[read].replace(name="again")),
                operators=tuple(operators),
            ),
        )
    )
    kinds = diff(model, changed).counts()
    assert kinds == {"operators": 1, "name": 1}


def changes(model: ts.Model):
    sub, op = model.subgraphs[0], model.subgraphs[0].operators[0]
    out = op.outputs[0]
    shape = sub.tensors[out].shape
    yield "version", with_operator(model, 0, code=dataclasses.replace(op.code, version=9))
    yield "options", with_operator(model, 0, options=op.options.replace(stride_h=3))
    yield "operands", with_operator(model, 0, inputs=op.inputs[:2])
    yield "dtype", with_tensor(model, out, type=ts.TensorType.INT16)
    yield "shape", with_tensor(model, out, shape_signature=(-1, *shape[1:]))
    yield "name", with_tensor(model, out, name="other")
    yield "range", with_quantization(model, out, min=np.float32([0.0]), max=None)
    yield "flags", with_tensor(model, out, is_variable=True)
    yield "description", model.replace(description="x")
    yield "metadata", model.replace(metadata=model.metadata[:1])
    yield "signatures", model.replace(signature_defs=())
    yield "subgraphs", model.replace(subgraphs=(*model.subgraphs, ts.SubGraph()))


def test_every_other_kind_is_seen(model):
    seen = set()
    for kind, changed in changes(model):
        counts = diff(model, changed).counts()
        assert kind in counts, kind
        assert not diff(model, changed).without(*counts).changes
        assert diff(model, changed).without(kind).counts().get(kind) is None
        seen.add(kind)
    assert seen == set(KINDS) - {"scale", "zero_point", "values", "operators", "axis"}


def test_ulp():
    one = np.float32([1.0, -0.0, 0.0, 1.0, -1.0, np.nan])
    other = np.float32([np.nextafter(np.float32(1), np.float32(2)), 0.0, 1e-45, 1.0, 1.0, 1.0])
    far = ulp(one, other)
    assert far[:4].tolist() == [1, 1, 1, 0]
    assert far[4] == 2 * int(np.float32(1).view(np.int32)) + 1
    assert far[5] == 1 << 32
    assert ulp(one, one).max() == 0
