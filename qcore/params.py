"""The small frozen values that pass between the stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from qcore.errors import BadStatistics


class TensorKey(NamedTuple):
    """A tensor of the model as it was loaded; both numbers are stable from `load` to `quantize`."""

    subgraph: int
    tensor: int


def _frozen(array: Any, dtype: Any) -> np.ndarray:
    """A read-only 1-D copy of `array`."""
    out = np.array(array, dtype=dtype, ndmin=1)
    out.setflags(write=False)
    return out


@dataclass(frozen=True, eq=False)
class Affine:
    """Parameters of the affine map real = scale * (q - zero_point) (E1), one pair for each group.

    scale: (G,) float32, real units a step.  zero_point: (G,) int64, in steps.
    axis: the quantized_dimension when G groups are the slices of an axis, None when per tensor.
    block: for blockwise parameters, how many values along `axis` share a group; 0 otherwise.
    """

    scale: np.ndarray
    zero_point: np.ndarray
    axis: int | None = None
    block: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", _frozen(self.scale, np.float32))
        object.__setattr__(self, "zero_point", _frozen(self.zero_point, np.int64))
        if self.scale.shape != self.zero_point.shape:
            raise ValueError(
                f"scale has {self.scale.size} groups and zero_point {self.zero_point.size}; "
                "give one zero point for each scale"
            )

    @classmethod
    def of(cls, scale: float, zero_point: int = 0) -> Affine:
        """Per-tensor parameters from two numbers."""
        return cls(np.array([scale]), np.array([zero_point]))

    @property
    def groups(self) -> int:
        return int(self.scale.size)

    def same(self, other: Affine | None) -> bool:
        """Whether both stand for the same map, scale compared bit for bit."""
        return (
            other is not None
            and self.axis == other.axis
            and self.block == other.block
            and np.array_equal(self.scale.view(np.uint32), other.scale.view(np.uint32))
            and np.array_equal(self.zero_point, other.zero_point)
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Affine) and self.same(other)

    def __hash__(self) -> int:
        return hash((self.scale.tobytes(), self.zero_point.tobytes(), self.axis, self.block))

    def along(self, ndim: int) -> tuple[np.ndarray, np.ndarray]:
        """scale and zero_point shaped to broadcast against an array of `ndim` dimensions."""
        if self.axis is None or ndim == 0:
            return self.scale.reshape(()), self.zero_point.reshape(())
        shape = [1] * ndim
        shape[self.axis] = self.groups
        return self.scale.reshape(shape), self.zero_point.reshape(shape)

    def to_json(self) -> dict[str, Any]:
        """Plain values; float32 scales survive because repr of a double is exact."""
        return {
            "scale": [float(s) for s in self.scale],
            "zero_point": [int(z) for z in self.zero_point],
            "axis": self.axis,
            "block": self.block,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Affine:
        return cls(data["scale"], data["zero_point"], data.get("axis"), data.get("block", 0))


@dataclass(frozen=True, eq=False)
class Distribution:
    """How the values of groups are distributed: counts[g, i] lie in [low[g, i], high[g, i]].

    low, high: (G, B) float64, real units, ascending along a row; one array, not two, where every
    value is known by itself.  counts: (G, B), 0 where a row is shorter than another.
    """

    low: np.ndarray
    high: np.ndarray
    counts: np.ndarray

    def __post_init__(self) -> None:
        for array in (self.low, self.high, self.counts):
            array.setflags(write=False)

    @classmethod
    def of(cls, groups: Sequence[np.ndarray]) -> Distribution:
        """Of groups whose values are all given; any sizes, any shapes."""
        size = max((np.size(values) for values in groups), default=0)
        low, counts = np.zeros((len(groups), size)), np.zeros((len(groups), size), np.int64)
        for row, known, values in zip(low, counts, groups, strict=True):
            row[: np.size(values)] = np.sort(np.asarray(values, np.float64), axis=None)
            row[np.size(values) :] = row[np.size(values) - 1] if np.size(values) else 0.0
            known[: np.size(values)] = 1
        return cls(low, low, counts)

    @property
    def exact(self) -> bool:
        """Whether every value is known by itself."""
        return self.low is self.high

    @cached_property
    def values(self) -> np.ndarray:
        """The middle of each interval, (G, B); the value itself where it is known."""
        return self.low if self.exact else (self.low + self.high) / 2

    @property
    def away(self) -> np.ndarray:
        """(G, B) bool: intervals that do not touch 0, whose values are surely not zeros."""
        return (self.low > 0) | (self.high < 0)

    def magnitudes(self) -> Distribution:
        """The distribution of |x|."""
        outer = np.maximum(np.abs(self.low), np.abs(self.high))
        order = np.argsort(outer, axis=1, kind="stable")
        high = np.take_along_axis(outer, order, 1)
        counts = np.take_along_axis(self.counts, order, 1)
        if self.exact:
            return Distribution(high, high, counts)
        inner = np.maximum(np.maximum(self.low, -self.high), 0.0)
        return Distribution(np.take_along_axis(inner, order, 1), high, counts)

    def take(self, groups: Any) -> Distribution:
        """That of some groups: an index, slice or list of them."""
        low = self.low[groups]
        return Distribution(low, low if self.exact else self.high[groups], self.counts[groups])


@dataclass(frozen=True, eq=False)
class Stats:
    """What is known of groups of values, and all that a scheme may see.

    lo, hi: (G,) float64, the range in real units.  count: values seen in each group.
    extra: what else is known: a Distribution, or what an observer left, such as its `Histogram`;
    `distribution` reads both.
    """

    lo: np.ndarray
    hi: np.ndarray
    count: int = 0
    extra: Any = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "lo", _frozen(self.lo, np.float64))
        object.__setattr__(self, "hi", _frozen(self.hi, np.float64))
        if self.lo.shape != self.hi.shape:
            raise ValueError(f"lo has {self.lo.size} groups and hi {self.hi.size}")

    @classmethod
    def of(cls, lo: float, hi: float) -> Stats:
        return cls(np.array([lo]), np.array([hi]))

    @property
    def groups(self) -> int:
        return int(self.lo.size)

    def distribution(self) -> Distribution:
        """How the values of each group are distributed, within [lo, hi].

        Raises BadStatistics where nothing but the range is known.
        """
        if isinstance(self.extra, Distribution):
            return self.extra
        made = getattr(self.extra, "distribution", None)
        if made is None:
            raise BadStatistics(
                "a histogram is needed and only the range is known; calibrate with the observer "
                "'histogram'"
            )
        found = made()
        ends = self.lo[:, None], self.hi[:, None]
        return Distribution(np.clip(found.low, *ends), np.clip(found.high, *ends), found.counts)

    def take(self, groups: Any) -> Stats:
        """Those of some groups: a slice or list of them."""
        extra = self.extra.take(groups) if isinstance(self.extra, Distribution) else self.extra
        return Stats(self.lo[groups], self.hi[groups], self.count, extra)

    def union(self, other: Stats) -> Stats:
        """The smallest range that holds both; counts add, histograms are joined.

        What else is known is dropped where one side does not have it.
        """
        extra = None
        if type(self.extra) is type(other.extra) and hasattr(self.extra, "union"):
            extra = self.extra.union(other.extra)
        lo, hi = np.minimum(self.lo, other.lo), np.maximum(self.hi, other.hi)
        return Stats(lo, hi, self.count + other.count, extra)

    def to_json(self) -> dict[str, Any]:
        """lo, hi and count; further statistics are their observer's to save."""
        return {"lo": self.lo.tolist(), "hi": self.hi.tolist(), "count": self.count}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Stats:
        return cls(data["lo"], data["hi"], data["count"])

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Stats)
            and np.array_equal(self.lo, other.lo)
            and np.array_equal(self.hi, other.hi)
            and self.count == other.count
        )
