"""FAKE_QUANT: y = dequantize(quantize(x)) for the range and bits of the options, all in float.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/fake_quant.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec
from kernels.opversion import Special, option

SPEC = OpSpec(
    name="FAKE_QUANT",
    inputs=(Operand("input"),),
    outputs=(Operand("output"),),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
    special=(Special(2, "narrow_range", option("narrow_range")),),
)
