"""Fused activations: what follows an operator, as numbers of the schema's enum."""

from __future__ import annotations

import math

import numpy as np

from kernels.call import Call, Tensor
from kernels.fixedpoint import activation_range, activation_range_xnnpack

NONE, RELU, RELU_N1_TO_1, RELU6, TANH, SIGN_BIT = range(6)
BOUNDS = {
    NONE: (-math.inf, math.inf),
    RELU: (0.0, math.inf),
    RELU_N1_TO_1: (-1.0, 1.0),
    RELU6: (0.0, 6.0),
}


def fused(call: Call) -> int:
    """The fused activation of a call, NONE where its options have none."""
    return int(call.option("fused_activation_function", NONE))


def bounds(call: Call) -> tuple[float, float]:
    """The fused activation's range in real units. Raises NoKernel for TANH and SIGN_BIT."""
    number = fused(call)
    if number not in BOUNDS:
        raise call.refuse(f"fused activation {number} has no kernel; use NONE or a RELU")
    return BOUNDS[number]


def clamp(call: Call, output: Tensor | None = None) -> tuple[int, int]:
    """The fused activation in output steps, by the rule of the call's path (E29)."""
    y = call.output if output is None else output
    rule = activation_range_xnnpack if call.profile.is_xnnpack else activation_range
    return rule(*bounds(call), float(y.s), y.z, y.range)


def apply(call: Call, y: np.ndarray) -> np.ndarray:
    """The fused activation on real values (all of them, TANH included)."""
    number = fused(call)
    if number == TANH:
        return np.tanh(y)
    if number == SIGN_BIT:
        return np.signbit(y).astype(y.dtype)
    lo, hi = BOUNDS[number]
    if number == NONE:
        return y
    return np.clip(y, y.dtype.type(lo), y.dtype.type(hi))
