"""How far apart two tensors of real values are, and how good class scores are.

A `Difference` holds sums, so the differences of parts (samples, slices) add up to that of the
whole: `Difference.of(a, b) + Difference.of(c, d)`. A metric of a difference in which nothing was
compared is NaN, never a good number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from qcore.errors import BadInput

_BLOCK = 1 << 16  # float64 scratch of half a megabyte, whatever the size of the tensor


@dataclass(frozen=True)
class Difference:
    """Sums over the elements of x (the truth) and x_hat (what stands for it), float64.

    count: elements.  signal: sum x^2.  noise: sum (x - x_hat)^2.  dot: sum x x_hat.
    other: sum x_hat^2.  absolute: sum |x - x_hat|.  largest: max |x - x_hat|.
    differing: elements that are not equal.
    Two NaNs, or two equal infinities, in the same place are equal; any other pair with a
    non-finite value makes noise and largest infinite.
    """

    count: int = 0
    signal: float = 0.0
    noise: float = 0.0
    dot: float = 0.0
    other: float = 0.0
    absolute: float = 0.0
    largest: float = 0.0
    differing: int = 0

    @classmethod
    def of(cls, x: np.ndarray, x_hat: np.ndarray) -> Difference:
        """Compare two arrays of one shape, any real dtype. Raises BadInput if the shapes differ."""
        x, x_hat = np.asarray(x), np.asarray(x_hat)
        if x.shape != x_hat.shape:
            raise BadInput(f"shapes {x.shape} and {x_hat.shape} differ; compare like with like")
        total = cls()
        a, b = x.reshape(-1), x_hat.reshape(-1)
        for start in range(0, a.size, _BLOCK):
            total += cls._block(a[start : start + _BLOCK], b[start : start + _BLOCK])
        return total

    @classmethod
    def _block(cls, a: np.ndarray, b: np.ndarray) -> Difference:
        x, y = a.astype(np.float64), b.astype(np.float64)
        count = x.size
        strange = ~(np.isfinite(x) & np.isfinite(y))
        broken = 0
        if strange.any():
            same = (x == y) | (np.isnan(x) & np.isnan(y))
            broken = int(np.count_nonzero(strange & ~same))
            x, y = x[~strange], y[~strange]
        error = np.abs(x - y)
        return cls(
            count=count,
            signal=float(x @ x),
            noise=math.inf if broken else float(error @ error),
            dot=float(x @ y),
            other=float(y @ y),
            absolute=math.inf if broken else float(error.sum()),
            largest=math.inf if broken else float(error.max(initial=0.0)),
            differing=broken + int(np.count_nonzero(error)),
        )

    def __add__(self, more: Difference) -> Difference:
        return Difference(
            count=self.count + more.count,
            signal=self.signal + more.signal,
            noise=self.noise + more.noise,
            dot=self.dot + more.dot,
            other=self.other + more.other,
            absolute=self.absolute + more.absolute,
            largest=max(self.largest, more.largest),
            differing=self.differing + more.differing,
        )

    @property
    def SQNR_dB(self) -> float:
        """10 log10(signal / noise): inf when exact, -inf when only the truth is all zero."""
        if not self.count:
            return math.nan
        if self.noise == 0:
            return math.inf
        if self.signal == 0 or math.isinf(self.noise):
            return -math.inf
        return 10 * (math.log10(self.signal) - math.log10(self.noise))

    @property
    def rms(self) -> float:
        """Root of the mean squared error, real units."""
        return math.sqrt(self.noise / self.count) if self.count else math.nan

    @property
    def mean_absolute(self) -> float:
        """Mean |x - x_hat|, real units."""
        return self.absolute / self.count if self.count else math.nan

    @property
    def cosine(self) -> float:
        """Cosine of the angle between x and x_hat; NaN where one of them is all zero."""
        length = math.sqrt(self.signal) * math.sqrt(self.other)
        return self.dot / length if length else math.nan


def SQNR_dB(x: np.ndarray, x_hat: np.ndarray) -> float:
    """Signal to quantization noise, 10 log10(sum x^2 / sum (x - x_hat)^2); inf when exact.

    x: the truth; x_hat: what stands for it, same shape, any real dtype. NaN for empty arrays.
    """
    return Difference.of(x, x_hat).SQNR_dB


def top1(scores: np.ndarray, labels: np.ndarray) -> float:
    """Share of samples whose highest score (N, classes) is at label (N,); on a tie the first."""
    scores, labels = np.asarray(scores), np.asarray(labels)
    if scores.ndim != 2 or labels.shape != scores.shape[:1]:
        raise BadInput(
            f"scores of shape {scores.shape} do not go with labels of shape {labels.shape}; "
            "give (N, classes) and (N,)"
        )
    return float(np.mean(scores.argmax(axis=1) == labels)) if len(labels) else math.nan


def agreement(a: np.ndarray, b: np.ndarray) -> float:
    """Share of samples for which both scores (N, classes) name the same class."""
    return top1(a, np.asarray(b).argmax(axis=1))
