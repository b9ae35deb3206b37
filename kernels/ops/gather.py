"""GATHER: y = x[indices] along axis.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/gather.cc.
"""

from __future__ import annotations

from kernels.opspec import DynamicRange, Operand, OpSpec, Role, Tie
from kernels.opversion import Special, inputs, option

SPEC = OpSpec(
    name="GATHER",
    inputs=(Operand("input"), Operand("indices", Role.INDEX)),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 2, "int16": 4, "uint8": 1},
    legacy_version=2,
    special=(
        Special(7, "int4", inputs("int4")),
        Special(6, "int16 indices", lambda use: use.inputs[1] == "int16"),
        Special(5, "batch_dims", option("batch_dims")),
    ),
    dynamic=DynamicRange(
        operand=0,
        hybrid=False,
        per_channel=False,
        asymmetric_inputs=False,
        version=2,
        after=True,
    ),
)
