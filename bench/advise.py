"""What `qcore advise` says of models of the corpus, and whether it runs: `python -m bench.advise`.

    python -m bench.advise [--models ...] [--targets ...] [--tools PYTHON] [--json ...]

The recommended file is run by what there is of the target (bench.check_targets): the official
interpreter with XNNPACK, operator by operator equal to our integers; TFLite Micro; Vela.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import qcore
import tflite_schema as ts
from bench.check_targets import ACCELERATOR, Case, asked, left_by_vela
from bench.results import save, show
from qcore.advise import PATHS
from tests import corpus

TITLE = "Advice for models of the corpus"
MODELS = ("fmnist_dscnn_f32", "mlperf_vww_mnv1_f32", "mlperf_ad_autoencoder_f32")
TARGETS = ("xnnpack", "tflm", "ethos-u")


def ran(model: Any, target: str, samples: list[Any], python: str) -> str:
    """What happened when the recommended model was run."""
    if target in PATHS:
        path = qcore.verify(model, samples[:2], (PATHS[target],)).paths[0]
        return (
            path.failed or f"{path.compared.elements:,} elements, {path.compared.differing} differ"
        )
    data = ts.to_bytes(model) if isinstance(model, ts.Model) else model.to_bytes()
    with tempfile.TemporaryDirectory() as folder:
        sub = ts.read(data).subgraphs[0]
        tensor = sub.tensors[sub.inputs[0]]
        inputs = [np.zeros(tensor.shape or (), tensor.type.name.lower())]
        case = Case(Path(folder), "model", "advised", data, inputs)
        tool = ["tflm"] if target == "tflm" else ["vela", ACCELERATOR]
        _, (answer,) = asked(python, tool, [case])
    if target == "tflm":
        return "runs" if not answer[0] else f"stops: {answer[1][-120:]}"
    left = left_by_vela(answer)
    return left if isinstance(left, str) else f"{len(left)} operators left on the CPU"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", nargs="*", default=list(MODELS))
    parser.add_argument("--targets", nargs="*", default=list(TARGETS))
    parser.add_argument("--tools", default=sys.executable, help="a python that has the tools")
    parser.add_argument("--samples", type=int, default=20)
    parser.add_argument("--json", help="write the rows here as well")
    args = parser.parse_args(argv)
    if not corpus.available():
        parser.exit(2, f"{corpus.MISSING}\n")
    rows = []
    for name in args.models:
        entry = corpus.entry(name)
        samples = list(entry.samples(args.samples))
        for target in args.targets:
            found = qcore.advise(entry.path, target, samples)
            best = found[found.chosen] if found.chosen else None
            rows.append({
                "model": name, "target": target, "advice": found.chosen or "none",
                "bytes": best and best.bytes, "dB": best and best.SQNR_dB, "ms": best and best.ms,
                "on the target": best and best.verdict, "tried": len(found.options),
                "run": ran(found.model, target, samples, args.tools) if best else "",
            })  # fmt: skip
            print(rows[-1], file=sys.stderr)
    show(TITLE, rows)
    save(args.json, TITLE, rows)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
