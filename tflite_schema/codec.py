"""Tables to bytes and back, driven by the declared schema alone.

`Decoder` follows no offset it has not checked: whatever the bytes are, it returns or raises
MalformedModel. What a table costs in memory is charged to a budget proportional to the file, so
that a small file whose vectors all point at the same bytes cannot unfold into a large model.

`Encoder` writes front to back, parents before children, so that every offset points forward and
large byte vectors can follow the tables in the order they are streamed. (flatbuffers.Builder writes
back to front, needs all data in memory, and ignores force_align.)

Format: https://flatbuffers.dev/internals/. A table starts with the distance back to its vtable; the
vtable is u16 values: its own size, the table's inline size, then for each slot where the field
stands inside the table, 0 for absent. Offsets to children are u32, forward, from where they stand.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from tflite_schema.errors import InvalidModel, MalformedModel, UnknownField
from tflite_schema.schema import (
    IDENTIFIER,
    SCALAR,
    SCALARS,
    STRING,
    TABLE,
    TABLES,
    TABLES_BY_NAME,
    UNION,
    UNIONS,
    Field,
    Table,
)

INT_VECTOR_LIMIT = 1 << 20
"""Most elements of a vector that becomes Python integers (shapes, operands); none is near it."""

_U16 = struct.Struct("<H")
_U32 = struct.Struct("<I")
_I32 = struct.Struct("<i")
# What one table costs of the budget, beside its inline size. The smallest that writers make takes 8
# bytes of the file (an empty Buffer and its entry in the vector), which bring 64.
_TABLE_CHARGE = 48
_BUDGET_FACTOR, _BUDGET_BASE = 8, 1 << 16

Build = Callable[[Table, dict[str, Any], int], Any]


class Decoder:
    """Reads tables out of the bytes of one file.

    data: the whole file as uint8 (N,), read-only; vectors of scalars are views of it.
    build: called with each table, its present fields by name, and its position; what it returns
    stands for the table. A union field arrives as the built table, or, where the file gives a type
    and no table, as the name of the type.
    end: one past the last byte that any object read so far takes.
    """

    def __init__(self, data: np.ndarray, build: Build) -> None:
        self.data = data
        self.bytes = data.data
        self.size = data.size
        self.build = build
        self.end = 0
        self._left = _BUDGET_BASE + _BUDGET_FACTOR * self.size
        self._layouts: dict[tuple[str, int], tuple[int, list[tuple[Field, bool, int]]]] = {}

    def root(self, table: str) -> Any:
        """The root table, after the checks of the file header."""
        if self.size < 8 or bytes(self.bytes[4:8]) != IDENTIFIER:
            found = bytes(self.bytes[4:8])
            raise MalformedModel(
                f"the identifier is {found!r}, not {IDENTIFIER!r}; not a .tflite file", offset=4
            )
        return self._table(TABLES_BY_NAME[table], self._u32(0, table, ""), table, "", 0)

    def _charge(self, cost: int, table: str, field: str, position: int) -> None:
        self._left -= cost
        if self._left < 0:
            raise MalformedModel(
                f"more content than {self.size} bytes can hold; objects overlap",
                table,
                field,
                position,
            )

    def _u32(self, position: int, table: str, field: str) -> int:
        """The position that the u32 offset at `position` points to; not yet checked itself."""
        if position < 0 or position + 4 > self.size:
            raise MalformedModel(
                "an offset lies beyond the end of the file", table, field, position
            )
        distance: int = _U32.unpack_from(self.bytes, position)[0]
        if not distance:
            raise MalformedModel("an offset of 0 points nowhere", table, field, position)
        return position + distance

    def _layout(self, table: Table, vtable: int, position: int) -> tuple[int, list[Any]]:
        """Inline size and (field, is it a union's type, place) of the fields present."""
        name, data, size = table.name, self.bytes, self.size
        if vtable < 0 or vtable + 4 > size:
            raise MalformedModel(f"the vtable at {vtable} is outside the file", name, "", position)
        length, inline = struct.unpack_from("<HH", data, vtable)
        if length < 4 or length % 2 or vtable + length > size:
            raise MalformedModel(f"a vtable cannot have {length} bytes", name, "", vtable)
        if inline < 4:
            raise MalformedModel(f"a table cannot have {inline} bytes", name, "", vtable + 2)
        declared = len(table.by_slot)
        count = (length - 4) // 2
        surplus = self.data[vtable + 4 + 2 * declared : vtable + length]
        if surplus.any():
            slot = declared + int(np.flatnonzero(surplus)[0]) // 2
            raise UnknownField(
                f"field number {slot} is not in the declared schema; a newer version is needed",
                name,
                f"#{slot}",
                vtable + 4 + 2 * slot,
            )
        count = min(count, declared)
        present = []
        for slot, place in enumerate(struct.unpack_from(f"<{count}H", data, vtable + 4)):
            if place:
                field, is_type = table.by_slot[slot]
                if place < 4 or place + (1 if is_type else field.width) > inline:
                    raise MalformedModel(
                        f"the field stands at {place}, outside its table of {inline} bytes",
                        name,
                        field.name,
                        vtable + 4 + 2 * slot,
                    )
                present.append((field, is_type, place))
        self._charge(length // 8, name, "", vtable)
        self.end = max(self.end, vtable + length)
        return inline, present

    def _table(self, table: Table, position: int, parent: str, via: str, at: int) -> Any:
        """The table at a position that the offset at `at`, in field `via` of `parent`, gives."""
        if position + 4 > self.size:
            raise MalformedModel(f"the table at {position} is outside the file", parent, via, at)
        vtable = position - _I32.unpack_from(self.bytes, position)[0]
        layout = self._layouts.get((table.name, vtable))
        if layout is None:
            layout = self._layouts[table.name, vtable] = self._layout(table, vtable, position)
        inline, present = layout
        end = position + inline
        if end > self.size:
            raise MalformedModel(
                "the table runs past the end of the file", table.name, "", position
            )
        if end > self.end:
            self.end = end
        self._charge(_TABLE_CHARGE + inline, table.name, "", position)
        values: dict[str, Any] = {}
        union_type = 0
        for field, is_type, place in present:
            at = position + place
            kind = field.kind
            if kind == SCALAR:
                value = field.packer.unpack_from(self.bytes, at)[0]
                if field.enum is not None:
                    value = field.enum._value2member_map_.get(value, value)
                values[field.name] = value
            elif kind == UNION:
                if is_type:
                    union_type = self.bytes[at]
                    if union_type:
                        values[field.name] = self._union_table(table, field, union_type, at).name
                else:
                    values[field.name] = self._union(table, field, values, at)
            else:
                values[field.name] = self._child(table, field, at)
        return self.build(table, values, position)

    def _union_table(self, table: Table, field: Field, number: int, at: int) -> Table:
        members = UNIONS[field.type]
        if number > len(members):
            raise UnknownField(
                f"{field.type} has no member number {number}; a newer version is needed",
                table.name,
                field.name,
                at,
            )
        return TABLES_BY_NAME[members[number - 1]]

    def _union(self, table: Table, field: Field, values: dict[str, Any], at: int) -> Any:
        name = values.get(field.name)
        if name is None:
            raise MalformedModel("a union has a value and no type", table.name, field.name, at)
        target = self._u32(at, table.name, field.name)
        return self._table(TABLES_BY_NAME[name], target, table.name, field.name, at)

    def _vector(self, table: Table, field: Field, at: int, width: int) -> tuple[int, int]:
        """(position of the first element, number of elements) of the vector that `at` points to."""
        start = self._u32(at, table.name, field.name)
        if start + 4 > self.size:
            raise MalformedModel("the vector is outside the file", table.name, field.name, at)
        count = _U32.unpack_from(self.bytes, start)[0]
        end = start + 4 + count * width
        if end > self.size:
            raise MalformedModel(
                f"a vector of {count} elements runs past the end of the file",
                table.name,
                field.name,
                start,
            )
        if end > self.end:
            self.end = end
        return start + 4, count

    def _child(self, table: Table, field: Field, at: int) -> Any:
        kind = field.kind
        if kind == SCALARS:
            start, count = self._vector(table, field, at, field.dtype.itemsize)
            view = self.data[start : start + count * field.dtype.itemsize]
            return view != 0 if field.code == "?" else view.view(field.dtype)
        if kind == STRING:
            start, count = self._vector(table, field, at, 1)
            if start + count >= self.size or self.bytes[start + count] != 0:
                raise MalformedModel("a string has no ending zero", table.name, field.name, start)
            self._charge(count, table.name, field.name, start)
            self.end = max(self.end, start + count + 1)
            return str(self.bytes[start : start + count], "utf-8", "surrogateescape")
        child = TABLES_BY_NAME[field.type]
        if kind == TABLE:
            target = self._u32(at, table.name, field.name)
            return self._table(child, target, table.name, field.name, at)
        start, count = self._vector(table, field, at, 4)
        self._charge(4 * count, table.name, field.name, start)
        offsets = struct.unpack_from(f"<{count}I", self.bytes, start)
        if 0 in offsets:
            at = start + 4 * offsets.index(0)
            raise MalformedModel("an offset of 0 points nowhere", table.name, field.name, at)
        return tuple(
            [
                self._table(child, at + offset, table.name, field.name, at)
                for at, offset in zip(range(start, start + 4 * count, 4), offsets, strict=True)
            ]
        )


class Source(Protocol):
    """Bytes that are written after the tables: their number is known, their content may wait."""

    nbytes: int


class Encoder:
    """Writes one table and all below it; large byte vectors are left for the caller to place.

    out: the part with the tables. blobs: (position of the u32 offset to set, alignment, source) of
    each byte vector still to be placed after it. outside: (position of a u64 offset, of a u64 size,
    source) of what goes after the flatbuffer; a table asks for it by an entry "mark" in its dict,
    (name of the field of the offset, of the size, source).
    """

    def __init__(self) -> None:
        self.out = bytearray(8)
        self.out[4:8] = IDENTIFIER
        self.blobs: list[tuple[int, int, Source]] = []
        self.outside: list[tuple[int, int, Source]] = []
        self._vtables: dict[bytes, int] = {}

    def root(self, table: str, values: Any) -> None:
        """Write `values` as the root table."""
        _U32.pack_into(self.out, 0, self._table(TABLES_BY_NAME[table], values))

    def _pad(self, alignment: int, ahead: int = 0) -> int:
        """Pad so that what follows `ahead` bytes later is aligned; the position now."""
        out = self.out
        missing = -(len(out) + ahead) % alignment
        if missing:
            out += bytes(missing)
        return len(out)

    def _table(self, table: Table, values: Any) -> int:
        stored = isinstance(values, dict)
        scalars: list[tuple[Field, bytes]] = []
        children: list[tuple[Field, Any]] = []
        types: list[tuple[Field, int]] = []
        for field in table.fields:
            name = field.name
            value = values.get(name) if stored else getattr(values, name)
            if value is None:
                continue
            if field.kind == SCALAR:
                packed = _scalar(table, field, value)
                if packed != field.packed:
                    scalars.append((field, packed))
            elif field.kind == UNION:
                types.append((field, _union_number(table, field, value)))
                if value.stored:
                    children.append((field, value))
            elif not (isinstance(value, tuple) and getattr(value, "absent", False)):
                children.append((field, value))
        # Widest first needs no padding: 8-byte scalars, 4-byte offsets and scalars, then the rest.
        scalars.sort(key=_by_width)
        wide = sum(field.width >= 4 for field, _ in scalars)
        places = [0] * len(table.by_slot)
        content = bytearray(4)
        for field, packed in scalars[:wide]:
            places[field.slot] = len(content)
            content += packed
        for field, _ in children:
            places[field.slot] = len(content)
            content += b"\0\0\0\0"
        for field, packed in scalars[wide:]:
            places[field.slot] = len(content)
            content += packed
        for field, number in types:
            places[field.slot - 1] = len(content)
            content.append(number)
        while places and not places[-1]:
            places.pop()
        vtable = struct.pack(f"<{len(places) + 2}H", 4 + 2 * len(places), len(content), *places)
        at = self._vtables.get(vtable)
        if at is None:
            at = self._vtables[vtable] = self._pad(2)
            self.out += vtable
        start = self._pad(8, 4) if scalars and scalars[0][0].width == 8 else self._pad(4)
        _I32.pack_into(content, 0, start - at)
        self.out += content
        for field, value in children:
            slot = start + places[field.slot]
            position = self._child(table, field, value, slot)
            if position is not None:
                _U32.pack_into(self.out, slot, position - slot)
        if stored and "mark" in values:
            *names, source = values["mark"]
            offset, size = (start + places[table.by_name[name].slot] for name in names)
            self.outside.append((offset, size, source))
        return start

    def _child(self, table: Table, field: Field, value: Any, slot: int) -> int | None:
        kind = field.kind
        if kind == STRING:
            return self._string(table, field, value)
        if kind == TABLE:
            return self._table(TABLES_BY_NAME[field.type], value)
        if kind == UNION:
            return self._table(TABLES_BY_NAME[value.table], value)
        if kind == TABLES:
            start = self._pad(4)
            self.out += _U32.pack(len(value)) + bytes(4 * len(value))
            child = TABLES_BY_NAME[field.type]
            for i, item in enumerate(value):
                at = start + 4 + 4 * i
                _U32.pack_into(self.out, at, self._table(child, item) - at)
            return start
        if field.align == 16 and (value.nbytes or not isinstance(value, np.ndarray)):
            self.blobs.append((slot, field.align, value))
            return None
        content = _elements(table, field, value)
        start = self._pad(field.align, 4) if field.align > 4 else self._pad(4)
        self.out += _U32.pack(len(content) // field.dtype.itemsize)
        self.out += content
        return start

    def _string(self, table: Table, field: Field, value: Any) -> int:
        if not isinstance(value, str):
            raise InvalidModel(f"{table.name}.{field.name}: {_short(value)} is not a string.")
        text = value.encode("utf-8", "surrogateescape")
        start = self._pad(4)
        self.out += _U32.pack(len(text)) + text + b"\0"
        return start


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else text[:57] + "..."


def _by_width(entry: tuple[Field, bytes]) -> int:
    return -entry[0].width


def _scalar(table: Table, field: Field, value: Any) -> bytes:
    try:
        packed: bytes = field.packer.pack(value)
    except (struct.error, OverflowError, TypeError) as reason:
        raise InvalidModel(
            f"{table.name}.{field.name}: {_short(value)} is not a {field.type} ({reason})."
        ) from None
    return packed


def _elements(table: Table, field: Field, value: Any) -> bytes:
    try:
        if isinstance(value, tuple):
            return struct.pack(f"<{len(value)}{field.code}", *value)
        array = np.ascontiguousarray(value, field.dtype)
        if array.dtype != value.dtype and not np.array_equal(array, value):
            raise OverflowError("values change")
        return array.tobytes()
    except (struct.error, OverflowError, ValueError, TypeError, AttributeError) as reason:
        raise InvalidModel(
            f"{table.name}.{field.name}: {_short(value)} is not a vector of {field.type}"
            f" ({reason})."
        ) from None


def _union_number(table: Table, field: Field, value: Any) -> int:
    name = getattr(value, "table", None)
    members = UNIONS[field.type]
    if name not in members:
        raise InvalidModel(
            f"{table.name}.{field.name}: {_short(value)} is not one of {field.type}."
        )
    return members.index(name) + 1
