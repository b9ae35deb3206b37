"""A scheme: from statistics of groups of values and an integer range to scale and zero point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kernels.ranges import IntRange
from qcore.params import Affine, Stats
from qcore.plugs import Plug
from qcore.rounding import Nearest, Rounding


@dataclass(frozen=True)
class Scheme(Plug):
    """Base of every scheme. Subclass as a frozen dataclass and write `choose`; `key` names it.

    symmetric: the zero point is always 0, so that weights may use the narrow range.
    """

    family: ClassVar[str] = "scheme"
    symmetric: ClassVar[bool] = False

    def choose(self, stats: Stats, q: IntRange) -> Affine:
        """Parameters for each group. stats.lo, stats.hi: (G,) real units. Returns G groups."""
        raise NotImplementedError

    @property
    def rounding(self) -> Rounding:
        """How the scheme's constants become integers unless a rule names another rounding."""
        return Nearest()
