"""REDUCE_PROD: y = product of x over the axes.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/reduce.cc.
"""

from __future__ import annotations

import math

import numpy as np

from kernels import bounds, trace
from kernels import fixedpoint as fp
from kernels.call import Call
from kernels.jit import jit
from kernels.numerics import Row
from kernels.ops import _reduce
from kernels.opspec import Operand, OpSpec, Role
from kernels.scalar import clip, m64

SPEC = OpSpec(
    name="REDUCE_PROD",
    inputs=(Operand("input"), Operand("axis", Role.INDEX)),
    outputs=(Operand("output"),),
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16"}),
    versions={"float32": 1, "int8": 2, "int16": 2, "uint8": 1},
    legacy_version=2,
)

NUMERICS = tuple(
    Row(
        form,
        "M64 (E26) at every factor (E63)",
        "as reference; a copy of the integers where no axis longer than 1 is reduced",
        source="reduce.cc; reference/reduce.h, optimized/reduce.h QuantizedReduceProd",
        note="With constant operands and up to 8 outputs every path computes as the optimized one. "
        "Where no axis longer than 1 is reduced, tensorflow 2.21 reads outside of its list of "
        "axes: not a defined result.",
    )
    for form in ("int8", "int16")
)

SMALL = 8  # outputs of constant operands that are computed once, by the optimized kernel


def real(call: Call) -> tuple[np.ndarray, ...]:
    """Product along the axes. Floats: in float64, rounded once; integers wrap."""
    x, along = call.x(0), _reduce.axes(call)
    if x.dtype == bool:
        raise call.refuse("use REDUCE_ALL")
    kind = np.dtype(np.float64) if x.dtype.kind == "f" else x.dtype
    product = np.prod(x, axis=along, dtype=kind)
    return (np.asarray(product).astype(x.dtype).reshape(_reduce.shape(call)),)


def bound(call: Call) -> np.ndarray:
    """Products in another order (E75); infinite where some order overflows or underflows."""
    x = _reduce.fold(np.abs(call.x(0)).astype(np.float64), _reduce.axes(call))
    (y,) = real(call)
    with np.errstate(all="ignore"):
        least = np.minimum(np.where(x == 0, 1, x), 1).prod(1).reshape(y.shape)
        most = np.maximum(x, 1).prod(1).reshape(y.shape)
        found = bounds.gamma(x.shape[1] + 1) * np.abs(y.astype(np.float64))
    inside = (least >= bounds.TINY) & (most <= np.finfo(np.float32).max)
    return np.where(inside, found, np.inf)


def reference(call: Call) -> tuple[np.ndarray, ...]:
    """p = x_0 - z; p = M64(p (x_i - z)) for each further element; M64 once more (E63)."""
    x = _reduce.folded(call)
    if _copied(call, x.shape[1]):
        return (call.x(0).reshape(_reduce.shape(call)),)
    multiplier, shift = fp.quantize_multiplier(_factor(call, x.shape[1]))
    steps = np.moveaxis(x.astype(np.int64), 1, 0) - call[0].z
    product = steps[0]
    for step in steps[1:]:
        product = fp.multiply_int64(product * step, multiplier, shift)
    trace.note("product", product, "E63")
    last = fp.multiply_int64(product, multiplier, shift) + call.output.z
    return (_reduce.finished(call, last),)


def fast(call: Call) -> tuple[np.ndarray, ...]:
    """`reference`, jitted."""
    x, y = _reduce.folded(call), call.output
    if _copied(call, x.shape[1]):
        return (call.x(0).reshape(_reduce.shape(call)),)
    multiplier, shift = fp.quantize_multiplier(_factor(call, x.shape[1]))
    out = np.empty((x.shape[0], x.shape[2]), y.held)
    reduced = int(fp.reduce_multiplier(multiplier))
    _loops(x, call[0].z, reduced, int(shift), y.z, y.range.qmin, y.range.qmax, out)
    return (out.reshape(_reduce.shape(call)),)


def _factor(call: Call, count: int) -> float:
    """s_x / s_y^(1/n), so that n applications make s_x^n / s_y."""
    _reduce.prepared(call)
    if call[0].dtype not in ("int8", "int16"):
        raise call.refuse(f"REDUCE_PROD of quantized {call[0].dtype}; use int8 or int16")
    return float(call[0].s) / math.pow(float(call.output.s), 1.0 / count)


def _copied(call: Call, count: int) -> bool:
    """Whether the optimized kernel copies: nothing to multiply, so no rescaling either."""
    if count > 1:
        return False
    folded_early = call[0].constant and call[1].constant and call.x(0).size <= SMALL
    if call.profile.is_reference and not folded_early:
        return False
    if not call.profile.litert:
        raise call.undefined(
            "nothing is reduced; tensorflow 2.21 reads outside of its list of axes"
        )
    return True


@jit
def _loops(x, zero_point, multiplier, shift, y_zero_point, qmin, qmax, out):
    product = np.empty(x.shape[2], np.int64)
    for row in range(x.shape[0]):
        for c in range(x.shape[2]):
            product[c] = np.int64(x[row, 0, c]) - zero_point
        for i in range(1, x.shape[1]):
            for c in range(x.shape[2]):
                step = np.int64(x[row, i, c]) - zero_point
                product[c] = m64(product[c] * step, multiplier, shift)
        for c in range(x.shape[2]):
            out[row, c] = clip(m64(product[c], multiplier, shift) + y_zero_point, qmin, qmax)
