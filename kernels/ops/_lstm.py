"""Operands that the LSTM operators share.

An integer LSTM (8x8->16) has int8 weights per tensor, int16 peephole and layer norm weights, int32
biases, an int8 output state that shares its range with the output, and an int16 cell state whose
scale is a power of two. Sources: LiteRT operator_property.cc, kernels/lstm_shared.h.
"""

from __future__ import annotations

from kernels.opspec import Operand, Product, Role

_GATES = ("input", "forget", "cell", "output")


def cell(prefix: str = "") -> tuple[Operand, ...]:
    """The 17 weights and biases of one direction; a CIFG cell has none for the input gate."""
    return (
        *(
            Operand(f"{prefix}{source}_to_{gate}_weights", Role.WEIGHT, optional=gate == "input")
            for source in ("input", "recurrent")
            for gate in _GATES
        ),
        *(
            Operand(f"{prefix}cell_to_{gate}_weights", Role.WEIGHT, optional=True, dtype="int16")
            for gate in _GATES
            if gate != "cell"
        ),
        *(
            Operand(
                f"{prefix}{gate}_gate_bias",
                Role.BIAS,
                optional=gate == "input",
                scale=_bias_scale(f"{prefix}input_to_{gate}_weights", f"{prefix}{gate}_layer_norm"),
            )
            for gate in _GATES
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
    *(Operand(f"{gate}_layer_norm", Role.WEIGHT, optional=True, dtype="int16") for gate in _GATES),
)

# Ranges of W x + R h + p c before layer norm, unused without it, and of the hidden state before
# the projection, unused without that.
INTERMEDIATES = (
    *(Operand(f"{gate}_gate", optional=True, dtype="int16") for gate in _GATES),
    Operand("effective_hidden", optional=True),
)
