"""Min-max: the smallest affine grid that covers the observed range and holds 0."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kernels import scales
from kernels.ranges import IntRange
from qcore.errors import BadRecipe
from qcore.params import Affine, Stats
from qcore.schemes.base import Scheme


@dataclass(frozen=True)
class MinMax(Scheme):
    """scale = (hi - lo) / (qmax - qmin), zero_point = round(qmin - lo / scale) (E5, E7).

    arithmetic: whose float32 and float64 steps to take, so that the result is the converter's bit
    for bit: "mlir" (TFLiteConverter's int8 path) or "legacy" (its older quantizer).
    widen: "mlir" only, which rule widens a range below 1e-6 (E6): "activation", "constant" or
        "none".
    """

    key: ClassVar[str] = "minmax"
    arithmetic: str = "mlir"
    widen: str = "activation"

    def __post_init__(self) -> None:
        if self.arithmetic not in ("mlir", "legacy"):
            raise BadRecipe(f"minmax has no arithmetic {self.arithmetic!r}; use mlir or legacy")

    def choose(self, stats: Stats, q: IntRange) -> Affine:
        if self.arithmetic == "legacy":
            return Affine(*scales.asymmetric_legacy(stats.lo, stats.hi, q))
        return Affine(*scales.asymmetric_mlir(stats.lo, stats.hi, q, self.widen))
