"""Every float model of the corpus by every recipe: `python -m bench.recipes`.

Each is quantized, written, allocated and invoked by the official interpreter on real inputs. The
table gives the SQNR of each output against the float model, the size ratio, and what stayed float.
Exit code 1 where a model failed without saying why.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import qcore
from bench.results import save, show
from qcore.errors import CannotQuantize
from qcore.metrics import Difference
from qcore.peers.real import run_real
from qcore.recipe import names
from tests import corpus


def row(
    entry: corpus.Entry, recipe: str, calibration: Any, float_outputs: list, count: int
) -> dict:
    """One line of the table."""
    began = time.perf_counter()
    out: dict[str, Any] = {"model": entry.name, "recipe": recipe, "SQNR dB": None, "size": None}
    out |= {"operators": None, "left float": None, "seconds": None, "remark": ""}
    try:
        model = qcore.load(entry.path)
        quantized = qcore.quantize(model, recipe, calibration)
    except CannotQuantize as reason:
        return out | {"remark": str(reason)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "quantized.tflite"
        quantized.save(path)
        out["seconds"] = time.perf_counter() - began
        out["size"] = path.stat().st_size / entry.path.stat().st_size
        steps = [s for part in quantized.plan.subgraphs for s in part.steps if not s.inserted]
        out["operators"] = len(steps)
        out["left float"] = sum(s.mode == "float32" for s in steps)
        try:
            totals = [Difference() for _ in float_outputs[0]]
            for truth, made in zip(float_outputs, run_real(path, entry.samples(count, "test"))):
                for i, (a, b) in enumerate(zip(truth, made)):
                    totals[i] += Difference.of(a, b)
        except qcore.errors.QcoreError as error:
            return out | {"remark": f"FAILED: {error}"}
    out["SQNR dB"] = " ".join(f"{total.SQNR_dB:.1f}" for total in totals)
    return out


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="*", help="names of the manifest; default all")
    parser.add_argument("--recipes", nargs="*", default=names())
    parser.add_argument("--samples", type=int, default=16, help="for calibration and for SQNR")
    parser.add_argument("--json", help="write the rows here as well")
    args = parser.parse_args(argv)
    if not corpus.available():
        print(corpus.MISSING, file=sys.stderr)
        return 2
    rows = []
    for entry in corpus.entries("float"):
        if args.models and entry.name not in args.models:
            continue
        calibration = qcore.calibrate(qcore.load(entry.path), entry.samples(args.samples))
        truth = list(run_real(entry.path, entry.samples(args.samples, "test")))
        rows += [row(entry, recipe, calibration, truth, args.samples) for recipe in args.recipes]
        print(f"{entry.name} done", file=sys.stderr)
    show("corpus by recipe", rows)
    save(args.json, "corpus by recipe", rows)
    return int(any(r["remark"].startswith("FAILED") for r in rows) or not rows)


if __name__ == "__main__":
    raise SystemExit(main())
