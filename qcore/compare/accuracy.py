"""How good class scores are, and whether one candidate is better than another by more than luck."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np

import tflite_schema as ts
from kernels.errors import KernelError
from qcore.binding import Binder
from qcore.compare.alone import encode
from qcore.compare.match import EntryPair, entry_pairs
from qcore.compare.values import Interval, Paired
from qcore.compare.whole import Whole
from qcore.errors import BadInput, CannotRun, QcoreError, failure
from qcore.metrics import Difference

Z95 = 1.959963984540054  # the normal distribution has 2.5 % beyond it on either side
BLOCK = 1 << 25  # bytes of samples and outputs that are held at a time


def wilson(right: int, of: int, z: float = Z95) -> Interval:
    """A share with its confidence interval: Wilson's score interval without continuity correction.

    Source: E. B. Wilson, Probable inference, the law of succession, and statistical inference,
    JASA 22 (1927).  Raises BadInput for no trials.
    """
    if of < 1 or not 0 <= right <= of:
        raise BadInput(f"{right} of {of} is no share; give at least one trial")
    p, n = right / of, of
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # The formula meets the ends exactly, its arithmetic only nearly.
    low = 0.0 if right == 0 else max(0.0, middle - half)
    high = 1.0 if right == of else min(1.0, middle + half)
    return Interval(p, low, high, of)


def mcnemar(only_a: int, only_b: int) -> float:
    """p of McNemar's exact test: two-sided, that `only_a` and `only_b` samples of which just one
    candidate has right split at least so unevenly when each is a fair coin. 1 where there are none.

    Sums integers, so exact but for the last division.
    """
    n, k = only_a + only_b, min(only_a, only_b)
    total = term = 1
    for i in range(k):
        term = term * (n - i) // (i + 1)
        total += term
    return min(1.0, (2 * total) / (1 << n)) if n else 1.0


class Judge:
    """The float model or a candidate on the evaluation samples: scores, right or wrong."""

    def __init__(
        self, model: ts.Model, profile: Any, pair: EntryPair, threads: int | None,
    ) -> None:  # fmt: skip
        """pair: its entry and outputs, as the candidate's side."""
        self.whole = Whole(model, profile, keep=False)
        self.executor = self.whole.executor
        self.pair, self.threads = pair, threads
        self.block = self.executor.blocks[pair.b]
        self.right = self.agrees = self.of = 0
        self.kept: list[tuple[np.ndarray, ...]] = []
        self.outputs: dict[int, Difference] = {}  # by the float model's tensor
        self.error = ""

    def scores(
        self, given: list[dict[int, np.ndarray]], first: bool
    ) -> list[tuple[np.ndarray, ...]]:
        """Outputs in real units of each sample. given: real values by the float model's tensors.

        first: only the first output.
        """
        outputs = [t for _, t in self.pair.outputs][: 1 if first else None]
        encoded = [self.encoded(sample) for sample in given]
        made = self._batch(encoded, outputs)
        if made is None:
            made = (self._one(sample, outputs) for sample in encoded)
        real, at = self.whole.real, self.pair.b
        return [tuple(real(at, t, a) for t, a in zip(outputs, row)) for row in made]

    def encoded(self, sample: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
        """A sample as its inputs store it. sample: real values by the float model's tensors."""
        return {t: encode(self.block, t, sample[s]) for s, t in self.pair.inputs}

    def _batch(
        self, samples: list[dict[int, np.ndarray]], outputs: Sequence[int]
    ) -> Iterator[tuple[np.ndarray, ...]] | None:
        """Many samples by one program; None where there is none for them."""
        entry = self.executor.binder.entries[self.executor.binder.default]
        if (
            self.whole.official
            or entry.subgraph != self.pair.b
            or len(samples) < 2
            or not self.block.declares(samples[0])
            or any(a.shape != b.shape for s in samples[1:]
                   for a, b in zip(s.values(), samples[0].values()))
            or self.executor.program(self.pair.b) is None
        ):  # fmt: skip
            return None
        named = dict(entry.outputs)
        names = {t: n for n, t in named.items()}
        if any(t not in names for t in outputs):
            return None
        stacked = {
            i.name: np.stack([s[i.tensor] for s in samples]) for i in entry.inputs
            if i.tensor in samples[0]
        }  # fmt: skip
        if len(stacked) != len(entry.inputs):
            return None
        try:
            made = self.executor.batch(stacked, self.threads)
        except (CannotRun, KernelError):
            return None
        shapes = {t: tuple(self.block.tensors[t].shape) for t in outputs}
        return zip(*(made[names[t]].reshape(len(samples), *shapes[t]) for t in outputs))

    def _one(
        self, sample: Mapping[int, np.ndarray], outputs: Sequence[int]
    ) -> tuple[np.ndarray, ...]:
        made = self.whole.run(self.pair.b, sample, outputs)
        return tuple(made[t] for t in outputs)

    def differ(
        self, truth: Judge, right: Sequence[Sequence[np.ndarray]],
        made: Sequence[Sequence[np.ndarray]],
    ) -> None:  # fmt: skip
        """Add the errors of some samples' outputs. right: those of the float model, made: ours."""
        places = {s: i for i, (s, _) in enumerate(truth.pair.outputs)}
        for own, (s, _) in enumerate(self.pair.outputs):
            found = self.outputs.get(s, Difference())
            for a, b in zip(right, made, strict=True):
                if a[places[s]].shape == b[own].shape:
                    found += Difference.of(a[places[s]], b[own])
            self.outputs[s] = found

    def close(self) -> None:
        self.whole.close()


def is_scores(shape: Sequence[int]) -> bool:
    """Whether an output of this shape can be class scores: one row of several numbers."""
    sizes = [n for n in shape if n != 1]
    return len(sizes) == 1 and sizes[0] >= 2 and len(shape) <= 2


def top_class(scores: np.ndarray) -> int:
    """Number of the highest score, the first of equal ones; -1 where a score is NaN."""
    return -1 if np.isnan(scores).any() else int(scores.reshape(-1).argmax())


class Evaluation:
    """The same samples through all models: accuracy, agreement, a metric, pairs.

    truth: the float model.  candidates: name -> model.
    metric: function(outputs, labels) -> number; outputs: (N, ...) real values of the only output,
    or a tuple of such arrays.  outputs: whether the errors of all outputs are summed as well.
    """

    def __init__(
        self, truth: ts.Model, candidates: Mapping[str, ts.Model], profile: Any,
        metric: Callable[..., float] | None = None, threads: int | None = None,
        signature: str | None = None, outputs: bool = False,
    ) -> None:  # fmt: skip
        self.outputs = outputs
        self.first: dict[int, np.ndarray] = {}  # the first sample, real values by float tensors
        self.binder = Binder(truth, signature, floats=True)
        self.entry = self.binder.default
        self.metric = metric
        self.judges: dict[str | None, Judge] = {}  # None: the float model
        self.errors: dict[str, str] = {}
        self.unscored: dict[str | None, str] = {}  # what the metric raised
        self.pairs: dict[tuple[str, str], list[int]] = {}
        self.labelled = self.samples = 0
        way = list(entry_pairs(truth, truth))[self.entry]
        assert way is not None
        optimized = replace(profile, path="optimized")
        self.judges[None] = Judge(truth, optimized, way, threads)
        for name, model in candidates.items():
            pair = list(entry_pairs(truth, model))[self.entry]
            if pair is None or not pair.outputs:
                self.errors[name] = "it has no counterpart of the float model's entry"
                continue
            self.judges[name] = Judge(model, profile, pair, threads)
        shape = self.judges[None].block.tensors[way.outputs[0][1]].shape if way.outputs else ()
        self.classes = is_scores(shape)
        self.size = int(np.prod(shape))
        made = (self.judges[None].block.tensors[t].shape or () for _, t in way.outputs)
        self.bytes = 4 * sum(math.prod(max(n, 1) for n in shape) for shape in made)  # of outputs

    def run(self, samples: Iterable[Any], labels: np.ndarray | None) -> None:
        """All samples, a block at a time. Raises BadInput for labels that do not go with them."""
        done = 0
        for block in self._blocks(samples, labels is None and self.metric is None):
            if labels is not None and len(labels) < done + len(block):
                raise BadInput(
                    f"there are {len(labels)} labels and more samples; give one label for each"
                )
            self._block(block, None if labels is None else labels[done : done + len(block)])
            done += len(block)
        if labels is not None and done != len(labels):
            raise BadInput(
                f"there are {len(labels)} labels and {done} samples; give one label for each"
            )
        self.labelled = done if labels is not None else 0
        self.samples = done

    def _blocks(self, samples: Iterable[Any], some: bool) -> Iterator[list[dict[int, np.ndarray]]]:
        """Samples as the float model's inputs, real values. some: those of the default entry are
        enough."""
        entry = self.binder.entries[self.entry]
        held: list[dict[int, np.ndarray]] = []
        size = 0
        for bound in self.binder.all(samples):
            if bound.entry != self.entry and some:
                continue
            if bound.entry != self.entry:
                raise BadInput(
                    "evaluation samples are of several signatures; name one with signature"
                )
            held.append({i.tensor: a for i, a in zip(entry.inputs, bound.arrays)})
            size += sum(a.nbytes for a in bound.arrays) + self.bytes
            if size >= BLOCK:
                yield held
                held, size = [], 0
        if held:
            yield held

    def _block(self, given: list[dict[int, np.ndarray]], labels: np.ndarray | None) -> None:
        first = self.metric is None and not self.outputs
        self.first = self.first or given[0]
        floats: list[tuple[np.ndarray, ...]] = []
        right: dict[str | None, np.ndarray] = {}
        truth = None
        for name, judge in self.judges.items():
            if judge.error:
                continue
            try:
                made = judge.scores(given, first)
            except (QcoreError, KernelError) as error:
                if name is None:
                    raise
                judge.error = str(error)
                continue
            if self.metric is not None:
                judge.kept += made
            if self.outputs and name is None:
                floats = made
            elif self.outputs:
                judge.differ(self.judges[None], floats, made)
            if self.classes and any(row[0].size != self.size for row in made):
                if labels is not None:
                    raise BadInput(
                        "a sample holds a batch, of which there is one label; give the samples one "
                        "at a time"
                    )
                self.classes = False
            if not self.classes:
                continue
            top = np.array([top_class(row[0]) for row in made])
            truth = top if name is None else truth
            judge.of += len(top)
            judge.agrees += int(np.count_nonzero(top == truth))
            if labels is not None and _are_classes(labels):
                right[name] = (top == labels.reshape(-1)) & (top >= 0)
                judge.right += int(np.count_nonzero(right[name]))
        names = [n for n in right if n is not None]
        for a, b in combinations(names, 2):
            counts = self.pairs.setdefault((a, b), [0, 0])
            counts[0] += int(np.count_nonzero(right[a] & ~right[b]))
            counts[1] += int(np.count_nonzero(right[b] & ~right[a]))
        if None in right:
            for a in names:
                counts = self.pairs.setdefault(("", a), [0, 0])
                counts[0] += int(np.count_nonzero(right[None] & ~right[a]))
                counts[1] += int(np.count_nonzero(right[a] & ~right[None]))

    def accuracy(self, name: str | None, labels: np.ndarray | None) -> Interval | None:
        judge = self.judges.get(name)
        if judge is None or judge.error or not judge.of or labels is None:
            return None
        return wilson(judge.right, judge.of) if _are_classes(labels) else None

    def agreement(self, name: str | None) -> Interval | None:
        judge = self.judges.get(name)
        if judge is None or judge.error or not judge.of or not self.classes:
            return None
        return wilson(judge.agrees, judge.of)

    def score(self, name: str | None, labels: np.ndarray | None) -> float | None:
        """What the user's function makes of all outputs."""
        judge = self.judges.get(name)
        if self.metric is None or judge is None or judge.error or not judge.kept:
            return None
        outputs = tuple(np.stack([row[i] for row in judge.kept]) for i in range(len(judge.kept[0])))
        # One sample's leading 1 is no axis of the data set.
        outputs = tuple(a.reshape(a.shape[0], *a.shape[2:]) if a.ndim > 1 and a.shape[1] == 1 else a
                        for a in outputs)  # fmt: skip
        try:
            return float(self.metric(outputs[0] if len(outputs) == 1 else outputs, labels))
        except (QcoreError, MemoryError):
            raise
        except Exception as error:  # the user's code; all else was measured, and is kept
            self.unscored[name] = failure(error)
            return None

    def ways(self) -> dict[str, tuple[int, dict[int, np.ndarray]]]:
        """Name ("" for the float model) -> subgraph and the first sample as its inputs store it."""
        return {
            name or "": (judge.pair.b, judge.encoded(self.first))
            for name, judge in self.judges.items()
            if not judge.error
        }

    def paired(self, truth: str) -> tuple[Paired, ...]:
        """McNemar's test of each two, the float model (called `truth`) among them."""
        failed = {name for name, judge in self.judges.items() if judge.error}
        return tuple(
            Paired(a or truth, b, x, y, mcnemar(x, y))
            for (a, b), (x, y) in self.pairs.items()
            if not failed & {a, b}
        )

    def remark(self, labels: np.ndarray | None) -> str:
        """Why labels gave no accuracy, or how many of them are no class; "" where all is well."""
        if labels is None:
            return ""
        if not (self.classes and _are_classes(labels)):
            if self.metric is not None:
                return ""
            why = (
                f"labels are {labels.dtype} of shape {list(labels.shape)}; give the number of a "
                "class for each sample"
                if self.classes
                else "the first output is not one row of class scores"
            )
            return f"accuracy was not measured: {why}, or a metric"
        outside = int(np.count_nonzero((labels < 0) | (labels >= self.size)))
        if not outside:
            return ""
        return (
            f"{outside:,} of {len(labels):,} labels are none of the {self.size} classes "
            f"(0 to {self.size - 1}) and count as wrong"
        )

    def close(self) -> None:
        for judge in self.judges.values():
            judge.close()


def _are_classes(labels: np.ndarray) -> bool:
    """Whether labels are numbers of classes, one a sample."""
    return labels.dtype.kind in "iu" and labels.size == len(labels)
