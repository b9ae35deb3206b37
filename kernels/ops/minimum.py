"""MINIMUM: y = min(a, b), with broadcast, compared as integers.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/maximum_minimum.cc.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kernels.call import Call
from kernels.ops import _binary
from kernels.opspec import Operand, OpSpec, Tie
from kernels.opversion import Special, inputs, wide_broadcast

if TYPE_CHECKING:
    from kernels.simd.program import Lowering

SPEC = OpSpec(
    name="MINIMUM",
    inputs=(Operand("input1"), Operand("input2")),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    legacy_tie=Tie.OUTPUT,
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 2, "int16": 4, "uint8": 1},
    legacy_version=2,
    special=(
        Special(4, "int16", inputs("int16")),
        Special(3, "broadcast over more than 4 axes", wide_broadcast),
    ),
)

NUMERICS = _binary.rows(
    "the smaller integer",
    "kernels/maximum_minimum.cc",
    (*_binary.WIDE, "plain"),
    "Scales and zero points are not looked at.",
)

real = reference = fast = _binary.raw(np.minimum)


def lower(call: Call, to: Lowering) -> None:
    """Compiled: 8 bits."""
    from kernels.simd import operands

    operands.extreme_of(to, largest=False)


delegated = _binary.floats_delegated
