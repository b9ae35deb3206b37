"""ELU: y = x where x >= 0, else exp(x) - 1.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/activations.cc.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kernels import bounds, libm
from kernels.call import Call
from kernels.numerics import Row
from kernels.ops import _unary as unary
from kernels.opspec import Operand, OpSpec

if TYPE_CHECKING:
    from kernels.simd.program import Lowering

SPEC = OpSpec(
    name="ELU",
    inputs=(Operand("input"),),
    outputs=(Operand("output"),),
    kernels=frozenset({"int8"}),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
)

NUMERICS = (
    Row(
        "int8",
        "-",
        "table (E50) of expm1f below 0",
        "table, rounded after adding the zero point (E50)",
        source="kernels/activations.cc; XNNPACK reference/unary-elementwise.cc",
        note="XNNPACK rounds half away in tensorflow 2.21, half even in ai-edge-litert 2.3.",
    ),
)


def real(call: Call) -> tuple[np.ndarray, ...]:
    """y = x, or exp(x) - 1 below 0, float32; within 1e-7 (1 + |y|)."""
    unary.floats(call)
    x = call.x()
    return (np.where(x < 0, np.expm1(np.minimum(x, 0)), x),)


def bound(call: Call) -> np.ndarray:
    """2 ulp measured (Eigen, XNNPACK; E76)."""
    return bounds.of_function(real(call)[0], 3)


def reference(call: Call) -> tuple[np.ndarray, ...]:
    """The table of the path (E50)."""
    return (unary.look_up(call, _table(call)),)


def fast(call: Call) -> tuple[np.ndarray, ...]:
    """`reference`, jitted."""
    return (unary.gather(call, _table(call)),)


def lower(call: Call, to: Lowering) -> None:
    """Compiled on 8 bits: a table of all codes."""
    from kernels.simd import operands

    operands.table_of(to, reference)


def delegated(call: Call) -> bool:
    """Whether XNNPACK takes the call."""
    return unary.table_delegated(call, ("int8",))


def _table(call: Call) -> np.ndarray:
    if call.profile.is_reference:
        raise call.refuse("the runtimes have no reference kernel; use another path")
    unary.check(call, ("int8",))
    return unary.table(call, _elu)


def _elu(x: np.ndarray) -> np.ndarray:
    return np.where(x < 0, libm.expm1(np.minimum(x, np.float32(0))), x)
