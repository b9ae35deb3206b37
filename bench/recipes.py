"""Every float model of the corpus by every recipe: `python -m bench.recipes`.

Each is quantized, written, allocated and invoked by the official interpreter on real inputs. The
table gives the SQNR of each output against the float model, the size ratio, and what stayed float.
Exit code 1 where a model failed without saying why.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import qcore
from bench.results import over_corpus
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


def rows_of(entry: corpus.Entry, recipes: Sequence[str], samples: int) -> list[dict[str, Any]]:
    """One model by every recipe, from one calibration."""
    calibration = qcore.calibrate(qcore.load(entry.path), entry.samples(samples))
    truth = list(run_real(entry.path, entry.samples(samples, "test")))
    return [row(entry, recipe, calibration, truth, samples) for recipe in recipes]


def main(argv: list[str] | None = None) -> int:
    text = __doc__.splitlines()[0]
    rows = over_corpus(text, "corpus by recipe", rows_of, names(), 16, argv)
    return int(any(r["remark"].startswith("FAILED") for r in rows) or not rows)


if __name__ == "__main__":
    raise SystemExit(main())
