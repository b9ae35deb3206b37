"""XNNPACK, the delegate that LiteRT's interpreter applies by default.

What it takes of integer and moving operators is what `delegated` in `kernels/ops/` says, which our
integers depend on; here is what it takes of float ones, which compute alike either way.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from kernels import activation, delegate, ops
from kernels.errors import RuntimeRefuses
from kernels.opspec import Role
from kernels.profile import RUNTIMES, Profile
from qcore.targets import conditions as c
from qcore.targets.rule import Placement, Rule, Takes, Target
from qcore.targets.site import Site

DELEGATE = "LiteRT tflite/delegates/xnnpack/xnnpack_delegate.cc"
PROFILE = Profile("xnnpack")


def _unary(site: Site) -> bool:
    return delegate.takes_shape(site.call[0])


def _leaky(site: Site) -> bool:
    alpha = np.float32(site.option("alpha", 0.0))
    return _unary(site) and bool(np.isfinite(alpha) and abs(alpha) >= np.finfo(np.float32).tiny)


def _weighted(site: Site) -> bool:
    """CONV_2D, DEPTHWISE_CONV_2D: constant weights and bias, no other activation than a clamp."""
    return (
        site.has(2) and _constant(site, 1, 2) and activation.fused(site.call) in activation.BOUNDS
    )


def _fully_connected(site: Site) -> bool:
    fused = activation.fused(site.call) in activation.BOUNDS
    plain = site.option("weights_format", 0) == 0
    return fused and plain and len(site.call[1].shape) == 2 and site.call.version != 8


def _transposed(site: Site) -> bool:
    """TRANSPOSE_CONV: with SAME no stride is longer than the kernel."""
    steps = int(site.option("stride_h", 1)), int(site.option("stride_w", 1))
    fits = all(n <= m for n, m in zip(steps, site.call[1].shape[1:3]))
    fused = activation.fused(site.call) in activation.BOUNDS
    return _constant(site, 0, 1, 3) and fused and (fits or site.option("padding") != c.SAME)


def _pool(site: Site) -> bool:
    height, width = c.kernel(site)
    steps = int(site.option("stride_h")), int(site.option("stride_w"))
    if (height, width) == (1, 1) and max(steps) > 1:
        return False
    inside = 1 <= steps[0] <= height and 1 <= steps[1] <= width
    return inside and activation.fused(site.call) in activation.BOUNDS


def _reduce(site: Site) -> bool:
    axes = site.numbers(1)
    return axes is not None and site.call[1].dtype == "int32" and 1 <= len(axes) <= 6


def _matmul(site: Site) -> bool:
    return all(len(site.call[p].shape) >= 2 for p in (0, 1))


def _constant(site: Site, *positions: int) -> bool:
    return not c.constants(*positions)(site)


FLOAT: dict[str, Callable[[Site], bool]] = {
    **dict.fromkeys(
        (
            "ABS", "CEIL", "COS", "ELU", "EXP", "FLOOR", "GELU", "HARD_SWISH", "LOG", "LOGISTIC",
            "NEG", "RELU", "RELU6", "RELU_N1_TO_1", "ROUND", "RSQRT", "SIN", "SQRT", "SQUARE",
            "TANH",
        ),
        _unary,
    ),
    "LEAKY_RELU": _leaky,
    "CONV_2D": _weighted,
    "DEPTHWISE_CONV_2D": _weighted,
    "FULLY_CONNECTED": _fully_connected,
    "TRANSPOSE_CONV": _transposed,
    "AVERAGE_POOL_2D": _pool,
    "MAX_POOL_2D": _pool,
    **dict.fromkeys(("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"), _reduce),
    "BATCH_MATMUL": _matmul,
    "RESIZE_BILINEAR": lambda site: _constant(site, 1) and site.call[1].dtype == "int32",
    "SOFTMAX": lambda site: float(site.option("beta", 1.0)) == 1.0,
}  # fmt: skip

RATIOS = frozenset({"ADD", "LEAKY_RELU", "MUL", "QUANTIZE", "SUB"})  # of scales that have limits
VARIABLES = ("READ_VARIABLE", "ASSIGN_VARIABLE")

# What XNNPACK takes, in words; `taken` decides. Where no word is said, as the first line.
_EIGHT = "float32, or int8 or uint8 with one scale"
WORDS = {
    "ABS": "float32",
    "ADD": f"{_EIGHT}, each input's 2^-10 to 256 times the output's",
    "AVERAGE_POOL_2D": "float32; no stride longer than the window",
    "BATCH_MATMUL": "float32, or int8 with weights of zero point 0; float32 beside int8 weights",
    "CONCATENATION": f"{_EIGHT}, 2 to 5 operands",
    "CONV_2D": f"{_EIGHT}, or float32 beside int8 weights; weights and a bias are constants",
    "DEPTHWISE_CONV_2D": f"{_EIGHT}; weights and a bias are constants",
    "DEPTH_TO_SPACE": f"{_EIGHT}, blocks larger than 1",
    "DEQUANTIZE": "int8 or uint8 with one scale, or a constant of float16 or int8",
    "DIV": "float32",
    "ELU": "float32, or int8 with one scale",
    "FULLY_CONNECTED": f"{_EIGHT}, or float32 or int8 beside int8, int4 or int2 weights; integer "
    "weights and a bias are constants",
    "LEAKY_RELU": f"{_EIGHT} and ratios within 2^-8 to 128",
    "LOGISTIC": _EIGHT,
    "MAX_POOL_2D": f"{_EIGHT}; no stride longer than the window",
    "MAXIMUM": "float32",
    "MEAN": f"{_EIGHT}; constant axes",
    "MINIMUM": "float32",
    "MUL": f"{_EIGHT}, their product 2^-16 to 256 times the output's",
    "PAD": f"{_EIGHT}; constant paddings",
    "PRELU": "float32; a constant alpha",
    "QUANTIZE": "float32 to 8 bits with one scale; 8 bits to the same type, ratio 2^-8 to 128",
    "REDUCE_MAX": f"{_EIGHT}; constant axes",
    "REDUCE_MIN": f"{_EIGHT}; constant axes",
    "RESHAPE": f"{_EIGHT}; a constant shape",
    "RESIZE_BILINEAR": f"{_EIGHT}; a constant size",
    "SLICE": f"{_EIGHT}; constant begin and size, no size left open",
    "SOFTMAX": "float32; beta 1",
    "SPACE_TO_DEPTH": f"{_EIGHT}, blocks larger than 1",
    "SPLIT": f"{_EIGHT}; a constant axis, 2 to 4 parts",
    "SQUARED_DIFFERENCE": "float32",
    "STRIDED_SLICE": f"{_EIGHT}; constant bounds, steps of 1, no axis made or dropped",
    "SUB": f"{_EIGHT}, each input's 2^-10 to 256 times the output's",
    "SUM": f"{_EIGHT}; constant axes",
    "TANH": _EIGHT,
    "TRANSPOSE": f"{_EIGHT}; a constant permutation",
    "TRANSPOSE_CONV": f"{_EIGHT}; weights, a bias and the shape are constants",
    **dict.fromkeys(VARIABLES, _EIGHT),
}
OPERATORS = {name: Takes() for name in {*FLOAT, *WORDS, "VAR_HANDLE"}}


def taken(site: Site) -> bool:
    """Whether XNNPACK takes the operator. Raises RuntimeRefuses where it stops at a scale."""
    call = site.call.on(profile=PROFILE)
    if unpacks(site):
        return True
    if site.name in VARIABLES:
        value = [o.tensor for o in site.operands if o.tensor.dtype != "resource"]
        return all(t.dtype == "float32" or delegate.per_tensor(t) for t in value)
    if ops.resolve(call).profile.is_xnnpack:
        return True
    roles = Role.ACTIVATION, Role.WEIGHT, Role.BIAS
    floats = all(o.tensor.dtype == "float32" for o in site.of(*roles))
    return floats and site.name in FLOAT and FLOAT[site.name](site)


def unpacks(site: Site) -> bool:
    """DEQUANTIZE of a constant: XNNPACK reads the constant where it takes every reader."""
    if site.name != "DEQUANTIZE":
        return False
    x = site.call[0]
    return x.constant and (x.dtype == "float16" or (x.dtype == "int8" and x.quantized))


def _broken(site: Site) -> str:
    try:
        return "" if taken(site) else kinds(site)
    except RuntimeRefuses:
        return ""  # the rule of scales says so


def _stops(site: Site) -> str:
    """What XNNPACK takes and then fails on, so that no interpreter is made."""
    further = getattr(ops.module(site.name), "check_delegated", None)
    try:
        if taken(site) and further is not None and site.call.form:
            further(site.call.on(profile=PROFILE))
    except RuntimeRefuses as error:
        return str(error)
    return ""


def kinds(site: Site) -> str:
    """Types of operands and outputs, with what is special about them."""

    def word(position: int) -> str:
        o = site.inputs[position]
        if o is None:
            return "absent"
        scales = f" with {o.tensor.scale.size} scales" if o.tensor.per_channel else ""  # type: ignore[union-attr]
        computed = o.role in (Role.WEIGHT, Role.BIAS, Role.INDEX) and not o.tensor.constant
        return o.tensor.dtype + scales + (", computed" if computed else "")

    given = ", ".join(word(p) for p in range(len(site.inputs)))
    told = f"{given} -> {', '.join(o.tensor.dtype for o in site.outputs)}"
    if site.name not in RATIOS or not all(delegate.per_tensor(o.tensor) for o in site.operands):
        return told
    return f"{told}, scales {', '.join(f'{o.tensor.s:.3g}' for o in site.operands)}"


TARGET = Target(
    key="xnnpack",
    title="CPU with XNNPACK",
    about=f"The default of the interpreter of {RUNTIMES['litert']}.",
    placement=Placement.EACH,
    rest="optimized kernels",
    operators=OPERATORS,
    checked="the interpreter of ai-edge-litert 2.3 shows what it delegates of random models of "
    "every operator",
    rules=(
        Rule("XNNPACK knows the operator", DELEGATE, c.listed(OPERATORS), final=True),
        Rule(
            "scales are normal numbers, zero points lie in the type, and weights have one of 0",
            DELEGATE, _stops,
            mend="else the interpreter is not made; give the tensor a range",
        ),
        *(
            Rule(f"{name} is of {words}", f"{DELEGATE}, kernels/ops", _broken, frozenset({name}))
            for name, words in WORDS.items()
        ),
        Rule(
            "any other operator is of float32 with at most 6 axes", DELEGATE, _broken,
            frozenset(FLOAT) - WORDS.keys(),
        ),
    ),
)  # fmt: skip
