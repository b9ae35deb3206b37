"""From the start of a process to its first output, with nothing compiled before and after.

    python -m bench.start [--model effnet_lite0_int8] [--profile xnnpack] [--repeat 3] [--json ...]

Each measurement is a fresh process: import, read the model, compile or load kernels, run one image.
`cold`: QCORE_CACHE is an empty folder; `cached`: what the run before has left there.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.results import save, show
from bench.sides import path_of

ROOT = Path(__file__).resolve().parents[1]
FIRST_OUTPUT = """
import sys, numpy as np, qcore
executor = qcore.Executor(sys.argv[1], sys.argv[2])
program = executor.program(0)
forms = [program.tensors[t][1] for t in program.inputs]
print(program.run(1, [np.zeros((1, *f.shape), f.dtype) for f in forms])[0].size)
"""
INTERPRETER = """
import sys
from ai_edge_litert.interpreter import Interpreter
it = Interpreter(sys.argv[1], num_threads=1)
it.allocate_tensors()
it.invoke()
print(it.get_tensor(it.get_output_details()[0]["index"]).size)
"""


def seconds(code: str, model: str, profile: str, cache: str) -> float:
    """Of one process."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, model, profile], cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "QCORE_CACHE": cache},
    )  # fmt: skip
    took = time.perf_counter() - start
    if done.returncode or int(done.stdout) <= 0:
        raise SystemExit(done.stderr)
    return took


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="effnet_lite0_int8")
    parser.add_argument("--profile", default="xnnpack")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json")
    args = parser.parse_args(argv)
    model = str(path_of(args.model))
    cold, cached, theirs = [], [], []
    for _ in range(args.repeat):
        with tempfile.TemporaryDirectory() as cache:
            cold.append(seconds(FIRST_OUTPUT, model, args.profile, cache))
            cached.append(seconds(FIRST_OUTPUT, model, args.profile, cache))
            theirs.append(seconds(INTERPRETER, model, args.profile, cache))
    title = f"Seconds from process start to first output, {args.model}, {args.profile}"
    rows = [
        {"start": name, "median s": statistics.median(times), "least s": min(times)}
        for name, times in (("cold", cold), ("cached", cached), ("interpreter, xnnpack", theirs))
    ]
    show(title, rows)
    save(args.json, title, rows)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
