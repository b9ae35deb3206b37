"""A `Model` to a file: tables first, then the constants as a stream.

Layout: header, tables, then constants and other long vectors, each at a multiple of 16 bytes, then
at least 16 zeros, then what was appended. A flatbuffer ends at 2 GB; a model that would pass that
keeps its constants after the flatbuffer (Buffer.offset, size), as LiteRT's converter writes and
interpreter reads them. The bytes depend on the model alone.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from tflite_schema import checks, files, trailer
from tflite_schema.codec import Encoder
from tflite_schema.edits import Edit, apply
from tflite_schema.errors import InvalidModel, WriteFailed
from tflite_schema.model import Buffer, Deferred, Model, Operator, OperatorCode, SubGraph
from tflite_schema.prune import prune
from tflite_schema.reader import release

FLATBUFFER_LIMIT = (1 << 31) - 1
"""Most bytes of a flatbuffer (its offsets are signed 32-bit; the runtime's verifier checks it)."""
CHUNK = 1 << 23
_WORTH_RELEASING = 1 << 16

Target = str | os.PathLike[str] | BinaryIO


def write(
    model: Model, target: Target, edits: Iterable[Edit] = (), *, outside: bool | None = None
) -> None:
    """Write the model to a path or a binary stream; with edits, `prune(apply(model, edits))`.

    A path is replaced in one step: at any moment it holds the old file or the whole new one. The
    model may be mapped from the same path. Memory stays near the largest chunk of a Deferred
    buffer. outside: True keeps all constants after the flatbuffer, False none, None as the buffers
    say and all where the flatbuffer would pass 2 GB.
    Raises InvalidModel if a value does not fit the format, EditError for bad edits, WriteFailed if
    the operating system refuses.
    """
    plan = _Layout(_edited(model, edits), outside)
    if not isinstance(target, (str, os.PathLike)):
        for piece in plan.pieces():
            target.write(piece)
        return
    try:
        files.replace(target, plan.pieces())
    except OSError as reason:
        raise WriteFailed(
            f"cannot write {os.fspath(target)!r}: {reason.strerror or reason}; the old file, if"
            " any, is unchanged."
        ) from reason


def to_bytes(model: Model, edits: Iterable[Edit] = ()) -> bytes:
    """The bytes that `write` would write."""
    stream = io.BytesIO()
    write(model, stream, edits)
    return stream.getvalue()


def _edited(model: Model, edits: Iterable[Edit]) -> Model:
    edits = tuple(edits)
    return prune(apply(model, edits)) if edits else model


class _Layout:
    """The tables of a model as bytes, and where everything that follows them goes."""

    def __init__(self, model: Model, outside: bool | None) -> None:
        problem = checks.problem(model)
        if problem is not None:
            raise InvalidModel(
                f"{problem.table}.{problem.field} of {problem.where}: {problem.what}."
            )
        self.appended = model.appended
        self._encode(model, outside)
        if outside is None and self.end_inside > FLATBUFFER_LIMIT:
            self._encode(model, True)
        if self.end_inside > FLATBUFFER_LIMIT:
            raise InvalidModel(
                f"Model: the flatbuffer would have {self.end_inside} bytes, it ends at 2 GB; let"
                " the constants be written after it (outside=None)."
            )

    def _encode(self, model: Model, outside: bool | None) -> None:
        encoder = Encoder()
        out = encoder.root("Model", _model_values(model, outside))
        end = len(out)
        # (position, number of elements if it stands before them, source), rising, without overlap.
        self.sources: list[tuple[int, int | None, Any]] = []
        known: dict[Any, int] = {}
        for slot, count, source in encoder.streamed:
            position = known.get((count, _identity(source)))
            if position is None:
                position = -(-(end + 4) // trailer.ALIGNMENT) * trailer.ALIGNMENT
                known[count, _identity(source)] = position
                self.sources.append((position, count, source))
                end = position + source.nbytes
            if position - 4 - slot <= 0xFFFFFFFF:
                struct.pack_into("<I", out, slot, position - 4 - slot)
        self.end_inside = end
        known.clear()
        for offset_place, size_place, source in encoder.outside:
            position = known.get(_identity(source))
            if position is None:
                position = -(-end // trailer.ALIGNMENT) * trailer.ALIGNMENT
                known[_identity(source)] = position
                self.sources.append((position, None, source))
                end = position + source.nbytes
            struct.pack_into("<Q", out, offset_place, position)
            struct.pack_into("<Q", out, size_place, source.nbytes)
        self.tables = bytes(out)
        self.end = end

    def pieces(self) -> Iterator[memoryview | bytes]:
        """The file from its first byte to its last."""
        yield self.tables
        at = len(self.tables)
        for position, count, source in self.sources:
            head = b"" if count is None else struct.pack("<I", count)
            if position > at:
                yield bytes(position - at - len(head)) + head
            yield from _contents(source)
            at = position + source.nbytes
        start = trailer.boundary(self.end)
        yield bytes(start - at)
        if self.appended is not None:
            yield from _contents(trailer.placed(self.appended, start))


def _identity(source: Any) -> Any:
    """Equal for sources that are the same bytes in memory; these are written once."""
    if isinstance(source, Deferred):
        return id(source)
    return source.__array_interface__["data"][0], source.nbytes


def _contents(source: Any) -> Iterator[memoryview]:
    if isinstance(source, Deferred):
        for piece in source.pieces():
            yield piece.data
        return
    for start in range(0, source.nbytes, CHUNK):
        piece = source[start : start + CHUNK]
        yield piece.data
        if piece.nbytes >= _WORTH_RELEASING:
            release(piece)


def _model_values(model: Model, outside: bool | None) -> dict[str, Any]:
    codes = list(model.operator_codes)
    index = {code: i for i, code in reversed(list(enumerate(codes)))}
    for subgraph in model.subgraphs:
        for operator in subgraph.operators:
            if operator.code not in index:
                index[operator.code] = len(codes)
                codes.append(operator.code)
    # The runtime reads the metadata of a file from inside the flatbuffer only.
    inside = {entry.buffer for entry in model.metadata} | set(model.metadata_buffer)
    values = {name: getattr(model, name) for name in _MODEL_FIELDS}
    if codes:
        values["operator_codes"] = codes
    if model.subgraphs:
        values["subgraphs"] = [_subgraph_values(s, index, outside) for s in model.subgraphs]
    if model.buffers:
        values["buffers"] = [
            _buffer_values(b, False if i in inside else outside)
            for i, b in enumerate(model.buffers)
        ]
    return values


_MODEL_FIELDS = (
    "version",
    "operator_codes",
    "subgraphs",
    "description",
    "buffers",
    "metadata_buffer",
    "metadata",
    "signature_defs",
    "external_buffer_groups",
    "external_buffers",
)


def _buffer_values(buffer: Buffer, outside: bool | None) -> dict[str, Any]:
    where = buffer.outside if outside is None else outside
    if buffer.data is None or not (where and buffer.nbytes):
        return {"data": buffer.data}
    return {"offset": 2, "size": 1, "mark": ("offset", "size", buffer.data)}


def _subgraph_values(
    subgraph: SubGraph, index: dict[OperatorCode, int], outside: bool | None
) -> dict[str, Any]:
    values = {
        name: getattr(subgraph, name)
        for name in ("tensors", "inputs", "outputs", "operators", "name", "debug_metadata_index")
    }
    if subgraph.operators:
        values["operators"] = [_operator_values(o, index, outside) for o in subgraph.operators]
    return values


def _operator_values(
    operator: Operator, index: dict[OperatorCode, int], outside: bool | None
) -> dict[str, Any]:
    values = {
        "opcode_index": index[operator.code],
        "inputs": operator.inputs,
        "outputs": operator.outputs,
        "builtin_options": operator.options,
        "custom_options": operator.custom_options,
        "custom_options_format": operator.custom_options_format,
        "mutating_variable_inputs": operator.mutating_variable_inputs,
        "intermediates": operator.intermediates,
        "builtin_options_2": operator.options_2,
        "debug_metadata_index": operator.debug_metadata_index,
    }
    where = operator.custom_options_outside if outside is None else outside
    if where and operator.custom_options is not None and operator.custom_options.nbytes:
        offset, size = "large_custom_options_offset", "large_custom_options_size"
        values.update({"custom_options": None, offset: 2, size: 1})
        values["mark"] = (offset, size, operator.custom_options)
    return values
