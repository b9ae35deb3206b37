"""Our kernels against an installed interpreter: `check_runtime("xnnpack")`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from kernels import ops
from kernels.call import Call
from kernels.errors import KernelError, RuntimeRefuses, Undefined
from kernels.profile import Profile
from qcore.errors import BadInput, MissingExtra, RuntimeFailed
from qcore.execute import as_profile
from qcore.peers.child import Child, Items
from qcore.peers.interpreter import RUNTIMES, installed
from qcore.testing import models, strategies
from qcore.testing.cases import generators
from qcore.testing.checks.failure import Case, CheckFailed
from qcore.testing.checks.operator import difference
from qcore.testing.checks.search import SIZES, Found, search
from qcore.testing.conformance import KNOWN, follow, repeats

SECONDS = 60.0  # for one model; the first also imports the runtime
MEMORY = 4 << 30
WORKER = "qcore.testing.worker:answer"


@dataclass
class RuntimeCheck:
    """What `check_runtime` went through.

    examples: calls that both computed.  compared: their output elements.  refused: calls that the
    runtime does not run; agreed: of those, refused by our kernels as well.  undefined: calls whose
    result is not defined by the runtime.  forms: (operator, form) -> outputs compared.
    """

    profile: Profile
    examples: int = 0
    compared: int = 0
    refused: int = 0
    agreed: int = 0
    undefined: int = 0
    forms: dict[tuple[str, str], int] = field(default_factory=dict)

    def __str__(self) -> str:
        return (
            f"{self.profile}: {len(self.forms)} operators and forms, {self.examples:,} examples, "
            f"{self.compared:,} outputs equal, {self.refused} refused ({self.agreed} by both), "
            f"{self.undefined} undefined"
        )


class Asked:
    """The interpreter in its child process, which is started again when a model ended it.

    worker: the function of qcore/testing/worker.py that it runs; the one for calls if not given.
    """

    def __init__(
        self, profile: Profile, time_limit: float, memory_limit: int | None, worker: str = ""
    ):
        self.profile, self._worker = profile, worker
        self._limits: Any = {"time_limit": time_limit, "memory_limit": memory_limit}
        self._child: Child | None = None

    def __enter__(self) -> Asked:
        return self

    def __exit__(self, *_: object) -> None:
        if self._child is not None:
            self._child.close()

    def __call__(self, call: Call) -> Any:
        """(outputs and states, whether XNNPACK took it), or the runtime's message; as `item`."""
        return self.item((models.to_bytes(call), models.arrays(call), repeats(call)))

    def item(self, item: Any) -> Any:
        """What the worker makes of one item.

        Raises RuntimeFailed where the process crashed, hung or took too much memory.
        """
        if self._child is None:
            self._child = Child(self._worker or WORKER, what=str(self.profile), **self._limits)
        try:
            (answer,) = self._child.stream(
                self.profile.runtime, self.profile.path, Items(), items=[item]
            )
        except BaseException:
            self._child.close()
            self._child = None
            raise
        return answer


def check_runtime(
    path: Profile | str = "xnnpack",
    runtime: str | None = None,
    operators: str | Iterable[str] | None = None,
    form: str | None = None,
    *,
    mode: str = "reference",
    examples: int = 100,
    size: int | Sequence[int] = SIZES,
    seed: int | None = 0,
    folder: str | Path | None = None,
    time_limit: float = SECONDS,
    memory_limit: int | None = MEMORY,
) -> RuntimeCheck:
    """Compare our kernels with an installed interpreter on random models of one operator.

    path, runtime: which execution path of which runtime ("litert" if not named), or a `Profile`.
    operators, form: all that have generators, if not named.  mode: "reference" or "fast".
    examples: models for each operator and form.  size, seed, folder: as for `check_operator`.
    time_limit, memory_limit: seconds and resident bytes for one model, in a child process; a model
        at which it crashes, hangs or grows is a failure like another, and is shrunk as well.
    What the runtime refuses with a message is counted. Integers compare by ==, as do floats; rows
    that are known to differ (conformance.KNOWN) are left out.
    Raises CheckFailed with the smallest case found, and if nothing was compared at all; BadInput
    for names that are not known; MissingExtra if the runtime is not installed.
    """
    profile = as_profile(path, runtime)
    if not installed(profile.runtime):
        package = RUNTIMES[profile.runtime][1]
        raise MissingExtra(f"{profile.runtime} is not installed; pip install {package}")
    wanted = _wanted(operators, form, profile)
    sizes = (size,) if isinstance(size, int) else size
    done = RuntimeCheck(profile)
    with Asked(profile, time_limit, memory_limit) as ask:
        for failed in look(ask, wanted, done, mode, examples, sizes, seed, folder):
            raise failed
    if not done.compared:
        raise CheckFailed(
            f"{profile}: nothing was compared ({done.refused} models refused by the runtime)"
        )
    return done


def look(
    ask: Asked,
    wanted: Iterable[tuple[str, str]],
    done: RuntimeCheck,
    mode: str,
    examples: int,
    sizes: Sequence[int] = SIZES,
    seed: int | None = 0,
    folder: str | Path | None = None,
) -> Iterator[CheckFailed]:
    """A failure for each (operator, form) that has one; counts go to `done`."""
    profile = ask.profile
    for operator, name in wanted:
        before = done.compared
        found = search(
            partial(strategies.calls, operator, name),
            lambda call: _compare(ask, call.on(profile=profile), mode, done),
            examples,
            seed,
            sizes,
        )
        done.forms[operator, name] = done.compared - before
        if found is not None:
            case: Case = found.more[0]
            sentence = f"{operator} as {name} on the {profile}: {found.sentence}"
            yield case.failed(sentence, folder)


def _wanted(
    operators: str | Iterable[str] | None, form: str | None, profile: Profile
) -> list[tuple[str, str]]:
    names = [operators] if isinstance(operators, str) else operators
    names = strategies.operators() if names is None else list(names)
    found = []
    for name in names:
        forms = [f for f in strategies.forms(name) if form in (None, f)]
        if not forms and (form is None or name not in strategies.operators()):
            raise BadInput(f"there are no models of {name}; qcore.testing.strategies.operators()")
        found += [(name, f) for f in forms]
    known = {key[:2] for key in KNOWN if key[2:] == (profile.path, profile.runtime)}
    kept = [key for key in found if key not in known]
    assert set(kept) <= set(generators())
    if not kept:
        raise BadInput(f"no operator that was named has the form {form} on the {profile}")
    return kept


def _compare(ask: Asked, call: Call, mode: str, done: RuntimeCheck) -> None:
    """Count one call. Raises Found where the answers differ."""
    ours: Any
    try:
        ours = follow(call, repeats(call), mode)
    except KernelError as error:
        ours = error
    said = f"refused: {ours}" if isinstance(ours, KernelError) else ours
    try:
        answer = ask(call)
    except RuntimeFailed as error:
        if isinstance(ours, (RuntimeRefuses, Undefined)):
            done.refused += 1
            done.agreed += 1
            return
        words = str(error)
        raise Found(words, Case(call, words, said)) from None
    if isinstance(answer, str):
        done.refused += 1
        done.agreed += isinstance(ours, KernelError)
        return
    theirs, taken = tuple(answer[0]), answer[1]
    if isinstance(ours, Undefined):
        done.undefined += 1
        return
    if isinstance(ours, KernelError):
        raise Found(f"our kernel refuses what the runtime computes: {ours}",
                    Case(call, theirs, said))  # fmt: skip
    if why := difference(theirs, ours):
        raise Found(f"of our {mode} kernel, {why}", Case(call, theirs, ours))
    if call.profile.is_xnnpack and taken != ops.resolve(call).profile.is_xnnpack:
        raise Found(
            f"XNNPACK {'takes' if taken else 'does not take'} it, unlike what `delegated` says",
            Case(call, theirs, ours),
        )
    done.examples += 1
    done.compared += sum(y.size for y in theirs)
