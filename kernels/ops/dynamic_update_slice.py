"""DYNAMIC_UPDATE_SLICE: y = x with update written at start_indices, the start clamped.

tensorflow 2.21 has no uint8 kernel; ai-edge-litert 2.3 has.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/dynamic_update_slice.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec, Role, Tie
from kernels.opversion import Special, inputs

SPEC = OpSpec(
    name="DYNAMIC_UPDATE_SLICE",
    inputs=(Operand("operand"), Operand("update"), Operand("start_indices", Role.INDEX)),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 1, "int16": 4, "uint8": 1},
    special=(
        Special(5, "int4", inputs("int4")),
        Special(
            2,
            "int64 indices",
            lambda use: use.inputs[0] != "int16" and use.inputs[2] == "int64",
        ),
    ),
)
