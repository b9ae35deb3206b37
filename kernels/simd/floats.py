"""Operators in which nothing is quantized, as steps of a program (real.py).

Those that stand between quantized operators of a hybrid model: sums of short filters, two operands
element by element, clamps, pools. Long filters are NumPy's, which sums them in an order of its own.
"""

from __future__ import annotations

import math

import numpy as np

from kernels import activation
from kernels.call import Call
from kernels.ops import _binary, _conv, _pool, _reduce
from kernels.simd import convolution, operands, real, windows
from kernels.simd.operands import bits32, filled
from kernels.simd.program import Lowering, NotLowered, Place


def plain(call: Call, *positions: int) -> None:
    """Raises NotLowered unless these operands and the output are float32 and not quantized."""
    tensors = [*(call[p] for p in positions if call.has(p)), call.output]
    if any(t.dtype != "float32" or t.quantized for t in tensors):
        kinds = ", ".join(t.dtype for t in tensors)
        raise NotLowered(f"{call.name}: compiled for 8 bits and for float32, not {kinds}")


def conv(to: Lowering, window: _conv.Window, w: np.ndarray) -> None:
    """CONV_2D, w (O, KH, KW, C), one group."""
    call = to.call
    batch, height, width, channels = call[0].shape
    to.check(0, (batch, *window.out, len(w)), 4)
    _short(call, w)
    tall, wide = convolution.bordered(window, height, width)
    x = _widened(to, window, (batch, height, width, channels), tall, wide)
    rows = convolution.pixel_offsets(batch, window, tall, wide, channels)
    segments, filters = convolution.segmented(window, w, wide)
    _sums(to, filters, x, rows * 8, segments * 8)


def matrix(to: Lowering, w: np.ndarray) -> None:
    """FULLY_CONNECTED, w (N, K)."""
    call = to.call
    units, depth = w.shape
    count = math.prod(call[0].shape) // depth
    kept = call.option("keep_num_dims", False)
    to.check(0, (*call[0].shape[:-1], units) if kept else (count, units), 4)
    _short(call, w)
    window = _conv.Window((1, 1), (1, 1), (1, 1), (0, 0), (1, count))
    x = _widened(to, window, (1, 1, count, depth), 1, count)
    _sums(to, w[:, None, :], x, np.arange(count) * depth * 8, np.zeros(1))


def depthwise(to: Lowering, window: _conv.Window, w: np.ndarray) -> None:
    """DEPTHWISE_CONV_2D, w (KH, KW, C), one filter a channel."""
    call = to.call
    batch, height, width, channels = call[0].shape
    to.check(0, (batch, *window.out, channels), 4)
    _finite(call, w, batch * math.prod(window.out))
    x, (tall, wide) = to.x(0), convolution.bordered(window, height, width)
    if (tall, wide) != (height, width):
        x = to.scratch(batch * tall * wide * channels * 4)
        above, left = window.before
        to.run(
            "copy_pad", batch * tall, to.x(0), x, height, width * channels * 4, above,
            left * channels * 4, (wide - width - left) * channels * 4, 0, tall,
        )  # fmt: skip
    half = real.lanes(to.target)
    vectors = min(-(-channels // half), 4)
    block = half * vectors
    count = -(-channels // block)
    parts = np.concatenate([_bias(call, channels)[None], w.reshape(-1, channels)])
    full = np.zeros((len(parts), count * block), np.float64)
    full[:, :channels] = parts
    packed = full.reshape(len(parts), count, block).swapaxes(0, 1)
    ky, kx = np.divmod(np.arange(len(parts) - 1), w.shape[1])
    taps = (ky * window.dilation[0] * wide + kx * window.dilation[1]) * channels * 4
    image, line = np.ix_(np.arange(batch), np.arange(window.out[0]))
    lines = (image * tall + line * window.stride[0]).reshape(-1) * wide * channels * 4
    to.run(
        f"real_depthwise_{vectors}", len(lines), x, to.y(), to.constant(packed),
        to.constant(taps.astype(np.int64)), len(taps), packed[0].nbytes, count,
        to.constant(lines.astype(np.int64)), window.out[1], window.stride[1] * channels * 4,
        channels, *_ends(call),
    )  # fmt: skip


def two(to: Lowering, op: str) -> None:
    """ADD, SUB and MUL (op "add", "sub", "mul")."""
    call = to.call
    plain(call, 0, 1)
    to.check(0, _binary.shape(call), 4)
    walk = _binary.runs(call[0].shape, call[1].shape)
    if walk.a.size > operands.MOST_UNITS:
        raise NotLowered(f"{call.name}: broadcast in {walk.a.size} runs")
    steps = "".join("v" if step else "s" for step in (walk.a_step, walk.b_step))
    table = operands._units(walk, 1)
    low, high = _binary.limits(call, np.dtype(np.float32))
    to.run(
        f"real_{op}_{steps}", len(table), to.x(0), to.x(1), to.y(), to.constant(table),
        bits32(low), bits32(high),
    )  # fmt: skip


def clamp(to: Lowering, low: float, high: float) -> None:
    """RELU and its like."""
    call = to.call
    plain(call, 0)
    to.check(0, call[0].shape, 4)
    count = math.prod(call[0].shape)
    to.run(
        "real_clamp", -(-count // real.PIECE), to.x(0), to.y(), count, bits32(low), bits32(high)
    )  # fmt: skip


def pooled(to: Lowering, kernel: str) -> None:
    """AVERAGE_POOL_2D (kernel "average") and MAX_POOL_2D ("max")."""
    plain(to.call, 0)
    call = filled(to.call)
    w = _pool.window(call)
    to.check(0, _pool.shape(call, w), 4)
    _, _, width, channels = call[0].shape
    table = windows.table_of(call, *windows.inside(call, w), channels)
    to.run(
        f"real_pool_{kernel}", len(table), to.x(0), to.y(), to.constant(table),
        width * channels * 4, channels * 4, *_ends(call),
    )  # fmt: skip


def mean(to: Lowering) -> None:
    """MEAN along any axes whose elements lie in rows and columns."""
    plain(to.call, 0)
    if to.call[1].data is None:
        raise NotLowered("MEAN: the axes are known at run time only")
    call = filled(to.call)
    to.check(0, _reduce.shape(call), 4)
    x = call[0].shape
    if 0 in x:
        raise NotLowered("MEAN: of nothing")
    source, rows, columns, channels, row, column = windows.walk(x, _reduce.axes(call))
    count = np.full(source.size, rows), np.full(source.size, columns)
    table = windows.table_of(call, source, *count, channels)
    to.run(
        "real_pool_average", len(table), to.x(0), to.y(), to.constant(table), row * 4, column * 4,
        bits32(-math.inf), bits32(math.inf),
    )  # fmt: skip


def softmax(to: Lowering) -> None:
    """SOFTMAX over the last axis."""
    call = to.call
    plain(call, 0)
    shape = call[0].shape
    to.check(0, shape, 4)
    if not shape or 0 in shape:
        raise NotLowered("SOFTMAX: of nothing")
    to.run(
        "real_softmax", math.prod(shape[:-1]), to.x(0), to.y(), shape[-1],
        bits32(call.option("beta", 1.0)),
    )  # fmt: skip


def _ends(call: Call) -> tuple[int, int]:
    """The fused activation as bits of float32."""
    if activation.fused(call) not in activation.BOUNDS:
        raise NotLowered(f"{call.name}: an activation that is no clamp")
    low, high = activation.bounds(call)
    return bits32(low), bits32(high)


def _bias(call: Call, units: int) -> np.ndarray:
    """(units,) float64."""
    return call[2].real().reshape(units).astype(np.float64) if call.has(2) else np.zeros(units)


def _finite(call: Call, w: np.ndarray, outputs: int) -> None:
    plain(call, 0, 1, 2)
    if not np.isfinite(w).all():
        raise NotLowered(f"{call.name}: weights that are not finite")
    if not outputs * w.size:
        raise NotLowered(f"{call.name}: nothing to compute")


def _short(call: Call, w: np.ndarray) -> None:
    _finite(call, w, math.prod(call[0].shape))
    if not _conv.short(w):
        raise NotLowered(f"{call.name}: {w.size} weights, whose products NumPy sums")


def _widened(
    to: Lowering, window: _conv.Window, shape: tuple[int, ...], tall: int, wide: int
) -> Place:
    """The input (batch, height, width, channels) in float64, with the border of the window."""
    batch, height, width, channels = shape
    above, left = window.before
    x = to.scratch(batch * tall * wide * channels * 8)
    to.run(
        "real_widen", batch * tall, to.x(0), x, height, width * channels, above, left * channels,
        (wide - width - left) * channels, tall,
    )  # fmt: skip
    return x


def _sums(
    to: Lowering, w: np.ndarray, x: Place, row_offsets: np.ndarray, segment_offsets: np.ndarray
) -> None:
    """w (N, segments, K): y[m] = act(sum of segments of row m + bias), offsets in bytes."""
    units, segments, depth = w.shape
    rows = len(row_offsets)
    height, width = real.shape(to.target, units, rows)
    block = real.lanes(to.target) * width
    count = -(-units // block)
    full = np.zeros((count * block, segments * depth + 1), np.float64)
    full[:units, :-1] = w.reshape(units, -1)
    full[:units, -1] = _bias(to.call, units)
    panels = full.reshape(count, block, -1).swapaxes(1, 2)
    to.run(
        f"real_conv_{height}x{width}", -(-rows // height), x, to.y(), to.constant(panels),
        to.constant(row_offsets.astype(np.int64)), to.constant(segment_offsets.astype(np.int64)),
        segments, depth, panels[0].nbytes, count, rows, units * 4, units, *_ends(to.call),
    )  # fmt: skip
