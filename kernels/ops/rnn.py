"""RNN: h = act(W x + R h + b), one step; float or hybrid.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/basic_rnn.cc.
"""

from __future__ import annotations

import numpy as np

from kernels.call import Call
from kernels.ops import _rnn
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

NUMERICS = _rnn.numerics("basic_rnn.cc")


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
    layer = _rnn.layer(call, 1, 2, 3, real=mode in _rnn.REAL)
    y, h = _rnn.walk(layer, call[0].real()[None], call[4].real(), mode)
    return y[0], h
