"""MAX_POOL_2D: y = act(max of x over each window).

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/pooling.cc.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kernels import activation, delegate
from kernels.call import Call
from kernels.errors import RuntimeRefuses
from kernels.numerics import Row
from kernels.ops import _pool
from kernels.opspec import Operand, OpSpec, Tie
from kernels.rounding import half_away, half_even

if TYPE_CHECKING:
    from kernels.simd.program import Lowering

SPEC = OpSpec(
    name="MAX_POOL_2D",
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
        "integer; clamp (E29)",
        "integer; clamp (E29)",
        "integer; its own clamp (E29)" if form != "int16" else "",
        "reference/integer_ops/pooling.h, optimized_ops.h; XNNPACK operators/max-pooling-nhwc.c",
        "Parameters of input and output need not agree, except to XNNPACK: 1x1 windows with other "
        "parameters are requantized in float32 (E64), larger ones stop it. XNNPACK takes no stride "
        "longer than the window.",
    )
    for form in ("int8", "uint8", "int16")
)


def real(call: Call) -> tuple[np.ndarray, ...]:
    """Largest value of each window."""
    return (activation.apply(call, _pool.largest(call.x(0), _pool.window(call))),)


def reference(call: Call) -> tuple[np.ndarray, ...]:
    """The largest integer of each window, clamped to the activation (E29)."""
    w = _pool.window(call)
    if _rescaled(call, w):
        return (_rescale(call),)
    return (np.clip(_pool.largest(call.x(0), w), *activation.clamp(call)),)


def fast(call: Call) -> tuple[np.ndarray, ...]:
    """`reference`, jitted."""
    w = _pool.window(call)
    if _rescaled(call, w):
        return (_rescale(call),)
    out = np.empty(_pool.shape(call, w), call.output.held)
    _pool.fast_largest(np.ascontiguousarray(call.x(0)), w, *activation.clamp(call), out)
    return (out,)


def lower(call: Call, to: Lowering) -> None:
    """Compiled: 8 bits and float32."""
    from kernels.simd import floats, windows
    from kernels.simd.operands import filled
    from kernels.simd.program import NotLowered

    if not call.form:
        floats.pooled(to, "max")
        return
    if _rescaled(call, _pool.window(filled(call))):
        raise NotLowered("MAX_POOL_2D: XNNPACK rescales here")
    windows.pooled(to, "max")


def delegated(call: Call) -> bool:
    """Whether XNNPACK takes the call: 8 bit, and no stride longer than the window."""
    sides = (("stride_h", "filter_height"), ("stride_w", "filter_width"))
    return (
        delegate.per_tensor(call[0], call.output)
        and activation.fused(call) in activation.BOUNDS
        and all(1 <= call.option(stride) <= call.option(size) for stride, size in sides)
    )


def _rescaled(call: Call, w: _pool.Window) -> bool:
    """Whether this is XNNPACK's clamp between tensors of different parameters."""
    if not call.profile.is_xnnpack:
        return False
    if not (delegate.normal(call[0]) and delegate.normal(call.output)):
        raise RuntimeRefuses("MAX_POOL_2D: XNNPACK stops at a scale that is not normal")
    if call[0].s == call.output.s and call[0].z == call.output.z:
        return False
    if w.kernel != (1, 1):
        raise RuntimeRefuses("MAX_POOL_2D: XNNPACK stops where input and output parameters differ")
    return True


def _rescale(call: Call) -> np.ndarray:
    """clip(round(clamp(s_x (x - z_x)) / s_y + z_y)), all in float32 (E64)."""
    x, y = call[0], call.output
    lo, hi = np.array(activation.bounds(call), np.float32)
    value = np.clip((x.x.astype(np.int64) - x.z).astype(np.float32) * x.s, lo, hi)
    steps = value * np.float32(np.float32(1) / y.s) + np.float32(y.z)
    rounding = half_even if call.profile.litert else half_away
    q = y.range
    return rounding(np.clip(steps, np.float32(q.qmin), np.float32(q.qmax))).astype(q.dtype)
