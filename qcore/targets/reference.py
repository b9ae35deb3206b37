"""The reference kernels of the official interpreter (BUILTIN_REF), which take a model or do not.

Who has which kernel stands in the SPEC of each file of `kernels/ops/`.
"""

from __future__ import annotations

from kernels import ops
from kernels.opspec import Role
from kernels.profile import RUNTIMES
from qcore.targets import conditions as c
from qcore.targets.rule import Placement, Rule, Takes, Target
from qcore.targets.site import Site

REGISTER = "LiteRT tflite/kernels/register_ref.cc"
SPECS = "kernels/ops; LiteRT tflite/kernels"
# Newest version -> operators, of those that have a file in kernels/ops.
NEWEST = {
    1: """
        ADD_N ASSIGN_VARIABLE ATAN2 BITWISE_XOR BROADCAST_ARGS CALL_ONCE CONV_3D CONV_3D_TRANSPOSE
        COS CUMSUM DEPTH_TO_SPACE EXPAND_DIMS FLOOR HARD_SWISH IF L2_POOL_2D
        LOCAL_RESPONSE_NORMALIZATION LOGICAL_AND LOGICAL_NOT LOGICAL_OR MATRIX_DIAG
        MATRIX_SET_DIAG NEG ONE_HOT POW PRELU RANGE RANK READ_VARIABLE REDUCE_ALL REDUCE_ANY
        RELU_0_TO_1 RELU_N1_TO_1 RESHAPE REVERSE_SEQUENCE RIGHT_SHIFT SCATTER_ND SHAPE SIN SQUARE
        SQUEEZE STABLEHLO_COMPOSITE UNIQUE VAR_HANDLE WHILE ZEROS_LIKE
    """,
    2: """
        ARG_MAX ARG_MIN DIV EXP FAKE_QUANT FLOOR_MOD GELU GREATER L2_NORMALIZATION LEAKY_RELU
        LESS_EQUAL LOG LOG_SOFTMAX REDUCE_PROD SELECT_V2 SIGN SPACE_TO_DEPTH SQRT
        SQUARED_DIFFERENCE SUM TILE WHERE
    """,
    3: """
        ABS AVERAGE_POOL_2D BIDIRECTIONAL_SEQUENCE_LSTM BIDIRECTIONAL_SEQUENCE_RNN FLOOR_DIV
        GREATER_EQUAL LESS LOGISTIC MAX_POOL_2D MEAN MIRROR_PAD REDUCE_MAX REDUCE_MIN RELU RELU6
        RNN RSQRT SOFTMAX SPARSE_TO_DENSE SPLIT_V TANH TOPK_V2 UNIDIRECTIONAL_SEQUENCE_LSTM
        UNIDIRECTIONAL_SEQUENCE_RNN
    """,
    4: """
        BATCH_MATMUL BATCH_TO_SPACE_ND BROADCAST_TO LSTM MAXIMUM MINIMUM NOT_EQUAL RESIZE_BILINEAR
        RESIZE_NEAREST_NEIGHBOR REVERSE_V2 SELECT SPACE_TO_BATCH_ND STRIDED_SLICE SVDF
    """,
    5: """
        ADD EMBEDDING_LOOKUP EQUAL FILL PACK SPLIT SUB TRANSPOSE_CONV
    """,
    6: """
        DEPTHWISE_CONV_2D DYNAMIC_UPDATE_SLICE GATHER_ND PAD PADV2 QUANTIZE UNPACK
    """,
    7: """
        CONCATENATION MUL
    """,
    8: """
        CONV_2D GATHER SLICE TRANSPOSE
    """,
    9: """
        CAST DEQUANTIZE
    """,
    14: """
        FULLY_CONNECTED
    """,
}
OPERATORS = {name: Takes((), v) for v, names in NEWEST.items() for name in names.split()}


def _kernel(site: Site) -> str:
    """A form that the operator's file knows; what is not quantized has no form."""
    spec, data, form = site.spec, site.data, site.call.form
    if spec is None or data is None or not form:
        return ""
    rows = getattr(ops.module(site.name), "NUMERICS", ())
    known = {word for row in rows if row.reference != "-" for word in _words(row.form)}
    return "" if form in known or form in spec.kernels else data.says(form)


def _words(form: str) -> tuple[str, ...]:
    """The kinds that a row is about: "int8, 8-bit gates" of int8, "int32 to int8" of both."""
    first = form.partition(",")[0]
    return (first, *first.split(" to ")[::-1])


def _zero_points(site: Site) -> str:
    return c.symmetric((Role.WEIGHT,), "int8")(site)


TARGET = Target(
    key="reference",
    title="CPU, reference kernels",
    about=f"The interpreter of {RUNTIMES['litert']} with BUILTIN_REF.",
    placement=Placement.ALL,
    rest="none",
    operators=OPERATORS,
    checked="the interpreter of ai-edge-litert 2.3 allocates random models of every operator",
    rules=(
        Rule("the interpreter has the operator", REGISTER, c.listed(OPERATORS), final=True),
        Rule("the operator is not newer than its kernel", REGISTER, c.versions(OPERATORS)),
        Rule("there is a kernel for data and weights of these types", SPECS, _kernel),
        Rule(
            "weights of int8 have zero point 0", "LiteRT tflite/kernels/kernel_util.cc",
            _zero_points, c.CONVOLUTIONS,
        ),
    ),
)  # fmt: skip
