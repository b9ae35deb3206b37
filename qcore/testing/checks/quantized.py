"""A written file is one that integer kernels compute rightly: what every operator's spec demands.

check_quantized("int8.tflite")      # a path, bytes, a Model, or what quantize gave

The demands are those of the kernels (`OpSpec`), not of a planner: operands that are tied share one
grid, fixed grids are the kernel's, a bias has the product of the scales that make its accumulator,
weights are symmetric, scales are positive numbers, integers keep to their range.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import tflite_schema as ts
from kernels import packing, ranges
from kernels.opspec import Operand, Role, Tie
from qcore.graph import Graph, graphs
from qcore.testing.checks.failure import CheckFailed, write

ACTIVATIONS = ("int8", "int16", "uint8")
CHANGES = ("QUANTIZE", "DEQUANTIZE", "CAST")  # what has two types or grids by its nature
BIASES = {"int8": ("int32",), "uint8": ("int32",), "int16": ("int64", "int32")}
TINY = 2.0**-148  # two steps of denormal float32
WEIGHTS = ("int8", "int4", "int2", "uint8")


@dataclass(frozen=True)
class Grids:
    """What was looked at. operators: in integers, hybrid ones included.  tied: operands that share
    a grid with others.  values: stored integers of constants."""

    operators: int
    grids: int
    tied: int
    biases: int
    weights: int
    values: int

    def __str__(self) -> str:
        return (
            f"{self.operators} integer operators, {self.grids} grids, {self.tied} tied operands, "
            f"{self.biases} biases and {self.weights} weights of {self.values} integers are as "
            "their kernels want them"
        )


def check_quantized(model: Any, folder: str | Path | None = None) -> Grids:
    """Every grid, tie, bias and integer of a quantized file is as the operators' specs want it.

    model: a path, bytes, Model or Quantized.  folder: where a failure leaves its files, a temporary
    one if not given. A file without a grid fails: nothing was checked.
    Raises CheckFailed, whose sentence names all that is wrong; SchemaError, BadInput.
    """
    from qcore.load import load

    found = load(model)
    data = ts.to_bytes(found)
    file = _File(ts.read(data))
    wrong = list(file.wrong())
    if not wrong and not file.counts["grids"]:
        wrong = ["the file has no quantized tensor: there is nothing to check"]
    if wrong:
        place = write({"model.tflite": data}, folder, "quantized")
        python = (
            "from qcore.testing import checks\n\n"
            f"checks.check_quantized({str(place / 'model.tflite')!r})\n"
        )
        raise CheckFailed("; ".join(wrong), python, place)
    return Grids(**file.counts)


@dataclass(frozen=True)
class _Grid:
    """Scale and zero point of a tensor. bits: what equality means."""

    scale: np.ndarray
    zero_point: np.ndarray
    axis: int
    dtype: str

    @property
    def bits(self) -> tuple[Any, ...]:
        return self.dtype, self.scale.tobytes(), self.zero_point.tobytes()

    def __str__(self) -> str:
        if self.scale.size == 1:
            return f"{self.dtype} {self.scale[0]!s} {self.zero_point[0]}"
        return f"{self.dtype} with {self.scale.size} scales"


class _File:
    def __init__(self, model: ts.Model):
        self.graphs = graphs(model)
        self.counts = dict.fromkeys(
            ("operators", "grids", "tied", "biases", "weights", "values"), 0
        )

    def wrong(self) -> Iterator[str]:
        for graph in self.graphs:
            where = "" if len(self.graphs) == 1 else f"subgraph {graph.subgraph}: "
            for sentence in _graph(graph, self.counts):
                yield where + sentence


def _grid(graph: Graph, tensor: int) -> _Grid | None:
    q = graph.tensors[tensor].quantization
    if q is None or q.scale is None or not q.scale.size:
        return None
    zero_point = np.zeros(q.scale.size, np.int64) if q.zero_point is None else q.zero_point
    dtype = ts.TensorType(graph.tensors[tensor].type).name.lower()
    return _Grid(q.scale, zero_point, q.quantized_dimension, dtype)


def _graph(graph: Graph, counts: dict[str, int]) -> Iterator[str]:
    for tensor in range(len(graph.tensors)):
        grid = _grid(graph, tensor)
        if grid is not None:
            counts["grids"] += 1
            yield from (f"tensor {graph.name(tensor)!r}: {w}" for w in _own(grid))
    for number in range(len(graph.operators)):
        yield from (f"{graph.where(number)}: {w}" for w in _operator(graph, number, counts))


def _own(grid: _Grid) -> Iterator[str]:
    """What holds for a grid wherever it is used, beyond what the file format demands."""
    if not (np.isfinite(grid.scale) & (grid.scale > 0)).all():
        yield f"a scale is {grid.scale[~(grid.scale > 0) | ~np.isfinite(grid.scale)][0]}"
    q = ranges.NAMED.get(grid.dtype)
    if q is None:
        yield f"a grid on {grid.dtype}"
        return
    if (grid.zero_point < q.qmin).any() or (grid.zero_point > q.qmax).any():
        yield f"zero point {grid.zero_point[np.argmax(np.abs(grid.zero_point))]} is not in {q}"


def _operands(graph: Graph, number: int) -> Iterator[tuple[Operand, int, bool]]:
    """(operand, tensor, whether it is written) of all that is there and has a spec."""
    op, spec = graph.operators[number], graph.spec(number)
    assert spec is not None
    for position, tensor in enumerate(op.inputs):
        operand = spec.operand(position)
        if tensor >= 0 and operand is not None:
            yield operand, tensor, False
    for position, tensor in enumerate(op.outputs):
        operand = spec.output(position)
        if tensor >= 0 and operand is not None:
            yield operand, tensor, True


def _operator(graph: Graph, number: int, counts: dict[str, int]) -> Iterator[str]:
    op, spec = graph.operators[number], graph.spec(number)
    if spec is None:
        return
    operands = list(_operands(graph, number))
    grids = {t: _grid(graph, t) for _, t, _ in operands}
    data = [(o, t, w) for o, t, w in operands if o.role is Role.ACTIVATION]
    typed = {t: ts.TensorType(graph.tensors[t].type).name.lower() for _, t, _ in operands}
    integer = any(typed[t] in ACTIVATIONS and grids[t] is not None for _, t, _ in data)
    weights = [(o, t) for o, t, _ in operands if o.role is Role.WEIGHT and grids[t] is not None]
    if not integer and not weights:
        return
    counts["operators"] += 1
    for operand, tensor in weights:
        counts["weights"] += 1
        yield from _weight(graph, operand, tensor, grids[tensor], counts)
    if not integer or op.name in CHANGES:
        return
    kind = next(typed[t] for _, t, _ in data if typed[t] in ACTIVATIONS)
    for operand, tensor, _ in data:
        if typed[tensor] == "float32":
            yield f"{operand.name} is float32 beside {kind}"
        elif typed[tensor] in ACTIVATIONS and grids[tensor] is None:
            yield f"{operand.name} is {typed[tensor]} without a scale"
        elif grids[tensor] is not None and typed[tensor] != kind:
            yield f"{operand.name} is {typed[tensor]} beside {kind}"
    tied = [(o, t) for o, t, _ in data if grids[t] is not None]
    if spec.tie in (Tie.SAME, Tie.OUTPUT) and len(tied) > 1:
        counts["tied"] += len(tied)
        yield from _same(tied, grids)
    for i, j in spec.shared:
        if i < len(op.inputs) and j < len(op.outputs):
            pair = [(spec.inputs[i], op.inputs[i]), (spec.outputs[j], op.outputs[j])]
            if all(grids.get(t) is not None for _, t in pair):
                counts["tied"] += 2
                yield from _same(pair, grids)
    for operand, tensor, _ in data:
        fixed, grid = operand.fixed.get(kind), grids[tensor]
        if fixed is not None and grid is not None:
            wanted = np.float32(fixed.scale), fixed.zero_point
            if (grid.scale[0], int(grid.zero_point[0])) != wanted:
                yield f"{operand.name} has the grid {grid}, its kernel takes {wanted}"
    for operand, tensor, _ in operands:
        if operand.role is Role.BIAS and graph.is_constant(tensor):
            counts["biases"] += 1
            yield from _bias(graph, number, operand, tensor, kind, counts)


def _same(tied: list[tuple[Operand, int]], grids: dict[int, _Grid | None]) -> Iterator[str]:
    first, at = tied[0]
    for operand, tensor in tied[1:]:
        one, other = grids[at], grids[tensor]
        assert one is not None and other is not None
        if one.bits != other.bits:
            yield f"{operand.name} ({other}) is tied to {first.name} ({one})"


def _weight(
    graph: Graph, operand: Operand, tensor: int, grid: _Grid | None, counts: dict[str, int]
) -> Iterator[str]:
    assert grid is not None
    if grid.scale.size > 1 and operand.axis is not None and grid.axis != operand.axis:
        yield f"{operand.name} has its channels along axis {grid.axis}, not {operand.axis}"
    if grid.dtype not in WEIGHTS and grid.dtype != operand.dtype:
        return
    if grid.dtype != "uint8" and grid.zero_point.any():
        yield f"{operand.name} has the zero point {grid.zero_point[grid.zero_point != 0][0]}"
    if grid.dtype in ("int8", "int4", "int2") and graph.is_constant(tensor):
        yield from _values(graph, operand, tensor, f"{grid.dtype}_narrow", counts)


def _values(
    graph: Graph, operand: Operand, tensor: int, kind: str, counts: dict[str, int]
) -> Iterator[str]:
    q, values = ranges.NAMED[kind], graph.constant(tensor)
    assert values is not None
    size = int(np.prod(graph.tensors[tensor].shape or ()))
    if kind.startswith("int4"):
        values = packing.unpack4(values.reshape(-1).view(np.uint8), size)
    elif kind.startswith("int2"):
        values = packing.unpack2(values.reshape(-1).view(np.uint8), size)
    if values.size != size:
        yield f"{operand.name} has {values.size} integers for {size} places"
    counts["values"] += size
    if size and (values.min() < q.qmin or values.max() > q.qmax):
        yield f"{operand.name} holds integers in [{values.min()}, {values.max()}], not in {q}"


def _bias(
    graph: Graph, number: int, operand: Operand, tensor: int, kind: str, counts: dict[str, int]
) -> Iterator[str]:
    grid = _grid(graph, tensor)
    if grid is None:
        yield f"{operand.name} is not quantized beside {kind}"
        return
    wide = (operand.dtype,) if operand.dtype else BIASES[kind]
    if grid.dtype not in wide:
        yield f"{operand.name} is {grid.dtype} beside {kind}, not {' or '.join(wide)}"
        return
    if grid.zero_point.any():
        yield f"{operand.name} has the zero point {grid.zero_point[grid.zero_point != 0][0]}"
    yield from _values(graph, operand, tensor, grid.dtype, counts)
    wanted = _product(graph, number, operand)
    if wanted is None:
        return
    if wanted.size != grid.scale.size:
        yield f"{operand.name} has {grid.scale.size} scales for {wanted.size} of its product"
        return
    wrong = (wanted != grid.scale) & ~_raised(graph, tensor, grid, wanted)
    if wrong.any():
        at = int(np.argmax(wrong))
        yield f"{operand.name} has the scale {grid.scale[at]}, the product is {wanted[at]}"


def _raised(graph: Graph, tensor: int, grid: _Grid, wanted: np.ndarray) -> np.ndarray:
    """(G,) where a scale was raised so that a large bias keeps within half of int32 (E14).

    Scale of bias and weights are then rounded each by itself from the same real number: with the
    product's own rounding they are within three halves of a float32 step each way.
    """
    values = graph.constant(tensor)
    assert values is not None
    largest = np.abs(values.astype(np.float64)).reshape(grid.scale.size, -1).max(axis=1, initial=0)
    near = np.abs(wanted.astype(np.float64) - grid.scale) <= 2.0**-22 * grid.scale + TINY
    return near & (largest >= 2.0**29)


def _product(graph: Graph, number: int, operand: Operand) -> np.ndarray | None:
    """(G,) float32: what the scales of a bias must be, None where the spec does not say."""
    op, spec = graph.operators[number], graph.spec(number)
    assert spec is not None

    def place(name: str) -> int:
        for operands, tensors in ((spec.inputs, op.inputs), (spec.intermediates, op.intermediates)):
            for position, o in enumerate(operands):
                if o.name == name and position < len(tensors or ()):
                    return int(tensors[position])
        return -1

    for product in operand.scale:
        if product.given is not None and place(product.given) < 0:
            continue
        scales = [_grid(graph, place(n)) for n in product.operands]
        if any(s is None for s in scales):
            return None
        # Two float32 have an exact product in float64; one rounding is left.
        found = np.array([product.factor], np.float64)
        for s in scales:
            assert s is not None
            found = found * s.scale.astype(np.float64)
        with np.errstate(over="ignore"):
            return found.astype(np.float32)
    return None
