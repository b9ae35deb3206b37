"""DIV: y = act(a / b), with broadcast.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/div.cc.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kernels import fixedpoint as fp
from kernels.call import Call
from kernels.errors import RuntimeRefuses
from kernels.jit import jit
from kernels.ops import _binary
from kernels.ops._binary import pot_any1
from kernels.opspec import Operand, OpSpec
from kernels.opversion import Special, wide_broadcast
from kernels.scalar import clip, rdhm, wrap32
from kernels.trace import note

SPEC = OpSpec(
    name="DIV",
    inputs=(Operand("input1"), Operand("input2")),
    outputs=(Operand("output"),),
    mlir=True,
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
    special=(Special(2, "broadcast over more than 4 axes", wide_broadcast),),
)

NUMERICS = _binary.rows(
    "Newton reciprocal in 31 bits, two high products, one shift (E48)",
    "reference/div.h; internal/common.h (GetReciprocal)",
    _binary.WIDE,
    "C does not define shifts of 32 and more: small quotients saturate. tensorflow 2.21 refuses a "
    "divisor whose integer is 0, whatever its zero point; ai-edge-litert 2.3 one that stands for 0",
) + _binary.rows("C division; a divisor 0 stops the runtime", "reference/div.h", ("plain",))


class Factor(NamedTuple):
    a_zero: int
    b_zero: int
    multiplier: int
    shift: int
    zero_point: int
    qmin: int
    qmax: int


def real(call: Call) -> tuple[np.ndarray, ...]:
    """y = act(a / b) in float32; int32 toward zero. Raises RuntimeRefuses for an integer b of 0."""
    a, b = call.x(0), call.x(1)
    if a.dtype.kind == "f":
        return _binary.plain(call, np.divide)
    if a.dtype != np.int32:
        raise RuntimeRefuses(f"DIV: the runtime has no kernel for plain {a.dtype}")
    if (b == 0).any() or ((b == -1).any() and (a == np.iinfo(np.int32).min).any()):
        raise RuntimeRefuses("DIV: a divisor is 0, or the quotient leaves int32; the runtime stops")
    return _binary.plain(call, _binary.truncated_quotient)


def reference(call: Call) -> tuple[np.ndarray, ...]:
    """(a - z_a) / (b - z_b), the divisor inverted by Newton's method (E48)."""
    p = _factor(call)
    a = call.x(0).astype(np.int64) - p.a_zero
    b = call.x(1).astype(np.int64) - p.b_zero
    a, b = np.where(b < 0, -a, a), np.abs(b)
    inverse, digits = reciprocal(b)
    room = _sign_bits(a)
    quotient = fp.rdhm(fp.wrap32(a << room), inverse)
    note("reciprocal", inverse, "E48")
    note("quotient", quotient, "E48")
    high = fp.rdhm(quotient, p.multiplier)
    steps = _binary.pot_any(high, digits + room - p.shift)
    out = np.clip(fp.wrap32(steps + p.zero_point), p.qmin, p.qmax)
    note("output", out)
    return (out.astype(call.output.held),)


def fast(call: Call) -> tuple[np.ndarray, ...]:
    """`reference`, jitted; reciprocals from a table of all divisors that occur."""
    p = _factor(call)
    a, b = (np.ascontiguousarray(call.x(i)).reshape(-1) for i in range(2))
    most = int(np.abs(b.astype(np.int64) - p.b_zero).max(initial=0))
    inverse, digits = reciprocal(np.arange(most + 1))
    out = np.empty(_binary.shape(call), call.output.held)
    walk = _binary.runs(call[0].shape, call[1].shape)
    _loops(a, b, walk, p, inverse, digits, out.reshape(-1))
    return (out,)


delegated = _binary.floats_delegated


def reciprocal(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x >= 0 -> (r, d) with 1 / x = r * 2^(-31 - d), three Newton steps (E48)."""
    bits = np.where(x > 0, np.frexp(np.maximum(x, 1).astype(np.float64))[1], 0).astype(np.int64)
    fraction = fp.wrap32((np.asarray(x, np.int64) << (32 - bits)) - (1 << 31))
    total = fraction + (2**31 - 1)
    half = (total + np.where(total >= 0, 1, -1)) // 2
    y = _C48_17 + fp.rdhm(half, _C32_17)
    for _ in range(3):
        left = (1 << 29) - fp.rdhm(half, y)
        y = fp.wrap32(y + np.clip(fp.rdhm(y, left) << 2, -(2**31), 2**31 - 1))
    return np.clip(y << 1, -(2**31), 2**31 - 1), bits - 1


_C48_17, _C32_17 = 1515870810, -1010580540  # 48/17 and -32/17 in units of 2^-29


def _sign_bits(x: np.ndarray) -> np.ndarray:
    """How many of the 31 bits below the sign repeat it."""
    return 31 - np.frexp(np.where(x < 0, ~x, x).astype(np.float64))[1].astype(np.int64)


def _factor(call: Call) -> Factor:
    _binary.check(call, _binary.WIDE)
    a, b, y = call[0], call[1], call.output
    if (b.x == (b.z if call.profile.litert else 0)).any():
        raise RuntimeRefuses("DIV: a divisor is 0; the runtime stops")
    with np.errstate(all="ignore"):
        factor = a.s / np.float32(b.s * y.s)
    multiplier, shift = fp.quantize_multiplier(float(factor))
    return Factor(a.z, b.z, int(multiplier), int(shift), y.z, *_binary.clamp(call))


@jit
def _loops(a, b, walk, p, inverse, digits, out):
    for run in range(walk.a.size):
        a_at, b_at, at = walk.a[run], walk.b[run], run * walk.length
        for i in range(walk.length):
            x = np.int64(a[a_at + i * walk.a_step]) - p.a_zero
            y = np.int64(b[b_at + i * walk.b_step]) - p.b_zero
            if y < 0:
                x, y = -x, -y
            room = np.int64(31)
            rest = ~x if x < 0 else x
            while rest:
                rest >>= 1
                room -= 1
            high = rdhm(rdhm(wrap32(x << room), inverse[y]), p.multiplier)
            steps = pot_any1(high, digits[y] + room - p.shift)
            out[at + i] = clip(wrap32(steps + p.zero_point), p.qmin, p.qmax)
