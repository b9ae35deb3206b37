"""ARG_MAX: y = index of the largest x along axis, the first of equals.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/arg_min_max.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec, Role

SPEC = OpSpec(
    name="ARG_MAX",
    inputs=(Operand("input"), Operand("axis", Role.INDEX)),
    outputs=(Operand("output", Role.INDEX),),
    mlir=True,
    legacy=frozenset({"int8"}),
    kernels=frozenset({"int8", "uint8"}),
    versions={"float32": 1, "int8": 2, "int16": 1, "uint8": 1},
    legacy_version=2,
)
