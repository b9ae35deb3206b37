"""Every float model of the corpus by every recipe that ships: `python -m bench.models`.

Each is quantized and compared with the float model on the test inputs of its data, by
`qcore.compare` without layers: size, accuracy where there are labels, agreement with float where
the output is class scores, SQNR of each output, time of one input on the fastest path, and what
computes in float. Exit code 1 where a model failed without saying why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import qcore
from bench.results import over_corpus
from qcore.compare.values import Candidate
from qcore.errors import CannotQuantize
from qcore.graph import graphs
from qcore.recipe import names
from tests import corpus

PATHS = ("optimized", "xnnpack")  # the reference path is for reading, not for speed
SAMPLES = 100  # calibration inputs at most, and test inputs where there are no labels


def labels(entry: corpus.Entry) -> np.ndarray | None:
    """Classes of the entry's test inputs, where its data have them."""
    how = entry.input or {}
    data = how.get("data", "")
    return corpus.labelled(data)[1] if data.endswith(".npz") and "key" not in how else None


def classifies(path: Path) -> bool:
    """Whether the model's only output is what a SOFTMAX gives."""
    graph = graphs(qcore.load(path))[0]
    last = [graph.operators[graph.producer[t]].name for t in graph.outputs if t in graph.producer]
    return last == ["SOFTMAX"]


def row(model: str, found: Candidate, float_bytes: int) -> dict[str, Any]:
    """One line of the table."""
    fastest = min(found.latency, key=lambda time: time.ms, default=None)
    right, agrees, ran = found.accuracy, found.agreement, not found.error
    return {
        "model": model,
        "recipe": found.name,
        "bytes": found.bytes or None,
        "size": found.bytes / float_bytes if found.bytes else None,
        "top-1 %": None if right is None else 100 * right.value,
        "95 % from": None if right is None else 100 * right.low,
        "to": None if right is None else 100 * right.high,
        "agrees %": None if agrees is None else 100 * agrees.value,
        "inputs": None if agrees is None else agrees.of,
        "SQNR dB": " ".join(f"{output.SQNR_dB:.1f}" for output in found.outputs) or None,
        "ms": None if fastest is None else fastest.ms,
        "path": None if fastest is None else fastest.path,
        "operators": found.operators if ran else None,
        "in float": found.left_float if ran else None,
        "remark": found.error,
    }


def rows_of(entry: corpus.Entry, recipes: Sequence[str], samples: int) -> list[dict[str, Any]]:
    """The float model and its recipes, from one calibration on `samples` inputs at most."""
    classes = labels(entry)
    inputs = list(entry.samples(samples if classes is None else len(classes), "test"))
    ranges = qcore.calibrate(entry.path, entry.samples(samples), progress=False)
    made: dict[str, Any] = {}
    refused: dict[str, Candidate] = {}
    for recipe in recipes:
        try:
            made[recipe] = qcore.quantize(entry.path, recipe, ranges)
        except CannotQuantize as reason:
            refused[recipe] = Candidate(recipe, error=str(reason))
    found = qcore.compare(
        entry.path, made, inputs, classes, layers=0, latency=PATHS, progress=False
    )
    done = {
        one.name: replace(one, error=f"FAILED: {one.error}" if one.error else "")
        for one in found.candidates
    }
    truth = replace(found.truth, bytes=entry.path.stat().st_size)
    every = [truth, *((done | refused)[recipe] for recipe in recipes)]
    if classes is None and not classifies(entry.path):
        every = [replace(one, agreement=None) for one in every]
    return [row(entry.name, one, truth.bytes) for one in every]


def main(argv: list[str] | None = None) -> int:
    text = (__doc__ or "").splitlines()[0]
    rows = over_corpus(text, "corpus by recipe", rows_of, names(), SAMPLES, argv)
    return int(any(r["remark"].startswith("FAILED") for r in rows) or not rows)


if __name__ == "__main__":
    raise SystemExit(main())
