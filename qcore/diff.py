"""What differs between two .tflite files: structure, types, scales in ULP, integers in steps.

Operators are aligned by name and output shapes, as a text comparison aligns lines; tensors are
compared where they stand in the same place of an aligned operator, or of the graph's inputs and
outputs. So a renumbered file is equal to itself, and one inserted QUANTIZE is one difference.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

import numpy as np

import tflite_schema as ts
from kernels import packing
from qcore.graph import Graph, graphs
from qcore.inspect import dtype_name, plain

_BLOCK = 1 << 20

KINDS = (
    "subgraphs",
    "operators",
    "version",
    "options",
    "operands",
    "dtype",
    "shape",
    "scale",
    "zero_point",
    "axis",
    "range",
    "values",
    "flags",
    "name",
    "signatures",
    "metadata",
    "description",
)


@dataclass(frozen=True)
class Change:
    """One difference.

    kind: one of KINDS.  where: the place, in words.  a, b: what stands there, short, as text;
    "" where nothing does.  count, of: how many elements (or scales, or zero points) differ, of how
    many.  largest: the largest step: ULP for scales, integer steps for zero points and integers,
    real units for float values and ranges.
    """

    kind: str
    where: str
    a: str = ""
    b: str = ""
    count: int | None = None
    of: int | None = None
    largest: float | int | None = None


@dataclass(frozen=True)
class Diff:
    """changes in file order.  compared: pairs of tensors that were looked at.
    operators, bytes: how many operators, and bytes of buffers, each file has."""

    changes: tuple[Change, ...]
    compared: int
    operators: tuple[int, int]
    bytes: tuple[int, int]

    @property
    def same(self) -> bool:
        return not self.changes

    def without(self, *kinds: str) -> Diff:
        """The same without the differences of some kinds."""
        kept = tuple(c for c in self.changes if c.kind not in kinds)
        return dataclasses.replace(self, changes=kept)

    def counts(self) -> dict[str, int]:
        """Differences by kind, in the order of KINDS."""
        return {k: n for k in KINDS if (n := sum(c.kind == k for c in self.changes))}

    def to_json(self) -> dict[str, Any]:
        return {"same": self.same, "counts": self.counts(), **dataclasses.asdict(self)}

    def _repr_html_(self) -> str:
        from qcore.report import notebook

        return notebook.diff(self)


def diff(a: Any, b: Any) -> Diff:
    """Compare two models, each a Model, path, bytes or quantized result; nothing is run."""
    from qcore.load import load

    a, b = load(a), load(b)
    found: list[Change] = []
    compared = 0
    if len(a.subgraphs) != len(b.subgraphs):
        found.append(Change("subgraphs", "model", str(len(a.subgraphs)), str(len(b.subgraphs))))
    for left, right in zip(graphs(a), graphs(b)):
        pairs = _Pairs(left, right)
        found += pairs.align()
        for (x, y), where in pairs.tensors.items():
            found += _tensor(left, x, right, y, where)
            compared += 1
    found += _signatures(a, b)
    found += _metadata(a, b)
    if (a.description or "") != (b.description or ""):
        found.append(Change("description", "model", a.description or "", b.description or ""))
    operators = _operators(a), _operators(b)
    return Diff(tuple(found), compared, operators, (_stored(a), _stored(b)))


def _operators(model: ts.Model) -> int:
    return sum(len(s.operators) for s in model.subgraphs)


def _stored(model: ts.Model) -> int:
    return sum(b.nbytes for b in model.buffers)


class _Pairs:
    """Tensors that stand in the same place, filled in by `align`: (a, b) -> the place in words."""

    def __init__(self, a: Graph, b: Graph) -> None:
        self.a, self.b = a, b
        self.tensors: dict[tuple[int, int], str] = {}
        self.prefix = f"subgraph {a.subgraph} " if a.subgraph else ""

    def align(self) -> Iterator[Change]:
        """Differences of structure, while the pairs are found."""
        yield from self._operands("graph input", self.a.inputs, self.b.inputs)
        a, b = ([line(graph, i) for i in range(len(graph.operators))] for graph in (self.a, self.b))
        for same, left, right in _stretches(a, b):
            if same:
                for i, j in zip(left, right):
                    yield from self._operator(i, j)
                continue
            for i in left:
                yield Change("operators", self.prefix + self.a.where(i), a=self.a.operators[i].name)
            for j in right:
                yield Change("operators", self.prefix + self.b.where(j), b=self.b.operators[j].name)
        yield from self._operands("graph output", self.a.outputs, self.b.outputs)

    def _operator(self, i: int, j: int) -> Iterator[Change]:
        left, right = self.a.operators[i], self.b.operators[j]
        where = f"{self.prefix}{left.name} {i}" + (f"|{j}" if i != j else "")
        if left.code.version != right.code.version:
            yield Change("version", where, str(left.code.version), str(right.code.version))
        for table in ("options", "options_2"):
            x, y = (_fields(getattr(op, table)) for op in (left, right))
            for name in sorted(x.keys() | y.keys()):
                if x.get(name) != y.get(name):
                    a, b = (f"{name}={options.get(name, 'default')}" for options in (x, y))
                    yield Change("options", where, a, b)
        if _raw(left.custom_options) != _raw(right.custom_options):
            yield Change("options", where, "custom_options", "custom_options")
        for role in ("inputs", "outputs", "intermediates"):
            x, y = (getattr(op, role) for op in (left, right))
            yield from self._operands(f"{where} {role[:-1]}", x, y)

    def _operands(self, where: str, x: tuple[int, ...], y: tuple[int, ...]) -> Iterator[Change]:
        # A missing optional operand at the end and a -1 in its place mean the same.
        while len(x) > len(y) and x[-1] == -1:
            x = x[:-1]
        while len(y) > len(x) and y[-1] == -1:
            y = y[:-1]
        if len(x) != len(y):
            yield Change("operands", where, str(len(x)), str(len(y)))
        for position, (s, t) in enumerate(zip(x, y)):
            place = f"{where} {position}"
            if (s < 0) != (t < 0):
                yield Change(
                    "operands",
                    place,
                    "absent" if s < 0 else self.a.name(s),
                    "absent" if t < 0 else self.b.name(t),
                )
            elif s >= 0:
                self.tensors.setdefault((s, t), place)


def line(graph: Graph, operator: int) -> tuple[Any, ...]:
    """What an operator is aligned by."""
    op = graph.operators[operator]
    return op.name, tuple(shape_of(graph.tensors[t].shape) for t in op.outputs if t >= 0)


def _stretches(
    a: Sequence[tuple[Any, ...]], b: Sequence[tuple[Any, ...]]
) -> Iterator[tuple[bool, range, range]]:
    """Stretches of two lists of lines: whether they are the same operators, and their places."""
    for what, i1, i2, j1, j2 in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        # The same operators, whose shapes differ, are the same too.
        same = what == "equal" or (
            what == "replace" and [x[0] for x in a[i1:i2]] == [y[0] for y in b[j1:j2]]
        )
        yield same, range(i1, i2), range(j1, j2)


def aligned(
    a: Sequence[tuple[Any, ...]], b: Sequence[tuple[Any, ...]]
) -> Iterator[tuple[int, int]]:
    """Places that a text comparison of two lists of lines puts side by side."""
    for same, left, right in _stretches(a, b):
        if same:
            yield from zip(left, right)


def shape_of(shape: Any) -> tuple[int, ...]:
    return tuple(int(n) for n in shape) if shape is not None else ()


def _fields(options: ts.Options | None) -> dict[str, Any]:
    return {} if options is None else plain(options.fields)


def _raw(data: Any) -> bytes:
    return b"" if data is None else bytes(data)


def _tensor(left: Graph, i: int, right: Graph, j: int, where: str) -> Iterator[Change]:
    x, y = left.tensors[i], right.tensors[j]
    where = f"{where} ({left.name(i)})"
    if (x.name or "") != (y.name or ""):
        yield Change("name", where, x.name or "", y.name or "")
    if x.type != y.type:
        yield Change("dtype", where, dtype_name(x), dtype_name(y))
    for field in ("shape", "shape_signature"):
        s, t = shape_of(getattr(x, field)), shape_of(getattr(y, field))
        if s != t:
            yield Change("shape", where, f"{field} {list(s)}", f"{field} {list(t)}")
    if bool(x.is_variable) != bool(y.is_variable):
        yield Change(
            "flags", where, f"variable={bool(x.is_variable)}", f"variable={bool(y.is_variable)}"
        )
    if plain(x.sparsity) != plain(y.sparsity):
        yield Change(
            "flags", where, "sparsity" if x.sparsity else "", "sparsity" if y.sparsity else ""
        )
    yield from _quantization(x.quantization, y.quantization, where)
    u, v = left.constant(i), right.constant(j)
    if (u is None) != (v is None):
        yield Change(
            "values",
            where,
            "constant" if v is None else "not constant",
            "constant" if u is None else "not constant",
        )
    elif (
        u is not None
        and v is not None
        and x.type == y.type
        and shape_of(x.shape) == shape_of(y.shape)
    ):
        yield from _constants(dtype_name(x), u, v, where)


def _quantization(x: Any, y: Any, where: str) -> Iterator[Change]:
    def field(q: Any, name: str, dtype: Any) -> np.ndarray:
        value = None if q is None else getattr(q, name)
        return np.zeros(0, dtype) if value is None else np.asarray(value, dtype).reshape(-1)

    fields: tuple[tuple[str, str, Any, Callable[..., Any]], ...] = (
        ("scale", "scale", np.float32, ulp),
        ("zero_point", "zero_point", np.int64, _steps),
        ("range", "min", np.float32, _real),
        ("range", "max", np.float32, _real),
    )
    for kind, name, dtype, distance in fields:
        a, b = field(x, name, dtype), field(y, name, dtype)
        if a.size != b.size:
            yield Change(kind, where, _short(name, a), _short(name, b))
        elif a.tobytes() != b.tobytes():
            far = distance(a, b)
            worst = int(np.argmax(far))
            yield Change(
                kind,
                where,
                _short(name, a[worst : worst + 1]),
                _short(name, b[worst : worst + 1]),
                count=int(np.count_nonzero(far)),
                of=a.size,
                largest=far[worst].item(),
            )
    axes = [
        q.quantized_dimension if q is not None and field(q, "scale", np.float32).size > 1 else None
        for q in (x, y)
    ]
    if axes[0] != axes[1] and None not in axes:
        yield Change("axis", where, str(axes[0]), str(axes[1]))
    s, t = (plain(getattr(q, "details", None)) for q in (x, y))
    if s != t:
        yield Change("flags", where, f"quantization details {s}", f"quantization details {t}")


def _short(name: str, values: np.ndarray) -> str:
    """The value, or how many there are; min and max, which share a kind, by name."""
    text = str(values[0]) if values.size == 1 else f"{values.size} values" if values.size else ""
    return f"{name} {text}" if text and name in ("min", "max") else text


def ulp(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """How many float32 numbers lie between, by element: int64; 0 only for the same bits.

    The distance from -0 to 0 is 1; NaN against a number counts as 2^32.
    """

    def place(x: np.ndarray) -> np.ndarray:
        bits = np.ascontiguousarray(x, np.float32).view(np.int32).astype(np.int64)
        return np.where(bits < 0, -(bits & 0x7FFFFFFF) - 1, bits)

    far = np.abs(place(a) - place(b))
    return np.where(np.isnan(a) != np.isnan(b), 1 << 32, far)


def _steps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.abs(a.astype(np.int64) - b.astype(np.int64))


def _real(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.abs(a.astype(np.float64) - b.astype(np.float64))


def _constants(dtype: str, u: np.ndarray, v: np.ndarray, where: str) -> Iterator[Change]:
    """Differences of two constants of one type and shape, a block at a time."""
    a, b = u.reshape(-1), v.reshape(-1)
    if a.dtype.kind not in "iufb" or a.size != b.size:
        if u.tobytes() != v.tobytes():
            yield Change("values", where, f"{u.nbytes} bytes", f"{v.nbytes} bytes")
        return
    unpack: Callable[[np.ndarray], np.ndarray] = {
        "int4": lambda x: packing.unpack4(x, 2 * x.size),
        "int2": lambda x: packing.unpack2(x, 4 * x.size),
    }.get(dtype, lambda x: x)
    distance = _real if a.dtype.kind == "f" else _steps
    count, of, largest = 0, 0, 0
    for start in range(0, a.size, _BLOCK):
        x, y = a[start : start + _BLOCK], b[start : start + _BLOCK]
        if x.tobytes() != y.tobytes():
            far = distance(unpack(x), unpack(y))
            bits = (
                x.view(f"u{x.itemsize}") != y.view(f"u{x.itemsize}") if x.dtype.kind == "f" else far
            )
            count += int(np.count_nonzero(bits))
            largest = max(largest, far.max().item())
        of += unpack(x).size
    for array in (u, v):
        ts.release(array)
    if count:
        yield Change("values", where, dtype, dtype, count, of, largest)


def _signatures(a: ts.Model, b: ts.Model) -> Iterator[Change]:
    def described(model: ts.Model) -> dict[str, str]:
        def names(maps: Any, positions: tuple[int, ...]) -> str:
            # By position among the graph's inputs or outputs: numbers of tensors mean nothing here.
            where = {t: i for i, t in enumerate(positions)}
            return ", ".join(f"{m.name}={where.get(m.tensor_index, '?')}" for m in maps)

        out = {}
        for s in model.signature_defs:
            sub = model.subgraphs[s.subgraph_index]
            out[s.signature_key or ""] = (
                f"subgraph {s.subgraph_index}: {names(s.inputs, sub.inputs)} -> "
                f"{names(s.outputs, sub.outputs)}"
            )
        return out

    x, y = described(a), described(b)
    for key in sorted(x.keys() | y.keys()):
        if x.get(key) != y.get(key):
            yield Change("signatures", f"signature {key}", x.get(key, ""), y.get(key, ""))


def _metadata(a: ts.Model, b: ts.Model) -> Iterator[Change]:
    def contents(model: ts.Model) -> dict[str, Any]:
        return {m.name or "": model.buffers[m.buffer].data for m in model.metadata}

    def size(data: Any) -> str:
        return "" if data is None else f"{data.nbytes} bytes"

    x, y = contents(a), contents(b)
    for name in sorted(x.keys() | y.keys()):
        if _raw(x.get(name)) != _raw(y.get(name)) or (name in x) != (name in y):
            yield Change("metadata", f"metadata {name}", size(x.get(name)), size(y.get(name)))
    if _raw(a.appended) != _raw(b.appended):
        yield Change("metadata", "appended archive", size(a.appended), size(b.appended))
