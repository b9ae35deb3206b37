"""LSTM: i, f, o = sigmoid(W x + R h + p c + b); c = f c + i tanh(W x + R h + b); h = o tanh(c), one
step.

Integer form: 8x8->16. Without layer norm the four first intermediates stay unused; with it the gate
biases scale as 2^-10 times the layer norm coefficients. output_state and the output share one
range, cell_state is int16 with a power-of-two scale. Five inputs (the basic kernel) have no integer
form here.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/lstm.cc.
"""

from __future__ import annotations

import numpy as np

from kernels.call import Call
from kernels.ops import _lstm_run as _lstm
from kernels.ops._lstm import INPUTS, INTERMEDIATES
from kernels.opspec import DynamicRange, Operand, OpSpec
from kernels.opversion import Special, Use


def _full(use: Use) -> bool:
    """The full kernel: 20 or 24 inputs (kernel_type 0), not the basic one with 5."""
    return not use.option("kernel_type")


def _hybrid(use: Use) -> bool:
    """Float activations, int8 weights; input 1 is absent with CIFG, so input 2 is looked at."""
    return _full(use) and (use.inputs[0], use.inputs[2]) == ("float32", "int8")


def _hybrid_asymmetric(use: Use) -> bool:
    return _hybrid(use) and bool(use.option("asymmetric_quantize_inputs"))


SPEC = OpSpec(
    name="LSTM",
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
            "full kernel, int16 activations, int8 weights",
            lambda use: _full(use) and use.inputs[0] == "int16" and use.inputs[2] == "int8",
        ),
        Special(4, "full kernel, hybrid with asymmetric_quantize_inputs", _hybrid_asymmetric),
        Special(3, "full kernel, hybrid", _hybrid),
        Special(2, "basic kernel", lambda use: not _full(use)),
    ),
    dynamic=DynamicRange(
        operand=1,
        hybrid=True,
        per_channel=False,
        asymmetric_inputs=True,
        version=4,
        others=(*range(2, 12), 16),
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
