"""The sums behind a layer's errors, one pass over each tensor, compiled."""

from __future__ import annotations

import math

import numpy as np

from kernels.jit import jit
from qcore.metrics import Difference

_PART = 4096  # sums of parts are added up, so that rounding grows with their number only


class Split:
    """Total, own and inherited error of one tensor, summed over samples (see `values`).

    cross: sum of own times inherited.
    """

    def __init__(self) -> None:
        self.total = self.own = self.inherited = Difference()
        self.cross = 0.0

    def add(self, y: np.ndarray, candidate: np.ndarray, alone: np.ndarray | None) -> None:
        """One sample: real values of one shape; alone: what the operator makes of float tensors."""
        y, candidate = _flat(y), _flat(candidate)
        if alone is None:
            sums = np.zeros((1, 6))
            _pair_sums(y, candidate, sums)
            if not np.isfinite(sums).all():
                self.total += Difference.of(y, candidate)
                return
            self.total += _difference(y.size, sums[0])
            return
        alone = _flat(alone)
        sums = np.zeros((4, 6))
        _split_sums(y, candidate, alone, sums)
        if not np.isfinite(sums).all():
            self.total += Difference.of(y, candidate)
            self.own += Difference.of(y, alone)
            self.inherited += Difference.of(alone, candidate)
            self.cross = math.nan
            return
        self.total += _difference(y.size, sums[0])
        self.own += _difference(y.size, sums[1])
        self.inherited += _difference(y.size, sums[2])
        self.cross += float(sums[3, 0])


def _flat(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x).reshape(-1).astype(np.float32, copy=False)


def _difference(count: int, row: np.ndarray) -> Difference:
    """From sum e^2, sum y e, sum |e|, max |e|, count e != 0, sum y^2, where x_hat = y + e."""
    noise, product, absolute, largest, differing, signal = (float(v) for v in row)
    return Difference(
        count=count,
        signal=signal,
        noise=noise,
        dot=signal + product,
        other=max(signal + 2 * product + noise, 0.0),
        absolute=absolute,
        largest=largest,
        differing=int(differing),
    )


@jit
def _tally(sums, v, e):
    """noise, product, absolute, largest and differing (see `_difference`) with one value more."""
    noise, product, absolute, largest, differing = sums
    m = abs(e)
    return (
        noise + e * e,
        product + v * e,
        absolute + m,
        m if m > largest else largest,
        differing + 1 if e != 0.0 else differing,
    )


@jit
def _store(sums, signal, row):
    """A part's sums into those of the whole."""
    noise, product, absolute, largest, differing = sums
    row[0] += noise
    row[1] += product
    row[2] += absolute
    row[3] = largest
    row[4] += differing
    row[5] += signal


@jit
def _pair_sums(y, a, out):
    n = y.size
    for start in range(0, n, _PART):
        total = (0.0, 0.0, 0.0, out[0, 3], 0)
        signal = 0.0
        for i in range(start, min(start + _PART, n)):
            v = np.float64(y[i])
            total = _tally(total, v, np.float64(a[i]) - v)
            signal += v * v
        _store(total, signal, out[0])


@jit
def _split_sums(y, a, b, out):
    n = y.size
    for start in range(0, n, _PART):
        total = (0.0, 0.0, 0.0, out[0, 3], 0)
        own = (0.0, 0.0, 0.0, out[1, 3], 0)
        rest = (0.0, 0.0, 0.0, out[2, 3], 0)
        cross = signal = 0.0
        for i in range(start, min(start + _PART, n)):
            v = np.float64(y[i])
            by_own = np.float64(b[i]) - v
            inherited = np.float64(a[i]) - np.float64(b[i])
            total = _tally(total, v, np.float64(a[i]) - v)
            own = _tally(own, v, by_own)
            rest = _tally(rest, v, inherited)
            cross += by_own * inherited
            signal += v * v
        _store(total, signal, out[0])
        _store(own, signal, out[1])
        _store(rest, signal, out[2])
        out[3, 0] += cross


class Codes:
    """What a quantized tensor's integers were, over all samples.

    counts: of each integer of the range.  clipped: at an end of the range, while the float value
    lies more than half a step beyond.  low, high: by channel (last axis), extremes of the codes,
    and of the float values in `float_low`, `float_high`.  values: how many.
    """

    def __init__(self, qmin: int, qmax: int, channels: int) -> None:
        self.qmin, self.qmax = qmin, qmax
        self.counts = np.zeros(qmax - qmin + 1, np.int64)
        self.clipped = self.values = 0
        self.low = np.full(channels, np.iinfo(np.int32).max, np.int32)
        self.high = np.full(channels, np.iinfo(np.int32).min, np.int32)
        self.float_low = np.full(channels, np.inf, np.float32)
        self.float_high = np.full(channels, -np.inf, np.float32)

    def add(self, codes: np.ndarray, y: np.ndarray, low: float, high: float) -> None:
        """One sample: codes as stored, float values.  low, high: half a step beyond the range."""
        channels = self.low.size
        flat = np.ascontiguousarray(codes).reshape(-1, channels)
        self.values += flat.size
        self.clipped += int(
            _count(flat, _flat(y).reshape(-1, channels), np.float32(low), np.float32(high),
                   self.qmin, self.qmax, self.counts, self.low, self.high, self.float_low,
                   self.float_high)
        )  # fmt: skip

    @property
    def used(self) -> float:
        """Share of the range's integers that occurred."""
        return float(np.count_nonzero(self.counts)) / self.counts.size

    def dead(self, step: float) -> tuple[int, int]:
        """Channels whose code never changed: where the float values change by more than a step (in
        real units), and where not."""
        still = self.low == self.high
        moves = self.float_high.astype(np.float64) - self.float_low > step
        return int(np.count_nonzero(still & moves)), int(np.count_nonzero(still & ~moves))


@jit
def _count(q, y, low, high, qmin, qmax, counts, first, last, float_first, float_last):
    clipped = 0
    for i in range(q.shape[0]):
        for c in range(q.shape[1]):
            code = np.int32(q[i, c])
            v = y[i, c]
            counts[code - qmin] += 1
            if (code == qmin and v < low) or (code == qmax and v > high):
                clipped += 1
            first[c] = min(first[c], code)
            last[c] = max(last[c], code)
            if v < float_first[c]:
                float_first[c] = v
            if v > float_last[c]:
                float_last[c] = v
    return clipped
