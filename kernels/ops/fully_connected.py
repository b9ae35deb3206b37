"""FULLY_CONNECTED: y[b,o] = act(sum_i x[b,i] * w[o,i] + bias[o]).

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/fully_connected.cc.
"""

from __future__ import annotations

import numpy as np

from kernels import activation, delegate
from kernels.call import Call
from kernels.exact import matmul
from kernels.fixedpoint import wrap32
from kernels.jit import jit
from kernels.numerics import Row
from kernels.opspec import DynamicRange, Operand, OpSpec, Product, Role
from kernels.opversion import (
    Special,
    hybrid,
    hybrid_asymmetric,
    hybrid_per_channel,
    inputs,
    option,
    wide_bias,
)
from kernels.stage import Rule, Stage, requantize

SPEC = OpSpec(
    name="FULLY_CONNECTED",
    inputs=(
        Operand("input"),
        Operand("weights", Role.WEIGHT, axis=0),
        Operand("bias", Role.BIAS, optional=True, scale=(Product(("input", "weights")),)),
    ),
    outputs=(Operand("output"),),
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 4, "int16": 1, "uint8": 1},
    legacy_version=4,
    special=(
        Special(14, "int2 weights", lambda use: use.inputs[1] == "int2"),
        Special(13, "int16 activations, int4 weights", inputs("int16", "int4")),
        Special(12, "hybrid, per channel", hybrid_per_channel),
        Special(11, "int16 activations with quantized_bias_type", wide_bias),
        Special(7, "int16 activations and weights", inputs("int16", "int16")),
        Special(6, "two inputs", lambda use: len(use.inputs) == 2),
        Special(5, "keep_num_dims", option("keep_num_dims")),
        Special(4, "int8 activations and weights", inputs("int8", "int8")),
        Special(10, "int8 activations, int4 weights", inputs("int8", "int4")),
        Special(9, "hybrid with asymmetric_quantize_inputs", hybrid_asymmetric),
        Special(3, "hybrid", hybrid),
        Special(2, "shuffled weights", lambda use: use.option("weights_format") == 1),
    ),
    dynamic=DynamicRange(
        operand=1,
        hybrid=True,
        per_channel=True,
        asymmetric_inputs=True,
        version=12,
    ),
)

NUMERICS = (
    Row(
        "int8",
        "F64 (E27), factor in float64",
        "UP (E25); per tensor the scale product is rounded to float32",
        "XF (E28)",
        "reference/integer_ops/fully_connected.h; optimized/integer_ops/fully_connected.h; "
        "XNNPACK operators/fully-connected-nc.c",
    ),
)


def real(call: Call) -> tuple[np.ndarray, ...]:
    """y = act(x w^T + b). Sums in float64, rounded once to float32."""
    w = call[1].real().astype(np.float64)
    y = _rows(call.x(0), w).astype(np.float64) @ w.T
    if call.has(2):
        y = y + call[2].real()
    return (activation.apply(call, _shaped(call, y.astype(np.float32))),)


def reference(call: Call) -> tuple[np.ndarray, ...]:
    """acc = sum (x - z_x)(w - z_w) + b, int32; then the output stage of the path (E12, E25-E28)."""
    x, w = _rows(call.x(0), call.x(1)), call.x(1)
    acc = matmul(x.astype(np.int64) - call[0].z, (w.astype(np.int64) - call[1].z).T)
    if call.has(2):
        acc = acc + call.x(2)
    return (_shaped(call, stage(call)(wrap32(acc))),)


def fast(call: Call) -> tuple[np.ndarray, ...]:
    """`reference`, jitted."""
    x, w = _rows(call.x(0), call.x(1)), call.x(1)
    bias = call.x(2) if call.has(2) else np.zeros(w.shape[0], np.int32)
    out = np.empty((x.shape[0], w.shape[0]), call.output.held)
    _loops(x, w, bias, call[0].z, call[1].z, stage(call).parameters(w.shape[0]), out)
    return (_shaped(call, out),)


def stage(call: Call) -> Stage:
    """Which rule and factor each path uses: reference F64, optimized UP, XNNPACK XF."""
    x, w, y = call[0], call[1], call.output
    if call.profile.is_xnnpack:
        rule, factor = Rule.XF, np.float32(x.s * w.scale) / y.s
    else:
        rule = Rule.F64 if call.profile.is_reference else Rule.UP
        factor = float(x.s) * w.scale.astype(np.float64) / float(y.s)
        if rule is Rule.UP and not w.per_channel:  # kernel_util.cc: the product is a float there
            factor = np.float64(x.s * w.s) / float(y.s)
    return Stage.of(rule, factor, y.z, activation.clamp(call), y.range)


def delegated(call: Call) -> bool:
    """Whether XNNPACK takes the call."""
    return delegate.eight_bit(call[0]) and delegate.static(call, 1, 2)


def _rows(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """The input as rows of as many values as a filter has."""
    return x.reshape(-1, w.shape[1])


def _shaped(call: Call, y: np.ndarray) -> np.ndarray:
    """(rows, units) in the shape of the output: with keep_num_dims, that of the input."""
    return y.reshape(*call[0].shape[:-1], -1) if call.option("keep_num_dims", False) else y


@jit
def _loops(x, w, bias, x_zero_point, w_zero_point, p, out):
    for row in range(x.shape[0]):
        for unit in range(w.shape[0]):
            acc = np.int32(bias[unit])
            for i in range(x.shape[1]):
                acc += np.int32(
                    (np.int32(x[row, i]) - x_zero_point) * (np.int32(w[unit, i]) - w_zero_point)
                )
            out[row, unit] = requantize(np.int64(acc), unit, p)
