"""Sweeps: what decides a result, going on after a kill, and what comes out."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from concurrent.futures import BrokenExecutor, Executor, Future
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import qcore
import tflite_schema as ts
from qcore.cli import invoke
from qcore.compare import Comparison
from qcore.errors import BadInput, BadRecipe, RuntimeFailed
from qcore.sweep import Grid, Problem, Sweep, load, sweep
from qcore.sweep import pool as pools
from qcore.sweep.folder import Folder
from qcore.sweep.grid import trials
from qcore.testing.build import Builder
from tests.faults.fault import MARK, alive

ROOT = Path(__file__).resolve().parents[2]
GRID = Grid(["int8"], weight=["", "mse"], samples=[2, "all"])
BAD = Grid(candidates=["bad=litert:nonsense"])


class Inline(Executor):
    """Runs a task when it is handed over; the one with number `stop` is an interrupt."""

    _max_workers = 1

    def __init__(self, stop: int = -1) -> None:
        self.stop, self.count = stop, 0

    def submit(self, fn, /, *args, **kwargs):
        if self.count == self.stop:
            raise KeyboardInterrupt
        self.count += 1
        future: Future = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


@pytest.fixture(scope="module")
def problem(tmp_path_factory) -> Problem:
    """A classifier of three classes with labelled samples, as files."""
    rng = np.random.default_rng(0)
    b = Builder()
    x = b.input((1, 6), "x")
    w = b.const(rng.standard_normal((3, 6)).astype(np.float32), "w")
    y = b.op("FULLY_CONNECTED", [x, w, None], (1, 3))
    place = tmp_path_factory.mktemp("sweep")
    ts.write(b.model([y]), place / "tiny.tflite")
    draw = rng.uniform(-1, 1, (24, 1, 6)).astype(np.float32)
    draw[:2] = np.sign(draw[:2])  # two samples tell the range
    np.savez(
        place / "data.npz", x_calib=draw[:8], x_test=draw[8:], y_test=rng.integers(0, 3, 16)
    )  # fmt: skip
    return Problem(place / "tiny.tflite", place / "data.npz")


@pytest.fixture(scope="module")
def straight(problem, tmp_path_factory) -> Sweep:
    return sweep(problem, [GRID, BAD], tmp_path_factory.mktemp("straight"), executor=Inline())


def same(a: Sweep, b: Sweep) -> bool:
    return a.columns(times=False) == b.columns(times=False)


def test_a_sweep(straight, problem):
    assert [r.trial.candidate for r in straight.rows] == [
        "int8 @2", "int8+weight=mse @2", "int8 @all", "int8+weight=mse @all", "bad",
    ]  # fmt: skip
    assert straight.ran == 5 and [r.trial.candidate for r in straight.failed] == ["bad"]
    assert "no counterpart of recipe 'nonsense'" in straight.failed[0].columns()["error"]
    lines = list(csv.DictReader(io.StringIO(straight.to_csv())))
    assert [line["samples"] for line in lines] == ["2", "2", "all", "all", "all"]
    assert float(lines[0]["SQNR_dB"]) == straight.rows[0].measured("SQNR_dB")
    found = straight.rows[0].candidate
    assert found.accuracy.of == found.agreement.of == 16 and found.left_float == 0
    # The same numbers as the comparison's own, layers or not.
    data = qcore.data.open(problem.data, limit=2)
    judged = qcore.data.open(problem.data, part="evaluation")
    own = qcore.compare(
        problem.model, ["int8"], data, judged.labels, evaluation=judged, latency=False
    ).candidates[0]
    assert (own.accuracy, own.agreement, own.bytes) == (
        found.accuracy, found.agreement, found.bytes,
    )  # fmt: skip


def test_outputs_with_and_without_layers(problem, straight, tmp_path):
    data = qcore.data.open(problem.data)
    found = [
        qcore.compare(problem.model, ["int8"], data, layers=layers, latency=False)
        for layers in (0, None)
    ]
    assert found[0].candidates[0].outputs == found[1].candidates[0].outputs
    assert found[0].candidates[0].outputs[0].count == 8 * 3
    assert not found[0].layers and found[1].layers and found[0].samples == 8
    with_layers = sweep(problem, GRID, tmp_path, executor=Inline(), measure={"layers": 1})
    rows = zip(with_layers.rows, straight.rows)
    assert all(a.candidate.outputs == b.candidate.outputs for a, b in rows)
    assert with_layers.rows[0].candidate.seen and not straight.rows[0].candidate.seen


def test_front_and_comparison(straight):
    points = [(-r.measured("SQNR_dB"), r.measured("bytes")) for r in straight.rows[:4]]
    best = [p for p in points if not any(q != p and q[0] <= p[0] and q[1] <= p[1] for q in points)]
    front = straight.front(quality="SQNR_dB")
    assert [(-r.measured("SQNR_dB"), r.measured("bytes")) for r in front] == best != []
    made = straight.comparison()
    assert [c.name for c in made.candidates] == [r.trial.candidate for r in straight.rows]
    assert made.truth.accuracy.of == 16 and made.model == "tiny"
    with pytest.raises(BadInput, match="no model 'other'"):
        straight.front("other")
    with pytest.raises(BadInput, match="latency_ms xnnpack"):
        straight.front(costs=["latency_ms xnnpack"])


def test_parquet_and_report(straight, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    straight.save(tmp_path / "t.parquet")
    assert parquet.read_table(tmp_path / "t.parquet").to_pydict() == straight.columns()
    with pytest.raises(BadInput, match=r"\.csv or \.parquet"):
        straight.save(tmp_path / "t.xlsx")
    pytest.importorskip("vl_convert")
    assert straight.report(tmp_path / "r.html") == [tmp_path / "r.html"]
    assert "int8+weight=mse @all" in (tmp_path / "r.html").read_text()


def test_killed_twice_and_resumed(problem, straight, tmp_path):
    """Stopped by an interrupt when two trials are done, and when four are."""
    folder = tmp_path / "killed"
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            sweep(problem, [GRID, BAD], folder, executor=Inline(2))
    before = {p.name: p.stat().st_mtime_ns for p in (folder / "trials").iterdir()}
    assert len(before) == 4 and all(len(name) == 37 for name in before)
    assert len(load(folder).failed) >= 5 - len(before)
    found = sweep(problem, [GRID, BAD], folder, executor=Inline())
    assert found.ran == 5 - len(before) and same(found, straight) and same(load(folder), straight)
    assert all((folder / "trials" / n).stat().st_mtime_ns == t for n, t in before.items())
    again = sweep(problem, [GRID, BAD], folder, executor=Inline(0))  # runs nothing
    assert again.ran == 0 and same(again, straight)
    assert sweep(problem, [GRID, BAD], folder, executor=Inline(), retry=True).ran == 1


def test_the_comparison_of_sweeps_fails(straight):
    row = straight.rows[2]
    c = replace(row.candidate, bytes=row.candidate.bytes + 1)
    other = replace(row, comparison=replace(row.comparison, candidates=(c,)))
    assert not same(straight, replace(straight, rows=(*straight.rows[:2], other)))
    rows = list(straight.rows)
    rows[2] = other
    assert not same(straight, replace(straight, rows=tuple(rows)))


def test_what_decides_a_result(problem, tmp_path):
    def digests(p: Problem, grid: Grid = GRID, **measure) -> list[str]:
        return [t.digest for t in trials([p], [grid], Folder(tmp_path), measure, ())]

    base = digests(problem)
    assert len(set(base)) == 4 and base == digests(replace(problem, name="another"))
    assert base[2:] == digests(problem, replace(GRID, samples=["all"]))
    model = qcore.load(problem.model)
    other = tmp_path / "other.tflite"
    ts.write(replace(model, description="other"), other)
    assert not set(base) & set(digests(replace(problem, model=other)))
    assert not set(base) & set(digests(replace(problem, data={"data": problem.data, "std": 2})))
    assert not set(base) & set(digests(problem, layers=1))
    recipe = qcore.recipe("int8").replace(name="mine")
    assert digests(problem, Grid([recipe])) == digests(problem, Grid(["int8"]))
    values = Problem(model, [np.zeros((1, 6), np.float32)] * 3, labels=[0, 1, 2])
    assert digests(values) == digests(replace(values, data=np.zeros((3, 1, 6), np.float32)))
    assert digests(values) != digests(replace(values, labels=[0, 1, 1]))


def test_a_scheme_of_a_plugin(problem, straight, tmp_path):
    plugin = tmp_path / "plugin_of_sweep.py"
    text = "from qcore.schemes import MinMax\nclass Same(MinMax):\n    key = 'same_of_sweep'\n"
    plugin.write_text(text)

    def swept() -> Sweep:
        return sweep(
            problem, ["int8+activation=same_of_sweep"], tmp_path / "out", executor=Inline(),
            plugins=[str(plugin)],
        )  # fmt: skip

    found = [swept(), swept()]
    assert [f.ran for f in found] == [1, 0]
    assert found[0].rows[0].candidate.outputs == straight.rows[2].candidate.outputs
    plugin.write_text(text + "# another\n")
    assert swept().ran == 1


def test_a_wrong_result_is_refused(problem, straight, tmp_path):
    asked = trials([problem], [GRID], Folder(tmp_path), {}, ())
    folder = Folder(tmp_path)
    folder.start(asked)
    text = folder.file(replace(asked[0], samples=3))
    text.write_text("{}")
    with pytest.raises(BadInput, match="another one"):
        folder.read(replace(asked[0], samples=3))
    source = Path(straight.folder) / "trials" / f"{asked[1].digest}.json"
    folder.file(asked[0]).write_bytes(source.read_bytes())
    with pytest.raises(BadInput, match="not the result of this trial"):
        load(tmp_path)
    folder.file(asked[0]).write_bytes(source.read_bytes()[:-9])
    with pytest.raises(BadInput, match="cannot be read"):
        load(tmp_path)


def test_what_another_process_did_is_left_out(problem, straight, tmp_path):
    asked = trials([problem], [GRID], Folder(tmp_path), {}, ())
    executor = Inline(0)
    found = list(pools.over(asked, executor, lambda trial: True))
    assert found == [(t, None, "") for t in asked] and executor.count == 0


class Broken(Executor):
    def submit(self, fn, /, *args, **kwargs):
        future: Future = Future()
        future.set_exception(BrokenExecutor("gone"))
        return future


@pytest.mark.parametrize(("asked", "error", "says"), [
    (lambda p, f: sweep(p, GRID, f, executor=Broken()), RuntimeFailed, "the executor gave up"),
    (lambda p, f: sweep(p, GRID), BadInput, "needs a folder"),
    (lambda p, f: sweep(p, GRID, f, jobs=1, scheduler="x"), BadInput, "give one of them"),
    (lambda p, f: sweep(p, ["int8", "int8"], f), BadInput, "two candidates"),
    (lambda p, f: sweep(p, ["int9"], f), BadRecipe, "unknown"),
    (lambda p, f: sweep(p, {"mine": lambda: None}, f), BadInput, "cannot be imported"),
    (lambda p, f: sweep(p, {"float": "int8"}, f), BadInput, "rename it"),
    (lambda p, f: Grid(weight=["mse"], candidates=["int8"]), BadInput, "no recipes"),
    (lambda p, f: Grid(["int8"], samples=[0]), BadInput, "numbers from 1"),
    (lambda p, f: sweep(replace(p, data=iter([])), GRID, f), BadInput, "give an array"),
    (lambda p, f: sweep(p, GRID, p.model), BadInput, "is a file"),
    (lambda p, f: sweep(p, GRID, p.model.parent), BadInput, "holds something else"),
    (lambda p, f: sweep(p, GRID, f, measure={"latency": "fast"}), BadInput, "path 'fast'"),
    (lambda p, f: load(f), BadInput, "no sweep.json"),
])  # fmt: skip
def test_refusals(problem, tmp_path, asked, error, says):
    with pytest.raises(error, match=says):
        asked(problem, tmp_path / "new")


FILE = """
[[model]]
file = "tiny.tflite"
data = "data.npz"

[[grid]]
recipes = ["int8"]
weight = ["", "mse"]
samples = [2, "all"]

[[grid]]
candidates = ["bad=litert:nonsense"]
"""


@pytest.fixture
def grid(problem) -> Path:
    place = problem.model.parent / "grid.toml"
    place.write_text(FILE)
    return place


def test_a_grid_file_is_the_same(grid, straight, tmp_path, capsys):
    code = invoke(["sweep", straight.folder, "--table", str(tmp_path / "t.csv")])
    out = capsys.readouterr().out
    assert code == 0 and "4 of 5 trials, 0 of them run now" in out
    assert (tmp_path / "t.csv").read_text() == straight.to_csv()
    assert invoke(["sweep", str(grid), "-o", straight.folder, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ran"] == 0 and len(found["rows"]) == 5


@pytest.mark.parametrize(("old", "new", "says"), [
    ("[[grid]]", "[[other]]", "unknown field 'other'"),
    ("recipes =", "recipe =", "unknown field 'recipe'"),
    ('data = "data.npz"', "", "has no data"),
    ('"mse"', '"mess"', "scheme 'mess' is unknown"),
    ("[2,", "[-2,", "numbers from 1"),
    ("= [", "= [[", "is not TOML"),
])  # fmt: skip
def test_a_bad_grid_file(grid, tmp_path, capsys, old, new, says):
    assert old in FILE
    grid.write_text(FILE.replace(old, new))
    assert invoke(["sweep", str(grid), "-o", str(tmp_path / "x")]) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "x" / "sweep.json").exists()


def test_killed_processes_leave_none_behind(grid, problem, straight, tmp_path):
    """SIGKILL with workers at work: they end by themselves, and the sweep goes on."""
    mark, folder = uuid.uuid4().hex, tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-m", "qcore", "sweep", str(grid), "-o", str(folder), "--jobs", "1"],
        env={**os.environ, MARK: mark, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    until = time.monotonic() + 60
    while not list(folder.glob("trials/*.json")) and time.monotonic() < until:
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    until = time.monotonic() + 10
    while alive(mark) and time.monotonic() < until:
        time.sleep(0.05)
    assert not alive(mark)
    assert all(not p.name.startswith(".") or p.suffix == ".tmp" for p in folder.rglob("*"))
    found = sweep(problem, [GRID, BAD], folder, executor=Inline())
    assert found.ran < 5 and same(found, straight)


DIES = """
import os
def dies():
    os._exit(3)
"""


def test_a_process_that_dies_is_a_row(problem, straight, tmp_path, monkeypatch, depth):
    if depth == 1:
        pytest.skip("starts processes again and again; --depth deep")
    (tmp_path / "deadly.py").write_text(DIES)
    monkeypatch.syspath_prepend(str(tmp_path))
    found = sweep(problem, ["deadly:dies", "int8", "dynamic"], tmp_path / "out", jobs=2)
    assert [r.trial.candidate for r in found.failed] == ["deadly:dies"]
    assert "its process died" in found.failed[0].columns()["error"]
    assert load(tmp_path / "out").failed[0].columns()["error"] == "it was not run yet"


def test_dask_with_a_worker_killed(grid, straight, tmp_path, depth):
    if depth == 1:
        pytest.skip("starts a cluster; --depth deep")
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        victim = next(iter(client.run(os.getpid).values()))
        process = subprocess.Popen(
            [sys.executable, "-m", "qcore", "sweep", str(grid), "-o", str(tmp_path / "out"),
             "--scheduler", cluster.scheduler_address], stdout=subprocess.DEVNULL,
        )  # fmt: skip
        while not list(tmp_path.glob("out/trials/*.json")):
            assert process.poll() is None
            time.sleep(0.01)
        os.kill(victim, signal.SIGKILL)
        assert process.wait(120) == 0
    assert same(load(tmp_path / "out"), straight)


def test_nobody_answers(grid, tmp_path, capsys):
    pytest.importorskip("distributed")
    code = invoke(["sweep", str(grid), "-o", str(tmp_path / "x"), "--scheduler", "nonsense://"])
    assert code == 2 and "no Dask scheduler answers" in capsys.readouterr().err


def test_results_read_back(straight):
    row = straight.rows[0]
    assert Comparison.from_json(row.comparison.to_json()).to_json() == row.comparison.to_json()
