"""EQUAL: y = (a == b) as bool, with broadcast.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/comparisons.cc.
"""

from __future__ import annotations

import numpy as np

from kernels.call import Call
from kernels.ops import _binary
from kernels.opspec import Operand, OpSpec, Role

SPEC = OpSpec(
    name="EQUAL",
    inputs=(Operand("input1"), Operand("input2")),
    outputs=(Operand("output", Role.INDEX),),
    mlir=True,
    legacy=frozenset({"int8"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 2, "int16": 5, "uint8": 1},
    legacy_version=2,
)

NUMERICS = _binary.rows(
    "both sides times 2^8, DBL by their own scale, compared (E49)",
    "reference/comparisons.h",
    _binary.WIDE,
    "A scale of exactly 1 aborts the runtime; of a larger one only signs are compared.",
) + _binary.rows("compared as they are", "reference/comparisons.h", ("plain",))


def real(call: Call) -> tuple[np.ndarray, ...]:
    """The comparison of plain values."""
    return _binary.compare_real(call, _binary.EQUAL)


def reference(call: Call) -> tuple[np.ndarray, ...]:
    """The comparison of rescaled integers (E49)."""
    return _binary.compare_reference(call, _binary.EQUAL)


def fast(call: Call) -> tuple[np.ndarray, ...]:
    """`reference`, jitted."""
    return _binary.compare_fast(call, _binary.EQUAL)
