"""BIDIRECTIONAL_SEQUENCE_LSTM: two LSTMs, one over the steps in order and one backwards; float or
hybrid.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc,
kernels/bidirectional_sequence_lstm.cc.
"""

from __future__ import annotations

import numpy as np

from kernels.call import Call
from kernels.numerics import Row
from kernels.ops import _lstm_float
from kernels.ops._lstm import Places, cell
from kernels.ops._rnn import as_read
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

NUMERICS = (
    Row(
        "hybrid",
        "rows quantized (E31), float32 sums of products, Eigen's sigmoid and tanh (E44)",
        "the same",
        "",
        "bidirectional_sequence_lstm.cc; lstm_eval.cc; optimized/sse_tensor_utils.cc; Eigen",
        "batch-major with merged outputs and several batches writes beyond the states; tensorflow "
        "takes the steps of an auxiliary input to be as long as the input's",
    ),
)

FORWARD = Places(
    (1, 2, 3, 4), (5, 6, 7, 8), (9, 10, -1, 11), (12, 13, 14, 15), (-1,) * 4, (40, 41, 42, 43),
    16, 17, 35, 36,
)  # fmt: skip
BACKWARD = Places(
    (18, 19, 20, 21), (22, 23, 24, 25), (26, 27, -1, 28), (29, 30, 31, 32), (-1,) * 4,
    (44, 45, 46, 47), 33, 34, 37, 38,
)  # fmt: skip
AUX = 39


def real(call: Call) -> tuple[np.ndarray, ...]:
    """h and c of every step in float32; sums of a gate in float64, rounded once."""
    return _walk(call, "real")


def bound(call: Call) -> tuple[np.ndarray, ...]:
    """Of every output and state: the errors of sums (E75) and functions (E76), carried on from step
    to step."""
    return _walk(call, "bound")


def reference(call: Call) -> tuple[np.ndarray, ...]:
    """h and c of every step, with rows quantized (E44)."""
    return _walk(call, "reference")


def fast(call: Call) -> tuple[np.ndarray, ...]:
    """`reference`, jitted."""
    return _walk(call, "fast")


def _walk(call: Call, mode: str) -> tuple[np.ndarray, ...]:
    """An auxiliary input without weights of its own is what the backward direction reads."""
    kinds = (call[0].dtype, call[FORWARD.weights[3]].dtype)
    meant = mode in _lstm_float.REAL
    if not meant and kinds != ("float32", "int8"):
        raise call.refuse("no kernel for these types; use float32 with int8 or float32 weights")
    time_major = bool(call.option("time_major", True))
    merged = bool(call.option("merge_outputs", False))
    crossed = call.has(FORWARD.aux[1])
    x, other = _input(call, 0), _input(call, AUX) if call.has(AUX) else None
    runtime = not meant or not call.form  # a float model has the runtime's flaws as well
    if other is not None and runtime and crossed and not call.profile.litert:
        other = as_read(call, other, x)
    if not time_major:
        x, other = x.swapaxes(0, 1), None if other is None else other.swapaxes(0, 1)
    batches = x.shape[1]
    if runtime and merged and not time_major and batches > 1:
        raise call.undefined("merged outputs, batch-major: the runtimes write beyond the states")
    run = _lstm_float.WALKERS[mode]
    outputs, states = [], []
    for at in (FORWARD, BACKWARD):
        back = at is BACKWARD
        given = other if back and not crossed and other is not None else x
        aux = other if crossed else None
        if back:
            given, aux = given[::-1], None if aux is None else aux[::-1]
        cell = _lstm_float.prepare(call, at, batches, time_major, crossed, meant)
        h, c = (call[p].real().reshape(batches, -1) for p in (at.hidden_state, at.cell_state))
        y, h, c = run(cell, given, aux, h, c)
        y = y[::-1] if back else y
        outputs.append(y if time_major else y.swapaxes(0, 1))
        states += [h.reshape(call[at.hidden_state].shape), c.reshape(call[at.cell_state].shape)]
    if merged:
        outputs = [np.concatenate(outputs, 2)]
    return (*map(np.ascontiguousarray, outputs), *states)


def _input(call: Call, position: int) -> np.ndarray:
    x = call[position].real()
    if x.ndim != 3:
        raise call.refuse(f"an input of rank {x.ndim} has no kernel; use rank 3")
    return x
