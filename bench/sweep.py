"""Sweeps killed, resumed and scaled out: `python -m bench.sweep`.

One grid on small models of the corpus: run through by one process and by two; by two, killed twice
(SIGKILL) and resumed; on a Dask cluster of two worker processes here, one of which is killed in the
middle. Every result but times has to be that of the first run. Exit code 1 where it is not.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.results import save, show
from qcore.sweep import Sweep, load
from tests import corpus

MODELS = ("fmnist_dscnn_f32", "mlperf_resnet8_f32")
TITLE = "one sweep, run in several ways"
GRID = """
[[grid]]
recipes = ["int8", "int16x8"]
activation = {activation}
weight = ["", "mse"]
granularity = ["", "per_tensor"]
samples = [{few}, "all"]

[[grid]]
candidates = ["dynamic", "float16"]
"""
SCHEMES = ["", "percentile", "mse", "octav"]


def written(place: Path, models: list[str], calibrate: int, judge: int, schemes: list[str]) -> Path:
    """A grid file with the models' samples beside it."""
    parts = []
    for name in models:
        entry = corpus.entry(name)
        calib, test = (
            np.concatenate(list(entry.samples(n, part)))
            for n, part in ((calibrate, "calib"), (judge, "test"))
        )
        np.savez(place / f"{name}.npz", x_calib=calib, x_test=test)
        parts.append(f'[[model]]\nfile = "{entry.path}"\ndata = "{name}.npz"\n')
    grid = place / "grid.toml"
    grid.write_text("\n".join(parts) + GRID.format(activation=schemes, few=max(1, calibrate // 5)))
    return grid


def count(folder: Path) -> int:
    return len(list((folder / "trials").glob("[0-9a-f]*.json")))


def started(grid: Path, folder: Path, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "qcore", "sweep", str(grid), "-o", str(folder), *options]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def through(grid: Path, folder: Path, *options: str, at: int = 0,
            then: Callable[[], None] | None = None) -> float:  # fmt: skip
    """Seconds of a run. then: done once `at` results are there."""
    begin = time.perf_counter()
    process = started(grid, folder, *options)
    while then is not None and process.poll() is None and count(folder) < at:
        time.sleep(0.02)
    if then is not None:
        then()
    if process.wait() != 0:
        raise SystemExit(f"a sweep ended with exit code {process.returncode}")
    return time.perf_counter() - begin


def killed(grid: Path, folder: Path, jobs: int, ends: list[int]) -> float:
    """Seconds of runs that are killed when so many results are there, and of the last one."""
    begin = time.perf_counter()
    for most in ends:
        process = started(grid, folder, "--jobs", str(jobs))
        while process.poll() is None and count(folder) < most:
            time.sleep(0.02)
        process.kill()
        process.wait()
        print(f"killed at {count(folder)} results", file=sys.stderr)
    through(grid, folder, "--jobs", str(jobs))
    return time.perf_counter() - begin


def on_dask(grid: Path, folder: Path, workers: int, at: int) -> float:
    """Seconds on a local cluster, one worker of which is killed when `at` results are there."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        victim = next(iter(client.run(os.getpid).values()))

        def kill() -> None:
            os.kill(victim, signal.SIGKILL)
            print(f"killed worker {victim} at {count(folder)} results", file=sys.stderr)

        return through(grid, folder, "--scheduler", cluster.scheduler_address, at=at, then=kill)


def differing(a: Sweep, b: Sweep) -> int:
    """Numbers and texts of the table, times left out, that are not equal."""
    x, y = a.columns(times=False), b.columns(times=False)
    if list(x) != list(y) or len(a.rows) != len(b.rows):
        return len(a.rows)
    return sum(p != q for name in x for p, q in zip(x[name], y[name], strict=True))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="*", default=list(MODELS))
    parser.add_argument("--schemes", nargs="*", default=SCHEMES)
    parser.add_argument("--calibrate", type=int, default=100, help="samples")
    parser.add_argument("--judge", type=int, default=500, help="samples")
    parser.add_argument("--json", help="write the rows here as well")
    args = parser.parse_args(argv)
    if not corpus.available():
        parser.exit(2, f"{corpus.MISSING}\n")
    with tempfile.TemporaryDirectory(prefix="qcore-") as temporary:
        place = Path(temporary)
        grid = written(place, args.models, args.calibrate, args.judge, args.schemes)
        rows: list[dict[str, Any]] = []
        truth: Sweep | None = None

        def row(name: str, folder: str, seconds: float) -> None:
            nonlocal truth
            found = load(place / folder)
            truth = truth or found
            rows.append({
                "run": name, "trials": len(found.rows), "failed": len(found.failed),
                "seconds": seconds, "times faster": rows[0]["seconds"] / seconds if rows else 1.0,
                "differing": differing(truth, found),
            })  # fmt: skip
            print(f"{name} done", file=sys.stderr)

        row("one process", "one", through(grid, place / "one", "--jobs", "1"))
        total = rows[0]["trials"]
        row("two processes", "two", through(grid, place / "two", "--jobs", "2"))
        ends = [max(1, total // 4), max(2, total // 2)]
        row("two processes, killed twice", "killed", killed(grid, place / "killed", 2, ends))
        seconds = on_dask(grid, place / "dask", 2, max(1, total // 3))
        row("Dask, two workers, one killed", "dask", seconds)
    show(TITLE, rows)
    save(args.json, TITLE, rows)
    return 1 if any(r["differing"] for r in rows) else 0


if __name__ == "__main__":
    raise SystemExit(main())
