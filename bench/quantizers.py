"""Whole-command time and peak memory of ours against LiteRT's quantizer, from the same samples.

    python -m bench.quantizers [--model effnet_lite0.tflite] [--recipes dynamic,int8] [--repeat 5]
                               [--samples 100] [--json out.json]

Each measurement is a process of its own from start to end (import, load, calibrate, quantize,
save); the two quantizers take turns. Peak memory is that of the process and what it starts, pages
that they share counted once, sampled every few milliseconds. The model defaults to
EfficientNet-Lite0 of the corpus (QCORE_CORPUS); samples are its photos, with small changes, or
uniform noise for others.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.results import save, show

ROOT = Path(__file__).resolve().parents[1]
SAMPLE_SECONDS = 0.005
RECIPES = ("dynamic", "weight_only", "int8", "int16x8")
STATIC = ("int8", "int16x8")


class Samples:
    """The samples of an .npy file, read one by one each time they are iterated; what both get."""

    def __init__(self, path: str, name: str | None = None):
        self.path, self.name = path, name

    def __iter__(self) -> Iterator[Any]:
        import numpy as np

        with open(self.path, "rb") as file:
            np.lib.format.read_magic(file)
            (count, *shape), _, dtype = np.lib.format.read_array_header_1_0(file)
            for _ in range(count):
                x = np.fromfile(file, dtype, math.prod(shape)).reshape(shape)
                yield x if self.name is None else {self.name: x}


def ours(model: str, recipe: str, samples: str, out: str) -> None:
    """One quantization with this project."""
    import qcore

    data = Samples(samples) if recipe in STATIC else None
    qcore.quantize(qcore.load(model), recipe, data).save(out)


def theirs(model: str, recipe: str, samples: str, out: str) -> None:
    """The same with LiteRT's quantizer, as its README does it."""
    from litert_quantizer import quantizer
    from litert_quantizer import recipe as recipes

    name = {
        "dynamic": "dynamic_wi8_afp32",
        "weight_only": "weight_only_wi8_afp32",
        "int8": "static_wi8_ai8",
        "int16x8": "static_wi8_ai16",
    }[recipe]
    made = quantizer.Quantizer(model, getattr(recipes, name)())
    result = None
    if recipe in STATIC:
        key, (name, *_) = _signature(model)
        result = made.calibrate({key: Samples(samples, name)})
    made.quantize(result).export_model(out, overwrite=True)


def _signature(model: str) -> tuple[str, list[str]]:
    from ai_edge_litert.interpreter import Interpreter

    key, found = next(iter(Interpreter(model).get_signature_list().items()))
    return key, found["inputs"]


class Peak:
    """Largest memory of a process and its descendants together, in bytes (Linux)."""

    def __init__(self, pid: int):
        self.pid, self.bytes, self._stop = pid, 0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            self.bytes = max(self.bytes, sum(map(self._resident, self._family(self.pid))))

    def _family(self, pid: int) -> list[int]:
        found = [pid]
        try:
            for task in Path(f"/proc/{pid}/task").iterdir():
                for child in (task / "children").read_text().split():
                    found += self._family(int(child))
        except OSError:
            pass  # it has ended
        return found

    def _resident(self, pid: int) -> int:
        """Proportional set size: a page that several processes have counts once in their sum."""
        try:
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    return 1024 * int(line.split()[1])
        except OSError:
            pass  # it has ended
        return 0

    def stop(self) -> int:
        self._stop.set()
        self._thread.join()
        return self.bytes


def measure(who: str, model: str, recipe: str, samples: str, folder: str) -> dict[str, float]:
    """Seconds and peak bytes of one process, and the size of what it wrote."""
    out = str(Path(folder) / f"{who}.{recipe}.tflite")
    worker = ["-m", "bench.quantizers", "--worker", who, model, recipe, samples, out]
    command = [sys.executable, *worker]
    # The first run, which does not count, compiles what was edited since, as a user's would have.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    start = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env=environment,
    )  # fmt: skip
    peak = Peak(process.pid)
    _, printed = process.communicate()
    seconds = time.perf_counter() - start
    memory = peak.stop()
    if process.returncode:
        raise SystemExit(f"{who} {recipe} ended with {process.returncode}: {printed[-2000:]}")
    return {"seconds": seconds, "peak": memory, "size": Path(out).stat().st_size}


def make_samples(model: str, count: int, path: str) -> None:
    """`count` inputs of batch 1 as one .npy, (count, *shape) float32."""
    import numpy as np

    sys.path.insert(0, str(ROOT))
    from tests import corpus

    found = [e for e in corpus.entries() if str(e.path) == model]
    pictures = [np.asarray(x) for x in found[0].samples(count)] if found else []
    rng = np.random.default_rng(0)
    if not pictures:
        import tflite_schema as ts

        source = ts.read(model)
        shape = source.subgraphs[0].tensors[source.subgraphs[0].inputs[0]].shape or ()
        pictures = [rng.random(shape, np.float32)]
    made = []
    for i in range(count):
        x = pictures[i % len(pictures)]
        noise = rng.normal(0, 0.02, x.shape) if i >= len(pictures) else 0
        made.append((x + noise).astype(np.float32))
    np.save(path, np.stack(made))


def compare(model: str, recipe: str, samples: str, repeat: int, folder: str) -> dict[str, Any]:
    """Medians of `repeat` runs each, in turn, after one of each that is not counted."""
    runs: dict[str, list[dict[str, float]]] = {"ours": [], "litert": []}
    for number in range(repeat + 1):
        for who in runs if number % 2 else reversed(runs):
            result = measure(who, model, recipe, samples, folder)
            if number:
                runs[who].append(result)
    medians = {
        who: {key: statistics.median(r[key] for r in found) for key in found[0]}
        for who, found in runs.items()
    }
    ratio = {key: medians["ours"][key] / other for key, other in medians["litert"].items()}
    return {"recipe": recipe, "runs": runs, "median": medians, "ratio": ratio}


def line(result: dict[str, Any]) -> dict[str, Any]:
    """One row of the table: medians of both and their ratio."""
    row: dict[str, Any] = {"recipe": result["recipe"]}
    for what, key, unit in (("time s", "seconds", 1.0), ("peak MB", "peak", 1e6)):
        for who, label in (("ours", "ours"), ("litert", "LiteRT's")):
            row[f"{what}, {label}"] = round(result["median"][who][key] / unit, 3)
        row[f"{what}, ratio"] = round(result["ratio"][key], 2)
    return row


def main(argv: list[str] | None = None) -> None:
    arguments = sys.argv[1:] if argv is None else argv
    if arguments[:1] == ["--worker"]:
        who, *rest = arguments[1:]
        {"ours": ours, "litert": theirs}[who](*rest)
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    corpus = os.environ.get("QCORE_CORPUS", str(ROOT.parent / "shared" / "corpus"))
    parser.add_argument("--model", default=str(Path(corpus) / "float" / "effnet_lite0_f32.tflite"))
    parser.add_argument("--recipes", default="dynamic,int8")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--json", help="write everything that was measured to this file")
    options = parser.parse_args(arguments)
    recipes = options.recipes.split(",")
    if unknown := set(recipes) - set(RECIPES):
        parser.error(f"recipe {sorted(unknown)[0]!r} is unknown; use {', '.join(RECIPES)}")
    if not Path(options.model).is_file():
        parser.error(f"there is no model at {options.model}; give one with --model")
    with tempfile.TemporaryDirectory() as folder:
        samples = str(Path(folder) / "samples.npy")
        if set(recipes) & set(STATIC):
            make_samples(options.model, options.samples, samples)
        results = [compare(options.model, r, samples, options.repeat, folder) for r in recipes]
    title = f"{Path(options.model).stem}, {options.samples} samples, medians of {options.repeat}"
    lines = [line(result) for result in results]
    show(title, lines)
    save(options.json, title, lines)


if __name__ == "__main__":
    main()
