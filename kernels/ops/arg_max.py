"""ARG_MAX: y = index of the largest x along axis, the first of equals.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/arg_min_max.cc.
"""

from __future__ import annotations

import numpy as np

from kernels.call import Call
from kernels.numerics import Row
from kernels.ops import _reduce
from kernels.opspec import Operand, OpSpec, Role

SPEC = OpSpec(
    name="ARG_MAX",
    inputs=(Operand("input"), Operand("axis", Role.INDEX)),
    outputs=(Operand("output", Role.INDEX),),
    mlir=True,
    legacy=frozenset({"int8"}),
    kernels=frozenset({"int8", "uint8"}),
    versions={"float32": 1, "int8": 2, "int16": 1, "uint8": 1},
    legacy_version=2,
)

NUMERICS = tuple(
    Row(
        form,
        "integer, first of equals",
        "integer, first of equals",
        source="arg_min_max.cc; optimized/optimized_ops.h ArgMinMax",
        note="int16 has no kernel in either runtime.",
    )
    for form in ("int8", "uint8")
)


def real(call: Call) -> tuple[np.ndarray, ...]:
    """Index of the largest along the axis, the first of equals; a NaN is never chosen."""
    x, axis = call.x(0), _reduce.one_axis(call)
    if x.dtype.kind == "f":
        x = np.where(np.isnan(x), -np.inf, x)
    return (x.argmax(axis=axis).astype(_reduce.index_type(call)),)


def reference(call: Call) -> tuple[np.ndarray, ...]:
    """As real, on the integers: a scale is positive and changes no order."""
    _reduce.indexable(call)
    return real(call)


def fast(call: Call) -> tuple[np.ndarray, ...]:
    """`reference`, jitted."""
    _reduce.indexable(call)
    return (_reduce.fast_first(call, True),)
