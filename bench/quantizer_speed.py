"""The quantizer's own speed: bytes of weights a second, and seconds by stage.

    python -m bench.quantizer_speed rates [--numpy] [--json bench/results/rates.json]
    python -m bench.quantizer_speed stages [--models ...] [--json bench/results/stages.json]

`rates`: one constant in memory, its range found and its integers made as a plan and the writer have
it done, beside a copy of the same bytes by NumPy; by one core, and by all that the process has. A
copy writes as much as it reads, an encoder a quarter or less. By the compiled kernels, as a process
has them that quantizes much; by NumPy, as they are before, with --numpy.

`stages`: a process for each model and recipe, timed from inside; medians. `import` is of this
project, NumPy is there already. `first sample`: the
child's start, the interpreter's, and one run. `sample`: each further one, `of it invoke` the
interpreter alone. `bytes alone`: the same file written from memory.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from bench.results import save, show

ROOT = Path(__file__).resolve().parents[1]
MODELS = ("effnet_lite0_f32", "resnet50", "large")
RECIPES = ("dynamic", "weight_only", "float16", "int8", "int16x8")
SAMPLES = 8
LARGE = 500_000_000  # bytes of weights
ROWS, BLOCK = 4096, 32


def forms(values: np.ndarray) -> dict[str, Callable[[], Any]]:
    """Name -> what finds the range of `values`, (rows, columns), and makes a Form of it."""
    import tflite_schema as ts
    from qcore.graph import Graph
    from qcore.params import Affine
    from qcore.plan import common
    from qcore.plan.values import Form
    from qcore.recipe import Setting
    from qcore.rounding import Float16, Nearest
    from qcore.schemes import MinMax, Symmetric

    model = ts.Model(
        subgraphs=(ts.SubGraph(tensors=(ts.Tensor(values.shape, buffer=1, name="w"),)),),
        buffers=(ts.Buffer(), ts.Buffer(values)),
    )

    def form(dtype: str, scheme: Any, axis: int | None) -> Callable[[], Any]:
        from qcore.granularity import Granularity

        kind = Granularity("per_tensor" if axis is None else "per_channel", axis)
        found = Setting(dtype=dtype, scheme=scheme, granularity=kind)

        def make() -> Any:
            graph = Graph(model)  # a new one: nothing is remembered
            return graph, common.constant_form(graph, 0, found, axis)

        return make

    def halves() -> Any:
        graph = Graph(model)
        stats = common.stats_of(graph, 0, None)
        return graph, Form(tensor=0, dtype="float16", rounding=Float16(), stats=stats)

    def blocks() -> Any:
        graph = Graph(model)
        stats = common.constant_stats(values.reshape(-1, BLOCK), 0)
        q = common.int_range("int4", True, "w")
        scale = Symmetric().choose(stats, q).scale.astype(np.float16).astype(np.float32)
        params = Affine(scale, np.zeros(scale.size, np.int64), 1, BLOCK)
        return graph, Form(
            tensor=0, dtype="int4", params=params, stats=stats, range=q, rounding=Nearest()
        )

    return {
        "int8, per tensor": form("int8", Symmetric(), None),
        "int8, per channel, first axis": form("int8", Symmetric(), 0),
        "int8, per channel, last axis": form("int8", Symmetric(), 1),
        "int8, per tensor, with a zero point": form("int8", MinMax(), None),
        "int8, per channel, dynamic": form("int8", Symmetric("dynamic"), 0),
        "int4, per channel": form("int4", Symmetric(), 0),
        f"int4, blocks of {BLOCK}": blocks,
        "float16": halves,
    }


def rates(megabytes: int, repeat: int) -> list[dict[str, Any]]:
    """A row for each form: GB/s of float32 read, and its share of a copy's."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal((ROWS, megabytes * 2**20 // (4 * ROWS)), np.float32)
    values *= np.float32(0.02)
    target = np.zeros_like(values)
    rows: list[dict[str, Any]] = [{"what": "copy"}]
    rows += [{"what": name} for name in forms(values)]
    counts = sorted({1, len(os.sched_getaffinity(0))})
    for count in counts:
        by = "one core" if count == 1 else f"{count} cores"

        def per_second(function: Callable[..., Any], *given: Any, count: int = count) -> float:
            return values.nbytes / _least(count, function, given, repeat) / 1e9

        with _cores(count):
            copy = per_second(_copy, target, values, count)
            rows[0] |= {f"range, {by}": None, f"encode, {by}": copy, f"of copy, {by}": 1.0}
            for row, make in zip(rows[1:], forms(values).values(), strict=True):
                graph, form = make()
                encode = per_second(_encoded, graph, form)
                row |= {
                    f"range, {by}": per_second(make),
                    f"encode, {by}": encode,
                    f"of copy, {by}": encode / copy,
                }
    return rows


def _copy(target: np.ndarray, values: np.ndarray, threads: int) -> None:
    from kernels.threads import in_order

    parts = [slice(at, at + 64) for at in range(0, ROWS, 64)]
    for _ in in_order(lambda part: np.copyto(target[part], values[part]), parts, threads):
        pass


def _encoded(graph: Any, form: Any) -> int:
    from qcore.patch import Encoder

    return sum(chunk.nbytes for chunk in Encoder(graph, form).chunks())


def _least(cores: int, function: Callable[..., Any], given: tuple[Any, ...], repeat: int) -> float:
    """Seconds of the quickest of `repeat` calls: what the machine can do when left alone.

    Of one core its own time, which does not see what else runs there.
    """
    clock = time.process_time if cores == 1 else time.perf_counter
    times = []
    for _ in range(repeat):
        start = clock()
        function(*given)
        times.append(clock() - start)
    return min(times)


@contextmanager
def _cores(count: int) -> Iterator[None]:
    """Inside the block this process has so many processors."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def stages(file: str, recipe: str, folder: str) -> dict[str, float]:
    """Seconds of each stage, in this process, which has done nothing before."""
    times: dict[str, float] = {}
    last = time.perf_counter()

    def lap(name: str) -> None:
        nonlocal last
        now = time.perf_counter()
        times[name] = now - last
        last = time.perf_counter()

    import qcore
    from qcore.plan import needs_calibration, plan
    from qcore.prepare import prepare

    lap("import")
    model = qcore.load(file)
    lap("read")
    wanted = qcore.recipe(recipe)
    source = prepare(model, wanted)
    lap("prepare")
    ranges = None
    if needs_calibration(source, wanted):
        shape = model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]].shape or ()
        rng = np.random.default_rng(0)
        samples = [rng.random(shape, np.float32) for _ in range(SAMPLES)]
        lap("make samples")
        qcore.calibrate(source, samples[:1], threads=1)
        lap("first sample")
        ranges = qcore.calibrate(source, samples, threads=1)
        lap("all samples")
        times["sample"] = (times["all samples"] - times["first sample"]) / (SAMPLES - 1)
        times["of it invoke"] = _invoke(file, samples)
        last = time.perf_counter()
    made = plan(source, wanted, ranges)
    lap("plan")
    quantized = qcore.apply_plan(source, made)
    lap("lower")
    out = Path(folder) / "out.tflite"
    quantized.save(out)
    lap("write")
    times["bytes alone"] = _rewrite(out)
    return times


def _invoke(file: str, samples: Sequence[np.ndarray]) -> float:
    """Seconds of one run in the interpreter as calibration uses it, the median."""
    from qcore.peers.interpreter import Session

    session = Session(file, "litert", "xnnpack", 1, keep=True)
    tensor = session.interpreter.get_input_details()[0]["index"]
    times = []
    for sample in samples:
        session.prepare(0, (tensor,), [sample])
        start = time.perf_counter()
        session.feed(0, (tensor,), [sample])
        session.invoke(0)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _rewrite(path: Path) -> float:
    """Seconds to write the file's bytes beside it, as the writer does."""
    from tflite_schema import files, writer

    data = memoryview(path.read_bytes())
    pieces = (data[at : at + writer.CHUNK] for at in range(0, len(data), writer.CHUNK))
    start = time.perf_counter()
    files.replace(path.with_suffix(".copy"), pieces)
    return time.perf_counter() - start


COLUMNS = (
    "import", "read", "prepare", "first sample", "sample", "of it invoke", "plan", "lower", "write",
    "bytes alone",
)  # fmt: skip


def measure(model: str, recipe: str, repeat: int, folder: str) -> dict[str, Any]:
    """A row: medians over processes, milliseconds."""
    file = path_of(model, Path(folder))
    command = [sys.executable, "-m", "bench.quantizer_speed", "--worker", str(file), recipe, folder]
    # The first run, which does not count, compiles what was edited since.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    found = []
    for _ in range(repeat + 1):
        done = subprocess.run(
            command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True
        )
        found.append(json.loads(done.stdout))
    row: dict[str, Any] = {"model": model, "MB": file.stat().st_size / 1e6, "recipe": recipe}
    for name in COLUMNS:
        times = [each[name] for each in found[1:] if name in each]
        row[name] = 1e3 * statistics.median(times) if times else None
    return row


def path_of(model: str, folder: Path) -> Path:
    """A model of the corpus, or one that is made here once."""
    import tflite_schema as ts
    from tests import corpus

    file = folder / f"{model}.tflite"
    if model == "large":
        from bench.make_large import large

        if not file.exists():
            ts.write(large(LARGE, 4096), file)
    elif model == "resnet50":
        from bench.make_resnet50 import resnet50

        if not file.exists():
            ts.write(resnet50(), file)
    else:
        return corpus.entry(model).path
    return file


def main(argv: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if argv is None else argv
    if arguments[:1] == ["--worker"]:
        print(json.dumps(stages(*arguments[1:])))
        return 0
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("rates", "stages"))
    parser.add_argument("--megabytes", type=int, default=256, help="of float32 for the rates")
    parser.add_argument("--numpy", action="store_true", help="rates without compiled kernels")
    parser.add_argument("--models", nargs="*", default=list(MODELS))
    parser.add_argument("--recipes", nargs="*", default=list(RECIPES))
    parser.add_argument("--repeat", type=int, help="default 9 for the rates, 3 for the stages")
    parser.add_argument("--json")
    args = parser.parse_args(arguments)
    if args.what == "rates":
        title = "Weights to integers, GB/s of float32"
        from kernels import streaming

        title += ", by NumPy" if args.numpy else ""
        with streaming.using({} if args.numpy else streaming.load(), streaming.SMALL):
            rows = rates(args.megabytes, args.repeat or 9)
    else:
        title = "Milliseconds by stage of calibrate and quantize"
        with tempfile.TemporaryDirectory() as folder:
            rows = [
                measure(model, recipe, args.repeat or 3, folder)
                for model in args.models
                for recipe in args.recipes
            ]
    show(title, rows)
    save(args.json, title, rows)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
