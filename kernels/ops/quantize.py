"""QUANTIZE: q = clamp(round(x / scale) + zero_point); from integers, requantized.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/quantize.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec
from kernels.opversion import Special, either

SPEC = OpSpec(
    name="QUANTIZE",
    inputs=(Operand("input"),),
    outputs=(Operand("output"),),
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
    legacy_version=2,
    special=(
        Special(5, "uint4", either("uint4")),
        Special(4, "int4", either("int4")),
        Special(3, "per channel", lambda use: use.per_channel),
        Special(2, "int16 output", lambda use: use.outputs[0] == "int16"),
    ),
)
