"""A comparison as compact plain values: what the page's script and the charts read.

Layers and what candidates make of them are columns (one list a property, one entry a layer), texts
that repeat are numbers into `texts`, and no histogram has more than BINS bins. Numbers have four
digits, parameters and ends of ranges seven; an infinite SQNR is the text "Infinity" or "-Infinity",
since JSON has no such number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from qcore.compare.values import Bins, Candidate, Comparison, Interval, Layer, Seen
from qcore.metrics import Difference

BINS = 64
WORST = 20  # layers named for each candidate
_FINE = 7  # digits of scales and ends of ranges, which are float32
QUALITIES = ("accuracy", "agreement", "score", "db")  # higher is better


def data(comparison: Comparison) -> dict[str, Any]:
    """Plain values of the whole comparison; the float model is candidate 0."""
    everyone = (comparison.truth, *comparison.candidates)
    names = unique([c.name for c in everyone])
    candidates = [_candidate(c, name, comparison) for c, name in zip(everyone, names, strict=True)]
    paths = latency_paths(comparison)
    texts = _Texts()
    return {
        "model": comparison.model,
        "headline": comparison.headline,
        "candidates": candidates,
        "paths": paths,
        "layers": _layers(comparison.layers, texts),
        "seen": [_seen(c, comparison.layers, texts) for c in comparison.candidates],
        "worst": worst(comparison),
        "fronts": fronts(candidates, paths),
        "texts": texts.all,
    }


def unique(names: Sequence[str]) -> list[str]:
    """The names, those that stand there before with a number behind them."""
    taken: set[str] = set()
    made = []
    for name in names:
        new, number = name, 2
        while new in taken:
            new, number = f"{name} ({number})", number + 1
        taken.add(new)
        made.append(new)
    return made


def latency_paths(comparison: Comparison) -> list[str]:
    """Runtime and path of every latency that was measured, in the order of appearance."""
    everyone = (comparison.truth, *comparison.candidates)
    return list(dict.fromkeys(f"{x.runtime} {x.path}" for c in everyone for x in c.latency))


def output_SQNR(candidate: Candidate) -> float | None:
    """SQNR in dB of the worst output; None where no output was compared."""
    found = [d.SQNR_dB for d in candidate.outputs if d.count]
    return min(found) if found else None


def _candidate(c: Candidate, name: str, comparison: Comparison) -> dict[str, Any]:
    truth = c is comparison.truth
    return {
        "name": name,
        "bytes": c.bytes or None,
        "accuracy": _interval(c.accuracy),
        # Of the float model with itself: no measurement.
        "agreement": None if truth else _interval(c.agreement),
        "score": number(c.score),
        "db": None if truth else number(output_SQNR(c)),
        "latency": {f"{x.runtime} {x.path}": number(x.ms) for x in c.latency},
        "error": c.error,
    }


def _interval(found: Interval | None) -> list[Any] | None:
    return (
        None
        if found is None
        else [number(found.value), number(found.low), number(found.high), found.of]
    )


def number(x: float | None, digits: int = 4) -> float | int | str | None:
    """That many significant digits; infinities as text, NaN and None as None."""
    if x is None or math.isnan(x):
        return None
    if math.isinf(x):
        return "Infinity" if x > 0 else "-Infinity"
    short = float(f"{x:.{digits}g}")
    return int(short) if short == int(short) and abs(short) < 1e15 else short


class _Texts:
    """Texts that repeat, once each."""

    def __init__(self) -> None:
        self.all: list[str] = []
        self._places: dict[str, int] = {}

    def place(self, text: str) -> int:
        if text not in self._places:
            self._places[text] = len(self.all)
            self.all.append(text)
        return self._places[text]


def _layers(layers: Iterable[Layer], texts: _Texts) -> dict[str, list[Any]]:
    layers = list(layers)
    return {
        "name": [x.name for x in layers],
        "op": [texts.place(x.op) for x in layers],
        "operator": [x.operator for x in layers],
        "subgraph": [x.key.subgraph for x in layers],
        "shape": [texts.place(" × ".join(map(str, x.shape)) or "scalar") for x in layers],
        "values": [histogram(x.values) for x in layers],
    }


# Column -> what stands in it, of one tensor as a candidate has it.
_COLUMNS: dict[str, Callable[[Seen], Any]] = {
    "total": lambda s: number(s.total.SQNR_dB),
    "own": lambda s: None if s.own is None else number(s.own.SQNR_dB),
    "inherited": lambda s: None if s.inherited is None else number(s.inherited.SQNR_dB),
    "largest": lambda s: number(s.total.largest),
    "mean": lambda s: number(s.total.mean_absolute),
    "cosine": lambda s: _cosine(s.total),
    "saturated": lambda s: number(s.saturated),
    "used": lambda s: number(s.codes_used),
    "scale": lambda s: s.params and _ends(s.params.scale),
    "zero": lambda s: s.params and _ends(s.params.zero_point),
    "range": lambda s: representable(s),
    "codes": lambda s: histogram(s.codes),
}


def _seen(c: Candidate, layers: Sequence[Layer], texts: _Texts) -> dict[str, list[Any]]:
    found = [c.seen.get(layer.key) for layer in layers]
    columns = {
        name: [None if s is None else value(s) for s in found] for name, value in _COLUMNS.items()
    }
    columns["dtype"] = [None if s is None else texts.place(s.dtype) for s in found]
    columns["reasons"] = [
        [texts.place(t) for t in s.reasons] if s is not None and s.reasons else 0 for s in found
    ]
    columns["why"] = [
        texts.place(why) if (why := c.unmatched.get(x.key, "") if s is None else s.why) else None
        for x, s in zip(layers, found, strict=True)
    ]
    return columns


def _cosine(d: Difference) -> float | int | str | None:
    """Six digits: everything of interest lies just below 1."""
    return None if math.isnan(d.cosine) else round(d.cosine, 6)


def _ends(values: np.ndarray) -> list[Any]:
    """[the value], or [smallest, largest, how many] of several groups."""
    if values.size == 1:
        return [number(float(values[0]), _FINE)]
    return [*(number(float(x), _FINE) for x in (values.min(), values.max())), int(values.size)]


_SMALLEST_AND_LARGEST = {
    "int2": (-2, 1), "int4": (-8, 7), "uint4": (0, 15), "int8": (-128, 127), "uint8": (0, 255),
    "int16": (-32768, 32767), "uint16": (0, 65535),
}  # fmt: skip


def representable(s: Seen) -> list[Any] | None:
    """[lo, hi] in real units between the ends of the integer range, over all groups (E1)."""
    ends = _SMALLEST_AND_LARGEST.get(s.dtype)
    if s.params is None or ends is None:
        return None
    scale, zero = s.params.scale.astype(np.float64), s.params.zero_point
    lo, hi = scale * (ends[0] - zero), scale * (ends[1] - zero)
    return [number(float(lo.min()), _FINE), number(float(hi.max()), _FINE)]


def histogram(bins: Bins | None) -> list[Any] | None:
    """[edges, counts] with at most BINS bins, neighbours put together; None without counts.

    Edges of equal width (to a millionth of the whole) are only [first, last].
    """
    if bins is None or not bins.counts.sum():
        return None
    counts, edges = bins.counts, np.asarray(bins.edges, np.float64)
    together = -(-counts.size // BINS)
    starts = np.arange(0, counts.size, together)
    counts = np.add.reduceat(counts, starts)
    edges = np.append(edges[starts], edges[-1])
    even = np.linspace(edges[0], edges[-1], edges.size)
    if np.abs(even - edges).max() <= 1e-6 * (edges[-1] - edges[0]):
        edges = edges[[0, -1]]
    return [[number(e, _FINE) for e in edges.tolist()], [int(c) for c in counts]]


def worst(comparison: Comparison) -> list[list[int]]:
    """[candidate, layer] of the WORST worst layers of each candidate, the worst of all first.

    By the operator's own SQNR; by the total one where the operator was not fed alone. What is
    exact is left out. Candidates are counted as in `Comparison.candidates`.
    """
    found = []
    for c, candidate in enumerate(comparison.candidates):
        rows = []
        for i, layer in enumerate(comparison.layers):
            s = candidate.seen.get(layer.key)
            if s is not None and s.SQNR_dB < math.inf:
                rows.append((s.SQNR_dB, c, i))
        found += sorted(rows)[:WORST]
    return [[c, i] for _, c, i in sorted(found)]


def front(points: Sequence[Sequence[float] | None]) -> list[int]:
    """Numbers of the points that no other point is better than: the Pareto front.

    points: costs, all of one length, the less the better; None where something was not measured.
    Equal points are on the front together.
    """
    known = [i for i, p in enumerate(points) if p is not None]
    if not known:
        return []
    costs = np.array([points[i] for i in known], np.float64)
    no_worse = (costs[:, None] <= costs[None]).all(axis=2)
    better = no_worse & (costs[:, None] < costs[None]).any(axis=2)
    return [known[j] for j in np.flatnonzero(~better.any(axis=0))]


def fronts(candidates: Sequence[dict[str, Any]], paths: Sequence[str]) -> dict[str, list[int]]:
    """Fronts by "quality|cost" and "quality|bytes|path", as numbers of candidates.

    quality: one of QUALITIES.  cost: "bytes" or a path of `latency_paths`.
    """

    def costs(c: dict[str, Any], quality: str, keys: Sequence[str]) -> list[float] | None:
        good = c[quality][0] if isinstance(c[quality], list) else c[quality]
        row = [c["bytes"] if k == "bytes" else c["latency"].get(k) for k in keys]
        if c["error"] or good is None or None in row:
            return None
        return [-float(good), *map(float, row)]

    made = {}
    for quality in QUALITIES:
        for keys in (("bytes",), *((p,) for p in paths), *(("bytes", p) for p in paths)):
            found = front([costs(c, quality, keys) for c in candidates])
            if found:
                made["|".join((quality, *keys))] = found
    return made
