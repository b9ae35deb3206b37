"""A small float model with two parallel branches, and ways to spoil what is quantized from it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

import qcore
import tflite_schema as ts
from qcore.testing.build import Builder

SIZE, CHANNELS = 8, 6


def branches(seed: int = 0, *, outlier: float = 0.0, gain: float = 1.0) -> ts.Model:
    """(1, 8, 8, 3) -> CONV_2D -> two CONV_2D of one form -> ADD -> MEAN -> FULLY_CONNECTED
    (1, 10). outlier: added to one bias of the first convolution; gain: of its weights."""
    rng = np.random.default_rng(seed)
    b = Builder()
    x = b.input((1, SIZE, SIZE, 3), "x")
    stem = conv(b, rng, x, 3, "stem", activation="RELU", outlier=outlier, gain=gain)
    left, right = (conv(b, rng, stem, CHANNELS, name) for name in ("left", "right"))
    both = b.op("ADD", [left, right], (1, SIZE, SIZE, CHANNELS), names=["sum"])
    axes = b.const(np.array([1, 2], np.int32), "axes")
    mean = b.op("MEAN", [both, axes], (1, CHANNELS), names=["mean"], keep_dims=False)
    w = b.const(rng.normal(0, 1, (10, CHANNELS)).astype(np.float32), "dense_w")
    bias = b.const(rng.normal(0, 0.1, 10).astype(np.float32), "dense_b")
    y = b.op("FULLY_CONNECTED", [mean, w, bias], (1, 10), names=["scores"])
    return b.model([y])


def conv(
    b: Builder, rng: np.random.Generator, x: int, depth: int, name: str, *,
    activation: str = "NONE", outlier: float = 0.0, gain: float = 1.0,
) -> int:  # fmt: skip
    w = rng.normal(0, gain / np.sqrt(9 * depth), (CHANNELS, 3, 3, depth)).astype(np.float32)
    bias = rng.normal(0, 0.1, CHANNELS).astype(np.float32)
    bias[0] += outlier
    return b.op(
        "CONV_2D", [x, b.const(w, f"{name}_w"), b.const(bias, f"{name}_b")],
        (1, SIZE, SIZE, CHANNELS), names=[name], padding="SAME", stride_h=1, stride_w=1,
        fused_activation_function=activation,
    )  # fmt: skip


def samples(count: int = 6, seed: int = 1) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(0, 1, (1, SIZE, SIZE, 3)).astype(np.float32) for _ in range(count)]


def quantized(model: ts.Model, recipe: str | qcore.Recipe = "int8") -> ts.Model:
    return ts.read(qcore.quantize(model, recipe, samples()).to_bytes())


def tensor(model: ts.Model, name: str) -> int:
    (found,) = [i for i, t in enumerate(model.subgraphs[0].tensors) if t.name == name]
    return found


def with_tensor(model: ts.Model, number: int, **fields) -> ts.Model:
    part = model.subgraphs[0]
    tensors = tuple(t.replace(**fields) if i == number else t for i, t in enumerate(part.tensors))
    return model.replace(subgraphs=(part.replace(tensors=tensors),))


def rescaled(model: ts.Model, name: str, factor: float) -> ts.Model:
    """The output scale of one operator times a factor, and the biases that go with it."""
    number = tensor(model, name)
    made = scaled(model, number, factor)
    for i, op in enumerate(model.subgraphs[0].operators):
        if number in op.inputs[:1] and len(op.inputs) == 3:
            made = with_constant(made, i, 2, lambda b: np.rint(b / factor))
            made = scaled(made, op.inputs[2], factor)
    return made


def scaled(model: ts.Model, number: int, factor: float) -> ts.Model:
    """The scale of one tensor, and nothing else."""
    q = model.subgraphs[0].tensors[number].quantization
    scale = (q.scale * np.float32(factor)).astype(np.float32)
    return with_tensor(model, number, quantization=q.replace(scale=scale))


def with_constant(model: ts.Model, operator: int, position: int, change) -> ts.Model:
    """Another value of a constant: change(array) -> array of the same type."""
    part = model.subgraphs[0]
    number = part.operators[operator].inputs[position]
    old = ts.array(model, 0, number)
    data = np.ascontiguousarray(change(np.array(old))).astype(old.dtype)
    at = part.tensors[number].buffer
    buffers = tuple(
        replace(b, data=data.reshape(-1).view(np.uint8)) if i == at else b
        for i, b in enumerate(model.buffers)
    )
    return model.replace(buffers=buffers)


def operator(model: ts.Model, name: str) -> int:
    """The operator that writes the tensor of this name."""
    number = tensor(model, name)
    (found,) = [i for i, op in enumerate(model.subgraphs[0].operators) if number in op.outputs]
    return found


def renamed(model: ts.Model, names: dict[str, str] | None = None) -> ts.Model:
    """Other names for tensors: those given, else ones without meaning for all."""
    part = model.subgraphs[0]
    tensors = tuple(
        t.replace(name=f"n{i}" if names is None else names.get(t.name, t.name))
        for i, t in enumerate(part.tensors)
    )
    return model.replace(subgraphs=(part.replace(tensors=tensors),))


def swapped(model: ts.Model, a: int, b: int) -> ts.Model:
    """Two operators in each other's place in the file."""
    part = model.subgraphs[0]
    operators = list(part.operators)
    operators[a], operators[b] = operators[b], operators[a]
    return model.replace(subgraphs=(part.replace(operators=tuple(operators)),))
