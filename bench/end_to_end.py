"""From the same samples, ours and TFLite's converter, tensor by tensor: `python -m bench.end_to_end`.

Ours calibrates with observer="tflite" in the tensorflow runtime; the converter with its own
Calibrator. Type, scale, zero point, axis and integers are compared with `==`.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import qcore
from bench.results import save, show
from qcore.errors import QcoreError
from qcore.peers import tflite
from tests import corpus
from tests.twin.compare import compare
from tflite_schema.errors import SchemaError


def row(entry: corpus.Entry, recipe: str, count: int) -> dict[str, Any]:
    """One model by one recipe."""
    model = qcore.load(entry.path)
    out: dict[str, Any] = {"model": entry.name, "recipe": recipe, "tensors": 0, "identical": 0}
    out |= {"integers": 0, "identical integers": 0, "sequence": None, "remark": ""}
    try:
        theirs = tflite(model, entry.samples(count), recipe)
    except (QcoreError, SchemaError) as error:
        return out | {"remark": f"no file by the converter: {error}"}
    ours = qcore.quantize(
        model, recipe, entry.samples(count), observer="tflite", runtime="tensorflow"
    ).model
    found = compare(ours, theirs)
    out |= {"tensors": found.tensors, "identical": found.tensors_same}
    out |= {"integers": found.integers, "identical integers": found.integers_same}
    return out | {"sequence": found.sequence, "remark": "; ".join(found.differences[:2])}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="*", help="names of the manifest; default all")
    parser.add_argument("--recipes", nargs="*", default=["int8", "int16x8"])
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--json", help="write the rows here as well")
    args = parser.parse_args(argv)
    if not corpus.available():
        print(corpus.MISSING, file=sys.stderr)
        return 2
    rows = []
    for entry in corpus.entries("float"):
        if args.models and entry.name not in args.models:
            continue
        rows += [row(entry, recipe, args.samples) for recipe in args.recipes]
        print(f"{entry.name} done", file=sys.stderr)
    total = {"model": "all", "recipe": "", "sequence": None, "remark": ""}
    for key in ("tensors", "identical", "integers", "identical integers"):
        total[key] = sum(r[key] for r in rows)
    rows.append({key: total[key] for key in rows[0]})
    show("the same samples, ours and the converter's", rows)
    save(args.json, "end to end", rows)
    return int(not total["tensors"])


if __name__ == "__main__":
    raise SystemExit(main())
