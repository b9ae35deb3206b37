"""A validation set through a model, ours against the interpreter from Python: `bench.evaluate`.

    python -m bench.evaluate [--profiles xnnpack optimized reference] [--threads 1 2]
                             [--images 10000] [--seconds 3] [--json bench/results/evaluate.json]

The test images of Fashion-MNIST through the int8 DS-CNN, as a user writes it: from float32, which
each side rounds to the input's integers, or from these integers, to the integers of all outputs.
The interpreter takes one image at a time or is resized to a batch; both sides are called in turn,
in one process pinned to as many cores as it has threads. Every way gives every output, which is
compared.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import qcore
from bench.results import save, show
from bench.speed import PROFILES, ROOT
from qcore.metrics import top1
from tests import corpus

MODEL, DATA = "fmnist_dscnn_int8", "fashion_mnist.npz"
BATCHES = (10, 50, 100, 250, 1000)  # of the resized interpreter; the fastest is shown
TITLE = "Fashion-MNIST by the int8 DS-CNN: images per second"
Way = Callable[[np.ndarray], np.ndarray]  # (N, 28, 28, 1) float32 or int8 -> (N, 10) int8


def our_ways(file: Any, profile: str, threads: int) -> dict[str, Way]:
    executor = qcore.Executor(file, profile)
    name = executor.binder.entries[0].outputs[0][0]
    return {
        "qcore.run, each": lambda x: qcore.run(file, x, profile, each=True, threads=threads)[name],
        "Executor.batch": lambda x: executor.batch(x, threads)[name],
        "Executor.run, array": lambda x: np.concatenate([y[name] for y in executor.run(x)]),
        "Executor.run, list": lambda x: np.concatenate([y[name] for y in executor.run(list(x))]),
        "Executor.run, iterator": lambda x: np.concatenate(
            [y[name] for y in executor.run(iter(x))]
        ),
    }


def their_ways(file: Any, profile: str, threads: int) -> dict[str, Way]:
    """One image at a time, and each batch that it can be resized to."""
    from bench.sides import Theirs

    def way(side: Theirs, size: int) -> Way:
        def run(x: np.ndarray) -> np.ndarray:
            q = x if x.dtype == np.int8 else rounded(side.it, x)
            return np.concatenate([side.one([q[i : i + size]])[0] for i in range(0, len(q), size)])

        return run

    ways = {"one image at a time": way(Theirs(file, profile, threads), 1)}
    for size in BATCHES:
        try:
            ways[f"batches of {size}"] = way(Theirs(file, profile, threads, size), size)
        except RuntimeError:
            continue
    return ways


def rounded(interpreter: Any, x: np.ndarray) -> np.ndarray:
    """The input's integers, as users of the interpreter make them."""
    scale, zero = interpreter.get_input_details()[0]["quantization"]
    return np.clip(np.round(x / np.float32(scale)) + zero, -128, 127).astype(np.int8)


def measure(profile: str, threads: int, images: int, seconds: float) -> list[dict[str, Any]]:
    """Rows of a profile, from floats and from integers."""
    from bench.sides import Theirs

    entry = corpus.entry(MODEL)
    labels = corpus.labelled(DATA)[1][:images]
    x = np.concatenate(list(entry.samples(images, "test")))
    q = rounded(Theirs(entry.path, profile, 1).it, x)
    ours = our_ways(entry.path, profile, threads)
    theirs = their_ways(entry.path, profile, threads)
    base = {"profile": profile, "threads": threads}
    return [
        base | row for given in (x, q) for row in timed(given, ours, theirs, labels, seconds)
    ]  # fmt: skip


def timed(
    x: np.ndarray, ours: dict[str, Way], theirs: dict[str, Way], labels: np.ndarray, seconds: float
) -> list[dict[str, Any]]:
    """A row for each of our ways and for the interpreter's: one at a time, and its best batch."""
    from bench.sides import in_turn

    images, ways = len(x), ours | theirs
    want = theirs["one image at a time"](x)
    rows: list[dict[str, Any]] = []
    sides = {}
    for name, way in ways.items():
        began = time.perf_counter()
        made = way(x)
        spent = time.perf_counter() - began
        # What takes long is timed on as many of the images as there is time for.
        count = min(images, max(1000, int(images * seconds / spent) // 1000 * 1000))
        part = x[:count]
        sides[name] = (lambda way=way, part=part: way(part)), count
        rows.append(
            {
                "input": x.dtype.name, "side": "interpreter" if name in theirs else "ours",
                "how": name, "images/s": 0,
                "outputs": want.size, "differ": int((made != want).sum()),
                "top-1 %": 100 * top1(made, labels[: len(made)]),
            }
        )  # fmt: skip
    took = in_turn({name: side for name, (side, _) in sides.items()}, seconds * len(sides))
    for row in rows:
        row["images/s"] = round(sides[row["how"]][1] / took[row["how"]])
    best = max((r for r in rows if r["how"].startswith("batches")), key=lambda r: r["images/s"],
               default=None)  # fmt: skip
    return [r for r in rows if not r["how"].startswith("batches") or r is best]


def summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """How many times as many images: qcore.run against the interpreter."""
    made = []
    for key in dict.fromkeys((r["profile"], r["threads"], r["input"]) for r in rows):
        those = [r for r in rows if (r["profile"], r["threads"], r["input"]) == key]
        ours = next(r for r in those if r["how"] == "qcore.run, each")["images/s"]
        theirs = [r for r in those if r["side"] == "interpreter"]
        made.append(
            {**dict(zip(("profile", "threads", "input"), key)), "qcore.run": ours}
            | {f"x, {words}": ours / r["images/s"]
               for words, r in zip(("one image at a time", "its best batch"), theirs)}
        )  # fmt: skip
    return made


def child(profiles: Sequence[str], threads: int, images: int, seconds: float) -> list[dict]:
    """Rows from a fresh process."""
    given = json.dumps([list(profiles), threads, images, seconds])
    done = subprocess.run(
        [sys.executable, "-m", "bench.evaluate", "--one", given], cwd=ROOT, text=True,
        capture_output=True,
    )  # fmt: skip
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:]
        raise SystemExit(f"{threads} threads: {''.join(last) or done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0], formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--profiles", nargs="*", default=PROFILES, choices=PROFILES)
    parser.add_argument("--threads", nargs="*", type=int, default=(1, 2))
    parser.add_argument("--images", type=int, default=10_000, help="a multiple of 1000")
    parser.add_argument("--seconds", type=float, default=3.0, help="for each way")
    parser.add_argument("--json", help="write the rows here as well")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if not corpus.available():
        parser.exit(2, f"{corpus.MISSING}\n")
    if args.one:
        from bench.sides import pin

        profiles, threads, images, seconds = json.loads(args.one)
        pin(threads)
        rows = [r for p in profiles for r in measure(p, threads, images, seconds)]
        print(json.dumps(rows))
        return 0
    if args.images < 1000 or args.images % 1000:
        parser.error("--images: give a multiple of 1000, which every batch divides")
    rows = []
    for threads in args.threads:
        rows += child(args.profiles, threads, args.images, args.seconds)
        print(f"{threads} threads done", file=sys.stderr)
    rows.sort(key=lambda r: (args.profiles.index(r["profile"]), r["threads"]))
    show(TITLE, rows)
    show("qcore.run against the interpreter: times as many images per second", summary(rows))
    save(args.json, TITLE, rows)
    wrong = [r for r in rows if r["differ"] and not r["how"].startswith("batches")]
    return int(bool(wrong) or not rows)


if __name__ == "__main__":
    raise SystemExit(main())
