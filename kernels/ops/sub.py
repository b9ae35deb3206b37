"""SUB: y = act(a - b), with broadcast.

Constants stand in an activation's place: rules A make them asymmetric, rules B symmetric.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/sub.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec
from kernels.opversion import Special, wide_broadcast

SPEC = OpSpec(
    name="SUB",
    inputs=(Operand("input1"), Operand("input2")),
    outputs=(Operand("output"),),
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 2, "int16": 1, "uint8": 1},
    legacy_version=2,
    special=(
        Special(
            5,
            "int16 unless pot_scale_int16",
            lambda use: use.inputs[0] == "int16" and use.option("pot_scale_int16") is False,
        ),
        Special(3, "broadcast over more than 4 axes", wide_broadcast),
    ),
)
