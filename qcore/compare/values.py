"""What a comparison found, as frozen values: everything the terminal, the report and JSON show.

Truth is the float model, fed with the same samples. With y the float model's tensor, y' the
candidate's and y'' what the candidate's operator alone makes of the float model's tensors (its
inputs rounded to the candidate's parameters), the error splits exactly:

    y' - y  =  (y'' - y)  +  (y' - y'')
    total      own           inherited

so noise = own.noise + inherited.noise + 2 * sum of own times inherited.
"""

from __future__ import annotations

import dataclasses
import math
import os
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from qcore.errors import BadInput
from qcore.metrics import Difference
from qcore.params import Affine, TensorKey


@dataclass(frozen=True)
class Interval:
    """A share with its 95 % confidence interval (Wilson), each in [0, 1].  of: trials."""

    value: float
    low: float
    high: float
    of: int


@dataclass(frozen=True)
class Paired:
    """Two candidates on the same labelled samples (McNemar's exact test).

    a, b: their names.  only_a, only_b: samples that only one of them has right.
    p: two-sided probability of a split at least as uneven if both were equally good.
    """

    a: str
    b: str
    only_a: int
    only_b: int
    p: float


@dataclass(frozen=True, eq=False)
class Bins:
    """Counts of values: counts[i] lie in [edges[i], edges[i + 1]), the last bin with its end.

    counts: (B,) int64.  edges: (B + 1,) float64, real units.
    """

    counts: np.ndarray
    edges: np.ndarray

    def to_json(self) -> dict[str, Any]:
        return {"counts": self.counts.tolist(), "edges": self.edges.tolist()}


@dataclass(frozen=True, eq=False)
class Layer:
    """One tensor of the float model that an operator writes, in the order of execution.

    operator: index of the operator in its subgraph.  op: its name, "CONV_2D".
    values: histogram of the float values over all samples.
    """

    key: TensorKey
    name: str
    operator: int
    op: str
    shape: tuple[int, ...]
    values: Bins | None = None


@dataclass(frozen=True, eq=False)
class Seen:
    """What a candidate makes of one layer.

    tensor: its index in the candidate.  dtype: how it is stored there, "int8".
    params: scale and zero point; None where it is float.
    total, own, inherited: sums over all samples (see the module); own and inherited are None where
        the operator could not be fed alone, with the reason in `why`.
    saturated: share of values at the ends of the integer range, whose float value lies outside.
    codes_used: share of the integer range's codes that occur; None where float.
    codes: histogram of the codes (edges in steps); None where float.
    reasons: in words, why this layer is bad, worst first ("range set by one outlier ...").
    cross: sum of own times inherited error, None where own is.
    """

    tensor: int
    dtype: str
    params: Affine | None
    total: Difference
    own: Difference | None = None
    inherited: Difference | None = None
    saturated: float | None = None
    codes_used: float | None = None
    codes: Bins | None = None
    reasons: tuple[str, ...] = ()
    why: str = ""
    cross: float | None = None

    @property
    def SQNR_dB(self) -> float:
        """Of the own error; of the total one where the operator was not fed alone."""
        return (self.total if self.own is None else self.own).SQNR_dB


@dataclass(frozen=True)
class Latency:
    """Milliseconds for one sample on the official interpreter, one thread, median of `runs`."""

    runtime: str
    path: str
    ms: float
    runs: int


@dataclass(frozen=True, eq=False)
class Candidate:
    """One quantized model (or the float model itself) and what was measured of it.

    made_by: who made it and which version ("TFLite's MLIR quantizer, tensorflow 2.21.0").
    bytes: size of the file.  seconds: time to quantize it, None where it was given as a file.
    outputs: total error of each of the model's outputs.
    accuracy: share of labelled samples that are right; agreement: with the float model's top-1.
        None where there are no labels, or where outputs are no class scores.
    score: what the user's metric function gave.
    operators, delegated, left_float: counts; delegated: of those, how many XNNPACK takes.
    seen: what it makes of each layer that has a counterpart; unmatched: why others have none.
    error: why it could not be run at all, else "".
    """

    name: str
    made_by: str = ""
    bytes: int = 0
    seconds: float | None = None
    outputs: tuple[Difference, ...] = ()
    accuracy: Interval | None = None
    agreement: Interval | None = None
    score: float | None = None
    latency: tuple[Latency, ...] = ()
    operators: int = 0
    delegated: int | None = None
    left_float: int = 0
    seen: dict[TensorKey, Seen] = dataclasses.field(default_factory=dict)
    unmatched: dict[TensorKey, str] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()
    error: str = ""


@dataclass(frozen=True, eq=False)
class Comparison:
    """The float model, its candidates, and the layers they are compared in.

    truth: the float model itself as a candidate (its accuracy, size and latency).
    samples: how many the layers were compared on; labelled: how many accuracy was measured on.
    metric: name of the user's metric function, "" without one.
    headline: the most important thing in one sentence (which layer breaks which candidate).
    models: the candidates themselves, while they are in memory; not saved.
    """

    model: str
    truth: Candidate
    candidates: tuple[Candidate, ...]
    layers: tuple[Layer, ...]
    pairs: tuple[Paired, ...] = ()
    samples: int = 0
    labelled: int = 0
    metric: str = ""
    headline: str = ""
    versions: dict[str, str] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()
    models: dict[str, Any] = dataclasses.field(default_factory=dict, repr=False)

    def report(self, path: str | os.PathLike[str] | None = None) -> str:
        """One HTML file with everything in it, as text and at `path`. Raises MissingExtra."""
        from qcore.report import html

        return html(self, path)

    def overlay(
        self,
        path: str | os.PathLike[str] | None = None,
        part: Literal["total", "own", "inherited"] = "total",
    ) -> dict[str, dict[str, Any]]:
        """Node data for Model Explorer, a file for each candidate (`qcore.report.overlay`)."""
        from qcore.report import overlay

        return overlay(self, path, part)

    def chart(self, kind: Literal["layers", "tradeoff"] = "layers", *, by: str = "total") -> Any:
        """An altair.Chart: SQNR by layer, or quality against a cost (`qcore.report.chart`)."""
        from qcore.report import chart

        return chart(self, kind, by=by)

    def __repr__(self) -> str:
        return f"Comparison({self.model}, {len(self.candidates)} candidates, {self.headline!r})"

    def candidate(self, name: str) -> Candidate:
        """The candidate of this name. Raises BadInput for none."""
        for found in self.candidates:
            if found.name == name:
                return found
        known = ", ".join(repr(c.name) for c in self.candidates)
        raise BadInput(f"there is no candidate {name!r}; there are {known}")

    def worst(self, name: str, count: int = 5) -> tuple[tuple[Layer, Seen], ...]:
        """The layers that lose most by themselves, in total where an operator was not fed alone;
        what is exact is left out."""
        seen = self.candidate(name).seen
        rows: list[tuple[float, int, Layer, Seen]] = []
        for layer in self.layers:
            found = seen.get(layer.key)
            if found is not None and found.SQNR_dB < math.inf:
                rows.append((found.SQNR_dB, len(rows), layer, found))
        return tuple(
            (layer, found) for _, _, layer, found in sorted(rows, key=lambda r: r[:2])[:count]
        )

    def difference(self, a: str, b: str) -> Any:
        """`qcore.diff` of two candidates: which scales, zero points and integers differ, in ULP and
        steps. Raises BadInput where the models are not in memory (a comparison that was loaded)."""
        from qcore.diff import diff

        for name in (a, b):
            self.candidate(name)
            if name not in self.models:
                raise BadInput(
                    f"the model of candidate {name!r} is not in memory; keep the files "
                    "(qcore compare --keep FOLDER) and compare them with qcore diff"
                )
        return diff(self.models[a], self.models[b])

    def table(self) -> Any:
        """A rich renderable: summary, worst layers of each candidate, McNemar's pairs."""
        from qcore.compare.show import table

        return table(self)

    __rich__ = table

    def __str__(self) -> str:
        from qcore.compare.show import text

        return text(self)

    def to_markdown(self) -> str:
        """The same tables as Markdown."""
        from qcore.compare.show import markdown

        return markdown(self)

    def to_json(self) -> dict[str, Any]:
        """Plain values that `from_json` reads; without the models."""
        from qcore.compare.saved import to_json

        return to_json(self)

    @classmethod
    def from_json(cls, data: Any) -> Comparison:
        """What `to_json` described. Raises BadInput where it is something else."""
        from qcore.compare.saved import from_json

        return from_json(data)

    def save(self, path: Any) -> None:
        """Writes `to_json` to a file; an existing one is replaced only by a whole one."""
        from qcore.compare.saved import save

        save(self, path)

    @classmethod
    def load(cls, path: Any) -> Comparison:
        """Reads what `save` wrote. Raises BadInput for other files."""
        from qcore.compare.saved import load

        return load(path)

    def _repr_html_(self) -> str:
        from qcore.report import notebook

        return notebook.comparison(self)
