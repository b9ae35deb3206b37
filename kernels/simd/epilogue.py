"""int32 sums -> output bytes, by the rules of kernels/stage.py, a vector at a time.

Three kinds of code; each reads its constants for the vector's channels from a stream that
`constants` packs:

float   XF: float32 product, clamp, nearest even
fixed   DBL, UP and MIX: left shift, high product, right shift. For DBL a negative value is nudged
        by -1 before the shift, so that its ties go away from zero
double  F64: float64 product, half away

`fixed` rounds in 32 bits: for sums near 2^31, as guarded biases make them, `fits` says whether that
is enough.

Beside rows that were quantized at run time (quantize.py) sums become floats: `Floats` says how.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kernels.fixedpoint import quantize_multiplier
from kernels.simd.code import Code, Value, f32, f64, i8, i16, i32, i64, vector
from kernels.simd.quantize import SCALE, ZERO
from kernels.stage import LANES, Rule, Stage

KINDS = {Rule.XF: "float", Rule.F64: "double"} | dict.fromkeys(
    (Rule.DBL, Rule.UP, Rule.MIX8, Rule.MIX16), "fixed"
)
# Bytes of constants for one lane.
WIDTH = (
    {"float": 4, "double": 8, "fixed": 20}
    | dict.fromkeys(("product", "channel", "row", "fused"), 12)
    | {"mix": 16}
)
BELOW_HALF = float(np.nextafter(0.5, 0.0))
LIMIT = 1 << 30
CURRENT = 4  # rounding mode of an instruction: the one that is set, nearest even


@dataclass(frozen=True, eq=False)
class Floats:
    """A sum of q w, less the row's zero point times the channel's `sums`, as a float a, then with
    the row's scale s, the channel's `scale` v and `bias` b (E32, E35):

    product  a (v s) + b        channel  (a v) s + b        row  (a s) v + b
    fused    fma(a s, v, b)     mix      channel in whole groups of 4 channels, else row

    and clamped to low..high. Sums wrap at 32 bits. (N,): sums of the weights integers, scale and
    bias float32.
    """

    kind: str
    sums: np.ndarray
    scale: np.ndarray
    bias: np.ndarray
    low: np.float32
    high: np.float32

    def parts(self, channels: int) -> list[np.ndarray]:
        """What is kept for each channel."""
        wrapped = self.sums.astype(np.int64).astype(np.int32)
        parts = [wrapped, self.scale.astype(np.float32), self.bias.astype(np.float32)]
        if self.kind == "mix":
            whole = np.arange(channels) < channels // 4 * 4
            parts.append(-whole.astype(np.int32))
        return parts


def real(kind: str) -> bool:
    """Whether the outputs are float32."""
    return WIDTH[kind] in (12, 16)


def kind_of(stage: Stage | Floats) -> str | None:
    """Which code computes the stage; None where none does (M64, SGL)."""
    return stage.kind if isinstance(stage, Floats) else KINDS.get(stage.rule)


def constants(stage: Stage | Floats, channels: int, lanes: int) -> np.ndarray:
    """uint8 (vectors, WIDTH * lanes): for each vector of channels, what `emit` loads."""
    if isinstance(stage, Floats):
        return in_vectors(stage.parts(channels), channels, lanes)
    kind = kind_of(stage)
    if kind == "float":
        return in_vectors([stage.factor.astype(np.float32)], channels, lanes)
    if kind == "double":
        return in_vectors([stage.factor.astype(np.float64)], channels, lanes)
    up = np.full(channels, stage.rule is Rule.UP)
    if run := LANES.get(stage.rule):
        up = np.arange(channels) < channels // run * run
    return fixed(*quantize_multiplier(stage.factor), up, channels, lanes)


def order(vectors: int, lanes: int) -> np.ndarray:
    """Channel of each lane of each of a block's vectors, (vectors * lanes,), for bytes that come
    out of `together` in order; more or fewer than four vectors are one behind the other."""
    if vectors != 4 or lanes != 16:
        return np.arange(vectors * lanes)
    v, lane, d = np.ix_(range(4), range(4), range(4))
    return (16 * lane + 4 * v + d).reshape(-1)


def constants_of(each: np.ndarray, picked: np.ndarray, kind: str, lanes: int) -> np.ndarray:
    """`constants` of some channels in some order, uint8 (..., WIDTH * lanes * vectors).

    each: `constants` by single channels, (channels, WIDTH).  picked: channels, (..., vectors *
    lanes).
    """
    unit = 8 if kind == "double" else 4
    found = each[picked].reshape(*picked.shape[:-1], -1, lanes, WIDTH[kind] // unit, unit)
    return np.ascontiguousarray(found.swapaxes(-3, -2)).reshape(*picked.shape[:-1], -1)


def fixed(
    multiplier: np.ndarray, shift: np.ndarray, up: np.ndarray, channels: int, lanes: int
) -> np.ndarray:
    """Constants of kind "fixed". up: channels whose negative ties go up, not away from zero."""
    right = np.broadcast_to(np.maximum(-shift, 0), (channels,))
    nudge = np.where(~up & (right > 0), -1, 0)
    half = (np.int64(1) << right) >> 1
    parts = multiplier, np.maximum(shift, 0), right, half, nudge
    return in_vectors([p.astype(np.int32) for p in parts], channels, lanes)


def in_vectors(parts: list[np.ndarray], channels: int, lanes: int) -> np.ndarray:
    """uint8 (vectors, bytes): the parts of each vector of channels, one behind the other."""
    vectors = -(-channels // lanes)
    rows = []
    for part in parts:
        full = np.zeros(vectors * lanes, part.dtype)
        full[:channels] = np.broadcast_to(part, (channels,))
        rows.append(full.reshape(vectors, lanes).view(np.uint8))
    return np.concatenate(rows, axis=1)


def fits(stage: Stage, largest: np.ndarray | int) -> bool:
    """Whether the code is exact for sums of at most these magnitudes (< 2^31), one a channel.
    Steps beyond int32 wrap in the runtime (F64) or in the instruction that rounds (XF)."""
    if kind_of(stage) in ("double", "float"):
        return bool((np.asarray(largest) * np.abs(stage.factor) < 2**31 - 512).all())
    multiplier, shift = quantize_multiplier(stage.factor)
    if (shift > 30).any():
        return False  # what such a shift makes depends on the code that a compiler chose (E25)
    wide = np.asarray(largest, np.int64) << np.maximum(shift, 0).astype(np.int64)
    high = (np.minimum(wide, 1 << 31) * multiplier >> 31) + 1
    half = (np.int64(1) << np.maximum(-shift, 0).astype(np.int64)) >> 1
    return bool(((wide < 1 << 31) & (high + half < 1 << 31)).all())


def limits(stage: Stage) -> tuple[int, int, int]:
    """zero point, qmin, qmax: three parameters that every kernel with an epilogue takes."""
    return stage.zero_point, stage.qmin, stage.qmax


class Epilogue:
    """Written once at the head of a kernel; `emit` then turns sums into bytes."""

    def __init__(self, code: Code, kind: str, zero_point: Value, qmin: Value, qmax: Value):
        lanes = code.target.lanes
        self.code, self.kind, self.ends = code, kind, (zero_point, qmin, qmax)
        self.zero_point, self.qmin, self.qmax = (
            v.to(i32).splat(lanes) for v in (zero_point, qmin, qmax)
        )
        real = f64 if kind == "double" else f32
        self.high = (qmax - zero_point).to(real).splat(lanes)
        self.low = (qmin - zero_point).to(real).splat(lanes)

    def load(self, base: object, offset: object) -> list[Value]:
        """The constants of one vector of channels."""
        lanes = self.code.target.lanes
        if self.kind != "fixed":
            real = f32 if self.kind == "float" else f64
            return [self.code.load(vector(real, lanes), base, offset, align=4)]
        start = self.code.value(offset)
        return [
            self.code.load(vector(i32, lanes), base, start + 4 * lanes * i, align=4)
            for i in range(5)
        ]

    @property
    def packs(self) -> bool:
        """Whether four vectors are made into bytes together (`together`)."""
        return self.code.target.lanes == 16

    def together(self, totals: list[Value], given: list[list[Value]]) -> Value:
        """Four vectors of sums -> 64 bytes: of each 128-bit lane the bytes of all four, in turn.

        Saturating packs clamp to int8 on the way, so that only its own ends are left to do.
        """
        c = self.code
        steps = [self._steps(t, g) for t, g in zip(totals, given, strict=True)]
        words = [
            c.instruction("llvm.x86.avx512.packssdw.512", vector(i16, 32), a, b)
            for a, b in (steps[:2], steps[2:])
        ]
        zero_point, qmin, qmax = self.ends
        moved = [c.intrinsic("sadd.sat", w.kind, w, zero_point.to(i16).splat(32)) for w in words]
        made = c.instruction("llvm.x86.avx512.packsswb.512", vector(i8, 64), *moved)
        made = made.max(qmin.to(i8).splat(64))
        return made.min(qmax.to(i8).splat(64))

    def _steps(self, total: Value, given: list[Value]) -> Value:
        """int32 sums -> int32 outputs without the zero point, right where they are within int8."""
        if self.kind == "fixed":
            return self._fixed(total, given)
        if self.kind == "double":
            return self._double(total, given)
        return nearest(total.to(f32) * given[0])

    def emit(self, total: Value, given: list[Value]) -> Value:
        """int32 sums -> int8 outputs, lane by lane."""
        if self.kind == "float":
            # The ends are integers, so clamping before rounding is clamping after it.
            product = (total.to(f32) * given[0]).min(self.high).max(self.low)
            return (product.rint().to(i32) + self.zero_point).to(i8)
        if self.kind == "double":
            return (self._double(total, given) + self.zero_point).to(i8)
        return (self._fixed(total, given) + self.zero_point).max(self.qmin).min(self.qmax).to(i8)

    def _double(self, total: Value, given: list[Value]) -> Value:
        product = (total.to(f64) * given[0]).min(self.high).max(self.low)
        c = self.code
        half = c.intrinsic(
            "copysign", product.kind, Value(c, c.constant(BELOW_HALF, product.kind)), product
        )
        return (product + half).to(i32)

    def _fixed(self, total: Value, given: list[Value]) -> Value:
        multiplier, left, right, half, nudge = given
        high = high_product(total << left, multiplier)
        return (high + half + ((high >> 31) & nudge)) >> right


Row = tuple[Value, Value]


class Real:
    """The same for `Floats`: `emit` makes float32 of sums and the row's scale and zero point."""

    def __init__(self, code: Code, kind: str, low: Value, high: Value):
        """low, high: bits of float32."""
        self.code, self.kind = code, kind
        lanes = code.target.lanes
        self.low, self.high = (v.to(i32).bits(f32).splat(lanes) for v in (low, high))

    def row(self, record: Value) -> Row:
        """Scale and zero point from the record at this address."""
        c = self.code
        scale, zero = c.load(f32, record, SCALE, 4), c.load(i32, record, ZERO, 4)
        return scale.splat(c.target.lanes), zero.splat(c.target.lanes)

    def load(self, base: object, offset: object) -> list[Value]:
        """The constants of one vector of channels."""
        c, lanes = self.code, self.code.target.lanes
        start = c.value(offset)
        kinds = [i32, f32, f32, i32][: WIDTH[self.kind] // 4]
        return [
            c.load(vector(kind, lanes), base, start + 4 * lanes * i, align=4)
            for i, kind in enumerate(kinds)
        ]

    def emit(self, total: Value, given: list[Value], row: Row) -> Value:
        """int32 sums -> float32 outputs, lane by lane."""
        (scale, zero), (sums, channel, bias, *mask) = row, given
        a = (total - zero * sums).to(f32)
        if self.kind == "fused":
            y = self.code.intrinsic("fma", a.kind, a * scale, channel, bias)
        elif self.kind == "product":
            y = a * (channel * scale) + bias
        else:
            first, second = (channel, scale) if self.kind == "channel" else (scale, channel)
            if self.kind == "mix":
                whole = mask[0] < 0
                first, second = whole.choose(channel, scale), whole.choose(scale, channel)
            y = a * first * second + bias
        y = (y < self.low).choose(self.low, y)  # what is no number stays so
        return (y > self.high).choose(self.high, y)


def nearest(x: Value) -> Value:
    """float32 lanes below 2^31 -> the nearest int32, ties to even; below -2^31 any negative one as
    far away, for packs to clamp."""
    c = x.code
    if c.target.lanes != 16:
        return x.max(-(2.0**31)).rint().to(i32)
    kind = vector(i32, x.lanes)
    name, none = "llvm.x86.avx512.mask.cvtps2dq.512", Value(c, c.constant(0, kind))
    everywhere, rounding = Value(c, i16(-1)), Value(c, i32(CURRENT))
    return c.instruction(name, kind, x, none, everywhere, rounding)


def high_product(x: Value, y: Value) -> Value:
    """(x y + 2^30) >> 31 of int32 lanes (E23), in 32 bits; by the even lanes and the odd ones, each
    a 64-bit product in place."""
    n = x.lanes
    a, b = (v.bits(vector(i64, n // 2)) for v in (x, y))
    # Shifted as it is, LLVM sees factors of 32 bits, for which there is an instruction.
    even = (((a << 32) >> 32) * ((b << 32) >> 32) + (1 << 30)) >> 31
    odd = ((a >> 32) * (b >> 32) + (1 << 30)) << 1
    return even.bits(x.kind).shuffle([i + n * (i % 2) for i in range(n)], odd.bits(x.kind))
