"""The output stage of an accumulating operator: accumulator -> output integer, by a named rule.

An operator decides which rule its path follows and with which factors; the stage then is the same
value for `reference` (`stage(acc)`) and for `fast` (`requantize(acc, c, stage.parameters)` inside a
jitted loop).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from kernels import fixedpoint as fp
from kernels.errors import NotFinite
from kernels.jit import jit
from kernels.ranges import IntRange
from kernels.scalar import INT32_MAX, INT32_MIN, clip, dbl, float64, m64, single, up, wrap32, xf
from kernels.trace import note


class Rule(IntEnum):
    """How an accumulator meets its factor; docs/math.md E25-E28."""

    DBL = 0  # two roundings, ties up then away
    UP = 1  # two roundings, both ties up
    SGL = 2  # one rounding, ties up
    F64 = 3  # float64 product, half away
    M64 = 4  # 64-bit accumulator, 16-bit multiplier
    XF = 5  # XNNPACK: float32 product, half even
    MIX8 = 6  # UP in whole groups of 8 along the channels, DBL in the tail
    MIX16 = 7  # the same in groups of 16


LANES = {Rule.MIX8: 8, Rule.MIX16: 16}


class Parameters(NamedTuple):
    """A stage as jitted code takes it. limit: channels below it round UP where the rule is MIX."""

    rule: int
    multiplier: np.ndarray
    shift: np.ndarray
    factor: np.ndarray
    limit: int
    zero_point: int
    qmin: int
    qmax: int


@dataclass(frozen=True, eq=False)
class Stage:
    """y = clip(round(acc * factor) + zero_point, qmin, qmax), rounded by `rule`.

    factor: float64 (float32 for XF), one value, or one for each channel (the last axis).
    qmin, qmax: the clamp in output steps, fused activation included.  dtype: of the output.
    """

    rule: Rule
    factor: np.ndarray
    zero_point: int
    qmin: int
    qmax: int
    dtype: np.dtype

    @staticmethod
    def of(
        rule: Rule, factor: ArrayLike, zero_point: int, clamp: tuple[int, int], q: IntRange
    ) -> Stage:
        """A stage with output type and range of `q`, clamped to `clamp`. Raises NotFinite."""
        kind = np.float32 if rule is Rule.XF else np.float64
        values = np.atleast_1d(np.asarray(factor, kind))
        if not np.isfinite(values).all():
            raise NotFinite("requantize: a factor is NaN or infinite; check the scales")
        return Stage(rule, values, int(zero_point), int(clamp[0]), int(clamp[1]), q.dtype)

    def __call__(self, acc: np.ndarray) -> np.ndarray:
        """int64 accumulators (..., C) -> outputs of the same shape, in `dtype`."""
        note("accumulator", acc, "E12")
        note("factor", self.factor, "E13")
        if self.rule is Rule.XF:
            out = fp.requantize_xnnpack(acc, self.factor, self.zero_point, self.qmin, self.qmax)
            self._note(out)
            return out.astype(self.dtype)
        if self.rule is Rule.F64:
            steps = fp.multiply_float64(acc, self.factor)
            # The C cast to int32 gives INT32_MIN for what does not fit, and adding z may wrap.
            steps = np.where(np.abs(steps) <= fp.INT32_MAX, steps, fp.INT32_MIN)
            steps = fp.wrap32(steps + self.zero_point) - self.zero_point
        else:
            multiplier, shift = fp.quantize_multiplier(self.factor)
            if self.rule in LANES:
                steps = fp.multiply_mixed(acc, multiplier, shift, LANES[self.rule])
            else:
                steps = _MULTIPLY[self.rule](acc, multiplier, shift)
        out = np.clip(steps + self.zero_point, self.qmin, self.qmax)
        self._note(out)
        return out.astype(self.dtype)

    def _note(self, out: np.ndarray) -> None:
        note("zero point", self.zero_point, "E1")
        note("clamp, lower end", self.qmin, "E29")
        note("clamp, upper end", self.qmax, "E29")

    def parameters(self, channels: int) -> Parameters:
        """For jitted code; factors repeated to `channels` (the length of the last axis)."""
        if self.rule in (Rule.XF, Rule.F64):
            multiplier = shift = np.zeros(1, np.int64)
        else:
            multiplier, shift = fp.quantize_multiplier(self.factor)
        if self.rule is Rule.M64:
            multiplier = fp.reduce_multiplier(multiplier)

        def full(values: np.ndarray, kind: Any) -> np.ndarray:
            return np.ascontiguousarray(np.broadcast_to(values.astype(kind), (channels,)))

        lanes = LANES.get(self.rule, 1)
        return Parameters(
            int(self.rule), full(multiplier, np.int64), full(shift, np.int64),
            full(self.factor, np.float64), channels // lanes * lanes,
            self.zero_point, self.qmin, self.qmax,
        )  # fmt: skip


_MULTIPLY = {
    Rule.DBL: fp.multiply_double,
    Rule.UP: fp.multiply_up,
    Rule.SGL: fp.multiply_single,
    Rule.M64: fp.multiply_int64,
}


@jit
def requantize(acc, c, p):
    """One accumulator (int64) of channel c -> the clamped output integer, by p: Parameters."""
    if p.rule == 5:
        return xf(acc, np.float32(p.factor[c]), p.zero_point, p.qmin, p.qmax)
    if p.rule == 3:
        steps = float64(acc, p.factor[c])
        steps = steps if abs(steps) <= INT32_MAX else INT32_MIN
        steps = wrap32(steps + p.zero_point) - p.zero_point
    elif p.rule == 4:
        steps = m64(acc, p.multiplier[c], p.shift[c])
    elif p.rule == 2:
        steps = single(acc, p.multiplier[c], p.shift[c])
    elif p.rule == 0 or (p.rule >= 6 and c >= p.limit):
        steps = dbl(acc, p.multiplier[c], p.shift[c])
    else:
        steps = up(acc, p.multiplier[c], p.shift[c])
    return clip(steps + p.zero_point, p.qmin, p.qmax)


@jit
def requantize_rows(acc, p, out):
    """`requantize` of every acc (R, C) into out (R, C), with the rule taken out of the loops, which
    then run as vectors."""
    rows, channels = acc.shape
    z, lo, hi = np.int64(p.zero_point), np.int64(p.qmin), np.int64(p.qmax)
    if p.rule == 5:
        factor = p.factor.astype(np.float32)
        for row in range(rows):
            for c in range(channels):
                out[row, c] = xf(np.int64(acc[row, c]), factor[c], z, lo, hi)
    elif p.rule == 2 or p.rule == 4:
        total = np.int64(31 if p.rule == 2 else 15) - p.shift
        nudge = np.int64(1) << (total - np.int64(1) & np.int64(63))
        for row in range(rows):
            for c in range(channels):
                product = np.int64(acc[row, c]) * p.multiplier[c]
                steps = (product + nudge[c]) >> (total[c] & np.int64(63))
                if p.rule == 4:
                    steps = np.int64(np.int32(steps))
                out[row, c] = min(max(steps + z, lo), hi)
    elif p.rule == 3:
        for row in range(rows):
            for c in range(channels):
                out[row, c] = requantize(np.int64(acc[row, c]), c, p)
    else:
        left, right = np.minimum(np.maximum(p.shift, 0), 32), np.maximum(-p.shift, 0)
        half = (np.int64(1) << right) >> np.int64(1)
        tilt = half.copy()  # ties of negative numbers: -1 sends them down, 0 lets them go up
        limit = p.limit if p.rule >= 6 else 0
        for c in range(channels):
            if p.rule != 1 and c >= limit:
                tilt[c] = -1 if right[c] > 0 else 0
                left[c] = np.maximum(p.shift[c], 0) & 31
            else:
                tilt[c] = 0
        for row in range(rows):
            for c in range(channels):
                x = np.int64(np.int32(np.int64(acc[row, c]) << left[c]))
                high = (x * p.multiplier[c] + np.int64(1 << 30)) >> np.int64(31)
                high = min(high, np.int64(INT32_MAX))
                steps = (high + half[c] + ((high >> np.int64(63)) & tilt[c])) >> right[c]
                out[row, c] = min(max(steps + z, lo), hi)
