"""MSE: the ends of least mean squared error, by a search over clipping ranges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from kernels.ranges import IntRange
from qcore.params import Affine, Distribution, Stats
from qcore.schemes.clipping import Clipping, Ends, check_points, grid, search, whole


@dataclass(frozen=True)
class Mse(Clipping):
    """The ends, of those that the search of E79 tries, whose mean squared error (E80) is least.

    points: how many factors each sweep has. The error is that of the grid as it will be stored.
    """

    key: ClassVar[str] = "mse"
    points: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        check_points(self.key, self.points)

    def ends(self, stats: Stats, q: IntRange) -> Ends:
        error, symmetric = SquaredError(stats.distribution()), bool(self.symmetric)

        def cost(lo: np.ndarray, hi: np.ndarray) -> np.ndarray:
            return error.of(grid(lo, hi, q, symmetric), q)

        return search(cost, *whole(stats, symmetric), self.points, symmetric)


class SquaredError:
    """Mean of (x - s (q - z))^2 in each group, the values of an interval spread evenly over it:
    E80."""

    def __init__(self, found: Distribution) -> None:
        self.found = found
        self.total = np.maximum(found.counts.sum(axis=1), 1)
        self.once = bool((found.counts == 1).all())
        self.counts = found.counts.astype(np.float64) if not self.once else found.counts
        self.room = tuple(np.empty(found.low.shape) for _ in range(2 if found.exact else 4))

    def of(self, params: Affine, q: IntRange) -> np.ndarray:
        """(G,) float64, real units squared."""
        scale = params.scale.astype(np.float64)[:, None]
        least, most = (end - params.zero_point[:, None] for end in (q.qmin, q.qmax))

        def rounded(x: np.ndarray, x_room: np.ndarray, room: np.ndarray) -> None:
            """x in steps, and the integer that it becomes, less z."""
            np.divide(x, scale, out=x_room)
            np.rint(x_room, out=room)
            np.maximum(room, least, out=room)
            np.minimum(room, most, out=room)

        above, n, *more = self.room
        rounded(self.found.high, above, n)
        if self.found.exact:
            error = np.subtract(above, n, out=above)
            squared = np.multiply(error, error, out=n)
        else:
            below, m = more
            rounded(self.found.low, below, m)
            squared = _even(below, m, above, n)
        if not self.once:
            np.multiply(squared, self.counts, out=squared)
        return scale[:, 0] ** 2 * squared.sum(axis=1) / self.total


def _even(below: np.ndarray, m: np.ndarray, above: np.ndarray, n: np.ndarray) -> np.ndarray:
    """The mean squared error over [below, above], in steps, whose ends become m and n."""
    width, error, other = above - below, above - n, below - m
    wide = width > 0
    area = (n - m) / 12 + (error**3 - other**3) / 3
    return np.where(wide, area / np.where(wide, width, 1.0), error * error)
