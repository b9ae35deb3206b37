"""The Edge TPU, by the rules of its compiler: 8-bit models of fixed shapes.

The compiler maps what stands before the first operator that it does not take; that one and all
behind it stay on the CPU. A QUANTIZE of the model's float inputs at the front is no such stop.
"""

from __future__ import annotations

import numpy as np

from kernels.opspec import Role
from qcore.targets import conditions as c
from qcore.targets.rule import Placement, Rule, Target, takes
from qcore.targets.site import Operand, Site

PAGE = "https://coral.ai/docs/edgetpu/models-intro/#supported-operations"
NEEDS = "https://coral.ai/docs/edgetpu/models-intro/#model-requirements"
ISSUES = "https://github.com/google-coral/edgetpu/issues/"

VERSIONS = {"CONV_2D": 5, "FULLY_CONNECTED": 9, "RESIZE_BILINEAR": 2, "RESIZE_NEAREST_NEIGHBOR": 2}
OPERATORS = takes(
    """int8 uint8:
    ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D EXPAND_DIMS FULLY_CONNECTED
    L2_NORMALIZATION LOGISTIC UNIDIRECTIONAL_SEQUENCE_LSTM MAXIMUM MAX_POOL_2D MEAN MINIMUM MUL
    PACK PAD PRELU QUANTIZE REDUCE_MAX REDUCE_MIN RELU RELU6 RELU_N1_TO_1 RESHAPE RESIZE_BILINEAR
    RESIZE_NEAREST_NEIGHBOR RSQRT SLICE SOFTMAX SPACE_TO_DEPTH SPLIT SQUARED_DIFFERENCE SQUEEZE
    STRIDED_SLICE SUB SUM TANH TRANSPOSE TRANSPOSE_CONV""",
    VERSIONS,
)
INT8 = "quantize with --recipe int8"


def _types(site: Site) -> str:
    def wrong(o: Operand) -> str:
        t = o.tensor
        if t.dtype == "float32":
            return "float"
        return "" if t.dtype in ("int8", "uint8") and t.quantized else t.dtype

    whole = Role.ACTIVATION, Role.WEIGHT
    return c.first(site.of(*whole), wrong)


def _innermost(site: Site) -> str:
    """Only the 3 innermost axes have more than one element."""
    found = site.of(Role.ACTIVATION)
    return c.first(
        found, lambda o: c.size(o.tensor.shape) if any(n > 1 for n in o.tensor.shape[:-3]) else ""
    )


def _vector(o: Operand) -> str:
    return o.says(c.size(o.tensor.shape)) if sum(n > 1 for n in o.tensor.shape) > 1 else ""


def _softmax(site: Site) -> str:
    found = _vector(site.input(0))
    count = c.elements(site.call[0].shape)
    return found or (f"{count:,} elements" if count > 16_000 else "")


def _dilation(site: Site) -> str:
    h, w = site.option("dilation_h_factor", 1), site.option("dilation_w_factor", 1)
    return f"{h} and {w}" if h != w else ""


def _concatenation(site: Site) -> str:
    known = [o for o in site.inputs if o is not None and o.tensor.constant]
    if not known:
        return ""
    if len(site.inputs) != 2:
        return f"{known[0].name!r} among {len(site.inputs)}"
    t = known[0].tensor
    return known[0].says("other values") if np.any(t.x != t.z) else ""


def _depth(site: Site) -> str:
    shape, axes = site.call[0].shape, site.axes() or []
    last = len(shape) - 1
    return f"{shape[last]} channels" if last in axes and shape[last] % 4 else ""


def _padded_batch(site: Site) -> str:
    found = site.numbers(1)
    if found is None:
        return f"{site.input(1).name!r} is computed"
    return f"{found[:2]}" if any(found[:2]) else ""


def _packed_batch(site: Site) -> str:
    axis = int(site.option("axis"))
    return "axis 0" if axis in (0, -len(site.call.output.shape)) else ""


def _alpha(site: Site) -> str:
    o = site.input(1)
    return o.says(c.size(o.tensor.shape)) if any(n > 1 for n in o.tensor.shape[:-1]) else ""


def _steps(site: Site) -> str:
    found = site.numbers(3)
    if found is None or any(n != 1 for n in found):
        return f"strides {found}"
    names = ("ellipsis_mask", "new_axis_mask")
    return next((f"{n} {site.option(n)}" for n in names if site.option(n)), "")


def _three(site: Site) -> str:
    return c.first(
        (site.input(0), site.output),
        lambda o: c.size(o.tensor.shape) if sum(n > 1 for n in o.tensor.shape) > 3 else "",
    )


TARGET = Target(
    key="edgetpu",
    title="Edge TPU",
    about="Coral's Edge TPU with compiler 16.0 and runtime 14, the last releases.",
    placement=Placement.FIRST,
    rest="CPU",
    operators=OPERATORS,
    rules=(
        Rule(
            "activations and weights are quantized to int8 or uint8", NEEDS, _types, mend=INT8,
            final=True,
        ),
        Rule("the compiler maps the operator", PAGE, c.listed(OPERATORS), final=True),
        Rule(
            "the operator is not newer than the compiler",
            f"{ISSUES}631, {ISSUES}420, {ISSUES}396; libedgetpu workspace.bzl (TensorFlow 2.5)",
            c.versions(OPERATORS),
            mend="leave out half_pixel_centers and groups, give FULLY_CONNECTED weights one scale",
        ),
        Rule("shapes are known to the compiler", NEEDS, c.static, mend="fix them when converting"),
        Rule("weights and biases are constants", NEEDS, c.weights_constant),
        Rule("only the 3 innermost axes have more than one element", NEEDS, _innermost),
        Rule("no activation is fused", PAGE, c.no_activation, c.POOLS | {"CONCATENATION"}),
        Rule(
            "a constant is joined to one other operand and holds zeros", PAGE, _concatenation,
            frozenset({"CONCATENATION"}),
        ),
        Rule(
            "dilation is the same in both directions", PAGE, _dilation,
            frozenset({"CONV_2D", "DEPTHWISE_CONV_2D"}),
        ),
        Rule(
            "weights are in the default layout", PAGE, c.option("weights_format", 0),
            frozenset({"FULLY_CONNECTED"}),
        ),
        Rule(
            "the output is one-dimensional", f"{PAGE}; {ISSUES}27", lambda s: _vector(s.output),
            frozenset({"FULLY_CONNECTED"}),
        ),
        Rule("the batch is not reduced", PAGE, c.axes_without(0), c.REDUCTIONS),
        Rule(
            "reduced channels are a multiple of 4", PAGE, _depth, frozenset({"MEAN"}),
        ),
        Rule("the batch is not packed", PAGE, _packed_batch, frozenset({"PACK"})),
        Rule("the batch is not padded", PAGE, _padded_batch, frozenset({"PAD"})),
        Rule("the batch is not split", PAGE, c.axes_without(0, position=0), frozenset({"SPLIT"})),
        Rule("only the innermost axis of alpha has more than one element", PAGE, _alpha,
             frozenset({"PRELU"})),
        Rule("images have at most 3 axes of more than one element", PAGE, _three, c.RESIZES),
        Rule(
            "the data are one-dimensional, of at most 16,000 elements", PAGE, _softmax,
            frozenset({"SOFTMAX"}),
        ),
        Rule("steps are 1, no axis is made or filled in", PAGE, _steps,
             frozenset({"STRIDED_SLICE"})),
    ),
)  # fmt: skip
