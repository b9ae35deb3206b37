"""Moving average of each sample's min and max, as LiteRT's quantizer keeps it.

    w_1 = u_1;   w_n = s * w_(n-1) + (1 - s) * u_n,   s = 0.95

in float32, the products rounded before the sum, u_n the sample's min (or max). Source:
litert-quantizer 0.11, utils/qsv_utils.py (`moving_average_update`; 1 - s is taken in float64 and
then rounded to float32, as NumPy does with a Python float).
"""

from __future__ import annotations

import base64
from array import array
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from qcore.errors import BadInput
from qcore.observers.base import Observer, State, group
from qcore.params import Stats

KEPT = 4096  # samples a state remembers one by one (8 bytes each)


def _fold(start: float | None, updates: np.ndarray, smoothing: float) -> float:
    """The average after `updates`, (n,) float32, begun at `start` (None: at the first update)."""
    old, new = np.float32(smoothing), np.float32(1.0 - smoothing)
    values = iter(updates)
    w = np.float32(next(values) if start is None else start)
    for u in values:
        w = old * w + new * u
    return float(w)


class MovingAverageState(State):
    """The averages as an ordered record of samples, so that merging is exact and associative.

    A merge means "these samples, then those". A float32 recurrence cannot be joined from two end
    results without rounding otherwise, so a state keeps the (min, max) of its last KEPT samples and
    folds older ones into `head`; memory stays bounded. Only a state that has folded nothing yet can
    be the right-hand side of a merge; any can be the left.
    """

    __slots__ = ("count", "folded", "head", "his", "los", "smoothing")

    def __init__(self, smoothing: float = 0.95):
        self.smoothing = smoothing
        self.head: tuple[float, float] | None = None
        self.folded = 0
        self.los, self.his = array("f"), array("f")
        self.count = 0

    def update(self, values: np.ndarray, lo: float, hi: float) -> None:
        self.append(lo, hi, values.size)

    def append(self, lo: float, hi: float, count: int) -> None:
        """One sample more: the extremes of all that the tensor held in it, of `count` values."""
        self.los.append(lo)
        self.his.append(hi)
        self.count += count
        self._bound()

    def _bound(self) -> None:
        extra = len(self.los) - KEPT
        if extra > 0:
            self.head = self._average(extra)
            self.folded += extra
            del self.los[:extra], self.his[:extra]

    def _average(self, first: int) -> tuple[float, float]:
        """Both averages after the head and the `first` remembered samples."""
        head = self.head or (None, None)
        los, his = (np.frombuffer(a, np.float32)[:first].copy() for a in (self.los, self.his))
        return _fold(head[0], los, self.smoothing), _fold(head[1], his, self.smoothing)

    def merge(self, other: MovingAverageState) -> MovingAverageState:
        if other.folded:
            raise BadInput(
                f"a moving average of {other.folded + len(other.los)} samples cannot be put after "
                f"another one, since only {KEPT} samples are remembered; calibrate on all samples "
                "in one run, or merge shorter runs"
            )
        if other.smoothing != self.smoothing:
            raise BadInput(
                f"moving averages with smoothing {self.smoothing} and {other.smoothing} do not "
                "merge; calibrate both with the same one"
            )
        out = type(self)(self.smoothing)
        out.head, out.folded = self.head, self.folded
        out.los, out.his = self.los + other.los, self.his + other.his
        out.count = self.count + other.count
        out._bound()
        return out

    def stats(self) -> Stats:
        lo, hi = self._average(len(self.los)) if self.count else (np.inf, -np.inf)
        return Stats(group(lo), group(hi), self.count)

    def to_json(self) -> dict[str, Any]:
        stats = self.stats()
        return {
            "lo": float(stats.lo[0]),
            "hi": float(stats.hi[0]),
            "count": self.count,
            "smoothing": self.smoothing,
            "head": list(self.head) if self.head else None,
            "folded": self.folded,
            # float32, little-endian: (samples, 2) of min and max
            "samples": base64.b64encode(
                np.stack([np.asarray(self.los), np.asarray(self.his)], 1).astype("<f4").tobytes()
            ).decode(),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> MovingAverageState:
        out = cls(float(data["smoothing"]))
        if not 0 < out.smoothing < 1:
            raise ValueError(f"smoothing is {out.smoothing}")
        if data["head"] is not None:
            low, high = data["head"]
            out.head = float(low), float(high)
        out.folded, out.count = int(data["folded"]), int(data["count"])
        pairs = np.frombuffer(base64.b64decode(data["samples"]), "<f4").reshape(-1, 2)
        out.los, out.his = array("f", pairs[:, 0].tolist()), array("f", pairs[:, 1].tolist())
        if (out.folded > 0) != (out.head is not None) or (
            out.count and not out.folded + len(out.los)
        ):
            raise ValueError(f"it counts {out.count} values and lacks their samples")
        return out


@dataclass(frozen=True)
class MovingAverage(Observer):
    """smoothing: the weight of the past, in (0, 1). The order of the samples matters."""

    smoothing: float = 0.95

    key: ClassVar[str] = "moving_average"
    state: ClassVar[type[State]] = MovingAverageState
    ordered: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 < self.smoothing < 1:
            raise BadInput(f"smoothing is {self.smoothing}; it must be between 0 and 1")

    def start(self) -> MovingAverageState:
        return MovingAverageState(self.smoothing)
