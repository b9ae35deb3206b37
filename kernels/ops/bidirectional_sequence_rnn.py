"""BIDIRECTIONAL_SEQUENCE_RNN: two RNNs, one over the steps in order and one backwards; float or
hybrid.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc,
kernels/bidirectional_sequence_rnn.cc.
"""

from __future__ import annotations

import numpy as np

from kernels.call import Call
from kernels.errors import RuntimeRefuses
from kernels.ops import _rnn
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

NUMERICS = _rnn.numerics(
    "bidirectional_sequence_rnn.cc",
    "kept: time-major, every pass is repeated once for each step, from the state that the last one "
    "left; batch-major, the backward pass of a stacked layer reads the input where the "
    "auxiliary input is meant; steps of an auxiliary input are taken to be as long as the input's",
)


def real(call: Call) -> tuple[np.ndarray, ...]:
    """h of every step in float32; each sum in float64, rounded once."""
    return _walk(call, "real")


def bound(call: Call) -> tuple[np.ndarray, ...]:
    """Of every output and state: the errors of sums (E75) and functions (E76), carried on from step
    to step."""
    return _walk(call, "bound")


def reference(call: Call) -> tuple[np.ndarray, ...]:
    """h of every step, with rows quantized (E44)."""
    return _walk(call, "reference")


def fast(call: Call) -> tuple[np.ndarray, ...]:
    """`reference`, jitted."""
    return _walk(call, "fast")


def _walk(call: Call, mode: str) -> tuple[np.ndarray, ...]:
    time_major = bool(call.option("time_major", False))
    crossed = call.has(10)
    x = call[0].real()
    back = call[9].real() if call.has(9) and not crossed else x
    aux = call[9].real() if crossed else None
    passes = 1
    if mode not in _rnn.REAL:
        merged = call.option("merge_outputs", False) and time_major and x.shape[1] > 1
        if merged and not call.option("asymmetric_quantize_inputs", False):
            raise RuntimeRefuses(
                "BIDIRECTIONAL_SEQUENCE_RNN hybrid, merged, time-major, symmetric, of several "
                "batches: the runtimes crash; set asymmetric_quantize_inputs"
            )
        passes = x.shape[0] if time_major else 1
    if mode not in _rnn.REAL or not call.form:  # float models have these two as well
        back = back if time_major else x
        if aux is not None and (time_major or mode not in _rnn.REAL):
            aux = _rnn.as_read(call, aux, x)
    if not time_major:
        x, back = x.swapaxes(0, 1), back.swapaxes(0, 1)
        aux = None if aux is None else aux.swapaxes(0, 1)
    real = mode in _rnn.REAL
    forward = _rnn.layer(call, 1, 2, 3, 10 if crossed else None, real)
    backward = _rnn.layer(call, 5, 6, 7, 11 if crossed else None, real)
    fw, bw = call[4].real(), call[8].real()
    shape = (len(x), len(fw))
    one, two = (np.zeros((*shape, h.shape[1]), np.float32) for h in (fw, bw))
    for _ in range(passes):
        one, fw = _rnn.walk(forward, x, fw, mode, aux)
        two, bw = _rnn.walk(backward, back, bw, mode, aux, backward=True)
    found = [np.concatenate([one, two], 2)] if call.option("merge_outputs", False) else [one, two]
    if not time_major:
        found = [y.swapaxes(0, 1) for y in found]
    return (*map(np.ascontiguousarray, found), fw, bw)
