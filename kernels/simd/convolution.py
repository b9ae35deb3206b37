"""Convolutions and dense layers as steps of a program: which kernel reads which bytes."""

from __future__ import annotations

import math

import numpy as np

from kernels.call import Call
from kernels.ops._conv import Window, blind
from kernels.simd import depthwise as depthwise_kernel
from kernels.simd import epilogue, gemm
from kernels.simd.program import Lowering, NotLowered, Place
from kernels.stage import Stage

BLOCK = 168  # rows of activations that stay in the cache while the panels pass


def constant(call: Call, *positions: int) -> None:
    """Raises NotLowered unless these operands are constants: they are packed once."""
    if not all(call[p].constant for p in positions if call.has(p)):
        raise NotLowered(f"{call.name}: weights and bias are computed")


def unblinded(call: Call, window: Window, simple: bool) -> None:
    """Raises NotLowered for what the kernels do not cover. simple: one group, one multiplier."""
    constant(call, 1, 2)
    if not simple:
        raise NotLowered(f"{call.name}: groups or several filters a channel")
    if blind(call, window, call[0].shape[1:3]):
        raise NotLowered(f"{call.name}: the runtime reads only padding (E33)")


def check(to: Lowering, stage: Stage, w: np.ndarray, bias: np.ndarray, zero_point: int) -> None:
    """Raises NotLowered where the kernels are not exact: other types, sums near 32 bits.

    w: int8, output channels last.
    """
    call = to.call
    if call[0].dtype != "int8" or call.output.dtype != "int8" or w.dtype != np.int8:
        raise NotLowered(f"{call.name}: compiled for int8 activations and weights")
    if epilogue.kind_of(stage) is None:
        raise NotLowered(f"{call.name}: no compiled output stage for {stage.rule.name}")
    terms = np.abs(w.astype(np.int64)).reshape(-1, w.shape[-1]).sum(0)
    largest = terms * 255 + np.abs(bias.astype(np.int64))
    if largest.max(initial=0) >= 2**31 or not epilogue.fits(stage, largest):
        raise NotLowered(f"{call.name}: sums may leave the range of the compiled code")


def dense(
    to: Lowering, stage: Stage, w: np.ndarray, bias: np.ndarray, rows: int, x: Place, y: Place,
    row_offsets: np.ndarray, segment_offsets: np.ndarray,
) -> None:  # fmt: skip
    """w (N, segments, K): y[m] = stage(sum of segments of row m), rows of y contiguous."""
    call, target = to.call, to.target
    units = w.shape[0]
    parts = gemm.pack(target, w, bias, call[0].z, stage, rows)
    at_rows = to.constant(row_offsets.astype(np.int64))
    at_segments = to.constant(segment_offsets.astype(np.int64))
    for p in parts:
        to.run(
            p.kernel, -(-rows // p.height), x, y + p.first, to.constant(p.panels), at_rows,
            at_segments, len(segment_offsets), p.steps, p.panel_bytes, p.count, rows, units,
            p.channels, max(1, BLOCK // p.height), to.flip, *epilogue.limits(stage),
        )  # fmt: skip


def matrix(to: Lowering, stage: Stage, w: np.ndarray, w_zero_point: int, bias: np.ndarray) -> None:
    """w (N, K): FULLY_CONNECTED; the input is rows of K."""
    if w_zero_point:
        raise NotLowered(f"{to.call.name}: weights with a zero point")
    check(to, stage, w.T, bias, to.call[0].z)
    units, depth = w.shape
    rows = math.prod(to.call[0].shape) // depth
    kept = to.call.option("keep_num_dims", False)
    to.check(0, (*to.call[0].shape[:-1], units) if kept else (rows, units))
    dense(
        to, stage, w[:, None, :], bias, rows, to.x(0), to.y(), np.arange(rows) * depth,
        np.zeros(1),
    )  # fmt: skip


def conv(to: Lowering, window: Window, stage: Stage, w: np.ndarray, bias: np.ndarray) -> None:
    """w (O, KH, KW, C): CONV_2D without groups."""
    check(to, stage, np.moveaxis(w, 0, -1), bias, to.call[0].z)
    batch, height, width, channels = to.call[0].shape
    to.check(0, (batch, *window.out, w.shape[0]))
    x, height, width = padded(to, window)
    rows = pixel_offsets(batch, window, height, width, channels)
    segments, filters = segmented(window, w, width)
    dense(to, stage, filters, bias, len(rows), x, to.y(), rows, segments)


def segmented(window: Window, w: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Offsets of a window's segments in an image of that width, and the weights (O, KH, KW, C) by
    segment."""
    (dy, dx), (kh, kw), channels = window.dilation, window.kernel, w.shape[3]
    if dx == 1 or kw == 1:
        return np.arange(kh) * dy * width * channels, w.reshape(w.shape[0], kh, kw * channels)
    taps = [(i * dy * width + j * dx) * channels for i in range(kh) for j in range(kw)]
    return np.array(taps), w.reshape(w.shape[0], kh * kw, channels)


def depthwise(to: Lowering, window: Window, stage: Stage, w: np.ndarray, bias: np.ndarray) -> None:
    """w (KH, KW, C): DEPTHWISE_CONV_2D with one output channel for each input channel."""
    check(to, stage, w, bias, to.call[0].z)
    batch, height, width, channels = to.call[0].shape
    to.check(0, (batch, *window.out, channels))
    x, height, width = padded(to, window)
    sx = window.stride[1]
    packed = depthwise_kernel.pack(
        to.target, w, bias, to.call[0].z, stage, sx, window.dilation[1]
    )  # fmt: skip
    taps = tap_offsets(to, window, packed, width, channels)
    lines = [
        (b * height + oy * window.stride[0]) * width * channels
        for b in range(batch) for oy in range(window.out[0])
    ]  # fmt: skip
    to.run(
        packed.kernel, len(lines), x, to.y(), to.constant(packed.blocks),
        to.constant(np.array(lines, np.int64)), to.constant(taps), packed.groups,
        packed.block_bytes, packed.count, window.out[1], sx * channels, channels, to.flip,
        *epilogue.limits(stage),
    )  # fmt: skip


def tap_offsets(
    to: Lowering, window: Window, packed: depthwise_kernel.Packed, width: int, channels: int
) -> np.ndarray:
    """Where the taps of a depthwise kernel lie in an image of that width."""
    # A tap that only fills a group has weight 0 and may be anywhere.
    ky, kx = np.divmod(np.maximum(packed.taps.ravel(), 0), window.kernel[1])
    taps = (ky * window.dilation[0] * width + kx * window.dilation[1]) * channels
    if "columns" in packed.kernel:
        taps = taps[: to.target.group]  # of the first column; the others follow pixel by pixel
    return taps


def padded(to: Lowering, window: Window) -> tuple[Place, int, int]:
    """The image with the border that the window needs, and its height and width: a copy where
    there is a border, else the input itself."""
    batch, height, width, channels = to.call[0].shape
    (above, left) = window.before
    tall, wide = bordered(window, height, width)
    if (tall, wide) == (height, width):
        return to.x(0), height, width
    image = to.scratch(batch * tall * wide * channels)
    to.run(
        "copy_pad", batch * tall, to.x(0), image, height, width * channels, above,
        left * channels, (wide - width - left) * channels, to.call[0].z, tall,
    )  # fmt: skip
    return image, tall, wide


def bordered(window: Window, height: int, width: int) -> tuple[int, int]:
    """Height and width of the image with the border that the window needs."""
    need = [
        (o - 1) * s + (k - 1) * d + 1
        for o, s, k, d in zip(window.out, window.stride, window.kernel, window.dilation)
    ]
    above, left = window.before
    return max(need[0], above + height), max(need[1], left + width)


def pixel_offsets(batch: int, window: Window, height: int, width: int, channels: int) -> np.ndarray:
    """Byte offset of the first tap of every output pixel."""
    b, oy, ox = np.ix_(*map(np.arange, (batch, *window.out)))
    y, x = oy * window.stride[0], ox * window.stride[1]
    return ((b * height + y) * width + x).reshape(-1) * channels
