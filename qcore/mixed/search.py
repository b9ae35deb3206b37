"""The fewest operators to keep float or at int16, or the fewest of their products, for a quality.

Losses of operators nearly add up, so what becoming float gains is a good guess that one trial
corrects: a lazy greedy search (M. Minoux, Accelerated greedy algorithms for maximizing submodular
set functions, 1978) takes the best gain for its price again and again; then what turned out not to
be needed becomes integer again, the dearest first. The same is done from the other end, with all
operators kept, and single exchanges are tried on the cheaper set until none is cheaper still.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from qcore.errors import BadInput
from qcore.mixed.costs import chosen
from qcore.mixed.trials import Metric, Score, Trials, Unit
from qcore.progress import track
from qcore.recipe import Recipe

PRICES = ("operators", "macs")
_AT = {"float": "float", "int16": "at int16"}
_AHEAD = 4  # trials at a time where the first that succeeds is taken
_AT_ONCE = 2  # steps measured again at a time; not the threads, which must not decide anything


@dataclass(frozen=True, eq=False)
class Mixed:
    """What the search found.

    recipe: the one that was given, with a rule for each operator that is kept.
    floats: these operators.  keep: what they are kept at, "float" or "int16".
    reached: whether `score` is at least `target`; if not, the set of best score that the budget
    allows was taken.  share: of the model's products, computed so.
    before: the score with everything quantized.  evaluations: models that were made and measured.
    """

    recipe: Recipe
    floats: tuple[Unit, ...]
    target: float
    reached: bool
    what: str
    before: Score
    score: Score
    share: float
    evaluations: int
    seconds: float
    keep: str = "float"

    def __str__(self) -> str:
        done = "reached" if self.reached else "not reached"
        lines = [
            f"{self.what}: {self.before.value:.2f} -> {self.score.value:.2f} "
            f"(target {self.target:.2f} {done})",
            f"{len(self.floats)} operators {_AT[self.keep]}, {100 * self.share:.1f} % of the "
            f"products; {self.evaluations} models tried in {self.seconds:.1f} s",
            *(f"  {u.op} {u.name}" for u in self.floats),
        ]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        out = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        out |= {"recipe": self.recipe.to_json(), "before": dataclasses.asdict(self.before)}
        out |= {"score": dataclasses.asdict(self.score)}
        return out | {"floats": [dataclasses.asdict(u) for u in self.floats]}


def mixed(
    model: Any, recipe: str | Recipe = "int8", calibration: Any = None,
    samples: Iterable[Any] | None = None, labels: Any = None, *, target: float | None = None,
    gain: float | None = None, budget: float = 1.0, price: str = "macs",
    keep: str = "float", metric: Metric | None = None, threads: int | None = None, **options: Any,
) -> Mixed:  # fmt: skip
    """The cheapest set of operators to leave float such that the outputs are good enough.

    target: the SQNR in dB (or the metric) to reach; gain: the same, above that of `recipe`.
    budget: at most this share of the model's products in float.  price: what is to be least,
    "macs" (products) or "operators".  keep: "int16" keeps the operators at int16 activations
    (mode int16x8) instead, those that have no such kernel int8.  Others: as for `sensitivity`.
    Raises BadInput for a target that is not one; what `quantize` raises; RuntimeFailed.
    """
    if (target is None) == (gain is None):
        raise BadInput("give the quality to reach as `target`, or as `gain` above the recipe's")
    if price not in PRICES:
        raise BadInput(f"price {price!r} is unknown; use one of {', '.join(PRICES)}")
    if not 0 <= budget <= 1:
        raise BadInput(f"budget {budget} is no share of the products; give 0 to 1")
    samples, calibration = chosen(samples, calibration)
    trials = Trials(model, recipe, calibration, samples, labels, metric, threads, keep, **options)
    before = trials.score()
    wanted = before.value + gain if target is None else target  # type: ignore[operator]
    return Search(trials, wanted, budget, price).run()


class Search:
    """One search. The set grows until it reaches the target, and is thinned out afterwards."""

    def __init__(self, trials: Trials, target: float, budget: float, price: str) -> None:
        self.trials, self.target, self.price = trials, target, price
        self.whole = trials.macs
        self.most = budget * self.whole

    def run(self) -> Mixed:
        began = time.perf_counter()
        before = self.trials.score()
        floats, score = self._grow(before)
        sets = [floats] if score.value >= self.target else []
        if floats or not sets:
            sets.append(frozenset(self.trials.units))  # from the other end
        thinned = [self._thin(s) for s in sets if self.trials.score(s).value >= self.target]
        within = [s for s in thinned if self._fits(s)]
        reached = bool(within)
        if reached:
            floats = self._exchange(min(within, key=self.cost))
            score = self.trials.score(floats)
        return Mixed(
            self.trials.recipe(floats), _ordered(floats), self.target, reached, self.trials.what,
            before, score, sum(u.macs for u in floats) / self.whole if self.whole else 0.0,
            self.trials.evaluations, time.perf_counter() - began, self.trials.keep,
        )  # fmt: skip

    def cost(self, units: Iterable[Unit]) -> tuple[float, int]:
        """What is to be least, and what decides among equals."""
        units = list(units)
        macs = sum(u.macs for u in units)
        return (macs, len(units)) if self.price == "macs" else (len(units), macs)

    def _fits(self, units: Iterable[Unit]) -> bool:
        return sum(u.macs for u in units) <= self.most

    def _rate(self, gain: float, more: frozenset[Unit]) -> float:
        """Gain for its price; units without products are not free, their conversions are not."""
        if self.price == "operators":
            return gain / len(more)
        return gain / max(sum(u.macs for u in more), self.whole / 1000, 1)

    def _grow(self, before: Score) -> tuple[frozenset[Unit], Score]:
        """Lazy greedy: guesses from the set before, the best ones measured again.

        A step takes one unit, or all that read or write a value: its rounding is what many
        operators suffer from, and it is gone only when all of them are float.
        """
        steps = [frozenset({u}) for u in self.trials.units] + list(self.trials.joints())
        steps = [s for s in steps if self._fits(s)]
        scores = track(
            self.trials.scores(steps),
            f"keeping a few operators {_AT[self.trials.keep]}",
            len(steps),
        )
        guess = {s: before.loss - found.loss for s, found in zip(steps, scores)}
        floats: frozenset[Unit] = frozenset()
        best, score = (floats, before), before
        while score.value < self.target:
            open_ = {s: s - floats for s in guess if s - floats and self._fits(floats | s)}
            measured: set[frozenset[Unit]] = set()
            while open_:
                ordered = sorted(open_, key=lambda s: -self._rate(guess[s], open_[s]))
                if ordered[0] in measured:
                    break
                todo = [s for s in ordered[:_AT_ONCE] if s not in measured]
                for s, found in zip(todo, self.trials.scores([floats | s for s in todo])):
                    guess[s] = score.loss - found.loss
                    measured.add(s)
            if not open_:
                break
            floats = floats | ordered[0]  # even for a loss: two may only gain together
            score = self.trials.score(floats)
            if score.value > best[1].value:
                best = floats, score
        return best

    def _thin(self, floats: frozenset[Unit]) -> frozenset[Unit]:
        """Without what is not needed, the dearest first; as many at a time as goes well."""
        left = sorted(_ordered(floats), key=lambda u: self.cost([u]), reverse=True)
        step = 1
        while left:
            without = floats - set(left[:step])
            if self.trials.score(without).value >= self.target:
                floats, left, step = without, left[step:], 2 * step
            elif step > 1:
                step //= 2
            else:
                left = left[1:]
        return floats

    def _exchange(self, floats: frozenset[Unit]) -> frozenset[Unit]:
        """With one unit in the place of one or two others, as long as that is cheaper."""
        while True:
            better = self._cheaper(floats)
            for start in range(0, len(better), _AHEAD):
                part = better[start : start + _AHEAD]
                scores = list(self.trials.scores(part))
                good = [s for s, x in zip(part, scores) if x.value >= self.target]
                if good:
                    floats = self._thin(good[0])
                    break
            else:
                return floats

    def _cheaper(self, floats: frozenset[Unit]) -> list[frozenset[Unit]]:
        """Sets that differ by one exchange and cost less and look good enough, the cheapest first.

        Looks good: the losses added up from what single units gained, with a margin of a half.
        """
        now = self.trials.score(floats).loss
        base = self.trials.score().loss
        gains = {
            u: base - self.trials.score({u}).loss for u in self.trials.units if self._fits([u])
        }
        limit = self.trials.loss_of(self.target)
        found = []
        removed = [frozenset(pair) for n in (1, 2) for pair in combinations(_ordered(floats), n)]
        for out in removed:
            for unit, gain in gains.items():
                if unit in floats:
                    continue
                made = (floats - out) | {unit}
                expected = now + sum(gains.get(u, 0.0) for u in out) - gain
                if (
                    self.cost(made) < self.cost(floats)
                    and self._fits(made)
                    and expected - limit <= 0.5 * abs(limit)
                ):
                    found.append((self.cost(made), expected, made))
        found.sort(key=lambda row: (row[1], row[0]))
        return [made for _, _, made in found[: 4 * _AHEAD]]


def _ordered(units: Iterable[Unit]) -> tuple[Unit, ...]:
    """As they stand in the model: a set has no order that is the same in the next process."""
    return tuple(sorted(units, key=lambda u: (u.subgraph, u.number)))
