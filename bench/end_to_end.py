"""Ours and TFLite's converter from the same samples: `python -m bench.end_to_end`.

Ours calibrates with observer="tflite" in the tensorflow runtime; the converter with its own
Calibrator. Type, scale, zero point, axis and integers are compared with `==`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import qcore
from bench.results import over_corpus, show
from qcore.errors import QcoreError
from qcore.peers import tflite
from qcore.prepare import prepare
from tests import corpus
from tests.twin.compare import compare
from tests.twin.oracle import NEEDED
from tflite_schema.errors import SchemaError


def row(entry: corpus.Entry, recipe: str, count: int) -> dict[str, Any]:
    """One model by one recipe; as it ships, and with every deviation off that can be off."""
    model = qcore.load(entry.path)
    out: dict[str, Any] = {"model": entry.name, "recipe": recipe, "tensors": 0, "identical": 0}
    out |= {"integers": 0, "identical integers": 0, "sequence": None}
    out |= {"identical, deviations off": 0, "remark": ""}
    try:
        theirs = tflite(model, entry.samples(count), recipe)
    except (QcoreError, SchemaError) as error:
        return out | {"remark": f"no file by the converter: {error}"}
    found = qcore.recipe(recipe)
    # The converter calibrates the prepared model as well; hybrid kernels would give other ranges.
    source = prepare(model, found)
    ranges = qcore.calibrate(source, entry.samples(count), observer="tflite", runtime="tensorflow")
    shipped = compare(qcore.quantize(model, found, ranges).model, theirs)
    strict = found.like_converter((*NEEDED, "float_operators"))
    closest = compare(qcore.quantize(model, strict, ranges).model, theirs)
    return out | {
        "tensors": shipped.tensors,
        "identical": shipped.tensors_same,
        "integers": shipped.integers,
        "identical integers": shipped.integers_same,
        "sequence": shipped.sequence,
        "identical, deviations off": f"{closest.tensors_same} of {closest.tensors}",
        "remark": "; ".join(shipped.differences[:2]),
    }


def rows_of(entry: corpus.Entry, recipes: Sequence[str], samples: int) -> list[dict[str, Any]]:
    return [row(entry, recipe, samples) for recipe in recipes]


def main(argv: list[str] | None = None) -> int:
    title = "the same samples, ours and the converter's"
    rows = over_corpus(__doc__.splitlines()[0], title, rows_of, ("int8", "int16x8"), 8, argv)
    counted = ("tensors", "identical", "integers", "identical integers")
    show("all", [{key: sum(row[key] for row in rows) for key in counted}])
    return int(not any(row["tensors"] for row in rows))


if __name__ == "__main__":
    raise SystemExit(main())
