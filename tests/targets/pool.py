"""Operators in models of their own: random ones of every form, and some for other rules."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np

from kernels.call import Call, Tensor, options
from qcore.targets.site import Site, sites
from qcore.testing import models
from qcore.testing.build import Builder
from qcore.testing.cases import generators, make

SEEDS = 2
SIZE = 30


def t(
    dtype: str, *shape: int, scale: Any = None, zero_point: int = 0, data: Any = None, axis: int = 0
) -> Tensor:
    """A tensor; with `data` a constant (a number fills it)."""
    values = None if data is None else np.broadcast_to(np.asarray(data), shape)
    held = None if values is None else values.astype(dtype if dtype != "float32" else np.float32)
    if scale is None and dtype in ("int8", "uint8", "int16"):
        scale = 0.5
    scales = None if scale is None else np.array(scale, np.float32, ndmin=1)
    zero_points = None if scales is None else np.full(scales.shape, zero_point, np.int64)
    return Tensor(dtype, held, scales, zero_points, axis, data is not None, shape)


def call(name: str, inputs: list[Tensor | None], *outputs: Tensor, **fields: Any) -> Call:
    return Call(name, tuple(inputs), outputs, options(**fields))


def numbers(*values: int, dtype: str = "int32") -> Tensor:
    return t(dtype, len(values), data=values)


def conv(w: Tensor, bias: Tensor | None = None, x: Tensor | None = None, **fields: Any) -> Call:
    x = t("int8", 1, 8, 8, w.shape[3]) if x is None else x
    bias = t("int32", w.shape[0], scale=0.25, data=0) if bias is None else bias
    steps = {"stride_h": 1, "stride_w": 1, "dilation_h_factor": 1, "dilation_w_factor": 1, **fields}
    return call("CONV_2D", [x, w, bias], t(x.dtype, 1, 8, 8, w.shape[0]), **steps)


def weights(*shape: int, **fields: Any) -> Tensor:
    return t("int8", *shape, **{"data": 1, **fields})


def lstm() -> Call:
    """int8, 24 operands, nothing beside the four gates."""
    w, r = (lambda: weights(4, 3)), (lambda: weights(4, 4))
    b = lambda: t("int32", 4, scale=0.25, data=0)  # noqa: E731
    inputs: list[Tensor | None] = [t("int8", 1, 5, 3), w(), w(), w(), w(), r(), r(), r(), r()]
    inputs += [None] * 3 + [b() for _ in range(4)] + [None] * 2
    inputs += [t("int8", 1, 4), t("int16", 1, 4, scale=2.0**-12)] + [None] * 4
    return call("UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, t("int8", 1, 5, 4))


def special() -> Iterator[Call]:
    """What random calls do not have: a line or two for each rule."""
    image, floats = t("int8", 1, 4, 4, 8), t("float32", 1, 4, 4, 8)
    same = t("int8", 1, 4, 4, 8)
    yield call("SQUARED_DIFFERENCE", [t("int16", 4), t("int16", 4)], t("int16", 4))
    yield conv(weights(4, 1, 1, 8, zero_point=3))
    yield call("LOGISTIC", [t("int8", 1, 4, scale=1e-40)], t("int8", 1, 4, scale=1 / 256))
    yield call("ELU", [t("int16", 4)], t("int16", 4))
    yield call(
        "SLICE", [floats, numbers(0, 0, 0, 0), numbers(1, 2, 2, 8)], t("float32", 1, 2, 2, 8)
    )
    yield call("SOFTMAX", [t("float32", 1, 4)], t("float32", 1, 4), beta=1.0)
    for dtype in ("float32", "int16"):
        handle = t("resource")
        yield call("READ_VARIABLE", [handle], t(dtype, 4))
        yield call("ASSIGN_VARIABLE", [handle, t(dtype, 4)])
    # gpu
    fixed = t("float32", 1, 4, data=1)
    yield call("DIV", [fixed, fixed], t("float32", 1, 4))
    yield call("ABS", [fixed], t("float32", 1, 4))
    yield call("ADD", [t("float32", 2, 3, 4, 5), t("float32", 4, 5)], t("float32", 2, 3, 4, 5))
    yield conv(weights(4, 1, 1, 8), fused_activation_function=5)
    yield conv(weights(4, 1, 1, 2), x=t("int8", 1, 8, 8, 4))
    yield call("FULLY_CONNECTED", [fixed, t("float32", 3, 4, data=1)], t("float32", 1, 3))
    yield call(
        "FULLY_CONNECTED", [t("float32", 2, 3, 4), t("float32", 3, 4, data=1)],
        t("float32", 6, 3), keep_num_dims=True,
    )  # fmt: skip
    yield call("DEPTH_TO_SPACE", [floats], floats, block_size=1)
    yield call("GATHER", [floats, numbers(0, 2)], t("float32", 1, 2, 4, 8), axis=1)
    yield call(
        "RESIZE_BILINEAR", [floats, numbers(8, 8)], t("float32", 1, 8, 8, 8),
        align_corners=True, half_pixel_centers=True,
    )  # fmt: skip
    deep = t("float32", *(2,) * 5)
    yield call("RELU", [deep], deep)
    yield call("ADD_N", [floats] * 3, floats)
    yield call("ADD_N", [floats] * 2, floats)
    yield call("MEAN", [floats, t("int32", 2)], t("float32", 1, 8))
    # edgetpu
    yield call("PRELU", [image, weights(4, 4, 8)], same)
    yield call("PRELU", [image, weights(1, 1, 8)], same)
    yield conv(weights(4, 3, 3, 8), dilation_h_factor=2)
    yield call("MEAN", [image, numbers(1, 2)], t("int8", 1, 8))
    yield call("MEAN", [t("int8", 1, 4, 4, 6), numbers(3)], t("int8", 1, 4, 4))
    # tflm, cmsis-nn
    bounds = [numbers(0, 0, dtype="int64"), numbers(2, 2, dtype="int64")]
    yield call("STRIDED_SLICE", [t("int8", 4, 4), *bounds, numbers(1, 1, dtype="int64")],
               t("int8", 2, 2))  # fmt: skip
    yield call("ADD", [t("int16", 4, zero_point=5), t("int16", 4)], t("int16", 4))
    yield call("ADD", [image, image], t("int8", 1, 4, 4, 8, scale=1e-12))
    yield call("CONCATENATION", [image, image], t("int8", 1, 4, 4, 16), axis=3,
               fused_activation_function=1)  # fmt: skip
    yield call("PAD", [image, t("int32", 4, 2, data=0)], t("int8", 1, 4, 4, 8, scale=0.75))
    yield call("CONCATENATION", [image] * 11, t("int8", 11, 4, 4, 8), axis=0)
    yield call("DEPTH_TO_SPACE", [t("int8", 4, 4, 8)], t("int8", 8, 8, 2), block_size=2)
    yield call("TRANSPOSE", [t("int8", *(2,) * 6), numbers(*range(6))], t("int8", *(2,) * 6))
    yield call("PAD", [t("int8", *(2,) * 6), t("int32", 6, 2, data=0)], t("int8", *(2,) * 6))
    yield call("LOG_SOFTMAX", [t("int8", 1, 4)], t("int8", 1, 4, scale=0.25))
    yield call("BATCH_MATMUL", [t("int8", *(2,) * 5)] * 2, t("int8", *(2,) * 5))
    yield lstm()
    offset = [numbers(0, 0), numbers(2, 2), numbers(1, 1)]
    yield call("STRIDED_SLICE", [t("int8", 4, 4), *offset], t("int8", 2, 2), offset=True)
    yield call("PRELU", [t("int8", *(2,) * 5), weights(2)], t("int8", *(2,) * 5))
    # ethos-u
    yield call("MEAN", [image, numbers()], image)
    yield call("SPLIT", [numbers(-1), t("int8", 4)], t("int8", 2), t("int8", 2), num_splits=2)
    yield call("RESHAPE", [image, numbers(1, 128)], t("int8", 1, 128, scale=0.75))
    yield conv(weights(4, 1, 1, 8), t("int64", 4, scale=0.25, data=1 << 41), t("int16", 1, 8, 8, 8))
    yield call("FULLY_CONNECTED", [t("int8", 1, 70000), weights(1, 70000, data=127)],
               t("int8", 1, 1))  # fmt: skip
    yield conv(weights(4, 3, 3, 8), stride_h=4, stride_w=4, padding=0)
    yield call(
        "DEPTHWISE_CONV_2D", [image, weights(1, 3, 3, 8), t("int32", 8, scale=0.25, data=0)], same,
        stride_h=4, stride_w=4, depth_multiplier=1,
    )  # fmt: skip
    yield call("MAX_POOL_2D", [image], same, filter_height=300, filter_width=1, stride_h=1,
               stride_w=1)  # fmt: skip
    yield call("ARG_MAX", [t("int8", 1, 200), numbers(1)], t("int32", 1))
    yield call("MAXIMUM", [image, t("int8", 1, 4, 4, 8, scale=0.75)], same)
    yield call("RESIZE_BILINEAR", [image, numbers(8, 8)], t("int8", 1, 8, 8, 8))
    yield call("ELU", [image], t("int8", 4, 4, 8))
    backwards = [numbers(3, 3), numbers(0, 0), numbers(-1, -1)]
    yield call("STRIDED_SLICE", [t("int8", 4, 4), *backwards], t("int8", 3, 3))
    for stride in (2, 3):
        size = 4 * stride
        yield call(
            "TRANSPOSE_CONV", [numbers(1, size, size, 4), weights(4, 2, 2, 8), image],
            t("int8", 1, size, size, 4), stride_h=stride, stride_w=stride,
        )  # fmt: skip
    yield call("SOFTMAX", [t("int8", 1 << 16, 2)], t("int8", 1 << 16, 2, scale=1 / 256))


def opened() -> Site:
    """An operator on a shape of which the file leaves two axes open."""
    b = Builder()
    x = b.input((1, 1, 4), dtype="INT8", scale=0.5, signature=(-1, -1, 4))
    y = b.op("RELU", [x], (1, 1, 4), dtype="INT8")
    return sites(b.model([y]))[0]


def floating(given: Call) -> Call:
    """The same with every quantized tensor in float32."""

    def real(x: Tensor | None) -> Tensor | None:
        if x is None or not x.quantized:
            return x
        return Tensor("float32", None if x.data is None else x.real(), None, None, 0, x.constant,
                      x.shape)  # fmt: skip

    return given.on(inputs=tuple(map(real, given.inputs)), outputs=tuple(map(real, given.outputs)))


@cache
def pool() -> tuple[Site, ...]:
    """Every operator alone in a model: as the file has it, not as it was made."""
    made = [make(name, form, seed, SIZE) for name, form in generators() for seed in range(SEEDS)]
    made += [floating(make(name, form, 0, SIZE)) for name, form in generators() if form == "int8"]
    made += special()
    return (*(sites(models.to_model(one))[0] for one in made), opened())
