"""SCATTER_ND: y = 0 but for y[indices[i]] += updates[i].

Zeros are written as the integer 0, and equal indices add bare integers: right only where the zero
point is 0, which neither rules A nor B see to.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/scatter_nd.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec, Role, Tie

SPEC = OpSpec(
    name="SCATTER_ND",
    inputs=(Operand("indices", Role.INDEX), Operand("updates"), Operand("shape", Role.INDEX)),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
    legacy_version=1,
)
