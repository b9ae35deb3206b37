"""A target as a table: what it takes of a model, each rule with its source.

A rule's `name` is the sentence that holds where an operator runs there. It is the reason that a
user reads where it does not, the id of the rule's test, and its row in docs/targets.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

from qcore.targets import sources
from qcore.targets.site import Site

Condition = Callable[[Site], str]


class Placement(Enum):
    """What becomes of a model when the target does not take all of its operators."""

    EACH = (
        "each by itself"  # an operator that is not taken runs on `rest`, all others on the target
    )
    LARGEST = "the largest partition"  # one connected part is taken, everything else is `rest`'s
    FIRST = "up to the first"  # what stands behind the first that is not taken is `rest`'s too
    ALL = "all or none"  # the model does not run


@dataclass(frozen=True)
class Rule:
    """name: what holds, as a sentence.  source: where that is written, as `qcore.targets.sources`
    reads it.
    broken: what was found instead, "" where the rule holds.  operators: that it is asked of; empty
    for all.  mend: what to do about it.  final: where it is broken, no further rule is looked at.
    """

    name: str
    source: str
    broken: Condition
    operators: frozenset[str] = frozenset()
    mend: str = ""
    final: bool = False

    @property
    def urls(self) -> tuple[str, ...]:
        """Where everyone can read the source."""
        return sources.urls(self.source)

    def found(self, site: Site) -> str:
        """What breaks the rule at this operator, "" if nothing does."""
        if self.operators and site.name not in self.operators:
            return ""
        return self.broken(site)


@dataclass(frozen=True)
class Takes:
    """What a target takes of one operator.

    dtypes: of its data (the first activation), empty where rules say more than a list can.
    version: the newest that is taken, 0 for any.
    """

    dtypes: tuple[str, ...] = ()
    version: int = 0


@dataclass(frozen=True)
class Target:
    """key: its name in commands.  title, about: what it is, and which release was looked at.
    rest: where operators run that it does not take.  operators: what it takes of each, by name.
    beneath: the target that runs the rest, and has to take the whole model.
    checked: how its rules were tried out, "" if they stand by their source alone.
    """

    key: str
    title: str
    about: str
    placement: Placement
    rest: str
    operators: Mapping[str, Takes]
    rules: tuple[Rule, ...]
    checked: str = ""
    beneath: str = ""


def takes(table: str, versions: Mapping[str, int] | None = None) -> dict[str, Takes]:
    """Operators with their types from text: "float32 int8: ADD SUB" in each line; a line that
    starts with a blank goes on. An operator may stand in several lines."""
    dtypes: dict[str, tuple[str, ...]] = {}
    for line in re.sub(r"\n\s+", " ", table.strip()).splitlines():
        types, _, names = line.partition(":")
        for name in names.split():
            dtypes[name] = (*dtypes.get(name, ()), *types.split())
    return {name: Takes(found, (versions or {}).get(name, 0)) for name, found in dtypes.items()}
