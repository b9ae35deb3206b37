"""TRANSPOSE_CONV: the gradient of CONV_2D: every x[b,h,w,k] * w[o,i,j,k] is added at
y[b,h*s+i,w*s+j,o], plus bias[o].

The shape of the output comes first, the input third. Dynamic range: the sources list no hybrid
kernel, but there is one, and tensorflow 2.21 writes int8 weights with a scale a channel for it.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/transpose_conv.cc.
"""

from __future__ import annotations

from kernels.opspec import DynamicRange, Operand, OpSpec, Product, Role
from kernels.opversion import Special, Use, option


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
