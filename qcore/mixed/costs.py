"""What each operator costs: quantized alone, and as the only one that is not."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from qcore.mixed.trials import Metric, Score, Trials, Unit
from qcore.progress import track
from qcore.recipe import Recipe


@dataclass(frozen=True)
class Cost:
    """One operator (or several that share their output's name).

    alone: the model in which only it is quantized.  without: that in which only it is float.
    gain: how much the loss falls when it alone becomes float.
    """

    unit: Unit
    alone: Score
    without: Score
    gain: float


@dataclass(frozen=True)
class Sensitivity:
    """Costs of all operators, in the order of execution.

    what: "SQNR dB", or the metric's name.  none: nothing of the units is quantized (inputs,
    outputs and what only moves values still are); all: all are.  macs: products of the whole model.
    """

    recipe: str
    what: str
    none: Score
    all: Score
    costs: tuple[Cost, ...]
    macs: int
    samples: int
    evaluations: int

    def worst(self) -> tuple[Cost, ...]:
        """Those first whose becoming float gains most."""
        return tuple(sorted(self.costs, key=lambda c: -c.gain))

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def sensitivity(
    model: Any, recipe: str | Recipe = "int8", calibration: Any = None,
    samples: Iterable[Any] | None = None, labels: Any = None, *, metric: Metric | None = None,
    threads: int | None = None, **options: Any,
) -> Sensitivity:  # fmt: skip
    """Quantizes the model with each operator alone quantized and with each alone float.

    model, recipe, calibration, options: as for `qcore.quantize`, calibration being needed.
    samples: what is measured on; None: the samples of the calibration.  Others: see
    `qcore.mixed.trials.Trials`.  Raises what `quantize` raises; RuntimeFailed.
    """
    samples, calibration = chosen(samples, calibration)
    trials = Trials(
        model, recipe, calibration, samples, labels, metric, threads, **options
    )  # fmt: skip
    return measure(trials)


def measure(trials: Trials) -> Sensitivity:
    """The same of trials that exist."""
    units = trials.units
    everything = frozenset(units)
    sets = [frozenset(), everything]
    sets += [everything - {u} for u in units] + [frozenset({u}) for u in units]
    scores = list(track(trials.scores(sets), "quantizing one operator at a time", len(sets)))
    whole, none, rest = scores[0], scores[1], scores[2:]
    costs = tuple(
        Cost(u, a, w, whole.loss - w.loss)
        for u, a, w in zip(units, rest[: len(units)], rest[len(units) :], strict=True)
    )
    return Sensitivity(
        trials.base.name, trials.what, none, whole, costs, trials.macs, trials.count,
        trials.evaluations,
    )  # fmt: skip


def chosen(samples: Any, calibration: Any) -> tuple[Any, Any]:
    """Samples to measure on, and those to calibrate on: the same ones where one is left out."""
    from qcore.calibrate import Calibration
    from qcore.errors import BadInput

    if calibration is None:
        calibration = samples
    if samples is None and not isinstance(calibration, Calibration):
        samples = calibration
    if samples is None:
        raise BadInput("there is nothing to measure on; give samples")
    if samples is calibration and iter(samples) is samples:
        samples = calibration = list(samples)  # read twice
    return samples, calibration
