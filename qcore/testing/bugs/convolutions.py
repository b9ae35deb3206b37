"""Defects of CONV_2D, DEPTHWISE_CONV_2D and TRANSPOSE_CONV."""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.call import Tensor
from qcore.testing.bugs.common import Call, const, floats, index, options, out, plain, q
from qcore.testing.bugs.record import (
    BOTH,
    REFUSED,
    REPRODUCED,
    Either,
    Family,
    Refusal,
    Unlike,
    Unwritten,
    at,
    crash,
    gives,
    stops,
)

BUGS = Family("convolutions")
ONE = {"stride_h": 1, "stride_w": 1, "fused_activation_function": 0, "padding": 0}
DILATED = ONE | {"dilation_h_factor": 1, "dilation_w_factor": 1}


def ones(dtype: str, *shape: int) -> Tensor:
    return q(dtype, np.ones(shape), 1.0)


def weights(dtype: str, *shape: int) -> Tensor:
    return const(dtype, np.ones(shape), 1.0)


def like(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The output: of the input's type, with scale 1 where that is quantized."""
    return out(x.dtype, shape, 1.0) if x.quantized else plain(x.dtype, shape)


def conv(x: Tensor, w: Tensor, bias: Tensor, shape: tuple[int, ...], **fields: Any) -> Call:
    return Call("CONV_2D", (x, w, bias), (like(x, shape),), options(**DILATED | fields))


def depthwise(
    x: Tensor, w: Tensor, bias: Tensor | None, shape: tuple[int, ...], **fields: Any
) -> Call:
    """With bias None the operator has two inputs."""
    found = (x, w) if bias is None else (x, w, bias)
    fields = DILATED | {"depth_multiplier": 1} | fields
    return Call("DEPTHWISE_CONV_2D", found, (like(x, shape),), options(**fields))


def zeros(n: int) -> Tensor:
    return const("int32", np.zeros(n), 1.0)


STRIDED = {
    "correct": "[4]",
    "ours": REPRODUCED,
    "seen": at("tensorflow", "xnnpack", gives([0])),
    "right": gives([4]),
    "note": "XNNPACK reads padding only where (output - 1) stride + kernel is less than the input.",
}


@BUGS(
    "conv-same-small-kernel",
    "CONV_2D with SAME padding and a kernel smaller than the stride gives the bias everywhere.",
    "CONV_2D",
    "int8 (1, 4, 4, 1) of 1, kernel 2 x 2 of 1, stride 4, SAME",
    **STRIDED,
)
def conv_same_small_kernel() -> Call:
    x, w = ones("int8", 1, 4, 4, 1), weights("int8", 1, 2, 2, 1)
    return conv(x, w, zeros(1), (1, 1, 1, 1), stride_h=4, stride_w=4)


@BUGS(
    "depthwise-same-small-kernel",
    "DEPTHWISE_CONV_2D, SAME, with a kernel smaller than the stride gives the bias everywhere.",
    "DEPTHWISE_CONV_2D",
    "int8 (1, 4, 4, 1) of 1, kernel 2 x 2 of 1, stride 4, SAME",
    **STRIDED,
)
def depthwise_same_small_kernel() -> Call:
    x, w = ones("int8", 1, 4, 4, 1), weights("int8", 1, 2, 2, 1)
    return depthwise(x, w, zeros(1), (1, 1, 1, 1), stride_h=4, stride_w=4)


BARE = {
    "correct": "all [1, ...]: the bias is optional in the schema",
    "ours": REFUSED,
    "seen": at("*", "optimized xnnpack", crash("SIGSEGV")),
    "right": gives([1] * 4),
}


@BUGS(
    "depthwise-no-bias",
    "DEPTHWISE_CONV_2D int8 with two inputs crashes.",
    "DEPTHWISE_CONV_2D",
    "int8 (1, 1, 1, 4) of 1, weights of 1, no third input",
    **BARE,
)
def depthwise_no_bias() -> Call:
    x, w = ones("int8", 1, 1, 1, 4), weights("int8", 1, 1, 1, 4)
    return depthwise(x, w, None, (1, 1, 1, 4))


@BUGS(
    "depthwise-no-bias-uint8",
    "DEPTHWISE_CONV_2D uint8 with two inputs crashes.",
    "DEPTHWISE_CONV_2D",
    "uint8 (1, 1, 1, 4) of 1, weights of 1, no third input",
    **BARE,
)
def depthwise_no_bias_uint8() -> Call:
    x, w = ones("uint8", 1, 1, 1, 4), weights("uint8", 1, 1, 1, 4)
    return depthwise(x, w, None, (1, 1, 1, 4))


@BUGS(
    "depthwise-no-bias-hybrid",
    "DEPTHWISE_CONV_2D hybrid with two inputs crashes.",
    "DEPTHWISE_CONV_2D",
    "float (1, 1, 1, 4) of 1, int8 weights of 1, no third input",
    **BARE,
)
def depthwise_no_bias_hybrid() -> Call:
    x, w = floats(np.ones((1, 1, 1, 4))), const("int8", np.ones((1, 1, 1, 4)), [1.0] * 4, axis=3)
    return depthwise(x, w, None, (1, 1, 1, 4))


@BUGS(
    "depthwise-no-output",
    "DEPTHWISE_CONV_2D divides by zero where VALID padding leaves no output.",
    "DEPTHWISE_CONV_2D",
    "int8 (1, 2, 2, 4), kernel 3 x 3, VALID",
    correct="an output of shape (1, 0, 0, 4)",
    ours="",
    seen=at("tensorflow", "optimized xnnpack", crash("SIGFPE")),
    right=gives(np.zeros((1, 0, 0, 4))),
    note="`kernels` gives the empty output.",
)
def depthwise_no_output() -> Call:
    x, w = ones("int8", 1, 2, 2, 4), weights("int8", 1, 3, 3, 4)
    return depthwise(x, w, zeros(4), (1, 0, 0, 4), padding=1)


@BUGS(
    "depthwise-int16-multiplier-0",
    "DEPTHWISE_CONV_2D int16 with depth_multiplier 0 writes nothing.",
    "DEPTHWISE_CONV_2D",
    "int16 (1, 1, 1, 1) of 1, weights (1, 1, 1, 2) of 1, depth_multiplier 0",
    correct="[1, 1]: the multiplier follows from the shapes, or an error",
    ours=REFUSED,
    seen=at("tensorflow", "*", Unwritten()),
    right=gives([1, 1]),
)
def depthwise_int16_multiplier_0() -> Call:
    x, w = ones("int16", 1, 1, 1, 1), weights("int8", 1, 1, 1, 2)
    bias = const("int64", np.zeros(2), 1.0)
    return depthwise(x, w, bias, (1, 1, 1, 2), depth_multiplier=0)


@BUGS(
    "depthwise-multiplier-1-of-2",
    "DEPTHWISE_CONV_2D with a depth_multiplier that is not that of the shapes.",
    "DEPTHWISE_CONV_2D",
    "int8 [1, 2], weights [1, 2, 3, 4], depth_multiplier 1 where 2 is true",
    correct="[1, 2, 6, 8], or an error on every path",
    ours=REFUSED,
    seen=at("tensorflow", "xnnpack", Unlike([1, 2, 6, 8], "values from beyond the input"))
    | at("litert", "xnnpack", Refusal("XNNPack delegate failed to reshape runtime")),
    right=gives([1, 2, 6, 8]),
)
def depthwise_multiplier_1_of_2() -> Call:
    x, w = q("int8", [[[[1, 2]]]], 1.0), const("int8", [[[[1, 2, 3, 4]]]], 1.0)
    return depthwise(x, w, zeros(4), (1, 1, 1, 4))


AS_INT64 = {
    "correct": "[4, 5]",
    "ours": REFUSED,
    "seen": at(
        "*", "*", Unlike([4, 5], "two biases become one, then memory beyond the bias is read")
    ),
}


@BUGS(
    "conv-int16-bias-type",
    "CONV_2D int16 reads an int32 bias as int64 where quantized_bias_type is not set.",
    "CONV_2D",
    "int16 [1], weights [[1], [1]], int32 bias [3, 4], scales 1",
    **AS_INT64,
)
def conv_int16_bias_type() -> Call:
    x, w = ones("int16", 1, 1, 1, 1), weights("int8", 2, 1, 1, 1)
    return conv(x, w, const("int32", [3, 4], 1.0), (1, 1, 1, 2))


def transposed(x: Tensor, w: Tensor, bias: Tensor, shape: tuple[int, ...]) -> Call:
    inputs = (index(*shape), w, x, bias)
    return Call("TRANSPOSE_CONV", inputs, (like(x, shape),), options(**ONE))


@BUGS(
    "transpose-conv-int16-bias-type",
    "TRANSPOSE_CONV int16 reads an int32 bias as int64 where quantized_bias_type is not set.",
    "TRANSPOSE_CONV",
    "int16 [1], weights [[1], [1]], int32 bias [3, 4], scales 1",
    **AS_INT64,
)
def transpose_conv_int16_bias_type() -> Call:
    x, w = ones("int16", 1, 1, 1, 1), weights("int8", 2, 1, 1, 1)
    return transposed(x, w, const("int32", [3, 4], 1.0), (1, 1, 1, 2))


@BUGS(
    "conv-hybrid-groups",
    "CONV_2D hybrid with groups and one scale is prepared half, and then uses what is not there.",
    "CONV_2D",
    "float (1, 1, 1, 2) of 1, int8 weights (2, 1, 1, 1) of 1 and one scale",
    correct="[1, 1]",
    ours=REFUSED,
    seen=at(
        "tensorflow", "reference optimized",
        Either((Refusal("Invalid tensor index"), crash("SIGSEGV"), Unlike([1, 1], "other values"))),
    ) | at("litert", "reference optimized", Refusal("affine_quantization->scale->size")),
    right=gives([1, 1]),
    note="litert refuses; tensorflow takes an uninitialised number for a tensor's.",
)  # fmt: skip
def conv_hybrid_groups() -> Call:
    x, w = floats(np.ones((1, 1, 1, 2))), weights("int8", 2, 1, 1, 1)
    return conv(x, w, floats(np.zeros(2), True), (1, 1, 1, 2))


@BUGS(
    "depthwise-hybrid-one-scale",
    "DEPTHWISE_CONV_2D hybrid reads a scale for each channel where the weights have only one.",
    "DEPTHWISE_CONV_2D",
    "float (1, 1, 1, 4) of 1, int8 weights of 1 with one scale",
    correct="all [1, ...]",
    ours=REFUSED,
    seen=at("*", "*", Unlike([1] * 4, "memory beyond the scale is read")),
)
def depthwise_hybrid_one_scale() -> Call:
    x, w = floats(np.ones((1, 1, 1, 4))), weights("int8", 1, 1, 1, 4)
    return depthwise(x, w, floats(np.zeros(4), True), (1, 1, 1, 4))


@BUGS(
    "conv-bias-scales",
    "CONV_2D: XNNPACK fails where bias and weights differ in one or many scales.",
    "CONV_2D DEPTHWISE_CONV_2D TRANSPOSE_CONV",
    "int8 [1], weights [[1], [1]] of two scales, bias of one",
    correct="[1, 1]",
    **stops("failed to delegate CONV_2D", gives([1, 1])),
)
def conv_bias_scales() -> Call:
    x, w = ones("int8", 1, 1, 1, 1), const("int8", np.ones((2, 1, 1, 1)), [1.0, 1.0])
    return conv(x, w, zeros(2), (1, 1, 1, 2))


SHIFTED = {"correct": "the weights minus their zero point, or an error on every path"}


@BUGS(
    "depthwise-filter-zero-point",
    "DEPTHWISE_CONV_2D ignores a zero point of the weights, or XNNPACK fails.",
    "DEPTHWISE_CONV_2D",
    "int8 (1, 1, 1, 4) of 1, weights of 5 with zero point 3",
    ours=BOTH,
    seen=at("*", "reference optimized", gives([5] * 4))
    | at("*", "xnnpack", Refusal("failed to delegate DEPTHWISE_CONV_2D")),
    **SHIFTED,
)
def depthwise_filter_zero_point() -> Call:
    x, w = ones("int8", 1, 1, 1, 4), const("int8", np.full((1, 1, 1, 4), 5), 1.0, 3, axis=3)
    return depthwise(x, w, zeros(4), (1, 1, 1, 4))


@BUGS(
    "transpose-conv-filter-zero-point",
    "TRANSPOSE_CONV ignores a zero point of the weights.",
    "TRANSPOSE_CONV",
    "int8 [1], weights [5] with zero point 3, scales 1",
    ours=REPRODUCED,
    seen=at("*", "*", gives([5])),
    **SHIFTED,
)
def transpose_conv_filter_zero_point() -> Call:
    x, w = ones("int8", 1, 1, 1, 1), const("int8", np.full((1, 1, 1, 1), 5), 1.0, 3)
    return transposed(x, w, zeros(1), (1, 1, 1, 1))


@BUGS(
    "conv-int2",
    "CONV_2D with int2 weights is prepared and invoked without error, and writes nothing.",
    "CONV_2D",
    "int8 (1, 1, 1, 4) of 1, int2 weights (4, 1, 1, 4) of 1",
    correct="all [4, ...], or an error when it is prepared",
    ours=REFUSED,
    seen=at("tensorflow", "*", Unwritten()),
    right=Refusal("Weight type INT2 (20) not supported for filter"),
)
def conv_int2() -> Call:
    x, w = ones("int8", 1, 1, 1, 4), weights("int2", 4, 1, 1, 4)
    return conv(x, w, zeros(4), (1, 1, 1, 4))


@BUGS(
    "depthwise-int16-int4",
    "DEPTHWISE_CONV_2D int16 takes int4 weights of version 3 and reads them as int8.",
    "DEPTHWISE_CONV_2D",
    "int16 (1, 1, 1, 4) of 1, int4 weights of 1, version 3",
    correct="all [1, ...], or an error",
    ours=REFUSED,
    seen=at("*", "*", Unlike([1] * 4, "17 for each packed pair, then what lies behind them")),
)
def depthwise_int16_int4() -> Call:
    x, w = ones("int16", 1, 1, 1, 4), const("int4", np.ones((1, 1, 1, 4)), [1.0] * 4, axis=3)
    bias = const("int64", np.zeros(4), 1.0)
    return depthwise(x, w, bias, (1, 1, 1, 4)).on(version=3)
