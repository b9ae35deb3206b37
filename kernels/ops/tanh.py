"""TANH: y = tanh(x).

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/activations.cc.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kernels import bounds, gemmlowp, libm
from kernels.call import Call
from kernels.errors import RuntimeRefuses
from kernels.numerics import Row
from kernels.ops import _unary as unary
from kernels.opspec import Fixed, Operand, OpSpec

if TYPE_CHECKING:
    from kernels.simd.program import Lowering

SPEC = OpSpec(
    name="TANH",
    inputs=(Operand("input"),),
    outputs=(
        Operand(
            "output",
            fixed={
                "int8": Fixed(1 / 128, 0),
                "int16": Fixed(1 / 32768, 0),
                "uint8": Fixed(1 / 128, 128),
            },
        ),
    ),
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 2, "int16": 3, "uint8": 1},
    legacy_version=2,
)

NUMERICS = (
    Row(
        "int8",
        "table (E50) of tanhf",
        "as reference",
        "table, rounded after adding the zero point (E50)",
        source="kernels/activations.cc; XNNPACK reference/unary-elementwise.cc",
        note="XNNPACK rounds half away in tensorflow 2.21, half even in ai-edge-litert 2.3.",
    ),
    Row("uint8", "as int8", "as int8", "as int8", source="kernels/activations.cc"),
    Row(
        "int16",
        "256 interpolated nodes (E52)",
        "the same; gemmlowp's fixed point (E40) where the input scale is 2^-12 or 2^-11",
        source="kernels/activations.cc; internal/reference/integer_ops/tanh.h",
        note="A scale within 0.07 % of 2^-12 or 2^-11 counts as that.",
    ),
)

# 2 logistic(2 x) - 1: the argument is doubled by the smaller cell.
CHORDS = unary.Chords(bits=8, top=0xFFFF << 8, center=1 << 23, mirror=0, shift=8)


def real(call: Call) -> tuple[np.ndarray, ...]:
    """y = tanh(x), float32; within 3e-7."""
    unary.floats(call)
    return (np.tanh(call.x()),)


def bound(call: Call) -> np.ndarray:
    """5 ulp measured (XNNPACK, Eigen; E76)."""
    return bounds.of_function(real(call)[0], 6)


def reference(call: Call) -> tuple[np.ndarray, ...]:
    """Table of the path (E50); int16: interpolated (E52) or fixed point (E40)."""
    _check(call)
    if call[0].dtype != "int16":
        return (unary.look_up(call, unary.table(call, libm.tanh)),)
    left = _fixed_point(call)
    if left is not None:
        return (gemmlowp.tanh(_doubled(call.x(), left), 3).astype(np.int16),)
    return (unary.by_chords(call, (0, 1), CHORDS),)


def fast(call: Call) -> tuple[np.ndarray, ...]:
    """`reference`, jitted."""
    _check(call)
    if call[0].dtype != "int16":
        return (unary.gather(call, unary.table(call, libm.tanh)),)
    left = _fixed_point(call)
    if left is not None:
        return (unary.gather65536(_doubled(call.x(), left), gemmlowp.tanh_table(3)),)
    return (unary.by_chords_fast(call, (0, 1), CHORDS),)


def lower(call: Call, to: Lowering) -> None:
    """Compiled on 8 bits: a table of all codes."""
    from kernels.simd import operands

    operands.table_of(to, reference)


def delegated(call: Call) -> bool:
    """Whether XNNPACK takes the call."""
    return unary.table_delegated(call)


def _check(call: Call) -> None:
    unary.check(call, unary.ALL)
    if call[0].dtype == "int16" and unary.log2(call.output.s) != (-15, True):
        raise RuntimeRefuses(f"TANH: the output scale must be 2^-15, not {call.output.s}")


def _fixed_point(call: Call) -> int | None:
    """Optimized path, input in Q3 or Q4 of 16 bits: by how many bits to shift it, and no table."""
    return None if call.profile.is_reference else unary.power_of_two(call, (0, 1))


def _doubled(x: np.ndarray, left: int) -> np.ndarray:
    """x in Q3; saturates."""
    return np.clip(x.astype(np.int64) << left, -32768, 32767).astype(np.int16)
