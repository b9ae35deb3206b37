"""Defects of the official runtimes that were met, each with its smallest model and a check.

    from qcore.testing import bugs
    model, inputs = bugs.get("softmax-512").make()
    for bug, place, answer in bugs.ask(bugs.all(), "litert"): ...

python -m qcore.testing.bugs lists them. Nothing here runs a model in the calling process.
"""

from __future__ import annotations

from qcore.testing.bugs import (
    convolutions,
    elementwise,
    graph,
    movement,
    products,
    recurrent,
    reductions,
)
from qcore.testing.bugs.probe import ask
from qcore.testing.bugs.record import Answer, Bug, Case, Family

__all__ = ["FAMILIES", "Answer", "Bug", "Case", "Family", "all", "ask", "get"]

FAMILIES: tuple[Family, ...] = (
    elementwise.BUGS,
    products.BUGS,
    convolutions.BUGS,
    movement.BUGS,
    reductions.BUGS,
    recurrent.BUGS,
    graph.BUGS,
)


def all() -> tuple[Bug, ...]:
    """Every bug, family by family."""
    return tuple(bug for family in FAMILIES for bug in family.bugs)


def get(key: str) -> Bug:
    """The bug of this key. Raises KeyError with what to do."""
    for bug in all():
        if bug.key == key:
            return bug
    raise KeyError(f"no bug {key!r}; `python -m qcore.testing.bugs` lists them")
