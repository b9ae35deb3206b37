"""ACIQ: the ends of least mean squared error in closed form, for values of a known density.

Source: R. Banner, Y. Nahshan, D. Soudry, "Post training 4-bit quantization of convolutional
networks for rapid-deployment", NeurIPS 2019 (arXiv 1810.05723), section 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import numpy as np

from kernels.ranges import IntRange
from qcore.errors import BadRecipe
from qcore.params import Stats
from qcore.schemes.clipping import Clipping, Ends, whole


@dataclass(frozen=True)
class Aciq(Clipping):
    """Mean -+ a widths of the density, within the range; a is the optimum for its tails (E81).

    density: "laplace" (width: the mean absolute deviation) or "gauss" (the standard deviation).
    """

    key: ClassVar[str] = "aciq"
    density: str = "laplace"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.density not in ("laplace", "gauss"):
            raise BadRecipe(f"aciq knows no density {self.density!r}; use laplace or gauss")

    def ends(self, stats: Stats, q: IntRange) -> Ends:
        found = stats.distribution()
        lo, hi = whole(stats, self.symmetric)
        one_sided = (lo == 0) | (hi == 0)
        # Zeros cost nothing and belong to no density: those of ReLU are half of the values.
        x, used = found.values, np.where(found.away, found.counts, 0)
        count = used.sum(axis=1)
        total = np.maximum(count, 1)
        mean = np.zeros(stats.groups)
        if not self.symmetric:
            mean = np.where(one_sided, 0.0, (x * used).sum(axis=1) / total)
        off = np.abs(x - mean[:, None])
        if self.density == "gauss":
            width = np.sqrt((off * off * used).sum(axis=1) / total)
        else:
            width = (off * used).sum(axis=1) / total
        steps = 2 * q.qmax if self.symmetric else q.steps
        reach = width * np.where(
            one_sided, optimum(self.density, 12 * steps**2), optimum(self.density, 3 * steps**2)
        )
        keep = count == 0  # nothing is known but that all lies about 0
        low, high = np.maximum(mean - reach, lo), np.minimum(mean + reach, hi)
        return np.where(keep, lo, low), np.where(keep, hi, high)


@cache
def optimum(density: str, noise: int) -> float:
    """a of E81: where less clipping and less rounding balance, in widths of the density.

    noise: 3 steps^2 for a whole density, 12 steps^2 for half of one.
    """
    if density == "laplace":
        return _root(lambda a: a + math.log(a) - math.log(noise))
    tail = math.sqrt(2 / math.pi)

    def slope(a: float) -> float:
        return a / noise - (tail * math.exp(-a * a / 2) - a * math.erfc(a / math.sqrt(2)))

    return _root(slope)


def _root(rising: Callable[[float], float]) -> float:
    """The zero in (0, 1000) of a function that is negative before it, to the last bit."""
    low, high = 1e-9, 1000.0
    while True:
        middle = (low + high) / 2
        if middle in (low, high):
            return middle
        low, high = (middle, high) if rising(middle) < 0 else (low, middle)
