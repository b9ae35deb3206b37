"""Which recipe to deploy on a device, measured on the user's own model: `qcore.advise`.

Every strategy is made, checked against the target's table, and compared with the float model; the
answer is a rule on what was measured, and says the numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np

from qcore.check import TargetFit, check
from qcore.errors import BadInput
from qcore.targets import find
from qcore.targets.rule import Placement, Target

if TYPE_CHECKING:
    from qcore.compare.make import Samples
    from qcore.compare.values import Candidate
    from qcore.recipe import Recipe

FLOAT, TUNED, ISLANDS = "float32", "int8_tuned", "int8 with float islands"
STRATEGIES = ("float16", "dynamic", "int8", "int16x8")
PATHS = {"reference": "reference", "xnnpack": "xnnpack"}  # target -> path that is timed
LEAST_DB = 20.0
MOST_LOST = 0.01
# A search for islands may miss on other samples than it was made with, or by another measure: it
# is made again for so many dB more, each time twice as many.
FIRST_GAIN, TRIES = 3.0, 5


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
    recipe: of the chosen one, None for float.  model: the chosen one itself.
    samples: how many were measured on; labelled: whether accuracy was; seen: how many of them are
    calibration samples as well, bit by bit.  remark: what is the matter with the labels, or "".
    """

    target: str
    options: tuple[Option, ...]
    chosen: str | None
    reasons: tuple[str, ...]
    samples: int
    labelled: bool
    seen: int
    remark: str = ""
    recipe: Recipe | None = None
    model: Any = field(default=None, repr=False, compare=False)

    def __getitem__(self, name: str) -> Option:
        """The option with this name. Raises KeyError."""
        for option in self.options:
            if option.name == name:
                return option
        raise KeyError(name)

    @property
    def measured(self) -> str:
        """On what, in words."""
        kind = "labelled samples" if self.labelled else "samples"
        none = "" if self.seen else ", none of them a calibration sample"
        remark = f"; {self.remark}" if self.remark else ""
        return f"measured on {self.samples} {kind}{none}{remark}"

    @property
    def warning(self) -> str:
        """What is wrong with the samples that were measured on, "" if nothing is."""
        if not self.seen:
            return ""
        if self.seen == self.samples:
            which = "the calibration samples themselves"
        else:
            which = f"{self.seen} of these {self.samples} are calibration samples"
        return (
            f"warning: {which}: the numbers flatter whatever was calibrated on them; measure on "
            "others (--eval; in Python evaluation=)"
        )

    def table(self) -> str:
        """A line for each option, the answer, and on what it was measured."""
        lines = [f"{o.name}: {words(o)}" for o in self.options]
        lines += filter(None, (self.measured, self.warning))
        lines.append(f"{self.target}: {self.chosen or 'none of them'}")
        return "\n".join([*lines, *(f"  {reason}" for reason in self.reasons)])

    __str__ = table

    def to_json(self) -> dict[str, Any]:
        """Plain values, for --json."""
        return {
            "target": self.target,
            "chosen": self.chosen,
            "reasons": list(self.reasons),
            "samples": self.samples,
            "labelled": self.labelled,
            "calibration_samples": self.seen,
            "remark": self.remark,
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


@dataclass(frozen=True)
class Bar:
    """What is good enough. right: least share of labelled samples; lost: how much less that is than
    the float model's.  least: dB of the worst output; None: not asked for."""

    right: float | None
    lost: float
    least: float | None

    def against(self, db: float | None, right: float | None) -> str:
        """What of it is missed, "" where nothing is or nothing is known."""
        if self.right is not None and right is not None and right < self.right:
            return f"{100 * right:.2f} % right is less than {100 * self.right:.2f} %"
        if self.least is not None and db is not None and db < self.least:
            return f"{db:.1f} dB is less than {self.least:g}"
        return ""

    def __str__(self) -> str:
        parts = [] if self.right is None else [f"at most {100 * self.lost:g} % lost"]
        parts += [] if self.least is None else [f"at least {self.least:g} dB"]
        return " and ".join(parts)


def advise(
    model: Any,
    target: str,
    samples: Iterable[Any],
    labels: Any = None,
    *,
    evaluation: Iterable[Any] | None = None,
    least: float | None = None,
    lost: float | None = None,
    strategies: Sequence[str] = STRATEGIES,
    signature: str | None = None,
    threads: int | None = None,
) -> Advice:
    """Try what the target can run on the model, and recommend one.

    model: float.  samples: for calibration.  evaluation: what is measured on; without it these
    samples themselves, which flatters (`Advice.warning`).  labels: classes of the samples that are
    measured on.  strategies: recipes, by name or file.  signature: the one that samples are for.
    An option is good enough with `labels` if at most `lost` (MOST_LOST) of the accuracy is lost,
    and where `least` is given, which is LEAST_DB where there is no accuracy, if no output has less
    dB.
    Of those, a CPU gets the fastest (by the interpreter), any other target what runs the most of
    the products there (to 1 %), leaves the fewest operators, and then is the smallest. Where int8
    is not good enough, its constants are tuned (recipe int8_tuned), and where that is not enough,
    operators are left float until it is (`qcore.mixed`), those whose float form the target or what
    runs its rest takes.
    Raises BadInput, BadSample, and what `compare` raises.
    """
    from qcore.compare import compare
    from qcore.compare.make import Samples
    from qcore.recipe import recipe

    if labels is None and lost is not None:
        raise BadInput("lost is about accuracy, and there are no labels; give them, or least")
    device = find(target)
    recipes = {name: recipe(name) for name in strategies}
    held, other = (
        None if given is None else Samples(given if signature is None else {signature: given})
        for given in (samples, evaluation)
    )
    assert held is not None
    judged_on = Counted(held, other)
    if next(iter(held), None) is None:
        raise BadInput("advise needs samples to calibrate on; give at least one")
    path = PATHS.get(target)
    options: dict[str, Any] = {
        "labels": labels, "evaluation": judged_on, "layers": 0, "threads": threads,
        "latency": [path] if path else False,
    }  # fmt: skip
    found = compare(model, recipes, held, **options)
    made: dict[str, Any] = {FLOAT: model, **found.models}
    truth, remark = found.truth.accuracy, "" if labels is None else "; ".join(found.notes)
    if truth is None:
        if lost is not None:
            raise BadInput(f"lost is about accuracy, and {remark or 'there is none'}; leave it out")
        least = LEAST_DB if least is None else least
    lost = MOST_LOST if lost is None else lost
    bar = Bar(None if truth is None else truth.value - lost, lost, least)
    judged = [_option(FLOAT, found.truth, model, target, bar)]
    judged += [_option(c.name, c, made.get(c.name), target, bar) for c in found.candidates]
    whole = [o for o in judged if o.name in ("int8", TUNED)]
    if whole and all("is less than" in o.against for o in whole):
        more: dict[str, Option] = {}
        for name, better in _better(model, held, device, bar, threads):
            if name in strategies:
                continue
            one = compare(model, {name: better}, held, **options)
            made |= one.models
            recipes[name] = better
            more[name] = _option(name, one.candidates[0], made.get(name), target, bar)
            if not more[name].against:
                break
        judged += more.values()
    good = [o for o in judged if not o.against]
    about = judged_on.samples, truth is not None, judged_on.seen, remark
    if not good:
        why = f"nothing that runs there is good enough ({bar})"
        return Advice(target, tuple(judged), None, (why,), *about)
    best = min(good, key=lambda o: rank(o, path is not None))
    reasons = _reasons(best, good, path is not None, str(bar))
    return Advice(
        target, tuple(judged), best.name, reasons, *about, recipes.get(best.name), made[best.name]
    )


def rank(o: Option, timed: bool) -> tuple[float, ...]:
    """The smaller, the better: time on a CPU; else products there in per cent, operators that are
    left, size."""
    if timed and o.ms is not None:
        return (o.ms, o.bytes)
    return (-round(100 * (1.0 if o.share is None else o.share)), o.left, o.bytes)


class Counted:
    """Samples that are measured on, counted while they are read, with those that calibration saw.

    samples, seen: of the last time that they were read to the end.
    """

    def __init__(self, calibration: Samples, evaluation: Samples | None) -> None:
        """evaluation: None for those of calibration."""
        self._calibration, self._evaluation = calibration, evaluation
        self._known: set[bytes] | None = None
        self.samples = self.seen = 0

    def __iter__(self) -> Iterator[Any]:
        samples = seen = 0
        if self._evaluation is None:
            for sample in self._calibration:
                samples += 1
                yield sample
            self.samples = self.seen = samples
            return
        if self._known is None:
            self._known = set(map(digest, self._calibration))
        for sample in self._evaluation:
            samples += 1
            seen += digest(sample) in self._known
            yield sample
        self.samples, self.seen = samples, seen

    def __len__(self) -> int:
        """Raises TypeError where it is not known before reading them."""
        return len(self._calibration if self._evaluation is None else self._evaluation)


def digest(sample: Any) -> bytes:
    """16 bytes that samples of the same values and types share; a batch axis of 1 is no
    difference. sample: an array, or a tuple, list or dict of such, by signature or not."""
    made = blake2b(digest_size=16)

    def add(part: Any) -> None:
        if isinstance(part, dict):
            for name in sorted(part):
                add(name)
                add(part[name])
        elif isinstance(part, (tuple, list)):
            for one in part:
                add(one)
        elif isinstance(part, (str, bytes)):
            made.update(part.encode() if isinstance(part, str) else part)
        else:
            array = np.asarray(part)
            made.update(array.dtype.str.encode())
            made.update(repr(array.tolist()).encode() if array.dtype == object else array.tobytes())

    add(sample)
    return made.digest()


def _option(name: str, c: Candidate, model: Any, target: str, bar: Bar) -> Option:
    """What was measured of a model; None: there is none."""
    fit = None if model is None else check(model, target)[target]
    db = None if name == FLOAT or not c.outputs else min(d.SQNR_dB for d in c.outputs)
    right = None if c.accuracy is None else c.accuracy.value
    against = c.error
    if fit is None:
        against = against or "there is no model of it"
    elif not fit.runs and _lost(fit):
        first = next((r for o in fit.operators for r in o.reasons), None)
        against = f"it does not run there: {first or fit.verdict}"
    elif not against:
        against = bar.against(db, right)
    return Option(
        name, c.bytes, db, right, c.latency[0].ms if c.latency else None,
        None if fit is None else fit.share,
        0 if fit is None else len(fit.operators) - fit.running,
        "" if fit is None else fit.verdict, against,
    )  # fmt: skip


def _lost(fit: TargetFit) -> bool:
    """Nothing runs there, and it is not just another kernel of the same CPU that does."""
    return fit.target not in PATHS or fit.rest == "none"


def _better(
    model: Any, samples: Samples, device: Target, bar: Bar, threads: int | None
) -> Iterator[tuple[str, Recipe]]:
    """What may do where int8 does not, by name: first other integers, which cost nothing there."""
    from qcore.recipe import recipe

    yield TUNED, recipe(TUNED)
    for islands in _islands(model, samples, device, bar, threads):
        yield ISLANDS, islands


def _islands(
    model: Any, samples: Samples, device: Target, bar: Bar, threads: int | None
) -> Iterator[Recipe]:
    """int8_tuned with operators left float, the fewest products first, ever more of them.

    By the SQNR on the calibration samples: what it is measured on afterwards decides nothing but
    whether to go on. Nothing where no operator may be float.
    """
    from qcore.mixed.search import Search
    from qcore.mixed.trials import Trials

    trials = Trials(model, TUNED, samples, samples, threads=threads)
    able = _floats(model, device)
    trials.units = tuple(u for u in trials.units if able is None or (u.subgraph, u.number) in able)
    now, gain = trials.score().value, FIRST_GAIN
    goal = bar.least if bar.least is not None and now < bar.least else now + gain
    for _ in range(TRIES if trials.units else 0):
        found = Search(trials, goal, 1.0, "macs").run()
        yield found.recipe
        if not found.reached:
            return
        goal, gain = goal + gain, 2 * gain


def _floats(model: Any, device: Target) -> set[tuple[int, int]] | None:
    """Operators whose float form runs on the target or on what runs its rest; None for all, where
    that is a CPU's interpreter."""
    if device.placement is not Placement.ALL and not device.beneath:
        return None
    key = device.beneath or device.key
    return {(o.subgraph, o.number) for o in check(model, key)[key].operators if o.taken}


def _reasons(best: Option, good: Sequence[Option], timed: bool, bar: str) -> tuple[str, ...]:
    """Why this one: its own numbers, then those of every other that would do."""
    by = "the fastest" if timed else "runs the most there, by products, then operators, then size,"
    told = [f"{by} of the {len(good)} that are good enough ({bar}): {words(best)}"]
    told += [f"{o.name}, which would do: {words(o)}" for o in good if o is not best]
    return tuple(told)
