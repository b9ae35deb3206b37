"""SPACE_TO_BATCH_ND: space padded and cut in blocks, one batch element each.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/space_to_batch_nd.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec, Role, Tie
from kernels.opversion import Special, inputs

SPEC = OpSpec(
    name="SPACE_TO_BATCH_ND",
    inputs=(Operand("input"), Operand("block_shape", Role.INDEX), Operand("paddings", Role.INDEX)),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 2, "int16": 4, "uint8": 1},
    legacy_version=2,
    special=(
        Special(4, "int16", inputs("int16")),
        Special(3, "not 4 axes", lambda use: use.rank() != 4),
    ),
)
