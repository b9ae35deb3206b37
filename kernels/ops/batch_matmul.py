"""BATCH_MATMUL: y = x @ y' over the last two axes, either side transposed where adj_x, adj_y say
so.

A constant side stands in an activation's place: rules A make it asymmetric, rules B symmetric.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/batch_matmul.cc.
"""

from __future__ import annotations

from kernels.opspec import DynamicRange, Operand, OpSpec
from kernels.opversion import Special, hybrid_asymmetric

SPEC = OpSpec(
    name="BATCH_MATMUL",
    inputs=(Operand("x"), Operand("y")),
    outputs=(Operand("output"),),
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16"}),
    versions={"float32": 1, "int8": 2, "int16": 3, "uint8": 1},
    legacy_version=2,
    special=(Special(4, "hybrid with asymmetric_quantize_inputs", hybrid_asymmetric),),
    dynamic=DynamicRange(
        operand=1,
        hybrid=True,
        per_channel=False,
        asymmetric_inputs=True,
        version=4,
    ),
)
