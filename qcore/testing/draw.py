"""What generators of random calls draw from: one source of randomness, and numbers that hurt.

About 30 % of the calls have `ties`: scales that are powers of two or simple ratios of one another,
so that exact halves occur at every rounding. Values include the ends of the range and zero points.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from kernels import ranges
from kernels.call import Tensor

T = TypeVar("T")
TIES = 0.3


class Draw:
    """Random choices of one call. ties: whether this call is one with exact ties."""

    def __init__(self, seed: int):
        self._start(np.random.default_rng(seed), seed % 10 < 10 * TIES)

    @classmethod
    def of(cls, random: Any, ties: bool) -> Draw:
        """From another source of numbers, with the methods of numpy.random.Generator."""
        made = cls.__new__(cls)
        made._start(random, ties)
        return made

    def _start(self, random: Any, ties: bool) -> None:
        self.random, self.ties = random, ties
        self._base = float(2.0 ** self.integer(-8, -2))

    def chance(self, probability: float = 0.5) -> bool:
        return bool(self.random.random() < probability)

    def integer(self, lo: int, hi: int) -> int:
        """lo <= result <= hi."""
        return int(self.random.integers(lo, hi + 1))

    def choice(self, values: Sequence[T]) -> T:
        return values[self.integer(0, len(values) - 1)]

    def shape(self, rank: int, size: int, least: int = 1, most: int = 1 << 16) -> tuple[int, ...]:
        """A shape of about `size` elements: uneven dimensions, now and then a 1."""
        if rank == 0:
            return ()
        weights = self.random.dirichlet(np.full(rank, 1.5))
        found = np.exp(np.log(max(size, 1)) * weights)
        out = [min(max(round(d), least), most) for d in found]
        if rank > 1 and self.chance(0.15):
            out[self.integer(0, rank - 1)] = max(1, least)
        return tuple(out)

    def scale(self, low: float = 1e-3, high: float = 0.5) -> np.float32:
        """One scale: log-uniform, or with ties a simple multiple of this call's power of two."""
        if self.ties:
            return np.float32(self._base * self.choice([1, 1, 1, 2, 0.5, 0.25, 4, 1.5, 0.75, 3]))
        return np.float32(np.exp(self.random.uniform(np.log(low), np.log(high))))

    def scales(self, count: int, low: float = 1e-3, high: float = 0.5) -> np.ndarray:
        """(count,) scales."""
        if self.ties:
            powers = self.random.choice([1, 1, 2, 0.5, 0.25, 1.5], count)
            return (self._base * powers).astype(np.float32)
        return np.exp(self.random.uniform(np.log(low), np.log(high), count)).astype(np.float32)

    def zero_point(self, dtype: str) -> int:
        """0 for int16; for 8 bits anything, often an end or the middle."""
        if dtype in ("int16", "int32"):
            return 0
        q = ranges.NAMED[dtype]
        if self.chance(0.3):
            return self.choice([q.qmin, q.qmax, (q.qmin + q.qmax + 1) // 2])
        return self.integer(q.qmin, q.qmax)

    def values(self, dtype: str, shape: Sequence[int], narrow: bool = False) -> np.ndarray:
        """Integers of the type, spread evenly, sometimes near the middle or only the ends."""
        q = ranges.NAMED[dtype]
        lo, hi = (q.qmin + 1 if narrow and q.qmin < 0 else q.qmin), q.qmax
        kind = self.random.random()
        if kind < 0.15:
            found = self.random.choice([lo, hi, (lo + hi + 1) // 2], tuple(shape))
        elif kind < 0.35:
            span = (hi - lo) / 12
            found = np.clip(self.random.normal((lo + hi) / 2, span, tuple(shape)), lo, hi)
        else:
            found = self.random.integers(lo, hi + 1, tuple(shape))
        return np.asarray(found).astype(q.dtype)

    def floats(self, shape: Sequence[int], spread: float = 4.0) -> np.ndarray:
        """float32; with ties multiples of a power of two."""
        found = self.random.normal(0, spread, tuple(shape))
        if self.ties:
            found = np.round(found / self._base * 2) * self._base / 2
        return found.astype(np.float32)

    def tensor(
        self,
        dtype: str,
        shape: Sequence[int],
        scale: Any = None,
        zero_point: int | None = None,
        constant: bool = False,
    ) -> Tensor:
        """A quantized activation with values."""
        return Tensor(
            dtype,
            self.values(dtype, shape),
            np.atleast_1d(np.float32(self.scale() if scale is None else scale)),
            np.array([self.zero_point(dtype) if zero_point is None else zero_point], np.int64),
            constant=constant,
        )

    def output(
        self,
        dtype: str,
        shape: Sequence[int] = (),
        scale: Any = None,
        zero_point: int | None = None,
    ) -> Tensor:
        """A quantized output: parameters only."""
        return Tensor(
            dtype,
            None,
            np.atleast_1d(np.float32(self.scale() if scale is None else scale)),
            np.array([self.zero_point(dtype) if zero_point is None else zero_point], np.int64),
            declared=tuple(shape),
        )

    def weight(
        self,
        shape: Sequence[int],
        axis: int | None = None,
        dtype: str = "int8",
        low: float = 1e-3,
        high: float = 0.05,
    ) -> Tensor:
        """A constant symmetric weight, per channel along `axis` or per tensor."""
        count = 1 if axis is None else shape[axis]
        return Tensor(
            dtype,
            self.values(dtype, shape, narrow=dtype == "int8"),
            self.scales(count, low, high),
            np.zeros(count, np.int64),
            axis=axis or 0,
            constant=True,
        )


def index(*values: Any, dtype: str = "int32", constant: bool = True) -> Tensor:
    """A tensor of plain integers: axes, sizes, indices."""
    return Tensor(
        dtype, np.array(values[0] if len(values) == 1 else values, dtype), constant=constant
    )
