"""Power-of-two scales: what is multiplied by a scale is shifted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from kernels.ranges import IntRange
from kernels.rounding import half_away
from qcore.errors import BadRecipe
from qcore.params import Affine, Stats
from qcore.schemes.clipping import Clipping, Ends, whole


@dataclass(frozen=True)
class PowerOfTwo(Clipping):
    """The power of two at or above the scale of the whole range (E83).

    nearest: the nearest power of two by ratio instead, which clips up to 29 % of the range.
    """

    key: ClassVar[str] = "power_of_two"
    needs: ClassVar[str] = "range"
    nearest: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if type(self.nearest) is not bool:
            raise BadRecipe(f"power_of_two has nearest {self.nearest!r}; give true or false")

    def choose(self, stats: Stats, q: IntRange) -> Affine:
        wide = super().choose(stats, q)
        fraction, exponent = np.frexp(wide.scale.astype(np.float64))  # fraction in [1/2, 1)
        down = fraction < np.sqrt(0.5) if self.nearest else fraction == 0.5
        scale = np.ldexp(1.0, np.clip(np.where(down, exponent - 1, exponent), -126, 127))
        if self.symmetric:
            return Affine(scale, wide.zero_point)
        zero_point = half_away(q.qmin - whole(stats, False)[0] / scale)
        return Affine(scale, np.clip(zero_point, q.qmin, q.qmax))

    def ends(self, stats: Stats, q: IntRange) -> Ends:
        return whole(stats, self.symmetric)
