"""CONV_3D_TRANSPOSE: TRANSPOSE_CONV with one more space axis; float only.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/conv3d_transpose.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec, Product, Role

SPEC = OpSpec(
    name="CONV_3D_TRANSPOSE",
    inputs=(
        Operand("output_shape", Role.INDEX),
        Operand("filter", Role.WEIGHT, axis=4),
        Operand("input"),
        Operand("bias", Role.BIAS, optional=True, scale=(Product(("input", "filter")),)),
    ),
    outputs=(Operand("output"),),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
)
