"""LOGICAL_NOT: y = not a; bool only.

Sources: LiteRT tfl_ops.td, kernels/elementwise.cc.
"""

from __future__ import annotations

import numpy as np

from kernels.ops import _binary
from kernels.opspec import Operand, OpSpec, Role

SPEC = OpSpec(
    name="LOGICAL_NOT",
    inputs=(Operand("input", Role.INDEX),),
    outputs=(Operand("output", Role.INDEX),),
)

NUMERICS = _binary.rows("bool", "kernels/elementwise.cc", ("plain",))

real = reference = fast = _binary.raw(np.logical_not)
