"""BATCH_MATMUL as steps of a program: the right side is packed, then the matrix kernel runs."""

from __future__ import annotations

import math

import numpy as np

from kernels.ops import batch_matmul as op
from kernels.simd import epilogue, gemm
from kernels.simd.copy import GATHERED
from kernels.simd.operands import filled
from kernels.simd.program import Lowering, NotLowered, Place

MATRICES = 256
BLOCK = 168  # rows of the left side that pass a panel together


def product(to: Lowering) -> None:
    """BATCH_MATMUL, int8 to int8, one scale on each side."""
    call, target = filled(to.call), to.target
    if not call[0].dtype == call[1].dtype == call.output.dtype == "int8":
        raise NotLowered("BATCH_MATMUL: compiled for int8 only")
    if call[1].per_channel:
        raise NotLowered("BATCH_MATMUL: compiled for one scale on the right side")
    op._check(call)
    x, w = op._rows(call, call.x(0)), op._units(call, call.x(1))
    (rows, depth), units = x.shape[-2:], w.shape[-2]
    shape = (*np.broadcast_shapes(x.shape[:-2], w.shape[:-2]), rows, units)
    to.check(0, shape)
    at_x, at_w = op._batches(x, shape), op._batches(w, shape)
    if not 0 < len(at_x) <= MATRICES or 0 in (*shape, depth):
        raise NotLowered(f"BATCH_MATMUL: {len(at_x)} matrices; {MATRICES} at most")
    stage = op.stage(call)
    if epilogue.kind_of(stage) is None or depth * 255 * 383 >= epilogue.LIMIT:
        raise NotLowered("BATCH_MATMUL: sums may leave the range of the compiled code")
    x_zero, w_zero = op._zero_points(call)
    # sum (x - z_x)(w - z_w): the zero point of w is further segments, each a constant weight.
    further = [-w_zero] if -127 <= w_zero else [64, 64]
    further = [value for value in further if value]
    template = np.zeros((units, 1 + len(further), depth), np.int8)
    for i, value in enumerate(further):
        template[:, 1 + i] = value
    left = _left(to, call)
    matrices = math.prod(w.shape[:-2])
    offsets = to.constant(np.arange(rows, dtype=np.int64) * depth)
    segments = to.constant(np.zeros(1 + len(further), np.int64))
    order = "t" if call.option("adj_y", False) else "n"
    for p in gemm.pack(
        target, template, np.zeros(units, np.int64), x_zero, stage, rows, plain=True
    ):
        width = int(p.kernel.split("x")[1].split("_")[0])
        size = p.panel_bytes * p.count
        panels = to.scratch(matrices * size)
        matrix, panel = np.meshgrid(np.arange(matrices), np.arange(p.count), indexing="ij")
        table = np.stack(
            [
                matrix * units * depth, p.first + panel * width * target.lanes,
                matrix * size + panel * p.panel_bytes, panel * p.panel_bytes,
            ],
            -1,
        ).reshape(-1, 4)  # fmt: skip
        to.run(
            f"matmul_{width}_{order}", len(table), to.x(1), panels, to.constant(p.panels),
            to.constant(table.astype(np.int64)), p.panel_bytes, depth, units, p.steps,
            x_zero + target.flip,
        )  # fmt: skip
        for i, (a, b) in enumerate(zip(at_x.tolist(), at_w.tolist())):
            to.run(
                p.kernel, -(-rows // p.height), left + a * rows * depth,
                to.y() + (i * rows * units + p.first), panels + b * size, offsets, segments,
                1 + len(further), p.steps, p.panel_bytes, p.count, rows, units, p.channels,
                max(1, BLOCK // p.height), to.flip, *epilogue.limits(stage),
            )  # fmt: skip


def _left(to: Lowering, call: op.Call) -> Place:
    """The left side with its rows contiguous."""
    if not call.option("adj_x", False):
        return to.x(0)
    shape = call[0].shape
    count = math.prod(shape)
    order = np.arange(count, dtype=np.int32).reshape(shape).swapaxes(-1, -2).reshape(-1)
    turned = to.scratch(count)
    to.run(
        "copy_gather1", -(-count // GATHERED), to.x(0), turned, to.constant(order), count
    )  # fmt: skip
    return turned
