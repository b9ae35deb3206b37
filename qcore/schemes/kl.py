"""KL divergence: the ends at which the quantized histogram tells most of the original one.

Source of the idea: S. Migacz, "8-bit inference with TensorRT", GTC 2017 (entropy calibration).
What is computed here is E84, which says where it differs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from kernels.ranges import IntRange
from qcore.errors import BadRecipe
from qcore.params import Distribution, Stats
from qcore.schemes.clipping import Clipping, Ends, check_points, grid, search, whole


@dataclass(frozen=True)
class Kl(Clipping):
    """The ends, of those that the search of E79 tries, of least KL(P || Q) (E84).

    points: how many factors each sweep has.  bins: of the histogram that is made of values that
    are known one by one, or as many as there are values; one that was counted keeps its own.
    Ends whose step is finer than a bin are not tried: nothing is clipped in 16 bits, or in groups
    of few values.
    """

    key: ClassVar[str] = "kl"
    points: int = 100
    bins: int = 2048

    def __post_init__(self) -> None:
        super().__post_init__()
        check_points(self.key, self.points)
        if type(self.bins) is not int or not 2 <= self.bins <= 1 << 20:
            raise BadRecipe(f"kl has bins {self.bins!r}; give a whole number from 2 to 1048576")

    def ends(self, stats: Stats, q: IntRange) -> Ends:
        symmetric = bool(self.symmetric)
        found = stats.distribution()
        bins = Divergence(found.magnitudes() if symmetric else found, self.bins)

        def cost(lo: np.ndarray, hi: np.ndarray) -> np.ndarray:
            params = grid(lo, hi, q, symmetric)
            scale, zero_point = params.scale.astype(np.float64), params.zero_point
            if symmetric:
                return bins.of(0 * lo, hi, scale, zero_point, q.qmax)
            return bins.of(lo, hi, scale, zero_point - q.qmin, q.steps)

        return search(cost, *whole(stats, symmetric), self.points, symmetric)


class Divergence:
    """KL(P || Q) of E84 for one histogram of each group and any ends.

    counts: (G, B), of bin j the values in [first + j, first + j + 1) * width, zeros left out.
    Sums over bins are differences of running sums, so that ends cost a step each and not a bin.
    """

    def __init__(self, found: Distribution, bins: int) -> None:
        known = np.where(found.away, found.counts, 0)
        groups, used = len(known), known > 0
        lo = np.min(found.low, axis=1, where=used, initial=np.inf)
        hi = np.max(found.high, axis=1, where=used, initial=-np.inf)
        lo, hi = np.where(used.any(axis=1), (lo, hi), 0.0)
        width = (found.high - found.low).max(axis=1)
        if found.exact:
            width = (hi - lo) / np.clip(known.sum(axis=1), 1, bins)
        fraction, exponent = np.frexp(np.where(width > 0, width, 1.0))
        self.width = np.ldexp(1.0, np.where(fraction == 0.5, exponent - 1, exponent))
        self.first, last = np.floor(lo / self.width), np.floor(hi / self.width)
        self.size = size = int((last - self.first).max(initial=0)) + 1
        number = np.floor(found.values / self.width[:, None]) - self.first[:, None]
        number = np.clip(number, 0, size - 1).astype(np.int64)
        flat = (number + size * np.arange(groups)[:, None]).reshape(-1)
        counts = np.bincount(flat, known.reshape(-1), groups * size).reshape(groups, size)
        self.counts = counts
        self.values, self.places, self.logs = map(_running, (counts, counts > 0, _x_log_x(counts)))

    def of(
        self, lo: np.ndarray, hi: np.ndarray, scale: np.ndarray, zero: np.ndarray, most: int
    ) -> np.ndarray:
        """(G,), inf where a step is finer than a bin.

        zero: the integer of real 0, of the integers 0..most.
        """
        first, last = (
            np.clip(np.floor(end / self.width) - self.first, 0, self.size - 1).astype(np.int64)
            for end in (lo, hi)
        )
        at = np.arange(len(first))
        step = scale / self.width

        def code(number: np.ndarray) -> np.ndarray:
            found = np.floor((self.first + number + 0.5) / step + 0.5) + zero
            return np.clip(found, 0, most).astype(np.int64)

        # The bins of each integer: from its own first one to that of the next.
        tried = step >= 1
        lowest, highest = code(first), code(last)
        many = int((highest - lowest)[tried].max(initial=0)) + 1
        integers = lowest[:, None] + np.arange(many + 1)
        starts = (integers - zero[:, None] - 0.5) * step[:, None] - 0.5 - self.first[:, None]
        starts = np.clip(np.ceil(starts), first[:, None], last[:, None] + 1).astype(np.int64)
        starts[:, 0] = first
        starts = np.where(integers > highest[:, None], last[:, None] + 1, starts)

        row = at[:, None]
        q = np.diff(self.values[row, starts], axis=1)
        places = np.diff(self.places[row, starts], axis=1)
        p = q.copy()
        below, above = self.values[at, first], self.values[at, -1] - self.values[at, last + 1]
        top = np.minimum(highest - lowest, many - 1)
        logs = self.logs[at, last + 1] - self.logs[at, first]
        ends = ((first, np.zeros_like(top), below), (last, top, above))
        extra = np.where(first == last, below, 0.0)  # both tails meet in one bin
        for place, column, tail in ends:
            here = self.counts[at, place] + (extra if place is last else 0.0)
            logs += _x_log_x(here + tail) - _x_log_x(here)
            places[at, column] += (here == 0) & (tail > 0)
            p[at, column] += tail

        total, inside = self.values[at, -1], q.sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            spread = p * np.log(q / (places * inside[:, None]))
            spread = np.cumsum(np.where(p > 0, spread, 0.0), axis=1)[:, -1]
            found = (logs - spread) / total - np.log(total)
        return np.where(tried & np.isfinite(found), found, np.inf)


def _x_log_x(x: np.ndarray) -> np.ndarray:
    return x * np.log(np.maximum(x, 1.0))


def _running(x: np.ndarray) -> np.ndarray:
    """Sums of the first 0, 1, 2 ... of each row."""
    return np.cumsum(np.pad(x.astype(np.float64), ((0, 0), (1, 0))), axis=1)
