"""DEPTHWISE_CONV_2D: y[b,h,w,c] = act(sum_ij x[b,h*s+i,w*s+j,c div m] * w[0,i,j,c] + bias[c]), m
the channel multiplier.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/depthwise_conv.cc.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from kernels import activation, bounds
from kernels.call import Call
from kernels.errors import RuntimeRefuses
from kernels.hybrid import ASYMMETRIC
from kernels.numerics import Row
from kernels.ops import _conv
from kernels.opspec import DynamicRange, Operand, OpSpec, Product, Role
from kernels.opversion import Special, Use, hybrid, hybrid_per_channel, inputs
from kernels.stage import Rule, Stage

if TYPE_CHECKING:
    from kernels.simd.program import Lowering


def _dilated(use: Use) -> bool:
    names = ("dilation_w_factor", "dilation_h_factor")
    return any((use.option(name) or 1) != 1 for name in names)


SPEC = OpSpec(
    name="DEPTHWISE_CONV_2D",
    inputs=(
        Operand("input"),
        Operand("filter", Role.WEIGHT, axis=3),
        Operand("bias", Role.BIAS, optional=True, scale=(Product(("input", "filter")),)),
    ),
    outputs=(Operand("output"),),
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 3, "int16": 1, "uint8": 1},
    legacy_version=3,
    special=(
        Special(6, "hybrid, per channel", hybrid_per_channel),
        Special(4, "hybrid, per tensor", hybrid),
        Special(3, "int8 activations and weights", inputs("int8", "int8")),
        Special(7, "int8 activations, int4 weights", inputs("int8", "int4")),
        Special(2, "dilated", _dilated),
    ),
    dynamic=DynamicRange(
        operand=1,
        hybrid=True,
        per_channel=True,
        asymmetric_inputs=False,
        version=6,
    ),
)


NUMERICS = (
    Row(
        "int8",
        "DBL (E25), factors in float64",
        "MIX8 along the channels (E25)",
        "XF (E28)",
        "reference/integer_ops/depthwise_conv.h; optimized/integer_ops/depthwise_conv.h; "
        "XNNPACK operators/convolution-nhwc.c",
        "without a bias the optimized kernel reads address 0; tensorflow 2.21, XNNPACK: E33",
    ),
    Row(
        "int8 x int4",
        "unpacked, then as int8",
        "unpacked, then as int8",
        "",
        "kernels/depthwise_conv.cc",
        "the reference kernels end at version 6, and the converter writes 7",
    ),
    Row(
        "int16, int64 bias",
        "M64 (E26)",
        "M64 (E26)",
        "",
        "reference/integer_ops/depthwise_conv.h",
    ),
    Row(
        "hybrid",
        "asymmetric rows of an image (E31), acc * (sw * s) + b (E32)",
        "whole groups of 4 channels (acc * sw) * s + b, tail (acc * s) * sw + b (E32)",
        "",
        "reference/integer_ops/depthwise_conv.h; optimized/integer_ops/depthwise_conv_hybrid.h",
        "LiteRT reads beyond the scales where there is one for several channels",
    ),
    Row(
        "uint8",
        "DBL (E25), scale product in float32",
        "DBL (E25)",
        "XF (E28)",
        "reference/depthwiseconv_uint8.h; optimized/depthwiseconv_uint8.h",
    ),
)

AT = _conv.At(x=0, w=1, bias=2)


def real(call: Call) -> tuple[np.ndarray, ...]:
    """y = act(sum x w + b). Sums in float64, rounded once to float32."""
    x, w = call.x(0).astype(np.float64), call[1].real().astype(np.float64)
    y = _conv.depthwise_sums(x, w[0], _window(call))
    if call.has(2):
        y = y + call[2].real()
    return (activation.apply(call, y.astype(np.float32)),)


def bound(call: Call) -> np.ndarray:
    """Sums in another order (E75)."""
    return bounds.of_sums(call, math.prod(call[1].shape[1:3]))


def reference(call: Call) -> tuple[np.ndarray, ...]:
    """acc = sum (x - z_x)(w - z_w) + b, then the output stage of the path (E12, E25-E28); with a
    float input E31 and E32."""
    _check(call)
    at, w = _window(call), _weights(call)
    if call[0].dtype == "float32":
        x, s = _conv.quantize(call.x(0), ASYMMETRIC, by_pixel=False)
        acc = _conv.depthwise_sums(x.astype(np.int64), w, at)
        return (_conv.floats(call, AT, acc, s, _scaling(call)),)
    x = call.x(0).astype(np.int64) - call[0].z
    acc = _conv.depthwise_sums(_visible(call, x), w, at)
    return (stage(call)(_conv.biased(call, AT, acc)),)


def fast(call: Call) -> tuple[np.ndarray, ...]:
    """`reference`, jitted."""
    _check(call)
    at, w = _window(call), np.ascontiguousarray(_weights(call))
    units = w.shape[-1]
    acc = np.empty((call[0].shape[0], *at.out, units), np.int32)
    if call[0].dtype == "float32":
        x, s = _conv.quantize(call.x(0), ASYMMETRIC, by_pixel=False, fast=True)
    else:
        x = _visible(call, _conv.offset(call, call[0]))
        if _conv.wide(call, AT):
            acc = acc.astype(np.int64)
    _conv.depthwise_loops(x, w, _conv.biases(call, AT, units), at.plain, acc)
    if call[0].dtype == "float32":
        return (_conv.finish_floats(call, AT, acc, s, _scaling(call)),)
    return (_conv.finish(acc, stage(call), call.output),)


def stage(call: Call) -> Stage:
    """Rule of the path: DBL, optimized int8 MIX8; 64-bit sums M64."""
    rule = Rule.DBL
    if _conv.wide(call, AT):
        rule = Rule.M64
    elif call[0].dtype == "int8" and not call.profile.is_reference:
        rule = Rule.MIX8
    return _conv.stage(call, AT, rule)


def delegated(call: Call) -> bool:
    """Whether XNNPACK takes the call."""
    if not call.has(2) or call[0].dtype == "float32" or call.option("depth_multiplier", 1) < 1:
        return False
    return min(_window(call).out) > 0 and _conv.taken(call, AT, axis=3)


def lower(call: Call, to: Lowering) -> None:
    """Taps of a padded image, several in one dot instruction, for one filter a channel of int8."""
    from kernels.simd import convolution, floats, hybrid

    convolution.unblinded(call, _window(call), call[1].shape[3] == call[0].shape[3])
    if not call.form:
        floats.depthwise(to, _window(call), call[1].real()[0])
        return
    _check(call)
    if call[0].dtype == "float32":
        hybrid.depthwise(to, _window(call), call.x(1)[0], _scaling(call))
        return
    convolution.depthwise(
        to, _window(call), stage(call), call.x(1)[0], _conv.biases(call, AT, call[1].shape[3])
    )


def _scaling(call: Call) -> int:
    return _conv.PRODUCT if call.profile.is_reference else _conv.MIX4


def _check(call: Call) -> None:
    x, w = call[0], call[1]
    if w.dtype == "int4":
        if x.dtype != "int8":
            raise call.refuse("int4 weights need int8 activations; others read them as int8")
        if call.profile.is_reference and call.version in (0, 7):
            raise RuntimeRefuses("DEPTHWISE_CONV_2D: no reference kernel of version 7 (int4)")
    elif w.dtype != "int8" and w.dtype != x.dtype:
        raise call.refuse("weights must be int8 or int4, or uint8 beside a uint8 input")
    if w.shape[0] != 1 or w.shape[3] % x.shape[3]:
        raise RuntimeRefuses(
            f"DEPTHWISE_CONV_2D: filter {w.shape} does not fit {x.shape[3]} channels"
        )
    if x.dtype == "float32" and w.shape[3] > 1 and not w.per_channel:
        raise call.refuse("hybrid weights need a scale for each channel; the kernel reads as many")
    if call.option("depth_multiplier", 0) not in (0, w.shape[3] // x.shape[3]):
        raise call.refuse("depth_multiplier is not the filters of each channel; correct it")
    if call.option("depth_multiplier", 1) == 0 and not call.profile.litert:
        if x.dtype in ("int16", "float32"):
            raise call.undefined("depth_multiplier 0 leaves the output as it was; correct it")
    eight = x.dtype in ("int8", "uint8", "float32")
    if eight and not call.has(2) and not call.profile.is_reference:
        raise RuntimeRefuses("DEPTHWISE_CONV_2D: the optimized kernel insists on a bias")


def _window(call: Call) -> _conv.Window:
    return _conv.window(call, call[0].shape[1:3], call[1].shape[1:3])


def _visible(call: Call, x: np.ndarray) -> np.ndarray:
    """The input, or zeros where the runtime sees padding only."""
    return np.zeros_like(x) if _conv.blind(call, _window(call), x.shape[1:3]) else x


def _weights(call: Call) -> np.ndarray:
    """(KH, KW, O) less the zero point; int8 kernels take it to be 0."""
    w = call[1]
    return w.x[0].astype(np.int16) - np.int16(w.z if w.dtype == "uint8" else 0)
