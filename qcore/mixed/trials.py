"""One model quantized again and again, each time with other operators kept float or at int16, and
measured."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from kernels.opspec import Tie
from kernels.threads import cores
from qcore.errors import BadInput
from qcore.load import load
from qcore.metrics import Difference
from qcore.peers.real import run_real
from qcore.prepare import prepare
from qcore.quantize import Quantized, quantize, ranges_for
from qcore.recipe import Recipe, Rule
from qcore.recipe import recipe as find_recipe
from qcore.targets.site import Site, macs, sites

Metric = Callable[[Any, Any], float]
KEEP = {"float": "float", "int16": "int16x8"}  # what operators may be kept at -> their mode


@dataclass(frozen=True)
class Unit:
    """Operators that are quantized or kept together: one, or those that share output names.

    number: of the first, in its subgraph.  op: its name.  name: of its first output.
    names: of all outputs, which select it in a recipe.  macs: products that they sum.
    computes: not an operator whose output has its input's parameters, which as float would gain
    nothing by itself.  inputs, outputs: tensors that are computed.
    """

    subgraph: int
    number: int
    op: str
    name: str
    names: tuple[str, ...]
    macs: int
    computes: bool
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @property
    def tensors(self) -> tuple[int, ...]:
        return (*self.inputs, *self.outputs)

    def rule(self, mode: str) -> Rule:
        """The rule that gives these operators, and no others, a mode."""
        return Rule(name="re:^(" + "|".join(map(re.escape, self.names)) + ")$", mode=mode)


@dataclass(frozen=True)
class Score:
    """How good a quantized model is; higher is better.

    value: the metric, or the SQNR of the outputs in dB.  loss: what adds up, nearly, over
    operators: noise / signal for the SQNR, the float model's metric less this one otherwise.
    """

    value: float
    loss: float


class Trials:
    """Scores of sets of units that are kept float (or at int16), each measured once.

    model, recipe, calibration: as for `quantize`.  samples: what is measured on, gone through once
    for every trial: a source of `qcore.data`, a list, an array; an iterator is kept as a list.
    metric: function(outputs, labels) -> number, higher is better; outputs: the (N, ...) real values
    of the only output or a tuple of such arrays. None: the SQNR of all outputs against float, the
    mean of their noise / signal in dB.
    threads: trials at a time, each the official interpreter (XNNPACK) in a process of its own.
    keep: "float", or "int16": the units are then those that have a kernel for int16 activations.
    """

    def __init__(
        self, model: Any, recipe: str | Recipe, calibration: Any, samples: Iterable[Any],
        labels: Any = None, metric: Metric | None = None, threads: int | None = None,
        keep: str = "float", **options: Any,
    ) -> None:  # fmt: skip
        if keep not in KEEP:
            raise BadInput(f"operators cannot be kept at {keep!r}; use one of {', '.join(KEEP)}")
        self.keep = keep
        self.model, self.base = load(model), find_recipe(recipe)
        self.samples = list(samples) if isinstance(samples, Iterator) else samples
        self.labels, self.metric = labels, metric
        self.threads = threads or cores()
        prepared = prepare(self.model, self.base)
        self.calibration = ranges_for(prepared, self.base, calibration, options)
        if self.calibration is None and keep != "float":  # nothing but what is kept needs ranges
            kept = self.base.with_rule(mode=KEEP[keep])
            self.calibration = ranges_for(prepared, kept, calibration, options)
        found = self._units()
        if keep != "float":
            found = self._able(found)
        self.units = tuple(u for u in found if u.computes)
        self._movers = tuple(u for u in found if not u.computes)
        self.evaluations = 0
        self._truth: list[tuple[np.ndarray, ...]] = list(run_real(self.model, self.samples))
        if not self._truth:
            raise BadInput("there are no samples to measure on; give some")
        self._perfect = 0.0 if metric is None else float(metric(*self._given(self._truth)))
        self._scores: dict[frozenset[Unit], Score] = {}

    def _able(self, units: tuple[Unit, ...]) -> tuple[Unit, ...]:
        """Those that really are in the kept mode where all of them are to be."""
        quantized = quantize(self.model, self._with(units), self.calibration)
        modes = _modes(quantized)
        found = set()
        for site in sites(quantized.source):
            if modes.get((site.subgraph, site.number), KEEP[self.keep]) != KEEP[self.keep]:
                found.add((site.subgraph, site.outputs[0].name))
        return tuple(u for u in units if (u.subgraph, u.name) not in found)

    def _units(self) -> tuple[Unit, ...]:
        """What the recipe computes in integers."""
        quantized = quantize(self.model, self.base, self.calibration)
        modes = {place for place, m in _modes(quantized).items() if m not in ("float32", "kept")}
        groups: dict[tuple[int, str], list[Site]] = {}
        for site in sites(quantized.source):
            if (site.subgraph, site.number) in modes:
                groups.setdefault((site.subgraph, site.outputs[0].name), []).append(site)
        return tuple(
            Unit(
                subgraph, group[0].number, group[0].name, name,
                tuple(dict.fromkeys(o.name for site in group for o in site.outputs)),
                sum(map(macs, group)),
                any(map(_computes, group)),
                tuple(dict.fromkeys(
                    o.index for s in group for o in s.inputs
                    if o is not None and not o.tensor.constant
                )),
                tuple(o.index for s in group for o in s.outputs),
            )
            for (subgraph, name), group in groups.items()
        )  # fmt: skip

    def _moved(self, floats: Iterable[Unit]) -> Iterator[Unit]:
        """Units that only move values and have nothing but these kept ones around them.

        Without them values would be rounded to integers only to be moved.
        """
        floats = set(floats)
        ends = {
            (number, t)
            for number, graph in enumerate(self.model.subgraphs)
            for t in (*graph.inputs, *graph.outputs)
        }
        fixed = {(u.subgraph, t) for u in self.units if u not in floats for t in u.tensors} | ends
        open_ = [u for u in self._movers if u not in floats]
        # What touches an integer stays one, and so does what touches that.
        while touched := [u for u in open_ if any((u.subgraph, t) in fixed for t in u.tensors)]:
            fixed |= {(u.subgraph, t) for u in touched for t in u.tensors}
            open_ = [u for u in open_ if u not in touched]
        yield from open_

    def joints(self) -> tuple[frozenset[Unit], ...]:
        """For each value that units share, directly or moved in between: all that read or write it.

        Only where all of them are float is the value never rounded.
        """
        value: dict[tuple[int, int], tuple[int, int]] = {}

        def find(t: tuple[int, int]) -> tuple[int, int]:
            while (up := value.setdefault(t, t)) != t:
                t = up
            return t

        for mover in self._movers:
            first, *others = [(mover.subgraph, t) for t in mover.tensors]
            for other in others:
                value[find(other)] = find(first)
        around: dict[tuple[int, int], set[Unit]] = {}
        for unit in self.units:
            for t in unit.tensors:
                around.setdefault(find((unit.subgraph, t)), set()).add(unit)
        return tuple(dict.fromkeys(frozenset(u) for u in around.values() if len(u) > 1))

    @property
    def what(self) -> str:
        """Name of what is measured."""
        return "SQNR dB" if self.metric is None else getattr(self.metric, "__name__", "metric")

    @property
    def count(self) -> int:
        """Samples that are measured on."""
        return len(self._truth)

    def loss_of(self, value: float) -> float:
        """The loss of a score of that value."""
        return 10 ** (-value / 10) if self.metric is None else self._perfect - value

    @cached_property
    def macs(self) -> int:
        """Products that all operators of the model sum."""
        return sum(map(macs, sites(self.model)))

    def recipe(self, floats: Iterable[Unit]) -> Recipe:
        """The recipe with these units kept float, or at int16."""
        floats = set(floats)
        return self._with({*floats, *self._moved(floats)})

    def _with(self, units: Iterable[Unit]) -> Recipe:
        made = self.base
        for unit in sorted(units, key=lambda u: (u.subgraph, u.number)):
            made = made.with_rule(unit.rule(KEEP[self.keep]))
        return made

    def quantized(self, floats: Iterable[Unit]) -> Quantized:
        return quantize(self.model, self.recipe(floats), self.calibration)

    def scores(self, sets: Iterable[frozenset[Unit]]) -> Iterator[Score]:
        """The score of each set, in order, some at a time."""
        sets = list(sets)
        missing = [s for s in dict.fromkeys(sets) if s not in self._scores]
        self.evaluations += len(missing)
        pool = ThreadPoolExecutor(min(self.threads, max(1, len(missing))))
        try:
            waiting = dict(zip(missing, [pool.submit(self._measure, s) for s in missing]))
            for s in sets:
                if s in waiting:
                    self._scores[s] = waiting[s].result()
                yield self._scores[s]
        finally:
            pool.shutdown(cancel_futures=True)

    def score(self, floats: Iterable[Unit] = ()) -> Score:
        (found,) = self.scores([frozenset(floats)])
        return found

    def _measure(self, floats: frozenset[Unit]) -> Score:
        model = self.quantized(floats).to_bytes()
        with closing(run_real(model, self.samples)) as outputs:  # type: ignore[type-var]
            if self.metric is not None:
                value = float(self.metric(*self._given(list(outputs))))
                return Score(value, self._perfect - value)
            sums = [Difference() for _ in self._truth[0]]
            for truth, made in zip(self._truth, outputs, strict=True):
                sums = [s + Difference.of(a, b) for s, a, b in zip(sums, truth, made)]
        loss = float(np.mean([s.noise / s.signal if s.signal else math.inf for s in sums]))
        return Score(math.inf if loss == 0 else -10 * math.log10(loss), loss)

    def _given(self, rows: Sequence[tuple[np.ndarray, ...]]) -> tuple[Any, Any]:
        """What a metric is called with."""
        outputs = tuple(np.concatenate(column) for column in zip(*rows))
        return outputs[0] if len(outputs) == 1 else outputs, self.labels


def _modes(quantized: Quantized) -> dict[tuple[int, int], str]:
    """Mode of each operator of the source, by subgraph and number."""
    return {
        (number, step.source): step.mode
        for number, part in enumerate(quantized.plan.subgraphs)
        for step in part.steps
        if step.source is not None
    }


def _computes(site: Site) -> bool:
    """See Unit."""
    return site.spec is None or site.spec.tie not in (Tie.SAME, Tie.FIRST)
