"""RESIZE_NEAREST_NEIGHBOR: y = x at the nearest point, for each point of the grid size.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/resize_nearest_neighbor.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec, Role, Tie
from kernels.opversion import Special, inputs, option

SPEC = OpSpec(
    name="RESIZE_NEAREST_NEIGHBOR",
    inputs=(Operand("input"), Operand("size", Role.INDEX)),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 2, "int16": 4, "uint8": 1},
    legacy_version=2,
    special=(
        Special(4, "int16", inputs("int16")),
        Special(
            3,
            "half_pixel_centers or align_corners",
            option("half_pixel_centers", "align_corners"),
        ),
    ),
)
