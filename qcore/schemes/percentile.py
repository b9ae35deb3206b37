"""Percentile: a share of the values is kept on either side, however far the others lie."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import numpy as np

from kernels.ranges import IntRange
from qcore.errors import BadRecipe
from qcore.params import Stats
from qcore.schemes.clipping import Clipping, Ends, whole


@dataclass(frozen=True)
class Percentile(Clipping):
    """At most 100 - share percent of the values lie beyond each end; symmetric: beyond both (E78).

    share: percent, above 50 and up to 100, read as a decimal: 99.9 of 1000 values leaves out 1.
    Where both ends would be 0 in a group that is not, its whole range is kept.
    """

    key: ClassVar[str] = "percentile"
    share: float = 99.99

    def __post_init__(self) -> None:
        super().__post_init__()
        if type(self.share) not in (int, float) or not 50 < self.share <= 100:
            raise BadRecipe(f"percentile has the share {self.share!r}; give percent in (50, 100]")

    def ends(self, stats: Stats, q: IntRange) -> Ends:
        found = stats.distribution()
        if self.symmetric:
            found = found.magnitudes()
        beyond = self._beyond(found.counts.sum(axis=1))[:, None]
        rows = np.arange(stats.groups)
        last = (np.cumsum(found.counts[:, ::-1], axis=1)[:, ::-1] > beyond).sum(axis=1) - 1
        hi = found.high[rows, last]
        if self.symmetric:
            lo = -hi
        else:
            first = (np.cumsum(found.counts, axis=1) <= beyond).sum(axis=1)
            lo = found.low[rows, first]
        lo, hi = np.minimum(lo, 0.0), np.maximum(hi, 0.0)
        nothing = (lo == 0) & (hi == 0)
        low, high = whole(stats, self.symmetric)
        return np.where(nothing, low, lo), np.where(nothing, high, hi)

    def _beyond(self, totals: np.ndarray) -> np.ndarray:
        """How many of each group's values may lie beyond an end: exact, a decimal has no error."""
        left_out = 1 - Fraction(str(self.share)) / 100
        known, place = np.unique(totals, return_inverse=True)
        return np.array([int(int(n) * left_out) for n in known], np.int64)[place.reshape(-1)]
