"""The float model and its candidates side by side, sample after sample: errors of each tensor.

The float model is run once a sample, and every candidate on the same sample; only sums, counts and
histograms are kept, so memory does not grow with the number of samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

import tflite_schema as ts
from kernels import ranges
from kernels.errors import KernelError
from qcore.binding import Binder
from qcore.compare import words
from qcore.compare.alone import Alone, encode
from qcore.compare.match import Match, layer_tensors, match
from qcore.compare.sums import Codes, Split
from qcore.compare.values import Bins, Layer, Seen
from qcore.compare.whole import Whole
from qcore.errors import CannotRun, QcoreError
from qcore.graph import graphs
from qcore.metrics import Difference
from qcore.observers.histogram import Histogram, HistogramState
from qcore.params import Affine, TensorKey

VALUE_BINS, CODE_BINS = 128, 64
CHANNELS = 4096  # of a last axis that long, channels are not looked at one by one


class Truth:
    """The float model: its layers, and what was seen of their values."""

    def __init__(self, model: ts.Model, profile: Any, signature: str | None = None) -> None:
        self.model = model
        self.whole = Whole(model, replace(profile, path="optimized"))
        self.binder = Binder(model, signature, floats=True)
        self.graphs = graphs(model)
        self.histograms: dict[TensorKey, HistogramState] = {}
        self.nonfinite: dict[TensorKey, int] = {}

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Layers of every subgraph that samples enter, without what was seen of them."""
        found = []
        for number in dict.fromkeys(e.subgraph for e in self.binder.entries):
            graph = self.graphs[number]
            for operator, t in layer_tensors(graph):
                shape = tuple(int(n) for n in graph.tensors[t].shape or ())
                name, op = graph.name(t), graph.operators[operator].name
                found.append(Layer(TensorKey(number, t), name, operator, op, shape))
        return tuple(found)

    def run(self, entry: int, arrays: tuple[np.ndarray, ...]) -> dict[int, np.ndarray]:
        """Every computed tensor and input of one sample, in real units."""
        way = self.binder.entries[entry]
        block = self.whole.blocks[way.subgraph]
        given = {i.tensor: block.encode(i.tensor, a) for i, a in zip(way.inputs, arrays)}
        made = self.whole.run(way.subgraph, given)
        size = len(block.tensors)
        return {t: self.whole.real(way.subgraph, t, a) for t, a in made.items() if t < size}

    def look(self, subgraph: int, floats: Mapping[int, np.ndarray]) -> None:
        """Count the values of one sample into the histograms."""
        for layer in self.layers:
            key = layer.key
            if key.subgraph != subgraph or key.tensor not in floats:
                continue
            values = floats[key.tensor].reshape(-1).astype(np.float32, copy=False)
            if not values.size:
                continue
            lo, hi = float(values.min()), float(values.max())
            if not np.isfinite(lo + hi):
                finite = np.isfinite(values)
                self.nonfinite[key] = self.nonfinite.get(key, 0) + int((~finite).sum())
                values = values[finite]
                if not values.size:
                    continue
                lo, hi = float(values.min()), float(values.max())
            if key not in self.histograms:
                self.histograms[key] = HistogramState()
            self.histograms[key].update(values, lo, hi)

    def seen(self) -> tuple[Layer, ...]:
        """The layers with their histograms."""
        made = []
        for layer in self.layers:
            state = self.histograms.get(layer.key)
            histogram = None if state is None else state.histogram
            values = None if histogram is None else _bins(histogram)
            made.append(replace(layer, values=values))
        return tuple(made)


def _bins(h: Histogram) -> Bins:
    while h.counts.size > VALUE_BINS:
        h = h.coarser(h.exponent + 1)
    return Bins(h.counts, h.edges)


@dataclass
class _Tally:
    """What is summed for one layer of one candidate. low, high: half a step beyond its range."""

    at: TensorKey
    split: Split
    codes: Codes | None = None
    low: float = 0.0
    high: float = 0.0


class Followed:
    """A candidate on its way through the samples.

    error: why it dropped out, "" while it has not.
    """

    def __init__(self, name: str, model: ts.Model, truth: Truth, profile: Any) -> None:
        self.name, self.model, self.truth = name, model, truth
        self.error = ""
        self.whole = Whole(model, profile)
        self.graphs = graphs(model)
        self.match: Match = match(truth.model, model)
        self.outputs: dict[tuple[int, int], Difference] = {}
        self.unmatched: dict[TensorKey, str] = {}
        self._tallies: dict[TensorKey, _Tally] = {}
        self._alone: dict[int, Alone] = {}
        for layer in truth.layers:
            at = self.match.layers.get(layer.key)
            if at is None:
                self.unmatched[layer.key] = self.match.reasons.get(
                    layer.key, "the candidate has no such entry"
                )
            else:
                self._tallies[layer.key] = _Tally(at, Split())
        for pair in self.match.entries:
            if pair is None or pair.b in self._alone:
                continue
            fed = {
                k.tensor: t.tensor
                for k, t in self.match.fed.items()
                if (k.subgraph, t.subgraph) == (pair.b, pair.a)
            }
            wanted = [
                t.at.tensor
                for k, t in self._tallies.items()
                if (t.at.subgraph, k.subgraph) == (pair.b, pair.a)
            ]
            self._alone[pair.b] = Alone(
                model, pair.b, fed, list(dict.fromkeys(wanted)), self.whole.executor.profile
            )

    def sample(self, entry: int, floats: Mapping[int, np.ndarray]) -> None:
        """One sample; floats: the float model's tensors. What goes wrong ends up in `error`."""
        try:
            self._sample(entry, floats)
        except (QcoreError, KernelError, MemoryError) as error:
            self.error = str(error) or "there is not enough memory"

    def given(self, entry: int, floats: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
        """The candidate's inputs as it stores them. Raises CannotRun where it has no such entry."""
        pair = self.match.entries[entry]
        if pair is None:
            where = self.truth.binder.entries[entry].where()
            raise CannotRun(f"it has no counterpart of {where}, or one with other inputs")
        block = self.whole.blocks[pair.b]
        return {t: encode(block, t, floats[s]) for s, t in pair.inputs}

    def _sample(self, entry: int, floats: Mapping[int, np.ndarray]) -> None:
        given = self.given(entry, floats)
        pair = self.match.entries[entry]
        assert pair is not None
        made = self.whole.run(pair.b, given)
        by_itself = self._alone[pair.b].run(floats)
        for key, tally in self._tallies.items():
            if key.subgraph == pair.a and tally.at.subgraph == pair.b:
                self._layer(key, tally, floats, made, by_itself)
        for position, (s, t) in enumerate(pair.outputs):
            if s in floats and t in made and made[t].shape == floats[s].shape:
                y = self.whole.real(pair.b, t, made[t])
                at = entry, position
                old = self.outputs.get(at, Difference())
                self.outputs[at] = old + Difference.of(floats[s], y)

    def _layer(
        self, key: TensorKey, tally: _Tally, floats: Mapping[int, np.ndarray],
        made: Mapping[int, np.ndarray], by_itself: Mapping[int, np.ndarray],
    ) -> None:  # fmt: skip
        y, stored = floats.get(key.tensor), made.get(tally.at.tensor)
        if y is None or stored is None:
            self.unmatched[key] = "one of the two shows no values"
            return
        if y.shape != stored.shape:
            self.unmatched[key] = f"its counterpart has shape {list(stored.shape)}"
            return
        real = self.whole.real(tally.at.subgraph, tally.at.tensor, stored)
        own = by_itself.get(tally.at.tensor)
        if own is not None:
            own = self.whole.real(tally.at.subgraph, tally.at.tensor, own)
            own = own if own.shape == y.shape else None
        tally.split.add(y, real, own)
        t = self.whole.blocks[tally.at.subgraph].tensors[tally.at.tensor]
        if t.quantized and not t.per_channel and t.dtype in ranges.NAMED and stored.size:
            q = t.range
            if q.bits > 16:
                return
            if tally.codes is None:
                channels = stored.shape[-1] if stored.ndim > 1 else 1
                tally.codes = Codes(q.qmin, q.qmax, channels if channels <= CHANNELS else 1)
                tally.low = float(t.s) * (q.qmin - t.z - 0.5)
                tally.high = float(t.s) * (q.qmax - t.z + 0.5)
            tally.codes.add(stored, y, tally.low, tally.high)

    def seen(self) -> dict[TensorKey, Seen]:
        """What it makes of each layer, with reasons in words."""
        found = {}
        for layer in self.truth.layers:
            tally = self._tallies.get(layer.key)
            if tally is None or layer.key in self.unmatched or not tally.split.total.count:
                continue
            found[layer.key] = self._seen(layer, tally)
        return found

    def _seen(self, layer: Layer, tally: _Tally) -> Seen:
        t = self.whole.blocks[tally.at.subgraph].tensors[tally.at.tensor]
        split, codes = tally.split, tally.codes
        fed = split.own.count == split.total.count
        made = Seen(
            tensor=tally.at.tensor,
            dtype=t.dtype,
            params=_affine(t),
            total=split.total,
            own=split.own if fed else None,
            inherited=split.inherited if fed else None,
            cross=split.cross if fed else None,
            saturated=None if codes is None else codes.clipped / max(codes.values, 1),
            codes_used=None if codes is None else codes.used,
            codes=None if codes is None else _code_bins(codes),
            why="" if fed else self._alone[tally.at.subgraph].why.get(
                tally.at.tensor, "it was not computed by itself"
            ),
        )  # fmt: skip
        state = self.truth.histograms.get(layer.key)
        facts = words.Facts(
            layer=layer,
            seen=made,
            graph=self.graphs[tally.at.subgraph],
            block=self.whole.blocks[tally.at.subgraph],
            truth=self.truth.graphs[layer.key.subgraph],
            histogram=None if state is None else state.histogram,
            codes=codes,
            pairs=self._constants(layer, tally),
        )
        return replace(made, reasons=words.reasons(facts))

    def _constants(self, layer: Layer, tally: _Tally) -> dict[int, int]:
        """Constants of the candidate's operator -> those in the same place of the float one's."""
        here = self.truth.graphs[layer.key.subgraph].operators[layer.operator]
        graph = self.graphs[tally.at.subgraph]
        there = graph.operators[graph.producer[tally.at.tensor]]
        if here.name != there.name:
            return {}
        return {t: s for s, t in zip(here.inputs, there.inputs) if s >= 0 and t >= 0}

    def close(self) -> None:
        self.whole.close()
        for alone in self._alone.values():
            alone.close()


def _affine(t: Any) -> Affine | None:
    """Scale and zero point as a value; those of blocks only as their scales."""
    if not t.quantized:
        return None
    scale = np.asarray(t.scale).reshape(-1)
    zero = np.zeros(1, np.int64) if t.zero_point is None else np.asarray(t.zero_point).reshape(-1)
    return Affine(scale, np.broadcast_to(zero, scale.shape), t.axis if scale.size > 1 else None)


def _code_bins(codes: Codes) -> Bins:
    width = max(1, codes.counts.size // CODE_BINS)
    counts = codes.counts.reshape(-1, width).sum(axis=1)
    return Bins(counts, codes.qmin + width * np.arange(counts.size + 1, dtype=np.float64))


def follow(
    truth: Truth, candidates: Iterable[Followed], samples: Iterable[Any]
) -> tuple[int, list[tuple[int, dict[int, np.ndarray]]]]:
    """Send every sample through all; returns how many, and the first one of each entry as its
    number and the float model's inputs."""
    candidates = list(candidates)
    count, firsts = 0, {}
    for bound in truth.binder.all(samples):
        floats = truth.run(bound.entry, bound.arrays)
        way = truth.binder.entries[bound.entry]
        if bound.entry not in firsts:
            firsts[bound.entry] = {i.tensor: floats[i.tensor] for i in way.inputs}
        truth.look(way.subgraph, floats)
        for candidate in candidates:
            if not candidate.error:
                candidate.sample(bound.entry, floats)
        count += 1
    return count, list(firsts.items())
