"""STRIDED_SLICE: y = x[begin : end : strides], with the masks of the options.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/strided_slice.cc.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kernels.call import Call
from kernels.errors import RuntimeRefuses
from kernels.ops import _move
from kernels.ops._move import moves
from kernels.opspec import Operand, OpSpec, Role, Tie
from kernels.opversion import Special, option, rank_above

if TYPE_CHECKING:
    from kernels.simd.program import Lowering

SPEC = OpSpec(
    name="STRIDED_SLICE",
    inputs=(
        Operand("input"),
        Operand("begin", Role.INDEX),
        Operand("end", Role.INDEX),
        Operand("strides", Role.INDEX),
    ),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 2, "int16": 1, "uint8": 1},
    legacy_version=2,
    special=(
        Special(8, "offset", option("offset")),
        Special(6, "ellipsis_mask or new_axis_mask", option("ellipsis_mask", "new_axis_mask")),
        Special(4, "more than 4 axes", rank_above(4)),
    ),
)

NUMERICS = _move.rows(
    "copies (E65, E68)",
    "strided_slice.cc, internal/strided_slice_logic.h; XNNPACK subgraph/static-slice.c",
    xnnpack=("int8", "uint8", "plain"),
    note="an ellipsis stands for at least one axis, where TensorFlow's may stand for none; "
    "XNNPACK takes an end of 0 as the end of the axis",
)


@dataclass(frozen=True)
class Cut:
    """What is taken of one axis of the input with its new axes: start, start + stride, ..., before
    stop. shrink: the axis is left out of the result."""

    length: int
    start: int
    stop: int
    stride: int
    shrink: bool

    @property
    def count(self) -> int:
        return 1 if self.shrink else max(0, -(-(self.stop - self.start) // self.stride))


@moves
def real(call: Call) -> tuple[np.ndarray, ...]:
    """x[begin : end : strides], clipped to the axes (E68)."""
    x = call.x()
    offset = call.option("offset", False)
    if offset and not (call[2].constant and len(call[2].shape) == 1 and call.x(2).size == x.ndim):
        raise RuntimeRefuses(
            "STRIDED_SLICE: with `offset` the runtime reads `end` for every axis before it is "
            "computed, and crashes; give a constant as long as the input has axes"
        )
    found = cuts(call)
    for axis, cut in enumerate(found):
        if cut.shrink and not (0 <= cut.start < cut.length and cut.stride > 0):
            raise call.refuse(
                f"shrink_axis_mask on axis {axis} with index {cut.start} of {cut.length} or a "
                "negative stride: the runtime leaves the output unwritten; mend the index"
            )
    taken = x.reshape([cut.length for cut in found])
    for axis, cut in enumerate(found):
        taken = np.take(taken, cut.start + cut.stride * np.arange(cut.count), axis)
    return (taken.reshape([cut.count for cut in found if not cut.shrink]),)


reference = fast = real


def cuts(call: Call) -> list[Cut]:
    """One for each axis of the input, new axes among them (E68)."""
    begin, end, strides = (_move.numbers(call, p) for p in (1, 2, 3))
    given, shape = len(begin), call.x().shape

    def mask(name: str) -> Callable[[int], bool]:
        bits = int(call.option(name, 0))
        return lambda i: 0 <= i < 32 and bool(bits >> i & 1)

    ellipsis, new, shrink, low, high = (
        mask(f"{name}_mask") for name in ("ellipsis", "new_axis", "shrink_axis", "begin", "end")
    )
    rank = len(shape) + sum(new(i) and not ellipsis(i) for i in range(given))
    # XNNPACK has no masks, and 0 stands for a masked end there.
    open_zero = call.profile.is_xnnpack and delegated(call) and not call.option("offset", False)
    found: list[Cut] = []
    axis = entry = 0  # in the input; in begin, end and strides
    while len(found) < rank:
        if entry < given and ellipsis(entry):
            for _ in range(max(1, min(rank - given + 1, rank - len(found)))):
                found.append(Cut(shape[axis], 0, shape[axis], 1, False))
                axis += 1
        elif entry < given and new(entry):
            found.append(Cut(1, 0, 1, 1, False))
        elif entry >= given:
            found.append(Cut(shape[axis], 0, shape[axis], 1, False))
            axis += 1
        else:
            n, stride = shape[axis], strides[entry]
            if stride == 0:
                raise IndexError("a stride of 0")
            start = edge(begin[entry], n, stride)
            if low(entry):
                start = 0 if stride > 0 else n - 1
            stop = edge(end[entry] + (start if call.option("offset", False) else 0), n, stride)
            if open_zero and end[entry] == 0:
                stop = n
            if high(entry):
                stop = n if stride > 0 else -1
            found.append(Cut(n, start, stop, stride, shrink(entry)))
            axis += 1
        entry += 1
    return found


def edge(position: int, n: int, stride: int) -> int:
    """begin or end inside an axis of n: negative counts from the end, then clipped (E68)."""
    position += n if position < 0 else 0
    return min(max(position, 0), n) if stride > 0 else min(max(position, -1), n - 1)


def lower(call: Call, to: Lowering) -> None:
    """Compiled: a list of copies."""
    from kernels.simd import movement

    movement.lower(to, reference)


def delegated(call: Call) -> bool:
    """Whether XNNPACK takes the call: steps of 1, no axis made or dropped."""
    masks = ("ellipsis_mask", "new_axis_mask", "shrink_axis_mask")
    return (
        not any(call.option(name, 0) for name in masks)
        and all(call[p].constant for p in (1, 2, 3))
        and all(call[p].shape == (len(call[0].shape),) for p in (1, 2, 3))
        and all(n == 1 for n in _move.numbers(call, 3))
        and _move.movable(call[0], call.output)
    )
