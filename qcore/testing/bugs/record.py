"""What a defect of an official runtime is, and what a runtime answered when it was tried.

A place is a runtime and one of its paths: ("tensorflow", "reference"). `Bug.seen` says for every
place whose answer is wrong what it is; the other places answer as `Bug.right` says, where it says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kernels.call import Call
from kernels.profile import PATHS, RUNTIMES

PLACES = tuple((runtime, path) for runtime in RUNTIMES for path in PATHS)
FILL = 0x5A  # every byte of an output before the model runs

Place = tuple[str, str]
# How our profiles of the places treat the case, in the words of the page.
REPRODUCED = "reproduce it"
REFUSED = "refuse it"
BOTH = "reproduce the answer where it is always the same, refuse the rest"
MEANT = "compute what is meant"


@dataclass(frozen=True)
class Answer:
    """What one place did.

    outputs: None unless it answered.  refused: its message.  signal: what ended the process, and
    said: its last words.  taken: XNNPACK took an operator.
    """

    outputs: tuple[np.ndarray, ...] | None = None
    refused: str = ""
    signal: str = ""
    said: str = ""
    taken: bool = False

    def text(self) -> str:
        """The answer in one line."""
        if self.signal:
            return f"{self.signal}" + (f" ({self.said})" if self.said else "")
        if self.outputs is None:
            return f"refused: {self.refused}"
        shown = ", ".join(_brief(o) for o in self.outputs)
        return f"gives {shown}" + (" (XNNPACK)" if self.taken else "")


def _brief(array: np.ndarray) -> str:
    flat = array.ravel().tolist()
    return f"{flat[:6]}"[:-1] + (", ...]" if len(flat) > 6 else "]") + f" {array.shape}"


def _list(values: Any) -> str:
    flat = np.asarray(values).ravel().tolist()
    text = ", ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in flat[:8])
    return f"[{text}{', ...' if len(flat) > 8 else ''}]"


@dataclass(frozen=True)
class Crash:
    """The process ends by one of these signals; `says` is in its last words."""

    signals: tuple[str, ...]
    says: str = ""

    def __call__(self, answer: Answer) -> bool:
        return answer.signal in self.signals and self.says in answer.said

    def text(self) -> str:
        names = ["no answer" if s == "SIGALRM" else s for s in self.signals]
        return " or ".join(names) + (f" ({self.says})" if self.says else "")


@dataclass(frozen=True)
class Refusal:
    """An error whose message has `says` in it."""

    says: str

    def __call__(self, answer: Answer) -> bool:
        return not answer.signal and answer.outputs is None and self.says in answer.refused

    def text(self) -> str:
        return f'error "{self.says}"'


@dataclass(frozen=True)
class Values:
    """Exactly these outputs; a flat list says nothing about the shape."""

    outputs: tuple[Any, ...]

    def __call__(self, answer: Answer) -> bool:
        found = answer.outputs
        if found is None or len(found) < len(self.outputs):
            return False
        return all(map(_same, self.outputs, found))

    def text(self) -> str:
        return "; ".join(map(_list, self.outputs))


def _same(expected: Any, found: np.ndarray) -> bool:
    array = np.asarray(expected)
    if (array.ndim > 1 and array.shape != found.shape) or array.size != found.size:
        return False
    return np.array_equal(array.ravel().astype(found.dtype), found.ravel(), found.dtype.kind == "f")


@dataclass(frozen=True)
class Shape:
    """The first output has this shape, whatever is in it."""

    shape: tuple[int, ...]

    def __call__(self, answer: Answer) -> bool:
        return answer.outputs is not None and answer.outputs[0].shape == self.shape

    def text(self) -> str:
        return f"an output of shape {self.shape}"


@dataclass(frozen=True)
class Unlike:
    """An answer that is not this one, and that need not be the same twice."""

    right: Any
    words: str

    def __call__(self, answer: Answer) -> bool:
        return answer.outputs is not None and not _same(self.right, answer.outputs[0])

    def text(self) -> str:
        return self.words


@dataclass(frozen=True)
class Unwritten:
    """The output, from element `start` on, still is what its memory held before."""

    start: int = 0

    def __call__(self, answer: Answer) -> bool:
        if answer.outputs is None:
            return False
        left = np.ascontiguousarray(answer.outputs[0]).ravel()[self.start :]
        return left.size > 0 and bool((left.view(np.uint8) == FILL).all())

    def text(self) -> str:
        return "the output is not written" + (
            f" from element {self.start} on" if self.start else ""
        )


@dataclass(frozen=True)
class Threads:
    """The outputs for the first and the last number of threads are not the same."""

    def __call__(self, answer: Answer) -> bool:
        if answer.outputs is None:
            return False
        half = len(answer.outputs) // 2
        pairs = zip(answer.outputs[:half], answer.outputs[half:], strict=True)
        return any(not np.array_equal(a, b) for a, b in pairs)

    def text(self) -> str:
        return "depends on num_threads"


@dataclass(frozen=True)
class Either:
    """One of several: where memory is corrupted, what follows is chance."""

    outcomes: tuple[Any, ...]

    def __call__(self, answer: Answer) -> bool:
        return any(o(answer) for o in self.outcomes)

    def text(self) -> str:
        return " or ".join(o.text() for o in self.outcomes)


Outcome = Crash | Refusal | Values | Shape | Unlike | Unwritten | Threads | Either


def crash(*signals: str, says: str = "") -> Crash:
    return Crash(signals, says)


# After memory was corrupted; SIGALRM ends a process that no longer answers.
CORRUPTED = Crash(("SIGABRT", "SIGSEGV", "SIGBUS", "SIGALRM"))


def gives(*outputs: Any) -> Values:
    return Values(outputs)


NO_FALLBACK = "There is no fallback: the interpreter cannot be made."


def stops(says: str, right: Outcome, runtimes: str = "*") -> dict[str, Any]:
    """Fields of a bug: XNNPACK takes the operator and then fails; other paths answer `right`."""
    seen = at(runtimes, "xnnpack", Refusal(says))
    return {"ours": REFUSED, "seen": seen, "right": right, "note": NO_FALLBACK}


def at(runtimes: str, paths: str, outcome: Outcome) -> dict[Place, Outcome]:
    """The outcome at some places: at("tensorflow", "optimized xnnpack", ...); "*" is all."""
    chosen = RUNTIMES if runtimes == "*" else runtimes.split()
    return {
        (r, p): outcome for r in chosen for p in (PATHS if paths == "*" else paths.split())
    }  # fmt: skip


@dataclass(frozen=True)
class Case:
    """The smallest model of a bug and what to feed it.

    inputs: of the last invocation.  before: of those before it.  read: tensors read afterwards;
    None reads the outputs.  keep: preserve all tensors.  call: the operator, where there is one.
    mapped: the runtime gets a file, which it maps into memory, and not the bytes.
    """

    model: Any
    inputs: Sequence[np.ndarray]
    before: tuple[Sequence[np.ndarray], ...] = ()
    read: tuple[int, ...] | None = None
    keep: bool = False
    call: Call | None = None
    mapped: bool = False


@dataclass(frozen=True)
class Bug:
    """One defect.

    key: slug.  title: what is wrong, a sentence.  operators: that have it.  trigger: the smallest
    model in words.  correct: what a kernel without the defect gives.  ours: how our profiles treat
    it: REPRODUCED, REFUSED, BOTH, MEANT; "" where it is no matter of kernels.  note: more to know.
    seen: what each wrong place does.  right: what the others do, None where it is of no interest.
    threads: numbers of threads that are tried.  build: makes the Case, or a Call.
    """

    key: str
    title: str
    operators: tuple[str, ...]
    trigger: str
    correct: str
    ours: str
    seen: Mapping[Place, Outcome]
    build: Callable[[], Case | Call]
    family: str
    right: Outcome | None = None
    note: str = ""
    threads: tuple[int, ...] = (1,)

    def case(self) -> Case:
        """The smallest model with its inputs."""
        from qcore.testing import models

        made = self.build()
        if isinstance(made, Case):
            return made
        return Case(models.to_model(made), models.arrays(made), call=made)

    def make(self) -> tuple[Any, list[np.ndarray]]:
        """The smallest model, and the arrays to feed it."""
        case = self.case()
        return case.model, list(case.inputs)

    def expected(self, place: Place) -> Outcome | None:
        return self.seen.get(place, self.right)

    def problem(self, place: Place, answer: Answer) -> str | None:
        """A sentence where the place does not behave as documented."""
        outcome = self.expected(place)
        if outcome is None or outcome(answer):
            return None
        name = f"{self.key} on {RUNTIMES[place[0]]}, {place[1]}"
        if place not in self.seen:
            return f"{name}: documented as right ({outcome.text()}), but it {answer.text()}"
        if self.right is not None and self.right(answer):
            return f"{name}: is fixed (it {answer.text()}); documented: {outcome.text()}"
        return f"{name}: no longer as documented ({outcome.text()}); now {answer.text()}"


@dataclass
class Family:
    """The bugs of one module, collected by its decorator."""

    name: str
    bugs: list[Bug] = field(default_factory=list)

    def __call__(
        self, key: str, title: str, operators: str, trigger: str, **fields: Any
    ) -> Callable[[Callable[[], Case | Call]], Callable[[], Case | Call]]:
        """Register the function that builds the case."""

        def register(build: Callable[[], Case | Call]) -> Callable[[], Case | Call]:
            self.bugs.append(
                Bug(key, title, tuple(operators.split()), trigger, build=build, family=self.name,
                    **fields)
            )  # fmt: skip
            return build

        return register


def grouped(seen: Mapping[Place, Outcome]) -> Iterable[tuple[str, str]]:
    """(places in words, outcome in words), equal outcomes together."""
    texts: dict[str, list[Place]] = {}
    for place in PLACES:
        if place in seen:
            texts.setdefault(seen[place].text(), []).append(place)
    for text, places in texts.items():
        words: dict[tuple[str, ...], list[str]] = {}
        for runtime, name in RUNTIMES.items():
            paths = tuple(p for p in PATHS if (runtime, p) in places)
            if paths:
                words.setdefault(paths, []).append(name)
        where = "; ".join(
            f"{' and '.join(names)}, {'every path' if paths == PATHS else ' and '.join(paths)}"
            for paths, names in words.items()
        )
        yield where, text
