"""TFLite Micro with its reference kernels: what has no kernel there stops the whole model.

Shapes are fixed when the interpreter is made, and operands that shapes follow from are constants.
"""

from __future__ import annotations

from kernels.opspec import Role
from qcore.targets import conditions as c
from qcore.targets.rule import Placement, Rule, Target, takes
from qcore.targets.site import Site

KERNELS = "tflite-micro tensorflow/lite/micro/kernels"
RESOLVER = "tflite-micro tensorflow/lite/micro/micro_mutable_op_resolver.h"
OPERATORS = takes(
    """
float32 int8 int16:
    ABS AVERAGE_POOL_2D BATCH_MATMUL CONV_2D DEPTHWISE_CONV_2D EXPAND_DIMS FULLY_CONNECTED
    LEAKY_RELU LOGISTIC MAX_POOL_2D MEAN PRELU RELU RELU6 RESIZE_NEAREST_NEIGHBOR RSQRT SELECT_V2
    SOFTMAX SUM TANH TRANSPOSE TRANSPOSE_CONV UNIDIRECTIONAL_SEQUENCE_LSTM
float32 int8 int16 int32:
    ADD DYNAMIC_UPDATE_SLICE MUL PAD PADV2 SPLIT SPLIT_V SQUARED_DIFFERENCE SUB UNPACK
float32 int8 int16 int32 int64: MAXIMUM MINIMUM PACK
float32 int8 int16 int32 int64 bool: CONCATENATION
float32 int8 int16 int32 bool: SLICE STRIDED_SLICE
float32 int8 int32 int64 bool: EQUAL NOT_EQUAL
float32 int8 int16 int32 int64: GREATER
float32 int8 int32 int64: GREATER_EQUAL LESS LESS_EQUAL ZEROS_LIKE
float32 int8 int32: DIV FILL
float32 int8:
    ADD_N ARG_MAX ARG_MIN BATCH_TO_SPACE_ND CUMSUM DEPTH_TO_SPACE ELU EMBEDDING_LOOKUP GATHER
    GATHER_ND HARD_SWISH L2_NORMALIZATION LOG_SOFTMAX MIRROR_PAD REDUCE_MAX REDUCE_MIN
    RESIZE_BILINEAR SPACE_TO_BATCH_ND SPACE_TO_DEPTH SVDF
float32: CEIL COS EXP FLOOR FLOOR_DIV FLOOR_MOD L2_POOL_2D LOG NEG ROUND SIN SQRT SQUARE
float32 int8 int16 int32 uint32 bool: CAST
int8 int16 uint8: DEQUANTIZE
float32 int8 int16 int32 uint8: QUANTIZE
float32 int8 uint8 int16 int32 int64 bool: RESHAPE REVERSE_V2 SQUEEZE
bool: LOGICAL_AND LOGICAL_NOT LOGICAL_OR REDUCE_ALL
: ASSIGN_VARIABLE BROADCAST_ARGS BROADCAST_TO CALL_ONCE IF READ_VARIABLE SHAPE VAR_HANDLE WHILE
"""
)
# Types of the output where they are fewer than those of the data.
OUTPUTS = {
    "ARG_MAX": ("int32",), "ARG_MIN": ("int32",), "SHAPE": ("int32",),
    "CAST": ("float32", "int8", "int16", "int32", "uint32", "bool"), "DEQUANTIZE": ("float32",),
    "QUANTIZE": ("int8", "int16", "int32", "uint8"),
}  # fmt: skip
CODES = frozenset(
    """
    float32-int8 float32-int16 int16-int8 int8-int8 int8-uint8 uint8-int8 int8-int16 int8-int32
    int16-int16 int16-int32 int32-int8 int32-int16
    """.split()
)
SHAPING = {  # operator -> positions of what shapes follow from
    "BROADCAST_TO": (1,), "EXPAND_DIMS": (1,), "FILL": (0,), "PAD": (1,), "PADV2": (1,),
    "RESIZE_BILINEAR": (1,), "RESIZE_NEAREST_NEIGHBOR": (1,), "SPLIT": (0,), "SPLIT_V": (2,),
    "STRIDED_SLICE": (1, 2, 3), "TRANSPOSE": (1,),
}  # fmt: skip
INT16 = frozenset(
    """
    ABS ADD BATCH_MATMUL CONCATENATION LOGISTIC MUL RELU RELU6 RSQRT SOFTMAX SQUARED_DIFFERENCE TANH
    """.split()
)
SAME = c.POOLS | {"CONCATENATION", "PAD", "REDUCE_MAX", "REDUCE_MIN", "ADD_N"}


def _output(site: Site) -> str:
    o = site.output
    allowed = OUTPUTS.get(site.name, (o.tensor.dtype,))
    return "" if o.tensor.dtype in allowed else o.says(o.tensor.dtype)


def _codes(site: Site) -> str:
    x, y = site.call[0].dtype, site.output.tensor.dtype
    return "" if f"{x}-{y}" in CODES else f"{x} to {y}"


def _weights(site: Site) -> str:
    data, weight = site.data, site.weight
    if data is None or weight is None:
        return ""
    kinds = {"float32": ("float32",), "int8": ("int8", "int4"), "int16": ("int8",)}
    if site.name in ("TRANSPOSE_CONV", "UNIDIRECTIONAL_SEQUENCE_LSTM", "SVDF"):
        kinds["int8"] = ("int8",)
    found = weight.tensor.dtype
    allowed = kinds.get(data.tensor.dtype, ())
    return "" if found in allowed else weight.says(f"{found} beside {data.tensor.dtype}")


def _int4_scales(site: Site) -> str:
    w = site.weight
    return c.per_tensor_weights(site) if w is not None and w.tensor.dtype == "int4" else ""


def _matmul(site: Site) -> str:
    kinds = {t.dtype for t in (site.call[0], site.call[1], site.output.tensor)}
    return ", ".join(sorted(kinds)) if len(kinds) > 1 else ""


def _int32(*positions: int) -> c.Condition:
    def broken(site: Site) -> str:
        found = (site.input(p) for p in positions)
        return c.first(found, lambda o: "" if o.tensor.dtype == "int32" else o.tensor.dtype)

    return broken


def _int16(site: Site) -> str:
    """Data of int16, and what is made of them."""
    if site.data is None or site.data.tensor.dtype != "int16":
        return ""
    return c.symmetric((Role.ACTIVATION,), "int16")(site)


def _one_scale(site: Site) -> str:
    y = site.output.tensor
    return (
        site.output.says(f"{y.scale.size} scales") if y.scale is not None and y.per_channel else ""
    )


def _sum_factor(site: Site) -> str:
    """The output multiplier of a sum is below 1: 2 max(scales) / (2^20 or 2^15 * scale)."""
    a, b, y = site.call[0], site.call[1], site.output.tensor
    if not (a.quantized and b.quantized and y.quantized) or y.dtype not in ("int8", "int16"):
        return ""
    least = 2.0 * max(float(a.s), float(b.s)) / 2.0 ** (20 if y.dtype == "int8" else 15)
    return "" if float(y.s) > least else site.output.says(f"scale {y.s:g}")


def _svdf_bias(site: Site) -> str:
    if not site.has(3):
        return "no bias"
    bias, state, time = site.call[3], site.call[4], site.call[2]
    if not (state.quantized and time.quantized):
        return ""
    given = float(bias.s) if bias.quantized else 0.0
    off = abs(given - float(state.s) * float(time.s))
    return site.input(3).says(f"scale {given:g}") if off >= 1e-5 else ""


def _each_axis(site: Site) -> str:
    rank = len(site.call[0].shape)
    count = c.elements(site.call[3].shape)
    return f"{count} of {rank}" if count != rank else ""


def _parts(site: Site) -> str:
    """No part of the LSTM that the kernel does not have: 24 operands of which these are absent."""
    if len(site.inputs) != 24:
        return f"{len(site.inputs)} operands"
    parts = {"peepholes": range(9, 12), "a projection": range(16, 18), "norms": range(20, 24)}
    found = [name for name, at in parts.items() if any(site.has(p) for p in at)]
    return next(iter(found), "") if site.has(1) else "a coupled input gate"


def _scale(operator: str, dtype: str, scale: float, zero_point: int) -> Rule:
    words = f"{operator}'s {dtype} output has scale 1/{1 / scale:g}, zero point {zero_point}"
    file = f"{KERNELS}/{operator.lower()}_common.cc".replace("log_softmax_common", "log_softmax")
    return Rule(words, file, c.fixed_output(dtype, scale, zero_point), frozenset({operator}),
                mend="quantize with --recipe int8 or int16x8")  # fmt: skip


def _softmax(site: Site) -> str:
    """int8 to int16 has a scale of its own."""
    x, y = site.call[0].dtype, site.output.tensor
    if not y.quantized or y.dtype == "float32":
        return ""
    wanted = {"int8-int8": (1 / 256, -128), "int16-int16": (1 / 32768, 0),
              "int8-int16": (1 / 65536, -32768)}.get(f"{x}-{y.dtype}")  # fmt: skip
    if wanted is None:
        return f"{x} to {y.dtype}"
    exact = abs(float(y.s) - wanted[0]) <= (0 if y.dtype == "int8" else 1e-9)
    return (
        "" if exact and y.z == wanted[1] else site.output.says(f"scale {y.s:g}, zero point {y.z}")
    )


def _logistic(site: Site) -> str:
    y = site.output.tensor
    return site.output.says(f"zero point {y.z}") if y.dtype == "int8" and y.z != -128 else ""


RULES = (
    Rule("there is a kernel", RESOLVER, c.listed(OPERATORS), final=True),
    Rule("the kernel takes data of the type", KERNELS, c.data_types(OPERATORS),
         mend="quantize with --recipe int8 or int16x8"),
    Rule("the kernel gives an output of the type", KERNELS, _output, frozenset(OUTPUTS)),
    Rule("there is a kernel between the two types", f"{KERNELS}/quantize_common.cc", _codes,
         frozenset({"QUANTIZE"})),
    Rule(
        "weights are int8 or int4 beside int8, int8 beside int16, float32 beside float32", KERNELS,
        _weights, mend="hybrid kernels are not there; quantize with --recipe int8",
    ),
    Rule("weights of int4 have one scale", f"{KERNELS}/fully_connected_common.cc", _int4_scales,
         frozenset({"FULLY_CONNECTED"})),
    Rule("operands and output are of one type", f"{KERNELS}/batch_matmul.cc", _matmul,
         frozenset({"BATCH_MATMUL"})),
    Rule("what shapes follow from is constant", KERNELS,
         lambda s: c.constants(*SHAPING[s.name])(s), frozenset(SHAPING)),
    Rule("codes have one scale", f"{KERNELS}/quantize_common.cc", _one_scale,
         frozenset({"QUANTIZE"})),
    Rule("indices are int32", KERNELS, _int32(1),
         frozenset({"GATHER", "GATHER_ND", "ARG_MAX", "ARG_MIN", "EXPAND_DIMS", "PAD", "PADV2"})),
    Rule("bounds and steps are int32", f"{KERNELS}/strided_slice_common.cc", _int32(1, 2, 3),
         frozenset({"STRIDED_SLICE"})),
    Rule("every axis has a bound and a step", f"{KERNELS}/strided_slice_common.cc", _each_axis,
         frozenset({"STRIDED_SLICE"})),
    Rule("int16 data have zero point 0", KERNELS, _int16, INT16),
    Rule(
        "the scale of a sum is above 2^-19 of its larger operand's, of int16 above 2^-14",
        f"{KERNELS}/add_common.cc, sub_common.cc", _sum_factor, frozenset({"ADD", "SUB"}),
        mend="the range of the output is empty; calibrate with samples that reach it",
    ),
    Rule(
        "a bias is there, of the state's scale times that of the time weights",
        f"{KERNELS}/svdf_common.cc", _svdf_bias, frozenset({"SVDF"}),
    ),
    Rule(
        "operands of int8 have the scale and zero point of the output", KERNELS,
        lambda s: c.same_parameters(Role.ACTIVATION)(s) if s.output.tensor.dtype == "int8" else "",
        SAME,
    ),
    Rule("no activation is fused", f"{KERNELS}/concatenation.cc", c.no_activation,
         frozenset({"CONCATENATION", "L2_NORMALIZATION"})),
    Rule("at most 10 operands are joined", f"{KERNELS}/concatenation.cc",
         lambda s: f"{len(s.inputs)}" if len(s.inputs) > 10 else "", frozenset({"CONCATENATION"})),
    Rule("the data have 4 axes", KERNELS, c.ranks(4),
         c.RESIZES | {"DEPTH_TO_SPACE", "SPACE_TO_DEPTH"}),
    Rule("the data have at most 5 axes", KERNELS, c.ranks(*range(6)),
         frozenset({"TRANSPOSE", "PAD", "PADV2"})),
    Rule("the data have at most 4 axes", KERNELS, c.ranks(*range(5)),
         frozenset({"L2_NORMALIZATION", "PRELU", "STRIDED_SLICE"})),
    Rule("bounds are no offsets", f"{KERNELS}/strided_slice_common.cc",
         c.option("offset", 0, False), frozenset({"STRIDED_SLICE"}),
         mend="else the kernel takes them for ends, without a word"),
    Rule(
        "SOFTMAX's output has scale 1/256, zero point -128 in int8; 1/32768, 0 in int16; "
        "1/65536, -32768 in int16 behind int8", f"{KERNELS}/softmax_common.cc", _softmax,
        frozenset({"SOFTMAX"}), mend="quantize with --recipe int8 or int16x8",
    ),
    Rule("LOGISTIC's int8 output has zero point -128", f"{KERNELS}/logistic_common.cc", _logistic,
         frozenset({"LOGISTIC"}), mend="quantize with --recipe int8"),
    _scale("LOG_SOFTMAX", "int8", 16 / 256, 127),
    Rule(
        "an LSTM has 24 operands, four gates, and no peepholes, projection or norms",
        f"{KERNELS}/unidirectional_sequence_lstm.cc", _parts,
        frozenset({"UNIDIRECTIONAL_SEQUENCE_LSTM"}),
    ),
)  # fmt: skip

TARGET = Target(
    key="tflm",
    title="TFLite Micro",
    about="Its reference kernels; sources of August 2026.",
    checked="tflite-micro 0.dev20261023 allocates and computes random models of every operator",
    placement=Placement.ALL,
    rest="none",
    operators=OPERATORS,
    rules=RULES,
)
