"""EMBEDDING_LOOKUP: y[i,...] = value[lookup[i],...]; a quantized table gives float rows, q * scale.

Rules A make a constant table asymmetric and give the output a range of its own, although an int8
output is a bare copy. In dynamic range the kernel reads an int8 or int4 table, also with a scale a
row, beside a float output (run; LiteRT's quantizer writes that). What the converter would write is
not measured, since `tf.gather` and Keras' Embedding become GATHER.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/embedding_lookup.cc.
"""

from __future__ import annotations

from kernels.opspec import DynamicRange, Operand, OpSpec, Role, Tie
from kernels.opversion import Special

SPEC = OpSpec(
    name="EMBEDDING_LOOKUP",
    inputs=(Operand("lookup", Role.INDEX), Operand("value", axis=0)),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    mlir_tie=Tie.NONE,
    mlir=True,
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
    special=(
        Special(
            4,
            "int4 or per-channel table",
            lambda use: use.inputs[1] == "int4" or use.per_channel,
        ),
        Special(5, "int2 table", lambda use: use.inputs[1] == "int2"),
    ),
    dynamic=DynamicRange(
        operand=1,
        hybrid=True,
        per_channel=True,
        asymmetric_inputs=False,
        version=4,
    ),
)
