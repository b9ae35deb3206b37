"""AVERAGE_POOL_2D, MAX_POOL_2D and MEAN as steps of a program."""

from __future__ import annotations

import math

import numpy as np

from kernels import activation
from kernels import fixedpoint as fp
from kernels.call import Call
from kernels.ops import _pool, _reduce, mean
from kernels.simd import epilogue, pool
from kernels.simd.operands import bits32, eight, filled
from kernels.simd.program import Lowering, NotLowered, Parameter

CHANNELS = 256  # of one unit of work
MOST_UNITS = 1 << 20


def pooled(to: Lowering, kernel: str) -> None:
    """AVERAGE_POOL_2D (kernel "average") and MAX_POOL_2D ("max")."""
    call = filled(to.call)
    eight(to.call)
    if call[0].dtype != call.output.dtype:
        raise NotLowered(f"{call.name}: {call[0].dtype} to {call.output.dtype}")
    w = _pool.window(call)
    _, _, width, channels = call[0].shape
    to.check(0, _pool.shape(call, w))
    if w.kernel[0] * w.kernel[1] >= pool.WINDOW:
        raise NotLowered(f"{call.name}: a window of {w.kernel}")
    _run(
        to, kernel, *inside(call, w), channels, width * channels, channels, call.output.z,
        *activation.clamp(call),
    )  # fmt: skip


def inside(call: Call, w: _pool.Window) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where each window starts in the image, its rows and its columns there."""
    batch, height, width, channels = call[0].shape
    spans = []
    for side in (0, 1):
        first = np.arange(w.out[side]) * w.stride[side] - w.before[side]
        last = np.minimum(first + w.kernel[side], w.size[side])
        first = np.maximum(first, 0)
        spans.append((first, last - first))
    (top, rows), (left, columns) = spans
    if min(rows.min(initial=1), columns.min(initial=1)) < 1:
        raise NotLowered(f"{call.name}: a window beside the image")
    image = np.arange(batch)[:, None, None] * height
    source = ((image + top[:, None]) * width + left) * channels
    shape = source.shape
    high, wide = (np.broadcast_to(v, shape).reshape(-1) for v in (rows[:, None], columns))
    return source.reshape(-1), high, wide


def _run(
    to: Lowering, kernel: str, source: np.ndarray, rows: np.ndarray, columns: np.ndarray,
    channels: int, row_bytes: int, column_bytes: int, *rest: Parameter,
) -> None:  # fmt: skip
    """Add a kernel of 8 bits. rest: from the zero point on."""
    table = table_of(to.call, source, rows, columns, channels)
    sign = "u" if to.call[0].dtype == "uint8" else "s"
    given = [*rest, *[0] * (7 - len(rest))]
    to.run(
        f"pool_{kernel}_{sign}", len(table), to.x(0), to.y(), to.constant(table), row_bytes,
        column_bytes, *given,
    )  # fmt: skip


def table_of(
    call: Call, source: np.ndarray, rows: np.ndarray, columns: np.ndarray, channels: int
) -> np.ndarray:
    """A unit for each window and each piece of its channels."""
    first = np.arange(0, channels, CHANNELS)
    if source.size * first.size > MOST_UNITS:
        raise NotLowered(f"{call.name}: {source.size} windows of {channels} channels")
    to_ = np.arange(source.size)[:, None] * channels + first
    columns_ = (
        source[:, None] + first, to_, rows[:, None], columns[:, None],
        np.minimum(channels - first, CHANNELS), first,
    )  # fmt: skip
    return np.stack(np.broadcast_arrays(*columns_), -1).reshape(-1, 6).astype(np.int64)


def mean_of(to: Lowering) -> None:
    """MEAN by the rule of the path (E60-E62)."""
    call = filled(to.call)
    eight(to.call.on(inputs=to.call.inputs[:1]))
    x, y = call[0], call.output
    _reduce.prepared(call)
    to.check(0, _reduce.shape(call))
    source, rows, columns, channels, row_bytes, column_bytes = walk(x.shape, _reduce.axes(call))
    count = rows * columns
    if count * 256 >= 2**31 or count == 0:
        raise NotLowered(f"MEAN of {count} elements")
    limits = y.range.qmin, y.range.qmax
    parameters: tuple[Parameter, ...]
    if call.profile.is_xnnpack:
        scale = np.float32(np.float32(x.s / y.s) * (np.float32(1) / np.float32(count)))
        offset = np.float32(np.float32(fp.wrap32(count * x.z)) * scale)
        bias = np.float32(np.float32(y.z) - offset)
        kind = "even" if call.profile.litert else "away"
        if not (np.isfinite(scale) and np.isfinite(bias)):
            raise NotLowered("MEAN: factors that are not finite")
        parameters = 0, *limits, bits32(scale), bits32(bias), 0, 0
    else:
        kind, parameters = "fixed", _fixed(to, call, count, channels, limits)
    if column_bytes == 1 and channels == 1 and rows == 1:
        kind = f"rows{kind}"
    _run(
        to, kind, source, np.full(source.size, rows), np.full(source.size, columns), channels,
        row_bytes, column_bytes, *parameters,
    )  # fmt: skip


def _fixed(
    to: Lowering, call: Call, count: int, channels: int, limits: tuple[int, int]
) -> tuple[Parameter, ...]:
    """Parameters from the zero point on: E60, or E61 over height and width."""
    x, y = call[0], call.output
    up = np.zeros(channels, bool)
    if not call.profile.is_reference and mean._over_height_and_width(call):
        zero_point, factor = mean.over_image(call, count)
        multiplier, shift = fp.quantize_multiplier(factor)
        less = 0
        up = np.arange(channels) < channels // mean.LANES * mean.LANES
    else:
        multiplier, shift, less = *mean.by_count(call, count), x.z * count
        zero_point = y.z
    largest = (count * 256 + abs(less)) << max(int(shift), 0)
    if largest >= epilogue.LIMIT or abs(zero_point) >= 2**30 or -int(shift) > 31:
        raise NotLowered("MEAN: sums may leave the range of the compiled code")
    given = epilogue.fixed(np.asarray(multiplier), np.asarray(shift), up, channels, to.target.lanes)
    return zero_point, *limits, 0, 0, to.constant(given), less


def walk(
    shape: tuple[int, ...], axes: tuple[int, ...]
) -> tuple[np.ndarray, int, int, int, int, int]:
    """Where each sum starts, its rows and columns, channels beside one another, and the distances
    of rows and of columns in elements."""
    strides = [math.prod(shape[i + 1 :]) for i in range(len(shape))]
    groups: list[list[int]] = []
    for axis in axes:
        if shape[axis] == 1:
            continue
        # Axes of length 1 between two reduced ones do not part them.
        if groups and strides[axis] * shape[axis] == strides[groups[-1][-1]]:
            groups[-1].append(axis)
        else:
            groups.append([axis])
    if len(groups) > 2:
        raise NotLowered(f"MEAN over axes {axes} of {shape}")
    spans = [(math.prod(shape[i] for i in g), strides[g[-1]]) for g in groups]
    spans = [(1, 0)] * (2 - len(spans)) + spans
    last = max((i for g in groups for i in g), default=-1)
    kept = [i for i in range(last + 1) if i not in axes]
    source = np.zeros((1,), np.int64)
    for i in kept:
        source = (source[:, None] + np.arange(shape[i]) * strides[i]).reshape(-1)
    channels = math.prod(shape[last + 1 :])
    (rows, row_bytes), (columns, column_bytes) = spans
    return source, rows, columns, channels, row_bytes, column_bytes


def bilinear(to: Lowering) -> None:
    """RESIZE_BILINEAR in integers."""
    from kernels.ops import resize_bilinear as op

    call = filled(to.call)
    exact = call.profile.is_xnnpack
    eight(call.on(inputs=call.inputs[:1]))
    if to.call[1].data is None:
        raise NotLowered("RESIZE_BILINEAR: the size is known at run time only")
    if call[0].dtype == "uint8" and not exact:
        raise NotLowered("RESIZE_BILINEAR: uint8 is computed in float32 there")
    op._check(call)
    rows, columns = op._axes(call, op.eleventh_axis if exact else op.tenth_axis)
    op._inside(call, rows, columns)
    batch, height, width, depth = call[0].shape
    to.check(0, (batch, rows.low.size, columns.low.size, depth))
    image = np.arange(batch)[:, None] * height
    lines = [((image + at) * width * depth).reshape(-1) for at in (rows.low, rows.high)]
    table = np.stack([*lines, np.tile(rows.weight, batch)], -1)
    pixels = np.stack([columns.low * depth, columns.high * depth, columns.weight], -1)
    sign = "u" if call[0].dtype == "uint8" else "s"
    to.run(
        f"resize_{'eleventh' if exact else 'tenth'}_{sign}", len(table), to.x(0), to.y(),
        to.constant(table.astype(np.int64)), to.constant(pixels.astype(np.int64)),
        columns.low.size, depth,
    )  # fmt: skip
