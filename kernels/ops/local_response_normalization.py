"""LOCAL_RESPONSE_NORMALIZATION: y = x / (bias + alpha * sum of x^2 over the neighbouring
channels)^beta; float only.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/local_response_norm.cc.
"""

from __future__ import annotations

import numpy as np

from kernels import bounds
from kernels.call import Call
from kernels.opspec import Operand, OpSpec

SPEC = OpSpec(
    name="LOCAL_RESPONSE_NORMALIZATION",
    inputs=(Operand("input"),),
    outputs=(Operand("output"),),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
)


def real(call: Call) -> tuple[np.ndarray, ...]:
    """x * (bias + alpha * sum of x^2 over channels c - radius .. c + radius)^-beta, float32.

    The sums are differences of running float64 sums, rounded once. The reference kernel leaves out
    channel c + radius (local_response_norm.cc, reference_ops.h): its path does so too.
    """
    x = np.asarray(call.x(0), np.float32)
    radius, depth = int(call.option("radius")), x.shape[-1]
    running = np.zeros((*x.shape[:-1], depth + 1))
    np.cumsum(np.square(x, dtype=np.float64), axis=-1, out=running[..., 1:])
    channel = np.arange(depth)
    end = channel + radius + (0 if call.profile.is_reference else 1)
    first, last = np.clip(channel - radius, 0, depth), np.clip(end, 0, depth)
    total = (running[..., np.maximum(last, first)] - running[..., first]).astype(np.float32)
    base = np.float32(call.option("bias")) + np.float32(call.option("alpha")) * total
    with np.errstate(all="ignore"):
        return (x * np.power(base, -np.float32(call.option("beta"))),)


def bound(call: Call) -> np.ndarray:
    """The base: a sum in another order (E75); its power: 2 ulp, and beta times its error (E76)."""
    (y,) = real(call)
    bias, alpha, beta = (abs(float(call.option(n))) for n in ("bias", "alpha", "beta"))
    terms = min(2 * int(call.option("radius")) + 1, y.shape[-1])
    squares = np.square(call.x(0), dtype=np.float64)
    total = alpha * squares.sum(axis=-1, keepdims=True)  # at least the sum of each window
    least = bias + alpha * squares
    same_sign = float(call.option("bias")) >= 0 and float(call.option("alpha")) >= 0
    with np.errstate(all="ignore"):
        worst = 1.0 if same_sign else (bias + total) / np.maximum(least, bounds.TINY)
        relative = beta * bounds.gamma(terms + 4) * worst + 8 * bounds.U
        return np.where(y == 0, 0, np.abs(y.astype(np.float64)) * relative) + bounds.TINY


reference = fast = real
