"""RESIZE_NEAREST_NEIGHBOR: y = x at the nearest point, for each point of the grid size.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/resize_nearest_neighbor.cc.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kernels.call import Call
from kernels.errors import RuntimeRefuses
from kernels.numerics import Row
from kernels.opspec import Operand, OpSpec, Role, Tie
from kernels.opversion import Special, inputs, option
from kernels.rounding import half_away
from kernels.trace import note

if TYPE_CHECKING:
    from kernels.simd.program import Lowering

SPEC = OpSpec(
    name="RESIZE_NEAREST_NEIGHBOR",
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
        Special(
            3,
            "half_pixel_centers or align_corners",
            option("half_pixel_centers", "align_corners"),
        ),
    ),
)

_SOURCE = "kernels/resize_nearest_neighbor.cc; reference/resize_nearest_neighbor.h"
_FLOAT = "floor(f32(i * f32(n / m))), with align_corners half_away (E59)"
_FIXED = "without flags (i (n 2^16 div m + 1)) >> 16; else as the reference (E59)"

NUMERICS = (
    Row("int8", _FLOAT, _FIXED, "", f"{_SOURCE}; optimized_ops.h (ResizeNearestNeighbor)",
        "tensorflow 2.21: the reference rule on every path"),
    Row("uint8", _FLOAT, _FIXED, "", f"{_SOURCE}; optimized_ops.h (ResizeNearestNeighbor)"),
    Row("int16", _FLOAT, _FLOAT, "", _SOURCE),
    Row("float32", _FLOAT, _FLOAT, "", _SOURCE),
    Row("int32", _FLOAT, _FLOAT, "", _SOURCE, "litert only: any type of 8, 16 or 32 bits"),
)  # fmt: skip

TENSORFLOW = ("float32", "uint8", "int8", "int16")
HALF = np.float32(0.5)


def real(call: Call) -> tuple[np.ndarray, ...]:
    """The values at the nearest points, moved as they are: any type of 8, 16 or 32 bits (E59)."""
    x, (height, width) = call.x(0), (int(n) for n in call.x(1))
    if x.ndim != 4 or height < 1 or width < 1:
        raise RuntimeRefuses(f"RESIZE_NEAREST_NEIGHBOR: input {x.shape} to {height} x {width}")
    taken = call.profile.litert or x.dtype.name in TENSORFLOW
    if x.dtype.itemsize not in (1, 2, 4) or not taken:
        raise RuntimeRefuses(f"RESIZE_NEAREST_NEIGHBOR: {x.dtype} has no kernel in this runtime")
    rows, columns = _nearest(call, x.shape[1], height), _nearest(call, x.shape[2], width)
    note("rows", rows, "E59")
    note("columns", columns, "E59")
    return (x[:, rows][:, :, columns],)


def _nearest(call: Call, size: int, wanted: int) -> np.ndarray:
    """Positions in the input, int64 (E59)."""
    align = bool(call.option("align_corners", False))
    half_pixel = bool(call.option("half_pixel_centers", False))
    at = np.arange(wanted)
    x = call.x(0)
    eight = x.dtype == np.uint8 or (x.dtype.itemsize == 1 and call.profile.litert)
    if eight and not (call.profile.is_reference or align or half_pixel):
        return np.minimum((at * ((size << 16) // wanted + 1)) >> 16, size - 1)
    less = 1 if align and wanted > 1 else 0
    scale = np.float32(size - less) / np.float32(wanted - less)
    point = (at.astype(np.float32) + (HALF if half_pixel else np.float32(0))) * scale
    found = half_away(point) if align else np.floor(point)
    return np.clip(found.astype(np.int64), 0, size - 1)


reference = fast = real


def lower(call: Call, to: Lowering) -> None:
    """Compiled: a list of copies."""
    from kernels.simd import movement
    from kernels.simd.operands import filled
    from kernels.simd.program import NotLowered

    if call[1].data is None:
        raise NotLowered("RESIZE_NEAREST_NEIGHBOR: the size is known at run time only")
    known = filled(call)
    (shape,) = (y.shape for y in reference(known))
    rows, columns = (_nearest(known, call[0].shape[i], shape[i]) for i in (1, 2))
    to.check(0, shape, call[0].held.itemsize)
    numbers = movement.numbered(call).x(0)
    movement.copies(to, 0, numbers[:, rows][:, :, columns].reshape(-1))
