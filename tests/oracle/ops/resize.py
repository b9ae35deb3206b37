"""RESIZE_BILINEAR and RESIZE_NEAREST_NEIGHBOR, point by point."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

from tests import oracle as o
from tests.oracle.task import Answer, Task, indices, oracle

HALF = Fraction(1, 2)
Point = tuple[int, int, Any]  # the points on both sides, and how far towards the second


def flags(task: Task) -> tuple[bool, bool]:
    return bool(task.option("align_corners")), bool(task.option("half_pixel_centers"))


def span(task: Task, n: int, m: int) -> tuple[int, int]:
    """Input and output length that make the scale."""
    align, _ = flags(task)
    return (n - 1, m - 1) if align and m > 1 else (n, m)


def integer_point(task: Task, i: int, n: int, m: int) -> Point:
    """Weights of 10 bits."""
    a, b = span(task, n, m)
    scale = (1024 * a + b // 2) // b
    at = i * scale + (scale // 2 - 512 if flags(task)[1] else 0)
    low = max(math.trunc(Fraction(at, 1024)), 0)
    return low, min(math.trunc(Fraction(at + 1023, 1024)), n - 1), at - 1024 * low


def xnnpack_point(task: Task, i: int, n: int, m: int) -> Point:
    """Weights of 11 bits."""
    a, b = span(task, n, m)
    align, half_pixel = flags(task)
    scale = o.f32(Fraction(a, b))
    at = o.f32(i * scale)
    if half_pixel and not align:
        at = max(o.f32(at + o.f32(o.f32(scale / 2) - HALF)), Fraction(0))
    at = min(at, Fraction(n - 1))
    low = math.floor(at)
    return low, min(low + 1, n - 1), o.half_even(2048 * o.f32(at - low))


def float_point(task: Task, i: int, n: int, m: int) -> Point:
    a, b = span(task, n, m)
    scale = o.f32(Fraction(a, b))
    at = o.f32(o.f32(o.f32(i + HALF) * scale) - HALF) if flags(task)[1] else o.f32(i * scale)
    low = max(math.floor(at), 0)
    return low, min(math.ceil(at), n - 1), o.f32(at - low)


@oracle("RESIZE_BILINEAR")
def bilinear(task: Task) -> list[Answer]:
    x, (rows, columns) = task.x(), task.x(1).values
    batch, height, width, depth = x.shape
    exact = task.path == "xnnpack"
    floats = x.dtype == "uint8" and not exact
    point = xnnpack_point if exact else float_point if floats else integer_point
    ys = [point(task, i, height, rows) for i in range(rows)]
    xs = [point(task, j, width, columns) for j in range(columns)]
    values = []
    shape = (batch, rows, columns, depth)
    for b, i, j, c in indices(shape):
        (y0, y1, wy), (x0, x1, wx) = ys[i], xs[j]
        corners = [x.at(b, y, x_, c) for y in (y0, y1) for x_ in (x0, x1)]
        if exact:
            top = corners[0] * (2048 - wx) + corners[1] * wx
            bottom = corners[2] * (2048 - wx) + corners[3] * wx
            values.append(o.half_up(Fraction(top * (2048 - wy) + bottom * wy, 2**22)))
        elif floats:
            values.append(in_float(corners, wy, wx, task.path == "reference"))
        else:
            top = corners[0] * (1024 - wx) + corners[1] * wx
            bottom = corners[2] * (1024 - wx) + corners[3] * wx
            values.append(o.half_away(Fraction(top * (1024 - wy) + bottom * wy, 2**20)))
    return [(shape, values)]


def in_float(corners: list[int], wy: Fraction, wx: Fraction, reference: bool) -> int:
    """Four float32 terms, one after the other, and a half; cut."""
    down, right = (o.f32(1 - wy), wy), (o.f32(1 - wx), wx)
    order = [(0, 0), (1, 0), (0, 1), (1, 1)] if reference else [(0, 0), (0, 1), (1, 0), (1, 1)]
    total = Fraction(0)
    for i, j in order:
        v, a, b = corners[2 * i + j], down[i], right[j]
        total = o.f32(total + (o.f32(o.f32(v * a) * b) if reference else o.f32(v * o.f32(a * b))))
    return math.trunc(o.f32(total + HALF))


@oracle("RESIZE_NEAREST_NEIGHBOR")
def nearest(task: Task) -> list[Answer]:
    x, (rows, columns) = task.x(), task.x(1).values
    batch, height, width, depth = x.shape
    align, half_pixel = flags(task)
    eight = ("int8", "uint8") if task.runtime == "litert" else ("uint8",)
    fixed = x.dtype in eight and task.path == "optimized"

    def position(i: int, n: int, m: int) -> int:
        if fixed and not (align or half_pixel):
            return min(i * (n * 65536 // m + 1) // 65536, n - 1)
        a, b = span(task, n, m)
        at = o.f32(o.f32(i + (HALF if half_pixel else 0)) * o.f32(Fraction(a, b)))
        return o.clip(o.half_away(at) if align else math.floor(at), 0, n - 1)

    shape = (batch, rows, columns, depth)
    values = [
        x.at(b, position(i, height, rows), position(j, width, columns), c)
        for b, i, j, c in indices(shape)
    ]
    return [(shape, values)]
