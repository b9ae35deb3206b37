"""Reductions over axes, ARG_MAX, ARG_MIN, TOPK_V2, CUMSUM, and pools.

Left out: REDUCE_PROD over axes that are all 1 long (or none), where tensorflow 2.21 reads outside
of its list of axes; axis lists longer than the rank of four, which its MEAN copies into four
places; windows that meet no pixel.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kernels.call import Call, Tensor, options
from qcore.testing.cases import cases
from qcore.testing.draw import Draw, index

INT32, INT64 = 2, 4  # TensorType of the schema


def shape_and_axes(
    draw: Draw, size: int, most: int = 400
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """A shape and the axes to reduce: about `size` outputs, `most` elements or fewer for each.

    The more elements, the fewer outputs, so that inputs stay small.
    """
    rank = draw.choice([1, 2, 3, 3, 4, 4, 4, 4, 5, 6])
    kind = draw.integer(0, 9)
    if rank == 4 and kind < 5:
        along = [1, 2]
    elif kind == 9:
        along = list(range(rank)) if draw.chance() else []
    else:
        along = [axis for axis in range(rank) if draw.chance(0.4)]
    many = draw.choice([1, 2, 7, min(20, most), min(49, most), most])
    inner = draw.shape(len(along), many)
    outer = draw.shape(rank - len(along), 2 * size if many < 10 else min(size, 100 * size // many))
    sizes = [0] * rank
    for axis, n in zip(along, inner, strict=True):
        sizes[axis] = n
    for axis, n in zip([a for a in range(rank) if a not in along], outer, strict=True):
        sizes[axis] = n
    return tuple(sizes), tuple(along)


def axis_tensor(draw: Draw, along: tuple[int, ...], rank: int) -> Tensor:
    """The axes as an operator may get them: in any order, negative, twice, a scalar, computed."""
    listed = [a - rank if draw.chance(0.3) else a for a in along]
    if draw.chance(0.3):
        listed = [listed[i] for i in draw.random.permutation(len(listed))]
    if listed and draw.chance(0.15) and len(listed) < 4:
        again = along[draw.integer(0, len(along) - 1)]
        listed.append(again if draw.chance() else again - rank)
    constant = draw.chance(0.85)
    if len(listed) == 1 and draw.chance(0.3):
        return Tensor("int32", np.array(listed[0], np.int32), constant=constant)
    return Tensor("int32", np.array(listed, np.int32), constant=constant)


def count(shape: tuple[int, ...], along: tuple[int, ...]) -> int:
    return math.prod(shape[a] for a in along)


def reduced(shape: tuple[int, ...], along: tuple[int, ...], keep: bool) -> tuple[int, ...]:
    return tuple(1 if a in along else n for a, n in enumerate(shape) if keep or a not in along)


def sizes(draw: Draw, shape: tuple[int, ...], along: tuple[int, ...]) -> tuple[Tensor, Any]:
    """The axis tensor and the options of a reduction."""
    keep = draw.chance(0.6)
    return axis_tensor(draw, along, len(shape)), options(keep_dims=keep)


@cases("MEAN", "int8", "int16", "uint8")
def mean(draw: Draw, form: str, size: int) -> Call:
    shape, along = shape_and_axes(draw, size)
    axis, given = sizes(draw, shape, along)
    x = draw.tensor(form, shape)
    y = draw.output(form, reduced(shape, along, given.keep_dims), scale=draw.scale(0.003, 0.3))
    return Call("MEAN", (x, axis), (y,), given)


@cases("SUM", "int8", "int16", "uint8")
def sum_(draw: Draw, form: str, size: int) -> Call:
    shape, along = shape_and_axes(draw, size)
    axis, given = sizes(draw, shape, along)
    x = draw.tensor(form, shape)
    n = count(shape, along)
    wider = 2.0 ** draw.integer(0, n.bit_length())
    y = draw.output(
        form, reduced(shape, along, given.keep_dims), scale=draw.scale(0.01, 0.3) * wider
    )
    return Call("SUM", (x, axis), (y,), given)


@cases("REDUCE_MAX", "int8", "int16", "uint8")
def reduce_max(draw: Draw, form: str, size: int) -> Call:
    return extreme(draw, "REDUCE_MAX", form, size)


@cases("REDUCE_MIN", "int8", "int16", "uint8")
def reduce_min(draw: Draw, form: str, size: int) -> Call:
    return extreme(draw, "REDUCE_MIN", form, size)


def extreme(draw: Draw, operator: str, form: str, size: int) -> Call:
    shape, along = shape_and_axes(draw, size)
    axis, given = sizes(draw, shape, along)
    x = draw.tensor(form, shape)
    y = draw.output(form, reduced(shape, along, given.keep_dims), scale=x.s, zero_point=x.z)
    return Call(operator, (x, axis), (y,), given)


@cases("REDUCE_PROD", "int8", "int16")
def reduce_prod(draw: Draw, form: str, size: int) -> Call:
    """The output scale is such that products of usual size fill the range."""
    shape, along = shape_and_axes(draw, 5 * size // 4, most=10)
    if count(shape, along) == 1:  # tensorflow 2.21 reads outside of its list of axes
        shape = (*shape, draw.integer(2, 4))[-6:]
        along = (len(shape) - 1,)
    axis, given = sizes(draw, shape, along)
    usual, fill = (60.0, 90.0) if form == "int8" else (12000.0, 20000.0)
    x = draw.tensor(form, shape, scale=draw.scale(0.3, 3) / usual * (8 if draw.ties else 1))
    n = count(shape, along)
    scale = (float(x.s) * usual) ** n / fill * np.exp(draw.random.uniform(-1, 2))
    if draw.ties:
        scale = 2.0 ** np.round(np.log2(scale))
    scale = np.clip(scale, 1e-30, 1e30)
    y = draw.output(form, reduced(shape, along, given.keep_dims), scale=scale)
    return Call("REDUCE_PROD", (x, axis), (y,), given)


@cases("REDUCE_ANY", "bool")
def reduce_any(draw: Draw, form: str, size: int) -> Call:
    return logical(draw, "REDUCE_ANY", size)


@cases("REDUCE_ALL", "bool")
def reduce_all(draw: Draw, form: str, size: int) -> Call:
    return logical(draw, "REDUCE_ALL", size)


def logical(draw: Draw, operator: str, size: int) -> Call:
    shape, along = shape_and_axes(draw, size, most=20)
    axis, given = sizes(draw, shape, along)
    share = draw.choice([0.05, 0.5, 0.95])
    x = Tensor("bool", draw.random.random(shape) < share)
    y = Tensor("bool", declared=reduced(shape, along, given.keep_dims))
    return Call(operator, (x, axis), (y,), given)


@cases("ARG_MAX", "int8", "uint8")
def arg_max(draw: Draw, form: str, size: int) -> Call:
    return place(draw, "ARG_MAX", form, size)


@cases("ARG_MIN", "int8", "uint8")
def arg_min(draw: Draw, form: str, size: int) -> Call:
    return place(draw, "ARG_MIN", form, size)


def place(draw: Draw, operator: str, form: str, size: int) -> Call:
    rank = draw.integer(1, 6)
    axis = rank - 1 if draw.chance(0.4) else draw.integer(0, rank - 1)
    length = draw.choice([1, 2, 3, 15, 16, 17, 40, 100, 300])
    left = draw.shape(rank - 1, 3 * size // 2 if length < 50 else 40 * size // length)
    shape = (*left[:axis], length, *left[axis:])
    wide = draw.chance()
    listed = axis - rank if draw.chance(0.3) else axis
    given = index(
        listed if draw.chance() else [listed],
        dtype="int64" if draw.chance(0.3) else "int32",
        constant=draw.chance(0.85),
    )
    y = Tensor("int64" if wide else "int32", declared=left)
    return Call(
        operator, (draw.tensor(form, shape), given), (y,),
        options(output_type=INT64 if wide else INT32),
    )  # fmt: skip


@cases("TOPK_V2", "int8", "int16", "uint8")
def topk_v2(draw: Draw, form: str, size: int) -> Call:
    row = draw.choice([1, 2, 5, 20, 100, 400])
    k = row if draw.chance(0.2) else draw.integer(1, row)
    left = draw.shape(draw.integer(0, 4), max(min(size // k, 60 * size // row), 1))
    x = draw.tensor(form, (*left, row))
    given = index(
        k if draw.chance() else [k],
        dtype="int16" if draw.chance(0.3) else "int32",
        constant=draw.chance(0.8),
    )
    outputs = (
        draw.output(form, (*left, k), scale=x.s, zero_point=x.z),
        Tensor("int16" if draw.chance(0.3) else "int32", declared=(*left, k)),
    )
    return Call("TOPK_V2", (x, given), outputs, options())


@cases("CUMSUM", "int32", "float32")
def cumsum(draw: Draw, form: str, size: int) -> Call:
    shape = draw.shape(draw.integer(1, 5), 4 * size // 3)
    axis = draw.integer(-len(shape), len(shape) - 1)
    if form == "int32":
        most = 2**31 - 1 if draw.chance(0.2) else 1000
        data = draw.random.integers(-most, most, shape).astype(np.int32)
    else:
        data = draw.floats(shape)
    given = index(axis if draw.chance() else [axis], constant=draw.chance(0.85))
    return Call(
        "CUMSUM", (Tensor(form, data), given), (Tensor(form, declared=shape),),
        options(exclusive=draw.chance(), reverse=draw.chance()),
    )  # fmt: skip


@cases("AVERAGE_POOL_2D", "int8", "int16", "uint8")
def average_pool_2d(draw: Draw, form: str, size: int) -> Call:
    return pool(draw, "AVERAGE_POOL_2D", form, size)


@cases("MAX_POOL_2D", "int8", "int16", "uint8")
def max_pool_2d(draw: Draw, form: str, size: int) -> Call:
    return pool(draw, "MAX_POOL_2D", form, size)


def pool(draw: Draw, operator: str, form: str, size: int) -> Call:
    batch = draw.choice([1, 1, 2, 3])
    channels = draw.choice([1, 3, 8, 16, 21, 40, 64, 270])
    out = draw.shape(2, max(3 * size // 2 // batch // channels, 1))
    same = draw.chance()
    kernel, stride, pixels = [], [], []
    most = draw.choice([1, 3, 4, 4, 4, 4, 4, 12])
    for n in out:
        k = draw.integer(1, most)
        step = draw.integer(1, 4) if draw.chance(0.4) else draw.integer(1, k)
        rest = draw.integer(0, step - 1)
        kernel.append(k)
        stride.append(step)
        pixels.append(n * step - rest if same else (n - 1) * step + k + rest)
    x = draw.tensor(form, (batch, *pixels, channels), scale=draw.scale(0.01, 0.5))
    y = draw.output(form, (batch, *out, channels), scale=x.s, zero_point=x.z)
    if draw.chance(0.1 if operator == "AVERAGE_POOL_2D" else 0.5 * (kernel == [1, 1])):
        y = draw.output(form, (batch, *out, channels))  # XNNPACK takes only 1x1 windows then
    return Call(
        operator, (x,), (y,),
        options(
            padding=0 if same else 1, filter_height=kernel[0], filter_width=kernel[1],
            stride_h=stride[0], stride_w=stride[1],
            fused_activation_function=draw.choice([0, 0, 1, 2, 3]),
        ),
    )  # fmt: skip
