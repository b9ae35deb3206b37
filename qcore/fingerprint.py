"""Which rule an installed runtime follows, operator by operator and path by path.

Random models of one operator each, with scales that make exact ties, go through the runtime; every
profile that we know is a hypothesis, and the ones that give all of its integers remain. A runtime
of another version is understood by what it agrees with, and a change shows as a row that no longer
follows the profile of its own name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

import numpy as np

from kernels import ops
from kernels.call import Call
from kernels.errors import KernelError
from kernels.profile import PATHS, RUNTIMES, Profile
from qcore.errors import BadInput
from qcore.testing.cases import generators, make
from qcore.testing.conformance import Case, answers, follow, repeats, same
from qcore.verify import rule

# The hypotheses, by name.
KNOWN = tuple(
    (f"{path} of {release}", Profile(path, runtime))
    for runtime, release in RUNTIMES.items()
    for path in PATHS
) + tuple(
    (f"optimized of {release}, portable ruy", Profile("optimized", runtime, portable=True))
    for runtime, release in RUNTIMES.items()
)
PACKAGES = {"litert": "ai-edge-litert", "tensorflow": "tensorflow"}


@dataclass(frozen=True)
class Trait:
    """One operator, form and path of the runtime.

    rule: the documented one.  follows: names of the hypotheses that give every integer.
    expected: the documented profile is among them.  compared: output elements.  decided: those in
    which the hypotheses differ from one another; 0 says that they cannot be told apart here.
    refused: models that the runtime did not run, of `models`, with its message.
    """

    operator: str
    form: str
    path: str
    rule: str
    follows: tuple[str, ...]
    expected: bool
    compared: int
    decided: int
    models: int
    refused: int = 0
    message: str = ""

    @property
    def surprising(self) -> bool:
        """Something was compared, and it is not what the documents say. "-" says that the kernel's
        result is not defined."""
        return self.compared > 0 and not self.expected and self.rule != "-"


@dataclass(frozen=True)
class Fingerprint:
    """What an installed runtime does."""

    runtime: str
    version: str
    traits: tuple[Trait, ...]

    @property
    def surprises(self) -> tuple[Trait, ...]:
        return tuple(t for t in self.traits if t.surprising)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        lines = [f"{self.runtime} {self.version}"]
        for t in self.traits:
            lines.append(f"{t.operator} {t.form} {t.path}: {describe(t)}")
        lines.append(f"{len(self.surprises)} of {len(self.traits)} rows are not as documented")
        return "\n".join(lines)


def describe(t: Trait) -> str:
    """A trait in words."""
    if not t.compared:
        return f"not run: {t.message}" if t.refused else "nothing compared"
    if t.expected:
        return t.rule or "as documented"
    if t.rule == "-":
        return "not defined"
    if t.follows:
        return f"DIFFERENT: as {' and '.join(t.follows)}; documented: {t.rule}"
    return f"UNKNOWN: no known profile gives its integers; documented: {t.rule}"


def fingerprint(
    runtime: str = "litert",
    operators: Sequence[str] = (),
    paths: Sequence[str] = PATHS,
    *,
    models: int = 6,
    outputs: int = 400,
    seed: int = 0,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> Fingerprint:
    """Probe an installed runtime.

    operators: names; all that have a generator without.  models, outputs: for each row, random
    models and output elements of each.  progress: wraps the list of rows while they are made.
    Raises BadInput for a name that has no generator.
    """
    known = {operator for operator, _ in generators()}
    for name in operators:
        if name not in known:
            known_names = ", ".join(sorted(known))
            raise BadInput(f"there is no generator for {name}; known are {known_names}")
    if runtime not in RUNTIMES:
        raise BadInput(f"runtime {runtime!r} is unknown; known are {', '.join(RUNTIMES)}")
    wanted = [(o, f) for o, f in generators() if not operators or o in operators]
    found: dict[tuple[str, str, str], Trait] = {}
    for path in paths:
        profile = Profile(path, runtime)
        cases = (
            Case(o, f, n, make(o, f, n, outputs).on(profile=profile))
            for o, f in wanted
            for n in range(seed, seed + models)
        )
        asked: dict[tuple[str, str], list[tuple[Call, Any]]] = {}
        for case, answer in progress(answers(cases, profile)):
            key = case.operator, case.form
            asked.setdefault(key, []).append((case.call, answer))
            if len(asked[key]) == models:
                found[(*key, path)] = _trait(*key, path, runtime, asked.pop(key))
    traits = [found[operator, form, path] for operator, form in wanted for path in paths]
    return Fingerprint(runtime, metadata.version(PACKAGES[runtime]), tuple(traits))


def _trait(
    operator: str, form: str, path: str, runtime: str, asked: Sequence[tuple[Call, Any]]
) -> Trait:
    alive = dict(KNOWN)
    compared = decided = refused = 0
    message = ""
    for call, answer in asked:
        if isinstance(answer, str):
            refused += 1
            message = message or answer
            continue
        theirs, _ = answer
        compared += sum(a.size for a in theirs)
        tried = {name: _attempt(call.on(profile=p)) for name, p in KNOWN}
        decided += _divergent([t for t in tried.values() if t is not None])
        alive = {n: p for n, p in alive.items() if _agrees(tried[n], theirs)}
    documented = Profile(path, runtime)
    call = ops.resolve(asked[0][0].on(profile=documented))
    return Trait(
        operator, form, path, rule(call, form), tuple(alive),
        documented in alive.values() and compared > 0, compared, decided, len(asked), refused,
        message,
    )  # fmt: skip


def _attempt(call: Call) -> tuple[np.ndarray, ...] | None:
    try:
        return follow(call, repeats(call), "reference")
    except KernelError:
        return None


def _agrees(ours: Sequence[np.ndarray] | None, theirs: Sequence[np.ndarray]) -> bool:
    return ours is not None and all(
        a.shape == b.shape and bool(same(a, b).all()) for a, b in zip(ours, theirs, strict=True)
    )


def _divergent(answers: Sequence[Sequence[np.ndarray]]) -> int:
    """Elements in which some of the answers differ."""
    first, *rest = answers or [()]
    total = 0
    for i, array in enumerate(first):
        differs = np.zeros(array.shape, bool)
        for other in rest:
            if other[i].shape == array.shape:
                differs |= ~same(array, other[i])
        total += int(np.count_nonzero(differs))
    return total
