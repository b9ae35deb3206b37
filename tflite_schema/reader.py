"""A file to a `Model`: mapped, checked, not copied."""

from __future__ import annotations

import mmap
import os
import weakref
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

from tflite_schema import checks, trailer
from tflite_schema.codec import INT_VECTOR_LIMIT, Decoder
from tflite_schema.errors import MalformedModel
from tflite_schema.model import (
    Buffer,
    DimensionMetadata,
    ExternalBuffer,
    ExternalBufferGroup,
    Metadata,
    Model,
    Operator,
    OperatorCode,
    Options,
    Quantization,
    SignatureDef,
    SparsityParameters,
    SubGraph,
    Tensor,
    TensorMap,
    VariantSubType,
)
from tflite_schema.schema import SCALARS, UNION, VERSION, Table

Source = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO


class _Mapping(mmap.mmap):
    """A read-only mapping made here, whose pages may therefore be given back (see `release`).

    path, state: the file, and what the system said of it when it was mapped.
    """

    path: str
    state: tuple[int, ...]


def _state(path: str | int) -> tuple[int, ...]:
    found = os.stat(path)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


# id of a model -> the model, and the mapping that it is the whole of.
_MAPPED: dict[int, tuple[weakref.ref[Model], _Mapping]] = {}


def path_of(model: Model) -> str | None:
    """Where the file lies that `read` mapped `model` from, None for any other model.

    None, too, where that file has been changed, replaced or moved since.
    """
    found = _MAPPED.get(id(model))
    if found is None or found[0]() is not model:
        return None
    mapping = found[1]
    try:
        return mapping.path if _state(mapping.path) == mapping.state else None
    except OSError:
        return None


def _remember(model: Model, mapping: _Mapping) -> None:
    key = id(model)
    _MAPPED[key] = weakref.ref(model, lambda _: _MAPPED.pop(key, None)), mapping


def read(source: Source) -> Model:
    """The model in a file (path), in bytes, or in what is left of a binary stream.

    A path is mapped into memory: constants are views of the mapping, which lives as long as they
    do. Bytes are viewed, not copied. Raises MalformedModel, which names table, field and byte
    offset, if the content is not a valid model, and OSError if the file cannot be read.
    """
    mapping = None
    if isinstance(source, (str, os.PathLike)):
        data, mapping = _map(source)
    elif isinstance(source, (bytes, bytearray, memoryview)):
        data = np.frombuffer(source, np.uint8) if len(source) else np.zeros(0, np.uint8)
    else:
        data = np.frombuffer(source.read(), np.uint8)
    data = data.view()
    data.flags.writeable = False
    model, problem = _Reader(data).model()
    if problem is not None:
        # Where each record stood is only known to a reader that was told to remember.
        reader = _Reader(data, remember=True)
        model, problem = reader.model()
        assert problem is not None
        at = reader.positions.get(id(problem.record), 0)
        raise MalformedModel(problem.what, problem.table, problem.field, at)
    if mapping is not None:
        _remember(model, mapping)
    return model


def _map(path: str | os.PathLike[str]) -> tuple[np.ndarray, _Mapping | None]:
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return np.frombuffer(file.read(), np.uint8), None  # empty files and pipes have no map
        mapping = _Mapping(file.fileno(), 0, access=mmap.ACCESS_READ)
        mapping.path, mapping.state = os.path.realpath(path), _state(file.fileno())
        return np.frombuffer(mapping, np.uint8), mapping


def release(array: np.ndarray) -> None:
    """Tell the operating system that the mapped pages behind `array` are not needed now.

    The view stays valid; its pages are read again when touched. Does nothing for arrays that are
    not views of a file mapped by `read`.
    """
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, memoryview):
        base = base.obj
    if not isinstance(base, _Mapping) or not hasattr(mmap, "MADV_DONTNEED"):
        return
    start = array.__array_interface__["data"][0]
    origin = np.frombuffer(base, np.uint8).__array_interface__["data"][0]
    first = (start - origin) // mmap.PAGESIZE * mmap.PAGESIZE
    last = start - origin + array.nbytes
    if last > first:
        base.madvise(mmap.MADV_DONTNEED, first, last - first)


class _Reader:
    """Turns decoded tables into records; remember: and keeps the position of each by its id."""

    def __init__(self, data: np.ndarray, remember: bool = False) -> None:
        self.data = data
        self.remember = remember
        self.decoder = Decoder(data, self.build)
        self.positions: dict[int, int] = {}

    def model(self) -> tuple[Model, checks.Problem | None]:
        model: Model = self.decoder.root("Model")
        return model, checks.problem(model)

    def keep(self, record: Any, position: int) -> Any:
        if self.remember:
            self.positions[id(record)] = position
        return record

    def build(self, table: Table, values: dict[str, Any], position: int) -> Any:
        for field in table.fields:
            if field.kind == UNION and isinstance(values.get(field.name), str):
                values[field.name] = Options(values[field.name], stored=False)
        make = _MAKERS.get(table.name)
        if make is None:
            return Options.decoded(table, values)
        try:
            record = make(self, table, values, position)
        except _Bad as bad:
            raise MalformedModel(bad.args[1], table.name, bad.args[0], position) from None
        return self.keep(record, position)

    def outside(self, offset: int, size: int, table: str, field: str, position: int) -> np.ndarray:
        """The bytes that a file keeps after its flatbuffer."""
        if offset + size > self.decoder.size:
            raise MalformedModel(
                f"bytes {offset} to {offset + size} are outside the file", table, field, position
            )
        self.decoder.end = max(self.decoder.end, offset + size)
        self.decoder.span(offset, offset + size, table, field, position)
        return self.data[offset : offset + size]


class _Bad(Exception):
    """(field, what): a value of the table being built is wrong."""


def _ints(reader: _Reader, table: Table, values: dict[str, Any], position: int) -> None:
    """Turn the vectors of int32 and bool of a record into tuples."""
    for field in table.fields:
        if field.kind == SCALARS and field.code in "i?" and field.name in values:
            vector = values[field.name]
            if vector.size > INT_VECTOR_LIMIT:
                raise _Bad(field.name, f"a vector of {vector.size} elements is not plausible")
            reader.decoder.objects(field.code, vector.size, table.name, field.name, position)
            values[field.name] = tuple(vector.tolist())


def _plain(cls: Callable[..., Any], has_ints: bool) -> Callable[..., Any]:
    def make(reader: _Reader, table: Table, values: dict[str, Any], position: int) -> Any:
        if has_ints:
            _ints(reader, table, values, position)
        return cls(**values)

    return make


def _buffer(reader: _Reader, table: Table, values: dict[str, Any], position: int) -> Buffer:
    # The runtime takes `data` first, and an offset only if it is above 1 (interpreter_builder.cc);
    # the converter writes 1 as a place to patch.
    offset, size = values.get("offset", 0), values.get("size", 0)
    if offset <= 1:
        return Buffer(values.get("data"))
    if "data" in values:
        raise _Bad("offset", "a buffer has its bytes both inside and outside the flatbuffer")
    return Buffer(reader.outside(offset, size, "Buffer", "offset", position), outside=True)


class _Coded:
    """An operator's values until the operator codes are known."""

    __slots__ = ("index", "position", "values")

    def __init__(self, values: dict[str, Any], index: int, position: int) -> None:
        self.values, self.index, self.position = values, index, position


def _operator(reader: _Reader, table: Table, values: dict[str, Any], position: int) -> _Coded:
    _ints(reader, table, values, position)
    offset = values.pop("large_custom_options_offset", 0)
    size = values.pop("large_custom_options_size", 0)
    if offset > 1:
        if "custom_options" in values:
            raise _Bad("large_custom_options_offset", "custom options are given twice")
        field = "large_custom_options_offset"
        values["custom_options"] = reader.outside(offset, size, "Operator", field, position)
        values["custom_options_outside"] = True
    values["options"] = values.pop("builtin_options", None)
    values["options_2"] = values.pop("builtin_options_2", None)
    return _Coded(values, values.pop("opcode_index", 0), position)


def _model(reader: _Reader, table: Table, values: dict[str, Any], position: int) -> Model:
    if values.get("version", 0) != VERSION:
        raise _Bad("version", f"{values.get('version', 0)} is not {VERSION}, the one in use")
    _ints(reader, table, values, position)
    codes = values.get("operator_codes", ())
    subgraphs = []
    for subgraph in values.get("subgraphs", ()):
        made = []
        for coded in subgraph.operators:
            if coded.index >= len(codes):
                raise MalformedModel(
                    f"{coded.index} is out of range, there are {len(codes)} operator codes",
                    "Operator",
                    "opcode_index",
                    coded.position,
                )
            operator = Operator(codes[coded.index], **coded.values)
            made.append(reader.keep(operator, coded.position))
        whole = subgraph.replace(operators=tuple(made)) if made else subgraph
        subgraphs.append(reader.keep(whole, reader.positions.get(id(subgraph), 0)))
    if "subgraphs" in values:
        values["subgraphs"] = tuple(subgraphs)
    return Model(**values, appended=trailer.find(reader.data, reader.decoder.end))


_MAKERS: dict[str, Callable[..., Any]] = {
    "Model": _model,
    "Operator": _operator,
    "Buffer": _buffer,
    "SubGraph": _plain(SubGraph, True),
    "Tensor": _plain(Tensor, True),
    "VariantSubType": _plain(VariantSubType, True),
    "SparsityParameters": _plain(SparsityParameters, True),
    "QuantizationParameters": _plain(Quantization, False),
    "DimensionMetadata": _plain(DimensionMetadata, False),
    "OperatorCode": _plain(OperatorCode, False),
    "Metadata": _plain(Metadata, False),
    "TensorMap": _plain(TensorMap, False),
    "SignatureDef": _plain(SignatureDef, False),
    "ExternalBufferGroup": _plain(ExternalBufferGroup, False),
    "ExternalBuffer": _plain(ExternalBuffer, False),
}
