"""SELECT: y = a where the condition holds, else b.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/select.cc.
"""

from __future__ import annotations

import numpy as np

from kernels.call import Call
from kernels.errors import RuntimeRefuses
from kernels.ops import _binary
from kernels.opspec import Operand, OpSpec, Role, Tie
from kernels.opversion import Special

SPEC = OpSpec(
    name="SELECT",
    inputs=(Operand("condition", Role.INDEX), Operand("x"), Operand("y")),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    legacy_tie=Tie.FIRST,
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
    legacy_version=1,
    special=(
        Special(
            3,
            "5 axes",
            lambda use: any(s is not None and len(s) == 5 for s in use.shapes[:3]),
        ),
    ),
)

NUMERICS = _binary.rows(
    "copies", "reference/select.h", (*_binary.WIDE, "plain"), "Scales are not looked at."
)


def real(call: Call) -> tuple[np.ndarray, ...]:
    """a where the condition holds, else b; a condition of one axis chooses along the first."""
    condition, a, b = (call.x(i) for i in range(3))
    if condition.size == a.size == b.size == 1:
        return (np.where(condition.reshape(a.shape), a, b.reshape(a.shape)),)
    low = condition.ndim == 0 or (condition.ndim == 1 and condition.shape[0] == a.shape[0])
    if a.shape != b.shape or (condition.shape != a.shape and not low):
        raise RuntimeRefuses(
            "SELECT: a and b have one shape, and the condition has it too, or no axis, or one axis "
            "as long as their first; use SELECT_V2"
        )
    if condition.shape != a.shape and condition.ndim:
        condition = condition.reshape(-1, *(1,) * (a.ndim - 1))
    return (np.where(condition, a, b),)


reference = fast = real
