"""CONV_2D: y[b,h,w,o] = act(sum_kij x[b,h*s+i,w*s+j,k] * w[o,i,j,k] + bias[o]), groups where x has
more channels than w.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/conv.cc.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from kernels import activation, bounds
from kernels.call import Call
from kernels.errors import RuntimeRefuses
from kernels.hybrid import ASYMMETRIC, QD8, SYMMETRIC
from kernels.numerics import Row
from kernels.ops import _conv
from kernels.opspec import DynamicRange, Operand, OpSpec, Product, Role
from kernels.opversion import Special, Use, hybrid, hybrid_per_channel, inputs, wide_bias
from kernels.stage import Rule, Stage

if TYPE_CHECKING:
    from kernels.simd.program import Lowering


def _grouped(use: Use) -> bool:
    """The input has more channels than one filter."""
    return use.rank(0) == use.rank(1) == 4 and use.shape(0)[3] != use.shape(1)[3]


SPEC = OpSpec(
    name="CONV_2D",
    inputs=(
        Operand("input"),
        Operand("filter", Role.WEIGHT, axis=0),
        Operand("bias", Role.BIAS, optional=True, scale=(Product(("input", "filter")),)),
    ),
    outputs=(Operand("output"),),
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 3, "int16": 1, "uint8": 1},
    legacy_version=3,
    special=(
        Special(8, "int16 activations with quantized_bias_type", wide_bias),
        Special(6, "grouped", _grouped),
        Special(7, "int8 activations, int4 weights", inputs("int8", "int4")),
        Special(5, "hybrid, per channel", hybrid_per_channel),
        Special(2, "hybrid, per tensor", hybrid),
    ),
    dynamic=DynamicRange(
        operand=1,
        hybrid=True,
        per_channel=True,
        asymmetric_inputs=False,
        version=5,
    ),
)


NUMERICS = (
    Row(
        "int8",
        "DBL (E25), factors in float64",
        "UP (E25); portable ruy SGL (E26); groups: DBL",
        "XF (E28)",
        "reference/integer_ops/conv.h; optimized/integer_ops/conv.h; ruy apply_multiplier.cc; "
        "XNNPACK operators/convolution-nhwc.c",
        "tensorflow 2.21, XNNPACK, SAME: windows shorter than the image read only padding (E33)",
    ),
    Row(
        "int8 x int4",
        "unpacked, then as int8",
        "unpacked, then as int8",
        "",
        "kernels/conv.cc",
    ),
    Row(
        "int16, int64 bias",
        "M64 (E26)",
        "M64 (E26)",
        "",
        "reference/integer_ops/conv.h",
        "an int32 bias without quantized_bias_type is read as int64",
    ),
    Row(
        "int16, int32 bias",
        "DBL (E25)",
        "UP (E25); portable ruy SGL (E26); groups: DBL",
        "",
        "reference/integer_ops/conv.h; optimized/integer_ops/conv.h",
    ),
    Row(
        "int16 x int4",
        "unpacked, then as int16",
        "unpacked, then as int16",
        "",
        "kernels/conv.cc",
    ),
    Row(
        "hybrid",
        "per channel: asymmetric rows of an image (E31), (acc * sw) * s + b; "
        "one scale: symmetric, acc * (sw * s) + b (E32)",
        "acc * (sw * s) + b (E32); groups: as reference",
        "qd8 of an image, of a pixel where the kernel is 1x1 (E31); fma (E30, E32)",
        "reference/conv.h HybridConvPerChannel; optimized_ops.h HybridConv; "
        "XNNPACK subgraph/convolution-2d.c",
        "scales that are all equal count as one; LiteRT reads other memory if groups have those",
    ),
    Row(
        "hybrid x int4",
        "unpacked, then as hybrid",
        "unpacked, then as hybrid",
        "",
        "kernels/conv.cc",
    ),
    Row(
        "uint8",
        "DBL (E25), scale product in float32",
        "UP (E25); portable ruy SGL (E26); groups: DBL",
        "XF (E28)",
        "reference/conv.h; optimized_ops.h Conv; XNNPACK operators/convolution-nhwc.c",
    ),
)

AT = _conv.At(x=0, w=1, bias=2)


def real(call: Call) -> tuple[np.ndarray, ...]:
    """y = act(sum x w + b). Sums in float64, rounded once to float32; those of short filters in
    order, others as NumPy adds the products of each tap."""
    x, w, at = call.x(0), _taps(call[1].real()), _window(call)
    if _conv.short(w) and x.shape[3] == w.shape[2]:
        y = _conv.ordered_sums(x, w, at)
    else:
        y = _conv.conv_sums(x.astype(np.float64), w.astype(np.float64), at, np.matmul)
    if call.has(2):
        y = y + call[2].real()
    return (activation.apply(call, y.astype(np.float32)),)


def bound(call: Call) -> np.ndarray:
    """Sums in another order (E75)."""
    return bounds.of_sums(call, math.prod(call[1].shape[1:]))


def reference(call: Call) -> tuple[np.ndarray, ...]:
    """acc = sum (x - z_x)(w - z_w) + b, then the output stage of the path (E12, E25-E28); with a
    float input E31 and E32."""
    _check(call)
    at, w = _window(call), _weights(call)
    if call[0].dtype == "float32":
        rule, by_pixel, scaling = _hybrid(call)
        x, s = _conv.quantize(call.x(0), rule, by_pixel)
        return (_conv.floats(call, AT, _conv.conv_sums(_visible(call, x), w, at), s, scaling),)
    x = call.x(0).astype(np.int64) - call[0].z
    acc = _conv.conv_sums(_visible(call, x), w, at)
    return (stage(call)(_conv.biased(call, AT, acc)),)


def fast(call: Call) -> tuple[np.ndarray, ...]:
    """`reference`, jitted."""
    _check(call)
    at, w = _window(call), _weights(call)
    units = w.shape[-1]
    acc = np.empty((call[0].shape[0], *at.out, units), np.int32)
    if call[0].dtype == "float32":
        rule, by_pixel, scaling = _hybrid(call)
        x, s = _conv.quantize(call.x(0), rule, by_pixel, fast=True)
    else:
        x = _conv.offset(call, call[0])
        if _conv.wide(call, AT):
            acc = acc.astype(np.int64)
    bias = _conv.biases(call, AT, units)
    weights = _conv.by_group(w, _groups(call))
    _conv.conv_loops(_visible(call, x), weights, bias, at.plain, acc)
    if call[0].dtype == "float32":
        return (_conv.finish_floats(call, AT, acc, s, scaling),)
    return (_conv.finish(acc, stage(call), call.output),)


def stage(call: Call) -> Stage:
    """Rule of the path: reference DBL, optimized UP, but DBL for groups; 64-bit sums M64.

    Portable ruy rounds once (SGL), except for the single pixels that do not come to ruy.
    """
    if _conv.wide(call, AT):
        rule = Rule.M64
    elif call.profile.is_reference or _groups(call) > 1:
        rule = Rule.DBL
    elif call.profile.portable and not _single_pixel(call):
        rule = Rule.SGL
    else:
        rule = Rule.UP
    return _conv.stage(call, AT, rule)


def _single_pixel(call: Call) -> bool:
    """Whether LiteRT has a matrix-vector product of its own (cpu_backend_gemm_custom_gemv.h)."""
    units, *kernel = call[1].shape
    pixels = call[0].shape[0] * math.prod(_window(call).out)
    return pixels == 1 and units >= 4 and math.prod(kernel) >= 8 and call[0].dtype != "int16"


def delegated(call: Call) -> bool:
    """Whether XNNPACK takes the call."""
    return call.has(2) and min(_window(call).out) > 0 and _conv.taken(call, AT, axis=0)


def lower(call: Call, to: Lowering) -> None:
    """The matrix kernel on segments of a padded image, for one group of int8."""
    from kernels.simd import convolution, floats, hybrid

    convolution.unblinded(call, _window(call), _groups(call) == 1)
    if not call.form:
        floats.conv(to, _window(call), call[1].real())
        return
    _check(call)
    if call[0].dtype == "float32":
        hybrid.conv(to, _window(call), call.x(1), *_hybrid(call))
        return
    convolution.conv(
        to, _window(call), stage(call), call.x(1), _conv.biases(call, AT, call[1].shape[0])
    )


def _hybrid(call: Call) -> tuple[int, bool, int]:
    """How a hybrid call quantizes its input, whether by pixel, and how it scales the sums."""
    scale, groups = call[1].scale, _groups(call)
    assert scale is not None
    if call.profile.is_xnnpack:
        unit = call[1].shape[1:3] == (1, 1) and _window(call).stride == (1, 1)
        # XNNPACK makes a FULLY_CONNECTED of it, except with a single channel on both sides.
        return QD8, unit and groups == 1 and call[1].shape[::3] != (1, 1), _conv.FUSED
    if groups > 1 or (scale != scale.flat[0]).any():
        if scale.size == 1 or (scale == scale.flat[0]).all():
            raise call.undefined("groups need scales that differ; the kernel reads other memory")
        plain = call.profile.is_reference or groups > 1
        return ASYMMETRIC, False, _conv.CHANNEL_FIRST if plain else _conv.PRODUCT
    return SYMMETRIC, False, _conv.PRODUCT


def _check(call: Call) -> None:
    x, w = call[0], call[1]
    if w.dtype not in ("int8", "int4") and w.dtype != x.dtype:
        raise call.refuse("weights must be int8 or int4, or uint8 beside a uint8 input")
    if not call.has(2):
        raise RuntimeRefuses("CONV_2D: the kernel insists on a bias; add one of zeros")
    if x.dtype in ("int8", "int16") and w.zero_point is not None and w.zero_point.any():
        raise RuntimeRefuses("CONV_2D: weights must have zero point 0")
    if x.shape[3] % w.shape[3] or w.shape[0] % _groups(call):
        raise RuntimeRefuses(f"CONV_2D: channels {x.shape[3]} and filter {w.shape} do not fit")


def _groups(call: Call) -> int:
    return call[0].shape[3] // call[1].shape[3]


def _window(call: Call) -> _conv.Window:
    return _conv.window(call, call[0].shape[1:3], call[1].shape[1:3])


def _visible(call: Call, x: np.ndarray) -> np.ndarray:
    """The input, or zeros where the runtime sees padding only."""
    return np.zeros_like(x) if _conv.blind(call, _window(call), x.shape[1:3]) else x


def _weights(call: Call) -> np.ndarray:
    """(KH, KW, C / groups, O) less the zero point."""
    w = _taps(call.x(1))
    return w.astype(np.int16) - np.int16(call[1].z)


def _taps(w: np.ndarray) -> np.ndarray:
    """(O, KH, KW, I) -> (KH, KW, I, O)."""
    return np.moveaxis(w, 0, -1)
