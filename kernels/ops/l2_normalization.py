"""L2_NORMALIZATION: y = x / sqrt(sum x^2) over the last axis.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/l2norm.cc.
"""

from __future__ import annotations

from kernels.opspec import Fixed, Operand, OpSpec

SPEC = OpSpec(
    name="L2_NORMALIZATION",
    inputs=(Operand("input"),),
    outputs=(Operand("output", fixed={"int8": Fixed(1 / 128, 0), "uint8": Fixed(1 / 128, 128)}),),
    mlir=True,
    legacy=frozenset({"int8"}),
    kernels=frozenset({"int8", "uint8"}),
    versions={"float32": 1, "int8": 2, "int16": 1, "uint8": 1},
    legacy_version=2,
)
