"""Our models on each kind of vector code that the machine has: `python -m bench.targets`.

    python -m bench.targets [--models ...] [--targets avx2] [--profile xnnpack] [--seconds 3]
                            [--json bench/results/targets.json]

A process for each model and target, one thread, QCORE_SIMD set: every output is compared with the
interpreter's (which keeps the processor's own vector code), then one image and a batch of 32 are
timed as in bench.speed (milliseconds an image, medians), and each operator as in bench.profile.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from bench.results import save, show
from bench.speed import BATCH, MODELS, PROFILES, ROOT, SLOW, same
from kernels.simd import target

TITLE = "Our models by kind of vector code"


def measure(model: str, path: str, seconds: float) -> dict[str, Any]:
    """One row, for the target in use. Exits where an output differs."""
    from bench import profile, single
    from bench.sides import Ours, Theirs, in_turn, path_of

    ours = Ours.of(model, path, BATCH)
    theirs = Theirs(path_of(model), path, 1)
    slow = single.best(lambda: theirs.one([x[0] for x in ours.inputs]), 0, 1) > SLOW
    compared = same(ours, theirs, 4 if slow else BATCH, 1)
    times = {
        name: in_turn({"ours": lambda: ours.run(images, 1)}, seconds)["ours"] / images  # noqa: B023
        for name, images in (("single", 1), ("batch", BATCH))
    }
    kinds = profile.by_kind(profile.profile(model, path, 0.02, False))
    rates = {k["operators"]: [k["us"], k["GMAC/s"]] for k in kinds if k["GMAC/s"]}
    row: dict[str, Any] = {"model": model, "profile": path, "target": target.host().name}
    return row | {"outputs": compared, **{k: t * 1e3 for k, t in times.items()}, "kinds": rates}


def by_model(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A line for each model: milliseconds for each target. outputs: compared, of all targets."""
    columns = dict.fromkeys(f"{r['target']} {key}" for r in rows for key in ("single", "batch"))
    made: dict[str, dict[str, Any]] = {}
    for r in rows:
        line = made.setdefault(r["model"], {"model": r["model"], "outputs": 0, **columns})
        line["outputs"] += r["outputs"]
        line |= {f"{r['target']} {key}": r[key] for key in ("single", "batch")}
    return list(made.values())


def by_operator(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A line for each kind of operator of each model, and of all of them: GMAC/s by target."""
    names = list(dict.fromkeys(r["target"] for r in rows))
    spent: dict[tuple[str, str], dict[str, list[float]]] = {}
    for r in rows:
        for kind, (us, rate) in r["kinds"].items():
            for model in (r["model"], "all"):
                sums = spent.setdefault((model, kind), {}).setdefault(r["target"], [0.0, 0.0])
                sums[0] += us * rate  # thousands of products
                sums[1] += us
    return [
        {"model": model, "operator": kind}
        | {f"{n} GMAC/s": sums[n][0] / sums[n][1] if n in sums else None for n in names}
        for (model, kind), sums in sorted(spent.items(), key=lambda item: item[0][0] == "all")
    ]


def child(model: str, name: str, path: str, seconds: float) -> dict[str, Any]:
    """A row from a fresh process, in which that target is used."""
    given = json.dumps([model, path, seconds])
    done = subprocess.run(
        [sys.executable, "-m", "bench.targets", "--one", given], cwd=ROOT, text=True,
        capture_output=True, env={**os.environ, "QCORE_SIMD": name},
    )  # fmt: skip
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:]
        raise SystemExit(f"{model}, {name}: {''.join(last) or done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0], formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--models", nargs="*", default=MODELS)
    parser.add_argument(
        "--targets", nargs="*", default=target.available(), choices=target.available()
    )
    parser.add_argument("--profile", default="xnnpack", choices=PROFILES)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each measurement")
    parser.add_argument("--json", help="write the rows here as well")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    from bench.sides import path_of, pin

    if args.one:
        pin(1)
        print(json.dumps(measure(*json.loads(args.one))))
        return 0
    from tests import corpus

    if not corpus.available():
        parser.exit(2, f"{corpus.MISSING}\n")
    rows = []
    for model in args.models:
        path_of(model)  # ResNet50 is made here, by all cores
        for name in args.targets:
            rows.append(child(model, name, args.profile, args.seconds))
            print(f"{model} {name} done", file=sys.stderr)
    title = f"{TITLE}, {args.profile}, one thread"
    show(f"{title}: milliseconds an image", by_model(rows))
    show(f"{title}: GMAC/s", by_operator(rows))
    save(args.json, title, rows)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
