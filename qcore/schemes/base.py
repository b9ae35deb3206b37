"""A scheme: from statistics of groups of values and an integer range to scale and zero point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from kernels.ranges import IntRange
from qcore.errors import BadRecipe
from qcore.params import Affine, Stats
from qcore.plugs import Plug
from qcore.rounding import Nearest, Rounding

NEEDS = ("range", "histogram")


@dataclass(frozen=True)
class Scheme(Plug):
    """Base of every scheme. Subclass as a frozen dataclass and write `choose`; `key` names it.

    symmetric: the zero point is always 0.  narrow: the lowest integer is left out; None: where the
    scheme is symmetric.
    needs: "range" (lo and hi are enough) or "histogram": `Stats.distribution()` is there for
    constants, and for activations because `quantize` then calibrates with histograms.
    """

    family: ClassVar[str] = "scheme"
    symmetric: ClassVar[bool | None] = False
    narrow: ClassVar[bool | None] = None
    needs: ClassVar[str] = "range"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.needs not in NEEDS:
            raise BadRecipe(
                f"scheme {cls.__name__} needs {cls.needs!r}; that can be {' or '.join(NEEDS)}"
            )

    def choose(self, stats: Stats, q: IntRange) -> Affine:
        """Parameters for each group. stats.lo, stats.hi: (G,) real units. Returns G groups.

        What a group gets must depend on that group alone: large constants come in parts.
        """
        raise NotImplementedError

    def placed(self, role: str, dtype: str | None) -> Scheme:
        """The scheme for an operand of this role ("weight", "activation" ...) and type; here as it
        is. For fields that are to follow the operand where nobody set them."""
        return self

    @property
    def takes_narrow(self) -> bool:
        """Whether constants and activations by this scheme leave out the lowest integer."""
        return bool(self.symmetric if self.narrow is None else self.narrow)

    @property
    def rounding(self) -> Rounding:
        """How the scheme's constants become integers unless a rule names another rounding."""
        return Nearest()
