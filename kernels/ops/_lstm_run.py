"""LSTM and UNIDIRECTIONAL_SEQUENCE_LSTM: which kernel a call has."""

from __future__ import annotations

import numpy as np

from kernels.call import Call
from kernels.numerics import Row
from kernels.ops import _lstm_float, _lstm_integer, _lstm_small
from kernels.ops._lstm import CELL_STATE, HIDDEN_STATE, INPUT_WEIGHTS, Places, steps_first

NUMERICS = (
    Row(
        "int8",
        "8x8->16: DBL, peephole MIX16 (E25, E42), int16 sigmoid and tanh (E40), layer norm (E43)",
        "the same",
        "",
        "lstm_eval.cc; reference/portable_tensor_utils.cc; unidirectional_sequence_lstm.cc",
        "peephole of a projection to fewer outputs than cells: only the first outputs, as the "
        "runtimes have it; more outputs than cells read beyond the weights",
    ),
    Row(
        "int8, 8-bit gates",
        "LSTM only, 8x8->8: DBL to 8 bits, layer norm and functions in float32, M64 (E42)",
        "the same",
        "",
        "lstm.cc; lstm_eval.cc (LstmStepInteger8x8_8)",
        "the recurrent part of the output gate vanishes: its multiplier is read behind an array",
    ),
    Row(
        "uint8, basic",
        "LSTM only, 5 inputs: UP (E25), then 16-bit fixed point (E40, E42)",
        "the same",
        "",
        "lstm.cc; optimized/optimized_ops.h (LstmCell)",
    ),
    Row(
        "hybrid",
        "rows quantized (E31), float32 sums of products, Eigen's sigmoid and tanh (E44)",
        "the same",
        "",
        "lstm_eval.cc; optimized/sse_tensor_utils.cc; Eigen",
        "ai-edge-litert: sigmoid by expf outside whole aligned groups of 4",
    ),
)


def walk(call: Call, mode: str) -> tuple[np.ndarray, ...]:
    """Outputs and the two states, by `mode`: "real", "reference" or "fast"; their "bound"."""
    meant = mode in _lstm_float.REAL
    if call.name == "LSTM" and len(call.inputs) == 5:
        if mode == "bound":
            return _lstm_small.basic_bound(call)
        return _lstm_small.basic_real(call) if meant else _lstm_small.basic(call)
    if not meant and call[0].dtype == "int8":
        if call.name == "LSTM" and len(call.intermediates) == 12:
            return _lstm_small.narrow(call)
        return getattr(_lstm_integer, mode)(call)
    kinds = (call[0].dtype, call[INPUT_WEIGHTS[3]].dtype)
    if not meant and kinds != ("float32", "int8"):
        raise call.refuse("no kernel for these types; use int8, or float32 with int8 weights")
    x, shaped = steps_first(call)
    time_major = call.name == "LSTM" or bool(call.option("time_major", False))
    batches = x.shape[1]
    cell = _lstm_float.prepare(call, Places(), batches, time_major, real=meant)
    h, c = (call[p].real().reshape(batches, -1) for p in (HIDDEN_STATE, CELL_STATE))
    y, h, c = _lstm_float.WALKERS[mode](cell, x, None, h, c)
    return shaped(y), h.reshape(call[HIDDEN_STATE].shape), c.reshape(call[CELL_STATE].shape)
