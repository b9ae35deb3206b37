"""Full figures of both twins: `python -m tests.twin --graphs 600 --corpus`.

From the same ranges our plan (A: rules `mlir`, B: rules `legacy`) and TFLite's quantizer make a
file each; the table says how much of them is identical, the listing names every difference.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import tflite_schema as ts
from bench.results import save, show
from qcore.calibrate import calibrate
from qcore.errors import QcoreError, RuntimeFailed
from qcore.prepare import prepare
from qcore.progress import track
from qcore.recipe import Recipe, recipe
from qcore.testing import graphs
from tests import corpus
from tests.twin.compare import Comparison, compare
from tests.twin.oracle import (
    NEEDED,
    Quantizer,
    carrying,
    ours,
    theirs_legacy,
    theirs_mlir,
    unshared,
)
from tests.twin.test_legacy import undefined

Theirs = Callable[[Quantizer, ts.Model, Recipe], ts.Model]
TITLE = "identical: ours and TFLite's quantizer, same ranges"


@dataclass
class Row:
    """Figures of one recipe on one set of models."""

    title: str
    models: int = 0
    identical: int = 0
    sequences: int = 0
    total: Comparison = field(default_factory=Comparison)
    refused: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    different: list[tuple[str, list[str]]] = field(default_factory=list)
    apart: Counter[str] = field(default_factory=Counter)


def like(name: str) -> Recipe:
    found = recipe(name)
    if found.dialect == "mlir":
        return found.like_converter(NEEDED)
    # B refuses integer ends where the first or last operator stays float.
    found = found.replace(input_type="float32", output_type="float32")
    return found.like_converter((*NEEDED, "float_operators"))


def measure(
    title: str,
    found: Recipe,
    theirs: Theirs,
    models: Iterable[tuple[str, ts.Model]],
    apart: Callable[[ts.Model], str | None] = lambda _: None,
) -> Row:
    row = Row(title)
    with Quantizer() as quantizer:
        for name, model in track(models, title):
            reason = apart(model)
            if reason:
                row.apart[reason] += 1
                continue
            try:
                other = theirs(quantizer, model, found)
            except (RuntimeFailed, ts.SchemaError) as refused:
                row.refused.append(f"{name}: {str(refused)[:150]}")
                continue
            try:
                mine = ours(model, found)
            except QcoreError as error:
                row.failed.append(f"{name}: {error}")
                continue
            result = compare(mine, other)
            if not result.same and found.dialect == "legacy" and undefined(model, other):
                row.apart["a float beyond int32 turned into an integer"] += 1
                continue
            row.models += 1
            row.identical += result.same
            row.sequences += result.sequence and not any(
                r.startswith("[") for r in result.rewritten
            )
            row.total.add(result)
            if not result.same:
                row.different.append((name, result.differences))
    return row


def corpus_models() -> Iterator[tuple[str, ts.Model]]:
    """The float models with the ranges of two samples."""
    for entry in corpus.entries("float"):
        model = prepare(ts.read(entry.path), recipe("int8"))
        # B rewrites a buffer in place whoever else reads it.
        yield entry.name, unshared(carrying(model, calibrate(model, entry.samples(2))))


def random_models(count: int) -> Iterator[tuple[str, ts.Model]]:
    return ((f"random_graph({seed})", graphs.random_graph(seed)) for seed in range(count))


def weight_models(seeds: int) -> Iterator[tuple[str, ts.Model]]:
    for case in graphs.weight_cases(range(seeds)):
        yield f"weight_model{case}", graphs.weight_model(*case)


def range_models(seeds: int) -> Iterator[tuple[str, ts.Model]]:
    return ((f"range_model({seed})", graphs.range_model(seed)) for seed in range(seeds))


def figures(row: Row) -> dict[str, str | int]:
    """One line of the table."""
    t = row.total
    return {
        "set": row.title,
        "models": f"{row.identical}/{row.models}",
        "operator order": f"{row.sequences}/{row.models}",
        "tensors": f"{t.tensors_same}/{t.tensors}",
        "constants": f"{t.constants_same}/{t.constants}",
        "integers": f"{t.integers_same}/{t.integers}",
        "refused": len(row.refused),
        "put apart": sum(row.apart.values()),
    }


def listing(rows: list[Row], limit: int) -> None:
    """What was refused, failed, differed or could not be compared."""
    from rich.console import Console

    console = Console(width=130)
    for row in rows:
        for what, lines in (("refused by the quantizer", row.refused), ("ours failed", row.failed)):
            for line in lines[:limit]:
                console.print(f"{row.title}, {what}: {line}", markup=False, highlight=False)
        for name, differences in row.different:
            for line in differences[:limit]:
                console.print(f"{row.title}, {name}: {line}", markup=False, highlight=False)
        for reason, count in row.apart.most_common():
            console.print(f"{row.title}, not comparable: {count} with {reason}", highlight=False)
        rewritten = Counter(row.total.rewritten).most_common(limit)
        if rewritten:
            text = ", ".join(f"{count} x {what}" for what, count in rewritten)
            console.print(
                f"{row.title}, written differently: {text}", markup=False, highlight=False
            )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.twin", description=__doc__)
    parser.add_argument("--graphs", type=int, default=600, help="random graphs for each recipe")
    parser.add_argument("--weights", type=int, default=4, help="seeds for each kind of weights")
    parser.add_argument("--ranges", type=int, default=20, help="models of 100 activation ranges")
    parser.add_argument("--corpus", action="store_true", help="the corpus of trained models too")
    parser.add_argument("--rules", choices=("A", "B", "both"), default="both")
    parser.add_argument("--limit", type=int, default=8, help="lines of each listing")
    parser.add_argument("--json", help="write the table here as well")
    arguments = parser.parse_args()
    if arguments.corpus and not corpus.available():
        print(corpus.MISSING, file=sys.stderr)
        return 2
    from tests.twin.test_mlir import computed_before

    started, rows = time.monotonic(), []
    sides: list[tuple[str, str, Theirs, Callable[[ts.Model], str | None]]] = []
    if arguments.rules != "B":
        sides += [
            (f"A {name}", name, theirs_mlir, computed_before) for name in ("int8", "int8_float_io")
        ]
    if arguments.rules != "A":
        sides += [
            (f"B {name}", name, theirs_legacy, lambda _: None)
            for name in ("int16x8", "int8_legacy")
        ]
    for title, name, theirs, apart in sides:
        found = like(name)
        if arguments.corpus:
            rows.append(measure(f"{title}, corpus", found, theirs, corpus_models()))
        rows.append(
            measure(f"{title}, graphs", found, theirs, random_models(arguments.graphs), apart)
        )
        rows.append(measure(f"{title}, weights", found, theirs, weight_models(arguments.weights)))
        rows.append(measure(f"{title}, ranges", found, theirs, range_models(arguments.ranges)))
    lines = [figures(row) for row in rows]
    show(TITLE, lines)
    listing(rows, arguments.limit)
    save(arguments.json, TITLE, lines)
    print(f"{time.monotonic() - started:.0f} s", file=sys.stderr)
    return 0 if all(r.identical == r.models and not r.failed for r in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
