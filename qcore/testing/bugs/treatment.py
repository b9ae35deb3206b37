"""What our own kernels make of a bug, against what the registry says they do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from kernels import ops
from kernels.errors import KernelError
from kernels.profile import Profile
from qcore.testing import models
from qcore.testing.bugs.record import (
    BOTH,
    MEANT,
    REFUSED,
    REPRODUCED,
    RUNTIMES,
    Answer,
    Bug,
    Case,
    Place,
    Shape,
    Values,
)

WORDS = {"refuse": "refuse it", "same": "give the runtime's answer", "other": "answer otherwise"}


def treatment(case: Case, place: Place, answer: Answer) -> str:
    """What our profile of the place does: "refuse", "same" (as the runtime) or "other"."""
    assert case.call is not None
    call = case.call.on(profile=Profile(place[1], place[0]))
    kept = models.states(call)
    count = len(call.outputs)
    try:
        for _ in (*case.before, case.inputs):
            found = ops.compute(call, "reference")
            inputs = list(call.inputs)
            for position, value in zip(kept, found[count:], strict=True):
                inputs[position] = replace(call[position], data=value)
            call = call.on(inputs=tuple(inputs))
    except KernelError:
        return "refuse"
    theirs = answer.outputs
    if theirs is None or len(theirs) < count:
        return "other"
    same = all(np.array_equal(a, b) for a, b in zip(found[:count], theirs, strict=False))
    return "same" if same else "other"


def problem(bug: Bug, place: Place, answer: Answer) -> str | None:
    """A sentence where a place has the bug and our profile does not treat it as documented."""
    case = bug.case()
    if place not in bug.seen or case.call is None or not bug.ours:
        return None
    definite = isinstance(bug.seen[place], Values | Shape)
    wanted = {
        REPRODUCED: "same",
        REFUSED: "refuse",
        MEANT: "other",
        BOTH: "same" if definite else "refuse",
    }[bug.ours]
    found = treatment(case, place, answer)
    if found == wanted:
        return None
    where = f"{bug.key} on {RUNTIMES[place[0]]}, {place[1]}"
    return f"{where}: our kernels should {WORDS[wanted]} and {WORDS[found]}"
