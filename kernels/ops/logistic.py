"""LOGISTIC: y = 1 / (1 + exp(-x)).

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
    name="LOGISTIC",
    inputs=(Operand("input"),),
    outputs=(
        Operand(
            "output",
            fixed={
                "int8": Fixed(1 / 256, -128),
                "int16": Fixed(1 / 32768, 0),
                "uint8": Fixed(1 / 256, 0),
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
        "table (E50) of 1 / (1 + expf(-x)); the output scale must be 1/256",
        "as reference",
        "table, rounded after adding the zero point (E50)",
        source="kernels/activations.cc; XNNPACK reference/unary-elementwise.cc",
        note="XNNPACK rounds half away in tensorflow 2.21, half even in ai-edge-litert 2.3.",
    ),
    Row("int8, free output", "-", "-", "as int8: any output scale will do"),
    Row("uint8", "as int8", "as int8", "as int8", source="kernels/activations.cc"),
    Row(
        "int16",
        "256 interpolated nodes (E52)",
        "the same; gemmlowp's fixed point (E40) where the input scale is 2^-12",
        source="kernels/activations.cc; internal/reference/integer_ops/logistic.h",
        note="A scale within 0.07 % of 2^-12 counts as 2^-12.",
    ),
)

CHORDS = unary.Chords(bits=9, top=0x7FFF << 10, center=0, mirror=1 << 25, shift=10)


def real(call: Call) -> tuple[np.ndarray, ...]:
    """y = 1 / (1 + exp(-x)), float32; within 2e-7."""
    unary.floats(call)
    with np.errstate(over="ignore"):
        return (np.reciprocal(1 + np.exp(-call.x())),)


def bound(call: Call) -> np.ndarray:
    """7 ulp measured (XNNPACK, Eigen); below -9 the reference kernel computes exp(x), which is
    larger by y^2 (logistic.h). XNNPACK makes NaN of x below -1e34 (E76)."""
    (y,) = real(call)
    return bounds.of_function(y, 8) + np.where(call.x() < -8.99, y.astype(np.float64) ** 2, 0)


def reference(call: Call) -> tuple[np.ndarray, ...]:
    """Table of the path (E50); int16: interpolated (E52) or fixed point (E40)."""
    _check(call)
    if call[0].dtype != "int16":
        return (unary.look_up(call, unary.table(call, _sigmoid, _sigmoid_xnnpack)),)
    if _fixed_point(call):
        return (gemmlowp.logistic(call.x(), 3).astype(np.int16),)
    return (unary.by_chords(call, (0,), CHORDS),)


def fast(call: Call) -> tuple[np.ndarray, ...]:
    """`reference`, jitted."""
    _check(call)
    if call[0].dtype != "int16":
        return (unary.gather(call, unary.table(call, _sigmoid, _sigmoid_xnnpack)),)
    if _fixed_point(call):
        return (unary.gather65536(call.x(), gemmlowp.logistic_table(3)),)
    return (unary.by_chords_fast(call, (0,), CHORDS),)


def lower(call: Call, to: Lowering) -> None:
    """Compiled on 8 bits: a table of all codes."""
    from kernels.simd import operands

    operands.table_of(to, reference)


def delegated(call: Call) -> bool:
    """Whether XNNPACK takes the call."""
    return unary.table_delegated(call)


def _check(call: Call) -> None:
    unary.check(call, unary.ALL)
    if call.profile.is_xnnpack:
        return
    want = 2.0**-15 if call[0].dtype == "int16" else 2.0**-8
    if float(call.output.s) != want:
        raise RuntimeRefuses(f"LOGISTIC: the output scale must be {want}, not {call.output.s}")


def _fixed_point(call: Call) -> bool:
    """Optimized path, input in Q3 of 16 bits: no table."""
    return not call.profile.is_reference and unary.power_of_two(call, (0,)) is not None


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.float32(1) / (np.float32(1) + libm.exp(-x))


def _sigmoid_xnnpack(x: np.ndarray) -> np.ndarray:
    """In float64, rounded once; 0 and 1 beyond 100."""
    power = libm.exp64(np.clip(x, -100, 100))
    y = (power / (1 + power)).astype(np.float32)
    return np.where(x > 100, np.float32(1), np.where(x < -100, np.float32(0), y))
