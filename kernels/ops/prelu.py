"""PRELU: y = x where x >= 0, else alpha * x, alpha broadcast over the batch.

alpha is quantized like a weight per tensor: symmetric, narrow. int16 needs an int8 alpha.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/activations.cc.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from kernels import fixedpoint as fp
from kernels.call import Call
from kernels.errors import RuntimeRefuses
from kernels.jit import jit
from kernels.ops import _binary
from kernels.opspec import Operand, OpSpec, Role
from kernels.scalar import clip, dbl
from kernels.trace import note

if TYPE_CHECKING:
    from kernels.simd.program import Lowering

SPEC = OpSpec(
    name="PRELU",
    inputs=(Operand("input"), Operand("alpha", Role.WEIGHT)),
    outputs=(Operand("output"),),
    mlir=True,
    legacy=frozenset({"int8"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
    legacy_version=1,
)

NUMERICS = _binary.rows(
    "DBL by one of two float32 factors (E47)",
    "reference/prelu.h",
    _binary.WIDE,
    "int16 needs an int8 alpha: the runtime reads the bytes of any other as int8.",
)


class Factors(NamedTuple):
    """positive: of x; negative: of x * alpha."""

    zero: int
    alpha_zero: int
    positive: int
    positive_shift: int
    negative: int
    negative_shift: int
    zero_point: int
    qmin: int
    qmax: int


def real(call: Call) -> tuple[np.ndarray, ...]:
    """y = x where x >= 0, else x * alpha, float32."""
    _check(call)
    x, alpha = np.broadcast_arrays(call.x(0), call.x(1))
    with np.errstate(all="ignore"):
        return (np.where(x >= 0, x, x * alpha),)


def reference(call: Call) -> tuple[np.ndarray, ...]:
    """DBL(x - z, s_x / s_y), below zero DBL((x - z)(alpha - z_a), s_x s_a / s_y) (E47)."""
    p = _factors(call)
    x = call.x(0).astype(np.int64) - p.zero
    product = x * (call.x(1).astype(np.int64) - p.alpha_zero)
    note("x", x, "E47")
    note("x * alpha", product, "E47")
    steps = np.where(
        x >= 0,
        fp.multiply_double(x, p.positive, p.positive_shift),
        fp.multiply_double(product, p.negative, p.negative_shift),
    )
    out = np.clip(steps + p.zero_point, p.qmin, p.qmax)
    note("output", out)
    return (out.astype(call.output.held),)


def fast(call: Call) -> tuple[np.ndarray, ...]:
    """`reference`, jitted."""
    p = _factors(call)
    out = np.empty(call[0].shape, call.output.held)
    x, alpha = (np.ascontiguousarray(call.x(i)).reshape(-1) for i in range(2))
    _loops(x, alpha, _binary.runs(call[0].shape, call[1].shape), p, out.reshape(-1))
    return (out,)


def lower(call: Call, to: Lowering) -> None:
    """Compiled: 8 bits."""
    from kernels.simd import operands

    operands.prelu(to)


def delegated(call: Call) -> bool:
    """Whether XNNPACK takes the call: float32 with a constant alpha."""
    return _binary.floats_delegated(call) and call[1].constant


def _check(call: Call) -> None:
    if _binary.shape(call) != call[0].shape:
        raise RuntimeRefuses("PRELU: alpha must broadcast to the shape of the input")


def _factors(call: Call) -> Factors:
    x, alpha, y = call[0], call[1], call.output
    if x.dtype not in _binary.WIDE or alpha.dtype != ("int8" if x.dtype == "int16" else x.dtype):
        raise call.refuse("alpha has the type of the input, and int8 beside int16")
    if not (x.quantized and alpha.quantized and y.quantized):
        raise call.refuse("there is an integer kernel for quantized operands only")
    _check(call)
    with np.errstate(all="ignore"):
        positive, negative = x.s / y.s, np.float32(x.s * alpha.s) / y.s
    multipliers, shifts = fp.quantize_multiplier(np.array([positive, negative], np.float64))
    up, down = (_binary.machine_shift(int(s)) for s in shifts)
    return Factors(
        x.z, alpha.z, int(multipliers[0]), up, int(multipliers[1]), down,
        y.z, y.range.qmin, y.range.qmax,
    )  # fmt: skip


@jit
def _loops(x, alpha, walk, p, out):
    for run in range(walk.a.size):
        x_at, alpha_at, at = walk.a[run], walk.b[run], run * walk.length
        for i in range(walk.length):
            v = np.int64(x[x_at + i * walk.a_step]) - p.zero
            if v >= 0:
                steps = dbl(v, p.positive, p.positive_shift)
            else:
                w = np.int64(alpha[alpha_at + i * walk.b_step]) - p.alpha_zero
                steps = dbl(v * w, p.negative, p.negative_shift)
            out[at + i] = clip(steps + p.zero_point, p.qmin, p.qmax)
