"""CUMSUM: y_i = the sum of x up to i along axis; no integer kernel for quantized values.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/cumsum.cc.
"""

from __future__ import annotations

import numpy as np

from kernels.call import Call
from kernels.errors import RuntimeRefuses
from kernels.numerics import Row
from kernels.ops import _reduce
from kernels.opspec import Operand, OpSpec, Role

SPEC = OpSpec(
    name="CUMSUM",
    inputs=(Operand("input"), Operand("axis", Role.INDEX)),
    outputs=(Operand("output"),),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
)

NUMERICS = (
    Row("int32", "integer, wraps", "integer, wraps", source="cumsum.cc; optimized_ops.h CumSum"),
    Row("float32", "float32, in order", "float32, in order", source="cumsum.cc"),
)


def real(call: Call) -> tuple[np.ndarray, ...]:
    """Running sums in the type itself (float32, int32, int64), in order; integers wrap."""
    x, axis = call.x(0), _reduce.one_axis(call)
    reverse, exclusive = bool(call.option("reverse", False)), bool(call.option("exclusive", False))
    ordered = np.flip(x, axis) if reverse else x
    if exclusive:  # the sum before each element
        first = np.zeros_like(ordered.take([0], axis))
        ordered = np.concatenate([first, ordered], axis).take(range(x.shape[axis]), axis)
    sums = np.cumsum(ordered, axis=axis, dtype=x.dtype)
    return (np.ascontiguousarray(np.flip(sums, axis) if reverse else sums),)


def reference(call: Call) -> tuple[np.ndarray, ...]:
    """Quantized values have no kernel. Raises RuntimeRefuses."""
    raise RuntimeRefuses("CUMSUM: neither runtime takes quantized values; dequantize first")


fast = reference
