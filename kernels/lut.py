"""Functions of one variable as tables of integers, the way the official kernels hold them.

    table8    256 entries, one for each code of int8 or uint8 (E50)
    table16   513 nodes over the range of int16, interpolated by `lookup16` (E51)
    sigmoid_table   256 nodes of the logistic function, for int16 LOGISTIC and TANH (E52)

Sources: LiteRT kernels/internal/common.h (LUTPopulate, LUTLookup), XNNPACK
src/operators/unary-elementwise-nc.c.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np

from kernels.jit import jit
from kernels.ranges import IntRange
from kernels.rounding import half_away
from kernels.trace import note

Scale = float | np.float32

Function = Callable[[np.ndarray], np.ndarray]
INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1
CELLS = 512  # of table16; a cell is 128 codes


def codes(q: IntRange) -> np.ndarray:
    """Every integer of an 8-bit type, placed at its own byte: entry 255 is -1 or 255. int64."""
    return np.arange(256, dtype=np.uint8).view(q.dtype).astype(np.int64)


def truncate32(x: np.ndarray) -> np.ndarray:
    """Floats to int32 as x86 converts: toward zero; -2^31 for NaN and what does not fit. int64."""
    with np.errstate(invalid="ignore"):
        fits = (x > -(2.0**31) - 1) & (x < 2.0**31)
    return np.where(fits, np.trunc(np.where(fits, x, 0)), INT32_MIN).astype(np.int64)


def table8(
    f: Function,
    x_scale: Scale,
    x_zero_point: int,
    y_scale: Scale,
    y_zero_point: int,
    q: IntRange,
) -> np.ndarray:
    """The table of f for 8-bit codes (E50), (256,) in q.dtype, entries placed as `codes`.

    f takes and gives float32 arrays. round_half_away(f(x) * f32(1 / y_scale)), plus the zero point
    in float32; infinities saturate.
    """
    real = np.float32(x_scale) * (codes(q) - x_zero_point).astype(np.float32)
    with np.errstate(all="ignore"):
        value = f(real)
        steps = value * (np.float32(1) / np.float32(y_scale))
        _noted(real, value, steps)
        steps = half_away(steps) + np.float32(y_zero_point)
        return np.clip(steps, q.qmin, q.qmax).astype(q.dtype)


def table8_xnnpack(
    f: Function,
    x_scale: Scale,
    x_zero_point: int,
    y_scale: Scale,
    y_zero_point: int,
    q: IntRange,
    half_even: bool = True,
) -> np.ndarray:
    """The table of f for 8-bit codes as XNNPACK makes it (E50), placed as `codes`.

    Adds the zero point in float32 before it rounds: to even, or half away (tensorflow 2.21).
    """
    real = (codes(q) - x_zero_point).astype(np.float32) * np.float32(x_scale)
    with np.errstate(all="ignore"):
        value = f(real)
        steps = value * (np.float32(1) / np.float32(y_scale)) + np.float32(y_zero_point)
        _noted(real, value, steps)
        steps = np.rint(steps) if half_even else half_away(steps)
        return np.clip(steps, q.qmin, q.qmax).astype(q.dtype)


def _noted(real: np.ndarray, value: np.ndarray, steps: np.ndarray) -> None:
    note("x of each code", real, "E3")
    note("f(x) of each code", value, "E50")
    note("steps of each code, not yet rounded", steps, "E50")


def lookup8(x: np.ndarray, table: np.ndarray) -> np.ndarray:
    """The entry of each code of x (int8 or uint8), in x's shape."""
    return table[np.ascontiguousarray(x).view(np.uint8)].reshape(x.shape)


def gather8(x: np.ndarray, table: np.ndarray) -> np.ndarray:
    """`lookup8`, jitted."""
    out = np.empty(x.shape, table.dtype)
    _gather(np.ascontiguousarray(x).view(np.uint8).ravel(), table, out.reshape(-1))
    return out


def table16(
    f: Function,
    x_scale: Scale,
    x_zero_point: int,
    y_scale: Scale,
    y_zero_point: int,
    kind: type = np.float32,
) -> np.ndarray:
    """The 513 nodes of f over all of int16 (E51), int16.

    f takes and gives arrays of `kind`, in which everything is computed (SOFTMAX: np.float64).
    Each node is lowered by half of what the chord misses in the middle of its cell, rounded.
    """
    s, t = kind(x_scale), kind(y_scale)
    low, high = s * kind(-32768 - x_zero_point), s * kind(32767 - x_zero_point)
    step = kind(high - low) / kind(CELLS)
    with np.errstate(all="ignore"):
        inverse = kind(65536) / kind(
            t * kind(32767 - y_zero_point) - t * kind(-32768 - y_zero_point)
        )
        nodes = low + np.arange(CELLS + 1).astype(kind) * step
        values = f(nodes)[:-1] * inverse, f(nodes)[1:] * inverse
        middle = half_away(f(nodes[:-1] + step / kind(2)) * inverse)
        start = half_away(values[0])
        chord = half_away((values[1] + start) / kind(2))
        start = start - half_away((chord - middle) / kind(2))
        end = half_away(f(np.array([high], kind)) * inverse)
        steps = np.append(start, end)
        # Comparisons as C++ min and max make them: a NaN passes, and converts to 0.
        steps = np.where(steps < -32768, kind(-32768), steps)
        steps = np.where(steps > 32767, kind(32767), steps)
    return truncate32(steps).astype(np.int16)


def lookup16(x: np.ndarray, table: np.ndarray) -> np.ndarray:
    """int16 codes through `table16`: the node of the upper 9 bits, plus slope times the rest.

    Returns int16; a sum beyond it wraps.
    """
    v, nodes = x.astype(np.int64), table.astype(np.int64)
    cell = 256 + (v >> 7)
    note("cell", cell, "E51")
    # The slope is an int16 too.
    slope = (nodes[cell + 1] - nodes[cell]).astype(np.int16).astype(np.int64)
    note("node below", nodes[cell], "E51")
    note("slope", slope, "E51")
    return (nodes[cell] + ((slope * (v & 127) + 64) >> 7)).astype(np.int16)


def gather16(x: np.ndarray, table: np.ndarray) -> np.ndarray:
    """`lookup16`, jitted."""
    out = np.empty(x.shape, np.int16)
    _gather16(np.ascontiguousarray(x).ravel(), table, out.reshape(-1))
    return out


@cache
def sigmoid_table() -> np.ndarray:
    """65536 / (1 + exp(-i / 24)) at i = 0..255, corrected for chords as E51; int64, (256,)  (E52).

    The last node is 65535, the largest of its type; the correction is not rounded by itself here.
    """

    def at(i: float) -> float:
        return 65536 / (1 + math.exp(-i / 24))

    nodes = [
        math.floor(at(i) - ((at(i) + at(i + 1)) / 2 - at(i + 0.5)) / 2 + 0.5) for i in range(255)
    ]
    return np.array([*nodes, 65535], np.int64)


@jit
def lookup16_scalar(v, table):
    """One int16 code through `table16`, int64."""
    v = np.int64(v)
    cell = 256 + (v >> 7)
    base = np.int64(table[cell])
    slope = np.int64(np.int16(np.int64(table[cell + 1]) - base))
    return np.int64(np.int16(base + ((slope * (v & 127) + 64) >> 7)))


@jit
def _gather(x, table, out):
    for i in range(x.size):
        out[i] = table[x[i]]


@jit
def _gather16(x, table, out):
    for i in range(x.size):
        out[i] = lookup16_scalar(x[i], table)
