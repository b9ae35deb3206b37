"""The properties that `python -m qcore.testing` goes through, as tasks for several processes.

A task is a function of this module with its arguments and gives an `Outcome`; outcomes of the same
property and profile add up. What a property found does not end the others.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import strategies as st

import tflite_schema as ts
from kernels import ops
from kernels.profile import PATHS, Profile
from qcore.observers import HistogramObserver, MovingAverage, TFLite
from qcore.observers import MinMax as ObserverMinMax
from qcore.quantize import Quantized
from qcore.schemes import (
    Aciq,
    Clipping,
    Kl,
    MinMax,
    Mse,
    Octav,
    Percentile,
    PowerOfTwo,
    Scheme,
    Symmetric,
)
from qcore.testing import conformance, strategies
from qcore.testing.cases import generators
from qcore.testing.checks import model as whole
from qcore.testing.checks.failure import CheckFailed
from qcore.testing.checks.model import ModelCheck
from qcore.testing.checks.observer import check_observer
from qcore.testing.checks.operator import OperatorCheck
from qcore.testing.checks.operator import look as look_at_operator
from qcore.testing.checks.quantized import check_quantized
from qcore.testing.checks.roundtrip import check_roundtrip
from qcore.testing.checks.runtime import MEMORY, SECONDS, Asked, RuntimeCheck
from qcore.testing.checks.runtime import look as look_at_runtime
from qcore.testing.checks.scheme import check_scheme
from qcore.testing.checks.search import Found, search
from qcore.testing.strategies.tensors import KINDS, NO_RANGE

SEEDED, MODELS, FAST = "seeded models", "models of one operator", "fast is reference"
WHOLE = "whole models, quantized"
SCHEMES, OBSERVERS = "schemes", "observers"
ROUND_TRIPS, GRIDS = "round trips of models", "grids of quantized models"
# Schemes that ship -> the kinds of groups in which the converter's own arithmetic, which they
# reproduce, breaks a property (docs/math.md E5, E6, E10, E16).
SHIPPED: Mapping[Scheme, tuple[str, ...]] = {
    MinMax(): ("widest",),
    MinMax("legacy"): ("widest", "zero", "denormal"),
    Symmetric(): ("widest", "tiny", "denormal"),
    Symmetric("legacy"): ("zero", "denormal"),
    Symmetric("dynamic"): (),
    **dict.fromkeys((Percentile(90), Mse(), Aciq(), Kl(), Octav(), PowerOfTwo()), ()),
}
# Outputs that two cores compare in a second, roughly, and the part of the time that is for that.
RATE, PART = 3e6, 0.3
MOST = 200_000  # outputs of a row of seeded models
GRAPHS = (2, 6)  # operators of a whole model
WITHIN = 2.0**-60, 2.0**100  # magnitudes of floats in it, so that a product is a number as well


@dataclass
class Outcome:
    """What a property showed.

    examples: cases, of Hypothesis but for seeded models.  compared: outputs, with the
    runtime if `against` names one.  failures: sentences, each with the folder of its case.
    """

    name: str
    against: str = ""
    examples: int = 0
    compared: int = 0
    failures: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.failures and self.compared > 0

    def add(self, other: Outcome) -> None:
        self.examples += other.examples
        self.compared += other.compared
        self.failures += other.failures


class Task(NamedTuple):
    run: Callable[..., Outcome]
    arguments: tuple[Any, ...]

    def __call__(self) -> Outcome:
        return self.run(*self.arguments)


def seeded(
    profile: Profile, wanted: Sequence[tuple[str, str]], seeds: range, outputs: int,
    targets: Sequence[str],
) -> Outcome:  # fmt: skip
    """A share of the conformance run: all our kernels, many outputs a model."""
    done = Outcome(SEEDED, str(profile))
    for row in conformance.share(profile, wanted, seeds, outputs, targets):
        done.examples += row.models
        done.compared += row.compared
        if not row.ok:
            done.failures.append(conformance.line(row))
    return done


def models(
    profile: Profile, wanted: Sequence[tuple[str, str]], examples: int, seed: int | None,
    folder: Path | None,
) -> Outcome:  # fmt: skip
    """`check_runtime`, going on behind a failure."""
    done = Outcome(MODELS, str(profile))
    check = RuntimeCheck(profile)
    wanted = [key for key in wanted if (*key, profile.path, profile.runtime) not in _known()]
    with Asked(profile, SECONDS, MEMORY) as ask:
        found = look_at_runtime(ask, wanted, check, "reference", examples, seed=seed, folder=folder)
        done.failures += map(_told, found)
    done.examples, done.compared = check.examples, check.compared
    return done


def fast(
    profile: Profile, wanted: Sequence[tuple[str, str]], examples: int, seed: int | None,
    folder: Path | None,
) -> Outcome:  # fmt: skip
    """`check_operator` of our own compiled twins."""
    done = Outcome(FAST, "")
    for operator, form in wanted:
        check = OperatorCheck(operator, profile)
        found = look_at_operator(_fast, [form], check, examples, seed=seed, folder=folder)
        done.failures += map(_told, found)
        done.examples += check.examples
        done.compared += check.compared
    return done


def _fast(call: Any) -> Any:
    return ops.compute(call, "fast")


def _known() -> set[tuple[str, str, str, str]]:
    return set(conformance.KNOWN)


def whole_models(
    profile: Profile, examples: int, seed: int | None, folder: Path | None, mode: str = "reference"
) -> Outcome:  # fmt: skip
    """Random graphs by random recipes: the file is as its operators' specs demand, and the integers
    of the runtime are ours, operator by operator and end to end."""
    check, done = ModelCheck(profile), Outcome(WHOLE, str(profile))
    with (
        Asked(profile, SECONDS, MEMORY, whole.WORKER) as ask,
        tempfile.TemporaryDirectory(prefix="qcore-") as scratch,
    ):

        def test(drawn: tuple[Quantized, list[Any]]) -> None:
            made, samples = drawn
            file = ts.read(made.to_bytes())
            try:
                if _has_grid(made):
                    check_quantized(file, scratch)
                whole.compare(ask, file, samples, mode, check, WITHIN)
            except (CheckFailed, Found) as error:
                raise Found(error.sentence, file, samples) from None

        found = search(_quantized_with_samples, test, examples, seed, GRAPHS)
    if found is not None:
        file, samples = found.more
        failed = whole.failed(found.sentence, file, samples, profile, mode, folder)
        done.failures.append(_told(failed))
    done.examples, done.compared = check.models, check.compared
    return done


@st.composite
def _quantized_with_samples(draw: st.DrawFn, most: int) -> tuple[Quantized, list[Any]]:
    made = draw(strategies.quantized_models(strategies.float_models(most=most)))
    return made, draw(strategies.calibration_data(made.source, most=2))


def _told(failed: CheckFailed) -> str:
    return f"{failed.sentence} ({failed.folder})"


def short(runtimes: Sequence[str], folder: Path | None) -> Iterator[Task]:
    """The same few cases each time: every operator and form on one of the paths, in turn."""
    wanted = list(generators())
    profiles = [Profile(path, runtime) for runtime in runtimes for path in PATHS]
    for i, profile in enumerate(profiles):
        yield Task(whole_models, (profile, 16, 0, folder))
        share = wanted[i % len(PATHS) :: len(PATHS)]
        yield Task(models, (profile, share, 3, 0, folder))
        yield Task(fast, (profile, share, 3, 0, folder))
        yield Task(seeded, (profile, share, range(1), 60, ()))
    yield from _others(20, 0, folder)


def deep(
    runtimes: Sequence[str], folder: Path | None, seed: int, minutes: float, jobs: int
) -> Iterator[Task]:
    """New cases without end; those of `seeded`, with many outputs each, once."""
    from kernels.simd import target

    wanted = list(generators())
    profiles = [Profile(path, runtime) for runtime in runtimes for path in PATHS]
    rows = len(wanted) * len(profiles)
    outputs = min(MOST, max(100, int(minutes * 60 * PART * RATE * jobs / 2 / rows)))
    seeds = range(seed, seed + max(3, min(30, outputs // 1000)))
    parts = [wanted[i::8] for i in range(8)]
    first = True  # with the many outputs among the rest, and less of it, so that all have a turn
    while True:
        few = 4 if first else 1
        yield from _others(200 // few, seed, folder)
        for profile in profiles:
            yield Task(whole_models, (profile, 80 // few, seed, folder))
            yield Task(whole_models, (profile, 20 // few, seed, folder, "fast"))
        for part, profile in product(parts, profiles):
            if first:
                yield Task(seeded, (profile, part, seeds, outputs, (target.host().name,)))
            yield Task(models, (profile, part, 40 // few, seed, folder))
            yield Task(fast, (profile, part, 12 // few, seed, folder))
        first, seed = False, seed + 1


def schemes(examples: int, seed: int | None) -> Outcome:
    """`check_scheme` of those that ship."""
    done = Outcome(SCHEMES)
    for scheme, without in SHIPPED.items():
        kinds = [k for k in (*KINDS, *NO_RANGE) if k not in without]
        try:
            covers = not isinstance(scheme, Clipping)
            check = check_scheme(scheme, kinds=kinds, covers=covers, examples=examples, seed=seed)
        except CheckFailed as failed:
            done.failures.append(failed.sentence)
        else:
            done.examples += check.examples
            done.compared += check.encoded
    return done


def observers(examples: int, seed: int | None) -> Outcome:
    """`check_observer` of those that ship."""
    done = Outcome(OBSERVERS)
    for observer in (ObserverMinMax(), MovingAverage(), HistogramObserver(), TFLite()):
        try:
            check = check_observer(observer, examples=examples, seed=seed)
        except CheckFailed as failed:
            done.failures.append(failed.sentence)
        else:
            done.examples += check.examples
            done.compared += check.values
    return done


def round_trips(examples: int, seed: int | None, folder: Path | None) -> Outcome:
    """`check_roundtrip` of float models; tensors are what is counted."""

    def check(model: Any, place: Path | None) -> int:
        return check_roundtrip(model, place).tensors

    return _whole_models(ROUND_TRIPS, strategies.float_models(), check, examples, seed, folder)


def grids(examples: int, seed: int | None, folder: Path | None) -> Outcome:
    """`check_quantized` of what recipes make of float models; grids and stored integers count."""

    def check(model: Any, place: Path | None) -> int:
        found = check_quantized(model, place)
        return found.grids + found.values

    quantized = strategies.quantized_models().filter(_has_grid)
    return _whole_models(GRIDS, quantized, check, examples, seed, folder)


def _has_grid(quantized: Quantized) -> bool:
    """Whether anything is quantized; recipes may leave all of a small model float."""
    found = (t.quantization for g in quantized.model.subgraphs for t in g.tensors)
    return any(q is not None and q.scale is not None and len(q.scale) for q in found)


def _whole_models(
    name: str, models: st.SearchStrategy[Any], check: Callable[[Any, Path | None], int],
    examples: int, seed: int | None, folder: Path | None,
) -> Outcome:  # fmt: skip
    done = Outcome(name)
    with tempfile.TemporaryDirectory(prefix="qcore-") as scratch:

        def test(model: Any) -> None:
            try:
                done.compared += check(model, Path(scratch))
                done.examples += 1
            except CheckFailed as failed:
                raise Found(failed.sentence, model) from None

        found = search(lambda size: models, test, examples, seed, [1])
    if found is not None:
        try:
            check(found.more[0], folder)
        except CheckFailed as failed:
            done.failures.append(_told(failed))
        else:
            done.failures.append(found.sentence)
    return done


def _others(examples: int, seed: int, folder: Path | None) -> Iterator[Task]:
    """Properties that are no operator's."""
    yield Task(schemes, (examples, seed))
    yield Task(observers, (examples, seed))
    yield Task(round_trips, (examples, seed, folder))
    yield Task(grids, (examples, seed, folder))
