"""Comparisons that nothing was run for: as large, as odd and as hostile as a test wants."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import numpy as np

from qcore.compare.values import (
    Bins,
    Candidate,
    Comparison,
    Interval,
    Latency,
    Layer,
    Paired,
    Seen,
)
from qcore.metrics import Difference
from qcore.params import Affine, TensorKey

OPS = ("CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "AVERAGE_POOL_2D", "FULLY_CONNECTED", "SOFTMAX")
PATHS = ("reference", "optimized", "xnnpack")
HOSTILE = "</script><script>alert(1)</script><!--<img src=x onerror=alert(2)>&amp;\u2028\u2029'\""


def difference(db: float, count: int = 4096, signal: float = 100.0) -> Difference:
    """A difference with this SQNR in dB."""
    noise = 0.0 if db == math.inf else signal / 10 ** (db / 10)
    return Difference(
        count=count, signal=signal, noise=noise, dot=signal, other=signal + noise,
        absolute=math.sqrt(noise * count) * 0.8, largest=4 * math.sqrt(noise / count),
        differing=count,
    )  # fmt: skip


def comparison(candidates: int = 3, layers: int = 12, seed: int = 0, **changes: Any) -> Comparison:
    """Candidates that lose a little with every layer; the second breaks at two thirds."""
    rng = np.random.default_rng(seed)
    made = tuple(
        Layer(
            TensorKey(0, 10 + i), f"model/block_{i // 3}/{OPS[i % 6].lower()}_{i};model/relu_{i}",
            i, OPS[i % 6], (1, 28, 28, 8 + i % 5), _values(rng),
        )
        for i in range(layers)
    )  # fmt: skip
    truth = Candidate(
        "float", "the model itself", 4_200_000, accuracy=Interval(0.912, 0.894, 0.927, 1000),
        latency=tuple(Latency("litert", p, 9.1 / (1 + i), 30) for i, p in enumerate(PATHS)),
        operators=layers, delegated=layers, left_float=layers,
    )  # fmt: skip
    others = tuple(_candidate(rng, i, made) for i in range(candidates))
    pairs = tuple(
        Paired(a.name, b.name, 17 + 9 * i, 12, 0.5 ** (1 + 2 * i))
        for i, (a, b) in enumerate(itertools.pairwise(others))
    )
    whole = Comparison(
        model="mobilenet_v2_float.tflite", truth=truth, candidates=others, layers=made, pairs=pairs,
        samples=64, labelled=1000, versions={"qcore": "0.1.0", "ai-edge-litert": "2.3.0"},
        headline="DEPTHWISE_CONV_2D 7 breaks kl: its own error leaves 3.1 dB of the signal.",
        notes=("Latency was measured on this machine, one thread.",),
    )  # fmt: skip
    return dataclasses.replace(whole, **changes)


def _values(rng: np.random.Generator) -> Bins:
    values = rng.normal(0, 1 + rng.random(), 4000).clip(-0.4, None)
    counts, edges = np.histogram(values, 512)
    return Bins(counts.astype(np.int64), edges)


NAMES = ("minmax", "kl", "percentile 99.9", "mse", "octav", "tflite mlir", "litert static")


def _candidate(rng: np.random.Generator, number: int, layers: tuple[Layer, ...]) -> Candidate:
    seen, unmatched = {}, {}
    level = 46.0 - number
    for i, layer in enumerate(layers):
        if number == 2 and i == 3:
            unmatched[layer.key] = "folded into the operator before it"
            continue
        broken = number == 1 and i == 2 * len(layers) // 3
        own = 3.1 if broken else 44 + 4 * rng.standard_normal()
        level = min(level, own) - 0.1
        codes = np.bincount((128 + rng.normal(0, 30, 4000)).clip(0, 255).astype(int), minlength=256)
        seen[layer.key] = Seen(
            tensor=layer.key.tensor, dtype="int8",
            params=Affine.of(0.0235 * (1 + number), -128 + i),
            total=difference(level + rng.random()), own=None if i == 5 else difference(own),
            inherited=None if i == 5 else difference(level + 3),
            saturated=0.021 if broken else 0.0, codes_used=0.31 if broken else 0.88,
            codes=Bins(codes.astype(np.int64), np.arange(-128, 129, dtype=np.float64)),
            reasons=(
                ("range set by one outlier: the largest value is 41 times the 99.9th percentile",
                 "3 of 32 channels are dead") if broken else ()
            ),
            why="it reads a resource variable" if i == 5 else "",
        )  # fmt: skip
    right = 0.905 - 0.012 * number
    return Candidate(
        name=NAMES[number % len(NAMES)] + (f" v{number // len(NAMES)}" if number >= 7 else ""),
        made_by="qcore 0.1.0" if number % 2 == 0 else "TFLite's MLIR quantizer, tensorflow 2.21.0",
        bytes=1_120_000 + 9_000 * number, seconds=0.8 + 3 * number,
        outputs=(difference(level), difference(level + 2)),
        accuracy=Interval(right, right - 0.018, right + 0.017, 1000),
        agreement=Interval(right + 0.05, right + 0.03, right + 0.06, 1000),
        latency=tuple(
            Latency("litert", p, (60 if number == 2 else 6 - number / 9) / (1 + i), 30)
            for i, p in enumerate(PATHS)
        ),
        operators=len(layers) + 2, delegated=len(layers) - 1, left_float=number % 3,
        seen=seen, unmatched=unmatched,
        notes=("SOFTMAX stays float: no int8 kernel of its form.",) if number % 3 == 1 else (),
    )  # fmt: skip


def hostile() -> Comparison:
    """Every text of the comparison tries to leave its place."""
    found = comparison(2, 6)
    layers = tuple(dataclasses.replace(x, name=HOSTILE, op=HOSTILE) for x in found.layers)
    candidates = tuple(
        dataclasses.replace(
            c, name=HOSTILE, made_by=HOSTILE, notes=(HOSTILE,), error="",
            seen={k: dataclasses.replace(s, reasons=(HOSTILE,)) for k, s in c.seen.items()},
        )
        for c in found.candidates
    )  # fmt: skip
    return dataclasses.replace(
        found, model=HOSTILE, headline=HOSTILE, layers=layers, candidates=candidates,
        notes=(HOSTILE,), metric=HOSTILE, versions={HOSTILE: HOSTILE},
        pairs=(Paired(HOSTILE, HOSTILE, 1, 2, 1.0),),
    )  # fmt: skip


def _main() -> None:
    """The size of a page of 12 candidates and 300 layers, and how long it takes to make one."""
    import time

    from qcore.report import html
    from qcore.report.page import library

    times = [time.perf_counter()]
    library()
    times.append(time.perf_counter())
    page = html(comparison(12, 300))
    times.append(time.perf_counter())
    first, second = np.diff(times)
    print(f"Vega's script {first:.1f} s, {len(library()):,} bytes; the page {second:.2f} s, "
          f"{len(page.encode()):,} bytes")  # fmt: skip


if __name__ == "__main__":
    _main()
