"""Whole models, ours against the interpreter's paths, side by side.

    python -m bench.speed [--models ...] [--profiles xnnpack optimized reference] [--threads 1 2]
                          [--seconds 3] [--json bench/results/speed.json]

For each model and number of threads a process of its own holds both sides (pinned to that many
cores), checks that every output is the same integer, and times them in turn. Both are called from
Python and both copy the inputs in and the outputs out. `single`: one image. `invoke`: one image
without those copies. `batch`: per image of 32; the interpreter resized to 32, or one by one,
whichever is faster for it. Times are medians in milliseconds; ratios are ours / interpreter on the
same path, and `of XNNPACK` is ours / the interpreter on XNNPACK, whatever our path.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.results import save, show

MODELS = (
    "effnet_lite0_int8", "posenet_int8", "mlperf_resnet8_int8", "mlperf_vww_mnv1_int8",
    "mobilefacenet_int8", "fmnist_vit_int8", "resnet50_int8", "mlperf_kws_dscnn_int8",
    "fmnist_dscnn_int8",
)  # fmt: skip
TARGETS = MODELS[:7]  # what the geometric means are of
PROFILES = ("xnnpack", "optimized", "reference")
BATCH = 32
SLOW = 0.1  # seconds for one image from which the interpreter is not timed in batches of 32
RATIOS = ("ratio", "batch ratio", "of XNNPACK", "batch of XNNPACK")
ROOT = Path(__file__).resolve().parents[1]
TITLE = "Whole models: milliseconds per image, ours and the interpreter's"


def measure(model: str, profile: str, threads: int, seconds: float) -> dict[str, Any]:
    """One row. Exits where an output differs or nothing was compared."""
    from bench.sides import Ours, Theirs, batched, in_turn, path_of

    ours = Ours.of(model, profile, BATCH)
    theirs = Theirs(path_of(model), profile, threads)
    first = [x[0] for x in ours.inputs]
    theirs.one(first)
    start = time.perf_counter()
    theirs.one(first)
    took = time.perf_counter() - start
    slow = took > SLOW
    checked = 1 if took > 1 else 4 if slow else BATCH
    compared = same(ours, theirs, checked, threads)

    program, instance = ours.program, ours.program.instance(0)
    single = {"ours": lambda: program.run(1, [x[:1] for x in ours.inputs], threads),
              "theirs": lambda: theirs.one(first)}  # fmt: skip
    one = in_turn(single, seconds)
    row: dict[str, Any] = {
        "model": model, "profile": profile, "threads": threads, "outputs": compared,
        "single": one["ours"], "theirs": one["theirs"],
        "ratio": one["ours"] / one["theirs"], "invoke ratio": None,
    }  # fmt: skip
    if threads == 1:
        bare = in_turn({"ours": instance.once, "theirs": theirs.it.invoke}, seconds)
        row["invoke ratio"] = bare["ours"] / bare["theirs"]

    if slow:  # no gain from a batch to be seen, and no patience for it
        many = in_turn({"ours": lambda: ours.run(BATCH, threads)}, seconds)
        best, how = one["theirs"], "one by one"
    else:
        sides: dict[str, Any] = {"ours": lambda: ours.run(BATCH, threads)}
        images = [[x[i] for x in ours.inputs] for i in range(BATCH)]
        sides["one by one"] = lambda: [theirs.one(i) for i in images]
        resized = batched(model, profile, threads, ours, BATCH)
        if resized is not None:
            flat = [x.reshape(-1, *x.shape[2:]) for x in ours.inputs]
            sides["resized"] = lambda: resized.one(flat)
        many = in_turn(sides, 2 * seconds)
        how = min((s for s in sides if s != "ours"), key=lambda s: many[s])
        best = many[how] / BATCH
    row["batch"] = many["ours"] / BATCH
    row |= {"theirs, batch": best, "batch ratio": row["batch"] / best, "they run it": how}
    for key in ("single", "theirs", "batch", "theirs, batch"):
        row[key] *= 1e3
    return row


def same(ours: Any, theirs: Any, count: int, threads: int) -> int:
    """How many outputs were compared; exits where one differs."""
    made = ours.run(count, threads)
    compared = 0
    for i in range(count):
        expected = theirs.one([x[i] for x in ours.inputs])
        for a, b in zip(made, expected, strict=True):
            wrong = int((a[i] != b).sum())
            if wrong:
                raise SystemExit(f"image {i}: {wrong} of {b.size} outputs differ")
            compared += b.size
    if not compared:
        raise SystemExit("nothing was compared")
    return compared


def child(model: str, profiles: Sequence[str], threads: int, seconds: float) -> list[dict]:
    """Rows from a fresh process."""
    given = json.dumps([model, list(profiles), threads, seconds])
    done = subprocess.run(
        [sys.executable, "-m", "bench.speed", "--one", given], cwd=ROOT, text=True,
        capture_output=True,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{model}, {threads} threads: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Geometric mean and worst row of the ratios, for each profile and number of threads."""
    made = []
    for profile, threads in dict.fromkeys((r["profile"], r["threads"]) for r in rows):
        those = [r for r in rows if (r["profile"], r["threads"]) == (profile, threads)]
        for scope, names in (("targets", TARGETS), ("all", None)):
            part = [r for r in those if names is None or r["model"] in names]
            if not part:
                continue
            line: dict[str, Any] = {"profile": profile, "threads": threads, "models": scope}
            line["rows"] = len(part)
            for key in RATIOS if all(r.get("of XNNPACK") for r in part) else RATIOS[:2]:
                worst = max(part, key=lambda r: r[key])
                line[f"{key}, mean"] = math.exp(sum(math.log(r[key]) for r in part) / len(part))
                line[f"{key}, worst"] = f"{worst[key]:.2f} {worst['model']}"
            made.append(line)
    return made


def against_xnnpack(rows: Sequence[dict[str, Any]]) -> None:
    """Adds the ratios to the interpreter on XNNPACK, where it was measured."""
    fastest = {(r["model"], r["threads"]): r for r in rows if r["profile"] == "xnnpack"}
    for r in rows:
        other = fastest.get((r["model"], r["threads"]))
        r["of XNNPACK"] = other and r["single"] / other["theirs"]
        r["batch of XNNPACK"] = other and r["batch"] / other["theirs, batch"]


def scaling(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Ours with two threads against one."""
    times = {(r["model"], r["profile"], r["threads"]): r for r in rows}
    return [
        {
            "model": m, "profile": p,
            "single, 1 / 2 threads": r["single"] / times[m, p, 2]["single"],
            "batch, 1 / 2 threads": r["batch"] / times[m, p, 2]["batch"],
        }
        for (m, p, t), r in times.items() if t == 1 and (m, p, 2) in times
    ]  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0], formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--models", nargs="*", default=MODELS)
    parser.add_argument("--profiles", nargs="*", default=PROFILES, choices=PROFILES)
    parser.add_argument("--threads", nargs="*", type=int, default=(1, 2))
    parser.add_argument("--seconds", type=float, default=3.0, help="for each measurement")
    parser.add_argument("--json", help="write the rows here as well")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.one:
        from bench.sides import pin

        model, profiles, threads, seconds = json.loads(args.one)
        pin(threads)
        print(json.dumps([measure(model, p, threads, seconds) for p in profiles]))
        return 0
    from bench.sides import path_of
    from tests import corpus

    if not corpus.available():
        parser.exit(2, f"{corpus.MISSING}\n")
    rows: list[dict[str, Any]] = []
    for model in args.models:
        path_of(model)  # ResNet50 is made here, by all cores
        for threads in args.threads:
            rows += child(model, args.profiles, threads, args.seconds)
        print(f"{model} done", file=sys.stderr)
    against_xnnpack(rows)
    rows.sort(key=lambda r: (args.profiles.index(r["profile"]), r["threads"]))
    show(TITLE, rows)
    show("geometric means and worst rows", summary(rows))
    if more := scaling(rows):
        show("ours with two threads against one", more)
    save(args.json, TITLE, rows)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
