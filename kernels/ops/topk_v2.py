"""TOPK_V2: values and indices of the k largest x of the last axis, lower index first.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/topk_v2.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec, Role, Tie
from kernels.opversion import Special

SPEC = OpSpec(
    name="TOPK_V2",
    inputs=(Operand("input"), Operand("k", Role.INDEX)),
    outputs=(Operand("values"), Operand("indices", Role.INDEX)),
    tie=Tie.SAME,
    mlir=True,
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 2, "int16": 3, "uint8": 1},
    special=(
        Special(
            3,
            "int16 k or indices",
            lambda use: "int16" in (*use.inputs[:2], *use.outputs[1:2]),
        ),
    ),
)
