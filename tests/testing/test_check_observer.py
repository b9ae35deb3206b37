"""check_observer: what ships passes, and each property is seen to be broken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from qcore.errors import BadInput
from qcore.observers import HistogramObserver, MinMax, MovingAverage, Observer, TFLite
from qcore.observers.histogram import HistogramState
from qcore.observers.minmax import MinMaxState
from qcore.observers.moving_average import MovingAverageState
from qcore.plugs import Plug
from qcore.testing.checks.failure import CheckFailed
from qcore.testing.checks.observer import OBSERVER_PROPERTIES, check_observer

_BEFORE = set(Plug._registry)
UNORDERED = set(OBSERVER_PROPERTIES) - {"append"}
ORDERED = set(OBSERVER_PROPERTIES) - {"order", "division"}


@pytest.mark.parametrize(
    "observer",
    [MinMax(), MovingAverage(), MovingAverage(0.5), HistogramObserver(), HistogramObserver(8),
     TFLite()],
    ids=str,
)  # fmt: skip
def test_observers_that_ship_hold(observer, depth):
    done = check_observer(observer, examples=60 * depth)
    assert done.examples >= 60 and done.values > 100
    assert set(done.properties) == (ORDERED if observer.ordered else UNORDERED)
    assert observer.key in str(done)


# --- wrong ones: the state of MinMax or MovingAverage with one thing wrong ------------------------


class Sums(MinMaxState):
    """Counts what it merged twice over."""

    def merge(self, other):
        made = super().merge(other)
        made.count += self.count > 0 and other.count > 0
        return made


class FromZero(MinMaxState):
    def merge(self, other):
        made = super().merge(other)
        made.lo, made.hi = min(made.lo, 0.0), max(made.hi, 0.0)
        return made


class Halves(MinMaxState):
    """The middle of two ranges, which depends on how they are bracketed."""

    def update(self, values, lo, hi):
        first = self.count == 0
        self.lo, self.hi = (lo, hi) if first else ((self.lo + lo) / 2, (self.hi + hi) / 2)
        self.count += values.size


class Keeps(MinMaxState):
    __slots__ = ("last",)

    def update(self, values, lo, hi):
        self.last = values
        super().update(values, lo, hi)

    def to_json(self):
        return {**super().to_json(), "last": float(self.last[0]) if self.count else 0.0}


class Overwrites(MinMaxState):
    def update(self, values, lo, hi):
        np.abs(values, out=values)
        super().update(values, lo, hi)


class Counts(MinMaxState):
    def update(self, values, lo, hi):
        super().update(values, lo, hi)
        self.count += 1


class InPlace(MinMaxState):
    def merge(self, other):
        self.lo, self.hi = min(self.lo, other.lo), max(self.hi, other.hi)
        self.count += other.count
        return self


class Rounds(MinMaxState):
    def to_json(self):
        return {"lo": str(self.lo), "hi": str(self.hi), "count": self.count}

    @classmethod
    def from_json(cls, data):
        return cls(float(np.float16(data["lo"])), float(np.float16(data["hi"])), data["count"])


class Infinite(MinMaxState):
    def update(self, values, lo, hi):
        with np.errstate(over="ignore"):
            super().update(values, lo, float(np.float32(hi) * np.float32(4)))


class Raises(MinMaxState):
    def update(self, values, lo, hi):
        if lo == hi == 0:
            raise ZeroDivisionError("no width")
        super().update(values, lo, hi)


class Last(MinMaxState):
    """Merges as one pass does, and still depends on the order."""

    def update(self, values, lo, hi):
        self.lo, self.hi = lo, hi
        self.count += values.size

    def merge(self, other):
        last = other if other.count else self
        return type(self)(last.lo, last.hi, self.count + other.count)


class Means(MinMaxState):
    """Of each sample its mean: the order does not matter, the samples do."""

    def update(self, values, lo, hi):
        mean = float(np.float64(values).mean())
        super().update(values, mean, mean)


class Right(MinMaxState):
    pass


class RightAverage(MovingAverageState):
    """A subclass merges to its own kind, as the others do."""


class RightHistogram(HistogramState):
    pass


class Absent(MovingAverageState):
    def append(self, lo, hi, count):
        super().append(lo, lo, count)

    def update(self, values, lo, hi):
        super().append(lo, hi, values.size)


@dataclass(frozen=True)
class Forgetful(Observer):
    key: ClassVar[str] = "forgetful-in-a-test"
    state: ClassVar[type] = MinMaxState
    bins: int = 8

    def to_json(self):
        return self.key


class Longer(MinMaxState):
    """Keeps its widths in a list, so that (a, b), c is not a, (b, c)."""

    __slots__ = ("depth",)

    def __init__(self, *args):
        super().__init__(*args)
        self.depth = 0

    def merge(self, other):
        made = super().merge(other)
        if self.count and other.count:
            made.depth = self.depth + 2 * other.depth + 1
        return made

    def __eq__(self, other):
        same = super().to_json() == other.to_json()
        return same and (self.depth == other.depth or 0 in (self.depth, other.depth))


WRONG = {
    Sums: "merge", FromZero: "start", Halves: "merge", Keeps: "input", Overwrites: "input",
    Counts: "answers", InPlace: "pure", Rounds: "saved", Infinite: "answers", Raises: "answers",
    Last: "order", Means: "division", Absent: "append", Longer: "associative",
}  # fmt: skip
RIGHT = (Right, RightAverage, RightHistogram)


def observer_of(kind: type) -> Observer:
    """An observer of the module's own, so that pasted Python can import it."""
    return globals()[f"Observes{kind.__name__}"]()


for _kind in (*WRONG, *RIGHT):
    _name = f"Observes{_kind.__name__}"
    _made = type(
        _name,
        (Observer,),
        {
            "state": _kind, "key": f"{_name}-in-a-test", "__module__": __name__,
            "ordered": issubclass(_kind, MovingAverageState),
        },
    )  # fmt: skip
    globals()[_name] = dataclass(frozen=True)(_made)
# Known only while these tests run: others list the observers that there are.
_MINE = {key: Plug._registry.pop(key) for key in set(Plug._registry) - _BEFORE}


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    for key, plug in _MINE.items():
        monkeypatch.setitem(Plug._registry, key, plug)


def test_every_property_is_broken_once():
    assert set(WRONG.values()) == set(OBSERVER_PROPERTIES)


@pytest.mark.parametrize("kind", RIGHT)
def test_a_right_one_is_right(kind):
    assert check_observer(observer_of(kind), examples=30).values > 100


@pytest.mark.parametrize("kind", WRONG, ids=lambda c: c.__name__)
def test_a_wrong_observer_is_seen(kind):
    with pytest.raises(CheckFailed) as error:
        check_observer(observer_of(kind))
    assert error.value.sentence.split(":")[0] == WRONG[kind], error.value.sentence
    assert f"observer = Observes{kind.__name__}()" in error.value.python
    with pytest.raises((AssertionError, ZeroDivisionError)):
        exec(compile(error.value.python, "pasted", "exec"), {})


def test_what_is_pasted_runs_through_for_a_right_observer():
    for kind in WRONG:
        if kind in (Absent, Longer):
            continue
        with pytest.raises(CheckFailed) as error:
            check_observer(observer_of(kind))
        exec(error.value.python.replace(kind.__name__, "Right"), {})


def test_the_smallest_case_is_small():
    with pytest.raises(CheckFailed) as error:
        check_observer(observer_of(FromZero))
    assert "samples = []" in error.value.python
    with pytest.raises(CheckFailed) as error:
        check_observer(observer_of(Overwrites))
    assert "samples = [np.float32([-1.0])]" in error.value.python


def test_an_observer_that_is_not_saved():
    with pytest.raises(CheckFailed, match="saved: "):
        check_observer(Forgetful(9))


def test_refused():
    with pytest.raises(BadInput, match="takes an Observer, got MinMaxState"):
        check_observer(MinMaxState())
