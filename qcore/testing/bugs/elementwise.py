"""Defects of operators that work element by element, of the softmaxes and of RESIZE_BILINEAR."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from kernels.call import Tensor
from qcore.testing.bugs.common import Call, const, floats, of, options, out, plain, q
from qcore.testing.bugs.record import (
    MEANT,
    REFUSED,
    REPRODUCED,
    Family,
    Refusal,
    Unlike,
    at,
    crash,
    gives,
    stops,
)

BUGS = Family("elementwise")
NONE = {"fused_activation_function": 0}
ABORTS = at("*", "*", crash("SIGABRT"))


def binary(name: str, x: Tensor, y: Tensor, scale: float, **fields: Any) -> Call:
    made = out(x.dtype, np.broadcast_shapes(x.shape, y.shape), scale)
    given = {} if name == "MAXIMUM" else NONE | fields
    return Call(name, (x, y), (made,), options(**given))


def one(value: int = 1, scale: float = 1.0) -> Tensor:
    return q("int8", [value], scale)


@BUGS(
    "sub-multiplier-above-1",
    "SUB loses the magnitude of its result where the output multiplier is above 1.",
    "SUB",
    "int8 [10, -10] - [0, 0] of scale 1 to an output scale of 2^-20",
    correct="[127, -128]: saturation",
    ours=REPRODUCED,
    seen=at("*", "*", gives([1, -1])),
    note="The kernel shifts right by a negative number. mobilefacenet in int8 has 16 such SUBs.",
)
def sub_multiplier_above_1() -> Call:
    return binary("SUB", q("int8", [10, -10], 1.0), q("int8", [0, 0], 1.0), 2**-20)


@BUGS(
    "xnnpack-lost-rank",
    "XNNPACK drops leading dimensions where a constant of one element has the higher rank and an "
    "activation is fused.",
    "ADD",
    "int8 [1, 2] + constant [[3]] with RELU",
    correct="[[4, 5]]: shape (1, 2), as without the activation and on the other paths",
    ours=MEANT,
    seen=at("litert", "xnnpack", gives([4, 5])),
    right=gives([[4, 5]]),
)
def xnnpack_lost_rank() -> Call:
    three = replace(q("int8", [[3]], 1.0), constant=True)
    return binary("ADD", q("int8", [1, 2], 1.0), three, 1.0, fused_activation_function=1)


@BUGS(
    "add-multiplier-1",
    "ADD aborts where the output multiplier is 1 or more.",
    "ADD",
    "int8 [1] + [0] of scale 1 to an output scale of 2^-20",
    correct="[127]: saturation",
    ours=REFUSED,
    seen=ABORTS,
)
def add_multiplier_1() -> Call:
    return binary("ADD", one(), one(0), 2**-20)


@BUGS(
    "sub-multiplier-1",
    "SUB aborts where the output multiplier is exactly 1.",
    "SUB",
    "int8 [1] - [0] of scale 1 to an output scale of 2^-19",
    correct="[127]: saturation",
    ours=REFUSED,
    seen=ABORTS,
)
def sub_multiplier_1() -> Call:
    return binary("SUB", one(), one(0), 2**-19)


@BUGS(
    "squared-difference-multiplier",
    "SQUARED_DIFFERENCE aborts where the output multiplier is 1 or more.",
    "SQUARED_DIFFERENCE",
    "int8 [1], [0] of scale 1 to an output scale of 2^-13",
    correct="[127]: saturation",
    ours=REFUSED,
    seen=ABORTS,
)
def squared_difference_multiplier() -> Call:
    return Call("SQUARED_DIFFERENCE", (one(), one(0)), (out("int8", (1,), 2**-13),))


@BUGS(
    "add-int16-broadcast",
    "ADD int16 with pot_scale_int16, the schema's default, aborts when it has to broadcast.",
    "ADD",
    "int16 (2, 8) + (1, 8), scales 2^-12 and 2^-13 to 2^-12",
    correct="all [2, ...]: 1 + 0.5 steps, halves away from zero",
    ours=REFUSED,
    seen=ABORTS,
)
def add_int16_broadcast() -> Call:
    x, y = q("int16", np.ones((2, 8)), 2**-12), q("int16", np.ones((1, 8)), 2**-13)
    return binary("ADD", x, y, 2**-12, pot_scale_int16=True)


@BUGS(
    "mul-large-factor",
    "MUL with a factor above 2^31 gives small integers that depend on the position.",
    "MUL",
    "int8 17 x 1 step, scales 0.1 x 0.1 to 1e-12",
    correct="all [127, ...]: saturation",
    ours=REPRODUCED,
    seen=at("*", "reference", gives([2] * 17))
    | at("*", "optimized xnnpack", gives([0] * 16 + [2])),
    note="The shift of 34 leaves 32 bits; blocks of 16 and the tail have different code.",
)
def mul_large_factor() -> Call:
    return binary("MUL", q("int8", np.ones(17), 0.1), q("int8", np.ones(17), 0.1), 1e-12)


@BUGS(
    "neg-zero-point",
    "NEG of quantized values negates the stored integers; scales and zero points are not read.",
    "NEG",
    "int8 [10, 14, -128], scale 0.5 and zero point 10 on both sides",
    correct="[10, 6, 127]",
    ours=REPRODUCED,
    seen=at("*", "*", gives([-10, -14, -128])),
    note="-128 stays -128, too.",
)
def neg_zero_point() -> Call:
    return Call("NEG", (q("int8", [10, 14, -128], 0.5, 10),), (out("int8", (3,), 0.5, 10),))


@BUGS(
    "div-small-quotient",
    "DIV saturates where the quotient is near 0: a shift by 32 or more is undefined in C.",
    "DIV",
    "int8 [-1, -1] / [7, 8], every scale 0.5",
    correct="[0, 0]",
    ours=REPRODUCED,
    seen=at("*", "*", gives([0, -128])),
    note="With equal scales some four of a hundred pairs of operands are hit.",
)
def div_small_quotient() -> Call:
    return binary("DIV", q("int8", [-1, -1]), q("int8", [7, 8]), 0.5)


@BUGS(
    "div-zero-byte",
    "DIV refuses a divisor whose stored byte is 0, whatever its zero point says.",
    "DIV",
    "int8 [10] / [0] with zero point -5: the real divisor is 5",
    correct="[2]",
    ours=REFUSED,
    seen=at("tensorflow", "*", Refusal("data[i] != 0 was not true")),
    right=gives([2]),
)
def div_zero_byte() -> Call:
    return binary("DIV", one(10), q("int8", [0], 1.0, -5), 1.0)


@BUGS(
    "div-by-zero",
    "DIV divides by a real zero where the zero point is not 0.",
    "DIV",
    "int8 [10] / [-5] with zero point -5: the real divisor is 0",
    correct="an error, as litert has it",
    ours=REPRODUCED,
    seen=at("tensorflow", "*", gives([-14])),
    right=Refusal("data[i] != zero_point was not true"),
)
def div_by_zero() -> Call:
    return binary("DIV", one(10), q("int8", [-5], 1.0, -5), 1.0)


def comparison(x: Tensor, y: Tensor, name: str = "LESS") -> Call:
    return Call(name, (x, y), (plain("bool", x.shape),))


COMPARISONS = "EQUAL NOT_EQUAL LESS LESS_EQUAL GREATER GREATER_EQUAL"


@BUGS(
    "compare-scale-1",
    "Comparisons of quantized values abort where a scale is exactly 1.",
    COMPARISONS,
    "int8 [1] < [1], scale 1 on both sides",
    correct="[False]",
    ours=REFUSED,
    seen=ABORTS,
)
def compare_scale_1() -> Call:
    return comparison(one(), one())


@BUGS(
    "compare-scale-above-1",
    "Comparisons of quantized values are wrong where a scale is above 1: only signs count.",
    COMPARISONS,
    "int8 [5] of scale 1.5 < [10] of scale 1.25",
    correct="[True]: 7.5 < 12.5",
    ours=REPRODUCED,
    seen=at("*", "*", gives([False])),
)
def compare_scale_above_1() -> Call:
    return comparison(one(5, 1.5), one(10, 1.25))


@BUGS(
    "compare-int16-scales",
    "LESS, GREATER and their like on int16 compare the stored integers; scales are not read.",
    "LESS LESS_EQUAL GREATER GREATER_EQUAL",
    "int16 [10] of scale 0.5 < [9] of scale 0.75",
    correct="[True]: 5 < 6.75",
    ours=REPRODUCED,
    seen=at("*", "*", gives([False])),
)
def compare_int16_scales() -> Call:
    return comparison(q("int16", [10], 0.5), q("int16", [9], 0.75))


@BUGS(
    "prelu-int16-alpha",
    "PRELU int16 takes an int16 alpha and reads its bytes as int8.",
    "PRELU",
    "int16 [-100, -100] of scale 0.5, alpha int16 [1000, 1000] of scale 0.001",
    correct="[-100, -100]",
    ours=REFUSED,
    seen=at("*", "*", gives([2, 0])),
)
def prelu_int16_alpha() -> Call:
    x, alpha = q("int16", [[-100, -100]], 0.5), const("int16", [[1000, 1000]], 0.001)
    return Call("PRELU", (x, alpha), (out("int16", (1, 2), 0.5),), version=1)


def softmax(x: Tensor) -> Call:
    return Call("SOFTMAX", (x,), (out("int8", x.shape, 1 / 256, -128),), options(beta=1.0))


@BUGS(
    "softmax-512",
    "SOFTMAX int8 aborts where a row's sum of exponentials, relative to its largest, reaches 512.",
    "SOFTMAX",
    "int8 (1, 512), all 0",
    correct="all [-127, ...]: 1/512 is half a step",
    ours=REFUSED,
    seen=at("*", "reference", crash("SIGABRT")),
    right=gives([-127] * 512),
    note="A classifier of 1001 classes and an input scale of 0.005 is enough. 511 zeros work.",
)
def softmax_512() -> Call:
    return softmax(q("int8", np.zeros((1, 512)), 0.1))


@BUGS(
    "softmax-small-scale",
    "SOFTMAX int8 aborts where beta times the input scale is 2^-26 or less.",
    "SOFTMAX",
    "int8 [1, 2] of scale 2^-26",
    correct="[0, 0]",
    ours=REFUSED,
    seen=at("*", "reference", crash("SIGABRT")),
    right=gives([0, 0]),
)
def softmax_small_scale() -> Call:
    return softmax(q("int8", [[1, 2]], 2**-26))


@BUGS(
    "log-softmax-small-scale",
    "LOG_SOFTMAX int8 aborts where the input scale is 2^-26 or less.",
    "LOG_SOFTMAX",
    "int8 [1, 2] of scale 2^-26",
    correct="[116, 116]: ln 2 / 16 below 0",
    ours=REFUSED,
    seen=at("*", "reference", crash("SIGABRT")),
    right=gives([116, 116]),
)
def log_softmax_small_scale() -> Call:
    x = q("int8", [[1, 2]], 2**-26)
    return Call("LOG_SOFTMAX", (x,), (out("int8", (1, 2), 16 / 256, 127),))


@BUGS(
    "xnnpack-subnormal-scale",
    "XNNPACK fails on a subnormal scale after it has taken the operator.",
    "TANH LOGISTIC ELU LEAKY_RELU",
    "TANH of int8 [1, 2] of scale 1e-40",
    correct="[0, 0]",
    **stops("unsupported scale value", gives([0, 0])),
)
def xnnpack_subnormal_scale() -> Call:
    return Call("TANH", (q("int8", [1, 2], 1e-40),), (out("int8", (2,), 1 / 128),))


@BUGS(
    "quantize-subnormal-scale",
    "QUANTIZE to int8 with a subnormal scale crashes in XNNPACK.",
    "QUANTIZE",
    "float [1, 2] to int8 of scale 1e-40",
    correct="[127, 127]: saturation (the other paths: quantize-beyond-int32)",
    ours=REFUSED,
    seen=at("*", "xnnpack", crash("SIGSEGV")),
    right=gives([-128, -128]),
)
def quantize_subnormal_scale() -> Call:
    return Call("QUANTIZE", (floats([1, 2]),), (out("int8", (2,), 1e-40),))


@BUGS(
    "requantize-subnormal-scale",
    "QUANTIZE of int8 to a subnormal scale shifts by more than 31 bits, or crashes in XNNPACK.",
    "QUANTIZE",
    "int8 [1, 2] of scale 0.5 to int8 of scale 1e-40",
    correct="[127, 127]: saturation",
    ours="",
    seen=at("*", "reference optimized", gives([15, 29])) | at("*", "xnnpack", crash("SIGSEGV")),
)
def requantize_subnormal_scale() -> Call:
    return Call("QUANTIZE", (q("int8", [1, 2]),), (out("int8", (2,), 1e-40),))


@BUGS(
    "quantize-beyond-int32",
    "QUANTIZE turns NaN, infinities and what is beyond int32 into -2^31 plus the zero point.",
    "QUANTIZE",
    "float [inf, -inf, 1e20] to int8 of scale 1, zero point 0",
    correct="[127, -128, 127]",
    ours=REPRODUCED,
    seen=at("*", "reference optimized", gives([-128] * 3)),
    right=gives([127, -128, 127]),
    note="With a negative zero point the sum wraps, and the same three become 127.",
)
def quantize_beyond_int32() -> Call:
    return Call("QUANTIZE", (floats([np.inf, -np.inf, 1e20]),), (out("int8", (3,), 1.0),))


@BUGS(
    "relu6-small-scale",
    "RELU6 and its like give the zero point everywhere where a bound in steps leaves int32.",
    "RELU6 RELU_N1_TO_1 RELU_0_TO_1",
    "RELU6 of int8 [4, 5, 100], scale 1e-9, to scale 1e-9 and zero point 5",
    correct="[9, 10, 105]: 6 is far away",
    ours=REPRODUCED,
    seen=at("*", "*", gives([5, 5, 5])),
)
def relu6_small_scale() -> Call:
    return Call("RELU6", (q("int8", [4, 5, 100], 1e-9),), (out("int8", (3,), 1e-9, 5),))


@BUGS(
    "sqrt-beyond-int32",
    "SQRT gives the smallest integer where the root is 2^31 output steps or more.",
    "SQRT",
    "int8 [1, 4, 100] of scale 1 to an output scale of 1e-10",
    correct="all [127, ...]: saturation",
    ours=REPRODUCED,
    seen=at("*", "*", gives([-128] * 3)),
)
def sqrt_beyond_int32() -> Call:
    return Call("SQRT", (q("int8", [1, 4, 100], 1.0),), (out("int8", (3,), 1e-10, 5),))


@BUGS(
    "hard-swish-small-ratio",
    "HARD_SWISH is off by a step where the input scale is below 2^-9 of the output scale.",
    "HARD_SWISH",
    "int8 [-3, 0, 3, 100] of scale 0.001 to scale 0.6",
    correct="[0, 0, 0, 0]",
    ours=REPRODUCED,
    seen=at("*", "*", gives([-1, 1, 1, 1])),
)
def hard_swish_small_ratio() -> Call:
    return Call("HARD_SWISH", (q("int8", [-3, 0, 3, 100], 0.001),), (out("int8", (4,), 0.6),))


@BUGS(
    "cast-int2",
    "CAST to int2: the Python interpreter gives bytes from beyond the packed tensor.",
    "CAST",
    "float [-2, -1, 0, 1] to int2",
    correct="[-2, -1, 0, 1]",
    ours=MEANT,
    seen=at("tensorflow", "*", Unlike([-2, -1, 0, 1], "packed bytes, and what lies behind them")),
    right=gives([-2, -1, 0, 1]),
)
def cast_int2() -> Call:
    return Call("CAST", (floats([-2, -1, 0, 1]),), (plain("int2", (4,)),))


@BUGS(
    "cast-beyond-int8",
    "CAST of a float out of range wraps in one runtime and saturates in the other.",
    "CAST",
    "float [300] to int8",
    correct="nothing is defined; litert gives 127",
    ours=MEANT,
    seen=at("tensorflow", "*", gives([44])),
    right=gives([127]),
    note="`kernels` gives litert's result on both.",
)
def cast_beyond_int8() -> Call:
    return Call("CAST", (floats([300]),), (plain("int8", (1,)),))


def ranked(name: str, *shapes: tuple[int, ...]) -> Call:
    x, y = (q("int8", np.ones(s)) for s in shapes)
    if name == "EQUAL":
        return Call(name, (x, y), (plain("bool", np.broadcast_shapes(*shapes)),))
    return binary(name, x, y, 0.5)


BEYOND = {
    "ours": REFUSED,
    "correct": "the values, or an error message",
    "seen": at("tensorflow", "*", crash("SIGABRT")),
}


@BUGS(
    "compare-broadcast-rank",
    "Comparisons abort when they broadcast over five axes or more.",
    COMPARISONS,
    "EQUAL of int8 (2, 3, 2, 2, 3) and (2, 3, 2, 2, 1), all equal",
    right=gives([True] * 72),
    **BEYOND,
)
def compare_broadcast_rank() -> Call:
    return ranked("EQUAL", (2, 3, 2, 2, 3), (2, 3, 2, 2, 1))


@BUGS(
    "maximum-broadcast-rank",
    "MAXIMUM aborts when it broadcasts over six axes or more.",
    "MAXIMUM MINIMUM",
    "int8 (2, 1, 2, 1, 2, 1) and (1, 2, 1, 2, 1, 2), all 1",
    right=gives([1] * 64),
    **BEYOND,
)
def maximum_broadcast_rank() -> Call:
    return ranked("MAXIMUM", (2, 1) * 3, (1, 2) * 3)


@BUGS(
    "div-broadcast-rank",
    "DIV aborts when it broadcasts over six axes or more.",
    "DIV",
    "int8 (2, 1, 2, 1, 2, 1) and (1, 2, 1, 2, 1, 2), all 1",
    right=gives([2] * 64),
    **BEYOND,
)
def div_broadcast_rank() -> Call:
    return ranked("DIV", (2, 1) * 3, (1, 2) * 3)


@BUGS(
    "mul-broadcast-rank",
    "MUL aborts when it broadcasts over seven axes or more.",
    "MUL",
    "int8 (2, 1, 2, 1, 2, 1, 2) and (1, 2, 1, 2, 1, 2, 1), all 1",
    right=gives([1] * 128),
    **BEYOND,
)
def mul_broadcast_rank() -> Call:
    return ranked("MUL", (*(2, 1) * 3, 2), (*(1, 2) * 3, 1))


@BUGS(
    "add-broadcast-rank-9",
    "ADD, SUB and SQUARED_DIFFERENCE crash when they broadcast over nine axes.",
    "ADD SUB SQUARED_DIFFERENCE",
    "ADD of int8 (2, 1, ..., 2) and (1, 2, ..., 1)",
    correct="an error message",
    ours=REFUSED,
    seen=at("tensorflow", "*", crash("SIGSEGV")) | at("litert", "*", crash("SIGABRT")),
)
def add_broadcast_rank_9() -> Call:
    return ranked("ADD", (*(2, 1) * 4, 2), (*(1, 2) * 4, 1))


def resize(x: Tensor, height: int, width: int, scale: float = 0.5, **fields: bool) -> Call:
    y = out("int8", (1, height, width, x.shape[3]), scale)
    fields = {"align_corners": False, "half_pixel_centers": False} | fields
    size = of([height, width], "int32", True)
    return Call("RESIZE_BILINEAR", (x, size), (y,), options(**fields))


COLOURS = np.arange(40) + 50


@BUGS(
    "resize-bilinear-beyond",
    "RESIZE_BILINEAR int8 reads beyond the image: its step in 1/1024 is rounded up.",
    "RESIZE_BILINEAR",
    "int8, one pixel of 40 channels to 65 x 65",
    correct="the same pixel everywhere",
    ours=REFUSED,
    seen=at(
        "*",
        "reference optimized",
        Unlike(np.tile(COLOURS, 65 * 65), "foreign memory in the last row and column"),
    ),
    right=gives(np.tile(COLOURS, 65 * 65)),
    note="The first output size from one pixel is 55; with half_pixel_centers 1053, with "
    "align_corners 2049. int16 has it as well.",
)
def resize_bilinear_beyond() -> Call:
    return resize(q("int8", COLOURS.reshape(1, 1, 1, 40)), 65, 65)


PIXELS = [[[[0], [100]]]]


@BUGS(
    "resize-bilinear-both",
    "RESIZE_BILINEAR with align_corners and half_pixel_centers is refused, but not by XNNPACK.",
    "RESIZE_BILINEAR",
    "int8 [0, 100] to four columns with both options",
    correct="an error, as the other paths have it",
    ours=REPRODUCED,
    seen=at("*", "xnnpack", gives([0, 33, 67, 100])),
    right=Refusal("If half_pixel_centers is True, align_corners must be False"),
    note="XNNPACK computes as with align_corners alone.",
)
def resize_bilinear_both() -> Call:
    return resize(q("int8", PIXELS), 1, 4, align_corners=True, half_pixel_centers=True)


@BUGS(
    "resize-bilinear-scales",
    "RESIZE_BILINEAR: XNNPACK fails where the scales of input and output differ.",
    "RESIZE_BILINEAR",
    "int8 [0, 100] of scale 0.5 to four columns of scale 0.25",
    correct="[0, 50, 100, 100]: the other paths do not rescale",
    **stops("failed to delegate RESIZE_BILINEAR", gives([0, 50, 100, 100])),
)
def resize_bilinear_scales() -> Call:
    return resize(q("int8", PIXELS), 1, 4, 0.25)


@BUGS(
    "lrn-last-channel",
    "LOCAL_RESPONSE_NORMALIZATION leaves the last channel out of each window.",
    "LOCAL_RESPONSE_NORMALIZATION",
    "float [1, 2, 4], radius 1, bias 0, alpha 1, beta 1",
    correct="about [0.2, 0.0952, 0.2]",
    ours=REPRODUCED,
    seen=at("*", "reference", gives(np.array([1, 0.4, 0.2], np.float32))),
)
def lrn_last_channel() -> Call:
    x = floats([[[[1, 2, 4]]]])
    fields = options(radius=1, bias=0.0, alpha=1.0, beta=1.0)
    return Call("LOCAL_RESPONSE_NORMALIZATION", (x,), (plain("float32", x.shape),), fields)
