"""What the operators of one variable share: tables of functions, and one multiplier on each side.

A rule takes codes (int64) and gives codes. On 8 bits `reference` applies it to the values and
`fast` to the 256 codes, then gathers; on 16 bits `fast` has a loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from kernels import delegate, libm, lut
from kernels.call import Call
from kernels.errors import NotFinite, RuntimeRefuses
from kernels.fixedpoint import multiply_double, quantize_multiplier, wrap32
from kernels.jit import jit
from kernels.lut import Function, codes, gather8, gather16, lookup8, lookup16
from kernels.rounding import half_away
from kernels.scalar import clip, dbl
from kernels.scalar import wrap32 as wrap32_scalar
from kernels.trace import note

EIGHT = ("int8", "uint8")
ALL = ("int8", "uint8", "int16")
Rule = Callable[[Call, np.ndarray], np.ndarray]


def check(call: Call, dtypes: tuple[str, ...], centred: bool = True) -> None:
    """Raises NoKernel unless the input is quantized and of one of these types, RuntimeRefuses
    where the official kernel does: another type at the output, and (centred) int16 with a zero
    point."""
    x, y = call[0], call.output
    if x.dtype not in dtypes or not x.quantized or not y.quantized:
        raise call.refuse(f"there is an integer kernel for quantized {', '.join(dtypes)} only")
    if x.dtype != y.dtype:
        raise RuntimeRefuses(f"{call.name}: input {x.dtype} and output {y.dtype} must be one type")
    if centred and x.dtype == "int16" and (x.z or y.z):
        raise RuntimeRefuses(f"{call.name}: int16 needs zero points 0, found {x.z} and {y.z}")


def table(call: Call, f: Function, xnnpack: Function | None = None) -> np.ndarray:
    """The table of f by the rule of the path: 256 entries (E50), or 513 nodes (E51).

    f: float32 arrays to float32 arrays.  xnnpack: the function there, where it is another.
    """
    x, y = call[0], call.output
    if x.dtype == "int16":
        found = lut.table16(f, x.s, x.z, y.s, y.z)
        note("nodes", found, "E51")
    elif call.profile.is_xnnpack:
        found = lut.table8_xnnpack(
            xnnpack or f, x.s, x.z, y.s, y.z, y.range, half_even=call.profile.litert
        )
        note("table", found, "E50")
    else:
        found = lut.table8(f, x.s, x.z, y.s, y.z, y.range)
        note("table", found, "E50")
    return found


def look_up(call: Call, found: np.ndarray) -> np.ndarray:
    """The output by a table of `table`."""
    return (lookup16 if call[0].dtype == "int16" else lookup8)(call.x(), found)


def gather(call: Call, found: np.ndarray) -> np.ndarray:
    """`look_up`, jitted."""
    return (gather16 if call[0].dtype == "int16" else gather8)(call.x(), found)


def by_rule(call: Call, rule: Rule) -> np.ndarray:
    """The output of a rule on codes, value by value."""
    return rule(call, call.x().astype(np.int64)).astype(call.output.held)


def by_codes(call: Call, rule: Rule) -> np.ndarray:
    """The same on 8 bits: the rule on every code, then a gather."""
    found = rule(call, codes(call[0].range)).astype(call.output.held)
    return gather8(call.x(), found)


class Sides(NamedTuple):
    """y = clip(after * DBL(before * (x - x_zero_point), multiplier, shift) + y_zero_point, lo, hi)

    with index 0 of multiplier, shift, before and after for x >= x_zero_point, else index 1 (E54).
    """

    x_zero_point: int
    y_zero_point: int
    lo: int
    hi: int
    multiplier: tuple[int, int]
    shift: tuple[int, int]
    before: tuple[int, int] = (1, 1)
    after: tuple[int, int] = (1, 1)

    def __call__(self, q: np.ndarray) -> np.ndarray:
        """Codes to codes, int64."""
        v = q - self.x_zero_point
        side = (v < 0).astype(np.int64)
        m, s, before, after = (
            np.array(pair)[side] for pair in (self.multiplier, self.shift, self.before, self.after)
        )
        note("multiplier", m, "E22")
        steps = after * multiply_double(before * v, m, s)
        return np.clip(steps + self.y_zero_point, self.lo, self.hi)


def factor(call: Call, alpha: float | None = None) -> tuple[int, int]:
    """Multiplier and shift of x.s / y.s, or of x.s * alpha / y.s, in float32 as LiteRT has it."""
    x, y = call[0], call.output
    with np.errstate(all="ignore"):
        ratio = x.s / y.s if alpha is None else x.s * np.float32(alpha) / y.s
    if not np.isfinite(ratio):
        raise NotFinite(f"{call.name}: the ratio of the scales is not finite; check the scales")
    multiplier, shift = quantize_multiplier(np.float64(ratio))
    return int(multiplier), int(shift)


def reference(call: Call, sides: Sides) -> np.ndarray:
    """Each value by its side."""
    return sides(call.x().astype(np.int64)).astype(call.output.held)


def fast(call: Call, sides: Sides) -> np.ndarray:
    """`reference`: gathered on 8 bits, jitted on 16."""
    x = call.x()
    if x.dtype.itemsize == 1:
        return gather8(x, sides(codes(call[0].range)).astype(x.dtype))
    out = np.empty(x.shape, x.dtype)
    _two_sided(np.ascontiguousarray(x).ravel(), sides, out.reshape(-1))
    return out


def bounded(call: Call, lo: float, hi: float | None, dtypes: tuple[str, ...]) -> Sides:
    """RELU and its like: one multiplier, clipped to [lo, hi] in real units (E29).

    Bounds are int32: with an output scale below 3e-9 the upper one overflows to -2^31 + z_y, and
    its low bits, z_y, are every output.
    """
    check(call, dtypes)
    x, y = call[0], call.output
    multiplier, shift = factor(call)

    def steps(bound: float) -> int:
        return int(wrap32(y.z + lut.truncate32(half_away(np.float32(bound) / y.s))))

    least = max(y.range.qmin, steps(lo))
    most = y.range.qmax if hi is None else min(y.range.qmax, steps(hi))
    return Sides(x.z, y.z, least, most, (multiplier,) * 2, (shift,) * 2)


def log2(scale: np.float32) -> tuple[int, bool]:
    """The nearest power of two, and whether the official test (|error| < 1e-3) calls it exact."""
    exponent = libm.log(scale) * (np.float32(1) / libm.log(np.float32(2)))
    nearest = half_away(exponent)
    return int(nearest), bool(abs(exponent - nearest) < np.float32(1e-3))


def power_of_two(call: Call, lefts: tuple[int, ...]) -> int | None:
    """int16 LOGISTIC and TANH: the left shift that brings the input to Q3, if it is one of these
    and the scale is a power of two."""
    exponent, exact = log2(call[0].s)
    return exponent + 12 if exact and exponent + 12 in lefts else None


def sigmoid_scale(call: Call, lefts: tuple[int, ...]) -> tuple[int, int]:
    """Multiplier and right shift from the input to 1/12288 a step, 24 * 512 steps a unit (E52).

    The multiplier is truncated, to 15 bits where the scale is small.
    """
    left = power_of_two(call, lefts)
    if left is not None:
        return 3 << left, 0
    multiplier, shift = float(call[0].s) * 4096.0 * 3.0, 0
    while multiplier <= 32767 / 2 and shift <= 30:
        multiplier, shift = multiplier * 2, shift + 1
    return int(multiplier), shift


class Chords(NamedTuple):
    """The int16 output by 256 nodes of the logistic function (E52), for an argument d in int32:

        L = chord at |d| in cells of 2^bits, `top` from node 255 on;  v = L - center
        y = (v + half) >> shift  for d >= 0,   (mirror - v + half - 1) >> shift  below

    half is 2^(shift - 1). The mirror image is one less: ties go down on that side.
    """

    bits: int
    top: int
    center: int
    mirror: int
    shift: int


def by_chords(call: Call, lefts: tuple[int, ...], p: Chords) -> np.ndarray:
    """int16 codes to int16 codes; lefts: as `sigmoid_scale`."""
    multiplier, shift = sigmoid_scale(call, lefts)
    half = (1 << shift) >> 1
    d = wrap32(wrap32(call.x().astype(np.int64) * multiplier) + half) >> shift
    note("argument", d, "E52")
    part, cell = np.abs(d) & ((1 << p.bits) - 1), np.abs(d) >> p.bits
    nodes = lut.sigmoid_table()
    low = nodes[np.minimum(cell, 254)]
    v = (low << p.bits) + part * (nodes[np.minimum(cell + 1, 255)] - low)
    v = np.where(cell >= 255, p.top, v) - p.center
    note("value, not yet shifted", v, "E52")
    half = 1 << (p.shift - 1)
    return (np.where(d >= 0, v + half, p.mirror - v + half - 1) >> p.shift).astype(np.int16)


def by_chords_fast(call: Call, lefts: tuple[int, ...], p: Chords) -> np.ndarray:
    """`by_chords`, jitted."""
    x = call.x()
    out = np.empty(x.shape, np.int16)
    multiplier, shift = sigmoid_scale(call, lefts)
    flat = np.ascontiguousarray(x).ravel()
    _chords(flat, multiplier, shift, lut.sigmoid_table(), p, out.reshape(-1))
    return out


def gather65536(x: np.ndarray, entries: np.ndarray) -> np.ndarray:
    """int16 codes through a table of all of them, at index x & 0xFFFF."""
    return entries[np.ascontiguousarray(x).view(np.uint16)].reshape(x.shape)


def floats(call: Call, *others: str) -> None:
    """Raises NoKernel unless the input is float32 or of one of these other types."""
    if call.x().dtype.name not in ("float32", *others):
        raise call.refuse(f"there is a kernel for {', '.join(('float32', *others))} only")


def table_delegated(call: Call, dtypes: tuple[str, ...] = EIGHT) -> bool:
    """Whether XNNPACK takes an operator of one 8-bit input and output."""
    x, y = call[0], call.output
    return (
        x.dtype in dtypes
        and x.dtype == y.dtype
        and delegate.per_tensor(x, y)
        and delegate.takes_shape(x)
    )


@jit
def _chords(x, multiplier, shift, nodes, p, out):
    before = (np.int64(1) << np.int64(shift)) >> 1
    after = np.int64(1) << np.int64(p.shift - 1)
    for i in range(x.size):
        d = wrap32_scalar(wrap32_scalar(np.int64(x[i]) * multiplier) + before) >> np.int64(shift)
        a = abs(d)
        cell = a >> p.bits
        v = np.int64(p.top)
        if cell < 255:
            part = a & ((1 << p.bits) - 1)
            v = (nodes[cell] << p.bits) + part * (nodes[cell + 1] - nodes[cell])
        v -= p.center
        out[i] = (v + after if d >= 0 else p.mirror - v + after - 1) >> p.shift


@jit
def _two_sided(x, p, out):
    for i in range(x.size):
        v = np.int64(x[i]) - p.x_zero_point
        side = 1 if v < 0 else 0
        steps = p.after[side] * dbl(p.before[side] * v, p.multiplier[side], p.shift[side])
        out[i] = clip(steps + p.y_zero_point, p.lo, p.hi)
