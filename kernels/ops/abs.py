"""ABS: y = |x|.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/elementwise.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec
from kernels.opversion import Special, bare_int16

SPEC = OpSpec(
    name="ABS",
    inputs=(Operand("input"),),
    outputs=(Operand("output"),),
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16"}),
    versions={"float32": 1, "int8": 2, "int16": 3, "uint8": 2},
    legacy_version=2,
    special=(Special(4, "int16 without quantization", bare_int16),),
)
