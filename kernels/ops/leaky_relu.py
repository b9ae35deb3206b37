"""LEAKY_RELU: y = x where x > 0, else alpha * x.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/activations.cc.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kernels.call import Call
from kernels.numerics import Row
from kernels.ops import _unary as unary
from kernels.opspec import Operand, OpSpec

if TYPE_CHECKING:
    from kernels.simd.program import Lowering

SPEC = OpSpec(
    name="LEAKY_RELU",
    inputs=(Operand("input"),),
    outputs=(Operand("output"),),
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 1, "int16": 2, "uint8": 1},
    legacy_version=2,
)

NUMERICS = (
    Row(
        "int8",
        "DBL (E25), one multiplier on each side of 0, ratios in float32",
        "as reference",
        "8-bit multipliers, one rounding (E54)",
        source="kernels/activations.cc; XNNPACK microparams-init.c",
        note="XNNPACK takes it where both ratios are between 2^-8 and 128 and alpha is normal. "
        "A negative alpha: tensorflow 2.21 multiplies by the negative multiplier, ai-edge-litert "
        "2.3 by its size and turns the sign of the result (int16 on the optimized path: as 2.21).",
    ),
    Row("uint8", "as int8", "as int8", "as int8", source="internal/reference/leaky_relu.h"),
    Row("int16", "as int8", "as int8", source="internal/reference/leaky_relu.h"),
)


def real(call: Call) -> tuple[np.ndarray, ...]:
    """y = x, or alpha x where x <= 0, float32."""
    unary.floats(call)
    x = call.x()
    return (np.where(x > 0, x, x * np.float32(call.option("alpha", 0.0))),)


def reference(call: Call) -> tuple[np.ndarray, ...]:
    """y = z_y + (x - z_x) * ratio, the ratio of its side (E54)."""
    if call.profile.is_xnnpack:
        return (unary.by_rule(call, _xnnpack),)
    return (unary.reference(call, _sides(call)),)


def fast(call: Call) -> tuple[np.ndarray, ...]:
    """`reference`, jitted."""
    if call.profile.is_xnnpack:
        return (unary.by_codes(call, _xnnpack),)
    return (unary.fast(call, _sides(call)),)


def lower(call: Call, to: Lowering) -> None:
    """Compiled on 8 bits: a table of all codes."""
    from kernels.simd import operands

    operands.table_of(to, reference)


def delegated(call: Call) -> bool:
    """Whether XNNPACK takes the call."""
    alpha = np.float32(call.option("alpha", 0.0))
    if not unary.table_delegated(call) or not abs(alpha) >= np.finfo(np.float32).tiny:
        return False
    positive, negative = _ratios(call)
    return bool(
        np.isfinite(alpha)
        and 2.0**-8 <= positive <= 128
        and -127.99609375 <= negative <= 128
        and abs(negative) >= 2.0**-8
    )


def _ratios(call: Call) -> tuple[np.float32, np.float32]:
    positive = call[0].s / call.output.s
    return positive, np.float32(positive * np.float32(call.option("alpha", 0.0)))


def _xnnpack(call: Call, q: np.ndarray) -> np.ndarray:
    positive, negative = (np.int64(np.rint(np.float32(256) * r)) for r in _ratios(call))
    v = q - call[0].z
    steps = v * np.where(v >= 0, positive, negative) + (call.output.z << 8)
    return np.clip((steps + 128) >> 8, call.output.range.qmin, call.output.range.qmax)


def _sides(call: Call) -> unary.Sides:
    unary.check(call, unary.ALL)
    x, y = call[0], call.output
    right, left = unary.factor(call), unary.factor(call, float(call.option("alpha", 0.0)))
    # A negative slope: |multiplier|, and the sign turned afterwards, so that ties go the other way.
    turned = left[0] < 0 and call.profile.litert
    turned = turned and (x.dtype != "int16" or call.profile.is_reference)
    return unary.Sides(
        x.z, y.z, y.range.qmin, y.range.qmax,
        (right[0], -left[0] if turned else left[0]), (right[1], left[1]),
        after=(1, -1 if turned else 1),
    )  # fmt: skip
