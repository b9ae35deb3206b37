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
def _pair_sums(y, a, out):
    n = y.size
    for start in range(0, n, _PART):
        stop = min(start + _PART, n)
        noise = product = absolute = signal = 0.0
        largest = out[0, 3]
        differing = 0
        for i in range(start, stop):
            v = np.float64(y[i])
            e = np.float64(a[i]) - v
            m = abs(e)
            noise += e * e
            product += v * e
            absolute += m
            signal += v * v
            if m > largest:
                largest = m
            if e != 0.0:
                differing += 1
        out[0, 0] += noise
        out[0, 1] += product
        out[0, 2] += absolute
        out[0, 3] = largest
        out[0, 4] += differing
        out[0, 5] += signal


@jit
def _split_sums(y, a, b, out):
    n = y.size
    for start in range(0, n, _PART):
        stop = min(start + _PART, n)
        n0 = n1 = n2 = p0 = p1 = p2 = a0 = a1 = a2 = cross = signal = 0.0
        l0 = out[0, 3]
        l1 = out[1, 3]
        l2 = out[2, 3]
        d0 = d1 = d2 = 0
        for i in range(start, stop):
            v = np.float64(y[i])
            total = np.float64(a[i]) - v
            own = np.float64(b[i]) - v
            rest = np.float64(a[i]) - np.float64(b[i])
            n0 += total * total
            n1 += own * own
            n2 += rest * rest
            p0 += v * total
            p1 += v * own
            p2 += v * rest
            m0 = abs(total)
            m1 = abs(own)
            m2 = abs(rest)
            a0 += m0
            a1 += m1
            a2 += m2
            cross += own * rest
            signal += v * v
            if m0 > l0:
                l0 = m0
            if m1 > l1:
                l1 = m1
            if m2 > l2:
                l2 = m2
            if total != 0.0:
                d0 += 1
            if own != 0.0:
                d1 += 1
            if rest != 0.0:
                d2 += 1
        out[0, 0] += n0
        out[1, 0] += n1
        out[2, 0] += n2
        out[0, 1] += p0
        out[1, 1] += p1
        out[2, 1] += p2
        out[0, 2] += a0
        out[1, 2] += a1
        out[2, 2] += a2
        out[0, 3] = l0
        out[1, 3] = l1
        out[2, 3] = l2
        out[0, 4] += d0
        out[1, 4] += d1
        out[2, 4] += d2
        out[0, 5] += signal
        out[1, 5] += signal
        out[2, 5] += signal
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
