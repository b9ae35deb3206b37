"""What a kernel computed on the way, recorded while it runs: the material of `qcore explain`.

    with tracing() as steps:
        conv_2d.reference(call)

`reference` functions call `note` for what deserves a name (the accumulator, the sum of a softmax);
the roundings of `kernels.fixedpoint` record themselves with both candidates. Outside of `tracing`
nothing is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Noted:
    """A named step. value: broadcasts to the output, or has one entry for each code of a table.

    equation: its number in docs/math.md, "" if none.  exact: for a rounding, the exact value as
    (numerator, denominator), arrays or integers; the candidates are the integers on both sides.
    """

    name: str
    value: np.ndarray
    equation: str = ""
    exact: tuple[Any, Any] | None = None


_steps: ContextVar[list[Noted] | None] = ContextVar("steps", default=None)


@contextmanager
def tracing() -> Iterator[list[Noted]]:
    """The list to which every `note` inside the block is added, in order."""
    found: list[Noted] = []
    token = _steps.set(found)
    try:
        yield found
    finally:
        _steps.reset(token)


def note(name: str, value: Any, equation: str = "", exact: tuple[Any, Any] | None = None) -> None:
    """Record a step, if somebody listens."""
    steps = _steps.get()
    if steps is not None:
        steps.append(Noted(name, np.asarray(value), equation, exact))
