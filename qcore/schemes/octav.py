"""OCTAV: the ends of least mean squared error by Newton's iteration.

Source: C. Sakr, S. Dai, R. Venkatesan, B. Zimmer, W. Dally, B. Khailany, "Optimal clipping and
magnitude-aware differentiation for improved quantization-aware training", ICML 2022 (arXiv
2206.06501), algorithm 1. Two ends that differ: E82.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from kernels.ranges import IntRange
from qcore.params import Stats
from qcore.schemes.clipping import Clipping, Ends, whole

MOST = 50  # iterations; what comes to rest does so after ten or twenty


@dataclass(frozen=True)
class Octav(Clipping):
    """The fixed point of E82: rounding inside and clipping outside are in balance.

    Where the iteration ends up going to and fro across one value, it is left after 50 steps.
    """

    key: ClassVar[str] = "octav"

    def ends(self, stats: Stats, q: IntRange) -> Ends:
        found = stats.distribution()
        # Zeros cost nothing.
        x, counts = found.values, np.where(found.away, found.counts, 0)
        if self.symmetric:
            noise, x = 1 / (12 * q.qmax**2), np.abs(x)
        else:
            noise = 1 / (12 * q.steps**2)
        above, below = np.where(x > 0, counts, 0), np.where(x < 0, counts, 0)
        hi = (above * x).sum(axis=1) / np.maximum(above.sum(axis=1), 1)
        lo = (below * x).sum(axis=1) / np.maximum(below.sum(axis=1), 1)
        total = counts.sum(axis=1)
        for _ in range(MOST):
            over, under = np.where(x > hi[:, None], above, 0), np.where(x < lo[:, None], below, 0)
            many, few = over.sum(axis=1), under.sum(axis=1)
            inside = noise * (total - many - few)
            new_hi = _end((over * x).sum(axis=1) + inside * lo, inside + many, hi, many)
            new_lo = _end((under * x).sum(axis=1) + inside * hi, inside + few, lo, few)
            before, hi, lo = (hi, lo), np.maximum(new_hi, 0.0), np.minimum(new_lo, 0.0)
            if np.array_equal(before, (hi, lo)):
                break
        if self.symmetric:
            lo = -hi
        low, high = whole(stats, self.symmetric)
        keep = total == 0  # nothing is known but that all lies about 0
        return np.where(keep, low, lo), np.where(keep, high, hi)


def _end(total: np.ndarray, weight: np.ndarray, old: np.ndarray, beyond: np.ndarray) -> np.ndarray:
    """total / weight; the old end where no value lies beyond it."""
    return np.where(beyond > 0, total / np.where(beyond > 0, weight, 1.0), old)
