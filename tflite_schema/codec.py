"""Tables to bytes and back, driven by the declared schema alone.

`Decoder` follows no offset it has not checked (flatbuffers' own reader checks none): whatever the
bytes are, it returns or raises MalformedModel. What a table costs in memory is charged to a budget
proportional to the file, so that a small file whose vectors all point at the same bytes cannot
unfold into a large model.

`Encoder` drives `flatbuffers.Builder`. What the Builder has no way for is done around it: it needs
all content in memory, so long vectors are not given to it and only their offsets are left open, to
be set once it is known where they are streamed to; and it aligns a vector to its elements alone,
where the schema's force_align asks for more.

Format: https://flatbuffers.dev/internals/. A table starts with the distance back to its vtable; the
vtable is u16 values: its own size, the table's inline size, then for each slot where the field
stands inside the table, 0 for absent. Offsets to children are u32, forward, from where they stand.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from flatbuffers.builder import Builder, BuilderSizeError

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

# Bytes from which on a vector is streamed, whatever it holds.
_LONG = 1 << 16
_U32 = struct.Struct("<I")
_I32 = struct.Struct("<i")
# What one table costs of the budget, beside its inline size. The smallest that writers make takes 8
# bytes of the file (an empty Buffer and its entry in the vector), which bring 64.
_TABLE_CHARGE = 48
# What an element costs that becomes a Python object, for each table that has the vector.
_OBJECT_CHARGE = {"i": 16, "?": 8}
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
        self._spans: set[tuple[int, int]] = set()
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

    def objects(self, code: str, count: int, table: str, field: str, position: int) -> None:
        """Charge for a vector of the struct code that becomes `count` Python objects."""
        self._charge(_OBJECT_CHARGE[code] * count, table, field, position)

    def span(self, start: int, end: int, table: str, field: str, position: int) -> None:
        """Charge for a constant, which stays a view. Views of the same bytes are written once, but
        those that only overlap are written in full, each."""
        if (start, end) not in self._spans:
            self._spans.add((start, end))
            self._charge(end - start, table, field, position)

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
            end = start + count * field.dtype.itemsize
            if field.align == 16:
                self.span(start, end, table.name, field.name, start - 4)
            else:
                self._charge(end - start, table.name, field.name, start - 4)
            view = self.data[start:end]
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

    @property
    def nbytes(self) -> int: ...


class Encoder:
    """Writes one table and all below it; long vectors are left for the caller to place.

    streamed: (position of the u32 offset to set, number of elements, source) of each vector still
    to be placed after the tables. outside: (position of a u64 offset, of a u64 size, source) of
    what goes after the flatbuffer; a table asks for it by an entry "mark" in its dict, (name of the
    field of the offset, of the size, source). Both are complete when `root` has returned.
    """

    def __init__(self) -> None:
        self.streamed: list[tuple[int, int, Source]] = []
        self.outside: list[tuple[int, int, Source]] = []
        # It writes back to front: until it has finished, places count from the end.
        self._builder = Builder(_LONG)
        self._vtables: dict[str, dict[Any, int]] = {}

    def root(self, table: str, values: Any) -> bytearray:
        """The part of the file with the tables, `values` being the root table.

        Raises InvalidModel for a value that its field cannot hold, and if the tables pass 2 GB.
        """
        try:
            self._builder.Finish(self._table(TABLES_BY_NAME[table], values), IDENTIFIER)
        except BuilderSizeError:
            raise InvalidModel(
                f"{table}: its tables, names and short vectors alone would pass the 2 GB at which a"
                " flatbuffer ends."
            ) from None
        out: bytearray = self._builder.Output()
        end = len(out)
        self.streamed = [(end - slot, count, s) for slot, count, s in self.streamed]
        self.outside = [(end - offset, end - size, s) for offset, size, s in self.outside]
        return out

    def _table(self, table: Table, values: Any) -> int:
        """Build all below a table, then the table; its distance from the end."""
        builder = self._builder
        stored = isinstance(values, dict)
        inline: list[tuple[int, Any, int, Any]] = []  # (width, method of the Builder, slot, value)
        children: list[tuple[Field, Any]] = []
        for field in table.fields:
            name = field.name
            value = values.get(name) if stored else getattr(values, name)
            if value is None:
                continue
            if field.kind == SCALAR:
                packed = _scalar(table, field, value)
                if packed != field.packed:  # not `!=` of values: the sign of a zero counts
                    value = field.packer.unpack(packed)[0]
                    inline.append((field.width, _PREPEND[field.code], field.slot, value))
            elif field.kind == UNION:
                number = _union_number(table, field, value)
                inline.append((1, Builder.PrependUint8Slot, field.slot - 1, number))
                if value.stored:
                    children.append((field, value))
            elif not (isinstance(value, tuple) and getattr(value, "absent", False)):
                children.append((field, value))
        left: list[tuple[int, int, Source]] = []
        for field, value in children:
            child = self._child(table, field, value)
            if isinstance(child, int):
                inline.append((4, Builder.PrependUOffsetTRelativeSlot, field.slot, child))
            else:
                inline.append((4, Builder.PrependUint32Slot, field.slot, 0))
                left.append((field.slot, *child))

        # Aligned from its start on and widest first, a table's layout follows from which fields it
        # has. So tables of one type with equal offsets have equal sizes and can share a vtable; of
        # different types they may not, and before 25.12.19 the Builder would let them share one
        # with the wrong size (flatbuffers issue 8653). Hence the vtables by type.
        inline.sort(key=_by_width)
        builder.Prep(max(4, inline[0][0]) if inline else 4, 0)
        builder.vtables = self._vtables.setdefault(table.name, {})
        builder.StartObject(len(table.by_slot))
        places = {}
        for _, prepend, slot, value in inline:
            prepend(builder, slot, value, None)
            places[slot] = builder.Offset()
        position: int = builder.EndObject()
        self.streamed += [(places[slot], count, source) for slot, count, source in left]
        if stored and "mark" in values:
            *names, source = values["mark"]
            offset, size = (places[table.by_name[name].slot] for name in names)
            self.outside.append((offset, size, source))
        return position

    def _child(self, table: Table, field: Field, value: Any) -> int | tuple[int, Source]:
        """Distance from the end of what was built, or (elements, source) of what is streamed."""
        kind, builder = field.kind, self._builder
        position: int
        if kind == STRING:
            position = builder.CreateString(_text(table, field, value))
        elif kind == TABLE:
            position = self._table(TABLES_BY_NAME[field.type], value)
        elif kind == UNION:
            position = self._table(TABLES_BY_NAME[value.table], value)
        elif kind == TABLES:
            child = TABLES_BY_NAME[field.type]
            items = [self._table(child, item) for item in value]
            builder.StartVector(4, len(items), 4)
            for item in reversed(items):
                builder.PrependUOffsetTRelative(item)
            position = builder.EndVector()
        elif field.align == 16 and not isinstance(value, (tuple, np.ndarray)):
            return value.nbytes // field.dtype.itemsize, value
        else:
            elements = _elements(table, field, value)
            if elements.nbytes >= _LONG or (field.align == 16 and elements.nbytes):
                return elements.size, elements.view(np.uint8)
            if field.align > elements.itemsize:  # what CreateNumpyVector aligns to
                builder.Prep(field.align, elements.nbytes)
            position = builder.CreateNumpyVector(elements)
        return position


# By struct code. With None for the default they store whatever value they are given.
_PREPEND = {
    "?": Builder.PrependBoolSlot,
    "b": Builder.PrependInt8Slot,
    "B": Builder.PrependUint8Slot,
    "h": Builder.PrependInt16Slot,
    "H": Builder.PrependUint16Slot,
    "i": Builder.PrependInt32Slot,
    "I": Builder.PrependUint32Slot,
    "q": Builder.PrependInt64Slot,
    "Q": Builder.PrependUint64Slot,
    "f": Builder.PrependFloat32Slot,
    "d": Builder.PrependFloat64Slot,
}


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else text[:57] + "..."


def _by_width(entry: tuple[int, Any, int, Any]) -> int:
    return -entry[0]


def _scalar(table: Table, field: Field, value: Any) -> bytes:
    try:
        packed: bytes = field.packer.pack(value)
    except (struct.error, OverflowError, TypeError) as reason:
        raise InvalidModel(
            f"{table.name}.{field.name}: {_short(value)} is not a {field.type} ({reason})."
        ) from None
    return packed


def _text(table: Table, field: Field, value: Any) -> bytes:
    if not isinstance(value, str):
        raise InvalidModel(f"{table.name}.{field.name}: {_short(value)} is not a string.")
    try:
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as reason:
        raise InvalidModel(
            f"{table.name}.{field.name}: {_short(value)} is not a string that can be stored"
            f" ({reason.reason})."
        ) from None


def _elements(table: Table, field: Field, value: Any) -> np.ndarray:
    """The elements of a vector as they are stored, (n,); a view of value where it can be."""
    try:
        if isinstance(value, tuple):
            packed = struct.pack(f"<{len(value)}{field.code}", *value)
            return np.frombuffer(packed, field.dtype)
        array = np.ascontiguousarray(value, field.dtype)
        if array.dtype != value.dtype and not np.array_equal(array, value):
            raise OverflowError("values change")
        return array.reshape(-1)
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
