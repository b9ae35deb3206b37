"""Two quantized models of the same source side by side: operators in order, tensors, integers.

`compare(ours, theirs)` pairs operators in file order and their operands by position. What the
converter merely rewrites (SQUEEZE as RESHAPE, an identity RESHAPE left out) is put aside and named;
everything else that differs is a difference. Exactness is `==`: type, float32 scale bits, zero
points, axis, every integer. `compare(..., rewrites=False)` puts nothing aside and compares options,
shapes, and what holds no real values (indices, conditions) as well: the same graph, whatever its
tensors are called or numbered.
"""

from __future__ import annotations

import difflib
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

import tflite_schema as ts

# Operators that only move values: the converter leaves out such as change no shape.
MOVES = frozenset(
    "RESHAPE TRANSPOSE SLICE PAD PADV2 MIRROR_PAD GATHER_ND BROADCAST_TO TILE CUMSUM".split()
)

# The converter puts a constant operand of these last.
COMMUTATIVE = ("ADD", "MUL", "MAXIMUM", "MINIMUM")

# Operators that the converter writes in another way without touching a number.
REWRITTEN = {"SQUEEZE": "RESHAPE", "EXPAND_DIMS": "RESHAPE", "STRIDED_SLICE": "SLICE"}


@dataclass
class Comparison:
    """What was compared and what differs.

    tensors, constants, integers: distinct pairs of tensors; pairs of constants among them; their
    integers. `*_same`: how many of these are identical.  sequence: whether the operators are the
    same in the same order.  differences: one line each.  rewritten: operators that only one side
    has because of a rewrite without effect on numbers.
    """

    tensors: int = 0
    tensors_same: int = 0
    constants: int = 0
    constants_same: int = 0
    integers: int = 0
    integers_same: int = 0
    sequence: bool = True
    differences: list[str] = field(default_factory=list)
    rewritten: list[str] = field(default_factory=list)

    @property
    def same(self) -> bool:
        """Everything identical; a comparison of nothing is not."""
        return self.tensors > 0 and not self.differences

    def add(self, other: Comparison) -> None:
        for what in ("tensors", "constants", "integers"):
            for name in (what, f"{what}_same"):
                setattr(self, name, getattr(self, name) + getattr(other, name))
        self.sequence &= other.sequence
        self.differences += other.differences
        self.rewritten += other.rewritten


def compare(ours: ts.Model, theirs: ts.Model, rewrites: bool = True) -> Comparison:
    """Every subgraph of both models; rewrites: whether theirs may write a graph in another way."""
    result = Comparison()
    if len(ours.subgraphs) != len(theirs.subgraphs):
        result.differences.append(f"{len(ours.subgraphs)} subgraphs, not {len(theirs.subgraphs)}")
        result.sequence = False
    for i in range(min(len(ours.subgraphs), len(theirs.subgraphs))):
        result.add(_Pair(ours, theirs, i, rewrites).compare())
    return result


def _label(operator: ts.Operator) -> str:
    """An operator's name, its fused activation where it has one, as both sides must have it."""
    name = REWRITTEN.get(operator.name, operator.name)
    fused = getattr(operator.options, "fused_activation_function", 0) if operator.options else 0
    return f"{name}+{ts.ActivationFunctionType(fused).name}" if fused else name


def _ordered(graph: ts.SubGraph) -> list[ts.Operator]:
    """Operators in file order, but the QUANTIZE and DEQUANTIZE behind an operator by its outputs.

    The converter puts those of several outputs in an order that changes from run to run.
    """
    result: list[ts.Operator] = []
    run: list[tuple[int, ts.Operator]] = []
    at = {t: n for n, t in enumerate(graph.inputs)}
    for op in graph.operators:
        if op.name in ("QUANTIZE", "DEQUANTIZE"):
            at.setdefault(op.outputs[0], at.get(op.inputs[0], -1))
            run.append((at[op.outputs[0]], op))
            continue
        result += [o for _, o in sorted(run, key=lambda x: x[0])]
        run = []
        at = {t: n for n, t in enumerate(op.outputs)}
        result.append(op)
    return result + [o for _, o in sorted(run, key=lambda x: x[0])]


class _Pair:
    def __init__(self, ours: ts.Model, theirs: ts.Model, subgraph: int, rewrites: bool) -> None:
        self.models = (ours, theirs)
        self.rewrites = rewrites
        self.subgraph = subgraph
        self.graphs = (ours.subgraphs[subgraph], theirs.subgraphs[subgraph])
        self.result = Comparison()
        self.seen: set[tuple[int, int]] = set()
        self.forth: dict[int, int] = {}
        self.back: dict[int, int] = {}

    def compare(self) -> Comparison:
        if self.rewrites:
            self.operators = [_ordered(graph) for graph in self.graphs]
            labels = [[_label(op) for op in operators] for operators in self.operators]
        else:
            self.operators = [list(graph.operators) for graph in self.graphs]
            labels = [[op.name for op in operators] for operators in self.operators]
        if labels[0] == labels[1]:
            pairs = list(zip(*self.operators))
        elif self.rewrites:
            pairs = self._aligned(labels)
        else:
            self.result.sequence = False
            both = zip(*labels, strict=False)
            at = next((i for i, (a, b) in enumerate(both) if a != b), min(map(len, labels)))
            here, there = (" ".join(names[at : at + 4]) for names in labels)
            self._differ(f"operators from {at}: [{here}], converter [{there}]")
            return self.result
        self.moved = bool(self.result.rewritten)
        for a, b in pairs:
            self._operators(a, b)
        for what in ("inputs", "outputs"):
            a, b = (getattr(graph, what) for graph in self.graphs)
            if len(a) != len(b):
                self._differ(f"{len(a)} {what}, not {len(b)}")
            for n, (x, y) in enumerate(zip(a, b)):
                self._tensors(x, y, f"{what[:-1]} {n}")
        return self.result

    def _differ(self, line: str) -> None:
        where = f"subgraph {self.subgraph}: " if self.subgraph else ""
        self.result.differences.append(where + line)

    def _aligned(self, labels: list[list[str]]) -> list[tuple[ts.Operator, ts.Operator]]:
        """Pairs of operators that stand in both; the rest is a rewrite or a difference."""
        left = [
            [op for op in self.operators[side] if not self._rewritten(op, side)] for side in (0, 1)
        ]
        if [_label(op) for op in left[0]] == [_label(op) for op in left[1]]:
            # Only RESHAPE and the like went, came or moved; what stands beside them is compared.
            gone = Counter(labels[0])
            gone.subtract(labels[1])
            changes = [f"{-n:+d} {name}" for name, n in gone.items() if n] or ["RESHAPE moved"]
            self.result.rewritten.append(f"[{', '.join(changes)}]")
            return list(zip(*left, strict=True))
        pairs = []
        matcher = difflib.SequenceMatcher(None, *labels, autojunk=False)
        for tag, i, j, k, m in matcher.get_opcodes():
            ours, theirs = self.operators[0][i:j], self.operators[1][k:m]
            if tag == "equal":
                pairs += zip(ours, theirs)
                continue
            here, there = " ".join(labels[0][i:j]), " ".join(labels[1][k:m])
            if all(map(self._rewritten, ours)) and all(_label(op) == "RESHAPE" for op in theirs):
                self.result.rewritten.append(f"[{here}] as [{there}]")
                continue
            self.result.sequence = False
            self._differ(f"operators {i}..{j}: [{here}], converter [{there}]")
        return pairs

    def _rewritten(self, op: ts.Operator, side: int = 0) -> bool:
        """Whether the converter may leave out an operator, or merge or move it, with no effect on
        any number: RESHAPE anywhere, SHAPE of a static shape, what changes no shape."""
        tensors = self.graphs[side].tensors
        if _label(op) in ("RESHAPE", "SHAPE"):
            return True
        same = tensors[op.inputs[0]].shape == tensors[op.outputs[0]].shape if op.inputs else False
        if op.name != "TRANSPOSE":
            return _label(op) in MOVES and same
        # One that only moves axes of length 1 is written as RESHAPE.
        order = ts.array(self.models[side], self.subgraph, op.inputs[1])
        shape = tensors[op.inputs[0]].shape
        return order is not None and bool(np.all(np.diff([a for a in order if shape[a] != 1]) > 0))

    def _operators(self, a: ts.Operator, b: ts.Operator) -> None:
        if a.name == b.name and a.code.version != b.code.version:
            self._differ(f"{a.name} has version {a.code.version}, converter {b.code.version}")
        if not self.rewrites and (a.options, a.options_2) != (b.options, b.options_2):
            self._differ(f"{a.name}: options {a.options}, converter {b.options}")
        if a.name != b.name:
            self.result.rewritten.append(f"{a.name} as {b.name}")
        rewritten = a.name != b.name
        if self.rewrites and a.name in COMMUTATIVE and self._swapped(a, b):
            self.result.rewritten.append(f"{a.name} with its constant last")
            a = a.replace(inputs=a.inputs[::-1])
        for what in ("inputs", "outputs", "intermediates"):
            x, y = getattr(a, what) or (), getattr(b, what) or ()
            for n in range(1 if rewritten else max(len(x), len(y))):
                self._tensors(
                    x[n] if n < len(x) else -1,
                    y[n] if n < len(y) else -1,
                    f"{a.name} {what} {n}",
                    # It merges two of these in a row.
                    wired=what == "outputs"
                    or not self.rewrites
                    or _label(a) not in ("RESHAPE", "TRANSPOSE"),
                )

    def _wired(self, a: int, b: int, what: str) -> None:
        """A computed tensor stands for one and the same tensor of the other side wherever it is
        read; not so where the converter left operators out or moved them."""
        if any(ts.array(m, self.subgraph, i) is not None for m, i in zip(self.models, (a, b))):
            return
        if self.moved:
            return
        if self.forth.setdefault(a, b) != b or self.back.setdefault(b, a) != a:
            self._differ(f"{what} ({self.graphs[0].tensors[a].name}) is another tensor there")

    def _swapped(self, a: ts.Operator, b: ts.Operator) -> bool:
        return (
            ts.array(self.models[0], self.subgraph, a.inputs[0]) is not None
            and ts.array(self.models[0], self.subgraph, a.inputs[1]) is None
            and ts.array(self.models[1], self.subgraph, b.inputs[1]) is not None
        )

    def _tensors(self, a: int, b: int, what: str, wired: bool = True) -> None:
        if (a < 0 and b < 0) or (a, b) in self.seen:
            return
        self.seen.add((a, b))
        if a < 0 or b < 0:
            only = self.graphs[b >= 0].tensors[max(a, b)]
            if self.rewrites and not _numeric(only):  # it gives RESHAPE its shape as an operand
                return
            self._differ(f"{what}: only {'the converter' if a < 0 else 'ours'} has this operand")
            return
        x, y = (graph.tensors[i] for graph, i in zip(self.graphs, (a, b)))
        if wired:
            self._wired(a, b, what)
        counts = _numeric(x) or _numeric(y)
        if self.rewrites and not counts:
            return
        found = _differences(x, y) + ([] if self.rewrites else _shapes(x, y))
        constants = [ts.array(m, self.subgraph, i) for m, i in zip(self.models, (a, b))]
        if (constants[0] is None) != (constants[1] is None):
            found.append(f"constant only {'there' if constants[0] is None else 'here'}")
        elif constants[0] is not None:
            mine, other = (np.asarray(c).reshape(-1) for c in constants)
            same = mine.shape == other.shape and mine.dtype == other.dtype
            bits = f"u{mine.itemsize}"
            count = int((mine.view(bits) == other.view(bits)).sum()) if same else 0
            if counts:
                self.result.constants += 1
                self.result.integers += mine.size
                self.result.integers_same += count
                self.result.constants_same += same and count == mine.size
            if not same:
                found.append(f"data {mine.dtype}{mine.shape} and {other.dtype}{other.shape}")
            elif count != mine.size:
                found.append(f"{mine.size - count} of {mine.size} values differ")
        if counts:
            self.result.tensors += 1
            self.result.tensors_same += not found
        for line in found:
            self._differ(f"{what} ({x.name}): {line}")


def _numeric(tensor: ts.Tensor) -> bool:
    """Floats and what is quantized; shapes, indices and conditions are not counted."""
    q = tensor.quantization
    quantized = q is not None and q.scale is not None and np.size(q.scale) > 0
    return quantized or tensor.type in (ts.TensorType.FLOAT32, ts.TensorType.FLOAT16)


def _differences(x: ts.Tensor, y: ts.Tensor) -> list[str]:
    found = []
    if x.type != y.type:
        found.append(f"type {ts.TensorType(x.type).name}, converter {ts.TensorType(y.type).name}")
    scale, point, axis = zip(*(_parameters(t) for t in (x, y)))
    if scale[0].shape != scale[1].shape:
        found.append(f"{scale[0].size} scales, converter {scale[1].size}")
    elif not np.array_equal(scale[0].view(np.uint32), scale[1].view(np.uint32)):
        n = int(np.argmax(scale[0].view(np.uint32) != scale[1].view(np.uint32)))
        found.append(f"scale[{n}] {scale[0][n]!r}, converter {scale[1][n]!r}")
    if not np.array_equal(point[0], point[1]):
        found.append(f"zero point {point[0][:3]}, converter {point[1][:3]}")
    if axis[0] != axis[1]:
        found.append(f"axis {axis[0]}, converter {axis[1]}")
    return found


def _shapes(x: ts.Tensor, y: ts.Tensor) -> list[str]:
    return [
        f"{what} {getattr(x, what)}, converter {getattr(y, what)}"
        for what in ("shape", "shape_signature")
        if tuple(getattr(x, what) or ()) != tuple(getattr(y, what) or ())
    ]


def _parameters(tensor: ts.Tensor) -> tuple[np.ndarray, np.ndarray, int]:
    q = tensor.quantization
    if q is None or q.scale is None:
        return np.zeros(0, np.float32), np.zeros(0, np.int64), 0
    point = np.zeros(0, np.int64) if q.zero_point is None else q.zero_point
    return np.asarray(q.scale), point, q.quantized_dimension
