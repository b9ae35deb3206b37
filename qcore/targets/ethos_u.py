"""Arm's Ethos-U55 and Ethos-U65, by the rules of their compiler Vela. What it leaves runs on the
Cortex-M beside the NPU, by TFLite Micro or CMSIS-NN."""

from __future__ import annotations

import numpy as np

from kernels.opspec import Role
from qcore.targets import conditions as c
from qcore.targets.rule import Placement, Rule, Target, takes
from qcore.targets.site import Operand, Site

REPORT = "ethos-u-vela 5.2.0, vela --supported-ops-report"
TRIED = "ethos-u-vela 5.2.0, run"
_MOVES = "EXPAND_DIMS MIRROR_PAD RESHAPE SQUEEZE TRANSPOSE"
OPERATORS = takes(
    f""": ABS ADD ARG_MAX AVERAGE_POOL_2D BATCH_MATMUL CONCATENATION CONV_2D DEPTHWISE_CONV_2D ELU
    EXP FULLY_CONNECTED GELU HARD_SWISH LEAKY_RELU LOG LOGISTIC MAXIMUM MAX_POOL_2D MEAN MINIMUM MUL
    NEG PACK PAD PADV2 PRELU QUANTIZE REDUCE_MAX REDUCE_MIN RELU RELU6 RELU_0_TO_1 RELU_N1_TO_1
    RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR RSQRT SLICE SOFTMAX SPLIT SPLIT_V
    SQUARED_DIFFERENCE STRIDED_SLICE SUB SUM TANH TILE TRANSPOSE_CONV UNIDIRECTIONAL_SEQUENCE_LSTM
    UNPACK {_MOVES}"""
)
INTEGERS = ("int8", "uint8", "int16", "int32", "int64")
WIDE = frozenset(f"ADD MUL SUB NEG SUM ARG_MAX FULLY_CONNECTED BATCH_MATMUL {_MOVES}".split())
UNSCALED = frozenset(
    {"ARG_MAX", "EXPAND_DIMS", "MIRROR_PAD", "PAD", "PADV2", "QUANTIZE", "TRANSPOSE"}
)
PER_AXIS = c.WEIGHTED
CONSTANTS = {  # operator -> positions of its parameters
    "ARG_MAX": (1,), "EXPAND_DIMS": (1,), "MEAN": (1,), "MIRROR_PAD": (1,), "PAD": (1,),
    "PADV2": (1,), "REDUCE_MAX": (1,), "REDUCE_MIN": (1,), "SLICE": (1, 2), "SPLIT": (0,),
    "SPLIT_V": (1, 2), "STRIDED_SLICE": (1, 2, 3), "SUM": (1,), "TRANSPOSE": (1,),
}  # fmt: skip
WEIGHT_SUM = 127 * 65536
BIAS_BITS = 40
MEAN_SIZES = {"int8": 1 << 24, "uint8": 1 << 23, "int16": 1 << 16}


def _data(site: Site) -> c.Iterable[Operand]:
    return site.of(Role.ACTIVATION, Role.STATE)


def _types(site: Site) -> str:
    return c.dtypes(*INTEGERS)(site)


def _bits(forbidden: str) -> c.Condition:
    def broken(site: Site) -> str:
        return c.first(_data(site), lambda o: o.tensor.dtype if o.tensor.dtype == forbidden else "")

    return broken


def _shaped(site: Site) -> str:
    """Only the first axis may be left open."""
    return c.first(site.operands, lambda o: c.size(o.signature) if -1 in o.signature[1:] else "")


def _scales(site: Site) -> str:
    def wrong(o: Operand) -> str:
        t = o.tensor
        return "" if t.quantized or t.dtype == "int32" else f"{t.dtype} without a scale"

    inputs = (o for o in site.of(Role.ACTIVATION, Role.STATE, Role.WEIGHT) if not o.output)
    return c.first((*inputs, *site.outputs[:1]), wrong)


def _scalars(site: Site) -> str:
    """No computed operand and no output is without axes."""
    return c.first(site.computed, lambda o: "" if o.tensor.shape else "no axes")


def _int32(site: Site) -> str:
    o = site.input(1)
    return "" if o.tensor.dtype == "int32" else o.says(o.tensor.dtype)


def _axes(site: Site) -> str:
    axes = site.numbers(1)
    return f"{site.input(1).name!r} is empty" if axes == [] else ""


def _split(site: Site) -> str:
    axis = site.numbers(0)
    return f"axis {axis[0]}" if axis and axis[0] < 0 and len(site.call[1].shape) == 1 else ""


def _alpha(site: Site) -> str:
    x, alpha = site.call[0], site.input(1)
    alike = alpha.tensor.dtype == x.dtype or c.elements(alpha.tensor.shape) == 1
    return "" if alike else alpha.says(f"{alpha.tensor.dtype} beside {x.dtype}")


def _permutation(site: Site) -> str:
    """int32: height and width of one image change places, or width and depth, or nothing does."""
    if site.call[0].dtype != "int32":
        return ""
    shape, axes = site.call[0].shape, site.axes() or []
    padded = [0, 1, 2, 3][: 4 - len(shape)] + [a + 4 - len(shape) for a in axes]
    image = (1,) * (4 - len(shape)) + shape
    kinds = {"0123": True, "0213": image[0] == 1, "0132": True}
    fits = len(shape) <= 4 and kinds.get("".join(map(str, padded)), False)
    return "" if fits else f"{axes} of int32"


def _per_axis(site: Site) -> str:
    return c.first(
        site.operands,
        lambda o: f"{o.tensor.scale.size} scales" if o.tensor.per_channel else "",  # type: ignore[union-attr]
    )


def _zero_points(site: Site) -> str:
    def wrong(o: Operand) -> str:
        t = o.tensor
        if not t.quantized:
            return ""
        bad = t.z != 0 if t.dtype == "int32" else t.dtype.startswith("u") and t.z < 0
        return f"zero point {t.z}" if bad else ""

    return c.first(_data(site), wrong)


def _bias(site: Site) -> str:
    o = site.bias
    if o is None:
        return ""
    if not o.tensor.constant:
        return f"{o.name!r} is computed"
    return "" if o.tensor.dtype in ("int32", "int64") else o.says(o.tensor.dtype)


def _bias_values(site: Site) -> str:
    o = site.bias
    if o is None or o.tensor.dtype != "int64" or not o.tensor.constant:
        return ""
    largest = int(np.abs(o.tensor.x).max(initial=0))
    return o.says(f"{largest:,}") if largest >= 1 << BIAS_BITS else ""


def _weights(site: Site) -> str:
    o = site.weight
    return "" if o is None or o.tensor.dtype in ("int8", "uint8") else o.says(o.tensor.dtype)


def _weight_sum(site: Site) -> str:
    """Of one output channel: the axis that a bias goes along."""
    o = site.weight
    if o is None or not o.tensor.constant or o.tensor.x.dtype.kind not in "iu":
        return ""
    w = np.abs(o.tensor.x.astype(np.int32) - o.tensor.z)
    axis = w.ndim - 1 if site.name == "DEPTHWISE_CONV_2D" else 0
    largest = int(w.sum(axis=tuple(i for i in range(w.ndim) if i != axis), dtype=np.int64).max())
    return o.says(f"{largest:,}") if largest > WEIGHT_SUM else ""


def _computed_weights(site: Site) -> str:
    """A product of two activations is of int8, with at most 2^16 columns and summands."""
    weight = site.input(1)
    if site.name == "FULLY_CONNECTED" and weight.tensor.constant:
        return ""
    if site.call[0].dtype != "int8":
        return site.input(0).says(site.call[0].dtype)
    depth, columns = site.call[0].shape[-1], site.output.tensor.shape[-1]
    return f"{depth} summands, {columns} columns" if max(depth, columns) > 1 << 16 else ""


def _strides(site: Site) -> str:
    h, w = int(site.option("stride_h", 1)), int(site.option("stride_w", 1))
    sides = site.output.tensor.shape[1:3]  # one window is no stride
    if all(n <= 3 for n, m in zip((h, w), sides) if m > 1):
        return ""
    dilated = max(int(site.option(f"dilation_{d}_factor", 1)) for d in "hw") > 1
    return f"strides {h}x{w}" if dilated or site.option("padding") != c.VALID else ""


def _window(site: Site) -> str:
    """AVERAGE_POOL_2D: 8 by 8, with VALID 256 high and 65536 in all."""
    h, w = c.kernel(site)
    if site.option("padding") == c.VALID:
        return "" if h <= 256 and h * w <= 1 << 16 else f"kernel {h}x{w}"
    return "" if max(h, w) <= 8 else f"kernel {h}x{w}"


def _max_window(site: Site) -> str:
    h, w = c.kernel(site)
    return "" if h <= 256 and h * w <= 1 << 16 else f"kernel {h}x{w}"


def _depth_axis(site: Site) -> str:
    axes, rank = site.axes(), len(site.call[0].shape)
    return "" if axes == [rank - 1] else f"axes {axes}"


def _depth(most: int) -> c.Condition:
    def broken(site: Site) -> str:
        depth = site.call[0].shape[-1]
        return f"{depth} channels" if depth > most else ""

    return broken


def _mean(site: Site) -> str:
    """Counts and sides of the reduced axes, the batch, and when the depth may be reduced."""
    x, axes = site.call[0], site.axes() or []
    shape = x.shape
    count = c.elements(shape[a] for a in axes)
    if x.dtype not in MEAN_SIZES:
        return site.input(0).says(x.dtype)
    if count > MEAN_SIZES[x.dtype] or any(shape[a] > 4096 for a in axes):
        return f"{count:,} elements"
    if len(shape) > 3 and shape[0] > 1:
        return f"batch {shape[0]}"
    if len(shape) - 1 in axes and len(shape) > 2 and 1 not in shape[-3:]:
        return f"the depth of {c.size(shape)}"
    return ""


def _resize(site: Site) -> str:
    """Factors of 2, 4 or 8, alike in both directions; halved centers only by 2."""
    x, y = site.call[0].shape[1:3], site.output.tensor.shape[1:3]
    if x == (1, 1) or x == y:
        return ""
    less = 1 if site.option("align_corners", False) else 0
    factors = [(b - less) / (a - less) if a > less else 1.0 for a, b in zip(x, y, strict=True)]
    halved = site.name == "RESIZE_BILINEAR" and site.option("half_pixel_centers", False)
    allowed = (2.0,) if halved else (2.0, 4.0, 8.0)
    if factors[0] == factors[1] and factors[0] in allowed:
        return ""
    sides = zip(factors, x, y, strict=True)
    flat = any(f == 1 and b == 1 for f, _, b in sides)
    if flat and max(factors) in allowed:
        return ""
    return f"{c.size(x)} to {c.size(y)}"


def _transposed(site: Site) -> str:
    """Strides 1x1 or 2x2, or 2 along one side of length 1; the output fits them."""
    h, w = int(site.option("stride_h", 1)), int(site.option("stride_w", 1))
    x, k, y = site.call[2].shape, site.call[1].shape, site.output.tensor.shape
    flat = {(1, 1): True, (2, 2): True, (1, 2): x[1] == k[1] == 1, (2, 1): x[2] == k[2] == 1}
    if not flat.get((h, w), False):
        return f"strides {h}x{w}"
    for n, m, size, stride in zip(x[1:3], y[1:3], k[1:3], (h, w), strict=True):
        same = site.option("padding") == c.SAME
        wanted = n * stride if same else n * stride + max(size - stride, 0)
        if m != wanted:
            return f"output {c.size(y[1:3])} of {c.size(x[1:3])}"
    return ""


def _shapes_match(site: Site) -> str:
    x, y = site.call[0], site.output.tensor
    return f"{x.dtype} to {y.dtype}" if x.dtype != y.dtype or x.shape != y.shape else ""


def _steps(site: Site) -> str:
    found = site.numbers(3)
    return f"strides {found}" if found is not None and any(n < 0 for n in found) else ""


def _lstm(site: Site) -> str:
    parts = {
        "peepholes": range(9, 12),
        "a projection": range(16, 18),
        "norms": range(20, 24),
    }
    if len(site.inputs) != 24:
        return f"{len(site.inputs)} operands"
    found = [name for name, at in parts.items() if any(site.has(p) for p in at)]
    return found[0] if found else "" if site.has(1) else "a coupled input gate"


def _upcast(site: Site) -> str:
    pair = site.call[0].dtype, site.output.tensor.dtype
    return "" if pair[0] == pair[1] or pair == ("int8", "int16") else " to ".join(pair)


def _softmax(site: Site) -> str:
    rows = c.elements(site.call[0].shape[:-1])
    return f"{rows:,} rows" if rows >= 1 << 16 else ""


def _only(*allowed: str) -> c.Condition:
    def broken(site: Site) -> str:
        x = site.call[0].dtype
        return "" if x in allowed else site.input(0).says(x)

    return broken


ONE = frozenset
TARGET = Target(
    key="ethos-u",
    title="Ethos-U55, Ethos-U65",
    about="Arm's NPU by its compiler Vela 5.2.0.",
    checked="ethos-u-vela 5.2.0 compiles random models of every operator for ethos-u55-256",
    placement=Placement.EACH,
    rest="CPU",
    operators=OPERATORS,
    rules=(
        Rule(
            "data are integers", REPORT, _types, mend="float; quantize with --recipe int8",
            final=True,
        ),
        Rule("Vela compiles the operator", REPORT, c.listed(OPERATORS), final=True),
        Rule("only the first axis is left open", REPORT, _shaped),
        Rule("what is computed has axes", REPORT, _scalars),
        Rule("data and weights of less than 32 bits have scales", REPORT, _scales,
             ONE(OPERATORS) - UNSCALED),
        Rule("data are not of 64 bits", REPORT, _bits("int64"), ONE(OPERATORS) - {"ARG_MAX"}),
        Rule("data are not of 32 bits", REPORT, _bits("int32"), ONE(OPERATORS) - WIDE),
        Rule("tensors have one scale", REPORT, _per_axis, ONE(OPERATORS) - PER_AXIS),
        Rule(
            "zero points are 0 in int32 and not negative in unsigned types", REPORT, _zero_points,
            ONE(OPERATORS) - c.RESIZES - {"AVERAGE_POOL_2D", "UNIDIRECTIONAL_SEQUENCE_LSTM"},
        ),
        Rule("parameters are constants", REPORT, lambda s: c.constants(*CONSTANTS[s.name])(s),
             ONE(CONSTANTS)),
        Rule("an axis is named", TRIED, _axes, c.REDUCTIONS),
        Rule("the axis of a vector is 0", TRIED, _split, ONE({"SPLIT"})),
        Rule("bounds are no offsets", TRIED, c.option("offset", 0, False), ONE({"STRIDED_SLICE"})),
        Rule("an axis is of int32", REPORT, _int32, ONE({"ARG_MAX", "EXPAND_DIMS"})),
        Rule(
            "input and output have one scale and zero point", f"{TRIED}: Vela refuses the file",
            c.same_parameters(Role.ACTIVATION), ONE({"EXPAND_DIMS", "RESHAPE", "SQUEEZE"}),
        ),
        Rule("weights of convolutions are constants", TRIED, c.weights_constant, c.CONVOLUTIONS),
        Rule("alpha is one value or of the type of the data", TRIED, _alpha, ONE({"PRELU"})),
        Rule("int32 is permuted HWC to WHC or HCW, or not at all", REPORT, _permutation,
             ONE({"TRANSPOSE"})),
        Rule("the output is of the input's type, or int16 of int8", TRIED, _upcast,
             ONE({"SOFTMAX"})),
        Rule("weights are of 8 bits", REPORT, _weights, c.WEIGHTED),
        Rule("biases are constants of int32 or int64", REPORT, _bias, c.WEIGHTED),
        Rule("biases of int64 have at most 40 bits", REPORT, _bias_values, c.WEIGHTED),
        Rule(
            "the sum of a channel's absolute weights is at most 8323072", REPORT, _weight_sum,
            c.WEIGHTED,
        ),
        Rule("computed weights stand beside int8 data", REPORT, _computed_weights,
             ONE({"BATCH_MATMUL", "FULLY_CONNECTED"})),
        Rule("strides above 3 have VALID padding and no dilation", REPORT, _strides,
             c.POOLS | {"CONV_2D"}),
        Rule("strides are 1 to 3", REPORT, c.between(1, 3, "stride_h", "stride_w"),
             ONE({"DEPTHWISE_CONV_2D"})),
        Rule("a window is at most 8x8, with VALID 256 high", REPORT, _window,
             ONE({"AVERAGE_POOL_2D"})),
        Rule("a window is at most 256 high", REPORT, _max_window, ONE({"MAX_POOL_2D"})),
        Rule("the depth is searched", REPORT, _depth_axis, ONE({"ARG_MAX"})),
        Rule("the depth is at most 127", REPORT, _depth(127), ONE({"ARG_MAX"})),
        Rule(
            "a mean is of one image, over at most 4096 in a side, over depth only of flat ones",
            REPORT, _mean, ONE({"MEAN"}),
        ),
        Rule(
            "operands have the scale and zero point of the output", REPORT,
            c.same_parameters(Role.ACTIVATION), ONE({"MAXIMUM", "MINIMUM"}),
        ),
        Rule("images grow by 2, 4 or 8 in both directions", REPORT, _resize, c.RESIZES),
        Rule("strides are 1x1 or 2x2 and the output fits them", REPORT, _transposed,
             ONE({"TRANSPOSE_CONV"})),
        Rule("it is of int8", REPORT, _only("int8"), ONE({"ELU"})),
        Rule("it is of int8 or uint8", REPORT, _only("int8", "uint8"), ONE({"GELU"})),
        Rule("it is of int8 or int16", REPORT, _only("int8", "int16"), ONE({"LOG", "RSQRT"})),
        Rule("input and output are alike in type and shape", REPORT, _shapes_match,
             ONE({"ELU", "GELU", "LOG"})),
        Rule("steps are not negative", REPORT, _steps, ONE({"STRIDED_SLICE"})),
        Rule("a softmax is of fewer than 65536 rows", REPORT, _softmax, ONE({"SOFTMAX"})),
        Rule("an LSTM has four gates, and no peepholes, projection or norms", REPORT, _lstm,
             ONE({"UNIDIRECTIONAL_SEQUENCE_LSTM"})),
    ),
)  # fmt: skip
