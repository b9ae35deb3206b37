"""int32 sums -> output bytes, by the rules of kernels/stage.py, a vector at a time.

Three kinds of code; each reads its constants for the vector's channels from a stream that
`constants` packs:

float   XF: float32 product, clamp, nearest even
fixed   DBL, UP and MIX: left shift, high product, right shift. For DBL a negative value is nudged
        by -1 before the shift, so that its ties go away from zero
double  F64: float64 product, half away

`fixed` keeps the high product in 32 bits, so |sum| must stay below 2^30 (`fits`).
"""

from __future__ import annotations

import numpy as np

from kernels.fixedpoint import quantize_multiplier
from kernels.simd.code import Code, Value, f32, f64, i8, i32, i64, vector
from kernels.stage import LANES, Rule, Stage

KINDS = {Rule.XF: "float", Rule.F64: "double"} | dict.fromkeys(
    (Rule.DBL, Rule.UP, Rule.MIX8, Rule.MIX16), "fixed"
)
# Bytes of constants for one lane.
WIDTH = {"float": 4, "double": 8, "fixed": 20}
BELOW_HALF = float(np.nextafter(0.5, 0.0))
LIMIT = 1 << 30


def kind_of(stage: Stage) -> str | None:
    """Which code computes the stage; None where none does (M64, SGL)."""
    return KINDS.get(stage.rule)


def constants(stage: Stage, channels: int, lanes: int) -> np.ndarray:
    """uint8 (vectors, WIDTH * lanes): for each vector of channels, what `emit` loads."""
    kind = kind_of(stage)
    if kind == "float":
        return in_vectors([stage.factor.astype(np.float32)], channels, lanes)
    if kind == "double":
        return in_vectors([stage.factor.astype(np.float64)], channels, lanes)
    up = np.full(channels, stage.rule is Rule.UP)
    if run := LANES.get(stage.rule):
        up = np.arange(channels) < channels // run * run
    return fixed(*quantize_multiplier(stage.factor), up, channels, lanes)


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


def fits(stage: Stage, largest: int) -> bool:
    """Whether sums of at most `largest` magnitude stay in the range that the code is exact for.
    Steps of F64 beyond int32 wrap in the runtime, and are clamped here."""
    if kind_of(stage) == "double":
        return largest * float(np.abs(stage.factor).max()) < 2**31 - 512
    return kind_of(stage) != "fixed" or largest < LIMIT


def limits(stage: Stage) -> tuple[int, int, int]:
    """zero point, qmin, qmax: three parameters that every kernel with an epilogue takes."""
    return stage.zero_point, stage.qmin, stage.qmax


class Epilogue:
    """Written once at the head of a kernel; `emit` then turns sums into bytes."""

    def __init__(self, code: Code, kind: str, zero_point: Value, qmin: Value, qmax: Value):
        lanes = code.target.lanes
        self.code, self.kind = code, kind
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

    def emit(self, total: Value, given: list[Value]) -> Value:
        """int32 sums -> int8 outputs, lane by lane."""
        if self.kind != "fixed":
            # The ends are integers, so clamping before rounding is clamping after it.
            real = f32 if self.kind == "float" else f64
            product = (total.to(real) * given[0]).min(self.high).max(self.low)
            if self.kind == "float":
                return (product.rint().to(i32) + self.zero_point).to(i8)
            c = self.code
            half = c.intrinsic(
                "copysign", product.kind, Value(c, c.constant(BELOW_HALF, product.kind)), product
            )
            return ((product + half).to(i32) + self.zero_point).to(i8)
        multiplier, left, right, half, nudge = given
        wide = (total << left).to(i64) * multiplier.to(i64)
        high = ((wide + (1 << 30)) >> 31).to(i32)
        steps = (high + half + ((high >> 31) & nudge)) >> right
        return (steps + self.zero_point).max(self.qmin).min(self.qmax).to(i8)
