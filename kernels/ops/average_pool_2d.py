"""AVERAGE_POOL_2D: y = act(mean of x over each window, padding not counted).

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/pooling.cc.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from kernels import activation, bounds, trace
from kernels.call import Call
from kernels.numerics import Row
from kernels.ops import _pool
from kernels.opspec import Operand, OpSpec, Tie

if TYPE_CHECKING:
    from kernels.simd.program import Lowering

SPEC = OpSpec(
    name="AVERAGE_POOL_2D",
    inputs=(Operand("input"),),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 2, "int16": 3, "uint8": 1},
    legacy_version=2,
)

NUMERICS = tuple(
    Row(
        form,
        "sum / pixels inside, half away; clamp (E64)",
        "as reference",
        source="reference/integer_ops/pooling.h, reference/pooling.h, optimized_ops.h",
        note="Scales and zero points are not used, and need not agree.",
    )
    for form in ("int8", "uint8", "int16")
)


def real(call: Call) -> tuple[np.ndarray, ...]:
    """Mean of each window, padding not counted. Sums in float64, rounded once to float32."""
    w = _pool.window(call)
    mean = _pool.total(call.x(0).astype(np.float64), w) / _pool.inside(w)
    return (activation.apply(call, mean.astype(np.float32)),)


def bound(call: Call) -> np.ndarray:
    """Sums in another order (E75)."""
    return bounds.of_sums(call, math.prod(_pool.window(call).kernel))


def reference(call: Call) -> tuple[np.ndarray, ...]:
    """half_away(sum / n) with n the pixels inside the image, clamped (E64)."""
    w = _pool.window(call)
    acc, n = _pool.total(call.x(0).astype(np.int64), w), _pool.inside(w)
    trace.note("accumulator", acc, "E64")
    trace.note("pixels", n)
    mean = np.sign(acc) * ((np.abs(acc) + n // 2) // n)
    qmin, qmax = activation.clamp(call)
    return (np.clip(mean, qmin, qmax).astype(call.output.held),)


def fast(call: Call) -> tuple[np.ndarray, ...]:
    """`reference`, jitted."""
    w = _pool.window(call)
    out = np.empty(_pool.shape(call, w), call.output.held)
    _pool.fast_average(np.ascontiguousarray(call.x(0)), w, *activation.clamp(call), out)
    return (out,)


def lower(call: Call, to: Lowering) -> None:
    """Compiled: 8 bits and float32."""
    from kernels.simd import floats, windows

    if not call.form:
        floats.pooled(to, "average")
        return
    windows.pooled(to, "average")
