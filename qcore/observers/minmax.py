"""Min-max: the exact range of every value that the tensor's producer wrote, over all samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from qcore.observers.base import Observer, State, group
from qcore.params import Stats


class MinMaxState(State):
    """lo, hi: smallest and largest value.  count: values seen."""

    __slots__ = ("count", "hi", "lo")

    def __init__(self, lo: float = np.inf, hi: float = -np.inf, count: int = 0):
        self.lo, self.hi, self.count = lo, hi, count

    def update(self, values: np.ndarray, lo: float, hi: float) -> None:
        self.lo, self.hi = min(self.lo, lo), max(self.hi, hi)
        self.count += values.size

    def merge(self, other: MinMaxState) -> MinMaxState:
        return type(self)(min(self.lo, other.lo), max(self.hi, other.hi), self.count + other.count)

    def stats(self) -> Stats:
        return Stats(group(self.lo), group(self.hi), self.count)

    def to_json(self) -> dict[str, Any]:
        return {"lo": float(self.lo), "hi": float(self.hi), "count": int(self.count)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> MinMaxState:
        return cls(float(data["lo"]), float(data["hi"]), int(data["count"]))


@dataclass(frozen=True)
class MinMax(Observer):
    """The default: lo = min, hi = max of all values. Exact; order-free; no tuning constant."""

    key: ClassVar[str] = "minmax"
    state: ClassVar[type[State]] = MinMaxState
