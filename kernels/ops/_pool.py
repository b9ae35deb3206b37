"""Windows over height and width, as the three pools see them (NHWC). E64."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from kernels.call import Call
from kernels.errors import RuntimeRefuses
from kernels.jit import jit
from kernels.scalar import cdiv, clip

SAME = 0  # Padding of the schema


class Window(NamedTuple):
    """Sizes in pixels, first of height, then of width. before: padding at the top and the left."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    before: tuple[int, int]
    size: tuple[int, int]
    out: tuple[int, int]


def window(call: Call) -> Window:
    """The window of a call. Raises RuntimeRefuses for a rank other than 4 or a stride below 1."""
    x = call.x(0)
    if x.ndim != 4:
        raise RuntimeRefuses(f"{call.name}: rank {x.ndim}, needs batch, height, width, channels")
    kernel = (int(call.option("filter_height")), int(call.option("filter_width")))
    stride = (int(call.option("stride_h")), int(call.option("stride_w")))
    if min(*kernel, *stride) < 1:
        raise RuntimeRefuses(f"{call.name}: window {kernel}, stride {stride}; both must be > 0")
    sides = []
    for n, k, step in zip(x.shape[1:3], kernel, stride, strict=True):
        same = call.option("padding") == SAME
        if not same and n < k:
            _larger_than_image(call, (k - n - step) // step)
        out = -(-n // step) if same else max((n - k) // step + 1, 0)
        sides.append((out, max((out - 1) * step + k - n, 0) // 2))
    (height, top), (width, left) = sides
    return Window(kernel, stride, (top, left), (x.shape[1], x.shape[2]), (height, width))


def _larger_than_image(call: Call, missing: int) -> None:
    """Windows larger than the image, without padding: nothing comes out. Raises where even that
    fails: XNNPACK reads outside of the image, tensorflow 2.21 counts below zero."""
    if call.profile.is_xnnpack:
        raise call.undefined("the window is larger than the image; XNNPACK reads outside of it")
    if missing > 0 and not call.profile.litert:
        raise RuntimeRefuses(f"{call.name}: the window is larger than the image")


def shape(call: Call, w: Window) -> tuple[int, ...]:
    """Shape of the output."""
    return (call.x(0).shape[0], *w.out, call.x(0).shape[3])


def taps(x: np.ndarray, w: Window, outside: float) -> Iterator[np.ndarray]:
    """For each place in the window, the values that the outputs see there, `outside` if padding.

    x (B, H, W, C) -> arrays (B, out height, out width, C), views of a padded copy.
    """
    pad = [(0, 0), (0, 0)]
    for side in (1, 0):
        needed = (w.out[side] - 1) * w.stride[side] + w.kernel[side]
        pad.insert(1, (w.before[side], max(needed - w.size[side] - w.before[side], 0)))
    padded = np.pad(x, pad, constant_values=outside)
    for row in range(w.kernel[0]):
        for column in range(w.kernel[1]):
            yield padded[
                :,
                row : row + (w.out[0] - 1) * w.stride[0] + 1 : w.stride[0],
                column : column + (w.out[1] - 1) * w.stride[1] + 1 : w.stride[1],
            ]


def total(x: np.ndarray, w: Window) -> np.ndarray:
    """Sums over the windows, padding as 0, in the type of x."""
    out = np.zeros((x.shape[0], *w.out, x.shape[3]), x.dtype)
    for tap in taps(x, w, 0) if out.size else ():
        out += tap
    return out


def largest(x: np.ndarray, w: Window) -> np.ndarray:
    """The largest value of each window, in the type of x."""
    least = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    out = np.full((x.shape[0], *w.out, x.shape[3]), least, x.dtype)
    for tap in taps(x, w, least) if out.size else ():
        np.maximum(out, tap, out=out)
    return out


def inside(w: Window) -> np.ndarray:
    """How many pixels of each window lie in the image, int64 (out height, out width, 1)."""
    sides = []
    for side in (0, 1):
        first = np.arange(w.out[side], dtype=np.int64) * w.stride[side] - w.before[side]
        last = np.minimum(first + w.kernel[side], w.size[side])
        sides.append(last - np.maximum(first, 0))
    return (sides[0][:, None] * sides[1][None, :])[..., None]


@jit
def fast_average(x, w, qmin, qmax, out):
    """E64 for integers: the sum over the pixels in the image by their number, half away."""
    batches, height, width, channels = out.shape
    acc = np.empty(channels, np.int32)
    for b in range(batches):
        for oy in range(height):
            top = oy * w.stride[0] - w.before[0]
            for ox in range(width):
                left = ox * w.stride[1] - w.before[1]
                y0, y1 = max(top, 0), min(top + w.kernel[0], w.size[0])
                x0, x1 = max(left, 0), min(left + w.kernel[1], w.size[1])
                acc[:] = 0
                for y in range(y0, y1):
                    for column in range(x0, x1):
                        for c in range(channels):
                            acc[c] += np.int32(x[b, y, column, c])
                n = np.int32((y1 - y0) * (x1 - x0))
                for c in range(channels):
                    half = n // 2 if acc[c] > 0 else -(n // 2)
                    out[b, oy, ox, c] = clip(cdiv(acc[c] + half, n), qmin, qmax)


@jit
def fast_largest(x, w, qmin, qmax, out):
    """The largest integer of each window, clamped."""
    batches, height, width, channels = out.shape
    for b in range(batches):
        for oy in range(height):
            top = oy * w.stride[0] - w.before[0]
            for ox in range(width):
                left = ox * w.stride[1] - w.before[1]
                y0, y1 = max(top, 0), min(top + w.kernel[0], w.size[0])
                x0, x1 = max(left, 0), min(left + w.kernel[1], w.size[1])
                found = out[b, oy, ox]
                found[:] = qmin
                for y in range(y0, y1):
                    for column in range(x0, x1):
                        for c in range(channels):
                            found[c] = max(found[c], x[b, y, column, c])
                for c in range(channels):
                    found[c] = min(found[c], qmax)
