"""A model of any input and output types, run on real values: quantized going in, dequantized out.

So that a float model and its quantized forms can be given the same samples and be compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

import tflite_schema as ts
from kernels import affine, ranges
from qcore.binding import Binder, Entry
from qcore.peers.interpreter import read_model, run

_INTEGERS = {ts.TensorType.INT8, ts.TensorType.UINT8, ts.TensorType.INT16}


def run_real(
    model: Any, samples: Iterable[Any], signature: str | None = None, **options: Any
) -> Iterator[tuple[np.ndarray, ...]]:
    """Outputs of the official interpreter in real units, in the order of the entry's outputs.

    model, options: as `interpreter.run`.  samples: as for the float model; float32 values of
    quantized inputs are rounded half away to the input's own scale and zero point.
    """
    loaded = read_model(model)
    binder = Binder(_as_float(loaded), signature)
    named = any(entry.name is not None for entry in binder.entries)
    entries: list[Entry] = []

    def encoded() -> Iterator[Any]:
        for bound in binder.all(samples):
            entry = binder.entries[bound.entry]
            entries.append(entry)
            arrays = tuple(
                encode(loaded.subgraphs[entry.subgraph].tensors[i.tensor], array)
                for i, array in zip(entry.inputs, bound.arrays)
            )
            yield (entry.name, arrays) if named else arrays

    for outputs in run(model, encoded(), signature=signature, **options):
        entry = entries.pop(0)
        tensors = loaded.subgraphs[entry.subgraph].tensors
        yield tuple(decode(tensors[t], outputs[name]) for name, t in entry.outputs)


def encode(tensor: ts.Tensor, real: np.ndarray) -> np.ndarray:
    """Real values as the tensor stores them; unchanged for a tensor that is not quantized."""
    found = _parameters(tensor)
    if found is None:
        return real
    return affine.quantize(real, *found, ranges.NAMED[ts.TensorType(tensor.type).name.lower()])


def decode(tensor: ts.Tensor, stored: np.ndarray) -> np.ndarray:
    """Stored integers as real values; unchanged for a tensor that is not quantized."""
    found = _parameters(tensor)
    return stored if found is None else affine.dequantize(stored, *found)


def _parameters(tensor: ts.Tensor) -> tuple[np.ndarray, np.ndarray] | None:
    """Scale and zero point of a tensor of 8 or 16 bit integers, None where it has none."""
    found = tensor.quantization
    if tensor.type not in _INTEGERS or found is None or found.scale is None or not found.scale.size:
        return None
    zero_point = np.zeros(1, np.int64) if found.zero_point is None else found.zero_point
    return found.scale[0], zero_point[0]


def _as_float(model: ts.Model) -> ts.Model:
    """The model with quantized inputs declared float32, for binding real samples."""
    subgraphs = []
    for graph in model.subgraphs:
        tensors = list(graph.tensors)
        for i in graph.inputs:
            if _parameters(tensors[i]) is not None:
                tensors[i] = tensors[i].replace(type=ts.TensorType.FLOAT32)
        subgraphs.append(graph.replace(tensors=tuple(tensors)))
    return model.replace(subgraphs=tuple(subgraphs))
