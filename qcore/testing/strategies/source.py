"""Random numbers that Hypothesis draws, behind the methods of NumPy's Generator.

What is written for `numpy.random.Generator` (the generators of qcore/testing/cases) becomes a
strategy that shrinks: numbers toward the start of their range, arrays toward few simple elements,
`random()` toward 1, which leaves what has a probability undone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from hypothesis import strategies as st

LEVELS = 1 << 16  # values that a real number is drawn from
CHANCES = 120  # values of one `random()`
SINGLY = 24  # elements of an array up to which each is drawn by itself
Size = int | Sequence[int] | None


class Source:
    """The methods of numpy.random.Generator that generators of calls use."""

    def __init__(self, draw: st.DrawFn):
        self._draw = draw

    def integers(
        self, low: int, high: int | None = None, size: Size = None, dtype: Any = np.int64,
        endpoint: bool = False,
    ) -> Any:  # fmt: skip
        """low <= result < high (<= with `endpoint`); 0 stands for the start where it is inside."""
        low, high = (0, low) if high is None else (low, high)
        last = int(high) - (not endpoint)
        least = int(low)
        simple = min(max(0, least), last)

        def many(random: np.random.Generator, count: int) -> np.ndarray:
            return random.integers(least, last, count, np.int64, endpoint=True)

        found = self._array(size, st.integers(least, last), many, simple, np.int64)
        return int(found) if size is None else found.astype(dtype)

    def random(self, size: Size = None) -> Any:
        """0 <= result < 1. One number in coarse steps: of a wide range Hypothesis prefers parts."""
        if size is None:
            return 1 - (self._draw(st.integers(0, CHANCES - 1)) + 1) / CHANCES
        return self._real(size, lambda u: 1 - (u + 1) / LEVELS)

    def uniform(self, low: float = 0.0, high: float = 1.0, size: Size = None) -> Any:
        """low <= result < high; values near 0 first where it is inside."""
        start = round(LEVELS * -low / (high - low)) if low < 0 < high else 0
        return self._real(size, lambda u: low + (high - low) * _around(start, u) / LEVELS)

    def normal(self, loc: float = 0.0, scale: float = 1.0, size: Size = None) -> Any:
        """Of the normal distribution; values near the mean first."""
        bell = np.vectorize(NormalDist().inv_cdf, otypes=[np.float64])
        middle = LEVELS // 2
        return self._real(size, lambda u: loc + scale * bell((_around(middle, u) + 0.5) / LEVELS))

    def choice(self, a: int | Sequence[Any] | np.ndarray, size: Size = None, p: Any = None) -> Any:
        """Of the values (or of range(a)), with replacement; p: the probability of each."""
        values = np.arange(a) if isinstance(a, (int, np.integer)) else np.asarray(a)
        if p is None:
            return values[self.integers(0, len(values), size)]
        ends = np.cumsum(np.asarray(p, np.float64))
        at = np.searchsorted(ends / ends[-1], self.uniform(size=size), side="right")
        return values[at]

    def permutation(self, x: int | Sequence[Any] | np.ndarray) -> np.ndarray:
        """In another order, along the first axis."""
        values = np.arange(x) if isinstance(x, (int, np.integer)) else np.asarray(x)
        order = self._draw(st.permutations(range(len(values))))
        return values[np.array(order, np.int64)]

    def shuffle(self, x: Any) -> None:
        """`permutation` in place."""
        order = self._draw(st.permutations(range(len(x))))
        x[:] = [x[i] for i in order]

    def dirichlet(self, alpha: Sequence[float]) -> np.ndarray:
        """Shares that add up to 1; only about as uneven as the name promises."""
        parts = np.array([self._draw(st.integers(1, 12)) for _ in alpha], np.float64)
        return parts / parts.sum()

    def _real(self, size: Size, of: Callable[[Any], Any]) -> Any:
        def many(random: np.random.Generator, count: int) -> np.ndarray:
            return random.integers(0, LEVELS, count)

        found = of(self._array(size, st.integers(0, LEVELS - 1), many, 0, np.int64))
        return float(found) if size is None else np.asarray(found, np.float64)

    def _array(
        self, size: Size, one: st.SearchStrategy[int],
        many: Callable[[np.random.Generator, int], np.ndarray], simple: int, dtype: Any,
    ) -> np.ndarray:  # fmt: skip
        """Elements one by one while they are few; else from a seed, `simple` behind some point."""
        shape = () if size is None else (size,) if isinstance(size, (int, np.integer)) else size
        shape = tuple(int(d) for d in shape)
        count = math.prod(shape)
        if count <= SINGLY:
            return np.array([self._draw(one) for _ in range(count)], dtype).reshape(shape)
        seed, kept = self._draw(st.integers(0, LEVELS - 1)), self._draw(st.integers(0, count))
        found = many(np.random.default_rng(seed), count).astype(dtype)
        found[kept:] = simple
        return found.reshape(shape)


def _around(start: int, u: Any) -> Any:
    """0, 1, 2... as levels from `start`, one below and one above it in turn; all of them, once."""
    if not start:
        return u
    return (start + np.where(u % 2 == 0, u // 2, -(u + 1) // 2)) % LEVELS
