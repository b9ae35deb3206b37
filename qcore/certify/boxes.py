"""Boxes: for every element of a tensor the smallest and the largest value that it can have.

A box holds what the tensor holds (codes, or floats), so a kernel can be given either end. Ends of
different elements may belong to different inputs of the model: a box forgets how elements depend on
each other, which makes bounds wider and never wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kernels import ranges
from kernels.call import Tensor


@dataclass(frozen=True, eq=False)
class Box:
    """lo, hi: arrays of one shape and type, lo <= hi everywhere."""

    lo: np.ndarray
    hi: np.ndarray

    @staticmethod
    def of(value: np.ndarray) -> Box:
        """A tensor whose values are known."""
        return Box(value, value)

    @property
    def known(self) -> bool:
        """Whether there is only one value."""
        return self.lo is self.hi or bool((self.lo == self.hi).all())

    @property
    def shape(self) -> tuple[int, ...]:
        return self.lo.shape

    @property
    def finite(self) -> bool:
        return bool(np.isfinite(self.lo).all() and np.isfinite(self.hi).all())

    def steps(self, zero_point: int) -> tuple[np.ndarray, np.ndarray]:
        """Both ends less the zero point, int64."""
        return self.lo.astype(np.int64) - zero_point, self.hi.astype(np.int64) - zero_point

    def holds(self, value: np.ndarray) -> bool:
        """Whether every element of `value` lies inside."""
        return value.shape == self.shape and bool(((value >= self.lo) & (value <= self.hi)).all())

    def map(self, function: Callable[[np.ndarray], np.ndarray]) -> Box:
        """Both ends through a function that never decreases."""
        return Box(function(self.lo), function(self.hi))


def hull(*boxes: Box) -> Box:
    """The smallest box around boxes of one shape."""
    return Box(np.minimum.reduce([b.lo for b in boxes]), np.maximum.reduce([b.hi for b in boxes]))


def ends(t: Tensor) -> tuple[float, float] | None:
    """The smallest and largest value of a tensor's type; None for what is no number."""
    if t.dtype in ranges.NAMED and t.dtype not in ("int32", "int64"):
        return t.range.qmin, t.range.qmax
    if t.dtype == "bool":
        return 0, 1
    try:
        kind = t.held
    except TypeError:
        return None
    if kind.kind in "iu":
        info = np.iinfo(kind)
        return int(info.min), int(info.max)
    return (-math.inf, math.inf) if kind.kind == "f" else None


def whole(t: Tensor, shape: tuple[int, ...]) -> Box | None:
    """Everything that the type can hold; None for what is no number."""
    found = ends(t)
    if found is None:
        return None
    lo, hi = (np.full(shape, end).astype(t.held) for end in found)
    return Box(lo, hi)


class Extremes:
    """Smallest and largest entry of a table between two indices, for arrays of pairs of indices.

    Level k holds the extremes of 2^k entries from each place on; two levels overlap to any range.
    """

    def __init__(self, table: np.ndarray):
        self._least, self._most = [table], [table]
        while (1 << len(self._least)) <= table.size:
            half = 1 << (len(self._least) - 1)
            least, most = self._least[-1], self._most[-1]
            self._least.append(np.minimum(least[:-half], least[half:]))
            self._most.append(np.maximum(most[:-half], most[half:]))

    def __call__(self, first: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """first, last: indices, both included, first <= last."""
        shape, first, last = first.shape, first.reshape(-1), last.reshape(-1)
        level = np.frexp((last - first + 1).astype(np.float64))[1] - 1
        out = np.empty((2, first.size), self._least[0].dtype)
        for k in np.unique(level):
            at = np.flatnonzero(level == k)
            i, j = first[at], last[at] - (1 << int(k)) + 1
            out[0, at] = np.minimum(self._least[k][i], self._least[k][j])
            out[1, at] = np.maximum(self._most[k][i], self._most[k][j])
        return out[0].reshape(shape), out[1].reshape(shape)
