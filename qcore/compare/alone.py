"""Every operator of a candidate by itself, on the float model's tensors: the errors it makes.

The candidate is cut apart at every tensor whose real value the float model has: what reads such a
tensor reads an input of its own instead, which is given the float values rounded to the tensor's
parameters. So one run computes all operators independently, by the same kernels as the whole; what
has no counterpart between two cuts stays connected.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

import tflite_schema as ts
from kernels import ops
from kernels.errors import KernelError
from qcore.compare.whole import Whole
from qcore.errors import CannotRun, QcoreError
from qcore.execute import Block
from qcore.graph import Graph


class Alone:
    """A candidate's subgraph, cut at `fed`.

    model: the candidate.  subgraph: which.  fed: its tensor -> the float model's with that value.
    wanted: its tensors to be computed.
    why: tensors of `wanted` that cannot be, with the reason; grows while samples are run.
    """

    def __init__(
        self, model: ts.Model, subgraph: int, fed: Mapping[int, int], wanted: list[int],
        profile: Any,
    ) -> None:  # fmt: skip
        self.subgraph = subgraph
        self.why: dict[int, str] = {}
        graph = Graph(model, subgraph)
        kept, cut, self.wanted = self._cut(graph, fed, wanted)
        self.copies = {t: len(graph.tensors) + i for i, t in enumerate(cut)}
        self.given = {self.copies[t]: fed[t] for t in cut}
        made = self._model(model, graph, kept)
        self.whole = Whole(made, profile)
        self.executor = self.whole.executor
        self.block = self.executor.blocks[subgraph]
        self.failing = False

    def _cut(
        self, graph: Graph, fed: Mapping[int, int], wanted: list[int]
    ) -> tuple[list[int], list[int], list[int]]:
        """Operators to keep, tensors at which they are cut, and what of `wanted` they compute."""
        missing: dict[int, str] = {}  # tensor -> why it cannot be had
        needs: dict[int, set[int]] = {}
        for number, op in enumerate(graph.operators):
            needs[number] = {number}
            for t in op.inputs:
                if t < 0 or t in fed or graph.is_constant(t) or graph.is_variable(t):
                    continue
                maker = graph.producer.get(t)
                if maker is None or maker not in needs:
                    missing[number] = f"its input {graph.name(t)!r} has no float counterpart"
                else:
                    needs[number] |= needs[maker]
                    if maker in missing:
                        missing[number] = missing[maker]
        able = []
        for t in wanted:
            at = graph.producer[t]
            if at in missing:
                self.why[t] = missing[at]
            else:
                able.append(t)
        # What only has effects (assignments to resources) belongs to what reads them.
        effects = {n for n, op in enumerate(graph.operators) if not op.outputs}
        keep = {n for t in able for n in needs[graph.producer[t]]}
        keep |= {n for e in effects if e not in missing for n in needs[e]}
        kept = sorted(keep)
        read = {t for n in kept for t in graph.operators[n].inputs if t in fed}
        return kept, sorted(read), able

    def _model(self, model: ts.Model, graph: Graph, kept: list[int]) -> ts.Model:
        source = graph.source
        copies = tuple(
            graph.tensors[t].replace(name=f"{graph.name(t)}, float", buffer=0, is_variable=False)
            for t in self.copies
        )
        operators = tuple(
            op.replace(inputs=tuple(self.copies.get(t, t) for t in op.inputs))
            for op in (graph.operators[n] for n in kept)
        )
        made = source.replace(
            tensors=(*source.tensors, *copies),
            operators=operators,
            inputs=tuple(self.copies.values()),
            outputs=tuple(self.wanted),
        )
        parts = tuple(
            made if i == self.subgraph else part for i, part in enumerate(model.subgraphs)
        )
        return model.replace(subgraphs=parts, signature_defs=(), metadata=())

    def run(self, floats: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
        """wanted tensor -> its values as stored, of one sample.

        floats: tensors of the float model, real values.
        """
        given = {}
        for copy, t in self.given.items():
            if t in floats:
                try:
                    given[copy] = encode(self.block, copy, floats[t])
                except KernelError:
                    continue  # a NaN has no integer
        if len(given) == len(self.given) and not self.failing:
            try:
                made = self.whole.run(self.subgraph, given, self.wanted)
                return {t: made[t] for t in self.wanted}
            except (QcoreError, KernelError):
                self.failing = True
        return self._one_by_one(given)

    def close(self) -> None:
        self.whole.close()

    def _one_by_one(self, given: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
        """As `run`, where an operator cannot be computed: the others."""
        values = dict(given)
        for node in self.block.nodes:
            try:
                call = self.executor.call(self.subgraph, node, values)
                made = ops.compute(call, self.executor.mode)
            except (CannotRun, KernelError) as error:
                for t in node.outputs:
                    if t >= 0:
                        self.why.setdefault(t, str(error))
                continue
            values.update((t, r) for t, r in zip(node.outputs, made) if t >= 0)
            self.executor.keep_states(self.subgraph, node, made)
        found = {t: values[t] for t in self.wanted if t in values}
        for t in self.wanted:
            if t not in found:
                self.why.setdefault(t, "an operator before it cannot be computed")
        return found


def encode(block: Block, tensor: int, real: np.ndarray) -> np.ndarray:
    """Real values as a tensor of another model stores them: rounded half away to its parameters."""
    made = block.encode(tensor, real)
    held = block.tensors[tensor].held
    if made.dtype != held and made.dtype.kind == held.kind == "f":
        return made.astype(held)
    if made.dtype != held and block.tensors[tensor].quantized:
        return block.encode(tensor, real.astype(np.float32))
    return made
