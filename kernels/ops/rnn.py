"""RNN: h = act(W x + R h + b), one step; float or hybrid.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/basic_rnn.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec, Product, Role
from kernels.opversion import Special, hybrid, hybrid_asymmetric

SPEC = OpSpec(
    name="RNN",
    inputs=(
        Operand("input"),
        Operand("input_to_hidden_weights", Role.WEIGHT),
        Operand("recurrent_weights", Role.WEIGHT),
        Operand("bias", Role.BIAS, scale=(Product(("input", "input_to_hidden_weights")),)),
        Operand("hidden_state", Role.STATE),
    ),
    outputs=(Operand("output"),),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
    special=(
        Special(3, "hybrid with asymmetric_quantize_inputs", hybrid_asymmetric),
        Special(2, "hybrid", hybrid),
    ),
)
