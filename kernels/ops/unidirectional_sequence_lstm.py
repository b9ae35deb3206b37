"""UNIDIRECTIONAL_SEQUENCE_LSTM: i, f, o = sigmoid(W x + R h + p c + b); c = f c + i tanh(W x + R h
+ b); h = o tanh(c), over all steps.

Integer form: 8x8->16. Without layer norm the four first intermediates stay unused; with it the gate
biases scale as 2^-10 times the layer norm coefficients. output_state and the output share one
range, cell_state is int16 with a power-of-two scale. Five inputs (the basic kernel) have no integer
form here.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc,
kernels/unidirectional_sequence_lstm.cc.
"""

from __future__ import annotations

import numpy as np

from kernels.call import Call
from kernels.ops import _lstm_run as _lstm
from kernels.ops._lstm import INPUTS, INTERMEDIATES
from kernels.opspec import DynamicRange, Operand, OpSpec
from kernels.opversion import Special, Use, option


def _hybrid(use: Use) -> bool:
    """Float activations, int8 weights; input 1 is absent with CIFG, so input 2 is looked at."""
    return (use.inputs[0], use.inputs[2], use.outputs[0]) == ("float32", "int8", "float32")


def _hybrid_asymmetric(use: Use) -> bool:
    return _hybrid(use) and bool(use.option("asymmetric_quantize_inputs"))


SPEC = OpSpec(
    name="UNIDIRECTIONAL_SEQUENCE_LSTM",
    inputs=INPUTS,
    outputs=(Operand("output"),),
    intermediates=INTERMEDIATES,
    shared=((18, 0),),
    mlir=True,
    legacy=frozenset({"int8"}),
    kernels=frozenset({"int8"}),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
    legacy_version=2,
    special=(
        Special(
            5,
            "int16 activations, int8 weights",
            lambda use: use.inputs[0] == "int16" and use.inputs[2] == "int8",
        ),
        Special(4, "diagonal_recurrent_tensors", option("diagonal_recurrent_tensors")),
        Special(3, "hybrid with asymmetric_quantize_inputs", _hybrid_asymmetric),
        Special(2, "hybrid", _hybrid),
    ),
    dynamic=DynamicRange(
        operand=1,
        hybrid=True,
        per_channel=False,
        asymmetric_inputs=True,
        version=3,
        others=(*range(2, 12), 16),
        all_or_none=True,
    ),
)

NUMERICS = _lstm.NUMERICS


def real(call: Call) -> tuple[np.ndarray, ...]:
    """h and c of every step in float32; sums of a gate in float64, rounded once."""
    return _lstm.walk(call, "real")


def bound(call: Call) -> tuple[np.ndarray, ...]:
    """Of every output and state: the errors of sums (E75) and functions (E76), carried on from step
    to step."""
    return _lstm.walk(call, "bound")


def reference(call: Call) -> tuple[np.ndarray, ...]:
    """The integers of 8x8->16 (E42), or the float32 of a hybrid one (E44)."""
    return _lstm.walk(call, "reference")


def fast(call: Call) -> tuple[np.ndarray, ...]:
    """`reference`, jitted."""
    return _lstm.walk(call, "fast")
