"""Labelled accuracy of ours, TFLite's and LiteRT's quantizers: `python -m bench.accuracy`.

The same float model and calibration samples for all. Fashion-MNIST (10,000 test images), the 1,000
CIFAR pictures, and agreement with float on the photos for EfficientNet-Lite0.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import qcore
from bench.results import save, show
from qcore.errors import QcoreError
from qcore.metrics import agreement, top1
from qcore.peers import litert, tflite
from qcore.peers.real import run_real
from tests import corpus

MODELS = {
    "fmnist_dscnn_f32": ("fashion_mnist.npz", 200),
    "fmnist_vit_f32": ("fashion_mnist.npz", 200),
    "mlperf_resnet8_f32": ("cifar10_sample.npz", 200),
    "effnet_lite0_f32": (None, 26),
}


def scores(model: Any, samples: Iterator[np.ndarray]) -> np.ndarray:
    """(N, classes) real scores by the official interpreter."""
    return np.concatenate([outputs[0].reshape(1, -1) for outputs in run_real(model, samples)])


def candidates(entry: corpus.Entry, count: int) -> dict[str, Callable[[], Any]]:
    """Name -> what makes the quantized model, all from the same samples."""

    def samples() -> Iterator[np.ndarray]:
        return entry.samples(count, "calib")

    model = qcore.load(entry.path)

    def ours(recipe: str, **options: Any) -> Callable[[], Any]:
        return lambda: qcore.quantize(model, recipe, samples(), **options).to_bytes()

    return {
        "float": lambda: model,
        "ours int8": ours("int8"),
        "ours int8, observer tflite": ours("int8", observer="tflite", runtime="tensorflow"),
        "TFLite int8": lambda: tflite(model, samples(), "int8"),
        "LiteRT int8": lambda: litert(model, samples(), "int8"),
        "ours int16x8": ours("int16x8"),
        "TFLite int16x8": lambda: tflite(model, samples(), "int16x8"),
        "LiteRT int16x8": lambda: litert(model, samples(), "int16x8"),
        "ours dynamic": ours("dynamic"),
        "LiteRT dynamic": lambda: litert(model, None, "dynamic"),
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="*", default=list(MODELS))
    parser.add_argument("--limit", type=int, default=10**9, help="test samples at most")
    parser.add_argument("--json", help="write the rows here as well")
    args = parser.parse_args(argv)
    if not corpus.available():
        print(corpus.MISSING, file=sys.stderr)
        return 2
    rows = []
    for name in args.models:
        entry, (data, count) = corpus.entry(name), MODELS[name]
        truth = scores(entry.path, entry.samples(args.limit, "test"))
        labels = corpus.labelled(data)[1][: len(truth)] if data else None
        base = {"model": name, "images": len(truth)}
        for who, make in candidates(entry, count).items():
            line = base | {"quantizer": who, "top-1": None, "agrees with float": None, "remark": ""}
            try:
                made = scores(make(), entry.samples(args.limit, "test"))
            except QcoreError as error:  # a peer that refuses, or a file that does not run
                rows.append(line | {"remark": str(error)})
                continue
            if labels is not None:
                line["top-1"] = 100 * top1(made, labels)
            rows.append(line | {"agrees with float": 100 * agreement(truth, made)})
            print(f"{name}: {who} done", file=sys.stderr)
    show("accuracy, per cent", rows)
    save(args.json, "accuracy", rows)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
