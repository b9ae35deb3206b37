"""Symmetric: zero point 0, the range [-m, m] around the largest magnitude m."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from kernels import scales
from kernels.ranges import IntRange
from qcore.errors import BadRecipe
from qcore.params import Affine, Stats
from qcore.rounding import NearestDynamic, NearestLegacy, NearestMlir, Rounding
from qcore.schemes.base import Scheme

_ARITHMETIC = {
    "mlir": (scales.symmetric_mlir, NearestMlir()),
    "legacy": (scales.symmetric_legacy, NearestLegacy()),
    "dynamic": (scales.symmetric_double, NearestDynamic()),
}


@dataclass(frozen=True)
class Symmetric(Scheme):
    """scale = m / qmax, zero_point = 0, on the narrow range (E10, E11).

    arithmetic: whose steps to take bit for bit: "mlir", "legacy" (see MinMax), or "dynamic" (the
    converter's dynamic-range mode, which works in float64).
    """

    key: ClassVar[str] = "symmetric"
    symmetric: ClassVar[bool] = True
    arithmetic: str = "mlir"

    def __post_init__(self) -> None:
        if self.arithmetic not in _ARITHMETIC:
            raise BadRecipe(
                f"symmetric has no arithmetic {self.arithmetic!r}; use {', '.join(_ARITHMETIC)}"
            )

    @property
    def rounding(self) -> Rounding:
        return _ARITHMETIC[self.arithmetic][1]

    def choose(self, stats: Stats, q: IntRange) -> Affine:
        magnitude = np.maximum(np.abs(stats.lo), np.abs(stats.hi))
        with np.errstate(over="ignore"):
            scale = _ARITHMETIC[self.arithmetic][0](magnitude, q).astype(np.float32)
        return Affine(scale, np.zeros(scale.shape, np.int64))
