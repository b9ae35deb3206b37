"""CONV_2D: y[b,h,w,o] = act(sum_kij x[b,h*s+i,w*s+j,k] * w[o,i,j,k] + bias[o]), groups where x has
more channels than w.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/conv.cc.
"""

from __future__ import annotations

from kernels.opspec import DynamicRange, Operand, OpSpec, Product, Role
from kernels.opversion import Special, Use, hybrid, hybrid_per_channel, inputs, wide_bias


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
