"""Which recipe to deploy on a device, measured on the user's own model: `qcore.advise`.

Every strategy is made, checked against the target's table, and compared with the float model; the
answer is a rule on what was measured, and says the numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from qcore.check import TargetFit, check
from qcore.errors import BadInput
from qcore.targets import find
from qcore.targets.rule import Placement

if TYPE_CHECKING:
    from qcore.compare.values import Candidate, Comparison
    from qcore.recipe import Recipe

FLOAT, ISLANDS = "float32", "int8 with float islands"
STRATEGIES = ("float16", "dynamic", "int8", "int16x8")
PATHS = {"reference": "reference", "xnnpack": "xnnpack"}  # target -> path that is timed
LEAST_DB = 20.0
MOST_LOST = 0.01


@dataclass(frozen=True)
class Option:
    """One strategy on the target.

    bytes: of the file.  SQNR_dB: of the worst output against float; None for float itself.
    accuracy: share of labelled samples that are right, None without labels.  ms: for one sample,
    None where the target cannot be timed here.  share: of the products that run on the target,
    None if there are none.  left: operators that do not.  verdict: what becomes of it there.
    against: why it is not taken, "" if it might be.
    """

    name: str
    bytes: int
    SQNR_dB: float | None
    accuracy: float | None
    ms: float | None
    share: float | None
    left: int
    verdict: str
    against: str = ""


@dataclass(frozen=True)
class Advice:
    """What was measured, and what follows. chosen: name of an option, None where none will do.
    recipe: of the chosen one, None for float.  model: the chosen one itself."""

    target: str
    options: tuple[Option, ...]
    chosen: str | None
    reasons: tuple[str, ...]
    recipe: Recipe | None = None
    model: Any = field(default=None, repr=False, compare=False)

    def __getitem__(self, name: str) -> Option:
        """The option with this name. Raises KeyError."""
        for option in self.options:
            if option.name == name:
                return option
        raise KeyError(name)

    def table(self) -> str:
        """A line for each option, and the answer."""
        lines = [f"{o.name}: {words(o)}" for o in self.options]
        lines.append(f"{self.target}: {self.chosen or 'none of them'}")
        return "\n".join([*lines, *(f"  {reason}" for reason in self.reasons)])

    __str__ = table

    def to_json(self) -> dict[str, Any]:
        """Plain values, for --json."""
        return {
            "target": self.target,
            "chosen": self.chosen,
            "reasons": list(self.reasons),
            "options": [asdict(o) for o in self.options],
            "recipe": None if self.recipe is None else self.recipe.to_json(),
        }


def words(o: Option) -> str:
    """What was measured of an option, in a line."""
    parts = [f"{o.bytes:,} bytes"]
    parts += [] if o.SQNR_dB is None else [f"{o.SQNR_dB:.1f} dB"]
    parts += [] if o.accuracy is None else [f"{100 * o.accuracy:.2f} % right"]
    parts += [] if o.ms is None else [f"{o.ms:.3g} ms"]
    parts += [] if o.share is None else [f"{100 * o.share:.1f} % of the products there"]
    return ", ".join([*parts, o.against or o.verdict])


def advise(
    model: Any,
    target: str,
    samples: Iterable[Any],
    labels: Any = None,
    *,
    evaluation: Sequence[Any] | None = None,
    least: float = LEAST_DB,
    lost: float = MOST_LOST,
    strategies: Sequence[str] = STRATEGIES,
    threads: int | None = None,
) -> Advice:
    """Try what the target can run on the model, and recommend one.

    model: float.  samples: for calibration and, without `evaluation`, for measuring; they are kept.
    labels: classes of the samples that are measured on.  An option is good enough with `labels` if
    at most `lost` of the accuracy is lost, without them if no output has less than `least` dB.
    Of those, a CPU gets the fastest (by the interpreter), any other target what runs the most of
    the products there (to 1 %), leaves the fewest operators, and then is the smallest. Where int8
    is not good enough and what the target leaves runs on a CPU, operators are left float until it
    is (`qcore.mixed`).
    Raises BadInput, BadSample, and what `compare` raises.
    """
    from qcore.compare import compare
    from qcore.recipe import recipe

    device = find(target)
    held = list(samples)
    if not held:
        raise BadInput("advise needs samples to measure on; give at least one")
    path = PATHS.get(target)
    options: dict[str, Any] = {
        "labels": labels, "evaluation": evaluation, "layers": 0, "threads": threads,
        "latency": [path] if path else False, "progress": False,
    }  # fmt: skip
    found = compare(model, list(strategies), held, **options)
    made: dict[str, Any] = {FLOAT: model, **found.models}
    judged = _judge(found, made, target, least, lost)
    recipes = {name: recipe(name) for name in strategies if name in made}
    if "int8" in made and _islands_help(judged, device.placement, "int8"):
        islands = _islands(model, held, least)
        more = compare(model, {ISLANDS: islands}, held, **options)
        if ISLANDS in more.models:
            made[ISLANDS], recipes[ISLANDS] = more.models[ISLANDS], islands
            judged += _judge(more, {ISLANDS: made[ISLANDS]}, target, least, lost)
    good = [o for o in judged if not o.against]
    if not good:
        why = f"nothing that runs there is good enough ({_bar(labels, least, lost)})"
        return Advice(target, tuple(judged), None, (why,))
    best = min(good, key=lambda o: rank(o, path is not None))
    reasons = _reasons(best, good, path is not None, _bar(labels, least, lost))
    return Advice(
        target, tuple(judged), best.name, reasons, recipes.get(best.name), made[best.name]
    )


def rank(o: Option, timed: bool) -> tuple[float, ...]:
    """The smaller, the better: time on a CPU; else products there in per cent, operators that are
    left, size."""
    if timed and o.ms is not None:
        return (o.ms, o.bytes)
    return (-round(100 * (1.0 if o.share is None else o.share)), o.left, o.bytes)


def _judge(
    found: Comparison, made: dict[str, Any], target: str, least: float, lost: float
) -> list[Option]:
    """An option of each candidate that there is a model of, and of those that there is none of."""
    truth = found.truth.accuracy
    bar = None if truth is None else truth.value - lost
    judged = []
    for c in (found.truth, *found.candidates):
        name = FLOAT if c is found.truth else c.name
        if name not in made and c is found.truth:
            continue
        fit = check(made[name], target)[target] if name in made else None
        judged.append(_option(name, c, c is found.truth, fit, bar, least))
    return judged


def _option(
    name: str, c: Candidate, truth: bool, fit: TargetFit | None, bar: float | None, least: float
) -> Option:
    db = None if truth or not c.outputs else min(d.SQNR_dB for d in c.outputs)
    right = None if c.accuracy is None else c.accuracy.value
    against = c.error
    if fit is None:
        against = against or "there is no model of it"
    elif not fit.runs and _lost(fit):
        first = next((r for o in fit.operators for r in o.reasons), None)
        against = f"it does not run there: {first or fit.verdict}"
    elif bar is not None and right is not None and right < bar:
        against = f"{100 * right:.2f} % right is less than {100 * bar:.2f} %"
    elif bar is None and db is not None and db < least:
        against = f"{db:.1f} dB is less than {least:g}"
    return Option(
        name, c.bytes, db, right, c.latency[0].ms if c.latency else None,
        None if fit is None else fit.share,
        0 if fit is None else len(fit.operators) - fit.running,
        "" if fit is None else fit.verdict, against,
    )  # fmt: skip


def _lost(fit: TargetFit) -> bool:
    """Nothing runs there, and it is not just another kernel of the same CPU that does."""
    return fit.target not in PATHS or fit.rest == "none"


def _islands_help(judged: Sequence[Option], placement: Placement, name: str) -> bool:
    """int8 is the only thing between it and the target that it is not good enough."""
    if placement in (Placement.ALL, Placement.FIRST):
        return False
    whole = next((o for o in judged if o.name == name), None)
    return whole is not None and ("is less than" in whole.against)


def _islands(model: Any, samples: Sequence[Any], least: float) -> Recipe:
    from qcore.mixed import mixed

    return mixed(model, "int8", None, samples, target=least).recipe


def _bar(labels: Any, least: float, lost: float) -> str:
    return f"at least {least:g} dB" if labels is None else f"at most {100 * lost:g} % lost"


def _reasons(best: Option, good: Sequence[Option], timed: bool, bar: str) -> tuple[str, ...]:
    """Why this one: its own numbers, then those of every other that would do."""
    by = "the fastest" if timed else "runs the most there, by products, then operators, then size,"
    told = [f"{by} of the {len(good)} that are good enough ({bar}): {words(best)}"]
    told += [f"{o.name}, which would do: {words(o)}" for o in good if o is not best]
    return tuple(told)
