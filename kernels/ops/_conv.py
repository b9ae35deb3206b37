"""What the convolutions share: where taps fall, their sums, and what becomes of the sums.

The accumulator of output pixel p, channel o is the sum over taps t and channels c of
x[p, t, c] * w[t, c, o], zero points subtracted, nothing outside of the image (E12). The `*_sums`
functions make it in NumPy, one matrix product a tap; the jitted loops make the same in int32
(int64 beside 64-bit biases), output channels innermost so that they fill vectors. A Stage or
`finish` turns sums into integers, `floats` or `finish_floats` into those of a hybrid call, whose
input is quantized first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from kernels import activation, delegate, hybrid
from kernels.call import Call, Tensor
from kernels.errors import RuntimeRefuses
from kernels.exact import matmul
from kernels.fixedpoint import wrap32
from kernels.fma import fma, fma32
from kernels.jit import jit
from kernels.stage import Rule, Stage, requantize_rows
from kernels.trace import note

SAME, VALID = 0, 1
INT32, INT64 = 2, 4  # TensorType numbers, as in quantized_bias_type
REFUSED_SCALE = np.float32(256)  # XNNPACK makes no operator with this scale or more
LOOSE_BIAS = 0.02  # output steps by which the scale of a uint8 call's bias may be off, each unit


class At(NamedTuple):
    """Positions of the operands."""

    x: int
    w: int
    bias: int


@dataclass(frozen=True)
class Window:
    """Geometry of each space axis: kernel size, stride, dilation, padding before, output size."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    before: tuple[int, ...]
    out: tuple[int, ...]

    @property
    def spans(self) -> tuple[int, ...]:
        """From a window's first tap to behind its last."""
        return spans(self.kernel, self.dilation)

    def taps(self) -> Iterator[tuple[int, ...]]:
        """Positions in the kernel, row-major."""
        return product(*map(range, self.kernel))

    @property
    def plain(self) -> tuple[int, ...]:
        """Strides, dilations and paddings, two each, for jitted loops."""
        return (*self.stride, *self.dilation, *self.before)


def spans(kernel: Sequence[int], dilation: Sequence[int]) -> tuple[int, ...]:
    """How far kernels of these sizes and dilations reach."""
    return tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))


def padded(x: np.ndarray, at: Window) -> np.ndarray:
    """x (N, *space, C) with zeros around it, as far as windows reach over the edge."""
    pads = [(0, 0)]
    for n, o, s, e, b in zip(x.shape[1:-1], at.out, at.stride, at.spans, at.before, strict=True):
        pads.append((b, max((o - 1) * s + e - n - b, 0)))
    return np.pad(x, [*pads, (0, 0)])


def window(call: Call, space: Sequence[int], kernel: Sequence[int]) -> Window:
    """Window of a call: `space` is the input's size, or the output's where the window goes backward
    (transposed), in which case `out` is the size that the input must have.

    SAME: out = ceil(in / stride), and half of what the last window lacks is put in front, rounded
    down (E33). VALID: whole windows only.
    """
    names = {2: "hw", 3: "dhw"}[len(space)]
    stride = tuple(int(call.option(f"stride_{n}", 1)) for n in names)
    dilation = tuple(int(call.option(f"dilation_{n}_factor", 1)) for n in names)
    if min(*stride, *dilation) < 1:
        raise RuntimeRefuses(f"{call.name}: strides {stride} and dilations {dilation} must be > 0")
    reach = spans(kernel, dilation)
    if call.option("padding", SAME) == SAME:
        out = [-(-n // s) for n, s in zip(space, stride, strict=True)]
    else:
        out = [(n + s - e) // s for n, s, e in zip(space, stride, reach, strict=True)]
    if min(out) < 0:
        raise RuntimeRefuses(f"{call.name}: kernel {tuple(kernel)} does not fit in {tuple(space)}")
    before = [
        max((o - 1) * s + e - n, 0) // 2
        for o, s, e, n in zip(out, stride, reach, space, strict=True)
    ]
    return Window(tuple(kernel), stride, dilation, tuple(before), tuple(out))


# --- sums, in NumPy -------------------------------------------------------------------------------

Multiply = Callable[[np.ndarray, np.ndarray], np.ndarray]


def conv_sums(x: np.ndarray, w: np.ndarray, at: Window, multiply: Multiply = matmul) -> np.ndarray:
    """x (N, *space, C), w (*kernel, C / groups, O) -> (N, *out, O), without bias."""
    depth, units = w.shape[-2:]
    groups = x.shape[-1] // depth
    acc: Any = 0
    for tap, seen in _seen(x, at):
        parts = [
            multiply(
                seen[..., g * depth : (g + 1) * depth],
                w[tap][:, g * units // groups : (g + 1) * units // groups],
            )
            for g in range(groups)
        ]
        acc = acc + np.concatenate(parts, axis=-1)
    return acc


def depthwise_sums(x: np.ndarray, w: np.ndarray, at: Window) -> np.ndarray:
    """x (N, H, W, C), w (KH, KW, C * multiplier) -> (N, *out, C * multiplier), without bias."""
    acc: Any = 0
    for tap, seen in _seen(np.repeat(x, w.shape[-1] // x.shape[-1], axis=-1), at):
        acc = acc + seen * w[tap]
    return acc


def transposed_sums(
    x: np.ndarray, w: np.ndarray, at: Window, out: Sequence[int], multiply: Multiply = matmul
) -> np.ndarray:
    """x (N, *space, C), w (*kernel, C, O) -> (N, *out, O): every product where it is scattered."""
    acc: Any = None
    for tap in at.taps():
        part = multiply(x, w[tap])
        if acc is None:
            acc = np.zeros((x.shape[0], *_room(x, at, out), w.shape[-1]), part.dtype)
        acc[_landing(x, at, tap)] += part
    return acc[_cropped(at, out)]


def _seen(x: np.ndarray, at: Window) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """Each tap with what it sees of the input, (N, *out, C), zeros outside of the image."""
    around = padded(x, at)
    for tap in at.taps():
        yield tap, around[_places(tap, at, at.out)]


def _places(tap: tuple[int, ...], at: Window, count: Sequence[int]) -> tuple[slice, ...]:
    """Index of the positions start, start + stride, ... of a tap, `count` on each axis."""
    first = [t * d for t, d in zip(tap, at.dilation, strict=True)]
    return (
        slice(None),
        *(slice(f, f + n * s, s) for f, n, s in zip(first, count, at.stride, strict=True)),
    )


def _room(x: np.ndarray, at: Window, out: Sequence[int]) -> list[int]:
    """Size on each axis that holds all scattered products and the output."""
    return [
        max((n - 1) * s + e, b + o)
        for n, s, e, b, o in zip(x.shape[1:-1], at.stride, at.spans, at.before, out, strict=True)
    ]


def _landing(x: np.ndarray, at: Window, tap: tuple[int, ...]) -> tuple[slice, ...]:
    """Where the products of a tap land in the room."""
    return _places(tap, at, x.shape[1:-1])


def _cropped(at: Window, out: Sequence[int]) -> tuple[slice, ...]:
    """The output in the room."""
    return (slice(None), *(slice(b, b + n) for b, n in zip(at.before, out, strict=True)))


SHORT = 2048  # weights of a filter that is summed in order; NumPy is faster on longer ones only


def short(w: np.ndarray) -> bool:
    """Whether float products with these weights are summed in order (`ordered_sums`)."""
    return 0 < w.size <= SHORT


def ordered_sums(x: np.ndarray, w: np.ndarray, at: Window) -> np.ndarray:
    """x (N, H, W, C), w (KH, KW, C, O) float32 -> (N, OH, OW, O) float64, without bias: products,
    which are exact, added in the order of the taps and of the channels."""
    acc = np.zeros((x.shape[0], *at.out, w.shape[-1]), np.float64)
    weights = np.ascontiguousarray(w, np.float64)
    _ordered_loops(np.ascontiguousarray(x, np.float32), weights, at.plain, acc)
    return acc


# --- sums, jitted ---------------------------------------------------------------------------------


def by_group(w: np.ndarray, groups: int) -> np.ndarray:
    """Weights (*kernel, C / groups, O) as int16 (groups, *kernel, C / groups, O / groups)."""
    split = w.astype(np.int16).reshape(*w.shape[:-1], groups, -1)
    return np.ascontiguousarray(np.moveaxis(split, -2, 0))


@jit
def conv_loops(x, w, bias, plain, acc):
    """x (N, H, W, C), w (groups, KH, KW, C / groups, O / groups) int16 -> acc (N, OH, OW, O)."""
    stride_h, stride_w, dilation_h, dilation_w, top, left = plain
    groups, kernel_h, kernel_w, depth, units = w.shape
    for image in range(acc.shape[0]):
        for oy in range(acc.shape[1]):
            for ox in range(acc.shape[2]):
                acc[image, oy, ox] = bias
                for ky in range(kernel_h):
                    iy = oy * stride_h - top + ky * dilation_h
                    if iy < 0 or iy >= x.shape[1]:
                        continue
                    for kx in range(kernel_w):
                        ix = ox * stride_w - left + kx * dilation_w
                        if ix < 0 or ix >= x.shape[2]:
                            continue
                        for g in range(groups):
                            _add_products(
                                x[image, iy, ix, g * depth : (g + 1) * depth],
                                w[g, ky, kx],
                                acc[image, oy, ox, g * units : (g + 1) * units],
                            )


@jit
def _ordered_loops(x, w, plain, acc):
    stride_h, stride_w, dilation_h, dilation_w, top, left = plain
    for image in range(acc.shape[0]):
        for oy in range(acc.shape[1]):
            for ox in range(acc.shape[2]):
                for ky in range(w.shape[0]):
                    iy = oy * stride_h - top + ky * dilation_h
                    if iy < 0 or iy >= x.shape[1]:
                        continue
                    for kx in range(w.shape[1]):
                        ix = ox * stride_w - left + kx * dilation_w
                        if ix < 0 or ix >= x.shape[2]:
                            continue
                        for c in range(x.shape[3]):
                            value = np.float64(x[image, iy, ix, c])
                            for o in range(acc.shape[3]):
                                acc[image, oy, ox, o] += value * w[ky, kx, c, o]


@jit
def transposed_loops(x, w, bias, plain, acc):
    """x (N, H, W, C), w (KH, KW, C, O) int16 -> acc (N, OH, OW, O), from the input's side."""
    stride_h, stride_w, _, _, top, left = plain
    acc[:] = bias
    for image in range(x.shape[0]):
        for iy in range(x.shape[1]):
            for ix in range(x.shape[2]):
                for ky in range(w.shape[0]):
                    oy = iy * stride_h - top + ky
                    if oy < 0 or oy >= acc.shape[1]:
                        continue
                    for kx in range(w.shape[1]):
                        ox = ix * stride_w - left + kx
                        if ox < 0 or ox >= acc.shape[2]:
                            continue
                        _add_products(x[image, iy, ix], w[ky, kx], acc[image, oy, ox])


@jit
def _add_products(x, w, acc):
    """acc[o] += sum_c x[c] * w[c, o]; four channels a round, so that acc moves less."""
    whole = x.size // 4 * 4
    for c in range(0, whole, 4):
        x0, x1, x2, x3 = np.int32(x[c]), np.int32(x[c + 1]), np.int32(x[c + 2]), np.int32(x[c + 3])
        w0, w1, w2, w3 = w[c], w[c + 1], w[c + 2], w[c + 3]
        for o in range(acc.size):
            acc[o] += x0 * w0[o] + x1 * w1[o] + x2 * w2[o] + x3 * w3[o]
    for c in range(whole, x.size):
        x0, w0 = np.int32(x[c]), w[c]
        for o in range(acc.size):
            acc[o] += x0 * w0[o]


@jit
def depthwise_loops(x, w, bias, plain, acc):
    """x (N, H, W, C), w (KH, KW, C * multiplier) int16 -> acc (N, OH, OW, C * multiplier)."""
    stride_h, stride_w, dilation_h, dilation_w, top, left = plain
    multiplier = w.shape[2] // x.shape[3]
    for image in range(acc.shape[0]):
        for oy in range(acc.shape[1]):
            for ox in range(acc.shape[2]):
                sums = acc[image, oy, ox]
                sums[:] = bias
                for ky in range(w.shape[0]):
                    iy = oy * stride_h - top + ky * dilation_h
                    if iy < 0 or iy >= x.shape[1]:
                        continue
                    for kx in range(w.shape[1]):
                        ix = ox * stride_w - left + kx * dilation_w
                        if ix < 0 or ix >= x.shape[2]:
                            continue
                        pixel, taps = x[image, iy, ix], w[ky, kx]
                        if multiplier == 1:
                            for c in range(pixel.size):
                                sums[c] += np.int32(pixel[c]) * taps[c]
                        else:
                            for c in range(pixel.size):
                                for o in range(c * multiplier, (c + 1) * multiplier):
                                    sums[o] += np.int32(pixel[c]) * taps[o]


# --- integers -------------------------------------------------------------------------------------


def wide(call: Call, at: At) -> bool:
    """Whether sums are 64-bit: int16 activations, unless the options ask for 32-bit biases.

    Raises NoKernel for a bias that the kernel would read with the wrong width.
    """
    if call[at.x].dtype != "int16":
        return False
    asked = int(call.option("quantized_bias_type", 0))
    found = call[at.bias].dtype if call.has(at.bias) else None
    if asked == INT32 and found in (None, "int32"):
        return False
    if asked in (0, INT64) and found in (None, "int64"):
        return True
    if asked:
        raise RuntimeRefuses(f"{call.name}: quantized_bias_type is {asked}, the bias {found}")
    raise call.refuse("an int32 bias needs quantized_bias_type INT32; it is read as int64 without")


def offset(call: Call, t: Tensor) -> np.ndarray:
    """Values less their zero point, int16."""
    if t.dtype == "int16":
        if t.z or call.output.z:
            raise RuntimeRefuses(f"{call.name}: int16 activations have zero point 0")
        return np.ascontiguousarray(t.x)
    return np.ascontiguousarray(t.x.astype(np.int16) - np.int16(t.z))


def stage(call: Call, at: At, rule: Rule) -> Stage:
    """The output stage: `rule`, except on XNNPACK (XF, E28). Factors as kernel_util.cc makes them.

    uint8: the product of the scales is rounded to float32. Raises RuntimeRefuses for scales and
    zero points with which the runtime makes no operator.
    """
    x, w, y = call[at.x], call[at.w], call.output
    factor: float | np.ndarray
    if call.profile.is_xnnpack:
        factor = np.asarray(x.s * w.scales, np.float32) / y.s
        if (factor >= REFUSED_SCALE).any():
            raise RuntimeRefuses(f"{call.name}: XNNPACK has no requantization scale of 256 or more")
        if call.has(at.bias) and call[at.bias].per_channel != w.per_channel:
            raise RuntimeRefuses(f"{call.name}: XNNPACK wants as many bias scales as weight scales")
        if x.dtype == "int8" and _shifted(w) and call.name != "TRANSPOSE_CONV":
            raise RuntimeRefuses(f"{call.name}: XNNPACK wants weights with zero point 0")
        rule = Rule.XF
    elif x.dtype == "uint8":
        if w.per_channel:
            raise RuntimeRefuses(f"{call.name}: uint8 weights have one scale")
        if call.has(at.bias) and (bias := call[at.bias]).scale is not None:
            apart = abs(float(x.s) * float(w.s) - float(bias.s)) / float(y.s)
            if apart > LOOSE_BIAS:
                raise RuntimeRefuses(
                    f"{call.name}: scale of the bias {bias.s:g} is not the product {x.s * w.s:g}"
                )
        factor = np.float64(x.s * w.s) / float(y.s)
    else:
        factor = float(x.s) * w.scales.astype(np.float64) / float(y.s)
    return Stage.of(rule, factor, y.z, activation.clamp(call), y.range)


def biased(call: Call, at: At, acc: np.ndarray) -> np.ndarray:
    """Sums with the integer bias, wrapped where the kernel's accumulator is int32."""
    acc = acc + biases(call, at, acc.shape[-1])
    return acc if wide(call, at) else wrap32(acc)


def biases(call: Call, at: At, units: int) -> np.ndarray:
    """(units,) integer biases, zeros where there are none or they are floats."""
    if not call.has(at.bias) or call[at.bias].dtype == "float32":
        return np.zeros(units, np.int32)
    found = call[at.bias]
    if found.z and call[at.x].dtype != "uint8":
        raise RuntimeRefuses(f"{call.name}: the bias must have zero point 0")
    if found.dtype != "int32" and call[at.x].dtype != "int16":
        raise RuntimeRefuses(f"{call.name}: a bias beside {call[at.x].dtype} is int32")
    return found.x.reshape(units)


def finish(acc: np.ndarray, out: Stage, y: Tensor) -> np.ndarray:
    """Sums with bias -> outputs, jitted. acc (..., channels), as the stage counts them."""
    found = np.empty(acc.shape, y.held)
    channels = acc.shape[-1]
    requantize_rows(
        acc.reshape(-1, channels), out.parameters(channels), found.reshape(-1, channels)
    )
    return found


# --- floats (hybrid) ------------------------------------------------------------------------------

# How a sum meets the scale s of its input row and that of its channel, sw, and then the bias (E32).
CHANNEL_FIRST = 0  # f32(f32(acc * sw) * s) + b
PRODUCT = 1  # f32(acc * f32(sw * s)) + b
ROW_FIRST = 2  # f32(f32(acc * s) * sw) + b
FUSED = 3  # fma(f32(acc * s), sw, b)
MIX4 = 4  # CHANNEL_FIRST in whole groups of 4 channels, ROW_FIRST in the tail


def quantize(
    x: np.ndarray, rule: int, by_pixel: bool, fast: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """x (N, H, W, C) float32 by a rule of kernels.hybrid, one row an image, or a pixel (E31).

    Returns the steps less their zero points, int16, and the scales (N, 1, 1) or (N, H, W) float32.
    """
    rows = np.ascontiguousarray(x).reshape(-1, x.shape[-1] if by_pixel else x[0].size)
    q, scale, zero_point = hybrid.quantize(rule, rows) if fast else hybrid.RULES[rule](rows)
    note("quantized input", q.reshape(x.shape), "E31")
    steps = q.astype(np.int16) - zero_point[:, None].astype(np.int16)
    return steps.reshape(x.shape), scale.reshape(x.shape[:3] if by_pixel else (-1, 1, 1))


def channel_scales(call: Call, at: At, units: int) -> np.ndarray:
    """(units,) float32 scales of the weights."""
    scale = call[at.w].scale
    assert scale is not None
    return np.ascontiguousarray(np.broadcast_to(scale.astype(np.float32), (units,)))


def float_bias(call: Call, at: At, units: int) -> np.ndarray:
    """(units,) float32, zeros where there is none."""
    if not call.has(at.bias):
        return np.zeros(units, np.float32)
    if call[at.bias].dtype != "float32":
        raise RuntimeRefuses(f"{call.name}: a bias beside a float input is float32")
    return call.x(at.bias).reshape(units)


def floats(call: Call, at: At, acc: np.ndarray, s: np.ndarray, rule: int) -> np.ndarray:
    """Sums without bias (N, OH, OW, O) -> float32 outputs by one of the five rules (E32)."""
    note("accumulator", acc, "E12")
    units = acc.shape[-1]
    a, row = wrap32(acc).astype(np.float32), s[..., None]
    sw, bias = channel_scales(call, at, units), float_bias(call, at, units)
    with np.errstate(over="ignore", invalid="ignore"):
        if rule == FUSED:
            y = fma32(a * row, sw, bias)
        elif rule == PRODUCT:
            y = a * (sw * row) + bias
        else:
            whole = {CHANNEL_FIRST: units, ROW_FIRST: 0, MIX4: units // 4 * 4}[rule]
            y = np.where(np.arange(units) < whole, a * sw * row, a * row * sw) + bias
    return np.clip(y, *float_bounds(call))


def float_bounds(call: Call) -> tuple[np.float32, np.float32]:
    """The fused activation in real units; LiteRT's kernels keep the result finite."""
    most = np.float32(np.inf) if call.profile.is_xnnpack else np.finfo(np.float32).max
    lo, hi = activation.bounds(call)
    return max(np.float32(lo), -most), min(np.float32(hi), most)


def finish_floats(call: Call, at: At, acc: np.ndarray, s: np.ndarray, rule: int) -> np.ndarray:
    """`floats`, jitted."""
    units = acc.shape[-1]
    out = np.empty(acc.shape, np.float32)
    rows = np.ascontiguousarray(np.broadcast_to(s, acc.shape[:3])).reshape(-1)
    _scale(
        acc.reshape(-1, units), rule, rows, channel_scales(call, at, units),
        float_bias(call, at, units), *float_bounds(call), out.reshape(-1, units),
    )  # fmt: skip
    return out


@jit
def _scale(acc, rule, s, sw, bias, lo, hi, out):
    whole = acc.shape[1]
    if rule == 2:
        whole = 0
    elif rule == 4:
        whole = acc.shape[1] // 4 * 4
    for row in range(acc.shape[0]):
        for c in range(acc.shape[1]):
            a = np.float32(acc[row, c])
            if rule == 3:
                y = fma(np.float32(a * s[row]), sw[c], bias[c])
            elif rule == 1:
                y = np.float32(np.float32(a * np.float32(sw[c] * s[row])) + bias[c])
            elif c < whole:
                y = np.float32(np.float32(np.float32(a * sw[c]) * s[row]) + bias[c])
            else:
                y = np.float32(np.float32(np.float32(a * s[row]) * sw[c]) + bias[c])
            out[row, c] = min(max(y, lo), hi)


def in_order(
    call: Call, at: At, x: np.ndarray, s: np.ndarray, w: np.ndarray, by: Window, out: Sequence[int]
) -> np.ndarray:
    """Hybrid TRANSPOSE_CONV of LiteRT: products become float32 one by one, and each output adds
    them in the order of the input, row, column, channel (E34).

    x int16 (N, H, W, C), s (N, 1, 1), w (KH, KW, C, O) -> (N, OH, OW, O) float32.
    """
    units = w.shape[-1]
    sw, row = channel_scales(call, at, units), s[..., None]
    room = np.zeros((x.shape[0], *_room(x, by, out), units), np.float32)
    # An output meets the rows of the input downward where the kernel's go upward.
    with np.errstate(over="ignore", invalid="ignore"):
        for tap in reversed(list(by.taps())):
            for c in range(x.shape[-1]):
                step = x[..., c, None].astype(np.int32) * w[tap][c]
                room[_landing(x, by, tap)] += step.astype(np.float32) * sw * row
    y = room[_cropped(by, out)] + float_bias(call, at, units)
    return np.clip(y, *float_bounds(call))


@jit
def in_order_loops(x, s, w, sw, bias, plain, lo, hi, y):
    """`in_order`; x int16, w int16 (KH, KW, C, O), y (N, OH, OW, O) float32."""
    stride_h, stride_w, _, _, top, left = plain
    kernel_h, kernel_w, depth, units = w.shape
    y[:] = np.float32(0)
    for image in range(x.shape[0]):
        for iy in range(x.shape[1]):
            for ix in range(x.shape[2]):
                for c in range(depth):
                    value = np.int32(x[image, iy, ix, c])
                    for ky in range(kernel_h):
                        oy = iy * stride_h - top + ky
                        if oy < 0 or oy >= y.shape[1]:
                            continue
                        for kx in range(kernel_w):
                            ox = ix * stride_w - left + kx
                            if ox < 0 or ox >= y.shape[2]:
                                continue
                            for o in range(units):
                                step = np.float32(np.float32(value * w[ky, kx, c, o]) * sw[o])
                                y[image, oy, ox, o] += np.float32(step * s[image])
        for oy in range(y.shape[1]):
            for ox in range(y.shape[2]):
                for o in range(units):
                    total = np.float32(y[image, oy, ox, o] + bias[o])
                    y[image, oy, ox, o] = min(max(total, lo), hi)


# --- XNNPACK --------------------------------------------------------------------------------------


def taken(call: Call, at: At, axis: int) -> bool:
    """What XNNPACK asks of every convolution: types, constants, scales that are normal numbers.

    axis: of the weights' scales where they are per channel.
    """
    x, w, y = call[at.x], call[at.w], call.output
    if not delegate.static(call, at.w, at.bias) or activation.fused(call) not in activation.BOUNDS:
        return False
    if w.dtype not in ("int8", "uint8") or w.scale is None or not delegate.normal(w):
        return False
    if w.dtype == "int8" and w.per_channel:
        if w.axis != axis or (call.profile.litert and _shifted(w)):
            return False
    if w.dtype == "uint8" and w.axis != 0:
        return False
    if call.has(at.bias):
        bias = call[at.bias]
        if len(bias.shape) != 1:
            return False
        if bias.dtype != "float32" and (bias.scale is None or not delegate.normal(bias)):
            return False
    if x.dtype == y.dtype == "float32":
        return w.dtype == "int8"
    return x.dtype == w.dtype == y.dtype and delegate.per_tensor(x, y)


def _shifted(w: Tensor) -> bool:
    return w.zero_point is not None and bool(w.zero_point.any())


def blind(call: Call, at: Window, space: Sequence[int]) -> bool:
    """Whether every tap reads padding: XNNPACK of TensorFlow 2.21, SAME (E33).

    Where the windows together are shorter than the image (kernel below stride), its padding is an
    unsigned difference below 0. A 1x1 kernel is not affected.
    """
    if not call.profile.is_xnnpack or call.profile.litert or set(at.kernel) == {1}:
        return False
    return call.option("padding", SAME) == SAME and any(
        (o - 1) * s + (k - 1) * d + 1 < n
        for o, s, k, d, n in zip(at.out, at.stride, at.kernel, at.dilation, space, strict=True)
    )
