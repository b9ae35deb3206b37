"""The two sides of a twin test: our plan written to a file, and the official quantizer's file."""

from __future__ import annotations

import numpy as np

import tflite_schema as ts
from qcore.calibrate import Calibration
from qcore.params import TensorKey
from qcore.peers.tflite import Quantizer
from qcore.prepare import prepare
from qcore.quantize import quantize
from qcore.recipe import Recipe
from qcore.recipe import recipe as find_recipe

__all__ = ["NEEDED", "Quantizer", "carrying", "ours", "theirs_legacy", "theirs_mlir", "unshared"]

# The deviations that a quantizer needs to accept some models at all; the rest can be off.
NEEDED = ("fold_float16", "fold_hybrid", "lstm_intermediates")


def ours(model: ts.Model, recipe: str | Recipe = "int8") -> ts.Model:
    """Our quantized model, from the ranges that `model` carries, written and read again."""
    return ts.read(quantize(model, recipe, Calibration.from_model(model)).to_bytes())


def carrying(model: ts.Model, calibration: Calibration) -> ts.Model:
    """The model with the ranges of a calibration in its tensors."""
    subgraphs = []
    for number, graph in enumerate(model.subgraphs):
        tensors = []
        for index, tensor in enumerate(graph.tensors):
            stats = calibration.get(TensorKey(number, index))
            if stats is not None:
                low, high = stats.lo.astype(np.float32), stats.hi.astype(np.float32)
                tensor = tensor.replace(quantization=ts.Quantization(min=low, max=high))
            tensors.append(tensor)
        subgraphs.append(graph.replace(tensors=tuple(tensors)))
    return model.replace(subgraphs=tuple(subgraphs))


def theirs_mlir(
    quantizer: Quantizer, model: ts.Model, recipe: str | Recipe = "int8", **options: object
) -> ts.Model:
    """The MLIR quantizer's model of the same source, prepared as ours is."""
    found = find_recipe(recipe)
    data = ts.to_bytes(ts.prune(prepare(model, found)))
    return ts.read(quantizer.mlir(data, found.input_type, found.output_type, **options))  # type: ignore[arg-type]


def theirs_legacy(
    quantizer: Quantizer,
    model: ts.Model,
    recipe: str | Recipe = "int16x8",
    allow_float: bool = True,
    per_channel: bool = True,
) -> ts.Model:
    """The older quantizer's model of the same source, from the ranges that `model` carries."""
    found = find_recipe(recipe)
    data = ts.to_bytes(ts.prune(prepare(model, found)))
    activations = "int8" if found.name.startswith("int8") else "int16"
    made = quantizer.legacy(
        data, None, activations, found.input_type, found.output_type, None, allow_float, per_channel
    )
    return ts.read(made)


def unshared(model: ts.Model) -> ts.Model:
    """The model with a buffer of its own for each constant.

    The older quantizer rewrites a buffer in place whoever else reads it, and so breaks files.
    """
    buffers, taken, subgraphs = list(model.buffers), set(), []
    for graph in model.subgraphs:
        tensors = []
        for tensor in graph.tensors:
            if tensor.buffer in taken:
                buffers.append(model.buffers[tensor.buffer])
                tensor = tensor.replace(buffer=len(buffers) - 1)
            elif tensor.buffer and model.buffers[tensor.buffer].data is not None:
                taken.add(tensor.buffer)
            tensors.append(tensor)
        subgraphs.append(graph.replace(tensors=tuple(tensors)))
    return model.replace(subgraphs=tuple(subgraphs), buffers=tuple(buffers))
