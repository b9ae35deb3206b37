"""Reductions, ARG_MAX, ARG_MIN, TOPK_V2, CUMSUM and pools, element by element."""

from __future__ import annotations

import math
from fractions import Fraction

from tests import oracle as o
from tests.oracle.stage import clamp
from tests.oracle.task import Answer, Operand, Task, count, flat, indices, oracle


def groups(task: Task) -> tuple[tuple[int, ...], list[list[int]]]:
    """Shape of the output, and for each of its elements the input values that meet there."""
    x, listed = task.x(0), task.x(1).values
    rank = len(x.shape)
    along = {axis % rank for axis in listed} if rank else set()
    kept = tuple(1 if a in along else n for a, n in enumerate(x.shape))
    found: list[list[int]] = [[] for _ in range(count(kept))]
    for index in indices(x.shape):
        place = tuple(0 if a in along else i for a, i in enumerate(index))
        found[flat(place, kept)].append(x.at(*index))
    keep = task.option("keep_dims", False)
    return tuple(n for a, n in enumerate(kept) if keep or a not in along), found


def clipped(y: Operand, steps: int) -> int:
    return o.clip(steps, y.qmin, y.qmax)


def in_float32(task: Task, total: int, scale: Fraction, bias: Fraction) -> Fraction:
    """f32(f32(f32(total) scale) + bias)."""
    return o.f32(o.f32(o.f32(Fraction(total)) * scale) + bias)


def xnnpack(task: Task, total: int, n: int, part: Fraction) -> int:
    x, y = task.x(0), task.y
    scale = o.f32(o.f32(x.scale / y.scale) * part)
    shift = o.f32(o.f32(Fraction(n * x.zero_point)) * scale)
    value = in_float32(task, total, scale, o.f32(y.zero_point - shift))
    rounding = o.half_even if task.runtime == "litert" else o.half_away
    return clipped(y, rounding(value))


@oracle("MEAN")
def mean(task: Task) -> list[Answer]:
    x, y = task.x(0), task.y
    shape, found = groups(task)
    axes = task.x(1).values
    rank = len(x.shape)
    channels = x.shape[-1] if rank else 1
    special = (
        task.path == "optimized"
        and x.bits == 8
        and rank == 4
        and bool(task.option("keep_dims", False))
        and {a % 4 for a in axes} == {1, 2}
        and (task.runtime == "litert" or axes in ([1, 2], [2, 1]))
    )

    def one(position: int, values: list[int]) -> int:
        total, n = sum(values), len(values)
        if task.path == "xnnpack":
            return xnnpack(task, total, n, o.f32(Fraction(1, n)))
        if special:
            shift = o.f32(o.f32(x.zero_point * x.scale) / y.scale)
            nudged = o.f32(shift + (Fraction(1, 2) if shift > 0 else Fraction(-1, 2)))
            factor = o.f32(x.scale / o.f32(n * y.scale))
            in_groups = position % channels < channels // 16 * 16
            multiply = o.multiply_up if in_groups else o.multiply_double
            steps = multiply(total, *o.quantize_multiplier(factor))
            return clipped(y, steps + y.zero_point - math.trunc(nudged))
        multiplier, shift = o.quantize_multiplier(o.f64(x.scale / y.scale))
        left = min(n.bit_length() - 1, 32, 31 + shift)
        steps = o.multiply_double(
            o.wrap(total - n * x.zero_point, 32), multiplier * 2**left // n, shift - left
        )
        return clipped(y, steps + y.zero_point)

    return [(shape, [one(i, values) for i, values in enumerate(found)])]


@oracle("SUM")
def sum_(task: Task) -> list[Answer]:
    x, y = task.x(0), task.y
    shape, found = groups(task)
    ratio = o.f32(x.scale / y.scale)

    def one(values: list[int]) -> int:
        n = len(values)
        if task.path == "xnnpack":
            return xnnpack(task, sum(values), n, Fraction(1))
        if task.path == "reference":  # int8 is read and written as bytes
            total = sum(v % 256 for v in values) - n * x.zero_point
            factor = o.quantize_multiplier(o.f64(x.scale / y.scale))
            byte = o.clip(o.multiply_double(total, *factor) + y.zero_point, 0, 255)
            return byte if y.qmin == 0 else o.wrap(byte, 8)
        bias = o.f32(o.f32(-x.zero_point * ratio) * n)
        return clipped(y, o.half_away(in_float32(task, sum(values), ratio, bias)) + y.zero_point)

    return [(shape, [one(values) for values in found])]


@oracle("REDUCE_MAX")
def reduce_max(task: Task) -> list[Answer]:
    shape, found = groups(task)
    return [(shape, [sorted(values)[-1] for values in found])]


@oracle("REDUCE_MIN")
def reduce_min(task: Task) -> list[Answer]:
    shape, found = groups(task)
    return [(shape, [sorted(values)[0] for values in found])]


@oracle("REDUCE_ANY")
def reduce_any(task: Task) -> list[Answer]:
    shape, found = groups(task)
    return [(shape, [True in values for values in found])]


@oracle("REDUCE_ALL")
def reduce_all(task: Task) -> list[Answer]:
    shape, found = groups(task)
    return [(shape, [False not in values for values in found])]


@oracle("REDUCE_PROD")
def reduce_prod(task: Task) -> list[Answer]:
    x, y = task.x(0), task.y
    shape, found = groups(task)

    def one(values: list[int]) -> int:
        root = Fraction(math.pow(float(y.scale), 1.0 / len(values)))
        factor = o.quantize_multiplier(o.f64(x.scale / root))
        product = values[0] - x.zero_point
        for value in values[1:]:
            product = o.multiply_int64(product * (value - x.zero_point), *factor)
        return clipped(y, o.multiply_int64(product, *factor) + y.zero_point)

    return [(shape, [one(values) for values in found])]


def place(task: Task, better: int) -> list[Answer]:
    """Index of the first value that no other beats; better: 1 for larger, -1 for smaller."""
    x = task.x(0)
    (axis,) = task.x(1).values
    axis %= len(x.shape)
    shape = x.shape[:axis] + x.shape[axis + 1 :]
    values = []
    for index in indices(shape):
        line = [better * x.at(*index[:axis], i, *index[axis:]) for i in range(x.shape[axis])]
        values.append(line.index(max(line)))
    return [(shape, values)]


@oracle("ARG_MAX")
def arg_max(task: Task) -> list[Answer]:
    return place(task, 1)


@oracle("ARG_MIN")
def arg_min(task: Task) -> list[Answer]:
    return place(task, -1)


@oracle("TOPK_V2")
def topk_v2(task: Task) -> list[Answer]:
    x = task.x(0)
    (k,) = task.x(1).values
    shape = (*x.shape[:-1], k)
    values, places = [], []
    for index in indices(x.shape[:-1]):
        row = sorted((-x.at(*index, i), i) for i in range(x.shape[-1]))[:k]
        values += [-value for value, _ in row]
        places += [i for _, i in row]
    return [(shape, values), (shape, places)]


@oracle("CUMSUM")
def cumsum(task: Task) -> list[Answer]:
    x = task.x(0)
    (axis,) = task.x(1).values
    axis %= len(x.shape)
    step = -1 if task.option("reverse", False) else 1
    values = []
    for index in indices(x.shape):
        line = [x.at(*index[:axis], i, *index[axis + 1 :]) for i in range(x.shape[axis])][::step]
        here = index[axis] if step > 0 else x.shape[axis] - 1 - index[axis]
        total = Fraction(0) if x.dtype == "float32" else 0
        for value in line[: here + (0 if task.option("exclusive", False) else 1)]:
            total = o.f32(total + value) if x.dtype == "float32" else o.wrap(total + value, 32)
        values.append(total)
    return [(x.shape, values)]


def pooled(task: Task) -> tuple[tuple[int, ...], list[list[int]]]:
    """Shape of the output, and for each of its elements the values that its window sees."""
    x = task.x(0)
    batch, *pixels, channels = x.shape
    kernel = (task.option("filter_height"), task.option("filter_width"))
    stride = (task.option("stride_h"), task.option("stride_w"))
    out, before = [], []
    for n, k, step in zip(pixels, kernel, stride, strict=True):
        if task.option("padding") == 0:
            out.append(math.ceil(Fraction(n, step)))
            before.append(max(0, (out[-1] - 1) * step + k - n) // 2)
        else:
            out.append((n - k) // step + 1)
            before.append(0)
    shape = (batch, *out, channels)
    found = []
    for b, oy, ox, c in indices(shape):
        rows, columns = (
            [p for p in range(o_ * step - first, o_ * step - first + k) if 0 <= p < n]
            for o_, step, first, k, n in zip((oy, ox), stride, before, kernel, pixels, strict=True)
        )
        found.append([x.at(b, row, column, c) for row in rows for column in columns])
    return shape, found


@oracle("AVERAGE_POOL_2D")
def average_pool_2d(task: Task) -> list[Answer]:
    shape, found = pooled(task)
    ends = clamp(task, task.y)
    means = [o.half_away(Fraction(sum(values), len(values))) for values in found]
    return [(shape, [o.clip(mean, *ends) for mean in means])]


@oracle("MAX_POOL_2D")
def max_pool_2d(task: Task) -> list[Answer]:
    x, y = task.x(0), task.y
    shape, found = pooled(task)
    ends = clamp(task, y)
    if task.path != "xnnpack" or (x.scale, x.zero_point) == (y.scale, y.zero_point):
        return [(shape, [o.clip(max(values), *ends) for values in found])]
    lo, hi = {0: (-o.INF, o.INF), 1: (0, o.INF), 2: (-1, 1), 3: (0, 6)}[
        int(task.option("fused_activation_function"))
    ]
    rounding = o.half_even if task.runtime == "litert" else o.half_away
    inverse = o.f32(1 / y.scale)
    answers = []
    for (value,) in found:
        value = min(max(o.f32((value - x.zero_point) * x.scale), lo), hi)
        answers.append(clipped(y, rounding(o.f32(o.f32(value * inverse) + y.zero_point))))
    return [(shape, answers)]
