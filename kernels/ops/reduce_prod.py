"""REDUCE_PROD: y = product of x over the axes.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/reduce.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec, Role

SPEC = OpSpec(
    name="REDUCE_PROD",
    inputs=(Operand("input"), Operand("axis", Role.INDEX)),
    outputs=(Operand("output"),),
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16"}),
    versions={"float32": 1, "int8": 2, "int16": 2, "uint8": 1},
    legacy_version=2,
)
