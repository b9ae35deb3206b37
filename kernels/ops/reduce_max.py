"""REDUCE_MAX: y = max of x over the axes.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/reduce.cc.
"""

from __future__ import annotations

import numpy as np

from kernels.call import Call
from kernels.numerics import Row
from kernels.ops import _reduce
from kernels.opspec import Operand, OpSpec, Role, Tie

SPEC = OpSpec(
    name="REDUCE_MAX",
    inputs=(Operand("input"), Operand("axis", Role.INDEX)),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 2, "int16": 3, "uint8": 1},
    legacy_version=2,
)

NUMERICS = tuple(
    Row(form, "integer", "integer", "integer" if form != "int16" else "", "reduce.cc", note)
    for form, note in (
        ("int8", "Scale and zero point of input and output must agree, except to XNNPACK."),
        ("uint8", "As int8."),
        ("int16", "As int8, with zero point 0."),
    )
)


def real(call: Call) -> tuple[np.ndarray, ...]:
    """Largest along the axes; any type, bool excepted."""
    x = call.x(0)
    if x.dtype == bool:
        raise call.refuse("use REDUCE_ANY")
    return (np.reshape(x.max(axis=_reduce.axes(call)), _reduce.shape(call)),)


def reference(call: Call) -> tuple[np.ndarray, ...]:
    """The largest integer along the axes: order is that of the real values."""
    _check(call)
    return real(call)


def fast(call: Call) -> tuple[np.ndarray, ...]:
    """`reference`, jitted."""
    _check(call)
    return (_reduce.fast_extremes(_reduce.folded(call), True).reshape(_reduce.shape(call)),)


delegated = _reduce.delegated


def _check(call: Call) -> None:
    _reduce.prepared(call)
    if not call.profile.is_xnnpack:
        _reduce.same_parameters(call)
