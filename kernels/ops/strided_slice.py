"""STRIDED_SLICE: y = x[begin : end : strides], with the masks of the options.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/strided_slice.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec, Role, Tie
from kernels.opversion import Special, option, rank_above

SPEC = OpSpec(
    name="STRIDED_SLICE",
    inputs=(
        Operand("input"),
        Operand("begin", Role.INDEX),
        Operand("end", Role.INDEX),
        Operand("strides", Role.INDEX),
    ),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 2, "int16": 1, "uint8": 1},
    legacy_version=2,
    special=(
        Special(8, "offset", option("offset")),
        Special(6, "ellipsis_mask or new_axis_mask", option("ellipsis_mask", "new_axis_mask")),
        Special(4, "more than 4 axes", rank_above(4)),
    ),
)
