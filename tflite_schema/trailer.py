"""What follows the flatbuffer: padding, and files that tools append, such as TFLite metadata's zip.

A zip archive names positions in the file that contains it, so it has to change when it moves. In a
`Model` the archive is kept with positions counted from its own first byte; `placed` gives the form
for its place in a file. Bytes that are no archive are kept as they are.
Format: PKWARE APPNOTE 6.3.9, sections 4.3.12 to 4.3.16 and 4.5.3.
"""

from __future__ import annotations

import struct

import numpy as np

ALIGNMENT = 16
MARGIN = 16
"""Zeros after the last constant: XNNPACK may read a few bytes past it (LiteRT
`converter/flatbuffer_export.cc`, AppendBufferData)."""

_END, _END64, _LOCATOR64, _ENTRY = b"PK\5\6", b"PK\6\6", b"PK\6\7", b"PK\1\2"
_HEADER = b"PK\3\4"
_MAX32 = 0xFFFFFFFF


def boundary(end: int) -> int:
    """Where appended bytes start in a file whose content ends at `end`."""
    return -(-end // ALIGNMENT) * ALIGNMENT + MARGIN


def find(data: np.ndarray, end: int) -> np.ndarray | None:
    """What follows the content that ends at `end`, without padding; None if that is nothing."""
    rest = data[end:]
    zeros = boundary(end) - end
    head = np.flatnonzero(rest[:zeros])
    start = end + (int(head[0]) if head.size else zeros)
    if start >= data.size or not (data.size - start > 64 or rest.any()):
        return None  # few zeros are padding, counted from where they would be written again
    rest = data[start:]
    moved = _moved(rest, 0)
    return rest if moved is None else moved


def placed(appended: np.ndarray, start: int) -> np.ndarray:
    """`appended` as it must be stored at byte `start` of a file."""
    moved = _moved(appended, start)
    return appended if moved is None else moved


def _moved(data: np.ndarray, new_start: int) -> np.ndarray | None:
    """The archive in `data` with positions for a first byte at new_start; None if it is none."""
    raw = bytearray(data[-(1 << 16) - 22 :].tobytes())
    at = raw.rfind(_END)
    while at >= 0 and (at + 22 > len(raw) or at + 22 + _u16(raw, at + 20) != len(raw)):
        at = raw.rfind(_END, 0, at)
    if at < 0:
        return None
    raw = bytearray(data.data)
    end = len(raw) - (len(data[-(1 << 16) - 22 :]) - at)
    count, size, offset = struct.unpack_from("<HII", raw, end + 10)
    directory_end, end64 = end, None
    if end >= 20 and raw[end - 20 : end - 16] == _LOCATOR64:
        # The zip64 end record stands before its locator; its own size tells where it starts.
        end64 = raw.rfind(_END64, 0, end - 20)
        room = end - 20 - (end64 + 12)
        if end64 < 0 or room < 44 or struct.unpack_from("<Q", raw, end64 + 4)[0] != room:
            return None
        count, size, offset = struct.unpack_from("<QQQ", raw, end64 + 32)
        directory_end = end64
    directory = directory_end - size
    if directory < 0:
        return None
    # Positions count from the file's first byte, or from the archive's; both are in use. Where the
    # directory is and where it is said to be tells which.
    base = offset - directory
    if not _patch_entries(raw, directory, directory_end, count, base, new_start):
        return None
    moved = directory + new_start
    if end64 is not None:
        struct.pack_into("<Q", raw, end64 + 48, moved)
        struct.pack_into("<Q", raw, end - 12, end64 + new_start)
    if struct.unpack_from("<I", raw, end + 16)[0] != _MAX32:
        if moved >= _MAX32:
            return None  # counted from its own first byte it is still a valid archive
        struct.pack_into("<I", raw, end + 16, moved)
    moved_data = np.frombuffer(raw, np.uint8)
    moved_data.flags.writeable = False
    return moved_data


def _u16(raw: bytearray, at: int) -> int:
    return int(struct.unpack_from("<H", raw, at)[0])


def _patch_entries(raw: bytearray, at: int, end: int, count: int, base: int, start: int) -> bool:
    """Move the header position of each directory entry from base to start; False if it is none."""
    places = []
    for _ in range(count):
        if at + 46 > end or raw[at : at + 4] != _ENTRY:
            return False
        name, extra, comment = struct.unpack_from("<HHH", raw, at + 28)
        if at + 46 + name + extra + comment > end:
            return False
        packed, full = struct.unpack_from("<II", raw, at + 20)
        offset = struct.unpack_from("<I", raw, at + 42)[0]
        if offset == _MAX32:
            # zip64 extra: the 8-byte values that did not fit, in the order full, packed, offset.
            field, stop = at + 46 + name, at + 46 + name + extra
            while field + 4 <= stop and _u16(raw, field) != 1:
                field += 4 + _u16(raw, field + 2)
            place = field + 4 + 8 * ((full == _MAX32) + (packed == _MAX32))
            if place + 8 > stop:
                return False
            places.append((place, "<Q", struct.unpack_from("<Q", raw, place)[0]))
        else:
            places.append((at + 42, "<I", offset))
        at += 46 + name + extra + comment
    if at != end:
        return False
    for place, code, value in places:
        header = value - base
        if header < 0 or raw[header : header + 4] != _HEADER:
            return False
        if header + start >= (1 << 63 if code == "<Q" else _MAX32):
            return False
        struct.pack_into(code, raw, place, header + start)
    return True
