"""SELECT: y = a where the condition holds, else b.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/select.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec, Role, Tie
from kernels.opversion import Special

SPEC = OpSpec(
    name="SELECT",
    inputs=(Operand("condition", Role.INDEX), Operand("x"), Operand("y")),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    legacy_tie=Tie.FIRST,
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
    legacy_version=1,
    special=(
        Special(
            3,
            "5 axes",
            lambda use: any(s is not None and len(s) == 5 for s in use.shapes[:3]),
        ),
    ),
)
