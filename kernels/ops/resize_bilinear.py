"""RESIZE_BILINEAR: y = x interpolated linearly at each point of the grid size.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/resize_bilinear.cc.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from kernels import bounds, delegate
from kernels.call import Call
from kernels.errors import RuntimeRefuses
from kernels.fixedpoint import pot_away
from kernels.jit import jit
from kernels.numerics import Row
from kernels.opspec import Operand, OpSpec, Role, Tie
from kernels.opversion import Special, inputs, option
from kernels.scalar import pot_away as pot_away_scalar
from kernels.trace import note

if TYPE_CHECKING:
    from kernels.simd.program import Lowering

SPEC = OpSpec(
    name="RESIZE_BILINEAR",
    inputs=(Operand("input"), Operand("size", Role.INDEX)),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 2, "int16": 4, "uint8": 1},
    legacy_version=2,
    special=(
        Special(4, "int16", inputs("int16")),
        Special(3, "half_pixel_centers", option("half_pixel_centers")),
    ),
)

_SOURCE = "kernels/resize_bilinear.cc; reference/resize_bilinear.h; optimized/resize_bilinear.h"
_TENTH = "weights of 10 bits, products of 20, half away (E73)"
_ELEVENTH = "weights of 11 bits, products of 22, half up (E73)"
_BEYOND = (
    "far upscaling: the lower point can lie beyond a row, and the next row (or what is behind the "
    "tensor) is read; align_corners beside half_pixel_centers: refused, but XNNPACK aligns corners"
)

NUMERICS = (
    Row("int8", _TENTH, _TENTH, _ELEVENTH, f"{_SOURCE}; XNNPACK indirection.c, s8-ibilinear",
        _BEYOND),
    Row("uint8", "float32, ((v wy) wx) summed by columns, + 0.5, cut (E74)",
        "float32, v (wy wx) summed by rows, + 0.5, cut (E74)", _ELEVENTH,
        f"{_SOURCE}; XNNPACK indirection.c, u8-ibilinear"),
    Row("int16", _TENTH, _TENTH, "", _SOURCE, _BEYOND),
)  # fmt: skip


class Axis(NamedTuple):
    """The points that an output position lies between, along one axis.

    low, high: int64 positions in the input.  weight: of `high`, how far the point lies above `low`,
    int64 with the bits of the rule, or float32.
    """

    low: np.ndarray
    high: np.ndarray
    weight: np.ndarray


def real(call: Call) -> tuple[np.ndarray, ...]:
    """Interpolated in float32 by the reference kernel's own products and sums (E74).

    Other paths place and weigh the points with other float32 steps: they are off by a few ulp of
    the position, 2^-22 n for n input points, times the difference of neighbours.
    """
    x, (rows, columns) = np.asarray(call[0].real(), np.float32), _axes(call, float_axis)
    return (_float_columns(_corners(call, x, rows, columns), rows.weight, columns.weight),)


def bound(call: Call) -> np.ndarray:
    """A position is off by up to 8 U (n + 1) on an axis of n points, a value by that times the
    range of the input; the weighted sum of four by 8 U times its size (E76)."""
    x = call.x(0).astype(np.float64)
    range_ = x.max((1, 2), keepdims=True) - x.min((1, 2), keepdims=True)
    size = np.abs(x).max((1, 2), keepdims=True)
    points = x.shape[1] + x.shape[2] + 2
    return bounds.U * 8 * (points * range_ + size) + bounds.TINY


def reference(call: Call) -> tuple[np.ndarray, ...]:
    """Integers with weights of 10 (E73) or 11 bits (E73); uint8 in float32 (E74)."""
    _check(call)
    x, q = call.x(0), call.output.held
    if call.profile.is_xnnpack:
        rows, columns = _axes(call, eleventh_axis)
        a, b, c, d = (v.astype(np.int64) for v in _corners(call, x, rows, columns))
        wy, wx = rows.weight[:, None, None], columns.weight[:, None]
        top, bottom = a * 2048 + (b - a) * wx, c * 2048 + (d - c) * wx
        total = top * 2048 + (bottom - top) * wy
        note("sum", total, "E73")
        return (((total + (1 << 21)) >> 22).astype(q),)
    if x.dtype == np.uint8:
        rows, columns = _axes(call, float_axis)
        corners = _corners(call, x.astype(np.float32), rows, columns)
        combine = _float_columns if call.profile.is_reference else _float_rows
        total = combine(corners, rows.weight, columns.weight)
        note("sum", total, "E74")
        return ((total + np.float32(0.5)).astype(q),)
    rows, columns = _axes(call, tenth_axis)
    a, b, c, d = (v.astype(np.int64) for v in _corners(call, x, rows, columns))
    wy, wx = rows.weight[:, None, None], columns.weight[:, None]
    total = (a * (1024 - wx) + b * wx) * (1024 - wy) + (c * (1024 - wx) + d * wx) * wy
    note("sum", total, "E73")
    return (pot_away(total, 20).astype(q),)


def fast(call: Call) -> tuple[np.ndarray, ...]:
    """`reference`, jitted."""
    _check(call)
    x = np.ascontiguousarray(call.x(0))
    batch, height, width, depth = x.shape
    exact = call.profile.is_xnnpack
    floats = x.dtype == np.uint8 and not exact
    rows, columns = _axes(call, eleventh_axis if exact else float_axis if floats else tenth_axis)
    _inside(call, rows, columns)
    out = np.empty((batch, rows.low.size, columns.low.size, depth), call.output.held)
    flat = x.reshape(-1, depth)
    if floats:
        by_column = call.profile.is_reference
        _float_loops(flat, height, width, *rows, *columns, by_column, out)
    else:
        _integer_loops(flat, height, width, *rows, *columns, 11 if exact else 10, out)
    return (out,)


def lower(call: Call, to: Lowering) -> None:
    """Compiled: int8, and what XNNPACK takes."""
    from kernels.simd import windows

    windows.bilinear(to)


def delegated(call: Call) -> bool:
    """Whether XNNPACK takes the call: 8 bits per tensor, a constant size."""
    found = delegate.per_tensor(call[0], call.output)
    return found and delegate.takes_shape(call[0]) and delegate.static(call, 1)


def tenth_axis(size: int, wanted: int, align: bool, half_pixel: bool) -> Axis:
    """Integer positions with 10 fraction bits (E73)."""
    less = 1 if align and wanted > 1 else 0
    scale = (1024 * (size - less) + (wanted - less) // 2) // (wanted - less)
    at = np.arange(wanted, dtype=np.int64) * scale
    if half_pixel:
        at = at + scale // 2 - 512
    low = np.maximum(_quotient(at), 0)
    return Axis(low, np.minimum(_quotient(at + 1023), size - 1), at - 1024 * low)


def eleventh_axis(size: int, wanted: int, align: bool, half_pixel: bool) -> Axis:
    """XNNPACK: float32 positions, weights rounded to 11 bits, half even (E73)."""
    less = 1 if align and wanted > 1 else 0
    scale = np.float32(size - less) / np.float32(wanted - less)
    at = np.arange(wanted).astype(np.float32) * scale
    if half_pixel and not align:
        at = np.maximum(at + (np.float32(0.5) * scale - np.float32(0.5)), np.float32(0))
    at = np.minimum(at, np.float32(size - 1))
    low = at.astype(np.int64)
    weight = np.rint((at - low.astype(np.float32)) * np.float32(2048)).astype(np.int64)
    return Axis(low, np.minimum(low + 1, size - 1), weight)


def float_axis(size: int, wanted: int, align: bool, half_pixel: bool) -> Axis:
    """float32 positions and weights (E74)."""
    less = 1 if align and wanted > 1 else 0
    scale, half = np.float32(size - less) / np.float32(wanted - less), np.float32(0.5)
    at = np.arange(wanted).astype(np.float32)
    at = (at + half) * scale - half if half_pixel else at * scale
    low = np.maximum(np.floor(at).astype(np.int64), 0)
    high = np.minimum(np.ceil(at).astype(np.int64), size - 1)
    return Axis(low, high, at - low.astype(np.float32))


def _check(call: Call) -> None:
    """Raises RuntimeRefuses where XNNPACK takes the node and then stops."""
    x, y = call[0], call.output
    if call.profile.is_xnnpack and (x.s != y.s or x.z != y.z or not delegate.normal(x)):
        raise RuntimeRefuses("RESIZE_BILINEAR: XNNPACK stops where input and output scale differ")


def _axes(call: Call, rule: Callable[[int, int, bool, bool], Axis]) -> tuple[Axis, Axis]:
    """Rows and columns. Raises RuntimeRefuses for sizes that the runtime does not take."""
    shape, (height, width) = call[0].shape, (int(n) for n in call.x(1))
    align = bool(call.option("align_corners", False))
    half_pixel = bool(call.option("half_pixel_centers", False))
    if len(shape) != 4 or height < 1 or width < 1:
        raise RuntimeRefuses(f"RESIZE_BILINEAR: input {shape} to {height} x {width}; it stops")
    # Without a constant size prepare looks at no flag, and XNNPACK looks at align_corners first.
    if align and half_pixel and call[1].constant and not call.profile.is_xnnpack:
        raise RuntimeRefuses("RESIZE_BILINEAR: align_corners beside half_pixel_centers; it stops")
    return rule(shape[1], height, align, half_pixel), rule(shape[2], width, align, half_pixel)


def _corners(call: Call, x: np.ndarray, rows: Axis, columns: Axis) -> list[np.ndarray]:
    """Values at (low, low), (low, high), (high, low), (high, high): rows first; output shape.

    Addressed as the kernel does, in the flat buffer: a column beyond a row is the next row's.
    """
    _inside(call, rows, columns)
    batch, height, width, depth = x.shape
    pixels = x.reshape(-1, depth)
    start = np.arange(batch)[:, None, None] * height
    return [
        pixels[(start + y[:, None]) * width + x_]
        for y in (rows.low, rows.high)
        for x_ in (columns.low, columns.high)
    ]


def _inside(call: Call, rows: Axis, columns: Axis) -> None:
    """Raises NoKernel where the official kernel would read beyond its input (E73)."""
    batch, height, width, _ = call[0].shape
    row, column = (max(int(a.low.max()), int(a.high.max())) for a in (rows, columns))
    last = ((batch - 1) * height + row) * width + column
    if last >= batch * height * width:
        raise call.refuse(
            f"{height} x {width} to {rows.low.size} x {columns.low.size}: the official kernel "
            "reads beyond the input there; resize in two steps"
        )


def _float_columns(corners: list[np.ndarray], wy: np.ndarray, wx: np.ndarray) -> np.ndarray:
    """((v * wy) * wx), column by column (E74)."""
    a, b, c, d = corners
    wy, wx, one = wy[:, None, None], wx[:, None], np.float32(1)
    vy, vx = one - wy, one - wx
    return a * vy * vx + c * wy * vx + b * vy * wx + d * wy * wx


def _float_rows(corners: list[np.ndarray], wy: np.ndarray, wx: np.ndarray) -> np.ndarray:
    """v * (wy * wx), row by row (E74)."""
    a, b, c, d = corners
    wy, wx, one = wy[:, None, None], wx[:, None], np.float32(1)
    vy, vx = one - wy, one - wx
    return a * (vy * vx) + b * (vy * wx) + c * (wy * vx) + d * (wy * wx)


def _quotient(x: np.ndarray) -> np.ndarray:
    """x / 1024 toward zero."""
    return np.where(x < 0, -(-x >> 10), x >> 10)


@jit
def _integer_loops(x, height, width, y0, y1, wy, x0, x1, wx, bits, out):
    """bits: 10 half away, 11 half up."""
    one = np.int64(1) << np.int64(bits)
    for b in range(out.shape[0]):
        for i in range(out.shape[1]):
            top, bottom = (b * height + y0[i]) * width, (b * height + y1[i]) * width
            for j in range(out.shape[2]):
                p, q, r, s = top + x0[j], top + x1[j], bottom + x0[j], bottom + x1[j]
                wa, wb = (one - wy[i]) * (one - wx[j]), (one - wy[i]) * wx[j]
                wc, wd = wy[i] * (one - wx[j]), wy[i] * wx[j]
                for c in range(out.shape[3]):
                    total = (
                        np.int64(x[p, c]) * wa + np.int64(x[q, c]) * wb
                        + np.int64(x[r, c]) * wc + np.int64(x[s, c]) * wd
                    )  # fmt: skip
                    if bits == 10:
                        out[b, i, j, c] = pot_away_scalar(total, 20)
                    else:
                        out[b, i, j, c] = (total + (1 << 21)) >> np.int64(22)


@jit
def _float_loops(x, height, width, y0, y1, wy, x0, x1, wx, by_column, out):
    one, half = np.float32(1), np.float32(0.5)
    for b in range(out.shape[0]):
        for i in range(out.shape[1]):
            top, bottom = (b * height + y0[i]) * width, (b * height + y1[i]) * width
            h, v = wy[i], np.float32(one - wy[i])
            for j in range(out.shape[2]):
                p, q, r, s = top + x0[j], top + x1[j], bottom + x0[j], bottom + x1[j]
                k, u = wx[j], np.float32(one - wx[j])
                for c in range(out.shape[3]):
                    a, d = np.float32(x[p, c]), np.float32(x[s, c])
                    e, f = np.float32(x[q, c]), np.float32(x[r, c])
                    if by_column:
                        t = np.float32(a * v) * u + np.float32(f * h) * u
                        t = np.float32(t + np.float32(e * v) * k)
                        t = np.float32(t + np.float32(d * h) * k)
                    else:
                        t = np.float32(a * np.float32(v * u)) + np.float32(e * np.float32(v * k))
                        t = np.float32(t + f * np.float32(h * u))
                        t = np.float32(t + d * np.float32(h * k))
                    out[b, i, j, c] = np.int64(np.float32(t + half))
