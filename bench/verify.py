"""Whole models, ours against the official interpreter: `python -m bench.verify`.

Every quantized model of the corpus, and what our quantizer makes of every float model, on real
inputs, on each execution path of both runtimes: each operator on the interpreter's own tensors, and
the graph end to end, by the compiled program of each target. Exit code 1 where an integer differs
or nothing was compared.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import qcore
from bench.results import save, show
from kernels.profile import PATHS, RUNTIMES
from kernels.simd import target
from qcore.errors import CannotQuantize
from qcore.verify import PathCheck
from tests import corpus


def models(names: list[str], recipes: list[str], folder: Path, calibration: int) -> Iterator[Any]:
    """(entry, recipe or "shipped", file or the reason why there is none)."""
    for entry in corpus.entries("int8"):
        if "shipped" in recipes and (not names or entry.name in names):
            yield entry, "shipped", entry.path
    for entry in corpus.entries("float"):
        if names and entry.name not in names:
            continue
        made = [r for r in recipes if r != "shipped"]
        ranges = qcore.calibrate(entry.path, entry.samples(calibration)) if made else None
        for recipe in made:
            file = folder / f"{entry.name}.{recipe}.tflite"
            try:
                qcore.quantize(entry.path, recipe, ranges).save(file)
            except CannotQuantize as reason:
                yield entry, recipe, str(reason)
                continue
            yield entry, recipe, file


def rows(
    entry: corpus.Entry, recipe: str, source: Any, samples: int, runtimes: list[str],
    paths: list[str], targets: Sequence[str],
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """One row for each runtime and path."""
    if isinstance(source, str):
        yield {"model": entry.name, "recipe": recipe, "remark": source}
        return
    inputs = list(entry.samples(samples, "test"))
    for runtime in runtimes:
        for path in paths:
            began = time.perf_counter()
            found = qcore.verify(source, inputs, (path,), runtime, targets=targets)
            p = found.paths[0]
            told = [o for o in p.operators if not o.ok or o.undefined][:3]
            wrong = "; ".join(f"{o.name} {o.number} {o.error or o.undefined}" for o in told)
            yield {
                "model": entry.name, "recipe": recipe, "runtime": runtime, "path": path,
                "samples": p.samples, "operators": len(p.operators),
                "by XNNPACK": sum(o.delegated for o in p.operators),
                "elements": p.compared.elements, "differ": p.compared.differing,
                "within a bound": p.compared.bounded,
                "outputs": p.outputs.elements, "outputs differ": p.outputs.differing,
                "all tensors": p.tensors.elements, "tensors differ": p.tensors.differing,
                **kernels(p, targets),
                "seconds": time.perf_counter() - began,
                "ok": p.ok and (found.ok or bool(p.failed)), "remark": p.failed or wrong,
            }  # fmt: skip


def kernels(p: PathCheck, targets: Sequence[str]) -> dict[str, int | None]:
    """Elements of tensors that the program of each target made, and how many differ, without those
    behind floats with a bound; None where Python computes the model."""
    row: dict[str, int | None] = {}
    for name in targets:
        made = p.by_target.get(name)
        row[name] = None if made is None else made.elements
        row[f"{name} differ"] = None if made is None else made.differing
    return row


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="*", default=[], help="names of the manifest (all)")
    parser.add_argument("--recipes", nargs="*", default=["shipped", "int8", "int16x8"])
    parser.add_argument("--runtimes", nargs="*", default=list(RUNTIMES))
    parser.add_argument("--paths", nargs="*", default=list(PATHS))
    parser.add_argument("--samples", type=int, default=8, help="inputs a model")
    parser.add_argument(
        "--targets", nargs="*", choices=["all", *target.TARGETS], default=[target.host().name],
        help="vector code of the end-to-end runs; all: what this machine runs",
    )  # fmt: skip
    parser.add_argument("--json", help="write the rows here as well")
    args = parser.parse_args(argv)
    if not corpus.available():
        parser.exit(2, f"{corpus.MISSING}\n")
    targets = target.available() if "all" in args.targets else tuple(args.targets)
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for entry, recipe, source in models(args.models, args.recipes, Path(folder), 8):
            for row in rows(
                entry, recipe, source, args.samples, args.runtimes, args.paths, targets
            ):
                found.append(row)
                print(
                    f"{'ok ' if row.get('ok', True) else 'BAD'} {entry.name} {recipe} "
                    f"{row.get('runtime', '')} {row.get('path', '')} {row['remark'][:200]}",
                    file=sys.stderr,
                )
    columns = dict.fromkeys(key for row in found for key in row)
    found = [{key: row.get(key) for key in columns} for row in found]
    by_target = [k for name in targets for k in (name, f"{name} differ")]
    shown = [{k: v for k, v in row.items() if k not in by_target} for row in found]
    show("our kernels against the official interpreter", shown)
    for name in targets:
        made, wrong = (sum(row.get(k) or 0 for row in found) for k in (name, f"{name} differ"))
        print(f"end to end by {name}: {made:,} elements of tensors, {wrong:,} differ")
    save(args.json, "our kernels against the official interpreter", found)
    return int(not found or any(row["ok"] is False for row in found))


if __name__ == "__main__":
    raise SystemExit(main())
