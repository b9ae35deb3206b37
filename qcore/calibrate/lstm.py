"""An LSTM's intermediate tensors: values inside the operator that its integer form needs ranges of.

0..3 are the gates before layer normalization, 4 the output before projection. The runtime keeps
none of them; without a projection the last one is the output itself.
"""

from __future__ import annotations

import tflite_schema as ts

OPERATORS = ("LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM")
COUNT = 5
PROJECTION = 16  # input with the projection weights
NORM = (20, 21, 22, 23)  # inputs with the layer normalization coefficients


def has_intermediates(op: ts.Operator) -> bool:
    return op.name in OPERATORS and len(op.intermediates) == COUNT


def has_norm(op: ts.Operator) -> bool:
    """Whether the gates are normalized, so that their intermediates matter."""
    return any(_present(op, p) for p in NORM)


def has_projection(op: ts.Operator) -> bool:
    """Whether the last intermediate is another value than the output."""
    return _present(op, PROJECTION)


def _present(op: ts.Operator, position: int) -> bool:
    return position < len(op.inputs) and op.inputs[position] >= 0
