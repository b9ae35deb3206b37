"""FULLY_CONNECTED: y[b,o] = act(sum_i x[b,i] * w[o,i] + bias[o]).

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/fully_connected.cc.
"""

from __future__ import annotations

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
