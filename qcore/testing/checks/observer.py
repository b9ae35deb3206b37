"""A user's own observer: `check_observer(MyObserver())`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

from qcore.errors import BadInput, QcoreError
from qcore.observers import Observer, State, extremes
from qcore.testing.checks.failure import CheckFailed
from qcore.testing.checks.scheme import expression, imported, literal
from qcore.testing.checks.search import Found, search
from qcore.testing.strategies.numbers import finite32

SIZES = (1, 4, 16)  # values in a sample
SAMPLES = 5

# Name -> what an observer is held to; a failure begins with the name.
OBSERVER_PROPERTIES = {
    "saved": "observer and state come back equal from their JSON",
    "answers": "any finite values are taken, and give one finite range and their count",
    "input": "the values are not written to, and not needed once update is over",
    "merge": "merging parts of the data, cut anywhere, is one pass over all",
    "associative": "(a, b), c merge as a, (b, c)",
    "start": "merging with the state before any data changes nothing",
    "pure": "neither merge nor stats changes a state",
    "order": "the order of the samples does not matter (unless `ordered`)",
    "division": "how values are divided among samples does not matter (unless `ordered`)",
    "append": "a sample's extremes and count are all that counts (where `ordered`)",
}

Samples = Sequence[np.ndarray]


@dataclass
class ObserverCheck:
    """What was gone through. properties: name -> how often it was looked at and held."""

    name: str
    examples: int = 0
    values: int = 0
    properties: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        return (
            f"{self.name}: {len(self.properties)} properties hold, {self.examples:,} examples, "
            f"{self.values:,} values"
        )


def check_observer(
    observer: Observer, *, examples: int = 200, seed: int | None = 0
) -> ObserverCheck:
    """Hold an observer to every one of OBSERVER_PROPERTIES that it promises.

    examples: sets of samples to try.  seed: the same for the same number; None draws new ones.
    Raises CheckFailed: the property, and the smallest case found as Python.
    """
    if not isinstance(observer, Observer):
        raise BadInput(f"check_observer takes an Observer, got {type(observer).__name__}")
    done = ObserverCheck(f"observer {observer.key!r}")
    try:
        back: Any = Observer.from_json(observer.to_json())
    except QcoreError as error:
        back = error
    if back != observer:
        raise CheckFailed(
            f"saved: {done.name} comes back as {back} ({OBSERVER_PROPERTIES['saved']})"
        )

    def cases(size: int) -> st.SearchStrategy[list[np.ndarray]]:
        elements = st.one_of(st.sampled_from([0.0, 1.0, -1.0]), finite32())
        values = st.lists(elements, min_size=1, max_size=size)
        return st.lists(
            values.map(lambda v: np.array(v, np.float32)), max_size=min(size + 2, SAMPLES)
        )

    found = search(cases, lambda samples: _hold(observer, samples, done), examples, seed, SIZES)
    if found is not None:
        raise CheckFailed(found.sentence, found.more[0])
    if not done.values:
        raise CheckFailed(f"{done.name}: nothing was observed")
    return done


def _hold(observer: Observer, samples: Samples, done: ObserverCheck) -> None:
    one = _Case(observer, samples, done)
    done.examples += 1
    done.values += sum(s.size for s in samples)
    whole = one.observe(samples)
    for test in (_kept, _statistics, _saved, _merged, _pure):
        test(one, whole)
    (_appended if observer.ordered else _any_order)(one, whole)


@dataclass(frozen=True)
class _Case:
    about: Observer
    samples: Samples
    done: ObserverCheck

    def observe(self, samples: Samples, gone: bool = True) -> State:
        state = self.about.start()
        for values in samples:
            # Memory of the runtime's: gone after the call.
            lent = values.copy()
            try:
                with np.errstate(all="ignore"):
                    state.update(lent, *extremes(values))
            except Exception as error:
                raise self.broken(
                    "answers", f"it raised {type(error).__name__}: {error}", "whole = one_pass()"
                ) from error
            if lent.tobytes() != values.tobytes():
                raise self.broken("input", "the values were written to", *_WRITTEN)
            if gone:
                lent[:] = np.nan
        return state

    def broken(self, name: str, what: str, *lines: str) -> Found:
        written = [
            "import json", "", "import numpy as np", "",
            "from qcore.observers import extremes", imported(self.about), "",
            f"observer = {expression(self.about)}",
            f"samples = [{', '.join(f'np.float32({literal(s)})' for s in self.samples)}]", "", "",
            "def observe(samples):", "    state = observer.start()", "    for values in samples:",
            "        lent = values.copy()", "        state.update(lent, *extremes(values))",
            "        lent[:] = np.nan", "    return state", "", "",
            *(line.replace("one_pass()", "observe(samples)") for line in lines),
        ]  # fmt: skip
        sentence = f"{name}: {self.done.name}: {what} ({OBSERVER_PROPERTIES[name]})"
        return Found(sentence, "\n".join(written) + "\n")

    def call(self, make: Callable[[], Any], *lines: str) -> Any:
        """What `make` gives; Found where it raises."""
        try:
            with np.errstate(all="ignore"):
                return make()
        except Exception as error:
            said = f"it raised {type(error).__name__}: {error}"
            raise self.broken("answers", said, *lines) from error

    def held(self, name: str) -> None:
        self.done.properties[name] = self.done.properties.get(name, 0) + 1


_WRITTEN = (
    "values = samples[-1].copy()", "observer.start().update(values, *extremes(values))",
    "assert values.tobytes() == samples[-1].tobytes()",
)  # fmt: skip
_ONE_PASS = "whole = one_pass()"


def _kept(case: _Case, whole: State) -> None:
    if case.observe(case.samples, gone=False) != whole:
        raise case.broken(
            "input", "the state changes when the values do, after update",
            "state = observer.start()", "for values in samples:",
            "    state.update(values, *extremes(values))", "assert state == one_pass()",
        )  # fmt: skip
    case.held("input")


def _statistics(case: _Case, whole: State) -> None:
    stats = case.call(whole.stats, _ONE_PASS, "whole.stats()")
    count = sum(s.size for s in case.samples)
    lines = (_ONE_PASS, "stats = whole.stats()")
    if stats.groups != 1 or stats.count != count:
        raise case.broken(
            "answers", f"{stats.groups} groups and {stats.count} values of {count}",
            *lines, f"assert stats.groups == 1 and stats.count == {count}",
        )  # fmt: skip
    if count and not (np.isfinite([stats.lo[0], stats.hi[0]]).all() and stats.lo[0] <= stats.hi[0]):
        raise case.broken(
            "answers", f"the range is [{stats.lo[0]}, {stats.hi[0]}]",
            *lines, "assert np.isfinite(stats.lo[0]) and np.isfinite(stats.hi[0])",
            "assert stats.lo[0] <= stats.hi[0]",
        )  # fmt: skip
    case.held("answers")


def _saved(case: _Case, whole: State) -> None:
    text = "json.dumps(whole.to_json())"
    lines = (_ONE_PASS, f"back = observer.state.from_json(json.loads({text}))")
    back = case.call(
        lambda: case.about.state.from_json(json.loads(json.dumps(whole.to_json()))), *lines
    )
    if back != whole or back.stats() != whole.stats():
        raise case.broken(
            "saved", "the state that comes back is another", *lines,
            "assert back == whole and back.stats() == whole.stats()",
        )  # fmt: skip
    case.held("saved")


def _merged(case: _Case, whole: State) -> None:
    samples, parts = case.samples, len(case.samples)
    for cut in range(parts + 1):
        left, right = case.observe(samples[:cut]), case.observe(samples[cut:])
        lines = (
            f"left, right = observe(samples[:{cut}]), observe(samples[{cut}:])",
            "merged = left.merge(right)",
        )
        merged = case.call(lambda a=left, b=right: a.merge(b), *lines)  # type: ignore[misc]
        if merged != whole or merged.stats() != whole.stats():
            name = "start" if cut in (0, parts) else "merge"
            raise case.broken(
                name, f"{_said(merged)} merged from {cut} and {parts - cut} samples, "
                f"{_said(whole)} in one pass", *lines,
                "assert merged == one_pass() and merged.stats() == one_pass().stats()",
            )  # fmt: skip
        case.held("merge" if 0 < cut < parts else "start")
    for first in range(1, parts - 1):
        a, b, c = (case.observe(p) for p in (samples[:first], samples[first:-1], samples[-1:]))
        if case.call(lambda a=a, b=b, c=c: a.merge(b).merge(c) != a.merge(b.merge(c))):  # type: ignore[misc]
            raise case.broken(
                "associative", "the two orders of merging differ",
                f"a, b, c = observe(samples[:{first}]), observe(samples[{first}:-1]), "
                "observe(samples[-1:])",
                "assert a.merge(b).merge(c) == a.merge(b.merge(c))",
            )  # fmt: skip
        case.held("associative")


def _pure(case: _Case, whole: State) -> None:
    cut = len(case.samples) // 2
    a, b = case.observe(case.samples[:cut]), case.observe(case.samples[cut:])
    before = json.dumps([a.to_json(), b.to_json()])
    merged = a.merge(b)
    kept = json.dumps(merged.to_json())
    merged.stats()
    one = np.array([7.0], np.float32)
    a.update(one, 7.0, 7.0)
    b.update(one, 7.0, 7.0)
    lines = (
        f"a, b = observe(samples[:{cut}]), observe(samples[{cut}:])",
        "before = json.dumps([a.to_json(), b.to_json()])",
        "merged = a.merge(b)",
        "merged.stats()",
        "assert json.dumps([a.to_json(), b.to_json()]) == before",
        "kept = json.dumps(merged.to_json())",
        "a.update(np.float32([7]), 7.0, 7.0)",
        "b.update(np.float32([7]), 7.0, 7.0)",
        "assert json.dumps(merged.to_json()) == kept",
    )
    again = [case.observe(case.samples[:cut]), case.observe(case.samples[cut:])]
    again[0].merge(again[1]).stats()
    if json.dumps([s.to_json() for s in again]) != before:
        raise case.broken("pure", "merge changed one of the states that it was given", *lines)
    if json.dumps(merged.to_json()) != kept:
        raise case.broken("pure", "a merged state changes with those it was made of", *lines)
    case.held("pure")


def _any_order(case: _Case, whole: State) -> None:
    samples = case.samples
    turned = case.observe(samples[::-1])
    if turned != whole or turned.stats() != whole.stats():
        raise case.broken(
            "order", f"{_said(turned)} in reverse, {_said(whole)} before",
            "assert observe(samples[::-1]) == one_pass()",
        )  # fmt: skip
    case.held("order")
    if not samples:
        return
    values = np.concatenate(samples)
    for other, text in (
        ([values], "[np.concatenate(samples)]"),
        (np.split(values, values.size), "np.split(np.concatenate(samples), "
                                        f"{values.size})"),
    ):  # fmt: skip
        divided = case.observe(other)
        if divided != whole or divided.stats() != whole.stats():
            raise case.broken(
                "division", f"{_said(divided)} from {len(other)} samples, {_said(whole)} from "
                f"{len(samples)}", f"assert observe({text}) == one_pass()",
            )  # fmt: skip
    case.held("division")


def _appended(case: _Case, whole: State) -> None:
    state = case.about.start()
    lines = (
        "state = observer.start()",
        "for values in samples:",
        "    state.append(*extremes(values), values.size)",
        "assert state == one_pass()",
    )
    for values in case.samples:
        case.call(lambda v=values: state.append(*extremes(v), v.size), *lines)  # type: ignore[misc]
    if state != whole:
        raise case.broken("append", f"{_said(state)}, {_said(whole)} by update", *lines)
    case.held("append")


def _said(state: State) -> str:
    stats = state.stats()
    return f"[{stats.lo[0]}, {stats.hi[0]}] of {stats.count} values"
