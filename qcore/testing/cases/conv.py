"""CONV_2D, DEPTHWISE_CONV_2D, TRANSPOSE_CONV."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from kernels.call import Call, Tensor, options
from qcore.testing.cases import cases
from qcore.testing.draw import Draw, index

SAME = 0
INT32 = 2  # TensorType, in quantized_bias_type


@dataclass(frozen=True)
class Geometry:
    """Kernel, stride and dilation, and the two sizes that they connect (height, width)."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    padding: int
    wide: tuple[int, int]
    narrow: tuple[int, int]

    def options(self, **others: int):
        return options(
            padding=self.padding, stride_h=self.stride[0], stride_w=self.stride[1], **others
        )


def geometry(draw: Draw, space: tuple[int, int], most: int, dilate: bool = True) -> Geometry:
    """Random windows; `space` is the narrow side, the output of a convolution. The kernel has at
    most `most` taps; now and then it is larger than the input, or smaller than the stride."""

    def pair(choices: list[int], other: float = 0.35) -> tuple[int, int]:
        first = draw.choice(choices)
        return first, draw.choice(choices) if draw.chance(other) else first

    kernel = pair([1, 1, 2, 3, 3, 3, 4, 5, 7])
    while kernel[0] * kernel[1] > most:
        kernel = max(kernel[0] - 1, 1), max(kernel[1] - 1, 1)
    stride = pair([1, 1, 1, 2, 2, 3])
    dilation = pair([2, 3, 4]) if dilate and draw.chance(0.25) else (1, 1)
    padding = draw.integer(0, 1)
    wide = []
    for n, k, s, d in zip(space, kernel, stride, dilation, strict=True):
        if padding == SAME:
            wide.append((n - 1) * s + draw.integer(1, s))
        else:
            wide.append((n - 1) * s + (k - 1) * d + 1 + draw.integer(0, s - 1))
    return Geometry(kernel, stride, dilation, padding, (wide[0], wide[1]), space)


def taps(size: int) -> int:
    """Kernel positions and channels a sum may have, so that a model stays quick: the exact oracle
    counts on its fingers."""
    return 40 if size < 100 else max(60, min(2000, 30_000_000 // size))


def bias(draw: Draw, x: Tensor, w: Tensor, units: int, dtype: str) -> Tensor:
    """Integers as large as the sums, now and then at the ends of int32."""
    most = {0: 2**31 - 1, 1: 0}.get(draw.integer(0, 29), 10 ** draw.integer(2, 5))
    values = draw.random.integers(-most, most + 1, units)
    scale = np.asarray(x.s * w.scales, np.float32)
    return Tensor(
        dtype, values.astype(dtype), scale, np.zeros(scale.size, np.int64),
        constant=not draw.chance(0.05),
    )  # fmt: skip


def output(draw: Draw, x: Tensor, w: Tensor, depth: int, shape: tuple[int, ...]) -> Tensor:
    """An output whose range the sums fill, more or less."""
    dtype = x.dtype
    if draw.chance(0.1):
        return draw.output(dtype, shape, scale=draw.scale(0.01, 2))
    assert w.scale is not None
    spread = float(np.std(x.x.astype(np.float64) - x.z) * np.std(w.x.astype(np.float64))) + 1
    steps = x.range.steps / draw.random.uniform(3, 30)
    scale = float(x.s) * float(np.median(w.scale)) * spread * depth**0.5 / steps
    # Integer multipliers are made for factors below 2^7, XNNPACK's scales below 2^8.
    scale = max(scale, float(x.s) * float(np.max(w.scale)) / 60)
    if draw.ties:
        scale = 2.0 ** round(np.log2(scale)) * draw.choice([1, 1, 1, 1.5, 0.75])
    return draw.output(dtype, shape, scale=scale)


def dynamic(draw: Draw, w: Tensor) -> Tensor:
    """Weights, seldom computed by the graph rather than constant."""
    return replace(w, constant=False) if w.dtype != "int4" and draw.chance(0.05) else w


def floats(draw: Draw, shape: tuple[int, ...]) -> np.ndarray:
    """Inputs of hybrid calls: signs mixed or alike, an image of zeros, one large value."""
    x = draw.floats(shape, spread=draw.choice([0.02, 1.0, 30.0]))
    kind = draw.integer(0, 9)
    if kind == 0:
        x = np.abs(x)
    elif kind == 1:
        x = -np.abs(x)
    elif kind == 2:
        x[draw.integer(0, len(x) - 1)] = 0
    elif kind == 3:
        x.flat[draw.integer(0, x.size - 1)] *= 50
    elif kind == 4:  # exact halves of a step: the range is 255 or 254 steps
        step = np.float32(2.0 ** draw.integer(-9, 2))
        x = (draw.random.integers(-254, 255, shape) * step / 2).astype(np.float32)
        x.reshape(len(x), -1)[:, 0] = 127 * step
        if x[0].size > 1:
            x.reshape(len(x), -1)[:, 1] = -draw.choice([127, 128]) * step
    return x


def hybrid(draw: Draw, x_shape: tuple[int, ...], units: int) -> tuple[Tensor, Tensor]:
    """Float input and bias."""
    b = Tensor("float32", draw.floats((units,)), constant=not draw.chance(0.05))
    return Tensor("float32", floats(draw, x_shape)), b


def uneven(w: Tensor) -> Tensor:
    """Per-channel scales that are not all the same."""
    assert w.scale is not None
    if w.scale.size > 1 and (w.scale == w.scale[0]).all():
        scale = w.scale.copy()
        scale[-1] *= 2
        return replace(w, scale=scale)
    return w


@cases(
    "CONV_2D", "int8", "int8 x int4", "int16, int64 bias", "int16, int32 bias", "int16 x int4",
    "hybrid", "hybrid x int4", "uint8",
)  # fmt: skip
def conv_2d(draw: Draw, form: str, size: int) -> Call:
    n, height, width, units = draw.shape(4, size, most=600)
    n = min(n, 5)
    depth = min(draw.choice([1, 2, 3, 4, 7, 8, 16, 17, 32, 64, 200]), taps(size))
    groups = draw.choice([2, 3, 4, 8, depth]) if draw.chance(0.2) else 1
    if groups > 1:  # as many input channels a filter as there were, or only one
        depth = 1 if draw.chance(0.4) else max(1, depth // groups)
        units = groups * max(1, units // groups)
    g = geometry(draw, (height, width), max(1, taps(size) // depth))

    dtype = "int16" if form.startswith("int16") else form.split()[0]
    x_shape, w_shape = (n, *g.wide, depth * groups), (units, *g.kernel, depth)
    weight = "int4" if form.endswith("int4") else "int8"
    axis = 0 if draw.chance(0.7) else None
    given = {
        "dilation_h_factor": g.dilation[0],
        "dilation_w_factor": g.dilation[1],
        "fused_activation_function": draw.integer(0, 3),
    }
    if dtype == "hybrid":
        x, b = hybrid(draw, x_shape, units)
        w = draw.weight(w_shape, axis if groups == 1 else 0, weight)
        if groups > 1 and units == 1:
            raise AssertionError("groups have at least two filters")
        w = dynamic(draw, uneven(w) if groups > 1 else w)
        y = Tensor("float32", declared=(n, height, width, units))
        return Call("CONV_2D", (x, w, b), (y,), g.options(**given))
    x = draw.tensor(dtype, x_shape)
    if dtype == "uint8":
        w = replace(draw.tensor("uint8", w_shape, draw.scale(1e-3, 0.05)), constant=True)
    else:
        w = draw.weight(w_shape, axis, weight)
    w = dynamic(draw, w)
    narrow = "int32 bias" in form or (form == "int16 x int4" and draw.chance())
    wide = dtype == "int16" and not narrow
    b = bias(draw, x, w, units, "int64" if wide else "int32")
    if narrow:
        given["quantized_bias_type"] = INT32
    y = output(draw, x, w, depth * g.kernel[0] * g.kernel[1], (n, height, width, units))
    return Call("CONV_2D", (x, w, b), (y,), g.options(**given))


@cases("DEPTHWISE_CONV_2D", "int8", "int8 x int4", "int16, int64 bias", "hybrid", "uint8")
def depthwise_conv_2d(draw: Draw, form: str, size: int) -> Call:
    n, height, width, channels = draw.shape(4, size, most=700)
    n = min(n, 5)
    multiplier = draw.choice([2, 3, 4, 8]) if draw.chance(0.3) else 1
    channels = max(1, channels // multiplier)
    units = channels * multiplier
    g = geometry(draw, (height, width), taps(size))
    dtype = "int16" if form.startswith("int16") else form.split()[0]
    x_shape, w_shape = (n, *g.wide, channels), (1, *g.kernel, units)
    weight = "int4" if form.endswith("int4") else "int8"
    axis = 3 if draw.chance(0.7) else None
    given = g.options(
        dilation_h_factor=g.dilation[0], dilation_w_factor=g.dilation[1],
        fused_activation_function=draw.integer(0, 3), depth_multiplier=multiplier,
    )  # fmt: skip
    if dtype == "hybrid":
        x, known = hybrid(draw, x_shape, units)
        w = dynamic(draw, draw.weight(w_shape, 3))
        y = Tensor("float32", declared=(n, height, width, units))
        return Call("DEPTHWISE_CONV_2D", (x, w, known), (y,), given)
    x = draw.tensor(dtype, x_shape)
    if dtype == "uint8":
        w = replace(draw.tensor("uint8", w_shape, draw.scale(1e-3, 0.05)), constant=True)
    else:
        w = draw.weight(w_shape, axis, weight)
    w = dynamic(draw, w)
    b: Tensor | None = None
    if dtype != "int16" or draw.chance(0.8):
        b = bias(draw, x, w, units, "int64" if dtype == "int16" else "int32")
    y = output(draw, x, w, g.kernel[0] * g.kernel[1], (n, height, width, units))
    return Call("DEPTHWISE_CONV_2D", (x, w, b) if b else (x, w), (y,), given)


@cases("TRANSPOSE_CONV", "int8", "int16, int64 bias", "int16, int32 bias", "hybrid", "uint8")
def transpose_conv(draw: Draw, form: str, size: int) -> Call:
    n, height, width, units = draw.shape(4, size, most=400)
    n = min(n, 5)
    depth = min(draw.choice([1, 2, 3, 4, 8, 16, 17, 32, 64]), taps(size))
    g = geometry(draw, (height, width), max(1, taps(size) // depth), dilate=False)
    # The wide side is the output here: make it the one of `size`.
    shrink = g.stride[0] * g.stride[1]
    units = max(1, units // shrink)
    dtype = "int16" if form.startswith("int16") else form.split()[0]
    x_shape, w_shape = (n, *g.narrow, depth), (units, *g.kernel, depth)
    shape = index(n, *g.wide, units, constant=not draw.chance(0.15))
    given = {"fused_activation_function": draw.integer(0, 3)}
    narrow = form == "int16, int32 bias"
    if narrow:
        given["quantized_bias_type"] = INT32
    biased = draw.chance(0.7)
    axis = 0 if draw.chance(0.7) else None
    b: Tensor | None = None
    if dtype == "hybrid":
        x, b = hybrid(draw, x_shape, units)
        w = draw.weight(w_shape, axis)
        y = Tensor("float32", declared=(n, *g.wide, units))
    else:
        x = draw.tensor(dtype, x_shape)
        if dtype == "uint8":
            w = replace(draw.tensor("uint8", w_shape, draw.scale(1e-3, 0.05)), constant=True)
        else:
            w = draw.weight(w_shape, axis)
        b = bias(draw, x, w, units, "int64" if dtype == "int16" and not narrow else "int32")
        overlap = max(1, g.kernel[0] * g.kernel[1] // shrink)
        y = output(draw, x, w, depth * overlap, (n, *g.wide, units))
    w = dynamic(draw, w)
    inputs = (shape, w, x, b) if biased else (shape, w, x)
    return Call("TRANSPOSE_CONV", inputs, (y,), g.options(**given))
