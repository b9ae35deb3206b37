"""Minimum, maximum and largest magnitude per group, in one pass over memory.

A group is an index along `axis` (channels), or the whole array when `axis` is None. The data are
read once, in cache-sized pieces, whichever axis carries the groups; nothing is copied or moved.
A NaN in a group makes the results of that group NaN, so that callers can name it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from kernels import streaming
from kernels.blocks import BLOCK, LONG_RUN, groups_of, scratch
from kernels.errors import BadArray

# Width of the running extremes when groups lie side by side: they stay in the first level of cache
# together with the data they meet.
SIDE_BY_SIDE = 1 << 13

# Below this length it is quicker to fold all runs at once onto themselves than each by itself.
SHORT_RUN = 64

# (piece, scratch of the same size and integer type) -> integers or floats that order as wanted
Key = Callable[[np.ndarray, np.ndarray], np.ndarray]


def min_max(x: np.ndarray, axis: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest value of each group: two (G,) arrays of x's dtype; G = 1 for axis None.

    x: float array of any shape, not empty. Which zero stands for a zero extreme is not defined.
    Raises BadArray for an empty or non-float array.
    """
    flat, extent = _prepared(x, axis, "min_max")
    if found := streaming.extremes(flat, extent):
        return found
    _, groups, inner = extent
    beside = inner < LONG_RUN and groups * inner <= BLOCK  # reduced across, not along, the runs
    if groups == 1 or inner >= LONG_RUN or beside:
        low, high = _fold(flat, extent, (np.minimum, np.maximum), None)
        return low, high
    bits = _signed(flat.dtype)
    low, high = _fold(flat.view(bits), extent, (np.minimum, np.maximum), _ordered)
    low, high = (_ordered(v, np.empty_like(v)).view(flat.dtype) for v in (low, high))
    bad = np.isnan(low) | np.isnan(high)
    low[bad] = high[bad] = np.nan
    return low, high


def max_abs(x: np.ndarray, axis: int | None = None) -> np.ndarray:
    """Largest magnitude of each group: (G,) array of x's dtype; as min_max otherwise."""
    flat, extent = _prepared(x, axis, "max_abs")
    (largest,) = _fold(flat.view(_signed(flat.dtype)), extent, (np.maximum,), _magnitude)
    return largest.view(flat.dtype)


def _magnitude(bits: np.ndarray, scratch: np.ndarray) -> np.ndarray:
    """Float bits without the sign: ordered as |x|, NaN above infinity (E21)."""
    return np.bitwise_and(bits, bits.dtype.type(np.iinfo(bits.dtype).max), out=scratch)


def _ordered(bits: np.ndarray, scratch: np.ndarray) -> np.ndarray:
    """Float bits as integers that order as the floats do; its own inverse (E21)."""
    top = bits.dtype.type(8 * bits.dtype.itemsize - 1)
    np.right_shift(bits, top, out=scratch)
    np.bitwise_and(scratch, bits.dtype.type(np.iinfo(bits.dtype).max), out=scratch)
    return np.bitwise_xor(bits, scratch, out=scratch)


def _prepared(
    x: np.ndarray, axis: int | None, where: str
) -> tuple[np.ndarray, tuple[int, int, int]]:
    x = np.asarray(x)
    if x.dtype.kind != "f":
        raise BadArray(f"{where}: needs a float array, got {x.dtype}")
    extent = groups_of(x.shape, axis)
    if x.size == 0:
        raise BadArray(f"{where}: shape {x.shape} has no elements, so no range")
    flat = x if x.flags.c_contiguous else np.ascontiguousarray(x)
    if extent[1] == 1:
        extent = (1, 1, x.size)
    return flat.reshape(-1), extent


def _signed(dtype: np.dtype) -> np.dtype:
    return np.dtype(f"i{dtype.itemsize}")


def _fold(
    flat: np.ndarray, extent: tuple[int, int, int], ops: tuple[np.ufunc, ...], key: Key | None
) -> list[np.ndarray]:
    """Reduce key(flat) to one value a group with each of `ops`: arrays (G,)."""
    outer, groups, inner = extent
    place = np.empty(min(BLOCK, flat.size), flat.dtype)

    def keyed(part: np.ndarray) -> np.ndarray:
        return part if key is None else key(part, place[: part.size])

    with np.errstate(invalid="ignore"):
        if inner < LONG_RUN:
            return _side_by_side(flat, groups, inner, ops, keyed)
        rows = outer * groups
        results = [np.empty(rows, flat.dtype) for _ in ops]
        if inner >= BLOCK:
            for row in range(rows):
                ends = range(row * inner, (row + 1) * inner, BLOCK)
                parts = (keyed(flat[at : min(at + BLOCK, (row + 1) * inner)]) for at in ends)
                found = [[op.reduce(part) for op in ops] for part in parts]
                for result, op, values in zip(results, ops, zip(*found, strict=True), strict=True):
                    result[row] = op.reduce(np.asarray(values, flat.dtype))
        else:
            step = BLOCK // inner
            for row in range(0, rows, step):
                part = keyed(flat[row * inner : (row + step) * inner])
                for result, op in zip(results, ops, strict=True):
                    result[row : row + step] = _runs(part, inner, op)
        return [
            op.reduce(result.reshape(outer, groups), axis=0)
            for result, op in zip(results, ops, strict=True)
        ]


def _runs(part: np.ndarray, inner: int, op: np.ufunc) -> np.ndarray:
    """op over each run of `inner` values; the result may lie in this thread's scratch."""
    if inner >= SHORT_RUN:
        return op.reduceat(part, np.arange(0, part.size, inner))
    # After k doublings a place holds the extreme of itself and what follows, 2^k values; the last
    # step overlaps, which does an extreme no harm. Every step is one loop over the whole piece.
    made, other = scratch(part.dtype, part.dtype)
    width = 1
    while width < inner:
        step = min(width, inner - width)
        part = op(part[:-step], part[step:], out=made[: part.size - step])
        made, other = other, made
        width += step
    return part[::inner]


def _side_by_side(
    flat: np.ndarray,
    groups: int,
    inner: int,
    ops: tuple[np.ufunc, ...],
    keyed: Callable[[np.ndarray], np.ndarray],
) -> list[np.ndarray]:
    """Groups whose runs are short: fold whole periods onto each other, then the periods."""
    period = groups * inner
    if period > BLOCK:
        return _many(flat, groups, inner, ops, keyed)
    width = min(max(1, SIDE_BY_SIDE // period) * period, flat.size)
    results = [keyed(flat[:width]).copy() for _ in ops]
    for start in range(width, flat.size, width):
        part = keyed(flat[start : start + width])
        for result, op in zip(results, ops, strict=True):
            op(result[: part.size], part, out=result[: part.size])
    shape = (width // period, groups, inner)
    return [op.reduce(r.reshape(shape), axis=(0, 2)) for r, op in zip(results, ops, strict=True)]


def _many(
    flat: np.ndarray,
    groups: int,
    inner: int,
    ops: tuple[np.ufunc, ...],
    keyed: Callable[[np.ndarray], np.ndarray],
) -> list[np.ndarray]:
    """More short groups than fit a piece: reduce each run, then meet what was found before."""
    results = [np.empty(groups, flat.dtype) for _ in ops]
    step = BLOCK // inner
    for base in range(0, flat.size, groups * inner):
        for g in range(0, groups, step):
            stop = base + min(g + step, groups) * inner
            part = keyed(flat[base + g * inner : stop]).reshape(-1, inner)
            for result, op in zip(results, ops, strict=True):
                run = _columns(part, op) if inner < 8 else op.reduce(part, axis=1)
                at = result[g : g + step]
                op(at, run, out=at) if base else np.copyto(at, run)
    return results


def _columns(part: np.ndarray, op: np.ufunc) -> np.ndarray:
    run = part[:, 0]
    for column in range(1, part.shape[1]):
        run = op(run, part[:, column])
    return run
