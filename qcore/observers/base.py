"""What every observer is: a frozen description, and the state it keeps of one tensor.

Data flows one way: values of one tensor in one sample -> `State.update`; states of parts of the
data -> `State.merge`; a state -> `Stats`, which is all that a scheme sees. `merge` is associative
for every observer, and merging the states of consecutive parts gives exactly (==) the state of one
pass over all of them, so the result depends neither on how samples were dealt out to workers nor on
the order in which partial results are put together (left to right must be kept where `ordered`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from qcore.params import Stats
from qcore.plugs import Plug

BLOCK = 1 << 17  # float32 values, 512 kB: the second reduction finds its block in the cache


def extremes(values: np.ndarray) -> tuple[float, float]:
    """Smallest and largest of `values`, (N,) float32; NaN if one is NaN; (inf, -inf) if empty.

    One pass over memory: two reductions block by block (28 GB/s measured, a copy takes as long).
    -0.0 is reported as 0.0, so that the result does not depend on the order of the values.
    """
    lo, hi = np.inf, -np.inf
    for start in range(0, values.size, BLOCK):
        block = values[start : start + BLOCK]
        low, high = float(np.minimum.reduce(block)), float(np.maximum.reduce(block))
        if low != low:
            return low, low
        lo, hi = min(lo, low), max(hi, high)
    return lo + 0.0, hi + 0.0


def group(value: float) -> np.ndarray:
    """A number as Stats hold it: (1,) float64."""
    return np.array([value], np.float64)


class State:
    """What an observer knows of one tensor so far. `update` changes it, nothing else does."""

    __slots__ = ()

    def update(self, values: np.ndarray, lo: float, hi: float) -> None:
        """Take in the values of one sample: (N,) float32, finite, N > 0, lo and hi their extremes.

        `values` is a view of the runtime's memory and is gone when this returns.
        """
        raise NotImplementedError

    def append(self, lo: float, hi: float, count: int) -> None:
        """Take in the extremes of all that the tensor held in a sample; where `ordered` only."""
        raise NotImplementedError

    def merge(self, other: Any) -> Any:
        """A new state: this one's data followed by the other's."""
        raise NotImplementedError

    def stats(self) -> Stats:
        """One group (G = 1)."""
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        """Plain values from which `from_json` makes an equal state; floats by repr, so exact."""
        raise NotImplementedError

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Any:
        raise NotImplementedError

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.to_json() == self.to_json()


@dataclass(frozen=True)
class Observer(Plug):
    """Base of observers. A subclass sets `key` and `state`, and overrides `start` if it has fields.

    ordered: the result depends on the order of the samples (never on the workers); such an observer
    sees one summary of each sample: its state has `append(lo, hi, count)`.
    histograms: whether `Stats.distribution()` of its states is more than a range.
    nonfinite: what to do with NaN and infinity: "error", or "tflite" (skip NaN, keep infinity).
    runtime, path, kernel_threads: what this observer needs to keep its promise; None: as asked.
    """

    family: ClassVar[str] = "observer"
    state: ClassVar[type[State]]
    ordered: ClassVar[bool] = False
    histograms: ClassVar[bool] = False
    nonfinite: ClassVar[str] = "error"
    runtime: ClassVar[str | None] = None
    path: ClassVar[str | None] = None
    kernel_threads: ClassVar[int | None] = None

    def start(self) -> State:
        """The state before any data."""
        return self.state()

    def finish(
        self, states: dict[Any, Any], model: Any, shapes: dict[Any, tuple[int, ...]]
    ) -> dict[Any, Any]:
        """The states as they are reported: {TensorKey: state}; here unchanged.

        model: the tflite_schema Model that ran.  shapes: of each observed tensor, as it ran.
        """
        return states

    def notes(self, model: Any, shapes: dict[Any, tuple[int, ...]]) -> list[str]:
        """What a reader of the result should know; sentences. Arguments as for `finish`."""
        return []
