"""The GPU delegate of LiteRT (OpenCL, OpenGL, Metal), which computes in float16 or float32.

Integer tensors are dequantized in its operators, so 8-bit models run there as well, without the
integer arithmetic of the CPU.
"""

from __future__ import annotations

from qcore.targets import conditions as c
from qcore.targets.rule import Placement, Rule, Target, takes
from qcore.targets.site import Operand, Site

BUILDER = "LiteRT tflite/delegates/gpu/common/model_builder.cc"
COMPATIBLE = "LiteRT tflite/tools/versioning/gpu_compatibility.cc"

_UNARY = """
    ABS COS ELU EXP FLOOR GELU LOG LOGISTIC NEG RSQRT SIGN SIN SQRT SQUARE TANH
"""
_BINARY = """
    DIV EQUAL FLOOR_DIV FLOOR_MOD GREATER GREATER_EQUAL LESS LESS_EQUAL LOGICAL_AND MAXIMUM MINIMUM
    NOT_EQUAL POW SQUARED_DIFFERENCE SUB
"""
UNARY, BINARY = frozenset(_UNARY.split()), frozenset(_BINARY.split())
REDUCE = frozenset({"MEAN", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "SUM"})
_OTHERS = """
    ADD ADD_N AVERAGE_POOL_2D BATCH_MATMUL CAST CONCATENATION CONV_2D CUMSUM DENSIFY
    DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE FULLY_CONNECTED GATHER HARD_SWISH LEAKY_RELU LSTM
    MAX_POOL_2D MEAN MIRROR_PAD MUL ONE_HOT PACK PAD PADV2 PRELU QUANTIZE REDUCE_MAX REDUCE_MIN
    REDUCE_PROD RELU RELU6 RELU_0_TO_1 RELU_N1_TO_1 RESHAPE RESIZE_BILINEAR
    RESIZE_NEAREST_NEIGHBOR SELECT SELECT_V2 SLICE SOFTMAX
    SPACE_TO_DEPTH SPLIT SPLIT_V STRIDED_SLICE SUM TILE TRANSPOSE TRANSPOSE_CONV UNPACK
"""
VERSIONS = {
    **dict.fromkeys((*UNARY, *BINARY, "ADD", "ADD_N"), 2),
    "CONCATENATION": 2, "CONV_2D": 6, "CUMSUM": 1, "DENSIFY": 1, "DEPTHWISE_CONV_2D": 6,
    "DEQUANTIZE": 3, "MUL": 3, "FULLY_CONNECTED": 9, "GATHER": 1, "LSTM": 4, "ONE_HOT": 1,
    "PRELU": 1, "PAD": 2, "PADV2": 2, "MIRROR_PAD": 2, "AVERAGE_POOL_2D": 2, "MAX_POOL_2D": 2,
    "QUANTIZE": 2, "RELU": 2, "RELU6": 2, "RELU_0_TO_1": 2, "RELU_N1_TO_1": 2, "LEAKY_RELU": 2,
    "RESHAPE": 1, "RESIZE_BILINEAR": 3, "RESIZE_NEAREST_NEIGHBOR": 3, "SELECT": 1, "SELECT_V2": 1,
    "SLICE": 2, "SOFTMAX": 2, "SPACE_TO_DEPTH": 2, "STRIDED_SLICE": 4, "TRANSPOSE": 4,
    "TRANSPOSE_CONV": 3,
}  # fmt: skip
OPERATORS = takes(f": {_UNARY} {_BINARY} {_OTHERS}", VERSIONS)

FLOATS = ("float32", "float16", "int8", "uint8")
# Computed operands may be of further types here: inputs, outputs.
FURTHER: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "CAST": (("bool", "int32"), ("bool", "int32")),
    "ONE_HOT": (("int32",), ()),
    "SELECT": (("bool",), ()),
    "SELECT_V2": (("bool",), ()),
    "LOGICAL_AND": (("bool",), ("bool",)),
    "GATHER": (("int32",), ()),
    **dict.fromkeys(
        ("EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL", "NOT_EQUAL"), ((), ("bool",))
    ),
}


def _types(site: Site) -> str:
    inputs, outputs = FURTHER.get(site.name, ((), ()))

    def wrong(o: Operand) -> str:
        return (
            "" if o.tensor.dtype in FLOATS + (outputs if o.output else inputs) else o.tensor.dtype
        )

    return c.first(site.computed, wrong)


def _runtime_inputs(*allowed: int) -> c.Condition:
    def broken(site: Site) -> str:
        count = sum(o is not None and not o.tensor.constant for o in site.inputs)
        return "" if count in allowed else f"{count} that are computed"

    return broken


def _broadcast(site: Site) -> str:
    """Shapes of more than one axis each with another number of axes: three cases are written."""
    if len(site.inputs) != 2:
        return f"{len(site.inputs)} operands"
    long, short = sorted((t.shape for t in (site.call[0], site.call[1])), key=len, reverse=True)
    if len(short) <= 1 or len(long) == len(short):
        return ""
    if len(long) == 4 and len(short) == 3 and long[0] == 1:
        return ""
    if len(long) == 4 and len(short) == 2:
        if (long[0] == 1 and short == (1, 1)) or (long[0], long[3]) == short:
            return ""
    return f"{c.size(long)} and {c.size(short)}"


def _keeps_rank(site: Site) -> str:
    x, y = len(site.call[0].shape), len(site.call.output.shape)
    return f"{x} axes to {y}" if site.option("keep_num_dims", False) and x != y else ""


def _axes(site: Site) -> str:
    axes = site.input(1)
    if not axes.tensor.constant:
        return f"{axes.name!r} is computed"
    return "" if axes.tensor.dtype == "int32" else axes.says(axes.tensor.dtype)


def _paddings(site: Site) -> str:
    shape = site.call[1].shape
    return "" if shape in ((3, 2), (4, 2)) else site.input(1).says(c.size(shape))


def _groups(site: Site) -> str:
    x, w = site.call[0].shape, site.call[1].shape
    groups = x[-1] // max(w[-1], 1)
    if groups <= 1 or (w[-1] == 1 and x[-1] == w[0]):
        return ""
    return "" if w[-1] % 4 == w[0] // groups % 4 == 0 else f"{groups} groups of {w[-1]} channels"


def _cast(site: Site) -> str:
    pair = site.call[0].dtype, site.call.output.dtype
    whole = {"float32", "int32"}
    bools = {("bool", "float32"), ("bool", "float16"), ("float32", "bool"), ("float16", "bool")}
    return "" if pair in bools or set(pair) <= whole else " to ".join(pair)


def _indices(site: Site) -> str:
    o = site.input(1)
    if o.tensor.dtype != "int32":
        return o.says(o.tensor.dtype)
    return "" if len(o.tensor.shape) == 1 else o.says(f"{len(o.tensor.shape)} axes")


def _centers(site: Site) -> str:
    both = site.option("align_corners", False) and site.option("half_pixel_centers", False)
    return "both" if both else ""


def _masks(site: Site) -> str:
    names = ("ellipsis_mask", "new_axis_mask", "shrink_axis_mask")
    return next((f"{n} {site.option(n)}" for n in names if site.option(n)), "")


TARGET = Target(
    key="gpu",
    title="GPU delegate",
    about="LiteRT's delegate for OpenCL, OpenGL and Metal, source of August 2026, default options: "
    "quantized models allowed, one partition.",
    placement=Placement.LARGEST,
    rest="CPU",
    operators=OPERATORS,
    rules=(
        Rule(
            "the delegate has a parser for the operator", BUILDER, c.listed(OPERATORS), final=True,
        ),
        Rule(
            "the operator is not newer than its parser", BUILDER, c.versions(OPERATORS),
            mend="weights of FULLY_CONNECTED with one scale keep its version at 4 or below",
        ),
        Rule(
            "computed operands are float32, float16, int8 or uint8", BUILDER, _types,
            mend="quantize with --recipe int8, or keep it float",
        ),
        Rule("no operand has more than 4 axes", BUILDER, c.rank(4)),
        Rule(
            "one or two operands of a binary operator are computed", COMPATIBLE,
            _runtime_inputs(1, 2), BINARY,
        ),
        Rule(
            "the only operand is computed", COMPATIBLE, _runtime_inputs(1), UNARY | {"HARD_SWISH"},
        ),
        Rule(
            "operands have as many axes, or broadcast as 4-D with 3-D, 1x1 or batch and channels",
            COMPATIBLE, _broadcast, frozenset({"ADD", "MUL"}),
        ),
        Rule(
            "ADD_N has two operands", COMPATIBLE,
            lambda s: "" if len(s.inputs) == 2 else f"{len(s.inputs)} operands",
            frozenset({"ADD_N"}),
        ),
        Rule(
            "the fused activation is no sign bit", COMPATIBLE,
            c.activation("none", "relu", "relu_n1_to_1", "relu6", "tanh"),
            frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "MUL", "SUB", "DIV"}) | c.POOLS,
        ),
        Rule(
            "groups of a convolution have multiples of 4 channels", BUILDER, _groups,
            frozenset({"CONV_2D"}),
        ),
        Rule(
            "weights are in the default layout", COMPATIBLE, c.option("weights_format", 0),
            frozenset({"FULLY_CONNECTED"}),
        ),
        Rule(
            "the data of FULLY_CONNECTED are computed", COMPATIBLE,
            lambda s: s.input(0).says("a constant") if s.call[0].constant else "",
            frozenset({"FULLY_CONNECTED"}),
        ),
        Rule(
            "keep_num_dims keeps the number of axes", COMPATIBLE, _keeps_rank,
            frozenset({"FULLY_CONNECTED"}),
        ),
        Rule("axes are an int32 constant", COMPATIBLE, _axes, REDUCE),
        Rule(
            "CUMSUM is of floats along a constant axis", COMPATIBLE,
            lambda s: s.input(0).says(s.call[0].dtype)
            if s.call[0].dtype not in ("float16", "float32") else _axes(s),
            frozenset({"CUMSUM"}),
        ),
        Rule("CAST is between float and bool, float32 and int32", COMPATIBLE, _cast,
             frozenset({"CAST"})),
        Rule(
            "blocks are larger than 1", COMPATIBLE, c.between(2, 1 << 30, "block_size"),
            frozenset({"DEPTH_TO_SPACE", "SPACE_TO_DEPTH"}),
        ),
        Rule(
            "what is dequantized is not int16", COMPATIBLE,
            lambda s: s.input(0).says("int16") if s.call[0].dtype == "int16" else "",
            frozenset({"DEQUANTIZE"}),
        ),
        Rule("indices are a vector of int32", COMPATIBLE, _indices, frozenset({"GATHER"})),
        Rule(
            "paddings are for 3 or 4 axes", COMPATIBLE, _paddings,
            frozenset({"PAD", "PADV2", "MIRROR_PAD"}),
        ),
        Rule("mirrored padding is REFLECT", COMPATIBLE, c.option("mode", 0),
             frozenset({"MIRROR_PAD"})),
        Rule("beta is 1", COMPATIBLE, c.option("beta", 1.0, default=1.0), frozenset({"SOFTMAX"})),
        Rule("slices are of 3 or 4 axes", COMPATIBLE, c.ranks(3, 4),
             frozenset({"SLICE", "STRIDED_SLICE"})),
        Rule("no axis is made, dropped or filled in", COMPATIBLE, _masks,
             frozenset({"STRIDED_SLICE"})),
        Rule("corners are aligned or pixel centers halved, not both", COMPATIBLE, _centers,
             frozenset({"RESIZE_BILINEAR"})),
    ),
)  # fmt: skip
