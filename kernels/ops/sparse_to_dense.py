"""SPARSE_TO_DENSE: y = default_value but for y[indices[i]] = values[i].

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/sparse_to_dense.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec, Role, Tie

SPEC = OpSpec(
    name="SPARSE_TO_DENSE",
    inputs=(
        Operand("indices", Role.INDEX),
        Operand("shape", Role.INDEX),
        Operand("values"),
        Operand("default_value"),
    ),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    mlir_tie=Tie.NONE,
    mlir=True,
    kernels=frozenset({"int8", "uint8"}),
    versions={"float32": 1, "int8": 3, "int16": 1, "uint8": 3},
)
