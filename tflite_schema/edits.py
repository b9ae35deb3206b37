"""Changes to a model as frozen values.

Every edit refers to the indices of the model it was made for. Tensors and buffers that edits add
come after the existing ones, in the order of their Add edits; insertions stand before an operator
of the original list. So edits of different things commute, and applying never renumbers what is
there; `prune` does, afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tflite_schema import checks
from tflite_schema.errors import EditConflict, EditError
from tflite_schema.model import (
    Buffer,
    Deferred,
    Metadata,
    Model,
    Operator,
    Record,
    SignatureDef,
    SubGraph,
    Tensor,
    as_bytes,
    same,
)

Contents = np.ndarray | bytes | Deferred | None


def _buffer(data: Contents) -> Buffer:
    return Buffer(as_bytes(data) if isinstance(data, bytes) else data)


class _Keep:
    """Stands for a field that an edit leaves alone, where None is a value."""

    def __repr__(self) -> str:
        return "KEEP"

    def __reduce__(self) -> str:
        return "KEEP"


KEEP: Any = _Keep()


class Edit(Record):
    """Base of the edits."""

    __slots__ = ()

    def sets(self) -> dict[tuple[Any, ...], Any]:
        """What the edit sets (a key that names it) and to what; empty for what only adds."""
        return {}


@dataclass(frozen=True, eq=False, slots=True)
class SetTensor(Edit):
    """Replace a tensor."""

    subgraph: int
    index: int
    tensor: Tensor

    def sets(self) -> dict[tuple[Any, ...], Any]:
        return {("tensor", self.subgraph, self.index): self.tensor}


@dataclass(frozen=True, eq=False, slots=True)
class AddTensor(Edit):
    """Add a tensor; its index is the number of tensors plus that of earlier AddTensor edits."""

    subgraph: int
    tensor: Tensor


@dataclass(frozen=True, eq=False, slots=True)
class AddBuffer(Edit):
    """Add a buffer; its index is the number of buffers plus that of earlier AddBuffer edits."""

    data: Contents


@dataclass(frozen=True, eq=False, slots=True)
class SetBuffer(Edit):
    """Replace the contents of a buffer, for all tensors that share it."""

    index: int
    data: Contents

    def sets(self) -> dict[tuple[Any, ...], Any]:
        return {("buffer", self.index): _buffer(self.data)}


@dataclass(frozen=True, eq=False, slots=True)
class InsertOperators(Edit):
    """Insert operators before the operator that has index `before` now; its number is the end.

    Several insertions at one place stand in the order of the edits.
    """

    subgraph: int
    before: int
    operators: tuple[Operator, ...]


@dataclass(frozen=True, eq=False, slots=True)
class ReplaceOperator(Edit):
    """Put these operators in the place of one; () removes it."""

    subgraph: int
    index: int
    operators: tuple[Operator, ...]

    def sets(self) -> dict[tuple[Any, ...], Any]:
        return {("operator", self.subgraph, self.index): tuple(self.operators)}


@dataclass(frozen=True, eq=False, slots=True)
class SetGraph(Edit):
    """Set the inputs, the outputs or all operators of a subgraph; None leaves them.

    Operators set as a whole go with no other edit of that subgraph's operators (EditConflict).
    """

    subgraph: int
    inputs: tuple[int, ...] | None = None
    outputs: tuple[int, ...] | None = None
    operators: tuple[Operator, ...] | None = None

    def sets(self) -> dict[tuple[Any, ...], Any]:
        values = {"inputs": self.inputs, "outputs": self.outputs, "operators": self.operators}
        return {("graph", self.subgraph, n): tuple(v) for n, v in values.items() if v is not None}


@dataclass(frozen=True, eq=False, slots=True)
class SetSignatures(Edit):
    """Set all signatures."""

    signature_defs: tuple[SignatureDef, ...]

    def sets(self) -> dict[tuple[Any, ...], Any]:
        return {("model", "signature_defs"): tuple(self.signature_defs)}


@dataclass(frozen=True, eq=False, slots=True)
class SetMetadata(Edit):
    """Set the buffer of the metadata entry of that name (added at the end if new); None removes it.

    New entries stand in the order of their names.
    """

    name: str
    buffer: int | None

    def sets(self) -> dict[tuple[Any, ...], Any]:
        return {("metadata", self.name): self.buffer}


@dataclass(frozen=True, eq=False, slots=True)
class SetModel(Edit):
    """Set the description, or the bytes appended to the file; KEEP leaves them."""

    description: str | None = KEEP
    appended: Contents = KEEP

    def sets(self) -> dict[tuple[Any, ...], Any]:
        values = {"description": self.description, "appended": self.appended}
        return {("model", n): v for n, v in values.items() if v is not KEEP}


def apply(model: Model, edits: Iterable[Edit]) -> Model:
    """The model with all edits done. Existing tensors and buffers keep their indices.

    Raises EditConflict if two edits set the same thing to different values, and EditError if an
    index is out of range, before or after.
    """
    edits = tuple(edits)
    settings = _settings(edits)
    for key in settings:
        _check_range(model, key)
    buffers = list(model.buffers)
    for key, value in settings.items():
        if key[0] == "buffer":
            buffers[key[1]] = value
    buffers += [_buffer(e.data) for e in edits if isinstance(e, AddBuffer)]
    changes: dict[str, Any] = {}
    if len(buffers) != len(model.buffers) or any(key[0] == "buffer" for key in settings):
        changes["buffers"] = tuple(buffers)
    touched = {e.subgraph for e in edits if hasattr(e, "subgraph")}
    for number in touched:
        _check_index(f"subgraph {number}", number, len(model.subgraphs), "subgraphs")
    if touched:
        changes["subgraphs"] = tuple(
            _subgraph(s, n, edits, settings) if n in touched else s
            for n, s in enumerate(model.subgraphs)
        )
    for key, value in settings.items():
        if key[0] == "model":
            changes[key[1]] = value
    named = {key[1]: value for key, value in settings.items() if key[0] == "metadata"}
    if named:
        changes["metadata"] = _metadata(model.metadata, named)
    result = model.replace(**changes) if changes else model
    problem = checks.problem(result)
    if problem is not None:
        raise EditError(
            f"after the edits {problem.table}.{problem.field} of {problem.where} is wrong:"
            f" {problem.what}."
        )
    return result


def _settings(edits: tuple[Edit, ...]) -> dict[tuple[Any, ...], Any]:
    settings: dict[tuple[Any, ...], Any] = {}
    for edit in edits:
        if not isinstance(edit, Edit):
            raise EditError(f"{edit!r} is not an edit.")
        for key, value in edit.sets().items():
            if key in settings and not same(settings[key], value):
                thing = " ".join(map(str, key))
                raise EditConflict(f"two edits set {thing} to different values; keep one of them.")
            settings[key] = value
    return settings


def _check_index(what: str, index: int, count: int, things: str) -> None:
    if not 0 <= index < count:
        raise EditError(f"{what} is out of range, the model has {count} {things}.")


def _check_range(model: Model, key: tuple[Any, ...]) -> None:
    kind = key[0]
    if kind == "buffer":
        _check_index(f"buffer {key[1]}", key[1], len(model.buffers), "buffers")
    elif kind in ("tensor", "operator", "graph"):
        _check_index(f"subgraph {key[1]}", key[1], len(model.subgraphs), "subgraphs")
        if kind == "graph":
            return
        subgraph = model.subgraphs[key[1]]
        count = len(subgraph.tensors if kind == "tensor" else subgraph.operators)
        what = f"{kind} {key[2]} of subgraph {key[1]}"
        _check_index(what, key[2], count, f"{kind}s there (an added one is not set again)")


def _subgraph(
    subgraph: SubGraph, number: int, edits: tuple[Edit, ...], settings: dict[tuple[Any, ...], Any]
) -> SubGraph:
    mine = [e for e in edits if getattr(e, "subgraph", None) == number]
    tensors = list(subgraph.tensors)
    for (kind, *rest), value in settings.items():
        if kind == "tensor" and rest[0] == number:
            tensors[rest[1]] = value
    tensors += [e.tensor for e in mine if isinstance(e, AddTensor)]
    count = len(subgraph.operators)
    inserted: dict[int, list[Operator]] = {}
    for edit in mine:
        if isinstance(edit, InsertOperators):
            _check_index(f"operator {edit.before}", edit.before, count + 1, "places for operators")
            inserted.setdefault(edit.before, []).extend(edit.operators)
    operators: list[Operator] = []
    for index, operator in enumerate(subgraph.operators):
        operators += inserted.get(index, ())
        operators += settings.get(("operator", number, index), (operator,))
    operators += inserted.get(count, ())
    whole = settings.get(("graph", number, "operators"))
    if whole is not None:
        if any(isinstance(e, (InsertOperators, ReplaceOperator)) for e in mine):
            raise EditConflict(
                f"one edit sets all operators of subgraph {number} and another changes some of"
                " them; keep one of them."
            )
        operators = list(whole)
    return subgraph.replace(
        tensors=tuple(tensors) if tensors else subgraph.tensors,
        operators=tuple(operators) if operators or subgraph.operators else subgraph.operators,
        inputs=settings.get(("graph", number, "inputs"), subgraph.inputs),
        outputs=settings.get(("graph", number, "outputs"), subgraph.outputs),
    )


def _metadata(entries: tuple[Metadata, ...], named: dict[str, int | None]) -> tuple[Metadata, ...]:
    result = []
    for entry in entries:
        if entry.name not in named:
            result.append(entry)
            continue
        buffer = named[entry.name]
        if buffer is not None:
            result.append(entry.replace(buffer=buffer))
    existing = {entry.name for entry in entries}
    for name in sorted(named):
        buffer = named[name]
        if name not in existing and buffer is not None:
            result.append(Metadata(name, buffer))
    return tuple(result)


class Editor:
    """Collects edits for one model and hands out the indices that added things will have."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self._edits: list[Edit] = []
        self._buffers = len(model.buffers)
        self._tensors = [len(subgraph.tensors) for subgraph in model.subgraphs]

    @property
    def edits(self) -> tuple[Edit, ...]:
        """The edits so far, in order."""
        return tuple(self._edits)

    def add(self, *edits: Edit) -> None:
        """Take over edits made elsewhere for the same model; their additions count too."""
        for edit in edits:
            if isinstance(edit, AddBuffer):
                self._buffers += 1
            elif isinstance(edit, AddTensor):
                self._tensors[edit.subgraph] += 1
            self._edits.append(edit)

    def add_buffer(self, data: Contents) -> int:
        """Add a buffer; returns its index."""
        self.add(AddBuffer(data))
        return self._buffers - 1

    def add_tensor(self, subgraph: int, tensor: Tensor) -> int:
        """Add a tensor; returns its index."""
        self.add(AddTensor(subgraph, tensor))
        return self._tensors[subgraph] - 1

    def set_tensor(self, subgraph: int, index: int, tensor: Tensor) -> None:
        self.add(SetTensor(subgraph, index, tensor))

    def set_buffer(self, index: int, data: Contents) -> None:
        self.add(SetBuffer(index, data))

    def insert_operators(self, subgraph: int, before: int, *operators: Operator) -> None:
        self.add(InsertOperators(subgraph, before, operators))

    def replace_operator(self, subgraph: int, index: int, *operators: Operator) -> None:
        self.add(ReplaceOperator(subgraph, index, operators))

    def set_graph(
        self,
        subgraph: int,
        inputs: tuple[int, ...] | None = None,
        outputs: tuple[int, ...] | None = None,
        operators: tuple[Operator, ...] | None = None,
    ) -> None:
        self.add(SetGraph(subgraph, inputs, outputs, operators))

    def set_signatures(self, signature_defs: tuple[SignatureDef, ...]) -> None:
        self.add(SetSignatures(signature_defs))

    def set_metadata(self, name: str, buffer: int | None) -> None:
        self.add(SetMetadata(name, buffer))

    def set_model(self, description: str | None = KEEP, appended: Contents = KEEP) -> None:
        self.add(SetModel(description, appended))

    def apply(self) -> Model:
        """The model with the edits so far."""
        return apply(self.model, self._edits)
