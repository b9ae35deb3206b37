"""Reading and writing a model changes nothing, and edits of different things may come in any order.

check_roundtrip("model.tflite")      # a path, bytes, a Model, or what quantize gave
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import tflite_schema as ts
from qcore.testing.checks.failure import CheckFailed, write

ALIGNMENT = 16  # of constants in a file, bytes; what delegates may rely on
EDITED = 8  # tensors, and buffers, that the check changes in a copy


@dataclass(frozen=True)
class RoundTrip:
    """What was compared. nbytes: of the file.  edits: that were applied in two orders."""

    nbytes: int
    tensors: int
    operators: int
    constants: int
    edits: int

    def __str__(self) -> str:
        return (
            f"{self.tensors} tensors, {self.operators} operators and {self.constants} constants "
            f"in {self.nbytes} bytes are the same after reading and writing; {self.edits} edits "
            "commute"
        )


def check_roundtrip(model: Any, folder: str | Path | None = None) -> RoundTrip:
    """What is read is what was written, byte for byte and value for value.

    model: a path, bytes, Model or Quantized.  folder: where a failure leaves its files, a temporary
    one if not given. Nothing outside it is written.
    Raises CheckFailed; SchemaError for a file that cannot be read, BadInput for no model.
    """
    from qcore.load import load

    given = load(model)
    data = ts.to_bytes(given)
    check = _Check(data, folder)
    again = check.read(data)
    check.that(bool(again.subgraphs), "the model has no subgraph: there is nothing to compare")
    if not any(isinstance(b.data, ts.Deferred) for b in given.buffers):
        # Writing adds the codes of operators that the table lacks; all else is as it was.
        first = tuple(again.operator_codes)[: len(given.operator_codes)]
        check.that(first == tuple(given.operator_codes), "operator codes changed their places")
        known = given.replace(operator_codes=again.operator_codes)
        check.same(known, again, "reading what was written gives another model")
    check.that(ts.to_bytes(given) == data, "writing twice gives different bytes")
    check.that(ts.to_bytes(again) == data, "writing what was read gives different bytes")
    check.places(data)

    stream = io.BytesIO()
    ts.write(again, stream, outside=True)
    apart = check.read(stream.getvalue())
    check.same(again, apart, "constants outside the flatbuffer are read as another model")

    small = ts.prune(again)
    check.same(small, ts.prune(small), "pruning twice is not pruning once")
    check.same(small, check.read(ts.to_bytes(small)), "the pruned model is read as another model")

    edits = _edits(again)
    orders = [edits, edits[::-1], edits[1:] + edits[:1]]
    one, *others = (ts.apply(again, order) for order in orders)
    for other in others:
        check.same(one, other, "edits of different things give another model in another order")
    check.that(one != again, "edits changed nothing: the comparison sees no difference")
    written = [ts.to_bytes(again, order) for order in orders]
    check.that(len({*written}) == 1, "edits in another order are written as other bytes")
    check.that(
        written[0] == ts.to_bytes(ts.prune(one)),
        "a model written with edits differs from one to which they were applied",
    )
    back = ts.apply(one, _undone(again, edits))
    check.same(again, back, "edits that are taken back leave something behind")
    return RoundTrip(
        nbytes=len(data),
        tensors=sum(len(s.tensors) for s in again.subgraphs),
        operators=sum(len(s.operators) for s in again.subgraphs),
        constants=sum(b.nbytes > 0 for b in again.buffers),
        edits=len(edits),
    )


class _Check:
    """The file in question, and how a failure shows it."""

    def __init__(self, data: bytes, folder: str | Path | None):
        self.data, self.folder = data, folder

    def that(self, holds: bool, sentence: str) -> None:
        if not holds:
            place = write({"model.tflite": self.data}, self.folder, "roundtrip")
            python = (
                "from qcore.testing import checks\n\n"
                f"checks.check_roundtrip({str(place / 'model.tflite')!r})\n"
            )
            raise CheckFailed(sentence, python, place)

    def same(self, one: ts.Model, other: ts.Model, sentence: str) -> None:
        if one != other:
            self.that(False, f"{sentence}: {difference(one, other)}")

    def read(self, data: bytes) -> ts.Model:
        try:
            return ts.read(data)
        except ts.SchemaError as error:
            self.that(False, f"what was written cannot be read: {error}")
            raise

    def places(self, data: bytes) -> None:
        """Constants stand where kernels may use them in place."""
        origin = _address(np.frombuffer(data, np.uint8))
        for number, buffer in enumerate(ts.read(data).buffers):
            if isinstance(buffer.data, np.ndarray) and buffer.nbytes:
                at = _address(buffer.data) - origin
                self.that(at % ALIGNMENT == 0, f"buffer {number} stands at byte {at}, not aligned")


def _address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


def difference(one: Any, other: Any, path: str = "model") -> str:
    """The first place where two values of a file differ; "no difference" if none."""
    return _first(one, other, path) or "no difference"


def _first(one: Any, other: Any, path: str) -> str:
    if isinstance(one, (tuple, list)) and isinstance(other, (tuple, list)):
        if len(one) != len(other):
            return f"{path} has {len(one)} and {len(other)} entries"
        pairs = zip(one, other)
        return next((d for i, p in enumerate(pairs) if (d := _first(*p, f"{path}[{i}]"))), "")
    fields = getattr(type(one), "__dataclass_fields__", None)
    if fields and type(one) is type(other) and one != other:
        inner = (_first(getattr(one, n), getattr(other, n), f"{path}.{n}") for n in fields)
        return next((d for d in inner if d), f"{path} differs")
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        equal = one.dtype == other.dtype and one.tobytes() == other.tobytes()
        return "" if equal else f"{path} holds other values"
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return f"{path} is there once only"
    return "" if one == other else f"{path} is {one!r} and {other!r}"


def _edits(model: ts.Model) -> tuple[ts.Edit, ...]:
    """Edits of different things, each of which changes something."""
    found: list[ts.Edit] = [ts.SetModel(description=f"{model.description or ''} edited")]
    for number, graph in enumerate(model.subgraphs):
        named = _spread(range(len(graph.tensors)))
        found += [
            ts.SetTensor(number, i, t.replace(name=f"{t.name or ''} edited"))
            for i, t in ((i, graph.tensors[i]) for i in named)
        ]
        found.append(ts.SetGraph(number, outputs=tuple(graph.outputs)[::-1]))
    constants = [i for i, b in enumerate(model.buffers) if b.nbytes and i]
    for i in _spread(constants):
        data = model.buffers[i].data
        assert isinstance(data, np.ndarray)
        found.append(ts.SetBuffer(i, data[::-1].copy()))
    return tuple(found)


def _undone(model: ts.Model, edits: Sequence[ts.Edit]) -> list[ts.Edit]:
    """The edits that take `edits` back."""
    back: dict[type, Callable[[Any], ts.Edit]] = {
        ts.SetModel: lambda e: ts.SetModel(description=model.description),
        ts.SetTensor: lambda e: e.replace(tensor=model.subgraphs[e.subgraph].tensors[e.index]),
        ts.SetGraph: lambda e: e.replace(outputs=tuple(model.subgraphs[e.subgraph].outputs)),
        ts.SetBuffer: lambda e: e.replace(data=model.buffers[e.index].data),
    }
    return [back[type(edit)](edit) for edit in edits]


def _spread(numbers: Sequence[int]) -> list[int]:
    """Up to EDITED of them, from the first to the last."""
    step = max(1, -(-len(numbers) // EDITED))
    return list(numbers[::step])
