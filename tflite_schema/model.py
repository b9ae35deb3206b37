"""Frozen values that stand for a .tflite file; field names are the schema's.

Equality is deep: arrays by dtype, shape and bytes (so a NaN equals itself). Records hold what the
file says and nothing else, with four conveniences: an `Operator` carries its `OperatorCode` instead
of an index; `Buffer.data` and `Operator.custom_options` are the bytes wherever the file keeps them
(inside the flatbuffer or after it); a union is an `Options` value; vectors of tables and operands
are tuples, where `ABSENT` is the empty tuple of a vector that the file does not have.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from tflite_schema.errors import InvalidModel, MalformedModel
from tflite_schema.schema import (
    SCALAR,
    SCALARS,
    TABLES_BY_NAME,
    VERSION,
    BuiltinOperator,
    CustomOptionsFormat,
    DimensionType,
    Table,
    TensorType,
)

R = TypeVar("R", bound="Record")
_COMPARE_BYTES = 1 << 22


class _Absent(tuple[Any, ...]):
    """The empty tuple that stands for a vector the file does not have."""

    __slots__ = ()
    absent = True

    def __repr__(self) -> str:
        return "ABSENT"

    def __reduce__(self) -> str:
        return "ABSENT"


ABSENT: tuple[Any, ...] = _Absent()


def same(a: Any, b: Any) -> bool:
    """Deep equality of field values; arrays and floats by their bytes."""
    if a is b:
        return True
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        if not (isinstance(a, np.ndarray) and isinstance(b, np.ndarray)):
            return False
        if a.dtype != b.dtype or a.shape != b.shape:
            return False
        left, right = (np.ascontiguousarray(x).reshape(-1).view(np.uint8) for x in (a, b))
        for start in range(0, left.size, _COMPARE_BYTES):
            piece = slice(start, start + _COMPARE_BYTES)
            if not np.array_equal(left[piece], right[piece]):
                return False
        return True
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float) and isinstance(b, float):
        return np.float64(a).tobytes() == np.float64(b).tobytes()
    return bool(a == b)


@dataclass(frozen=True, eq=False)
class Record:
    """Base of the frozen values: deep equality, hence no hash, and `replace`."""

    __slots__ = ()

    def replace(self: R, **changes: Any) -> R:
        """A copy with the named fields changed."""
        return dataclasses.replace(self, **changes)

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return all(same(getattr(self, n), getattr(other, n)) for n in _compared(type(self)))


def _compared(cls: type) -> tuple[str, ...]:
    names = _COMPARED.get(cls)
    if names is None:
        names = tuple(f.name for f in dataclasses.fields(cls) if f.compare)
        _COMPARED[cls] = names
    return names


_COMPARED: dict[type, tuple[str, ...]] = {}


def _read_only(data: Any, dtype: Any = None) -> np.ndarray:
    """data as a read-only array (a view where it can be)."""
    array = np.asarray(data, dtype)
    if array.flags.writeable:
        array = array.view()
        array.flags.writeable = False
    return array


def as_bytes(data: Any) -> np.ndarray:
    """The bytes of data (array of any dtype, bytes, memoryview) as a read-only uint8 (N,) view."""
    if not isinstance(data, np.ndarray):
        data = np.frombuffer(data, np.uint8)
    if data.dtype == np.uint8 and data.ndim == 1 and data.flags.c_contiguous:
        return _read_only(data)
    if data.dtype.byteorder == ">":
        data = data.astype(data.dtype.newbyteorder("<"))
    return _read_only(np.ascontiguousarray(data).reshape(-1).view(np.uint8))


@dataclass(frozen=True)
class Deferred:
    """Contents that are produced only while writing.

    nbytes: how many bytes. chunks: returns arrays (any dtype, C order) whose bytes, in turn, are
    the contents; may be called several times and must give the same bytes each time. Two are equal
    if they have the same nbytes and the same chunks function.
    """

    nbytes: int
    chunks: Callable[[], Iterable[np.ndarray]]

    def pieces(self) -> Iterable[np.ndarray]:
        """The contents as uint8 arrays; raises InvalidModel if they are not nbytes in total."""
        total = 0
        for chunk in self.chunks():
            piece = as_bytes(chunk)
            total += piece.nbytes
            if total > self.nbytes:
                break
            yield piece
        if total != self.nbytes:
            more = " or more" if total > self.nbytes else ""
            raise InvalidModel(
                f"Deferred: chunks() gave {total}{more} bytes, nbytes says {self.nbytes}."
            )


class Options:
    """The values of one table of a union: operator options, quantization details and the like.

    `Options("Conv2DOptions", stride_w=2)`; every field of the table is an attribute, with the
    schema's default where it was not given (None for an absent vector or string). Enum fields take
    the member, its number or its name. Vectors are read-only arrays. stored=False is a union whose
    type is in the file and whose table is not.
    Raises InvalidModel for a table or field that the schema does not have.
    """

    __slots__ = ("_values", "stored", "table")
    table: str
    stored: bool
    _values: dict[str, Any]

    def __init__(self, table: str, /, stored: bool = True, **fields: Any) -> None:
        declared = TABLES_BY_NAME.get(table)
        if declared is None:
            raise InvalidModel(f"Options: the schema has no table {table!r}.")
        values = {}
        for name, value in fields.items():
            entry = declared.by_name.get(name)
            if entry is None:
                known = ", ".join(declared.by_name) or "none"
                raise InvalidModel(f"{table} has no field {name!r}; its fields: {known}.")
            if value is None:
                continue
            if entry.kind == SCALAR:
                if entry.enum is not None:
                    if isinstance(value, str):
                        if value not in entry.enum.__members__:
                            raise InvalidModel(f"{table}.{name}: {entry.type} has no {value!r}.")
                        value = entry.enum[value]
                    value = entry.enum._value2member_map_.get(int(value), int(value))
                elif entry.code == "f":
                    value = float(np.float32(value))
                elif entry.code == "?":
                    value = bool(value)
                else:
                    value = int(value)
                if same(value, entry.default):
                    continue
            elif entry.kind == SCALARS:
                value = _read_only(value, entry.dtype)
            values[name] = value
        set_ = object.__setattr__
        set_(self, "table", table)
        set_(self, "stored", stored)
        set_(self, "_values", values)

    @classmethod
    def decoded(cls, table: Table, values: dict[str, Any]) -> Options:
        """Options of values just read from a file, which have their final types already."""
        options = cls.__new__(cls)
        set_ = object.__setattr__
        set_(options, "table", table.name)
        set_(options, "stored", True)
        kept = {n: v for n, v in values.items() if not same(v, table.by_name[n].default)}
        set_(options, "_values", kept)
        return options

    @property
    def fields(self) -> dict[str, Any]:
        """The fields that differ from the schema's defaults."""
        return dict(self._values)

    def get(self, name: str) -> Any:
        """The value of a field; raises InvalidModel if the table has no such field."""
        if name in self._values:
            return self._values[name]
        entry = TABLES_BY_NAME[self.table].by_name.get(name)
        if entry is None:
            raise InvalidModel(f"{self.table} has no field {name!r}.")
        return entry.default

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        values = self._values
        if name in values:
            return values[name]
        entry = TABLES_BY_NAME[self.table].by_name.get(name)
        if entry is None:
            raise AttributeError(f"{self.table} has no field {name!r}")
        return entry.default

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{self.table} is frozen; use .replace({name}=...)")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{self.table} is frozen")

    def replace(self, **changes: Any) -> Options:
        """A copy with the named fields changed; None makes one absent (its default)."""
        return Options(self.table, **{**self._values, **changes})

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Options):
            return NotImplemented
        mine, theirs = self._values, other._values
        return (
            self.table == other.table
            and self.stored == other.stored
            and mine.keys() == theirs.keys()
            and all(same(mine[n], theirs[n]) for n in mine)
        )

    def __repr__(self) -> str:
        values = "".join(f", {n}={v!r}" for n, v in self._values.items())
        return f"Options({self.table!r}{'' if self.stored else ', stored=False'}{values})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _make_options, (self.table, self.stored, self._values)


def _make_options(table: str, stored: bool, values: dict[str, Any]) -> Options:
    return Options(table, stored=stored, **values)


@dataclass(frozen=True, eq=False, slots=True)
class OperatorCode(Record):
    """What an operator is. builtin_code is the enum, deprecated_builtin_code its old byte form."""

    deprecated_builtin_code: int = 0
    custom_code: str | None = None
    version: int = 1
    builtin_code: BuiltinOperator | int = BuiltinOperator.ADD

    @classmethod
    def of(cls, name: str, version: int = 1) -> OperatorCode:
        """The code of a builtin operator, or the custom operator of that name.

        Both code fields are set as the converter does: the old byte saturates at 127
        (PLACEHOLDER_FOR_GREATER_OP_CODES).
        """
        members = BuiltinOperator.__members__
        custom = None if name in members and name != "CUSTOM" else name
        builtin = BuiltinOperator.CUSTOM if custom is not None else members[name]
        return cls(min(int(builtin), 127), custom, version, builtin)

    @property
    def builtin(self) -> BuiltinOperator | int:
        """The operator in force: the larger of the two code fields."""
        value = max(int(self.deprecated_builtin_code), int(self.builtin_code))
        member = BuiltinOperator._value2member_map_.get(value)
        return member if isinstance(member, BuiltinOperator) else value

    @property
    def name(self) -> str:
        """ "CONV_2D", the custom code of a custom operator, or "BUILTIN_<n>" for an unknown one."""
        builtin = self.builtin
        if builtin == BuiltinOperator.CUSTOM:
            return self.custom_code or ""
        return builtin.name if isinstance(builtin, BuiltinOperator) else f"BUILTIN_{builtin}"

    def _key(self) -> tuple[Any, ...]:
        return (self.deprecated_builtin_code, self.custom_code, self.version, self.builtin_code)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, OperatorCode):
            return NotImplemented
        return self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())


@dataclass(frozen=True, eq=False, slots=True)
class Quantization(Record):
    """QuantizationParameters. min, max, scale float32 (n,), zero_point int64 (n,), or None."""

    min: np.ndarray | None = None
    max: np.ndarray | None = None
    scale: np.ndarray | None = None
    zero_point: np.ndarray | None = None
    details: Options | None = None
    quantized_dimension: int = 0

    def __post_init__(self) -> None:
        for name in ("min", "max", "scale", "zero_point"):
            value = getattr(self, name)
            if value is not None:
                dtype = np.int64 if name == "zero_point" else np.float32
                array = _read_only(value, dtype)
                object.__setattr__(self, name, array if array.ndim == 1 else array.reshape(-1))


@dataclass(frozen=True, eq=False, slots=True)
class DimensionMetadata(Record):
    """How one dimension of a sparse tensor is stored; the index vectors are Options of a union."""

    format: DimensionType | int = DimensionType.DENSE
    dense_size: int = 0
    array_segments: Options | None = None
    array_indices: Options | None = None


@dataclass(frozen=True, eq=False, slots=True)
class SparsityParameters(Record):
    """How a sparse constant is stored (TACO format)."""

    traversal_order: tuple[int, ...] = ABSENT
    block_map: tuple[int, ...] = ABSENT
    dim_metadata: tuple[DimensionMetadata, ...] = ABSENT


@dataclass(frozen=True, eq=False, slots=True)
class VariantSubType(Record):
    """The element type of a VARIANT tensor."""

    shape: tuple[int, ...] | None = None
    type: TensorType | int = TensorType.FLOAT32
    has_rank: bool = False


@dataclass(frozen=True, eq=False, slots=True)
class Tensor(Record):
    """One tensor. shape is None where the file has none; buffer indexes Model.buffers."""

    shape: tuple[int, ...] | None = None
    type: TensorType | int = TensorType.FLOAT32
    buffer: int = 0
    name: str | None = None
    quantization: Quantization | None = None
    is_variable: bool = False
    sparsity: SparsityParameters | None = None
    shape_signature: tuple[int, ...] | None = None
    has_rank: bool = False
    variant_tensors: tuple[VariantSubType, ...] = ABSENT
    external_buffer: int = 0


@dataclass(frozen=True, eq=False, slots=True)
class Operator(Record):
    """One operator; inputs and outputs are tensor indices of its subgraph, -1 for "not there".

    options and options_2 are the schema's builtin_options and builtin_options_2. custom_options is
    uint8 (n,) or None; custom_options_outside tells that the file keeps them after the flatbuffer
    (large_custom_options_offset, _size), which is layout and does not count in equality.
    """

    code: OperatorCode
    inputs: tuple[int, ...] = ABSENT
    outputs: tuple[int, ...] = ABSENT
    options: Options | None = None
    custom_options: np.ndarray | None = None
    custom_options_format: CustomOptionsFormat | int = CustomOptionsFormat.FLEXBUFFERS
    mutating_variable_inputs: tuple[bool, ...] = ABSENT
    intermediates: tuple[int, ...] = ABSENT
    options_2: Options | None = None
    debug_metadata_index: int = -1
    custom_options_outside: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        if self.custom_options is not None:
            object.__setattr__(self, "custom_options", as_bytes(self.custom_options))

    @property
    def name(self) -> str:
        """ "CONV_2D", or the custom code of a custom operator."""
        return self.code.name


@dataclass(frozen=True, eq=False, slots=True)
class SubGraph(Record):
    """One graph: its tensors, operators in execution order, and graph inputs and outputs."""

    tensors: tuple[Tensor, ...] = ABSENT
    inputs: tuple[int, ...] = ABSENT
    outputs: tuple[int, ...] = ABSENT
    operators: tuple[Operator, ...] = ABSENT
    name: str | None = None
    debug_metadata_index: int = -1


@dataclass(frozen=True, eq=False, slots=True)
class Buffer(Record):
    """Contents of constants or metadata: uint8 (n,) read-only, Deferred, or None for no data.

    data may be given as bytes or as an array of any dtype. outside tells that the file keeps the
    bytes after the flatbuffer (offset, size), which is layout and does not count in equality.
    """

    data: np.ndarray | Deferred | None = None
    outside: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        if self.data is not None and not isinstance(self.data, Deferred):
            object.__setattr__(self, "data", as_bytes(self.data))

    @property
    def nbytes(self) -> int:
        """Bytes of data, 0 for none."""
        return 0 if self.data is None else self.data.nbytes


@dataclass(frozen=True, eq=False, slots=True)
class ExternalBufferGroup(Record):
    """A file of weights beside the model."""

    name: str | None = None


@dataclass(frozen=True, eq=False, slots=True)
class ExternalBuffer(Record):
    """A slice of a file of weights beside the model."""

    id: int = 0
    group: int = 0
    offset: int = 0
    length: int = 0
    packing: str | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Metadata(Record):
    """A named buffer."""

    name: str | None = None
    buffer: int = 0


@dataclass(frozen=True, eq=False, slots=True)
class TensorMap(Record):
    """The name a signature gives to a tensor."""

    name: str | None = None
    tensor_index: int = 0


@dataclass(frozen=True, eq=False, slots=True)
class SignatureDef(Record):
    """A named way to call a subgraph."""

    inputs: tuple[TensorMap, ...] = ABSENT
    outputs: tuple[TensorMap, ...] = ABSENT
    signature_key: str | None = None
    deprecated_tag: str | None = None
    subgraph_index: int = 0


class _Referable:
    """With slots, only what names it can be referred to weakly."""

    __slots__ = ("__weakref__",)


@dataclass(frozen=True, eq=False, slots=True)
class Model(Record, _Referable):
    """A whole file.

    operator_codes is the file's table; writing keeps it and adds what operators need beside it.
    appended is what follows the flatbuffer and its buffers, uint8 (n,) or None; offsets inside a
    zip archive are counted from its first byte (see `tflite_schema.trailer`).
    """

    version: int = VERSION
    operator_codes: tuple[OperatorCode, ...] = ABSENT
    subgraphs: tuple[SubGraph, ...] = ABSENT
    description: str | None = None
    buffers: tuple[Buffer, ...] = ABSENT
    metadata_buffer: tuple[int, ...] = ABSENT
    metadata: tuple[Metadata, ...] = ABSENT
    signature_defs: tuple[SignatureDef, ...] = ABSENT
    external_buffer_groups: tuple[ExternalBufferGroup, ...] = ABSENT
    external_buffers: tuple[ExternalBuffer, ...] = ABSENT
    appended: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.appended is not None:
            object.__setattr__(self, "appended", as_bytes(self.appended))


# TensorType name -> NumPy dtype of one element as stored. bfloat16 has no NumPy type: its bits.
_DTYPES = {
    "FLOAT32": "<f4",
    "FLOAT16": "<f2",
    "INT32": "<i4",
    "UINT8": "u1",
    "INT64": "<i8",
    "BOOL": "?",
    "INT16": "<i2",
    "COMPLEX64": "<c8",
    "INT8": "i1",
    "FLOAT64": "<f8",
    "COMPLEX128": "<c16",
    "UINT64": "<u8",
    "UINT32": "<u4",
    "UINT16": "<u2",
    "BFLOAT16": "<u2",
    "FLOAT8_E4M3FN": "u1",
    "FLOAT8_E5M2": "u1",
}
DTYPES: dict[int, np.dtype[Any]] = {
    int(TensorType[name]): np.dtype(code) for name, code in _DTYPES.items()
}
"""TensorType -> NumPy dtype of a stored element, for the types that have whole-byte elements."""
PACKED_BITS: dict[int, int] = {
    int(TensorType.INT4): 4,
    int(TensorType.UINT4): 4,
    int(TensorType.INT2): 2,
}
"""TensorType -> bits of an element, for the types that share bytes."""


def stored_bytes(tensor: Tensor) -> int | None:
    """Bytes a dense constant of this tensor's type and shape takes; None where that is not fixed.

    None for strings, resources, variants and unknown types. INT4 and INT2 elements share bytes, the
    last byte padded (LiteRT `core/subgraph.cc` BytesRequired).
    """
    count = 1
    for dimension in tensor.shape or ():
        count *= dimension
    kind = int(tensor.type)
    if kind in DTYPES:
        return count * DTYPES[kind].itemsize
    if kind in PACKED_BITS:
        return (count * PACKED_BITS[kind] + 7) // 8
    return None


def array(model: Model, subgraph_index: int, tensor_index: int) -> np.ndarray | None:
    """A constant as a read-only array in its type and shape; None if the tensor is not constant.

    A view of the buffer where its address allows the type, else a copy; a Deferred buffer is
    produced. INT4, UINT4, INT2, STRING and untyped data: the stored bytes, uint8 (n,). A sparse
    tensor: its stored values, 1-D. BFLOAT16 and FLOAT8: the bits as unsigned integers.
    Raises MalformedModel if the buffer's size does not fit type and shape.
    """
    tensor = model.subgraphs[subgraph_index].tensors[tensor_index]
    data = model.buffers[tensor.buffer].data if tensor.buffer < len(model.buffers) else None
    if data is None or tensor.buffer == 0 or (data.nbytes == 0 and 0 not in (tensor.shape or ())):
        return None
    if isinstance(data, Deferred):
        whole = np.empty(data.nbytes, np.uint8)
        at = 0
        for piece in data.pieces():
            whole[at : at + piece.nbytes] = piece
            at += piece.nbytes
        data = _read_only(whole)
    dtype = DTYPES.get(int(tensor.type))
    if dtype is None:
        return data
    if data.__array_interface__["data"][0] % dtype.alignment:
        data = _read_only(data.copy())
    if tensor.sparsity is not None:
        return data[: data.nbytes - data.nbytes % dtype.itemsize].view(dtype)
    if data.nbytes != stored_bytes(tensor):
        raise MalformedModel(
            f"the buffer of tensor {tensor_index} ({tensor.name}) of subgraph {subgraph_index} has"
            f" {data.nbytes} bytes, {tensor.type!s} {tensor.shape} needs {stored_bytes(tensor)}",
            "Tensor",
            "buffer",
        )
    return data.view(dtype).reshape(tensor.shape or ())
