"""Mixed precision on models of the corpus: `python -m bench.mixed search` and `... subsets`.

search: how far above plain int8 the outputs come, with how many of the products in float, and
whether the saved recipe makes the same model. "unseen": int8 and that recipe again, calibrated on
other views (crops, mirrored) of the first half of the photos and measured on the second half; which
operators stay float was found on both.
subsets: the search beside every subset of operators of a small model.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import qcore
from bench.results import save, show
from qcore.mixed.search import Mixed, Search
from qcore.mixed.trials import Trials
from tests import corpus

TITLE = "mixed precision"
LARGE = "effnet_lite0_f32"
SMALL = "fmnist_dscnn_f32"
RECIPES = ("int8", "int8_tuned")
CROPS = (0.75, 0.875, 1.0)


def views(name: str, part: slice) -> Iterator[np.ndarray]:
    """Other views of some of the photos."""
    how = corpus.entry(name).input or {}
    for path in corpus.photos()[part]:
        for crop in CROPS:
            found = corpus.photo(path, how["size"], crop, how["mean"], how["std"], "bicubic")
            yield found
            yield np.ascontiguousarray(found[:, :, ::-1])


def unseen(name: str, found: Mixed, samples: list[np.ndarray]) -> tuple[float, float]:
    """SQNR of int8 and of the recipe found, on the second half, ranges from the first."""
    half = len(samples) // 2
    model, seen = str(corpus.entry(name).path), list(views(name, slice(0, half)))
    plain, made = (
        Trials(model, recipe, seen, samples[half:]).score().value
        for recipe in ("int8", found.recipe)
    )
    return plain, made


def searched(name: str, recipe: str, gain: float, budget: float) -> dict[str, Any]:
    """One search for a SQNR `gain` dB above that of plain int8."""
    model, samples = str(corpus.entry(name).path), list(corpus.entry(name).samples(1000))
    plain = Trials(model, "int8", samples, samples).score().value
    found = qcore.mixed(model, recipe, None, samples, target=plain + gain, budget=budget)
    with tempfile.TemporaryDirectory(prefix="qcore-") as folder:
        file = Path(folder) / "mixed.json"
        found.recipe.save(file)
        again = Trials(model, qcore.Recipe.load(file), samples, samples).score().value
    before, after = unseen(name, found, samples)
    return {
        "model": name, "recipe": recipe, "int8 dB": plain, "quantized dB": found.before.value,
        "found dB": found.score.value, "gain dB": found.score.value - plain,
        "float operators": len(found.floats), "float products %": 100 * found.share,
        "reached": found.reached, "models tried": found.evaluations, "seconds": found.seconds,
        "reproduced": again == found.score.value,
        "unseen int8 dB": before, "unseen found dB": after,
    }  # fmt: skip


def compared(name: str, gains: list[float], count: int) -> list[dict[str, Any]]:
    """The search beside all subsets of the operators."""
    model, samples = str(corpus.entry(name).path), list(corpus.entry(name).samples(count))
    trials = Trials(model, "int8", samples, samples)
    subsets = [
        frozenset(chosen)
        for size in range(len(trials.units) + 1)
        for chosen in itertools.combinations(trials.units, size)
    ]
    print(f"{name}: {len(trials.units)} operators, {len(subsets)} subsets", file=sys.stderr)
    values = {s: score.value for s, score in zip(subsets, trials.scores(subsets))}
    rows = []
    for gain, price in itertools.product(gains, ("macs", "operators")):
        own = Trials(model, "int8", trials.calibration, samples)
        search = Search(own, own.score().value + gain, 1.0, price)
        found = search.run()
        good = [s for s in subsets if values[s] >= search.target]
        best = min(map(search.cost, good)) if good else None
        cost = search.cost(found.floats)
        rows.append({
            "model": name, "price": price, "gain asked dB": gain, "reached": found.reached,
            "reachable": bool(good), "operators": cost[price == "macs"],
            "best operators": best and best[price == "macs"],
            "products %": 100 * cost[price != "macs"] / own.macs,
            "best products %": best and 100 * best[price != "macs"] / own.macs,
            "models tried": found.evaluations, "subsets": len(subsets),
        })  # fmt: skip
    return rows


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=["search", "subsets"])
    parser.add_argument("--model", help=f"of the corpus; default {LARGE}, {SMALL}")
    parser.add_argument("--recipes", nargs="*", default=list(RECIPES))
    parser.add_argument("--gain", type=float, nargs="*", default=[], help="dB above int8")
    parser.add_argument("--budget", type=float, default=0.1, help="share of the products in float")
    parser.add_argument("--samples", type=int, default=32, help="of the small model")
    parser.add_argument("--json", help="write the rows here as well")
    args = parser.parse_args(argv)
    if not corpus.available():
        parser.exit(2, f"{corpus.MISSING}\n")
    if args.what == "search":
        rows = [
            searched(args.model or LARGE, recipe, gain, args.budget)
            for recipe in args.recipes
            for gain in args.gain or [6.0]
        ]
        wrong = [r for r in rows if not r["reproduced"]]
    else:
        rows = compared(args.model or SMALL, args.gain or [1.0, 3.0, 6.0, 10.0], args.samples)
        wrong = [r for r in rows if r["reached"] != r["reachable"]]
    show(TITLE, rows)
    save(args.json, TITLE, rows)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
