"""STABLEHLO_COMPOSITE: calls the subgraph that decomposes it; a delegate may know it by name.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/stablehlo_composite.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec

SPEC = OpSpec(
    name="STABLEHLO_COMPOSITE",
    inputs=(Operand("input", optional=True, variadic=True),),
    outputs=(Operand("output", optional=True, variadic=True),),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
)
