"""A model run sample after sample, by our kernels or by the official interpreter.

Quantized models are ours: the integers are the interpreter's, and compiled. Floats are the
interpreter's where they are many: our float kernels add up products in float64, which is for
exactness and not for speed. Each takes over from the other where that one cannot go on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

import tflite_schema as ts
from kernels.errors import KernelError
from qcore.errors import CannotRun, QcoreError
from qcore.execute import Executor
from qcore.graph import Graph, graphs

MANY = 1e6  # products of floats in one sample from which on the interpreter is asked
# Whose second input are weights, or stands for them.
PRODUCTS = {
    "CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "BATCH_MATMUL", "CONV_3D", "CONV_3D_TRANSPOSE",
}  # fmt: skip


def float_products(model: ts.Model) -> float:
    """About how many products of two floats one sample takes, outside of depthwise convolutions."""
    return sum(
        _products(graph, op)
        for graph in graphs(model)
        for op in graph.operators
        if op.name in PRODUCTS and len(op.inputs) > 1 and op.outputs
    )


def _products(graph: Graph, op: ts.Operator) -> float:
    weights, out = op.inputs[1], op.outputs[0]
    if not (graph.is_float(weights) and graph.is_float(out)):
        return 0.0
    shape = graph.tensors[out].shape or (1,)
    each = math.prod(graph.tensors[weights].shape or (1,)) / max(shape[-1], 1)
    return float(math.prod(shape)) * each


class Whole:
    """One model on its way through samples; its states stay from one to the next.

    notes: what a person should know of how it was run.
    """

    def __init__(self, model: ts.Model, profile: Any, *, keep: bool = True) -> None:
        """keep: every tensor is wanted, not only outputs."""
        self.executor = Executor(model, profile)
        self.blocks = self.executor.blocks
        self.notes: list[str] = []
        self.official = float_products(model) >= MANY  # whether the interpreter is asked
        self.keep = keep
        self._stepper: Any = None
        self._tried = False  # the other one is asked only once

    def run(
        self, subgraph: int, given: Mapping[int, np.ndarray], wanted: Sequence[int] | None = None
    ) -> dict[int, np.ndarray]:
        """Tensor -> values as stored, of one sample. wanted: None for all that were computed.

        Raises CannotRun, or RuntimeFailed, where neither can.
        """
        try:
            return self._run(subgraph, given, wanted)
        except (QcoreError, KernelError) as error:
            if self._tried:
                raise
            self._tried = True
            self.official = not self.official
            try:
                made = self._run(subgraph, given, wanted)
            except (QcoreError, KernelError):
                raise error from None
            who = "the official interpreter" if self.official else "our kernels"
            self.notes.append(f"run by {who}, since {error}")
            return made

    def _run(
        self, subgraph: int, given: Mapping[int, np.ndarray], wanted: Sequence[int] | None
    ) -> dict[int, np.ndarray]:
        if self.official:
            found: dict[int, np.ndarray] = self._asked().run(subgraph, given, wanted)
        else:
            found = self.executor.invoke(subgraph, given, keep=self.keep)
        missing = [t for t in wanted or () if t not in found]
        if missing:
            name = self.blocks[subgraph].graph.name(missing[0])
            raise CannotRun(f"there are no values of tensor {name!r}")
        return found

    def _asked(self) -> Any:
        if self._stepper is None:
            from qcore.peers.steps import Stepper

            profile = self.executor.profile
            self._stepper = Stepper(
                self.executor.model, profile.runtime, profile.path, keep=self.keep
            )
        return self._stepper

    def real(self, subgraph: int, tensor: int, stored: np.ndarray) -> np.ndarray:
        """Stored values in real units."""
        t = self.blocks[subgraph].tensors[tensor]
        return replace(t, data=stored).real() if t.quantized else stored

    def close(self) -> None:
        if self._stepper is not None:
            self._stepper.close()
