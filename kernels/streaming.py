"""Large constants through compiled kernels (kernels/simd/encode.py): when, and the calls.

What is here does what kernels/affine.py, reductions.py and packing.py do with NumPy, bit for bit,
and says whether it has: False (or None) where the arrays are small, the kernels are not there or
have no form for the case, or the data hold a NaN, which NumPy's code then deals with.

Loading the kernels takes about as long as they save on PAYS bytes, and compiling them, once on a
machine, longer. A constant's range is read before its integers are made; so loading begins when a
process has read so much for either, and beside it: until the kernels are there NumPy goes on. Where
they cannot be had it goes on for good.
"""

from __future__ import annotations

import contextvars
import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from kernels import blocks
from kernels.errors import KernelError
from kernels.ranges import IntRange

SMALL = 1 << 12  # bytes of a call; with fewer, either way takes the same few microseconds
PAYS = 1 << 27  # bytes that a process reads for one purpose before the kernels are loaded
SHORTEST = 16  # values of a run by itself, as long as a vector
WIDE = 1 << 10  # columns: short periods are repeated to be so long

KERNELS = (
    "encode_integers_runs_single",
    "encode_integers_columns_single",
    "encode_integers_runs_double",
    "encode_integers_columns_double",
    "encode_extremes_runs",
    "encode_extremes_columns",
    "encode_halves",
    "encode_nibbles",
)

Entry = Callable[[Any, int, int], None]

_loaded: dict[str, Entry] = {}
_entries = _loaded  # those in use
_seen: dict[str, int] = {}  # bytes by what they were read for
_asked = threading.Lock()  # taken for good by who loads


def _entry(name: str, nbytes: int) -> Entry | None:
    """The kernel, if it is to be used for so many bytes. All decisions are made here."""
    if nbytes < max(1, SMALL):
        return None
    if not _entries:
        seen = _seen[name] = _seen.get(name, 0) + nbytes
        if seen >= PAYS and _asked.acquire(blocking=False):
            # In a copy of the context, which may name a target.
            run = contextvars.copy_context().run
            threading.Thread(target=run, args=(_try_to_load,), daemon=True).start()
    return _entries.get(name)


def _try_to_load() -> None:
    try:
        _loaded.update(load())
    except (KernelError, ImportError, OSError, RuntimeError):
        pass  # NumPy has the same integers


def load() -> dict[str, Entry]:
    """The kernels for the target in use, compiled where they are not yet. Raises CompilerFailed."""
    from kernels.simd.build import addresses
    from kernels.simd.runner import ENTRY

    found = addresses(KERNELS, lambda done, of: None)
    return {name: ENTRY(address) for name, address in found.items()}


@contextmanager
def using(entries: dict[str, Entry], small: int = 0) -> Iterator[None]:
    """Inside the block these kernels (none: NumPy) for what has at least `small` bytes."""
    global _entries, SMALL, PAYS
    before = _entries, SMALL, PAYS
    _entries, SMALL, PAYS = entries, small, 1 << 62
    try:
        yield
    finally:
        _entries, SMALL, PAYS = before


def single(w: np.ndarray, out: np.ndarray, q: IntRange, factor: np.ndarray) -> bool:
    """out = half_away(w * factor) in float32, clipped (E16). w, out: C order, one shape. factor:
    float32, broadcasts against w."""
    laid = _laid(w, out, "single", (factor,))
    return laid is not None and _integers(w, out, (q.qmin, q.qmax, 0, 0), laid, laid.parameters)


def double(
    w: np.ndarray, out: np.ndarray, q: IntRange, scale: np.ndarray, zero_point: np.ndarray,
    certain: float, near: int,
) -> bool:  # fmt: skip
    """out = half_away(w / scale + zero_point) in float64, clipped (E16); a scale of 0 is infinite.

    w, out: C order, one shape. scale, zero_point: float64, broadcast against w. certain: a float32
    step so near to its integer has the integer of float64, where |zero_point| <= near.
    """
    laid = _laid(w, out, "double", (scale, zero_point))
    if laid is None:
        return False
    parameters: tuple[np.ndarray | None, ...] = (None, None, *laid.parameters)
    if laid.by_column:
        scale, zero_point = laid.parameters
        scale = np.where(scale == 0, np.inf, scale)
        with np.errstate(over="ignore", divide="ignore"):
            factor = (1.0 / scale).astype(np.float32)
        shift = np.where(np.abs(zero_point) <= near, zero_point, np.nan).astype(np.float32)
        parameters = (factor, shift, scale, zero_point)
    numbers = (q.qmin, q.qmax, int(np.float32(certain).view(np.int32)), near)
    return _integers(w, out, numbers, laid, parameters)


class _Layout(NamedTuple):
    """Units of `length` values that a kernel takes, and contiguous parameters in `groups`."""

    entry: Entry
    by_column: bool
    length: int
    groups: int
    parameters: tuple[np.ndarray, ...]


def _laid(
    w: np.ndarray, out: np.ndarray, rule: str, groups: tuple[np.ndarray, ...]
) -> _Layout | None:
    entry = _entry(f"encode_integers_runs_{rule}", w.nbytes)
    if entry is None or w.dtype != np.float32 or out.itemsize != 1:
        return None
    laid = blocks.layout(w.shape, groups)
    if laid is None:
        return None
    (outer, count, inner), found = laid
    if inner >= SHORTEST or count == 1:
        return _Layout(entry, False, inner, count, tuple(map(np.ascontiguousarray, found)))
    period = count * inner
    if period > blocks.BLOCK and inner > 1:
        return None
    copies = min(outer, -(-WIDE // period))
    if copies * inner > 1:
        found = tuple(np.tile(np.repeat(p, inner), copies) for p in found)
    wide = tuple(map(np.ascontiguousarray, found))
    return _Layout(_entries[f"encode_integers_columns_{rule}"], True, copies * period, count, wide)


def _integers(
    w: np.ndarray, out: np.ndarray, numbers: tuple[int, int, int, int], laid: _Layout,
    parameters: tuple[np.ndarray | None, ...],
) -> bool:  # fmt: skip
    places = [0 if p is None else _address(p) for p in parameters]
    places += [0] * (4 - len(places))

    def done(first: int, length: int, units: int) -> bool:
        at = (_address(w) + 4 * first, _address(out) + first)
        return _found_all(laid.entry, at, (length, laid.groups, *numbers, *places), units)

    units, rest = divmod(w.size, laid.length)
    return done(0, laid.length, units) and (not rest or done(w.size - rest, rest, 1))


def halves(w: np.ndarray, out: np.ndarray) -> bool:
    """out = float16 of w, as affine.encode_float16. Both in C order."""
    if w.dtype != np.float32 or not (entry := _entry("encode_halves", w.nbytes)):
        return False
    return _found_all(entry, (_address(w), _address(out)), (), w.size)


def nibbles(values: np.ndarray, out: np.ndarray) -> bool:
    """out = int8 values two in a byte, an even number of them. Both in C order."""
    if not (entry := _entry("encode_nibbles", values.nbytes)):
        return False
    return _found_all(entry, (_address(values), _address(out)), (), out.size)


def extremes(
    flat: np.ndarray, extent: tuple[int, int, int]
) -> tuple[np.ndarray, np.ndarray] | None:
    """Smallest and largest of each group, as reductions.min_max; flat: all values."""
    outer, groups, inner = extent
    period = groups * inner
    if flat.dtype != np.float32 or (inner < SHORTEST and period > blocks.BLOCK):
        return None
    if not (entry := _entry("encode_extremes_runs", flat.nbytes)):
        return None
    at = _address(flat)
    if inner >= SHORTEST:
        low, high = (np.empty((outer, groups), np.float32) for _ in range(2))
        ends = (_address(low), _address(high))
        if not _found_all(entry, (at, *ends), (inner,), outer * groups, lost=3):
            return None
        return np.minimum.reduce(low), np.maximum.reduce(high)
    copies = min(outer, -(-WIDE // period))
    width, rows = copies * period, outer // copies
    if width < SHORTEST:
        return None
    low, high = flat[:width].copy(), flat[:width].copy()
    ends = (_address(low), _address(high))
    entry = _entries["encode_extremes_columns"]
    if not _found_all(entry, (at, *ends), (width,), rows, lost=3):
        return None
    rest = flat[rows * width :]
    if rest.size:
        if np.isnan(rest).any():
            return None
        np.minimum(low[: rest.size], rest, out=low[: rest.size])
        np.maximum(high[: rest.size], rest, out=high[: rest.size])
    shape = (copies, groups, inner)
    return (
        np.minimum.reduce(low.reshape(shape), axis=(0, 2)),
        np.maximum.reduce(high.reshape(shape), axis=(0, 2)),
    )


def _address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


def _found_all(
    entry: Entry, arrays: tuple[int, ...], numbers: tuple[int, ...], units: int, lost: int = 2
) -> bool:
    """Calls the kernel with these parameters, the address for what is lost behind the arrays;
    whether nothing was."""
    told = ctypes.c_int64(0)
    line = (*arrays[:lost], ctypes.addressof(told), *numbers)
    entry((ctypes.c_int64 * len(line))(*line), 0, units)
    return not told.value
