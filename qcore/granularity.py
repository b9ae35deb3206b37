"""How the values of a tensor are grouped: one scale for all, for each channel or each block."""

from __future__ import annotations

import re
from dataclasses import dataclass

from qcore.errors import BadRecipe


@dataclass(frozen=True)
class Granularity:
    """kind: "per_tensor", "per_channel" or "blockwise".

    axis: the axis of the channels or blocks; None takes the operand's own axis from its SPEC.
    block: values in a block, blockwise only.
    """

    kind: str
    axis: int | None = None
    block: int = 0

    def __post_init__(self) -> None:
        if self.kind not in ("per_tensor", "per_channel", "blockwise"):
            raise BadRecipe(
                f"granularity {self.kind!r} is unknown; use per_tensor, per_channel or blockwise:32"
            )
        if (self.kind == "blockwise") != (self.block > 0):
            raise BadRecipe(
                "a block size goes with blockwise granularity, for example blockwise:32"
            )

    @classmethod
    def parse(cls, text: str) -> Granularity:
        """From "per_tensor", "per_channel", "per_channel(3)", "blockwise:32"."""
        match = re.fullmatch(r"(\w+)(?:\((\d+)\))?(?::(\d+))?", text)
        if not match:
            raise BadRecipe(
                f"granularity {text!r} is not understood; use per_tensor, per_channel or "
                "blockwise:32"
            )
        kind, axis, block = match.groups()
        return cls(kind, int(axis) if axis else None, int(block) if block else 0)

    def __str__(self) -> str:
        axis = "" if self.axis is None else f"({self.axis})"
        return f"{self.kind}{axis}" + (f":{self.block}" if self.block else "")


PER_CHANNEL = Granularity("per_channel")
