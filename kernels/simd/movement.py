"""Operators that only move elements, as steps of a program.

Nothing is known here about an operator: its own `reference` is run on the numbers of the elements
instead of their values, which tells where each element of the outputs comes from.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from kernels import ops
from kernels.call import Call, Tensor
from kernels.opspec import Role
from kernels.simd.copy import ELEMENTS, GATHERED
from kernels.simd.program import Lowering, NotLowered, Place

SOURCE = 1 << 40  # element i of input p is number (p + 1) * SOURCE + i; smaller ones are values
LONG = 16  # bytes from which a run is copied as a run
FIXED = (16, 32, 64)
NARROW = 8  # rows and columns from which a matrix is turned in blocks
MOST = 1 << 24  # elements of an output


def lower(to: Lowering, reference: Callable[[Call], tuple[np.ndarray, ...]]) -> None:
    """Add the copies that make the outputs of an operator that only moves."""
    moved = reference(numbered(to.call))
    for output, found in enumerate(moved):
        to.check(output, found.shape, _itemsize(to.call))
        copies(to, output, found.reshape(-1))


def numbered(call: Call) -> Call:
    """The call with element numbers for values; indices must be known."""
    spec = ops.find(call.name)
    inputs: list[Tensor | None] = []
    for position, t in enumerate(call.inputs):
        if t is None:
            inputs.append(t)
            continue
        operand = None if spec is None else spec.operand(position)
        if operand is not None and operand.role is Role.INDEX:
            if t.data is None:
                raise NotLowered(f"{call.name}: where elements go is known at run time only")
            inputs.append(t)
            continue
        count = math.prod(t.shape)
        if count > MOST:
            raise NotLowered(f"{call.name}: {count} elements; {MOST} at most")
        numbers = np.arange(count, dtype=np.int64) + (position + 1) * SOURCE
        inputs.append(replace(t, data=numbers.reshape(t.shape)))
    return call.on(inputs=tuple(inputs))


def _itemsize(call: Call) -> int:
    return call.output.held.itemsize


def alias(to: Lowering) -> None:
    """RESHAPE and its like: the same bytes; a copy where the bytes are a constant."""
    if to.inputs[0] is None:
        raise NotLowered(f"{to.call.name} of a constant")
    (found,) = ops.module(to.call.name).reference(numbered(to.call))  # type: ignore[union-attr]
    to.check(0, found.shape, _itemsize(to.call))
    to.alias()


def copies(to: Lowering, output: int, numbers: np.ndarray) -> None:
    """y[i] = element numbers[i] of its input, or that value."""
    held = to.call.outputs[output].held
    if numbers.size > MOST:
        raise NotLowered(f"{to.call.name}: {numbers.size} elements; {MOST} at most")
    sources = np.maximum(numbers // SOURCE, 0)  # a value may be negative
    for source in np.unique(sources).tolist():
        there = np.flatnonzero(sources == source)
        if source > 0:
            x, found = to.x(source - 1), numbers[there] % SOURCE
        else:  # values: runs of one constant
            x, found = None, numbers[there]
            if len(np.unique(found)) > 1:
                raise NotLowered(f"{to.call.name}: several values beside elements")
        _from(to, x, found, there, to.y(output), held, numbers.size)


def _from(
    to: Lowering, x: Place | None, found: np.ndarray, there: np.ndarray, y: Place,
    held: np.dtype, size: int,
) -> None:  # fmt: skip
    """y[there[i]] = x[found[i]]; x None: = found[0]."""
    width = held.itemsize
    breaks = np.diff(there) != 1
    if x is not None:
        breaks |= np.diff(found) != 1
    starts = np.flatnonzero(np.concatenate([[True], breaks]))
    lengths = np.diff(np.append(starts, len(there)))
    run = int(np.gcd.reduce(lengths))
    if x is None:
        x = to.constant(np.full(run, found[0]).astype(held))
        found = np.arange(len(there)) % run
    elif run * width < LONG and len(there) == size:
        turned = matrices(found) if width == 1 else None
        if turned is not None:
            _turn(to, x, y, *turned)
        else:
            _gather(to, x, found, y, run, width)
        return
    first = np.arange(0, len(there), run)
    bytes_ = run * width
    table = np.stack([found[first], there[first]], -1).astype(np.int64) * width
    pieces = bytes_
    while pieces > 1 << 16 and pieces % 2 == 0:  # a long run is work for several threads
        pieces //= 2
    if pieces != bytes_:
        inside = np.arange(0, bytes_, pieces)[None, :, None]
        table = (table[:, None, :] + inside).reshape(-1, 2)
    special = pieces in FIXED or pieces in ELEMENTS
    to.run(f"copy_runs{pieces if special else ''}", len(table), x, y, to.constant(table), pieces)


def _gather(to: Lowering, x: Place, found: np.ndarray, y: Place, run: int, width: int) -> None:
    """Short runs from anywhere to one place after another."""
    unit = math.gcd(run * width, 8)
    offsets = found[:: max(unit // width, 1)] * width if unit >= width else None
    assert offsets is not None
    if offsets.max(initial=0) >= 2**31:
        raise NotLowered("offsets beyond 2 GB")
    to.run(
        f"copy_gather{unit}", -(-len(offsets) // GATHERED), x, y,
        to.constant(offsets.astype(np.int32)), len(offsets),
    )  # fmt: skip


def matrices(found: np.ndarray) -> tuple[np.ndarray, int, int, int] | None:
    """Where matrices start, their rows, columns and distance of rows, if the elements are those of
    matrices one after another, each turned; None if they are not."""
    if found.size < 2 * NARROW:
        return None
    stride = int(found[1] - found[0])
    rows = _while(found, stride)
    columns = _while(found[::rows], 1)
    if stride < columns or min(rows, columns) < NARROW or found.size % (rows * columns):
        return None
    starts = found[:: rows * columns]
    inside = np.arange(columns)[:, None] + np.arange(rows) * stride
    same = found.reshape(-1, columns, rows) == starts[:, None, None] + inside
    return (starts, rows, columns, stride) if same.all() else None


def _while(values: np.ndarray, step: int) -> int:
    """How many of the first values go on in this step."""
    broken = np.flatnonzero(np.diff(values) != step)
    return int(broken[0]) + 1 if broken.size else len(values)


def _turn(
    to: Lowering, x: Place, y: Place, starts: np.ndarray, rows: int, columns: int, stride: int
) -> None:
    first = np.arange(0, columns, 16)
    out = np.arange(len(starts))[:, None] * rows * columns + first * rows
    parts = starts[:, None] + first, out, np.minimum(columns - first, 16)
    table = np.stack(np.broadcast_arrays(*parts), -1).reshape(-1, 3).astype(np.int64)
    to.run("copy_turn", len(table), x, y, to.constant(table), rows, stride)
