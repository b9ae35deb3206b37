"""A model of any input and output types, run on real values: quantized going in, dequantized out.

So that a float model and its quantized forms can be given the same samples and be compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from kernels.call import Tensor
from qcore.binding import Binder, Entry, Input
from qcore.execute import Block, parameters
from qcore.graph import graphs
from qcore.load import load
from qcore.peers.interpreter import run

_INTEGERS = ("int8", "uint8", "int16")


def run_real(
    model: Any, samples: Iterable[Any], signature: str | None = None, **options: Any
) -> Iterator[tuple[np.ndarray, ...]]:
    """Outputs of the official interpreter in real units, in the order of the entry's outputs.

    model, options: as `interpreter.run`.  samples: as for the float model, integers too are real
    values; what goes to quantized inputs is rounded half away to their scale and zero point.
    """
    loaded = load(model)
    blocks = tuple(Block(graph, "fast") for graph in graphs(loaded))
    binder = Binder(loaded, signature)
    binder.entries = tuple(_real(entry, blocks[entry.subgraph]) for entry in binder.entries)
    named = any(entry.name is not None for entry in binder.entries)
    entries: list[Entry] = []

    def encoded() -> Iterator[Any]:
        for bound in binder.all(samples):
            entry = binder.entries[bound.entry]
            entries.append(entry)
            block = blocks[entry.subgraph]
            arrays = tuple(block.encode(i.tensor, a) for i, a in zip(entry.inputs, bound.arrays))
            yield (entry.name, arrays) if named else arrays

    for outputs in run(model, encoded(), signature=signature, **options):
        entry = entries.pop(0)
        yield tuple(_decoded(blocks[entry.subgraph], t, outputs[name]) for name, t in entry.outputs)


def _real(entry: Entry, block: Block) -> Entry:
    """The entry with inputs of float32 in the place of quantized ones."""

    def taken(i: Input) -> Input:
        return i if _quantized(block, i.tensor) is None else replace(i, dtype=np.float32)

    return replace(entry, inputs=tuple(map(taken, entry.inputs)))


def _decoded(block: Block, tensor: int, stored: np.ndarray) -> np.ndarray:
    found = _quantized(block, tensor)
    return stored if found is None else replace(found, data=stored).real()


def _quantized(block: Block, tensor: int) -> Tensor | None:
    """Parameters of a tensor of 8 or 16 bit integers that has a scale, else None."""
    found = parameters(block.graph, tensor)
    return found if found.quantized and found.dtype in _INTEGERS else None
