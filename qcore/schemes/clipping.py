"""What schemes that keep only a part of the range share: their fields, their grid, the search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from kernels.ranges import IntRange
from kernels.rounding import half_away
from kernels.scales import SMALL_RANGE
from qcore.errors import BadRecipe, BadStatistics
from qcore.params import Affine, Stats
from qcore.schemes.base import Scheme

SMALLEST = float(np.finfo(np.float32).tiny)
LARGEST = float(np.finfo(np.float32).max)

Ends = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Clipping(Scheme):
    """Base of schemes that choose the ends of the range to keep: write `ends`.

    symmetric: zero point 0, and the same end on both sides; None: for weights and 16 bits, whose
    kernels know no zero point.  narrow: leave out the lowest integer; None: where symmetric.
    """

    symmetric: bool | None = field(default=None, kw_only=True)  # type: ignore[misc]
    narrow: bool | None = field(default=None, kw_only=True)  # type: ignore[misc]

    family: ClassVar[str] = "scheme"  # a base, which no recipe names
    needs: ClassVar[str] = "histogram"

    def __post_init__(self) -> None:
        for name in ("symmetric", "narrow"):
            if getattr(self, name) not in (None, True, False):
                raise BadRecipe(
                    f"{self.key} has {name} {getattr(self, name)!r}; give true or false"
                )

    def placed(self, role: str, dtype: str | None) -> Scheme:
        if self.symmetric is not None:
            return self
        return replace(self, symmetric=role == "weight" or dtype == "int16")

    def choose(self, stats: Stats, q: IntRange) -> Affine:
        if not (np.isfinite(stats.lo) & np.isfinite(stats.hi) & (stats.lo <= stats.hi)).all():
            raise BadStatistics(f"scheme {self.key!r} was given an empty or not finite range")
        return grid(*self.ends(stats, q), q, bool(self.symmetric))

    def ends(self, stats: Stats, q: IntRange) -> Ends:
        """lo and hi of what to keep, (G,) each, real units; -c and c where symmetric."""
        raise NotImplementedError


def grid(lo: np.ndarray, hi: np.ndarray, q: IntRange, symmetric: bool = False) -> Affine:
    """The grid that spans [lo, hi] and 0, (G,) each: E77."""
    lo, hi = np.minimum(lo, 0.0), np.maximum(hi, 0.0)
    if symmetric:
        step = hi / q.qmax
        if q.qmin < 0:
            step = np.maximum(step, lo / q.qmin)
    else:
        step = (hi - lo) / q.steps
    step = np.where(step == 0, SMALL_RANGE / q.steps, step)
    scale = np.clip(step, SMALLEST, LARGEST).astype(np.float32)
    if symmetric:
        return Affine(scale, np.zeros(scale.shape, np.int64))
    zero_point = half_away(q.qmin - lo / scale.astype(np.float64))
    return Affine(scale, np.clip(zero_point, q.qmin, q.qmax))


def whole(stats: Stats, symmetric: bool | None) -> Ends:
    """Ends that keep everything, 0 included."""
    lo, hi = np.minimum(stats.lo, 0.0), np.maximum(stats.hi, 0.0)
    if symmetric:
        hi = np.maximum(hi, -lo)
        lo = -hi
    return lo, hi


def search(
    cost: Callable[[np.ndarray, np.ndarray], np.ndarray],
    lo: np.ndarray,
    hi: np.ndarray,
    points: int,
    symmetric: bool,
) -> Ends:
    """Ends of least cost, for each group: E79.

    cost: (lo, hi) -> (G,).  Both ends shrink by the factors 1, (points - 1) / points, ...,
    1 / points; then, unless symmetric, the upper one alone and the lower one alone. Of equal cost
    the widest.
    """
    least = cost(lo, hi)
    both = (lo < 0) & (hi > 0)  # else one end is 0, and to move the other alone is to move both

    def sweep(low: bool, high: bool, which: np.ndarray) -> None:
        nonlocal lo, hi, least
        first = lo, hi
        for k in range(points - 1, 0, -1):
            factor = k / points
            ends = first[0] * factor if low else first[0], first[1] * factor if high else first[1]
            found = cost(*ends)
            better = which & (found < least)
            least = np.where(better, found, least)
            lo, hi = np.where(better, ends[0], lo), np.where(better, ends[1], hi)

    sweep(True, True, np.ones_like(both))
    if not symmetric and both.any():
        sweep(False, True, both)
        sweep(True, False, both)
    return lo, hi


def check_points(key: str, points: int) -> None:
    if type(points) is not int or not 1 <= points <= 10_000:
        raise BadRecipe(f"{key} has points {points!r}; give a whole number from 1 to 10000")
