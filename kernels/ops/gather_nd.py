"""GATHER_ND: y[i] = x[indices[i]], each index a vector.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/gather_nd.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec, Role, Tie
from kernels.opversion import Special

SPEC = OpSpec(
    name="GATHER_ND",
    inputs=(Operand("params"), Operand("indices", Role.INDEX)),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 1, "int16": 3, "uint8": 1},
    legacy_version=3,
    special=(Special(4, "int16 indices", lambda use: use.inputs[1] == "int16"),),
)
