"""Histogram whose bins are dyadic intervals, so that it grows and merges without losing a count.

Bin k at exponent e holds the values x with k * 2**e <= x < (k + 1) * 2**e. Going from e to e + 1
joins the bins k = 2j and 2j + 1 into j, whole bins into whole bins, so a histogram of all data made
at once and one grown step by step or merged from parts are the same integers. The exponent is a
function of the data's extremes alone (`exponent_for`), and does not fall when the range grows;
therefore merging is associative, commutative, and equal to one pass.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from qcore.errors import BadInput
from qcore.observers.base import Observer, State, group
from qcore.params import Distribution, Stats

BITS = 24  # float32 significand: no bin is finer than the step at the largest magnitude
FINEST = -149 - BITS  # exponent of an all-zero tensor
BLOCK = 1 << 15  # the working arrays of a block stay in the second-level cache


def bin_of(x: float, exponent: int) -> int:
    """The bin of x, exactly."""
    return math.floor(math.ldexp(x, -exponent))


def exponent_for(lo: float, hi: float, bins: int) -> int:
    """The smallest exponent at which [lo, hi] spans at most `bins` bins, and not below the limit
    of float32's resolution at the larger of |lo|, |hi|. Grows with the interval."""
    largest = max(abs(lo), abs(hi))
    if largest == 0:
        return FINEST
    exponent = max(FINEST, math.frexp(largest)[1] - BITS)
    if hi > lo:
        exponent = max(exponent, math.frexp(hi - lo)[1] - bins.bit_length() - 1)
    while bin_of(hi, exponent) - bin_of(lo, exponent) >= bins:
        exponent += 1
    return exponent


@dataclass(frozen=True, eq=False)
class Histogram:
    """counts[i] values lie in [first + i, first + i + 1) * 2**exponent.

    counts: (B,) int64, the first and last not zero; edges: (B + 1,) float64, exact.
    bins: how many there may be at most when it is joined with another.
    """

    exponent: int
    first: int
    counts: np.ndarray
    bins: int = 2048

    @property
    def width(self) -> float:
        return math.ldexp(1.0, self.exponent)

    @property
    def edges(self) -> np.ndarray:
        numbers = np.arange(self.first, self.first + self.counts.size + 1, dtype=np.float64)
        return np.ldexp(numbers, self.exponent)

    def coarser(self, exponent: int) -> Histogram:
        """The same counts in bins of 2**exponent; exponent >= self.exponent."""
        steps = exponent - self.exponent
        if steps == 0:
            return self
        # Bin numbers stay below 2**25 in magnitude: shifting by more than 62 changes nothing.
        numbers = np.arange(self.first, self.first + self.counts.size) >> min(steps, 62)
        first = int(numbers[0])
        counts = np.zeros(int(numbers[-1]) - first + 1, np.int64)
        np.add.at(counts, numbers - first, self.counts)
        return Histogram(exponent, first, counts, self.bins)

    def add(self, other: Histogram) -> Histogram:
        """Both counts in one histogram; both at the same exponent."""
        first = min(self.first, other.first)
        last = max(self.first + self.counts.size, other.first + other.counts.size)
        counts = np.zeros(last - first, np.int64)
        for part in (self, other):
            counts[part.first - first : part.first - first + part.counts.size] += part.counts
        return Histogram(self.exponent, first, counts, self.bins)

    def union(self, other: Histogram) -> Histogram:
        """The histogram that an observer of both makes, of at most the larger `bins`."""
        exponent, bins = max(self.exponent, other.exponent), max(self.bins, other.bins)
        parts = [part.coarser(exponent) for part in (self, other)]
        while True:
            found = parts[0].add(parts[1])
            if found.counts.size <= bins:
                return replace(found, bins=bins)
            exponent += 1
            parts = [part.coarser(exponent) for part in parts]

    def distribution(self) -> Distribution:
        """The one group that it is."""
        edges = self.edges[None]
        return Distribution(edges[:, :-1], edges[:, 1:], self.counts[None])


def count_values(values: np.ndarray, lo: float, hi: float, exponent: int) -> Histogram:
    """Histogram of `values`, (N,) float32 in [lo, hi], which touches both ends.

    x * 2**-exponent is exact in float32 unless it leaves the normal range; then float64 is used.
    """
    first, last = bin_of(lo, exponent), bin_of(hi, exponent)
    counts = np.zeros(last - first + 1, np.int64)
    dtype = np.float32 if -126 <= exponent <= 0 else np.float64
    factor = dtype(math.ldexp(1.0, -exponent))
    scaled = np.empty(min(values.size, BLOCK), dtype)
    number = np.empty(scaled.size, np.int64)
    for start in range(0, values.size, BLOCK):
        block = values[start : start + BLOCK]
        x, k = scaled[: block.size], number[: block.size]
        np.multiply(block, factor, out=x)
        np.floor(x, out=x)
        np.subtract(x, first, out=k, casting="unsafe")
        counts += np.bincount(k, minlength=counts.size)
    return Histogram(exponent, first, counts)


class HistogramState(State):
    """lo, hi, count as in min-max, and the Histogram of all values in at most `bins` bins."""

    __slots__ = ("bins", "count", "hi", "histogram", "lo")

    def __init__(self, bins: int = 2048):
        self.bins = bins
        self.lo, self.hi, self.count = np.inf, -np.inf, 0
        self.histogram: Histogram | None = None

    def update(self, values: np.ndarray, lo: float, hi: float) -> None:
        low, high = min(self.lo, lo), max(self.hi, hi)
        exponent = exponent_for(low, high, self.bins)
        new = count_values(values, lo, hi, exponent)
        self.histogram = (
            new if self.histogram is None else self.histogram.coarser(exponent).add(new)
        )
        self.lo, self.hi = low, high
        self.count += values.size

    def merge(self, other: HistogramState) -> HistogramState:
        if other.bins != self.bins:
            raise BadInput(
                f"histograms of {self.bins} and {other.bins} bins do not merge; "
                "calibrate both with the same number"
            )
        out = type(self)(self.bins)
        out.lo, out.hi = min(self.lo, other.lo), max(self.hi, other.hi)
        out.count = self.count + other.count
        parts = [s.histogram for s in (self, other) if s.histogram is not None]
        if parts:
            exponent = exponent_for(out.lo, out.hi, self.bins)
            parts = [p.coarser(exponent) for p in parts]
            out.histogram = parts[0] if len(parts) == 1 else parts[0].add(parts[1])
        return out

    def stats(self) -> Stats:
        made = None if self.histogram is None else replace(self.histogram, bins=self.bins)
        return Stats(group(self.lo), group(self.hi), self.count, made)

    def to_json(self) -> dict[str, Any]:
        out: dict[str, Any] = {
            "lo": float(self.lo), "hi": float(self.hi), "count": self.count, "bins": self.bins,
        }  # fmt: skip
        if self.histogram is not None:
            out |= {
                "exponent": self.histogram.exponent,
                "first": self.histogram.first,
                "counts": self.histogram.counts.tolist(),
            }
        return out

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> HistogramState:
        out = cls(int(data["bins"]))
        if not 1 <= out.bins <= 1 << 30:
            raise ValueError(f"a histogram of {out.bins} bins cannot be")
        out.lo, out.hi, out.count = float(data["lo"]), float(data["hi"]), int(data["count"])
        if "counts" in data:
            out.histogram = Histogram(
                int(data["exponent"]), int(data["first"]), np.array(data["counts"], np.int64)
            )
            out._check(out.histogram)
        return out

    def _check(self, made: Histogram) -> None:
        """Raises ValueError for bins that are not those of this range."""
        counts = made.counts
        if not -math.inf < self.lo <= self.hi < math.inf or abs(made.exponent) > 1100:
            raise ValueError(f"a histogram from {self.lo} to {self.hi} cannot be")
        first, last = bin_of(self.lo, made.exponent), bin_of(self.hi, made.exponent)
        if made.first != first or counts.shape != (last - first + 1,):
            raise ValueError("the bins of the histogram are not those of lo and hi")
        if counts.min() < 0:
            raise ValueError("a count of the histogram is below zero")


@dataclass(frozen=True)
class HistogramObserver(Observer):
    """Min-max and, in `Stats.extra`, a `Histogram` of at most `bins` bins. Order-free."""

    bins: int = 2048

    key: ClassVar[str] = "histogram"
    state: ClassVar[type[State]] = HistogramState
    histograms: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.bins < 2:
            raise BadInput(f"bins is {self.bins}; a histogram needs at least 2")

    def start(self) -> HistogramState:
        return HistogramState(self.bins)
