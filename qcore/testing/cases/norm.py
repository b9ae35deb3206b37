"""QUANTIZE, DEQUANTIZE, FAKE_QUANT, SOFTMAX, LOG_SOFTMAX, L2_NORMALIZATION."""

from __future__ import annotations

import numpy as np

from kernels import ranges
from kernels.call import Call, Tensor, options
from qcore.testing.cases import cases
from qcore.testing.draw import Draw

ODD = [np.nan, np.inf, -np.inf, 1e10, -1e10, 3e38, -3e38, 2.0**31, -(2.0**31), 1e-40, -0.0]


def rows(draw: Draw, size: int, most: int = 700) -> tuple[int, ...]:
    """A shape of rank 1 to 5 with a last axis of any length up to `most`."""
    rank = draw.integer(1, 5)
    depth = draw.choice([draw.integer(1, 20), draw.integer(1, 130), draw.integer(1, most)])
    depth = min(depth, size)
    return (*draw.shape(rank - 1, max(size // depth, 1)), depth)


def flat(draw: Draw, size: int) -> tuple[int, ...]:
    """A shape of rank 0 to 6; its number of elements is any remainder of 8 and 16."""
    if draw.chance(0.05):
        return ()
    return draw.shape(draw.integer(1, 6), max(size + draw.integer(-16, 16), 1))


def zero_point(draw: Draw, dtype: str) -> int:
    """Any for 8 bits; for wider types mostly 0."""
    if dtype in ("int16", "int32"):
        return draw.integer(-300, 300) if draw.chance(0.2) else 0
    if dtype == "uint4":
        return draw.integer(0, 15)
    return draw.zero_point(dtype)


def near_ties(draw: Draw, shape: tuple[int, ...], y: Tensor) -> np.ndarray:
    """Floats that fill the range of y and beyond, many of them halves of its steps, some odd."""
    assert y.scale is not None
    q = ranges.NAMED.get(y.dtype, ranges.INT4)
    span = max(q.qmax - q.qmin, 20)
    steps = draw.random.uniform(-0.7 * span, 0.7 * span, shape)
    if draw.chance(0.5):
        steps = np.round(steps * 2) / 2
    scale = y.scale if y.scale.size == 1 else along(y, len(shape), y.scale)
    found = np.asarray((steps * scale.astype(np.float64)).astype(np.float32))
    if draw.chance(0.3) and found.size:
        at = draw.random.integers(0, found.size, max(found.size // 20, 1))
        found.reshape(-1)[at] = draw.random.choice(ODD, at.size).astype(np.float32)
    return found


def along(t: Tensor, rank: int, values: np.ndarray) -> np.ndarray:
    """One value a channel, in a shape that broadcasts."""
    shape = [1] * rank
    shape[t.axis] = values.size
    return values.reshape(shape)


def channels(draw: Draw, dtype: str, shape: tuple[int, ...], low: float, high: float) -> Tensor:
    """An output or input tensor quantized along some axis."""
    axis = draw.integer(0, len(shape) - 1)
    count = shape[axis]
    zero = np.array([zero_point(draw, dtype) for _ in range(count)], np.int64)
    return Tensor(dtype, None, draw.scales(count, low, high), zero, axis=axis, declared=shape)


@cases("QUANTIZE", *(f"float32 to {t}" for t in ("int8", "uint8", "int16", "int4", "uint4")))
def quantize(draw: Draw, form: str, size: int) -> Call:
    dtype = form.split()[-1]
    shape = flat(draw, size)
    y = draw.output(dtype, shape, draw.scale(1e-4, 10), zero_point(draw, dtype))
    x = Tensor("float32", near_ties(draw, shape, y), constant=draw.chance(0.1))
    return Call("QUANTIZE", (x,), (y,), options())


@cases("QUANTIZE", "float32 per channel")
def quantize_channels(draw: Draw, form: str, size: int) -> Call:
    shape = draw.shape(draw.integer(1, 5), size)
    y = channels(draw, draw.choice(["int8", "uint8", "int16"]), shape, 1e-4, 10)
    return Call("QUANTIZE", (Tensor("float32", near_ties(draw, shape, y)),), (y,), options())


PAIRS = ("int8 to int8", "uint8 to uint8", "int8 to uint8", "uint8 to int8", "int8 to int16",
         "uint8 to int16", "int16 to int8", "int16 to int16", "int16 to int32", "int32 to int8",
         "int32 to int16")  # fmt: skip


@cases("QUANTIZE", *PAIRS)
def requantize(draw: Draw, form: str, size: int) -> Call:
    one, _, two = form.split()
    shape = flat(draw, size)
    s = draw.scale(1e-4, 1)
    # Near 1, far apart, and at the ends of what XNNPACK takes.
    ratio = draw.choice([1, 1, 1 / 256, 128, 129, 1 / 300, 2, 0.5, 1.5, 1 / 3, None, None, None])
    t = draw.scale(1e-4, 1) if ratio is None else np.float32(s / np.float32(ratio))
    both = one == two == "int16"
    z = (0 if both else zero_point(draw, one)), (0 if both else zero_point(draw, two))
    if draw.chance(0.1) and {one, two} == {"int8", "uint8"} and one != two:
        z, t = ((-128, 0) if one == "int8" else (0, -128)), s  # the kernel's own short cut
    if one == "int32":
        data = draw.random.integers(-(2**15), 2**15, shape).astype(np.int32)
        if draw.chance():
            data = draw.random.integers(-(2**30), 2**30, shape).astype(np.int32)
            t = np.float32(s * draw.choice([1, 2**15, 2**22, 1e6]))
        x = Tensor("int32", data, np.atleast_1d(s), np.array([z[0]], np.int64))
    else:
        x = draw.tensor(one, shape, s, z[0], constant=draw.chance(0.1))
    return Call("QUANTIZE", (x,), (draw.output(two, shape, t, z[1]),), options())


@cases("DEQUANTIZE", "int8", "uint8", "int16", "int4", "int2", "uint4")
def dequantize(draw: Draw, form: str, size: int) -> Call:
    shape = flat(draw, size)
    z = 0 if form == "int16" else zero_point(draw, form)
    # int2 cannot be fed; with a constant int8 and nothing else XNNPACK has no runtime.
    constant = form == "int2" or (form != "uint4" and draw.chance(0.1))
    scale = draw.scale(1e-4, 10)
    if form == "uint4":
        data = draw.random.integers(0, 16, shape).astype(np.uint8)
        x = Tensor(form, data, np.atleast_1d(scale), np.array([z], np.int64))
    else:
        x = draw.tensor(form, shape, scale, z, constant=constant)
    return Call("DEQUANTIZE", (x,), (Tensor("float32", declared=shape),), options())


@cases("DEQUANTIZE", "per channel")
def dequantize_channels(draw: Draw, form: str, size: int) -> Call:
    dtype = draw.choice(["int8", "int8", "uint8", "int4"])
    shape = draw.shape(draw.integer(1, 5), size)
    like = channels(draw, dtype, shape, 1e-4, 10)
    x = Tensor(
        dtype, draw.values(dtype, shape), like.scale, like.zero_point, like.axis,
        constant=draw.chance(0.2),
    )  # fmt: skip
    return Call("DEQUANTIZE", (x,), (Tensor("float32", declared=shape),), options())


@cases("DEQUANTIZE", "float16")
def dequantize_half(draw: Draw, form: str, size: int) -> Call:
    shape = flat(draw, size)
    data = np.asarray(draw.floats(shape, 100)).astype(np.float16)
    x = Tensor("float16", data, constant=draw.chance(0.2))
    return Call("DEQUANTIZE", (x,), (Tensor("float32", declared=shape),), options())


@cases("FAKE_QUANT", "float32")
def fake_quant(draw: Draw, form: str, size: int) -> Call:
    shape = flat(draw, size)
    lo, hi = -float(draw.scale(0.1, 20)), float(draw.scale(0.1, 20))
    kind = draw.random.random()
    lo, hi = (0.0, hi) if kind < 0.2 else (lo, 0.0) if kind < 0.3 else (lo, hi)
    if draw.ties:
        lo, hi = float(np.float32(lo)), float(np.float32(lo + 255 * 2.0 ** draw.integer(-9, -4)))
    x = Tensor("float32", np.asarray(draw.floats(shape, (hi - lo) / 2)))
    settings = options(min=lo, max=hi, num_bits=draw.choice([8, 8, 4, 2, 16]), narrow_range=False)
    return Call("FAKE_QUANT", (x,), (Tensor("float32", declared=shape),), settings)


def largest_sum(x: np.ndarray, factor: float) -> float:
    """The largest sum of exponentials of a row, relative to its own largest term."""
    values = x.reshape(-1, x.shape[-1]).astype(np.float64)
    return float(np.exp((values - values.max(1, keepdims=True)) * factor).sum(1).max())


def contrast(draw: Draw, x: Tensor, beta: float, limit: float) -> Tensor:
    """The tensor with a scale so large that no row's sum of exponentials reaches the limit."""
    scale = float(x.s)
    for _ in range(60):
        if largest_sum(x.x, scale * beta) < limit:
            break
        scale *= 1.5
    else:  # a wide row of equal values
        data = x.x.copy()
        data[..., ::2] = x.range.qmin
        data[..., 1::2] = x.range.qmin
        data[..., draw.integer(0, data.shape[-1] - 1)] = x.range.qmax
        return Tensor(x.dtype, data, x.scale, x.zero_point)
    return Tensor(x.dtype, x.x, np.array([scale], np.float32), x.zero_point)


SOFTMAX = {
    "int8": ("int8", 1 / 256, -128),
    "uint8": ("uint8", 1 / 256, 0),
    "int8 to int16": ("int16", 1 / 65536, -32768),
    "uint8 to int16": ("int16", 1 / 32768, 0),
    "int16": ("int16", 1 / 32768, 0),
}


@cases("SOFTMAX", *SOFTMAX)
def softmax(draw: Draw, form: str, size: int) -> Call:
    dtype, (output, scale, zero) = form.split()[0], SOFTMAX[form]
    shape = rows(draw, size, 3000 if draw.chance(0.2) else 600)
    beta = float(np.float32(draw.choice([1, 1, 1, 0.5, 2, 0.1, 0.37, 10])))
    low, high = (1e-5, 1e-3) if dtype == "int16" else (3e-3, 0.5)
    s = draw.scale(low, high)
    if dtype == "int16" and draw.ties:
        s = np.float32(2.0 ** draw.integer(-16, -9))
    x = draw.tensor(dtype, shape, s, 0 if dtype == "int16" else None)
    if draw.chance(0.3):  # rows that differ little, and rows with one large value
        low = draw.integer(x.range.qmin, x.range.qmax - 9)
        x = Tensor(dtype, (low + draw.random.integers(0, 9, shape)).astype(x.held), x.scale,
                   x.zero_point)  # fmt: skip
    if dtype != "int16" and output != "int16":
        x = contrast(draw, x, beta, 500)
    if form == "uint8" and draw.chance(0.3):
        scale, zero = float(draw.scale(1e-3, 1e-2)), draw.integer(0, 255)  # not checked there
    if output == "int8" and draw.chance(0.2):
        scale *= 1 + draw.choice([-5e-4, 5e-4])  # taken while within a thousandth
    y = draw.output(output, shape, scale, zero)
    return Call("SOFTMAX", (x,), (y,), options(beta=beta))


@cases("LOG_SOFTMAX", "int8", "uint8")
def log_softmax(draw: Draw, form: str, size: int) -> Call:
    shape = rows(draw, size, 2000 if draw.chance(0.2) else 600)
    x = draw.tensor(form, shape, draw.scale(1e-3, 1))
    if draw.chance(0.3):
        low = draw.integer(x.range.qmin, x.range.qmax - 9)
        x = Tensor(form, (low + draw.random.integers(0, 9, shape)).astype(x.held), x.scale,
                   x.zero_point)  # fmt: skip
    y = draw.output(form, shape, 16 / 256, 127 if form == "int8" else 255)
    return Call("LOG_SOFTMAX", (x,), (y,), options())


@cases("L2_NORMALIZATION", "int8", "uint8")
def l2_normalization(draw: Draw, form: str, size: int) -> Call:
    shape = rows(draw, size, 3000)
    x = draw.tensor(form, shape)
    spread = draw.random.random()
    if spread < 0.5:  # short vectors: all zero, one step, a few
        reach = draw.choice([0, 1, 2, 5])
        near = x.z + draw.random.integers(-reach, reach + 1, shape)
        sparse = np.where(draw.random.random(shape) < 0.3, near, x.z)
        data = np.clip(sparse, x.range.qmin, x.range.qmax).astype(x.held)
        x = Tensor(form, data, x.scale, x.zero_point)
    y = draw.output(form, shape, 1 / 128, 0 if form == "int8" else 128)
    return Call("L2_NORMALIZATION", (x,), (y,), options(fused_activation_function=0))
