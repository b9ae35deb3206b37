"""Which tensor of a quantized model stands for which of the float model: through the graph.

Names alone would do for most files and be silently wrong for the others. What is compared here is
what a tensor is computed from: QUANTIZE, DEQUANTIZE and their like are looked through, a fused
activation counts as an operator of its own, and tensors that are computed alike are one value. From
the graph's inputs on, operators that do the same to the same values are pairs; where several
could be, their constants decide, then names, then the order in the file. What lies behind a
rewritten place is reached from the outputs, by weights that occur once, and last by name. A pair
has one shape; what has no partner has a reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

import tflite_schema as ts
from kernels import ops
from kernels.opspec import Role
from qcore.binding import Entry, entries
from qcore.diff import aligned, line, shape_of
from qcore.execute import constant, parameters
from qcore.graph import Graph, graphs
from qcore.inspect import plain
from qcore.params import TensorKey

# Operators whose output stands for the same value as their input.
SAME = {"QUANTIZE", "DEQUANTIZE", "DENSIFY", "FAKE_QUANT"}
FLOATS = {ts.TensorType.FLOAT16, ts.TensorType.FLOAT32, ts.TensorType.FLOAT64}
ACTIVATIONS = {1: "RELU", 2: "RELU_N1_TO_1", 3: "RELU6", 4: "TANH"}  # schema's enum, without NONE
RECURRENT = ("LSTM", "RNN", "SVDF")  # their fused activation is inside
COMMUTATIVE = {"ADD", "MUL", "MAXIMUM", "MINIMUM", "EQUAL", "NOT_EQUAL", "LOGICAL_AND",
               "LOGICAL_OR", "SQUARED_DIFFERENCE"}  # fmt: skip
# Results that do not follow from the operands alone.
IMPURE = {"READ_VARIABLE", "VAR_HANDLE", "ASSIGN_VARIABLE", "CALL_ONCE", "RANDOM_UNIFORM",
          "RANDOM_STANDARD_NORMAL", "MULTINOMIAL", "CALL", "WHILE", "IF"}  # fmt: skip
# Options that a quantizer sets, and the activation, which is an operator of its own here.
FREE = {"fused_activation_function", "asymmetric_quantize_inputs", "quantized_bias_type",
        "pot_scale_int16", "weights_format"}  # fmt: skip
REFERS = ("then_subgraph_index", "else_subgraph_index", "cond_subgraph_index",
          "body_subgraph_index", "init_subgraph_index", "decomposition_subgraph_index",
          "subgraph")  # fmt: skip
NEAR = 0.2  # relative squared distance up to which weights are the float ones, quantized
APART = 4.0  # by how much the second best must be farther


@dataclass(frozen=True)
class Match:
    """What was found between a float model and a candidate.

    entries: for each entry of the float model, the candidate's, None where it has none.
    layers: tensor that an operator of the float model writes -> tensor that one of the candidate
        writes.  fed: computed tensor or input of the candidate, in any form -> tensor of the float
        model that has its real value.
    how: of each layer, "graph", "weights" or "name".  reasons: why other layers have no partner.
    """

    entries: tuple[EntryPair | None, ...]
    layers: dict[TensorKey, TensorKey] = field(default_factory=dict)
    fed: dict[TensorKey, TensorKey] = field(default_factory=dict)
    how: dict[TensorKey, str] = field(default_factory=dict)
    reasons: dict[TensorKey, str] = field(default_factory=dict)


@dataclass(frozen=True)
class EntryPair:
    """a, b: subgraphs.  inputs, outputs: pairs of tensors, in the float entry's order."""

    a: int
    b: int
    inputs: tuple[tuple[int, int], ...]
    outputs: tuple[tuple[int, int], ...]


def match(a: ts.Model, b: ts.Model) -> Match:
    """Pairs between the float model `a` and the candidate `b`. Reads constants where several
    operators could be meant; runs nothing."""
    found = Match(tuple(entry_pairs(a, b)))
    left, right = graphs(a), graphs(b)
    todo: list[tuple[int, int, list[tuple[int, int]], list[tuple[int, int]]]] = []
    for pair in found.entries:
        if pair is not None:
            todo.append((pair.a, pair.b, list(pair.inputs), list(pair.outputs)))
    done: set[tuple[int, int]] = set()
    while todo:
        i, j, inputs, outputs = todo.pop(0)
        if (i, j) in done:
            continue
        done.add((i, j))
        pairs = _Pairs(_Side(left[i]), _Side(right[j]))
        pairs.run(inputs, outputs)
        pairs.tell(found)
        for x, y in pairs.subgraphs():
            if x < len(left) and y < len(right):
                ends = [(left[x].inputs, right[y].inputs), (left[x].outputs, right[y].outputs)]
                todo.append((x, y, list(zip(*ends[0])), list(zip(*ends[1]))))
    return found


def layer_tensors(graph: Graph) -> Iterator[tuple[int, int]]:
    """(operator, tensor) of what counts as a layer: computed by an operator that does something."""
    for number, op in enumerate(graph.operators):
        if not _looked_through(graph, op):
            for t in op.outputs:
                if t >= 0 and graph.tensors[t].type not in (
                    ts.TensorType.RESOURCE, ts.TensorType.VARIANT, ts.TensorType.STRING
                ):  # fmt: skip
                    yield number, t


def entry_pairs(a: ts.Model, b: ts.Model) -> Iterator[EntryPair | None]:
    """The candidate's way in for each of the float model's: by key, else the only or first one."""
    theirs = entries(b)
    for number, ours in enumerate(entries(a)):
        by_key = [e for e in theirs if e.name == ours.name]
        other = by_key or ([theirs[number]] if number < len(theirs) else [])
        if not other or len(other[0].inputs) != len(ours.inputs):
            yield None
            continue
        yield _entry_pair(ours, other[0], a, b)


def _entry_pair(x: Entry, y: Entry, a: ts.Model, b: ts.Model) -> EntryPair:
    """Inputs and outputs by name where both signatures have the same names, else by position."""

    def pairs(s: list[tuple[str, int]], t: list[tuple[str, int]]) -> tuple[tuple[int, int], ...]:
        names = [n for n, _ in s]
        if len(set(names)) == len(names) and sorted(names) == sorted(n for n, _ in t):
            by_name = dict(t)
            return tuple((i, by_name[n]) for n, i in s)
        return tuple((i, j) for (_, i), (_, j) in zip(s, t))

    inputs = pairs([(i.name, i.tensor) for i in x.inputs], [(i.name, i.tensor) for i in y.inputs])
    outputs = pairs(list(x.outputs), list(y.outputs))
    if x.name is None or y.name is None or x.name != y.name:
        # One of them has names of its own making: the graph's order is what both have.
        outputs = tuple(zip(a.subgraphs[x.subgraph].outputs, b.subgraphs[y.subgraph].outputs))
    return EntryPair(x.subgraph, y.subgraph, inputs, outputs)


def _looked_through(graph: Graph, op: ts.Operator) -> bool:
    if op.name in SAME:
        return True
    if op.name != "CAST" or not op.inputs or not op.outputs:
        return False
    return all(graph.tensors[t].type in FLOATS for t in (op.inputs[0], op.outputs[0]))


@dataclass(frozen=True, eq=False)
class _Node:
    """An operator, or the activation fused into one.

    inputs: values by position, for operands that are computed.  constants: tensors by position.
    outputs: values. A value is the number of the tensor that was computed first, and below -1 where
    an operator's fused activation hides it.
    """

    number: int
    kind: str
    inputs: tuple[tuple[int, int], ...]
    constants: tuple[tuple[int, int], ...]
    outputs: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]

    @property
    def key(self) -> tuple[Any, ...]:
        """Nodes with one key read the same values in the same way."""
        return self.kind, self.ordered(self.inputs)

    def ordered(self, inputs: Iterable[tuple[int, int]]) -> tuple[Any, ...]:
        if self.kind in COMMUTATIVE:
            return tuple(sorted(v for _, v in inputs))
        return tuple(inputs)


class _Side:
    """One subgraph as nodes and values."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.value: dict[int, int] = {t: t for t in graph.inputs}  # tensor -> its value
        self.hidden: dict[int, int] = {}  # value before a fused activation -> operator
        self.writers: dict[int, list[int]] = {}  # value -> tensors that operators write
        self.nodes: list[_Node] = []
        self.groups: dict[tuple[Any, ...], list[_Node]] = {}
        self.source: dict[int, tuple[_Node, int]] = {}  # value -> node, position of the output
        for number, op in enumerate(graph.operators):
            self._add(number, op)

    def _add(self, number: int, op: ts.Operator) -> None:
        graph = self.graph
        if _looked_through(graph, op) and op.inputs and op.outputs:
            self.value[op.outputs[0]] = self.value.get(op.inputs[0], op.inputs[0])
            return
        spec = ops.find(op.name)
        states = spec.states(len(op.inputs)) if spec is not None else ()
        computed, constants = [], []
        for position, t in enumerate(op.inputs):
            if t < 0 or position in states:
                continue
            v = self.value.get(t, t)
            if v >= 0 and graph.is_constant(v):
                constants.append((position, v))
            else:
                computed.append((position, v))
        outputs = tuple(t for t in op.outputs if t >= 0)
        shapes = tuple(shape_of(graph.tensors[t].shape) for t in outputs)
        act = self._activation(op)
        made = (-2 - number,) if act else outputs
        node = _Node(number, op.name, tuple(computed), tuple(constants), made, shapes)
        self._place(node, () if act else outputs)
        if act:
            self.hidden[made[0]] = number
            before = self.value.get(made[0], made[0])
            self._place(_Node(number, act, ((0, before),), (), outputs, shapes), outputs)

    @staticmethod
    def _activation(op: ts.Operator) -> str | None:
        if any(word in op.name for word in RECURRENT) or len(op.outputs) != 1:
            return None
        options = op.options
        found = getattr(options, "fused_activation_function", None) if options else None
        return None if found is None else ACTIVATIONS.get(int(found))

    def _place(self, node: _Node, written: tuple[int, ...]) -> None:
        """Add the node, or where another computes the same, let its outputs be the same values."""
        group = self.groups.setdefault(node.key, [])
        same = next((n for n in group if self._alike(n, node)), None)
        if same is None:
            group.append(node)
            self.nodes.append(node)
            for position, v in enumerate(node.outputs):
                self.source[v] = node, position
            same = node
        for v, first in zip(node.outputs, same.outputs):
            self.value[v] = first
        for t, first in zip(written, same.outputs):
            self.writers.setdefault(first, []).append(t)

    def _alike(self, a: _Node, b: _Node) -> bool:
        if a.kind in IMPURE or a.shapes != b.shapes:
            return False
        if self.options(a) != self.options(b):
            return False
        if [p for p, _ in a.constants] != [p for p, _ in b.constants]:
            return False
        return all(s == t or self._equal(s, t) for (_, s), (_, t) in zip(a.constants, b.constants))

    def _equal(self, s: int, t: int) -> bool:
        x, y = (parameters(self.graph, i) for i in (s, t))
        if x.dtype != y.dtype or x.quantized != y.quantized:
            return False
        if x.quantized and not (
            np.array_equal(x.scales, y.scales) and np.array_equal(x.zero_points, y.zero_points)
        ):
            return False
        u, v = self.graph.constant(s), self.graph.constant(t)
        return u is not None and v is not None and u.tobytes() == v.tobytes()

    def options(self, node: _Node) -> dict[str, Any]:
        """Those that say what is computed; empty for a fused activation."""
        op = self.graph.operators[node.number]
        if node.kind != op.name:
            return {}
        found: dict[str, Any] = {}
        for table in (op.options, op.options_2):
            if table is not None:
                found |= {k: v for k, v in plain(table.fields).items() if k not in FREE}
        return {k: v for k, v in found.items() if k not in REFERS}

    def real(self, tensor: int) -> np.ndarray | None:
        """A constant in real units."""
        data = constant(self.graph, tensor)
        if data is None:
            return None
        return replace(parameters(self.graph, tensor), data=data).real()

    def name(self, node: _Node) -> str:
        at = node.outputs[0] if node.outputs else -1
        return self.graph.tensors[at].name or "" if at >= 0 else ""

    def shape(self, value: int) -> tuple[int, ...]:
        if value < 0:
            value = self.graph.operators[self.hidden[value]].outputs[0]
        return shape_of(self.graph.tensors[value].shape)

    @cached_property
    def named(self) -> dict[str, int]:
        """Names that one computed value has -> that value."""
        count = Counter(t.name for t in self.graph.tensors)
        return {
            name: self.value[t]
            for t, record in enumerate(self.graph.tensors)
            if (name := record.name) and count[name] == 1 and t in self.value
        }


class _Pairs:
    """The search in one pair of subgraphs."""

    def __init__(self, a: _Side, b: _Side) -> None:
        self.a, self.b = a, b
        self.there: dict[int, int] = {}  # value -> value
        self.back: dict[int, int] = {}
        self.nodes: dict[_Node, _Node] = {}
        self.taken: set[_Node] = set()
        self.how: dict[int, str] = {}
        self.doubt: dict[_Node, str] = {}  # why a node was left alone
        self.stage = "graph"

    def run(self, inputs: list[tuple[int, int]], outputs: list[tuple[int, int]]) -> None:
        for s, t in inputs:
            self._value(self.a.value.get(s, s), self.b.value.get(t, t))
        self._forward()
        for s, t in outputs:
            if s in self.a.value and t in self.b.value:
                self._value(self.a.value[s], self.b.value[t])
        self._spread()
        for stage, search in (("weights", self._by_weights), ("name", self._by_name)):
            self.stage = stage
            while search():
                self.stage = "graph"
                self._spread()
                self.stage = stage

    def _spread(self) -> None:
        """Forward and backward as far as they lead."""
        while self._forward() or self._backward():
            pass

    def _value(self, v: int, w: int) -> bool:
        """Make a pair of two values; False where it cannot be."""
        if v in self.there or w in self.back:
            return self.there.get(v) == w
        if self.a.shape(v) != self.b.shape(w):
            return False
        self.there[v], self.back[w] = w, v
        self.how[v] = self.stage
        return True

    def _pair(self, f: _Node, c: _Node) -> None:
        self.nodes[f] = c
        self.taken.add(c)
        for v, w in zip(f.outputs, c.outputs):
            self._value(v, w)

    def _possible(self, f: _Node, c: _Node) -> bool:
        """Whether nothing speaks against the pair."""
        if f.kind != c.kind or f.shapes != c.shapes or c in self.taken:
            return False
        return all(self.there.get(v, w) == w and self.back.get(w, v) == v
                   for v, w in zip(f.outputs, c.outputs))  # fmt: skip

    # Forward: who does the same to the same values.

    def _forward(self) -> bool:
        """Pairs of nodes whose inputs are all known."""
        moved = False
        for key, group in self.a.groups.items():
            free = [f for f in group if f not in self.nodes]
            if not free or any(v not in self.there for _, v in free[0].inputs):
                continue
            kind, _ = key
            there = free[0].ordered((p, self.there[v]) for p, v in free[0].inputs)
            others = [c for c in self.b.groups.get((kind, there), ()) if c not in self.taken]
            moved |= self._assign(free, others)
        return moved

    def _assign(self, fs: list[_Node], cs: list[_Node]) -> bool:
        """Pairs among nodes that read the same values, the surest first."""
        able = [(f, c) for f in fs for c in cs if self._possible(f, c)]
        if not able:
            for f in fs:
                shapes = {c.shapes for c in cs if c.kind == f.kind}
                if shapes:
                    seen = ", ".join(str(list(s[0])) for s in shapes if s)
                    self.doubt[f] = f"its counterpart has shape {seen}"
            return False
        if len(fs) == len(cs) == 1:
            self._pair(*able[0])
            return True
        order = {(f, c): cost for f, c in able if (cost := self._cost(f, c)) is not None}
        alike = len(fs) == len(cs)
        moved = False
        for f, c in sorted(order, key=lambda pair: order[pair]):
            if f in self.nodes or c in self.taken:
                continue
            options, far, named, _ = order[f, c]
            if alike or (not options and (far < 0.5 or not named)):
                self._pair(f, c)
                moved = True
            else:
                self.doubt[f] = f"{len(cs)} operators of the candidate could be it"
        return moved

    def _cost(self, f: _Node, c: _Node) -> tuple[int, float, bool, int]:
        """How unlike two nodes are: options, constants (in steps, so that the same weights are
        equally near), names, places."""
        x, y = self.a.options(f), self.b.options(c)
        options = sum(x.get(k) != y.get(k) for k in x.keys() | y.keys())
        far = round(self._distance(f, c), 2)
        named = self.a.name(f) != self.b.name(c)
        return options, far, named, int(self._aligned.get(f.number) != c.number)

    def _distance(self, f: _Node, c: _Node) -> float:
        """Relative squared distance of all constants in real units; 1 more for each index array
        that differs."""
        theirs = dict(c.constants)
        noise = signal = 0.0
        other = 0
        for position, t in f.constants:
            if position not in theirs:
                continue
            x, y = self.a.real(t), self.b.real(theirs[position])
            if x is None or y is None or x.shape != y.shape:
                other += 1
            elif x.dtype.kind != "f" or y.dtype.kind != "f":
                other += not np.array_equal(x, y)
            else:
                u, v = x.reshape(-1).astype(np.float64), y.reshape(-1).astype(np.float64)
                noise += float((u - v) @ (u - v))
                signal += float(u @ u)
        if signal == 0:
            return other + (1.0 if noise else 0.0)
        found = noise / signal
        return other + (found if np.isfinite(found) else 1e9)

    @cached_property
    def _aligned(self) -> dict[int, int]:
        """Operators by their order in the files, as `qcore diff` has them."""
        sides = []
        for side in (self.a, self.b):
            numbers = sorted({n.number for n in side.nodes})
            sides.append((numbers, [line(side.graph, i) for i in numbers]))
        (i, x), (j, y) = sides
        return {i[s]: j[t] for s, t in aligned(x, y)}

    # Backward: what a known value was computed from.

    def _backward(self) -> bool:
        moved = False
        for v, w in list(self.there.items()):
            moved |= self._sources(v, w)
        return moved

    def _sources(self, v: int, w: int) -> bool:
        """A pair of what computes two values, at one position of its outputs, and of its operands;
        False where it is known or cannot be one."""
        f, at = self.a.source.get(v, (None, 0))
        c, where = self.b.source.get(w, (None, 0))
        if f is None or c is None or at != where or f in self.nodes or not self._possible(f, c):
            return False
        self._pair(f, c)
        self._operands(f, c)
        return True

    def _operands(self, f: _Node, c: _Node) -> None:
        """The operands of two nodes of a pair."""
        if f.kind in COMMUTATIVE:
            left = [v for _, v in f.inputs if v not in self.there]
            right = [w for _, w in c.inputs if w not in self.back]
            if len(left) == len(right) == 1:
                self._value(left[0], right[0])
            return
        theirs = dict(c.inputs)
        for position, v in f.inputs:
            if position in theirs:
                self._value(v, theirs[position])

    # Anchors: where the graph was rewritten in between.

    def _by_weights(self) -> bool:
        """One more node, whose weights are those of one other and of no second."""
        for f in self.a.nodes:
            if f in self.nodes or not self._weighty(f):
                continue
            cs = [c for c in self.b.nodes if self._possible(f, c) and c.constants]
            far = sorted(((self._distance(f, c), c.number, c) for c in cs), key=lambda d: d[:2])
            if far and far[0][0] < NEAR and (len(far) == 1 or far[1][0] > APART * far[0][0] + 0.01):
                c = far[0][2]
                self._pair(f, c)
                self._operands(f, c)
                return True
        return False

    def _weighty(self, f: _Node) -> bool:
        graph = self.a.graph
        return any(
            graph.role(f.number, p) is Role.WEIGHT
            or (graph.is_float(t) and int(np.prod(graph.tensors[t].shape or ())) >= 16)
            for p, t in f.constants
        )

    def _by_name(self) -> bool:
        """One more pair of values with a name that both files have once, by the same operator."""
        for name, v in self.a.named.items():
            w = self.b.named.get(name)
            if w is None or v in self.there or w in self.back:
                continue
            if self._sources(v, w):
                return True
        return False

    # What is told.

    def subgraphs(self) -> Iterator[tuple[int, int]]:
        """Subgraphs that two operators of a pair run."""
        for f, c in self.nodes.items():
            x, y = (
                self.a.graph.operators[f.number],
                self.b.graph.operators[c.number],
            )
            if f.kind != x.name:
                continue
            for field_ in REFERS:
                for s, t in ((x.options, y.options), (x.options_2, y.options_2)):
                    if s is not None and t is not None:
                        i, j = getattr(s, field_, None), getattr(t, field_, None)
                        if isinstance(i, int) and isinstance(j, int):
                            yield i, j

    def tell(self, to: Match) -> None:
        i, j = self.a.graph.subgraph, self.b.graph.subgraph
        for t in range(len(self.b.graph.tensors)):
            w = self.b.value.get(t)
            v = None if w is None else self.back.get(w)
            if v is not None and v >= 0:
                to.fed.setdefault(TensorKey(j, t), TensorKey(i, v))
        for number, t in layer_tensors(self.a.graph):
            key = TensorKey(i, t)
            v = self.a.value[t]
            w = self.there.get(v)
            written = self.b.writers.get(w, []) if w is not None else []
            if written:
                to.layers[key] = TensorKey(j, self._member(v, t, written))
                to.how[key] = self.how[v]
            else:
                to.reasons[key] = self._why(number, v, w)

    def _member(self, v: int, tensor: int, written: list[int]) -> int:
        """Of tensors with the same value, the one of the same name, else at the same place."""
        name = self.a.graph.tensors[tensor].name
        for t in written:
            if self.b.graph.tensors[t].name == name:
                return t
        return written[min(self.a.writers[v].index(tensor), len(written) - 1)]

    def _why(self, number: int, v: int, w: int | None) -> str:
        if w is not None and w in self.b.hidden:
            operator = self.b.graph.operators[self.b.hidden[w]].name
            return f"{operator} {self.b.hidden[w]} of the candidate has what follows fused into it"
        if w is not None:
            return "the candidate computes nothing for it: it has the value of another tensor"
        node = self.a.source.get(v, (None, 0))[0]
        if node is not None and node in self.doubt:
            return self.doubt[node]
        op = self.a.graph.operators[number]
        if not any(n.kind == op.name for n in self.b.nodes):
            return f"the candidate has no {op.name}"
        return f"no {op.name} of the candidate computes the same from the same tensors"
