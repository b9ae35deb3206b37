"""TRANSPOSE_CONV: the gradient of CONV_2D: every x[b,h,w,k] * w[o,i,j,k] is added at
y[b,h*s+i,w*s+j,o], plus bias[o].

The shape of the output comes first, the input third. Dynamic range: the sources list no hybrid
kernel, but there is one, and tensorflow 2.21 writes int8 weights with a scale a channel for it.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/transpose_conv.cc.
"""

from __future__ import annotations

import math

import numpy as np

from kernels import activation, bounds
from kernels.call import Call
from kernels.errors import RuntimeRefuses
from kernels.hybrid import ASYMMETRIC, QD8
from kernels.numerics import Row
from kernels.ops import _conv
from kernels.opspec import DynamicRange, Operand, OpSpec, Product, Role
from kernels.opversion import Special, Use, option
from kernels.stage import Rule, Stage


def _wide_bias(use: Use) -> bool:
    """int16 output and the type of the bias written in the options (the shape is input 0)."""
    return use.outputs[:1] == ("int16",) and bool(use.option("quantized_bias_type"))


SPEC = OpSpec(
    name="TRANSPOSE_CONV",
    inputs=(
        Operand("output_shape", Role.INDEX),
        Operand("filter", Role.WEIGHT, axis=0),
        Operand("input"),
        Operand("bias", Role.BIAS, optional=True, scale=(Product(("input", "filter")),)),
    ),
    outputs=(Operand("output"),),
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 2, "int16": 1, "uint8": 1},
    legacy_version=3,
    special=(
        Special(5, "int16 activations with quantized_bias_type", _wide_bias),
        Special(4, "fused activation", option("fused_activation_function")),
        Special(3, "with bias", lambda use: len(use.inputs) == 4 and use.inputs[3] is not None),
        Special(2, "int8 weights", lambda use: use.inputs[1] == "int8"),
    ),
    dynamic=DynamicRange(
        operand=1,
        hybrid=True,
        per_channel=True,
        asymmetric_inputs=False,
        version=2,
    ),
)


NUMERICS = (
    Row(
        "int8",
        "DBL (E25), factors in float64",
        "MIX8 along the channels (E25)",
        "XF (E28)",
        "reference/integer_ops/transpose_conv.h; optimized/integer_ops/transpose_conv.h; "
        "XNNPACK operators/deconvolution-nhwc.c",
        "XNNPACK takes SAME only where the kernel is not smaller than the stride",
    ),
    Row(
        "int16, int64 bias",
        "M64 (E26)",
        "M64 (E26)",
        "",
        "reference/integer_ops/transpose_conv.h",
        "also without bias",
    ),
    Row(
        "int16, int32 bias",
        "DBL (E25)",
        "MIX8 along the channels (E25)",
        "",
        "reference/integer_ops/transpose_conv.h; optimized/integer_ops/transpose_conv.h",
    ),
    Row(
        "hybrid",
        "asymmetric rows of an image (E31), every product scaled and added in float32 (E34)",
        "as reference",
        "qd8 of an image (E31); fma (E30, E32)",
        "reference/transpose_conv.h HybridTransposeConv; XNNPACK operators/deconvolution-nhwc.c",
    ),
    Row(
        "uint8",
        "DBL (E25), scale product in float32",
        "MIX16 over the flat output (E25)",
        "XF (E28)",
        "reference/transpose_conv.h; optimized_ops.h TransposeConvV2, Quantize",
    ),
)

AT = _conv.At(x=2, w=1, bias=3)


def real(call: Call) -> tuple[np.ndarray, ...]:
    """y = act(sum x w + b). Sums of each tap in float64, added in float64, rounded once."""
    x, w = call.x(2).astype(np.float64), call[1].real().astype(np.float64)
    y = _conv.transposed_sums(x, _taps(w), _window(call), _space(call), np.matmul)
    if call.has(3):
        y = y + call[3].real()
    return (activation.apply(call, y.astype(np.float32)),)


def bound(call: Call) -> np.ndarray:
    """Sums in another order (E75)."""
    return bounds.of_sums(call, math.prod(call[1].shape[1:]))


def reference(call: Call) -> tuple[np.ndarray, ...]:
    """acc = sum (x - z_x)(w - z_w) + b, then the output stage of the path (E12, E25-E28); with a
    float input E31, E32 and E34."""
    _check(call)
    at, w, out = _window(call), _weights(call), _space(call)
    if call[2].dtype == "float32":
        rule = QD8 if call.profile.is_xnnpack else ASYMMETRIC
        x, s = _conv.quantize(call.x(2), rule, by_pixel=False)
        if call.profile.is_xnnpack:
            acc = _conv.transposed_sums(x, w, at, out)
            return (_conv.floats(call, AT, acc, s, _conv.FUSED),)
        return (_conv.in_order(call, AT, x, s, w, at, out),)
    x = call.x(2).astype(np.int64) - call[2].z
    acc = _conv.biased(call, AT, _conv.transposed_sums(x, w, at, out))
    return (stage(call)(_run(call, acc)).reshape(acc.shape),)


def fast(call: Call) -> tuple[np.ndarray, ...]:
    """`reference`, jitted."""
    _check(call)
    at, w = _window(call), np.ascontiguousarray(_weights(call))
    units = w.shape[-1]
    shape = (call[2].shape[0], *_space(call), units)
    acc = np.empty(shape, np.int32)
    if call[2].dtype == "float32":
        rule = QD8 if call.profile.is_xnnpack else ASYMMETRIC
        x, s = _conv.quantize(call.x(2), rule, by_pixel=False, fast=True)
        if not call.profile.is_xnnpack:
            y = np.empty(shape, np.float32)
            lo, hi = _conv.float_bounds(call)
            sw, bias = _conv.channel_scales(call, AT, units), _conv.float_bias(call, AT, units)
            _conv.in_order_loops(x, s.reshape(-1), w, sw, bias, at.plain, lo, hi, y)
            return (y,)
    else:
        x = _conv.offset(call, call[2])
        if _conv.wide(call, AT):
            acc = acc.astype(np.int64)
    _conv.transposed_loops(x, w, _conv.biases(call, AT, units), at.plain, acc)
    if call[2].dtype == "float32":
        return (_conv.finish_floats(call, AT, acc, s, _conv.FUSED),)
    return (_conv.finish(_run(call, acc), stage(call), call.output).reshape(shape),)


def stage(call: Call) -> Stage:
    """Rule of the path: reference DBL, optimized MIX8, uint8 MIX16; 64-bit sums M64."""
    if _conv.wide(call, AT):
        rule = Rule.M64
    elif call.profile.is_reference:
        rule = Rule.DBL
    else:
        rule = Rule.MIX16 if call[2].dtype == "uint8" else Rule.MIX8
    return _conv.stage(call, AT, rule)


def delegated(call: Call) -> bool:
    """Whether XNNPACK takes the call."""
    if not call[0].constant or not _conv.taken(call, AT, axis=0):
        return False
    strides = int(call.option("stride_h", 1)), int(call.option("stride_w", 1))
    kernel = call[1].shape[1:3]
    return call.option("padding", _conv.SAME) != _conv.SAME or (
        kernel[0] >= strides[0] and kernel[1] >= strides[1]
    )


def _check(call: Call) -> None:
    x, w = call[2], call[1]
    if w.dtype != ("uint8" if x.dtype == "uint8" else "int8"):
        raise RuntimeRefuses(f"TRANSPOSE_CONV: no kernel for {x.dtype} with {w.dtype} weights")
    if x.shape[3] != w.shape[3]:
        raise RuntimeRefuses(f"TRANSPOSE_CONV: {x.shape[3]} channels, filter {w.shape}")
    if _window(call).out != x.shape[1:3] or call.x(0)[0] != x.shape[0]:
        raise RuntimeRefuses(
            f"TRANSPOSE_CONV: output shape {tuple(call.x(0))} does not come from input {x.shape}"
        )


def _space(call: Call) -> tuple[int, ...]:
    """Height and width of the output."""
    return tuple(int(n) for n in call.x(0)[1:-1])


def _window(call: Call) -> _conv.Window:
    """The convolution that would make the input of the output."""
    return _conv.window(call, _space(call), call[1].shape[1:3])


def _run(call: Call, acc: np.ndarray) -> np.ndarray:
    """Sums as the rounding counts them: uint8 along the whole tensor, else along channels."""
    return acc.reshape(1, -1) if call[2].dtype == "uint8" else acc


def _weights(call: Call) -> np.ndarray:
    """(KH, KW, C, O) less the zero point; int8 kernels take it to be 0."""
    w = call[1]
    return _taps(w.x).astype(np.int16) - np.int16(w.z if w.dtype == "uint8" else 0)


def _taps(w: np.ndarray) -> np.ndarray:
    """(O, KH, KW, C) -> (KH, KW, C, O)."""
    return np.moveaxis(w, 0, -1)
