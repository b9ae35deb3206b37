"""SVDF: state gets one more column W_f x; y = act(sum over rank and memory of state * W_t + bias).

Integer form: int16 time weights of 10 bits and int16 state, so that the products of one output sum
in int32.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/svdf.cc.
"""

from __future__ import annotations

from kernels.opspec import DynamicRange, Operand, OpSpec, Product, Role
from kernels.opversion import Special, hybrid, hybrid_asymmetric

SPEC = OpSpec(
    name="SVDF",
    inputs=(
        Operand("input"),
        Operand("weights_feature", Role.WEIGHT),
        Operand("weights_time", Role.WEIGHT, dtype="int16", bits=10),
        Operand("bias", Role.BIAS, optional=True, scale=(Product(("weights_time", "state")),)),
        Operand("state", Role.STATE, dtype="int16"),
    ),
    outputs=(Operand("output"),),
    mlir=True,
    legacy=frozenset({"int8"}),
    kernels=frozenset({"int8"}),
    versions={"float32": 1, "int8": 3, "int16": 1, "uint8": 1},
    legacy_version=3,
    special=(
        Special(4, "hybrid with asymmetric_quantize_inputs", hybrid_asymmetric),
        Special(2, "hybrid", hybrid),
    ),
    dynamic=DynamicRange(
        operand=1,
        hybrid=True,
        per_channel=False,
        asymmetric_inputs=True,
        version=4,
        others=(2,),
    ),
)
