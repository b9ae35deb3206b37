"""Operators of one variable: activations, elementwise functions, CAST."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from kernels import ranges
from kernels.call import Call, Tensor, options
from qcore.testing.cases import cases
from qcore.testing.draw import Draw

EIGHT = ("int8", "uint8")


def shape(draw: Draw, size: int) -> tuple[int, ...]:
    """Any rank; XNNPACK takes up to 6. Larger than asked, as a scalar now and then is smaller."""
    rank = 0 if draw.chance(0.03) else draw.choice([1, 1, 2, 3, 4, 4, 5, 6, 7])
    return draw.shape(rank, size * 4 // 3)


def unary(
    name: str, x: Tensor, y_scale: Any, y_zero_point: int | None, draw: Draw, **given: Any
) -> Call:
    """The call of `name` on x, with an output of its type and shape."""
    return Call(
        name, (x,), (draw.output(x.dtype, x.shape, y_scale, y_zero_point),), options(**given)
    )


def offset16(draw: Draw, dtype: str) -> int | None:
    """A zero point for int16, where a kernel takes one."""
    return draw.integer(-3000, 3000) if dtype == "int16" and draw.chance(0.3) else None


def each(kernels: dict[str, tuple[str, ...]]) -> Callable[[Any], Any]:
    """Decorator: one generator (name, draw, form, size) for several operators and their forms."""

    def bind(make: Callable[[str, Draw, str, int], Call]) -> Any:
        for name, forms in kernels.items():
            cases(name, *forms)(partial(make, name))
        return make

    return bind


@each(
    {
        "RELU": ("int8", "uint8", "int16"),
        "RELU6": ("int8", "uint8", "int16"),
        "RELU_N1_TO_1": EIGHT,
        "RELU_0_TO_1": EIGHT,
        "ABS": ("int8", "int16"),
        "NEG": ("int8", "int16"),
        "ELU": ("int8",),
        "LEAKY_RELU": ("int8", "uint8", "int16"),
    }
)
def free(name: str, draw: Draw, form: str, size: int) -> Call:
    """Any scales on both sides."""
    x = draw.tensor(form, shape(draw, size), draw.scale(2e-3, 0.3))
    given = {"alpha": alpha(draw)} if name == "LEAKY_RELU" else {}
    return unary(name, x, x.s if draw.chance(0.1) else draw.scale(2e-3, 0.3), None, draw, **given)


def alpha(draw: Draw) -> float:
    """Ordinary slopes, those at which XNNPACK steps back, and those that ties need."""
    kind = draw.integer(0, 3)
    if kind == 0 or (draw.ties and kind == 1):
        return draw.choice(
            [0.25, 0.5, 0.125, 1.0, 2.0, -0.5, -0.25, -0.125, 0.0, -1.0, 1 / 256, 1 / 300]
        )
    if kind == 1:
        return draw.choice([0.0, -0.0, 1e-40, 1.5, -3.0, 100.0, -200.0])
    return float(draw.random.uniform(-0.4, 0.8))


@cases("HARD_SWISH", *EIGHT)
def hard_swish(draw: Draw, form: str, size: int) -> Call:
    x = draw.tensor(form, shape(draw, size), draw.scale(1e-3, 0.3))
    # input / output below 128; now and then so small that the last shift leaves 15 bits
    far = draw.chance(0.1)
    y = np.float32(x.s * draw.random.uniform(300, 3000)) if far else draw.scale(5e-3, 0.3)
    return unary("HARD_SWISH", x, max(y, np.float32(x.s / 100)), None, draw)


@cases("GELU", "int8", "uint8", "int16")
def gelu(draw: Draw, form: str, size: int) -> Call:
    low, high = (2e-5, 5e-3) if form == "int16" else (2e-3, 0.3)
    x = draw.tensor(form, shape(draw, size), draw.scale(low, high), offset16(draw, form))
    y_zero_point = offset16(draw, form)
    return unary("GELU", x, draw.scale(low, high), y_zero_point, draw, approximate=draw.chance())


@cases("LOGISTIC", *EIGHT)
def logistic(draw: Draw, form: str, size: int) -> Call:
    x = draw.tensor(form, shape(draw, size), draw.scale(2e-3, 0.5))
    usual = ranges.NAMED[form].qmin
    return unary("LOGISTIC", x, 1 / 256, None if draw.chance(0.2) else usual, draw)


@cases("LOGISTIC", "int8, free output")
def logistic_free(draw: Draw, form: str, size: int) -> Call:
    """Any output scale: XNNPACK only."""
    x = draw.tensor("int8", shape(draw, size), draw.scale(2e-3, 0.5))
    while len(x.shape) > 6:  # elsewhere there is no kernel
        x = draw.tensor("int8", shape(draw, size), draw.scale(2e-3, 0.5))
    return unary("LOGISTIC", x, draw.scale(1e-3, 0.1) * np.float32(1.01), None, draw)


@cases("TANH", *EIGHT)
def tanh(draw: Draw, form: str, size: int) -> Call:
    x = draw.tensor(form, shape(draw, size), draw.scale(2e-3, 0.3))
    if draw.chance(0.3):
        return unary("TANH", x, draw.scale(2e-3, 0.1), None, draw)
    return unary("TANH", x, 1 / 128, 0 if form == "int8" else 128, draw)


@each({"LOGISTIC": ("int16",), "TANH": ("int16",)})
def sigmoid16(name: str, draw: Draw, form: str, size: int) -> Call:
    scale = draw.choice(
        [
            2.0**-12,
            2.0**-11,
            2.0 ** draw.integer(-16, -7),
            # near a power of two: on either side of what counts as one
            2.0 ** (draw.choice([-12, -11]) + draw.random.uniform(-2e-3, 2e-3)),
            np.exp(draw.random.uniform(np.log(1e-6), np.log(1e-2))),
            draw.random.uniform(0.01, 6.0),
        ]
    )
    x = draw.tensor(form, shape(draw, size), scale)
    return unary(name, x, 2.0**-15, None, draw)


@cases("EXP", "int8", "int16")
def exp(draw: Draw, form: str, size: int) -> Call:
    top = 300.0 if draw.chance(0.1) else draw.random.uniform(0.5, 12)
    q = ranges.NAMED[form]
    x = draw.tensor(form, shape(draw, size), top / q.qmax)
    if draw.ties:
        x = draw.tensor(form, x.shape, 2.0 ** np.round(np.log2(top / q.qmax)))
    largest = np.exp(min(float(x.s) * (q.qmax - x.z), 80.0))
    return unary("EXP", x, max(1e-4, largest / q.steps * draw.random.uniform(0.3, 2)), None, draw)


@cases("LOG", "int8", "int16")
def log(draw: Draw, form: str, size: int) -> Call:
    low, high = (1e-5, 1e-2) if form == "int16" else (2e-3, 1.0)
    x = draw.tensor(form, shape(draw, size), draw.scale(low, high), _low(draw, form))
    return unary("LOG", x, draw.scale(2e-5, 1e-3) if form == "int16" else None, None, draw)


@each({"SQRT": ("int8", "int16"), "RSQRT": ("int8", "int16")})
def roots(name: str, draw: Draw, form: str, size: int) -> Call:
    low, high = (1e-6, 1e-2) if form == "int16" else (1e-3, 1.0)
    x = draw.tensor(form, shape(draw, size), draw.scale(low, high), _low(draw, form))
    x = replace(x, data=np.maximum(x.x, np.asarray(x.z, x.held)))  # a negative value is refused
    return unary(name, x, draw.scale(low, high), None, draw)


def _low(draw: Draw, form: str) -> int | None:
    """A zero point that leaves room for positive values."""
    return draw.integer(-128, -100) if form == "int8" and draw.chance(0.7) else None


def plain(draw: Draw, dtype: str, dims: tuple[int, ...]) -> Tensor:
    """Integers that are not quantized, the ends of their type among them."""
    info = np.iinfo(dtype)
    found = draw.random.integers(info.min, info.max, dims, dtype, endpoint=True)
    small = draw.random.integers(-3, 4, dims).astype(dtype)
    found = np.where(draw.random.random(dims) < 0.3, small, found)
    found = np.where(draw.random.random(dims) < 0.05, np.asarray(info.min, dtype), found)
    return Tensor(dtype, np.asarray(found, dtype))


@each(
    {
        "ABS": ("int32", "int16, bare"),
        "NEG": ("int32", "int64"),
        "SIGN": ("int32",),
        "ZEROS_LIKE": ("int32", "int64"),
    }
)
def integers(name: str, draw: Draw, form: str, size: int) -> Call:
    dtype = form.split(",")[0]
    x = plain(draw, dtype, shape(draw, size))
    return Call(name, (x,), (Tensor(dtype, declared=x.shape),))


WIDE = ("float32", "float16", "float64", "int8", "uint8", "int16", "uint16", "int32", "uint32",
        "int64", "bool")  # fmt: skip


@cases("CAST", "int8", "uint8", "int16", "int32", "int64", "uint16", "uint32", "bool")
def cast_integers(draw: Draw, form: str, size: int) -> Call:
    """From bare integers or, on 8 and 16 bits, from quantized ones: the same numbers."""
    dims = shape(draw, size)
    if form == "bool":
        x = Tensor(form, draw.random.random(dims) < 0.5)
    elif form in ("int8", "uint8", "int16") and draw.chance():
        x = draw.tensor(form, dims)
    else:
        x = plain(draw, form, dims)
    y = Tensor(draw.choice(WIDE), declared=dims)
    if y.dtype in ("int8", "uint8", "int16") and draw.chance(0.3):
        y = draw.output(y.dtype, dims)
    return Call("CAST", (x,), (y,))


@cases("CAST", "float32", "float16", "float64")
def cast_floats(draw: Draw, form: str, size: int) -> Call:
    """To integers within their range: only one target saturates in every runtime."""
    dims = shape(draw, size)
    y = draw.choice([*WIDE, "int32", "int4"] if form == "float32" else WIDE)
    if (form, y) == ("float32", "int32"):
        x = draw.floats(dims, draw.choice([3.0, 1e5, 1e10, 1e30]))
        x = np.where(draw.random.random(dims) < 0.02, np.float32(np.nan), x)
        x = np.where(draw.random.random(dims) < 0.02, np.float32(-np.inf), x)
    elif y.startswith("float") or y in ("bool", "int4"):
        x = draw.floats(dims, draw.choice([1e-5, 3.0, 1e5]))
    else:
        info = np.iinfo(y)
        spread = min(draw.choice([3.0, 100.0, 1e4, 1e9]), float(info.max))
        x = np.clip(draw.floats(dims, spread), max(float(info.min), -(2.0**62)), info.max / 2)
    if form == "float16":
        x = np.clip(x, -6e4, 6e4)
    target = Tensor(y, declared=dims)
    return Call("CAST", (Tensor(form, np.asarray(x, form)),), (target,))


@cases("CAST", "int4", "int2")
def cast_packed(draw: Draw, form: str, size: int) -> Call:
    x = Tensor(form, draw.values(form, shape(draw, size)), constant=True)
    return Call("CAST", (x,), (Tensor("float32", declared=x.shape),))
