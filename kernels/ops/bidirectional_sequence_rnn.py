"""BIDIRECTIONAL_SEQUENCE_RNN: two RNNs, one over the steps in order and one backwards; float or
hybrid.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc,
kernels/bidirectional_sequence_rnn.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec, Role
from kernels.opversion import Special, hybrid, hybrid_asymmetric

SPEC = OpSpec(
    name="BIDIRECTIONAL_SEQUENCE_RNN",
    inputs=(
        Operand("input"),
        Operand("fw_weights", Role.WEIGHT),
        Operand("fw_recurrent_weights", Role.WEIGHT),
        Operand("fw_bias", Role.BIAS),
        Operand("fw_hidden_state", Role.STATE),
        Operand("bw_weights", Role.WEIGHT),
        Operand("bw_recurrent_weights", Role.WEIGHT),
        Operand("bw_bias", Role.BIAS),
        Operand("bw_hidden_state", Role.STATE),
        Operand("aux_input", optional=True),
        Operand("fw_aux_weights", Role.WEIGHT, optional=True),
        Operand("bw_aux_weights", Role.WEIGHT, optional=True),
    ),
    outputs=(Operand("fw_output"), Operand("bw_output", optional=True)),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
    special=(
        Special(3, "hybrid with asymmetric_quantize_inputs", hybrid_asymmetric),
        Special(2, "hybrid", hybrid),
    ),
)
