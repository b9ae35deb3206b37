"""L2_POOL_2D: y = act(sqrt(mean of x^2 over each window)); float only.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/pooling.cc.
"""

from __future__ import annotations

import numpy as np

from kernels import activation, bounds
from kernels.call import Call
from kernels.numerics import Row
from kernels.ops import _pool
from kernels.opspec import Operand, OpSpec

SPEC = OpSpec(
    name="L2_POOL_2D",
    inputs=(Operand("input"),),
    outputs=(Operand("output"),),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
)

NUMERICS = (Row("float32", "float32", "float32", source="reference/pooling.h, optimized_ops.h"),)


def real(call: Call) -> tuple[np.ndarray, ...]:
    """Root of the mean square of each window, padding not counted. Sums in float64."""
    w = _pool.window(call)
    mean = _pool.total(np.square(call.x(0), dtype=np.float64), w) / _pool.inside(w)
    return (activation.apply(call, np.sqrt(mean).astype(np.float32)),)


def bound(call: Call) -> np.ndarray:
    """The sum of squares in another order, and half of its error through the root (E75)."""
    (y,) = real(bounds.magnitudes(call))
    taps = _pool.window(call).kernel
    return bounds.gamma(taps[0] * taps[1] + 5) * y.astype(np.float64) + 2.0**-63


def reference(call: Call) -> tuple[np.ndarray, ...]:
    """Quantized values have no kernel. Raises NoKernel."""
    raise call.refuse("neither runtime takes quantized values; dequantize first")


fast = reference
