"""Convolutions and dense layers of float activations and integer weights, as steps of a program.

The input becomes int8 rows, an image or a pixel or a row each (quantize.py), on which the matrix
and the depthwise kernel sum as they do for int8 models; their output stage makes float32. Which
rule quantizes and in which order the scales meet a sum is said in the operators' files.
"""

from __future__ import annotations

import math

import numpy as np

from kernels import activation, hybrid
from kernels.ops import _conv
from kernels.ops import _fully_connected_hybrid as fully_connected
from kernels.ops import _products as products
from kernels.simd import convolution, gemm
from kernels.simd import depthwise as depthwise_kernel
from kernels.simd.convolution import BLOCK
from kernels.simd.epilogue import Floats
from kernels.simd.operands import bits32
from kernels.simd.program import Lowering, NotLowered, Place
from kernels.simd.quantize import PIECE, RECORD

RULES = {
    hybrid.ASYMMETRIC: "asymmetric", hybrid.SYMMETRIC: "symmetric", hybrid.QD8: "qd8",
}  # fmt: skip
ORDERS = {
    _conv.CHANNEL_FIRST: "channel", _conv.PRODUCT: "product", _conv.ROW_FIRST: "row",
    _conv.FUSED: "fused", _conv.MIX4: "mix",
}  # fmt: skip
LAST = {products.LITERT: "product", products.XNNPACK: "fused", products.XNNPACK_PLAIN: "row"}


def conv(
    to: Lowering, window: _conv.Window, w: np.ndarray, rule: int, by_pixel: bool, scaling: int
) -> None:
    """w (O, KH, KW, C): CONV_2D without groups."""
    call, units = to.call, w.shape[0]
    batch, height, width, channels = call[0].shape
    stage = _stage(to, w.reshape(units, -1).T, scaling)
    to.check(0, (batch, *window.out, units), 4)
    if 0 in (*call[0].shape, *window.out):
        raise NotLowered(f"{call.name}: nothing to compute")
    if by_pixel:
        count = batch * height * width
        q, records = _rows(to, rule, count, channels)
        _dense(
            to, stage, w.reshape(units, 1, channels), q, to.y(), np.arange(count) * channels,
            np.zeros(1), records, RECORD,
        )  # fmt: skip
        return
    q, records, tall, wide = _images(to, rule, window)
    segments, filters = convolution.segmented(window, w, wide)
    rows = convolution.pixel_offsets(1, window, tall, wide, channels)
    for b in range(batch):
        _dense(
            to, stage, filters, q + b * tall * wide * channels, to.y() + b * len(rows) * units * 4,
            rows, segments, records + b * RECORD, 0,
        )  # fmt: skip


def depthwise(to: Lowering, window: _conv.Window, w: np.ndarray, scaling: int) -> None:
    """w (KH, KW, C): DEPTHWISE_CONV_2D with one output channel for each input channel."""
    call = to.call
    batch, channels = call[0].shape[0], call[0].shape[3]
    stage = _stage(to, w.reshape(-1, channels), scaling)
    to.check(0, (batch, *window.out, channels), 4)
    if 0 in (*call[0].shape, *window.out):
        raise NotLowered(f"{call.name}: nothing to compute")
    q, records, tall, wide = _images(to, hybrid.ASYMMETRIC, window)
    sx = window.stride[1]
    packed = depthwise_kernel.pack(
        to.target, w, np.zeros(channels, np.int64), 0, stage, sx, window.dilation[1]
    )
    blocks = to.constant(packed.blocks)
    taps = to.constant(convolution.tap_offsets(to, window, packed, wide, channels))
    lines = np.arange(window.out[0], dtype=np.int64) * window.stride[0] * wide * channels
    at_lines, ends = to.constant(lines), (bits32(stage.low), bits32(stage.high))
    for b in range(batch):
        to.run(
            packed.kernel, len(lines), q + b * tall * wide * channels,
            to.y() + b * math.prod(window.out) * channels * 4, blocks, at_lines, taps,
            packed.groups, packed.block_bytes, packed.count, window.out[1], sx * channels,
            channels, to.flip, records + b * RECORD, *ends,
        )  # fmt: skip


def matrix(to: Lowering) -> None:
    """FULLY_CONNECTED: the input is rows of K."""
    call = to.call
    if fully_connected.route(call) != fully_connected.ROWS:
        raise NotLowered(f"{call.name}: a kernel of its own for packed or blockwise weights")
    w = call.x(1).view(np.int8)
    units, depth = w.shape
    if 0 in w.shape or activation.fused(call) not in activation.BOUNDS:
        raise NotLowered(f"{call.name}: no weights, or an activation that is no clamp")
    count = math.prod(call[0].shape) // depth
    kept = call.option("keep_num_dims", False)
    to.check(0, (*call[0].shape[:-1], units) if kept else (count, units), 4)
    how = fully_connected._how(call)
    low, high = map(np.float32, activation.bounds(call))
    stage = Floats(
        LAST[how], products.weight_sums(how, w), fully_connected._scales(call, w),
        fully_connected._bias(call, units), low, high,
    )  # fmt: skip
    wrong = hybrid.wrong_blocks(w) if how == products.LITERT else 0
    q, records = _rows(to, fully_connected._rule(call), count, depth, twice=wrong > 0)
    filters, segments = w[:, None, :], np.zeros(1)
    if wrong:
        # A weight of -128 makes -128 |q| there: 64 twice, beside the rows of -|q| (E35).
        spoilt = w == -128
        spoilt[:, wrong:] = False
        signed = np.where(spoilt, np.int8(0), w)
        magnitude = np.where(spoilt, np.int8(64), np.int8(0))
        filters = np.stack([signed, magnitude, magnitude], axis=1)
        segments = np.array([0, 1, 1]) * count * depth
    _dense(to, stage, filters, q, to.y(), np.arange(count) * depth, segments, records, RECORD)


def _stage(to: Lowering, w: np.ndarray, scaling: int) -> Floats:
    """The output stage of a convolution; w (taps, N)."""
    call, at = to.call, _conv.At(0, 1, 2)
    if call[1].dtype not in ("int8", "int4") or call[1].zero_points.any():
        raise NotLowered(f"{call.name}: compiled for signed weights about 0")
    units = w.shape[1]
    return Floats(
        ORDERS[scaling], w.sum(0, dtype=np.int64), _conv.channel_scales(call, at, units),
        _conv.float_bias(call, at, units), *_conv.float_bounds(call),
    )  # fmt: skip


def _dense(
    to: Lowering, stage: Floats, w: np.ndarray, q: Place, y: Place, row_offsets: np.ndarray,
    segment_offsets: np.ndarray, records: Place, record_bytes: int,
) -> None:  # fmt: skip
    """w (N, segments, K): y[m] = stage(sum of segments of row m), float32, rows contiguous."""
    rows, units = len(row_offsets), w.shape[0]
    at_rows = to.constant(row_offsets.astype(np.int64))
    at_segments = to.constant(segment_offsets.astype(np.int64))
    for p in gemm.pack(to.target, w, np.zeros(units, np.int64), 0, stage, rows):
        to.run(
            p.kernel, -(-rows // p.height), q, y + p.first * 4, to.constant(p.panels), at_rows,
            at_segments, len(segment_offsets), p.steps, p.panel_bytes, p.count, rows, units * 4,
            p.channels, max(1, BLOCK // p.height), to.flip, records, bits32(stage.low),
            bits32(stage.high), record_bytes,
        )  # fmt: skip


def _rows(
    to: Lowering, rule: int, count: int, length: int, twice: bool = False
) -> tuple[Place, Place]:
    """int8 rows of the input, and their records. twice: behind them once more, as -|q|."""
    size = count * length
    q, records = to.scratch(size * (1 + twice)), to.scratch(count * RECORD)
    to.run(f"quantize_rows_{RULES[rule]}", count, to.x(0), q, records, length)
    if twice:
        to.run("quantize_minus", -(-size // PIECE), q, q + size, size)
    return q, records


def _images(to: Lowering, rule: int, window: _conv.Window) -> tuple[Place, Place, int, int]:
    """int8 images of the input with the border that the window needs, their records, height and
    width."""
    batch, height, width, channels = to.call[0].shape
    tall, wide = convolution.bordered(window, height, width)
    above, left = window.before
    length = height * width * channels
    pieces = -(-length // PIECE)
    ranges, records = to.scratch(batch * pieces * 8), to.scratch(batch * RECORD)
    q = to.scratch(batch * tall * wide * channels)
    to.run("quantize_range", batch * pieces, to.x(0), ranges, length, pieces)
    to.run(f"quantize_scale_{RULES[rule]}", batch, ranges, records, pieces)
    to.run(
        f"quantize_lines_{RULES[rule]}", batch * tall, to.x(0), q, records, height,
        width * channels, above, left * channels, (wide - width - left) * channels, tall,
    )  # fmt: skip
    return q, records, tall, wide
