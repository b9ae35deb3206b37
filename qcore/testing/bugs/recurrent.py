"""Defects of operators that keep a state."""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.call import Tensor
from qcore.testing import models
from qcore.testing.bugs.common import Call, const, floats, of, options, out, plain, q
from qcore.testing.bugs.record import (
    CORRUPTED,
    MEANT,
    REFUSED,
    REPRODUCED,
    Case,
    Family,
    Unlike,
    Unwritten,
    at,
    crash,
    gives,
)

BUGS = Family("recurrent")


def state(*shape: int) -> Tensor:
    return floats(np.zeros(shape))


def rnn(x: Any, weight: int, asymmetric: bool = False) -> Call:
    x = np.asarray(x, np.float32)
    w, r = const("int8", np.full((1, x.shape[1]), weight), 1.0), const("int8", [[0]], 1.0)
    return Call(
        "RNN", (floats(x), w, r, floats([0], True), state(1, 1)), (plain("float32", (1, 1)),),
        options(fused_activation_function=0, asymmetric_quantize_inputs=asymmetric),
    )  # fmt: skip


@BUGS(
    "rnn-hybrid-minus-128",
    "Recurrent hybrid kernels: a weight of -128 beside a negative input has the wrong sign.",
    "RNN LSTM SVDF",
    "RNN, float 16 x -1, 16 weights of -128, scale 1",
    correct="[2048]",
    ours=REPRODUCED,
    seen=at("*", "*", gives([-2048])),
    note="In whole groups of 16 values, x86; see fc-hybrid-minus-128. No path uses XNNPACK here.",
)
def rnn_hybrid_minus_128() -> Call:
    return rnn(-np.ones((1, 16)), -128)


@BUGS(
    "rnn-hybrid-wide",
    "Recurrent hybrid kernels, asymmetric: the sums of wide rows of weights wrap at 16 bits.",
    "RNN LSTM SVDF",
    "RNN, float 4096 x 1, 4096 weights of 127, scale 1, asymmetric_quantize_inputs",
    correct="[520192]",
    ours=REPRODUCED,
    seen=at("*", "*", gives([257020])),
    note="From about 2064 columns of weights near 127 on; see fc-hybrid-wide.",
)
def rnn_hybrid_wide() -> Call:
    return rnn(np.ones((1, 4096)), 127, asymmetric=True)


def both_ways(
    x: np.ndarray, aux: np.ndarray | None = None, form: str = "int8", crossed: bool = False,
    recurrent: float = 1, **fields: Any,
) -> Call:  # fmt: skip
    """BIDIRECTIONAL_SEQUENCE_RNN of one unit each way with weights of 1."""
    time_major = fields["time_major"]
    batches = x.shape[1 if time_major else 0]

    def weight(columns: int, value: float) -> Tensor:
        if form == "float32":
            return floats(np.full((1, columns), value), True)
        return const("int8", np.full((1, columns), 2 * value), 0.5)

    layer = (weight(x.shape[2], 1), weight(1, recurrent), floats([0], True), state(batches, 1))
    second: tuple[Tensor | None, ...] = (None,) * 3
    if aux is not None:
        w = weight(aux.shape[2], 1) if crossed else None
        second = (floats(aux), w, w)
    shape = (*x.shape[:2], 2 if fields.get("merge_outputs") else 1)
    outputs = (plain("float32", shape),) * (1 if fields.get("merge_outputs") else 2)
    given = {"fused_activation_function": 0, "asymmetric_quantize_inputs": False} | fields
    return Call(
        "BIDIRECTIONAL_SEQUENCE_RNN", (floats(x), *layer, *layer, *second), outputs,
        options(**given),
    )  # fmt: skip


@BUGS(
    "birnn-merged-crash",
    "BIDIRECTIONAL_SEQUENCE_RNN hybrid, symmetric, with merged outputs of several batches crashes.",
    "BIDIRECTIONAL_SEQUENCE_RNN",
    "float (1, 2, 32) of 1, time-major, one unit each way, int8 weights",
    correct="the outputs side by side",
    ours=REFUSED,
    seen=at("*", "*", crash("SIGSEGV")),
)
def birnn_merged_crash() -> Call:
    return both_ways(np.ones((1, 2, 32)), time_major=True, merge_outputs=True)


@BUGS(
    "birnn-passes",
    "BIDIRECTIONAL_SEQUENCE_RNN hybrid, time-major, walks the whole sequence once for each step.",
    "BIDIRECTIONAL_SEQUENCE_RNN",
    "float (2, 1, 1) of 1, weights of 1, no activation",
    correct="[1, 2] forward, [2, 1] backward",
    ours=REPRODUCED,
    seen=at("*", "*", gives([3, 4], [4, 3])),
    note="The states of one walk are where the next begins.",
)
def birnn_passes() -> Call:
    return both_ways(np.ones((2, 1, 1)), time_major=True)


@BUGS(
    "birnn-stacked",
    "BIDIRECTIONAL_SEQUENCE_RNN, batch-major: the backward pass reads the wrong input.",
    "BIDIRECTIONAL_SEQUENCE_RNN",
    "float input 1, auxiliary input 5 without weights of its own, weights of 1",
    correct="[1] forward, [5] backward, as it is time-major",
    ours=REPRODUCED,
    seen=at("*", "*", gives([1], [1])),
    note="The same in float and hybrid.",
)
def birnn_stacked() -> Call:
    x = np.ones((1, 1, 1))
    return both_ways(x, 5 * x, "float32", time_major=False, recurrent=0)


@BUGS(
    "birnn-aux-stride",
    "BIDIRECTIONAL_SEQUENCE_RNN walks its auxiliary input by the stride of the input.",
    "BIDIRECTIONAL_SEQUENCE_RNN",
    "float input (2, 1, 1) of 0, auxiliary (2, 1, 2) of 1, 2, 3, 4, its weights 1, time-major",
    correct="[3, 7] both ways",
    ours=REPRODUCED,
    seen=at("*", "*", gives([3, 5], [3, 5])),
    note="An auxiliary input smaller than the input is read beyond its end.",
)
def birnn_aux_stride() -> Call:
    aux = np.arange(1, 5).reshape(2, 1, 2)
    return both_ways(np.zeros((2, 1, 1)), aux, "float32", True, time_major=True, recurrent=0)


def svdf(w: Tensor, time: Tensor, kept: Tensor, x: Tensor, y: Tensor, activation: int) -> Call:
    fields = options(rank=1, fused_activation_function=activation)
    return Call("SVDF", (x, w, time, None, kept), (y,), fields)


@BUGS(
    "svdf-int8-state",
    "SVDF with an int8 state and int8 time weights corrupts the heap.",
    "SVDF",
    "int8 (1, 8), 64 units of memory 16",
    correct="the values, or an error: the types are not looked at",
    ours=REFUSED,
    seen=at("*", "*", CORRUPTED),
    note="The 8x8 form of TensorFlow Lite for Microcontrollers; keyword_scrambled_8bit.tflite.",
)
def svdf_int8_state() -> Call:
    w, time = const("int8", np.ones((64, 8)), 1.0), const("int8", np.ones((64, 16)), 1.0)
    return svdf(w, time, q("int8", np.zeros((1, 1024)), 1.0), q("int8", np.ones((1, 8)), 1.0),
                out("int8", (1, 64), 1.0), 1)  # fmt: skip


MIXED = {
    "correct": "[1], or an error",
    "seen": at("*", "*", Unlike([1], "one of the two is read as the wrong type")),
}


@BUGS(
    "svdf-float-time",
    "SVDF takes float time weights beside int8 features and reads them as int8.",
    "SVDF",
    "float [1], features int8 [[1]], time weights float [[1, 1]]",
    ours=MEANT,
    **MIXED,
)
def svdf_float_time() -> Call:
    w, time = const("int8", [[1]], 1.0), floats([[1, 1]], True)
    return svdf(w, time, state(1, 2), floats([[1]]), plain("float32", (1, 1)), 0)


@BUGS(
    "svdf-float-features",
    "SVDF takes float features beside int8 time weights and reads those as float.",
    "SVDF",
    "float [1], features float [[1]], time weights int8 [[1, 1]]",
    ours=REFUSED,
    **MIXED,
)
def svdf_float_features() -> Call:
    w, time = floats([[1]], True), const("int8", [[1, 1]], 1.0)
    return svdf(w, time, state(1, 2), floats([[1]]), plain("float32", (1, 1)), 0)


def lstm(
    cells: int, outputs: int, name: str = "UNIDIRECTIONAL_SEQUENCE_LSTM", kept: str = "int8",
    cell_scale: float = 2.0**-11, changed: dict[int, Tensor] | None = None, activation: int = 4,
) -> Call:  # fmt: skip
    """int8, one input, weights of 0 and biases of 0 but for those given in `changed`."""
    operands: list[Tensor | None] = [q("int8", [[[64]]], 1 / 64)] + [None] * 19
    for k in range(4):
        operands[1 + k] = const("int8", np.zeros((cells, 1)), 1 / 64)
        operands[5 + k] = const("int8", np.zeros((cells, outputs)), 1 / 64)
        operands[12 + k] = of(np.zeros(cells), "int32", True)
    operands[18] = q(kept, np.zeros((1, outputs)), 1 / 64)
    operands[19] = q("int16", np.zeros((1, cells)), cell_scale)
    for position, tensor in (changed or {}).items():
        operands[position] = tensor
    middle = (*(out("int16", (), 2**-12) for _ in range(4)), out("int8", (), 1 / 64))
    fields = options(
        fused_activation_function=activation, cell_clip=0.0, proj_clip=0.0, time_major=False
    )
    y = out(kept, (1, 1, outputs), 1 / 64)
    return Call(name, tuple(operands), (y,), fields, intermediates=middle)


def bias(*values: int) -> Tensor:
    return of(values, "int32", True)


@BUGS(
    "lstm-peephole-projection",
    "LSTM int8 with peephole and projection: the peephole reaches only as many cells as outputs.",
    "UNIDIRECTIONAL_SEQUENCE_LSTM LSTM",
    "two cells, one output that is the second cell, peephole weights of 2, cell bias of 1",
    correct="[16]",
    ours=REPRODUCED,
    seen=at("*", "*", gives([12])),
    note="Time-major, the products are laid flat across the batch; with more outputs than cells "
    "the kernel reads beyond the weights (refused).",
)
def lstm_peephole_projection() -> Call:
    peephole = const("int16", [4096, 4096], 2**-11)
    changed = {9: peephole, 10: peephole, 11: peephole, 14: bias(4096, 4096),
               16: const("int8", [[0, 1]], 1.0)}  # fmt: skip
    return lstm(2, 1, changed=changed)


@BUGS(
    "lstm-int16-output-state",
    "LSTM int8 takes an int16 state and output, and writes bytes into them.",
    "UNIDIRECTIONAL_SEQUENCE_LSTM",
    "four cells, gates open by their biases, output and state int16",
    correct="an error, or [47, 47, 47, 47]",
    ours=MEANT,
    seen=at("*", "*", Unwritten(2)),
    note="The first two are 12079: two bytes of 47 each.",
)
def lstm_int16_output_state() -> Call:
    ones = bias(16384, 16384, 16384, 16384)
    return lstm(4, 4, kept="int16", changed={12: ones, 13: ones, 14: ones, 15: ones})


@BUGS(
    "lstm-cell-scale",
    "LSTM int8 with a cell state whose scale is no power of two computes with unset parameters.",
    "UNIDIRECTIONAL_SEQUENCE_LSTM LSTM",
    "one cell, gates open by their biases, cell scale 3e-4",
    correct="an error, or [39]",
    ours=REFUSED,
    seen=at("*", "*", Unlike([39], "arbitrary values")),
)
def lstm_cell_scale() -> Call:
    return lstm(1, 1, cell_scale=3e-4, changed={12: bias(8192), 14: bias(8192), 15: bias(8192)})


@BUGS(
    "lstm-large-cell-scale",
    "LSTM int8 with a cell state of scale 2^-8 or more leaves its tanh out.",
    "UNIDIRECTIONAL_SEQUENCE_LSTM LSTM",
    "one cell, gates open by their biases, cell scale 2^-7",
    correct="about [39]",
    ours=REPRODUCED,
    seen=at("*", "*", gives([50])),
    note="The output gate meets the input gate, which is what the buffer still holds.",
)
def lstm_large_cell_scale() -> Call:
    return lstm(1, 1, cell_scale=2.0**-7, changed={12: bias(8192), 14: bias(8192), 15: bias(8192)})


@BUGS(
    "lstm-activation-none",
    "LSTM without activation gives output gate times cell gate; the cell is left out.",
    "UNIDIRECTIONAL_SEQUENCE_LSTM LSTM",
    "hybrid, one cell, input 1 twice, weights 1, recurrent weights 0",
    correct="about [0.925] the second time",
    ours=REPRODUCED,
    seen=at("litert", "*", gives([0.7310585975646973]))
    | at("tensorflow", "*", gives([0.7310585379600525])),
)
def lstm_activation_none() -> Case:
    one = const("int8", [[1]], 1.0)
    zero = const("int8", [[0]], 1.0)
    biases = (floats([0], True),) * 4
    operands = (
        floats([[[1]]]), *(one,) * 4, *(zero,) * 4, *(None,) * 3, *biases, None, None,
        state(1, 1), state(1, 1),
    )  # fmt: skip
    fields = options(fused_activation_function=0, cell_clip=0.0, proj_clip=0.0, time_major=False)
    call = Call("UNIDIRECTIONAL_SEQUENCE_LSTM", operands, (plain("float32", (1, 1, 1)),), fields)
    x = np.ones((1, 1, 1), np.float32)
    return Case(models.to_model(call), [x], before=([x],), call=call)


@BUGS(
    "lstm-8-bit-norm",
    "LSTM int8 with 8-bit gates crashes without layer norm: address 0 is read.",
    "LSTM",
    "one input, one cell, twelve intermediates, no layer norm",
    correct="the values, or an error",
    ours=REFUSED,
    seen=at("*", "*", crash("SIGSEGV")),
)
def lstm_8_bit_norm() -> Call:
    operands: list[Tensor | None] = [q("int8", [[64]], 1 / 64)] + [None] * 19
    for k in range(1, 4):
        operands[1 + k] = const("int8", [[64]], 1 / 64)
        operands[5 + k] = const("int8", [[0]], 1 / 64)
        operands[12 + k] = bias(0)
    operands[16:20] = (
        const("int8", [[64]], 1 / 64), bias(0), q("int8", [[0]], 1 / 64), q("int16", [[0]], 2**-15),
    )  # fmt: skip
    middle = tuple(out("int8", (), 2**-5) for _ in range(12))
    fields = options(fused_activation_function=4, cell_clip=0.0, proj_clip=0.0)
    y = out("int8", (1, 1), 1 / 64)
    return Call("LSTM", tuple(operands), (y,), fields, intermediates=middle)


@BUGS(
    "lstm-8-bit-output-gate",
    "LSTM int8 with 8-bit gates leaves the recurrent product out of the output gate.",
    "LSTM",
    "one output, two cells, biases that open the cells, recurrent weights [127, -127]; twice",
    correct="about [35] the second time",
    ours=REPRODUCED,
    seen=at("*", "*", gives([24])),
    note="24 for any recurrent weights: a shift is read in place of the multiplier.",
)
def lstm_8_bit_output_gate() -> Case:
    operands: list[Tensor | None] = [q("int8", [[0]], 1 / 64)] + [None] * 23
    for k, level in ((1, -(2**23)), (2, 2**23), (3, 0)):
        operands[1 + k] = const("int8", np.zeros((2, 1)), 1 / 64)
        operands[5 + k] = const("int8", [[127], [-127]] if k == 3 else np.zeros((2, 1)), 1 / 64)
        operands[12 + k] = bias(level, level)
        operands[20 + k] = const("int16", [16384, 16384], 2**-14)
    operands[16:20] = (
        const("int8", [[127, 0]], 1 / 64), bias(0), q("int8", [[0]], 1 / 64),
        q("int16", [[0, 0]], 2**-15),
    )  # fmt: skip
    middle = tuple(out("int8", (), 2**-5) for _ in range(12))
    fields = options(fused_activation_function=4, cell_clip=0.0, proj_clip=0.0)
    y = out("int8", (1, 1), 1 / 64)
    call = Call("LSTM", tuple(operands), (y,), fields, intermediates=middle)
    return Case(models.to_model(call), [call.x(0)], before=([call.x(0)],), call=call)


@BUGS(
    "bilstm-merged-states",
    "BIDIRECTIONAL_SEQUENCE_LSTM, batch-major with merged outputs, writes states beyond their end.",
    "BIDIRECTIONAL_SEQUENCE_LSTM",
    "hybrid, float (2, 1, 1) of 1, 16 cells each way, weights of 127, recurrent ones 0; twice",
    correct="all about [0.964, ...] the second time",
    ours=REFUSED,
    seen=at("*", "*", gives([0.942680835723877] * 32 + [0.9640275835990906] * 32)),
    note="The hidden state of the second batch lands in the cell state of the first.",
)
def bilstm_merged_states() -> Case:
    cells = 16
    w, r = const("int8", np.full((cells, 1), 127), 1.0), const("int8", np.zeros((cells,) * 2), 1.0)
    direction = [*[w] * 4, *[r] * 4, *[None] * 3, *[floats(np.zeros(cells), True)] * 4, None, None]
    states = [state(2, cells) for _ in range(4)]
    fields = options(
        fused_activation_function=4, cell_clip=0.0, proj_clip=0.0, time_major=False,
        merge_outputs=True, asymmetric_quantize_inputs=False,
    )  # fmt: skip
    x = floats(np.ones((2, 1, 1)))
    operands = (x, *direction, *direction, *states, *[None] * 9)
    y = plain("float32", (2, 1, 2 * cells))
    call = Call("BIDIRECTIONAL_SEQUENCE_LSTM", operands, (y,), fields)
    return Case(models.to_model(call), [x.x], before=([x.x],), call=call)
