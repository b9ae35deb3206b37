"""RSQRT: y = 1 / sqrt(x); a negative x is an error when run.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/elementwise.cc.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kernels import bounds
from kernels.call import Call
from kernels.errors import RuntimeRefuses
from kernels.fixedpoint import multiply_double, quantize_multiplier
from kernels.gemmlowp import inverse_sqrt
from kernels.numerics import Row
from kernels.ops import _unary as unary
from kernels.opspec import Operand, OpSpec
from kernels.trace import note

if TYPE_CHECKING:
    from kernels.simd.program import Lowering

SPEC = OpSpec(
    name="RSQRT",
    inputs=(Operand("input"),),
    outputs=(Operand("output"),),
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16"}),
    versions={"float32": 1, "int8": 2, "int16": 3, "uint8": 1},
    legacy_version=2,
)

NUMERICS = (
    Row(
        "int8",
        "fixed-point 1 / sqrt(x - z) (E41), DBL twice (E25)",
        "as reference",
        source="kernels/elementwise.cc",
        note="x = z gives the largest integer; a negative value is an error when run.",
    ),
    Row(
        "int16",
        "513 interpolated nodes (E51) of 1 / sqrtf(x); x <= 0 is 32767 steps",
        "as reference",
        source="kernels/elementwise.cc; internal/common.h",
    ),
)
KEPT = 20  # bits kept between the two products


def real(call: Call) -> tuple[np.ndarray, ...]:
    """y = 1 / sqrt(x), float32, both steps correctly rounded; XNNPACK is up to 2 ulp off."""
    unary.floats(call)
    with np.errstate(divide="ignore", invalid="ignore"):
        return (np.float32(1) / np.sqrt(call.x()),)


def bound(call: Call) -> np.ndarray:
    """2 ulp measured (XNNPACK: estimate and a Newton step, which fails for x above 2^126: a half
    is lost; subnormal x make NaN). The other paths round correctly (E76)."""
    x, (y,) = call.x(), real(call)
    return np.where(x > 2.0**125, np.abs(y), bounds.of_function(y, 3))


def reference(call: Call) -> tuple[np.ndarray, ...]:
    """int8: the root of the integer, then 1 / (sqrt(s_x) s_y); int16: the table (E51)."""
    _check(call)
    if call[0].dtype == "int16":
        return (unary.look_up(call, _table(call)),)
    return (unary.by_rule(call, _rule),)


def fast(call: Call) -> tuple[np.ndarray, ...]:
    """`reference`, jitted."""
    _check(call)
    if call[0].dtype == "int16":
        return (unary.gather(call, _table(call)),)
    return (unary.by_codes(call, _rule),)


def lower(call: Call, to: Lowering) -> None:
    """Compiled on 8 bits: a table of all codes."""
    from kernels.simd import operands

    operands.table_of(to, reference)


def _check(call: Call) -> None:
    unary.check(call, ("int8", "int16"))
    if call.x().size and int(call.x().min()) < call[0].z:
        raise RuntimeRefuses("RSQRT: a value is negative, which the runtime does not take")


def _rule(call: Call, q: np.ndarray) -> np.ndarray:
    x, y = call[0], call.output
    v = np.maximum(q - x.z, 0)
    root, right = inverse_sqrt(v)
    kept = multiply_double(np.ones_like(v), root, right + KEPT)
    note("2^20 / sqrt(x - z)", kept, "E41")
    multiplier, shift = quantize_multiplier(1 / float(np.sqrt(x.s) * y.s))
    steps = multiply_double(kept, multiplier, shift - KEPT)
    return np.where(v == 0, y.range.qmax, np.clip(steps + y.z, y.range.qmin, y.range.qmax))


def _table(call: Call) -> np.ndarray:
    most = np.float32(32767) * call.output.s

    def f(x: np.ndarray) -> np.ndarray:
        return np.where(x <= 0, most, np.float32(1) / np.sqrt(np.where(x <= 0, np.float32(1), x)))

    return unary.table(call, f)
