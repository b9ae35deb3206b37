"""DEQUANTIZE: x = scale * (q - zero_point); from float16, the same number.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/dequantize.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec
from kernels.opversion import Special, inputs

SPEC = OpSpec(
    name="DEQUANTIZE",
    inputs=(Operand("input"),),
    outputs=(Operand("output"),),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 2, "int16": 3, "uint8": 1},
    special=(
        Special(8, "uint4", inputs("uint4")),
        Special(7, "int2", inputs("int2")),
        Special(6, "int4", inputs("int4")),
        Special(3, "float16", inputs("float16")),
        Special(5, "int8 per channel", lambda use: use.inputs[0] == "int8" and use.per_channel),
    ),
)
