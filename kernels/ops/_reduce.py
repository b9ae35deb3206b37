"""What the reductions share: the axes, the shape that remains, and sums along them.

An array is folded to (outer, n, inner): n the elements that meet in one output, in row-major order
of the input; the outputs in their own order are outer x inner. Source: LiteRT kernels/reduce.cc.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from kernels import delegate, trace
from kernels import fixedpoint as fp
from kernels.call import Call
from kernels.errors import RuntimeRefuses
from kernels.jit import jit
from kernels.rounding import half_away, half_even

XNNPACK_RANK = 6  # XNN_MAX_TENSOR_DIMS, also the most axes it takes


def axes(call: Call) -> tuple[int, ...]:
    """The axes to reduce, each once, from 0, in order; none of a scalar, whatever it asks for."""
    rank, found = call.x(0).ndim, set()
    for axis in call.x(1).ravel().tolist() if rank else ():
        if not -rank <= axis < rank:
            raise RuntimeRefuses(f"{call.name}: axis {axis} of a tensor of rank {rank}")
        found.add(axis % rank)
    return tuple(sorted(found))


def shape(call: Call) -> tuple[int, ...]:
    """The shape of the output."""
    along, keep = axes(call), bool(call.option("keep_dims", False))
    sizes = enumerate(call.x(0).shape)
    return tuple(1 if i in along else n for i, n in sizes if keep or i not in along)


def fold(x: np.ndarray, along: Sequence[int]) -> np.ndarray:
    """x as (outer, n, inner), contiguous; a copy only where kept axes lie between reduced ones."""
    last = along[-1] + 1 if along else 0
    before = [i for i in range(last) if i not in along]
    n = math.prod(x.shape[i] for i in along)
    inner = math.prod(x.shape[last:])
    outer = math.prod(x.shape[i] for i in before)
    turned = x.transpose(*before, *along, *range(last, x.ndim))
    return np.ascontiguousarray(turned.reshape(outer, n, inner))


def folded(call: Call) -> np.ndarray:
    """The input of a call, folded. Raises NoKernel where an output would have no element."""
    x = fold(call.x(0), axes(call))
    if x.shape[1] == 0:
        raise call.refuse("an axis of length 0 is reduced; give it elements")
    return x


def same_parameters(call: Call) -> None:
    """Raises RuntimeRefuses where scale or zero point of input and output differ."""
    x, y = call[0], call.output
    if x.s != y.s or x.z != y.z:
        raise RuntimeRefuses(f"{call.name}: input and output must share scale and zero point")


def prepared(call: Call) -> None:
    """Raises RuntimeRefuses for what the quantized kernels do not prepare: int16 tensors with a
    zero point; on XNNPACK a scale that is zero or subnormal, a rank outside 1 to 6, and in
    tensorflow 2.21 an axis listed twice.
    Raises NoKernel where input and output differ in type."""
    rank = call.x(0).ndim
    if call[0].dtype != call.output.dtype:
        raise call.refuse(f"the output is {call.output.dtype}; give both the same type")
    if call.profile.is_xnnpack:
        if not (delegate.normal(call[0]) and delegate.normal(call.output)):
            raise RuntimeRefuses(f"{call.name}: XNNPACK stops at a scale that is not normal")
        if not 1 <= rank <= XNNPACK_RANK:
            raise RuntimeRefuses(f"{call.name}: XNNPACK takes rank {rank} and cannot prepare it")
        if len(axes(call)) < call.x(1).size and not call.profile.litert:
            raise RuntimeRefuses(f"{call.name}: XNNPACK stops at an axis listed twice")
    if call[0].dtype == "int16" and (call[0].z or call.output.z):
        raise RuntimeRefuses(f"{call.name}: int16 tensors must have zero point 0")


def delegated(call: Call) -> bool:
    """Whether XNNPACK takes a MEAN, SUM, REDUCE_MAX or REDUCE_MIN."""
    axis = call[1]
    if not axis.constant:
        return False
    if not call[0].shape and call.profile.litert and axis.x.ravel().tolist() == [0]:
        return False
    return (
        delegate.per_tensor(call[0], call.output)
        and call[0].dtype == call.output.dtype
        and axis.dtype == "int32"
        and axis.x.ndim <= 1
        and 1 <= axis.x.size <= XNNPACK_RANK
    )


def sums(x: np.ndarray) -> np.ndarray:
    """(outer, n, inner) integers -> (outer, inner) sums in int64, wrapped to 32 bits (E60)."""
    total = fp.wrap32(x.sum(axis=1, dtype=np.int64))
    trace.note("sum", total, "E60")
    return total


def fast_sums(x: np.ndarray) -> np.ndarray:
    """`sums`, jitted."""
    total = np.zeros((x.shape[0], x.shape[2]), np.int32)
    if x.shape[2] == 1:
        _sum_rows(x[..., 0], total[:, 0])
    else:
        _sum_columns(x, total)
    return total.astype(np.int64)


def ordered_sums(x: np.ndarray) -> np.ndarray:
    """(outer, n, inner) float32 -> (outer, inner) float64, one element after another."""
    total = np.zeros((x.shape[0], x.shape[2]), np.float64)
    _ordered(x, total)
    return total


def affine_float(
    total: np.ndarray, scale: np.float32, bias: np.float32, zero_point: int, call: Call
) -> np.ndarray:
    """Sums times a float32 scale plus a float32 bias, rounded; then the zero point (E62).

    XNNPACK has the zero point inside `bias`. Rounding: half away, but half even in the XNNPACK of
    ai-edge-litert 2.3. A value beyond int32 becomes its lowest number, as on x86.
    """
    value = total.astype(np.float32) * scale + bias
    trace.note("value", value, "E62")
    rounding = half_even if call.profile.is_xnnpack and call.profile.litert else half_away
    if call.profile.is_xnnpack:
        q = call.output.range
        value = np.clip(value, np.float32(q.qmin), np.float32(q.qmax))
    value = rounding(value)
    outside = ~(np.abs(value) < np.float32(2.0**31))
    steps = np.where(outside, fp.INT32_MIN, np.where(outside, 0, value).astype(np.int64))
    return fp.wrap32(steps + zero_point)


def xnnpack(call: Call, total: np.ndarray, factor: np.float32, count: int) -> np.ndarray:
    """Sums of `count` elements each, by XNNPACK: factor 1 for SUM, 1/count for MEAN (E62)."""
    x, y = call[0], call.output
    scale = np.float32(np.float32(x.s / y.s) * factor)
    bias = np.float32(np.float32(y.z) - np.float32(np.float32(fp.wrap32(count * x.z)) * scale))
    return finished(call, affine_float(total, scale, bias, 0, call))


def finished(call: Call, steps: np.ndarray) -> np.ndarray:
    """Output steps, zero point included, clipped to the type and shaped."""
    q = call.output.range
    out = np.clip(steps, q.qmin, q.qmax).astype(q.dtype).reshape(shape(call))
    trace.note("output", out)
    return out


def fast_extremes(x: np.ndarray, largest: bool) -> np.ndarray:
    """(outer, n, inner) -> (outer, inner) largest or smallest integers, jitted."""
    out = np.empty((x.shape[0], x.shape[2]), x.dtype)
    if x.shape[2] == 1:
        _extreme_rows(x[..., 0], largest, out[:, 0])
    else:
        _extreme_columns(x, largest, out)
    return out


def one_axis(call: Call) -> int:
    """The axis of ARG_MAX, ARG_MIN and CUMSUM, from 0. Raises RuntimeRefuses outside the rank."""
    axis, rank = int(call.x(1).ravel()[0]), call.x(0).ndim
    if not -rank <= axis < rank:
        raise RuntimeRefuses(f"{call.name}: axis {axis} of a tensor of rank {rank}")
    return axis % rank


def index_type(call: Call) -> np.dtype:
    """Type of the indices of ARG_MAX and ARG_MIN: the option's, int32 or int64."""
    wanted = call.option("output_type", None)
    return np.dtype({2: "int32", 4: "int64"}.get(wanted, call.output.dtype))


def indexable(call: Call) -> None:
    """Raises RuntimeRefuses for a type without ARG_MAX and ARG_MIN."""
    if call[0].dtype == "int16":
        raise RuntimeRefuses(f"{call.name}: neither runtime takes int16; use int8")


def fast_first(call: Call, largest: bool) -> np.ndarray:
    """Index of the first largest or smallest integer along the axis, jitted."""
    axis, shape = one_axis(call), call.x(0).shape
    x = fold(call.x(0), (axis,))
    out = np.empty((x.shape[0], x.shape[2]), index_type(call))
    if x.shape[2] == 1:
        _first_rows(x[..., 0], largest, out[:, 0])
    else:
        _first_columns(x, largest, np.empty(x.shape[2], x.dtype), out)
    return out.reshape(shape[:axis] + shape[axis + 1 :])


@jit
def _ordered(x, out):
    for row in range(x.shape[0]):
        for i in range(x.shape[1]):
            for c in range(x.shape[2]):
                out[row, c] += np.float64(x[row, i, c])


@jit
def _sum_rows(x, out):
    for row in range(x.shape[0]):
        total = np.int32(0)
        for i in range(x.shape[1]):
            total = np.int32(total + np.int32(x[row, i]))
        out[row] = total


@jit
def _sum_columns(x, out):
    for row in range(x.shape[0]):
        for i in range(x.shape[1]):
            for c in range(x.shape[2]):
                out[row, c] = np.int32(out[row, c] + np.int32(x[row, i, c]))


@jit
def _extreme_rows(x, largest, out):
    for row in range(x.shape[0]):
        found = x[row, 0]
        if largest:
            for i in range(x.shape[1]):
                found = max(found, x[row, i])
        else:
            for i in range(x.shape[1]):
                found = min(found, x[row, i])
        out[row] = found


@jit
def _extreme_columns(x, largest, out):
    for row in range(x.shape[0]):
        out[row, :] = x[row, 0, :]
        for i in range(1, x.shape[1]):
            if largest:
                for c in range(x.shape[2]):
                    out[row, c] = max(out[row, c], x[row, i, c])
            else:
                for c in range(x.shape[2]):
                    out[row, c] = min(out[row, c], x[row, i, c])


@jit
def _first_rows(x, largest, out):
    for row in range(x.shape[0]):
        found = x[row, 0]
        if largest:
            for i in range(x.shape[1]):
                found = max(found, x[row, i])
        else:
            for i in range(x.shape[1]):
                found = min(found, x[row, i])
        place = 0
        while x[row, place] != found:
            place += 1
        out[row] = place


@jit
def _first_columns(x, largest, found, out):
    for row in range(x.shape[0]):
        found[:] = x[row, 0, :]
        out[row, :] = 0
        for i in range(1, x.shape[1]):
            for c in range(x.shape[2]):
                value = x[row, i, c]
                if (value > found[c]) if largest else (value < found[c]):
                    found[c] = value
                    out[row, c] = i
