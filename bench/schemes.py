"""Schemes of ours beside TFLite's and LiteRT's quantizers, on six models: `bench.schemes`.

    python -m bench.schemes [--models ...] [--candidates ...] [--limit N] [--reports FOLDER]
                            [--json bench/results/schemes.json]

One `qcore.compare` a model, all candidates from the same calibration samples. Accuracy on the test
pictures of Fashion-MNIST (10,000) and CIFAR (1,000); where no labels are, agreement with the float
model's first class and the SQNR of the outputs. TFLite's dynamic range mode exists only from Keras;
ours is the same file (tests/twin/test_dynamic.py).
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import qcore
from bench.results import save, show
from tests import corpus

TITLE = "schemes and quantizers on the same models and samples"
# Model -> data with labels, calibration samples, samples that are evaluated where no labels are.
MODELS = {
    "effnet_lite0_f32": (None, 26, 26),
    "mlperf_resnet8_f32": ("cifar10_sample.npz", 200, 0),
    "fmnist_dscnn_f32": ("fashion_mnist.npz", 200, 0),
    "fmnist_vit_f32": ("fashion_mnist.npz", 200, 0),
    "mlperf_kws_dscnn_f32": (None, 100, 200),
    "posenet_mnv1_f32": (None, 26, 26),
}
OTHER = None, 16, 16  # any other float model of the corpus
CANDIDATES = (
    "int8", "int8+percentile", "int8+mse", "int8+kl", "int8+octav", "int16x8", "dynamic",
    "tflite:int8", "tflite:int16x8", "litert:int8", "litert:int16x8", "litert:dynamic",
)  # fmt: skip


def compared(name: str, candidates: Any, limit: int) -> Any:
    """The Comparison of one model."""
    entry, (data, count, evaluated) = corpus.entry(name), MODELS.get(name, OTHER)
    labels = None
    if data is not None:
        labels = corpus.labelled(data)[1][:limit]
        evaluated = len(labels)
    return qcore.compare(
        entry.path,
        candidates,
        list(entry.samples(count, "calib")),
        labels,
        evaluation=entry.samples(min(evaluated, limit), "test"),
        latency=False,
    )


def rows_of(name: str, found: Any) -> list[dict[str, Any]]:
    return [
        {
            "model": name,
            "candidate": c.name,
            "made by": c.made_by,
            "top-1 %": None if c.accuracy is None else 100 * c.accuracy.value,
            "95 %": None
            if c.accuracy is None
            else f"{100 * c.accuracy.low:.1f} to {100 * c.accuracy.high:.1f}",
            "agrees %": None if c.agreement is None else 100 * c.agreement.value,
            "SQNR dB": float(np.mean([d.SQNR_dB for d in c.outputs])) if c.outputs else None,
            "kB": c.bytes / 1000,
            "seconds": c.seconds,
            "left float": c.left_float,
            "remark": c.error,
        }
        for c in (found.truth, *found.candidates)
    ]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="*", default=list(MODELS))
    parser.add_argument("--candidates", nargs="*", default=list(CANDIDATES))
    parser.add_argument("--limit", type=int, default=10**9, help="test samples at most")
    parser.add_argument("--reports", type=Path, help="also write a report of each model here")
    parser.add_argument("--json", help="write the rows here as well")
    args = parser.parse_args(argv)
    if not corpus.available():
        print(corpus.MISSING, file=sys.stderr)
        return 2
    rows: list[dict[str, Any]] = []
    for name in args.models:
        found = compared(name, args.candidates, args.limit)
        rows += rows_of(name, found)
        if args.reports is not None:
            args.reports.mkdir(parents=True, exist_ok=True)
            path, began = args.reports / f"{name}.html", time.perf_counter()
            found.report(path)
            took, size = time.perf_counter() - began, path.stat().st_size / 1e6
            print(f"{path}: {len(found.layers)} layers, {took:.1f} s, {size:.2f} MB")
        print(f"{name}: {found.headline}", file=sys.stderr)
    show(TITLE, rows)
    save(args.json, TITLE, rows)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
