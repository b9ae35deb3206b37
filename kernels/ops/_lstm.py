"""Operands that the LSTM operators share.

An integer LSTM (8x8->16) has int8 weights per tensor, int16 peephole and layer norm weights, int32
biases, an int8 output state that shares its range with the output, and an int16 cell state whose
scale is a power of two. Sources: LiteRT operator_property.cc, kernels/lstm_shared.h.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kernels.call import Call
from kernels.opspec import Operand, Product, Role

GATES = ("input", "forget", "cell", "output")
CELL = 2  # the gate that is squashed by tanh and has no peephole

# Where the operands of each gate stand; the cell gate has no peephole, so its place is never asked.
INPUT_WEIGHTS, RECURRENT_WEIGHTS = (1, 2, 3, 4), (5, 6, 7, 8)
PEEPHOLE, BIAS, NORM = (9, 10, -1, 11), (12, 13, 14, 15), (20, 21, 22, 23)
PROJECTION, PROJECTION_BIAS, HIDDEN_STATE, CELL_STATE = 16, 17, 18, 19


@dataclass(frozen=True)
class Places:
    """Positions of one direction's operands; four are in the order of GATES, -1 is absent."""

    weights: tuple[int, ...] = INPUT_WEIGHTS
    recurrent: tuple[int, ...] = RECURRENT_WEIGHTS
    peephole: tuple[int, ...] = PEEPHOLE
    bias: tuple[int, ...] = BIAS
    norm: tuple[int, ...] = NORM
    aux: tuple[int, ...] = (-1, -1, -1, -1)
    projection: int = PROJECTION
    projection_bias: int = PROJECTION_BIAS
    hidden_state: int = HIDDEN_STATE
    cell_state: int = CELL_STATE


def cell(prefix: str = "") -> tuple[Operand, ...]:
    """The 17 weights and biases of one direction; a CIFG cell has none for the input gate."""
    return (
        *(
            Operand(f"{prefix}{source}_to_{gate}_weights", Role.WEIGHT, optional=gate == "input")
            for source in ("input", "recurrent")
            for gate in GATES
        ),
        *(
            Operand(f"{prefix}cell_to_{gate}_weights", Role.WEIGHT, optional=True, dtype="int16")
            for gate in GATES
            if gate != "cell"
        ),
        *(
            Operand(
                f"{prefix}{gate}_gate_bias",
                Role.BIAS,
                optional=gate == "input",
                scale=_bias_scale(f"{prefix}input_to_{gate}_weights", f"{prefix}{gate}_layer_norm"),
            )
            for gate in GATES
        ),
        Operand(f"{prefix}projection_weights", Role.WEIGHT, optional=True),
        Operand(
            f"{prefix}projection_bias",
            Role.BIAS,
            optional=True,
            scale=(Product((f"{prefix}projection_weights", "effective_hidden")),),
        ),
    )


def _bias_scale(weights: str, norm: str) -> tuple[Product, ...]:
    """With layer norm 2^-10 times the scale of its coefficients, else input times weights."""
    return (Product((norm,), 2**-10, given=norm), Product(("input", weights)))


# positions 0 to 23
INPUTS = (
    Operand("input"),
    *cell(),
    Operand("output_state", Role.STATE),
    Operand("cell_state", Role.STATE, dtype="int16", power_of_two=True),
    *(Operand(f"{gate}_layer_norm", Role.WEIGHT, optional=True, dtype="int16") for gate in GATES),
)

# Ranges of W x + R h + p c before layer norm, unused without it, and of the hidden state before
# the projection, unused without that.
INTERMEDIATES = (
    *(Operand(f"{gate}_gate", optional=True, dtype="int16") for gate in GATES),
    Operand("effective_hidden", optional=True),
)


def steps_first(call: Call) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """The input as (steps, batches, inputs), and what brings outputs back into the call's order.

    LSTM takes one step, (batches, inputs). Raises NoKernel for another rank.
    """
    x = call.x(0)
    if call.name == "LSTM":
        if x.ndim != 2:
            raise call.refuse(f"an input of rank {x.ndim} has no kernel; use (batches, inputs)")
        return x[None], lambda y: y[0]
    if x.ndim != 3:
        raise call.refuse(f"an input of rank {x.ndim} has no kernel; use rank 3")
    if call.option("time_major", False):
        return x, lambda y: y
    return x.swapaxes(0, 1), lambda y: np.ascontiguousarray(y.swapaxes(0, 1))
