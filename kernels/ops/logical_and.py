"""LOGICAL_AND: y = a and b, with broadcast; bool only.

Sources: LiteRT tfl_ops.td, kernels/logical.cc.
"""

from __future__ import annotations

import numpy as np

from kernels.ops import _binary
from kernels.opspec import Operand, OpSpec, Role

SPEC = OpSpec(
    name="LOGICAL_AND",
    inputs=(Operand("input1", Role.INDEX), Operand("input2", Role.INDEX)),
    outputs=(Operand("output", Role.INDEX),),
)

NUMERICS = _binary.rows("bool", "kernels/logical.cc", ("plain",))

real = reference = fast = _binary.raw(np.logical_and)
