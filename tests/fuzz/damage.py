"""Changes to a .tflite file that leave most of its structure: they know where its numbers stand.

The walk is by the flatbuffers format and the declared schema; it follows whatever is inside the
file and stops at what is not, so it works on damaged files too.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import numpy as np

from tests.schema.mutate import DAMAGE
from tflite_schema.schema import (
    SCALAR,
    SCALARS,
    STRING,
    TABLES,
    TABLES_BY_NAME,
    UNION,
    UNIONS,
    Field,
    Table,
)

LIMIT = 3000  # places of one file


@dataclass(frozen=True)
class Place:
    """A number in a file. kind: offset (to a table, a vector or a string), vtable (distance to it),
    size (of a vtable), entry (of a vtable), count (of a vector), type (of a union), value.
    code: of struct.  leads: the table that an offset leads to.
    """

    kind: str
    at: int
    code: str
    leads: str = ""


@dataclass
class Map:
    """Where the numbers of a file stand, and where its tables of each type start."""

    data: bytes
    places: list[Place] = field(default_factory=list)
    starts: dict[str, list[int]] = field(default_factory=dict)
    kinds: dict[str, list[Place]] = field(default_factory=dict)

    def number(self, kind: str, at: int, code: str, leads: str = "") -> int | None:
        """Note a place; its value, None if it is not inside the file."""
        if at < 0 or at + struct.calcsize("<" + code) > len(self.data):
            return None
        place = Place(kind, at, code, leads)
        self.places.append(place)
        self.kinds.setdefault(kind, []).append(place)
        value = struct.unpack_from("<" + code, self.data, at)[0]
        return value if isinstance(value, int) else 0


def mapped(data: bytes) -> Map:
    found = Map(data)
    root = found.number("offset", 0, "I", "Model")
    todo, seen = [("Model", root or 0)], set()
    while todo and len(found.places) < LIMIT:
        name, at = todo.pop()
        if (name, at) in seen:
            continue
        seen.add((name, at))
        distance = found.number("vtable", at, "i")
        if distance is None:
            continue
        found.starts.setdefault(name, []).append(at)
        table, vtable = TABLES_BY_NAME[name], at - distance
        length = found.number("size", vtable, "H")
        found.number("size", vtable + 2, "H")
        union = 0
        for slot in range(min(((length or 4) - 4) // 2, len(table.by_slot))):
            entry = found.number("entry", vtable + 4 + 2 * slot, "H")
            if not entry:
                continue
            declared, is_type = table.by_slot[slot]
            if is_type:
                union = found.number("type", at + entry, "B") or 0
            else:
                todo += _field(found, table, declared, at + entry, union)
    return found


def _field(found: Map, table: Table, declared: Field, at: int, union: int) -> list[tuple[str, int]]:
    """Note what a field holds; the tables that it leads to."""
    if declared.kind == SCALAR:
        found.number("value", at, declared.code)
        return []
    leads = declared.type if declared.kind not in (SCALARS, STRING, UNION) else ""
    if declared.kind == UNION:
        members = UNIONS[declared.type]
        leads = members[union - 1] if 0 < union <= len(members) else ""
        if not leads:
            return []
    distance = found.number("offset", at, "I", leads)
    if distance is None:
        return []
    target = at + distance
    if declared.kind not in (SCALARS, STRING, TABLES):
        return [(leads, target)]
    count = found.number("count", target, "I")
    if count is None or declared.kind == STRING:
        return []
    more: list[tuple[str, int]] = []
    width = 4 if declared.kind == TABLES else declared.dtype.itemsize
    for i in range(min(count, 64)):
        if declared.kind == SCALARS:
            found.number("value", target + 4 + i * width, declared.code)
        else:
            place = target + 4 + 4 * i
            distance = found.number("offset", place, "I", leads)
            if distance is not None:
                more.append((leads, place + distance))
    return more


def _pick(rng: np.random.Generator, items: list[Place]) -> Place:
    return items[int(rng.integers(len(items)))]


def _set(data: bytearray, place: Place, value: int) -> None:
    width = struct.calcsize("<" + place.code)
    data[place.at : place.at + width] = (value % (1 << 8 * width)).to_bytes(width, "little")


def _get(data: bytes | bytearray, place: Place) -> int:
    width = struct.calcsize("<" + place.code)
    return int.from_bytes(data[place.at : place.at + width], "little")


def _number(data: bytearray, found: Map, rng: np.random.Generator) -> None:
    """Another number in one place."""
    kind = ("value", "value", "count", "type", "size", "entry", "vtable")[int(rng.integers(7))]
    places = found.kinds.get(kind)
    if not places:
        return
    place = _pick(rng, places)
    bits = 8 * struct.calcsize("<" + place.code)
    old = _get(data, place)
    ends = (0, 1, -1, 2 ** (bits - 1), 2 ** (bits - 1) - 1, 127, 128, len(data))
    choices = (
        ends[int(rng.integers(len(ends)))],
        old + int(rng.integers(-4, 5)),
        int(rng.integers(16)),
        old ^ (1 << int(rng.integers(bits))),
        _get(data, _pick(rng, places)),
    )
    _set(data, place, choices[int(rng.integers(len(choices)))])


def _lead(data: bytearray, found: Map, rng: np.random.Generator) -> None:
    """An offset to another table of its type, or to some other place."""
    place = _pick(rng, found.kinds["offset"])
    starts = [s for s in found.starts.get(place.leads, []) if s > place.at]
    if starts and rng.integers(4):
        _set(data, place, starts[int(rng.integers(len(starts)))] - place.at)
    else:
        other = _pick(rng, found.places).at - place.at
        _set(data, place, other if rng.integers(8) else int(rng.integers(2)))


def _entries(data: bytearray, found: Map, rng: np.random.Generator) -> None:
    """A field taken away, or two that change places."""
    entries = found.kinds.get("entry")
    if not entries:
        return
    one, two = _pick(rng, entries), _pick(rng, entries)
    old = _get(data, one)
    _set(data, one, _get(data, two) if rng.integers(2) else 0)
    if rng.integers(2):
        _set(data, two, old)


def _vtables(data: bytearray, found: Map, rng: np.random.Generator) -> None:
    """A table with the vtable of another one of its type."""
    names = [n for n, starts in found.starts.items() if len(starts) > 1]
    if names:
        starts = found.starts[names[int(rng.integers(len(names)))]]
        one, two = (starts[int(rng.integers(len(starts)))] for _ in range(2))
        distance = struct.unpack_from("<i", data, two)[0]
        _set(data, Place("vtable", one, "i"), one - (two - distance))


def _tail(data: bytearray, found: Map, rng: np.random.Generator) -> None:
    """Bytes after the end, or the end cut off, or the end moved."""
    choice = int(rng.integers(4))
    if choice == 0:
        data += bytes(int(rng.integers(1, 64)))
    elif choice == 1:
        data += rng.integers(0, 256, int(rng.integers(1, 48))).astype(np.uint8).tobytes()
    elif choice == 2:
        del data[len(data) - int(rng.integers(1, 64)) :]
    else:
        at = len(data) - int(rng.integers(1, min(200, len(data)) + 1))
        data[at:at] = bytes(int(rng.integers(1, 24)))


def _last(data: bytearray, found: Map, rng: np.random.Generator) -> None:
    """A number near the end, where archives keep theirs."""
    at = len(data) - int(rng.integers(1, min(220, len(data)) + 1))
    place = Place("value", at, "BHI"[int(rng.integers(3))])
    if at + struct.calcsize("<" + place.code) <= len(data):
        ends = (0, 1, 0xFFFFFFFF, _get(data, place) + int(rng.integers(-50, 50)), 44, len(data))
        _set(data, place, ends[int(rng.integers(len(ends)))])


def _bytes(data: bytearray, found: Map, rng: np.random.Generator) -> None:
    """Damage that knows nothing."""
    if len(data) > 8:
        DAMAGE[int(rng.integers(len(DAMAGE)))](data, rng, len(data))


ACTIONS = (_number, _number, _number, _lead, _lead, _entries, _vtables, _tail, _last, _bytes)


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """A copy with one to four changes; the places are those of the undamaged bytes."""
    if len(data) < 16:
        return data + rng.integers(0, 256, 16).astype(np.uint8).tobytes()
    found, changed = mapped(data), bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        if len(changed) < len(data):
            found = mapped(bytes(changed))
        if len(changed) < 16:
            break
        ACTIONS[int(rng.integers(len(ACTIONS)))](changed, found, rng)
    return bytes(changed)
