"""The small frozen values that pass between the stages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np


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
class Stats:
    """What is known of groups of values, and all that a scheme may see.

    lo, hi: (G,) float64, the range in real units.  count: values seen in each group.
    extra: further statistics by name (for instance a histogram), as the observer left them.
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

    def union(self, other: Stats) -> Stats:
        """The smallest range that holds both; counts add, other statistics are dropped."""
        return Stats(
            np.minimum(self.lo, other.lo), np.maximum(self.hi, other.hi), self.count + other.count
        )

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
