"""REVERSE_SEQUENCE: y = x with the first seq_lengths[b] steps of each b backwards.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/reverse_sequence.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec, Role, Tie

SPEC = OpSpec(
    name="REVERSE_SEQUENCE",
    inputs=(Operand("input"), Operand("seq_lengths", Role.INDEX)),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    mlir_tie=Tie.NONE,
    mlir=True,
    kernels=frozenset({"int16", "uint8"}),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
)
