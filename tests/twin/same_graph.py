"""Whether two .tflite models are the same graph, whatever their tensors are called or numbered.

Operators are walked in step: name, version, options, and for each operand type, shape, parameters
(scales by their bits) and, for a constant, every byte. A computed tensor of the one must stand for
one and the same tensor of the other wherever it is read.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

import tflite_schema as ts


@dataclass
class Comparison:
    """differences: one sentence each.  tensors, constants, values: how many were compared."""

    differences: list[str] = field(default_factory=list)
    operators: int = 0
    tensors: int = 0
    values: int = 0

    @property
    def same(self) -> bool:
        return not self.differences


def compare(ours: ts.Model, theirs: ts.Model) -> Comparison:
    result = Comparison()
    if len(ours.subgraphs) != len(theirs.subgraphs):
        result.differences.append(
            f"{len(ours.subgraphs)} subgraphs, theirs {len(theirs.subgraphs)}"
        )
        return result
    for number in range(len(ours.subgraphs)):
        _Subgraph(ours, theirs, number, result).compare()
    return result


class _Subgraph:
    def __init__(self, ours: ts.Model, theirs: ts.Model, number: int, result: Comparison):
        self.models, self.number, self.result = (ours, theirs), number, result
        self.graphs = (ours.subgraphs[number], theirs.subgraphs[number])
        self.forth: dict[int, int] = {}
        self.back: dict[int, int] = {}
        self.seen: set[tuple[int, int]] = set()

    def say(self, what: str) -> None:
        self.result.differences.append(f"subgraph {self.number}: {what}")

    def compare(self) -> None:
        names = [[op.name for op in graph.operators] for graph in self.graphs]
        if names[0] != names[1]:
            at = next(
                (i for i, (a, b) in enumerate(zip(*names, strict=False)) if a != b),
                min(map(len, names)),
            )
            self.say(f"operators differ from number {at}: {names[0][at:at + 4]}, theirs "
                     f"{names[1][at:at + 4]} ({len(names[0])} and {len(names[1])} operators)")
            return
        self._operands("inputs", self.graphs[0].inputs, self.graphs[1].inputs)
        pairs = zip(self.graphs[0].operators, self.graphs[1].operators, strict=True)
        for i, (a, b) in enumerate(pairs):
            self.result.operators += 1
            where = f"{a.name} {i}"
            if a.code.version != b.code.version:
                self.say(f"{where}: version {a.code.version}, theirs {b.code.version}")
            if _fields(a) != _fields(b):
                self.say(f"{where}: options {_fields(a)}, theirs {_fields(b)}")
            self._operands(f"{where} inputs", a.inputs, b.inputs)
            self._operands(f"{where} outputs", a.outputs, b.outputs)
        self._operands("outputs", self.graphs[0].outputs, self.graphs[1].outputs)

    def _operands(self, where: str, ours: tuple[int, ...], theirs: tuple[int, ...]) -> None:
        if len(ours) != len(theirs):
            self.say(f"{where}: {len(ours)} operands, theirs {len(theirs)}")
            return
        for position, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            if (a < 0) != (b < 0):
                self.say(f"{where}[{position}]: only one of them is absent")
            elif a >= 0 and (a, b) not in self.seen:
                self.seen.add((a, b))
                self._tensor(f"{where}[{position}]", a, b)

    def _tensor(self, where: str, a: int, b: int) -> None:
        self.result.tensors += 1
        left, right = self.graphs[0].tensors[a], self.graphs[1].tensors[b]
        where = f"{where} ({left.name})"
        if left.type != right.type:
            self.say(f"{where}: {left.type!s}, theirs {right.type!s}")
            return
        for what in ("shape", "shape_signature"):
            if tuple(getattr(left, what) or ()) != tuple(getattr(right, what) or ()):
                self.say(f"{where}: {what} {getattr(left, what)}, theirs {getattr(right, what)}")
        if (found := _parameters(left)) != (other := _parameters(right)):
            self.say(f"{where}: {_shown(found)}, theirs {_shown(other)}")
        values = [ts.array(m, self.number, t) for m, t in zip(self.models, (a, b), strict=True)]
        if (values[0] is None) != (values[1] is None):
            self.say(f"{where}: constant in only one of them")
        elif values[0] is not None and values[1] is not None:
            self._values(where, values[0], values[1])
        elif self.forth.setdefault(a, b) != b or self.back.setdefault(b, a) != a:
            self.say(f"{where}: not the tensor that it stood for before")

    def _values(self, where: str, left: np.ndarray, right: np.ndarray) -> None:
        self.result.values += left.size
        if left.shape != right.shape:
            self.say(f"{where}: {left.shape} values, theirs {right.shape}")
            return
        size = left.dtype.itemsize
        bits = [v.reshape(-1).view(np.uint8).reshape(-1, size) for v in (left, right)]
        differ = (bits[0] != bits[1]).any(axis=1)
        if differ.any():
            at = int(np.flatnonzero(differ)[0])
            self.say(
                f"{where}: {int(differ.sum())} of {left.size} values differ, number {at} is "
                f"{left.reshape(-1)[at]}, theirs {right.reshape(-1)[at]}"
            )


def _fields(op: ts.Operator) -> object:
    return op.options  # compared deeply: RESHAPE's new_shape is an array


def _parameters(tensor: ts.Tensor) -> tuple[bytes, tuple[int, ...], int] | None:
    """Scale bits, zero points (missing ones are 0) and axis (0 where there is one scale)."""
    q = tensor.quantization
    if q is None or q.scale is None or not q.scale.size:
        return None
    none = q.zero_point is None or not q.zero_point.size
    zero_point = np.zeros(q.scale.size, np.int64) if none else q.zero_point
    axis = q.quantized_dimension if q.scale.size > 1 else 0
    return q.scale.tobytes(), tuple(int(z) for z in zero_point), axis


def _shown(parameters: tuple[bytes, tuple[int, ...], int] | None) -> str:
    if parameters is None:
        return "no parameters"
    scale = np.frombuffer(parameters[0], np.float32)
    _, zero_points, axis = parameters
    return f"scales {scale[:3]} (of {scale.size}), zero points {zero_points[:3]}, axis {axis}"
