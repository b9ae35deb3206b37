"""BIDIRECTIONAL_SEQUENCE_LSTM: two LSTMs, one over the steps in order and one backwards; float or
hybrid.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc,
kernels/bidirectional_sequence_lstm.cc.
"""

from __future__ import annotations

from kernels.ops._lstm import cell
from kernels.opspec import DynamicRange, Operand, OpSpec, Role
from kernels.opversion import Special, hybrid, hybrid_asymmetric

SPEC = OpSpec(
    name="BIDIRECTIONAL_SEQUENCE_LSTM",
    inputs=(
        Operand("input"),
        *cell("fw_"),
        *cell("bw_"),
        Operand("fw_output_state", Role.STATE),
        Operand("fw_cell_state", Role.STATE),
        Operand("bw_output_state", Role.STATE),
        Operand("bw_cell_state", Role.STATE),
        Operand("aux_input", optional=True),
        Operand("fw_aux_input_to_input_weights", Role.WEIGHT, optional=True),
        Operand("fw_aux_input_to_forget_weights", Role.WEIGHT, optional=True),
        Operand("fw_aux_input_to_cell_weights", Role.WEIGHT, optional=True),
        Operand("fw_aux_input_to_output_weights", Role.WEIGHT, optional=True),
        Operand("bw_aux_input_to_input_weights", Role.WEIGHT, optional=True),
        Operand("bw_aux_input_to_forget_weights", Role.WEIGHT, optional=True),
        Operand("bw_aux_input_to_cell_weights", Role.WEIGHT, optional=True),
        Operand("bw_aux_input_to_output_weights", Role.WEIGHT, optional=True),
    ),
    outputs=(Operand("fw_output"), Operand("bw_output", optional=True)),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
    special=(
        Special(3, "hybrid with asymmetric_quantize_inputs", hybrid_asymmetric),
        Special(2, "hybrid", hybrid),
    ),
    dynamic=DynamicRange(
        operand=1,
        hybrid=True,
        per_channel=False,
        asymmetric_inputs=True,
        version=3,
        others=(*range(2, 12), 16, *range(18, 29), 33, *range(40, 48)),
    ),
)
