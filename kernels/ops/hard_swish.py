"""HARD_SWISH: y = x * min(max(x + 3, 0), 6) / 6.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/activations.cc.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kernels import bounds, gemmlowp
from kernels.call import Call
from kernels.errors import RuntimeRefuses
from kernels.fixedpoint import quantize_multiplier, reduce_multiplier, wrap16
from kernels.numerics import Row
from kernels.ops import _unary as unary
from kernels.opspec import Operand, OpSpec
from kernels.trace import note

if TYPE_CHECKING:
    from kernels.simd.program import Lowering

SPEC = OpSpec(
    name="HARD_SWISH",
    inputs=(Operand("input"),),
    outputs=(Operand("output"),),
    mlir=True,
    legacy=frozenset({"int8"}),
    kernels=frozenset({"int8", "uint8"}),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
    legacy_version=1,
)

NUMERICS = (
    Row(
        "int8",
        "16-bit fixed point (E53)",
        "as reference",
        source="kernels/activations.cc; internal/reference/hard_swish.h",
        note="Input scale / output scale must stay below 128. Below 2^-9 or so the last shift "
        "exceeds 15 bits, and every output is one step off the zero point.",
    ),
    Row("uint8", "as int8", "as int8", source="internal/reference/hard_swish.h"),
)


def real(call: Call) -> tuple[np.ndarray, ...]:
    """y = x min(max(x + 3, 0), 6) / 6, float32; within 3e-7 |x|."""
    unary.floats(call)
    x = call.x()
    return (x * np.clip(x + 3, 0, 6) / 6,)


def bound(call: Call) -> np.ndarray:
    """Three products and a sum in another order: 2 ulp of x. The reference path is equal (E76)."""
    x, (y,) = call.x(), real(call)
    return np.where(np.isinf(y), np.inf, bounds.of_function(x, 2))


def reference(call: Call) -> tuple[np.ndarray, ...]:
    """min(max(x + 3, 0), 6) / 6 as a 16-bit fraction, times x on the output's scale (E53)."""
    return (unary.by_rule(call, _rule),)


def fast(call: Call) -> tuple[np.ndarray, ...]:
    """`reference`, jitted."""
    return (unary.by_codes(call, _rule),)


def lower(call: Call, to: Lowering) -> None:
    """Compiled on 8 bits: a table of all codes."""
    from kernels.simd import operands

    operands.table_of(to, reference)


def _rule(call: Call, q: np.ndarray) -> np.ndarray:
    unary.check(call, unary.EIGHT)
    x, y = call[0], call.output
    fine = np.float32(1 / 128) * x.s
    out_multiplier, out_shift = _multiplier(fine / y.s)
    if out_shift > 0:
        raise RuntimeRefuses("HARD_SWISH: input scale / output scale must be below 128")
    multiplier, shift = _multiplier(fine / np.float32(3 / 32768))
    v = (q - x.z) << 7
    steps = gemmlowp.high_mul(v, out_multiplier, 16)
    note("x on the output's scale, not yet shifted", steps, "E53")
    # 3.0 is 2^15 now: to the left in two steps, so that the product does not saturate early.
    part = gemmlowp.saturating_shift(v, max(shift - 1, 0), 16)
    part = gemmlowp.high_mul(part, multiplier, 16)
    part = gemmlowp.saturating_shift(part, 1 if shift > 0 else 0, 16)
    part = (_pot16(part, max(-shift, 0)) + (1 << 15)) >> 1
    note("fraction of 2^15", part, "E53")
    product = gemmlowp.high_mul_toward_zero(part, steps)
    return np.clip(wrap16(_pot16(product, -out_shift) + y.z), y.range.qmin, y.range.qmax)


def _multiplier(factor: np.float32) -> tuple[int, int]:
    """16-bit multiplier and shift of a float32 factor."""
    multiplier, shift = quantize_multiplier(np.float64(factor))
    return int(reduce_multiplier(multiplier)), int(shift)


def _pot16(x: np.ndarray, exponent: int) -> np.ndarray:
    """x / 2^exponent, ties away from zero, with a mask of 16 bits as the official code has it:
    beyond 15 bits it is all ones, so that 1 comes out for x >= 0, and -1 for x < 0."""
    if exponent > 15:
        return np.where(x >= 0, 1, -1)
    return gemmlowp.saturating_shift(x, -exponent, 16)
