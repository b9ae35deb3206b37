"""CONV_3D: CONV_2D with one more space axis; float only.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/conv3d.cc.
"""

from __future__ import annotations

import math

import numpy as np

from kernels import activation, bounds
from kernels.call import Call
from kernels.numerics import Row
from kernels.ops import _conv
from kernels.opspec import Operand, OpSpec, Product, Role

SPEC = OpSpec(
    name="CONV_3D",
    inputs=(
        Operand("input"),
        Operand("filter", Role.WEIGHT, axis=4),
        Operand("bias", Role.BIAS, optional=True, scale=(Product(("input", "filter")),)),
    ),
    outputs=(Operand("output"),),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
)

NUMERICS = (Row("float32", "float sums", "float sums", "", "kernels/conv3d.cc"),)


def real(call: Call) -> tuple[np.ndarray, ...]:
    """x (N, D, H, W, C), w (KD, KH, KW, C, O). Sums in float64, rounded once to float32."""
    x, w = call.x(0).astype(np.float64), call[1].real().astype(np.float64)
    at = _conv.window(call, x.shape[1:4], w.shape[:3])
    y = _conv.conv_sums(x, w, at, np.matmul)
    if call.has(2):
        y = y + call[2].real()
    return (activation.apply(call, y.astype(np.float32)),)


def bound(call: Call) -> np.ndarray:
    """Sums in another order (E75)."""
    return bounds.of_sums(call, math.prod(call[1].shape[:4]))


def reference(call: Call) -> tuple[np.ndarray, ...]:
    """There is no integer kernel."""
    raise call.refuse("only float32 has a kernel; leave the operator float")


fast = reference
