"""CONV_2D, DEPTHWISE_CONV_2D, TRANSPOSE_CONV, one output at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction

from tests import oracle as o
from tests.oracle.hybrid import ROWS
from tests.oracle.stage import BOUNDS, stage
from tests.oracle.task import Answer, Operand, Task, flat, indices, oracle

# What one output adds up: index in the input, index in the filter.
Pairs = Callable[[tuple[int, ...]], Iterator[tuple[tuple[int, ...], tuple[int, ...]]]]


def windows(task: Task, space: tuple[int, ...], kernel: tuple[int, ...]):
    """For height and width: (stride, dilation, padding in front, number of windows)."""
    found = []
    for n, k, axis in zip(space, kernel, "hw", strict=True):
        stride = int(task.option(f"stride_{axis}", 1))
        dilation = int(task.option(f"dilation_{axis}_factor", 1))
        span = dilation * (k - 1) + 1
        if int(task.option("padding")) == 0:
            count = (n + stride - 1) // stride
        else:
            count = (n - span) // stride + 1
        lacking = (count - 1) * stride + span - n
        found.append((stride, dilation, max(lacking, 0) // 2, count))
    return found


def sees_padding_only(task: Task, space: tuple[int, ...], kernel: tuple[int, ...]) -> bool:
    """XNNPACK in TensorFlow 2.21 computes the padding of SAME as an unsigned difference."""
    if (task.path, task.runtime) != ("xnnpack", "tensorflow") or int(task.option("padding")):
        return False
    if kernel == (1, 1):
        return False
    return any(
        (count - 1) * stride + dilation * (k - 1) + 1 < n
        for (stride, dilation, _, count), k, n in zip(
            windows(task, space, kernel), kernel, space, strict=True
        )
    )


@oracle("CONV_2D")
def conv_2d(task: Task) -> list[Answer]:
    x, w = task.x(0), task.x(1)
    units, height, width, depth = w.shape
    space, kernel = x.shape[1:3], (height, width)
    (sh, dh, top, rows), (sw, dw, left, columns) = windows(task, space, kernel)
    groups = x.shape[3] // depth
    nothing = sees_padding_only(task, space, kernel)

    def pairs(at: tuple[int, ...]):
        n, y, z, unit = at
        group = unit * groups // units
        for i in range(height):
            for j in range(width):
                row, column = y * sh - top + i * dh, z * sw - left + j * dw
                if nothing or not (0 <= row < space[0] and 0 <= column < space[1]):
                    continue
                for k in range(depth):
                    yield (n, row, column, group * depth + k), (unit, i, j, k)

    shape = (x.shape[0], rows, columns, units)
    if x.dtype == "float32":
        assert w.scales is not None
        if task.path == "xnnpack":
            pixels = kernel == (1, 1) and (sh, sw) == (1, 1) and groups == 1
            return reals(task, 0, 1, 2, shape, pairs, "qd8", "fused", pixels and units + depth > 2)
        if groups == 1 and len(set(w.scales)) == 1:
            return reals(task, 0, 1, 2, shape, pairs, "symmetric", "product")
        plain = task.path == "reference" or groups > 1
        order = "channel first" if plain else "product"
        return reals(task, 0, 1, 2, shape, pairs, "asymmetric", order)
    simd = task.path == "optimized" and groups == 1
    return integers(task, 0, 1, 2, shape, pairs, "UP" if simd else "DBL")


@oracle("DEPTHWISE_CONV_2D")
def depthwise_conv_2d(task: Task) -> list[Answer]:
    x, w = task.x(0), task.x(1)
    _, height, width, units = w.shape
    space, kernel = x.shape[1:3], (height, width)
    (sh, dh, top, rows), (sw, dw, left, columns) = windows(task, space, kernel)
    multiplier = units // x.shape[3]
    nothing = sees_padding_only(task, space, kernel)

    def pairs(at: tuple[int, ...]):
        n, y, z, unit = at
        for i in range(height):
            for j in range(width):
                row, column = y * sh - top + i * dh, z * sw - left + j * dw
                if not nothing and 0 <= row < space[0] and 0 <= column < space[1]:
                    yield (n, row, column, unit // multiplier), (0, i, j, unit)

    shape = (x.shape[0], rows, columns, units)
    if x.dtype == "float32":
        order = "product" if task.path == "reference" else "groups of 4"
        return reals(task, 0, 1, 2, shape, pairs, "asymmetric", order)
    simd = task.path == "optimized" and x.dtype == "int8"
    return integers(task, 0, 1, 2, shape, pairs, "MIX8" if simd else "DBL")


@oracle("TRANSPOSE_CONV")
def transpose_conv(task: Task) -> list[Answer]:
    w, x = task.x(1), task.x(2)
    _, height, width, depth = w.shape
    sizes = task.x(0).values
    assert sizes is not None
    shape = tuple(int(n) for n in sizes)
    (sh, _, top, _), (sw, _, left, _) = windows(task, shape[1:3], (height, width))

    def pairs(at: tuple[int, ...]):
        n, y, z, unit = at
        for row in range(x.shape[1]):
            for column in range(x.shape[2]):
                i, j = y + top - row * sh, z + left - column * sw
                if 0 <= i < height and 0 <= j < width:
                    for k in range(depth):
                        yield (n, row, column, k), (unit, i, j, k)

    if x.dtype == "float32":
        if task.path == "xnnpack":
            return reals(task, 2, 1, 3, shape, pairs, "qd8", "fused")
        return reals(task, 2, 1, 3, shape, pairs, "asymmetric", "one by one")
    rule = "DBL"
    if task.path == "optimized":
        rule = "MIX16" if x.dtype == "uint8" else "MIX8"
    return integers(task, 2, 1, 3, shape, pairs, rule)


def scale_of(w: Operand, unit: int) -> Fraction:
    assert w.scales is not None
    return w.scales[unit if len(w.scales) > 1 else 0]


def integers(
    task: Task, at_x: int, at_w: int, at_b: int, shape: tuple[int, ...], pairs: Pairs, rule: str
) -> list[Answer]:
    """rule: of the path, where it is not XNNPACK and sums are not 64-bit."""
    x, w, y = task.x(at_x), task.x(at_w), task.y
    wide = x.dtype == "int16" and int(task.option("quantized_bias_type")) != 2
    rule = {True: "M64", False: rule}[wide] if task.path != "xnnpack" else "XF"
    shift = w.zero_point if w.dtype == "uint8" else 0
    length = shape[1] * shape[2] * shape[0] * shape[3]
    found = []
    for position, at in enumerate(indices(shape)):
        unit = at[3]
        total = 0
        if task.has(at_b):
            biases = task.x(at_b).values
            assert biases is not None
            total = biases[unit]
        for i, j in pairs(at):
            total += (x.at(*i) - x.zero_point) * (w.at(*j) - shift)
        if task.path == "xnnpack":
            factor = o.f32(o.f32(x.scale * scale_of(w, unit)) / y.scale)
        elif x.dtype == "uint8":
            factor = o.f64(o.f32(x.scale * w.scale) / y.scale)
        else:
            factor = o.f64(o.f64(x.scale * scale_of(w, unit)) / y.scale)
        place = (position, length) if rule == "MIX16" else (unit, shape[3])
        found.append(stage(task, rule, total if wide else o.wrap(total, 32), factor, y, *place))
    return [(shape, found)]


def reals(
    task: Task,
    at_x: int,
    at_w: int,
    at_b: int,
    shape: tuple[int, ...],
    pairs: Pairs,
    rows: str,
    order: str,
    pixels: bool = False,
) -> list[Answer]:
    """rows: how the input becomes integers.  order: how sums meet the scales."""
    x, w = task.x(at_x), task.x(at_w)
    assert x.values is not None
    size = x.shape[3] if pixels else len(x.values) // x.shape[0]
    lines = [ROWS[rows](x.values[i : i + size]) for i in range(0, len(x.values), size)]
    lo, hi = BOUNDS[int(task.option("fused_activation_function"))]
    found = []
    for at in indices(shape):
        unit = at[3]
        per_channel = scale_of(w, unit)
        line = lines[flat(at[:3], shape[:3]) if pixels else at[0]]
        scale = line[1]

        def step(i: tuple[int, ...], j: tuple[int, ...], line=line) -> int:
            return (line[0][flat(i, x.shape) % size] - line[2]) * w.at(*j)

        bias = task.x(at_b).values[unit] if task.has(at_b) else Fraction(0)  # type: ignore[index]
        if order == "one by one":
            total = Fraction(0)
            for i, j in pairs(at):
                one = o.f32(o.f32(o.f32(Fraction(step(i, j))) * per_channel) * scale)
                total = o.f32(total + one)
            y = o.f32(total + bias)
        else:
            acc = o.f32(Fraction(o.wrap(sum(step(i, j) for i, j in pairs(at)), 32)))
            if order == "fused":
                y = o.f32(o.f32(acc * scale) * per_channel + bias)
            elif order == "product":
                y = o.f32(o.f32(acc * o.f32(per_channel * scale)) + bias)
            elif order == "channel first" or unit < shape[3] // 4 * 4:
                y = o.f32(o.f32(o.f32(acc * per_channel) * scale) + bias)
            else:
                y = o.f32(o.f32(o.f32(acc * scale) * per_channel) + bias)
        found.append(min(max(y, lo), hi))
    return [(shape, found)]
