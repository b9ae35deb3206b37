"""RESIZE_BILINEAR, RESIZE_NEAREST_NEIGHBOR."""

from __future__ import annotations

import numpy as np

from kernels.call import Call, Tensor, options
from qcore.testing.cases import cases
from qcore.testing.draw import Draw, index


def size_of(draw: Draw, size: int) -> int:
    """An output length for an input length: up, down, the same, by whole and odd factors."""
    kind = draw.random.random()
    if kind < 0.2:
        return size * draw.choice([2, 2, 3, 4, 8])
    if kind < 0.3:
        return max(size // draw.choice([2, 3, 4]), 1)
    if kind < 0.4:
        return (size - 1) * draw.choice([2, 4, 8]) + 1  # what align_corners likes
    if kind < 0.5:
        return draw.choice([1, size])
    return draw.integer(1, max(2 * size, 6))


def furthest(size: int, wanted: int, align: bool, half_pixel: bool) -> int:
    """The last input position of the integer kernel: its scale, rounded up, can lead beyond."""
    less = 1 if align and wanted > 1 else 0
    scale = (1024 * (size - less) + (wanted - less) // 2) // (wanted - less)
    at = max((wanted - 1) * scale + (scale // 2 - 512 if half_pixel else 0), 0)
    return max(at // 1024, min((at + 1023) // 1024, size - 1))


def inside(shape: tuple[int, ...], to: tuple[int, int], settings: dict[str, bool]) -> bool:
    """Whether the integer kernel, which addresses the flat buffer, stays in it."""
    batch, height, width, _ = shape
    y, x = (furthest(a, b, *settings.values()) for a, b in zip(shape[1:3], to, strict=True))
    return ((batch - 1) * height + y) * width + x < batch * height * width


def resized(
    draw: Draw, size: int, most: int, long: float = 0.1
) -> tuple[tuple[int, ...], tuple[int, int]]:
    """Input shape and output size, for about `size` outputs; `long`: how often one long axis."""
    if draw.chance(long):
        length, other = draw.integer(1, most), draw.integer(most // 8, most)
        depth = min(max(size // other, 1), 24)
        if draw.chance():
            return (1, length, 1, depth), (other, 1)
        return (1, 1, length, depth), (1, other)
    depth = draw.choice([1, 2, 3, 8, 16, 17, draw.integer(1, 40)])
    depth = min(depth, max(size, 1))
    side = max(int((size / depth) ** 0.5), 1)
    height, width = draw.integer(1, min(side, 60)), draw.integer(1, min(side, 60))
    if draw.chance(0.1):
        height, width = draw.choice([(1, width), (height, 1), (1, 1)])
    to = size_of(draw, height), size_of(draw, width)
    batch = max(min(size // (to[0] * to[1] * depth), 3), 1)
    return (batch, height, width, depth), to


def flags(draw: Draw, both: bool) -> dict[str, bool]:
    """align_corners, half_pixel_centers or neither; `both`: now and then together."""
    kind = draw.integer(0, 3 if both and draw.chance(0.3) else 2)
    return {"align_corners": kind in (1, 3), "half_pixel_centers": kind in (2, 3)}


@cases("RESIZE_BILINEAR", "int8", "uint8", "int16")
def bilinear(draw: Draw, form: str, size: int) -> Call:
    fixed = draw.chance(0.9)
    settings = flags(draw, not fixed)
    far = draw.chance(0.1)
    while True:
        shape, to = resized(draw, size, 300)
        if far:  # beyond the end of a row, into the next
            shape = (draw.integer(1, 2), draw.integer(2, 4), draw.integer(1, 3), draw.integer(1, 3))
            to = draw.integer(1, 4), max(size // (3 * shape[0] * shape[3]), 55)
        if form == "uint8" or inside(shape, to, settings):
            break
    if form == "uint8" and draw.chance(0.15):  # optimized_ops.h has code of its own for this
        shape = (1, draw.integer(1, 4), draw.integer(1, 4), 8 * draw.integer(1, 2))
        to, settings = (8 * shape[1], 8 * shape[2]), flags(draw, False)
    x = draw.tensor(form, shape)
    assert x.scale is not None
    y = draw.output(form, (shape[0], *to, shape[3]), x.s, x.z)
    return Call("RESIZE_BILINEAR", (x, index(list(to), constant=fixed)), (y,), options(**settings))


@cases("RESIZE_NEAREST_NEIGHBOR", "int8", "uint8", "int16", "float32", "int32")
def nearest(draw: Draw, form: str, size: int) -> Call:
    # Long axes tell the rules of positions apart, and wide rows fill the count.
    shape, to = resized(draw, size, 4000, 0.4)
    if form in ("float32", "int32"):
        data = draw.floats(shape) if form == "float32" else draw.values("int32", shape)
        x = Tensor(form, np.asarray(data, form))
        y = Tensor(form, declared=(shape[0], *to, shape[3]))
    else:
        x = draw.tensor(form, shape)
        y = draw.output(form, (shape[0], *to, shape[3]), x.s, x.z)
    sizes = index(list(to), constant=draw.chance(0.9))
    return Call("RESIZE_NEAREST_NEIGHBOR", (x, sizes), (y,), options(**flags(draw, True)))
