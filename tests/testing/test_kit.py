"""`python -m qcore.testing`: the short run passes and says so; a failure is in its table."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from kernels import ops
from kernels.profile import PATHS, Profile
from qcore.testing import __main__ as kit
from qcore.testing import properties
from qcore.testing.cases import generators
from qcore.testing.properties import Outcome, Task

ROOT = Path(__file__).resolve().parents[2]
RELU = [("RELU", "int8")]


def test_the_short_run(tmp_path):
    """Every property, in a process of its own: well below five minutes."""
    command = [sys.executable, "-m", "qcore.testing", "--short", "--jobs", "1"]
    done = subprocess.run(
        [*command, "--json", str(tmp_path / "found.json"), "--folder", str(tmp_path / "cases")],
        capture_output=True, text=True, cwd=ROOT, timeout=290,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "found.json").read_text("utf-8"))
    rows = {(r["property"], r["with"]): r for r in found["rows"]}
    for path in PATHS:
        for name in (properties.SEEDED, properties.MODELS):
            row = rows[name, str(Profile(path))]
            assert row["compared"] > 3_000 and row["cases"] > 130
        row = rows[properties.WHOLE, str(Profile(path))]
        assert row["compared"] > 200 and row["cases"] > 3
    assert rows[properties.FAST, ""]["cases"] > 1_000
    assert all(r["compared"] > 0 and r["failures"] == 0 for r in found["rows"])
    assert found["failed"] == [] and found["title"] and found["cores"]
    assert "altogether" in done.stdout and properties.SEEDED in done.stdout
    assert not (tmp_path / "cases").exists()


def test_the_short_run_leaves_no_form_out():
    tasks = list(properties.short(["litert"], None))
    for function in (properties.models, properties.fast, properties.seeded):
        keys = [key for t in tasks if t.run is function for key in t.arguments[1]]
        assert sorted(keys) == sorted(generators())


def test_the_long_run_goes_on_with_new_seeds():
    tasks = properties.deep(["litert"], None, 7, 60.0, 2)
    first = [next(tasks) for _ in range(400)]
    volume = [t.arguments for t in first if t.run is properties.seeded]
    assert len(volume) == 8 * len(PATHS)
    assert sorted(k for a in volume for k in a[1]) == sorted(list(generators()) * len(PATHS))
    assert all(a[2] == range(7, 37) and a[3] == 200_000 for a in volume)
    seeds = {t.arguments[3] for t in first if t.run is properties.models}
    assert len(seeds) > 2 and min(seeds) == 7


def spoil(monkeypatch, mode):
    right = getattr(ops.module("RELU"), mode)
    monkeypatch.setattr(ops.module("RELU"), mode, lambda call: (right(call)[0] ^ np.int8(1),))


@pytest.mark.parametrize(
    ("mode", "function", "more"),
    [
        ("reference", properties.models, (8, 0)),
        ("fast", properties.fast, (8, 0)),
        ("fast", properties.seeded, (range(2), 50, ())),
    ],
)
def test_a_wrong_kernel_shows(mode, function, more, monkeypatch, tmp_path):
    folder = () if function is properties.seeded else (tmp_path,)
    arguments = (Profile(), RELU, *more, *folder)
    assert function(*arguments).ok
    spoil(monkeypatch, mode)
    found = function(*arguments)
    assert not found.ok and len(found.failures) == 1 and "RELU" in found.failures[0]


def passing():
    return Outcome("one", "a runtime", 3, 1000)


def failing():
    return Outcome("two", "", 2, 10, ["it is wrong (here)"])


def empty():
    return Outcome("three")


def raising():
    raise ValueError("of its own")


def sleeping():
    time.sleep(60)
    return passing()


def test_outcomes_add_up_and_failures_are_told():
    told = []
    tasks = [Task(f, ()) for f in (passing, failing, passing, raising)]
    found = {o.name: o for o in kit.run(iter(tasks), 2, float("inf"), told.append)}
    assert found["one"].ok and found["one"].examples == 6 and found["one"].compared == 2000
    assert not found["two"].ok and not found["raising"].ok
    error, sentence = sorted(told)
    assert error.startswith("ValueError: of its own (File ") and error.endswith("in raising)")
    assert sentence == "it is wrong (here)"


def test_no_task_begins_after_the_end():
    began = time.monotonic()
    endless = (Task(passing, ()) for _ in iter(int, 1))
    found = kit.run(endless, 1, began + 0.5, print)
    assert found[0].examples >= 3 and time.monotonic() - began < 20


def test_the_table_and_the_exit_code(monkeypatch, capsys, tmp_path):
    def of(*functions):
        monkeypatch.setattr(kit, "short", lambda *given: iter([Task(f, ()) for f in functions]))
        return kit.main(["--short", "--jobs", "1", "--json", str(tmp_path / "t.json")])

    assert of(passing) == 0
    assert of(passing, failing) == 1
    said = capsys.readouterr()
    assert "failed: it is wrong (here)" in said.err
    rows = [line.split() for line in said.out.splitlines()]
    assert ["two", "2", "10", "1"] in rows
    assert ["altogether", "1,000", "with", "runtimes", "5", "1,010", "1"] in rows
    written = json.loads((tmp_path / "t.json").read_text())
    assert written["rows"][1]["failures"] == 1 and written["failed"] == ["it is wrong (here)"]
    assert of(passing, empty) == 1 and "nothing was compared" in capsys.readouterr().out
    assert of() == 1  # nothing at all


def test_wrong_use(monkeypatch, capsys):
    assert kit.main(["--minutes", "0"]) == 2 and kit.main(["--jobs", "0"]) == 2
    monkeypatch.setattr(kit, "installed", lambda name: False)
    assert kit.main(["--short"]) == 2 and "not installed" in capsys.readouterr().err


def test_an_interrupt_ends_it_and_its_processes():
    code = (
        "import tests.testing.test_kit as t, sys\n"
        "t.kit.short = lambda *given: iter([t.Task(t.sleeping, ())] * 4)\n"
        "print('begun', flush=True)\nsys.exit(t.kit.main(['--short']))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "begun\n"
    time.sleep(1.5)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130 and err == "interrupted\n"
    with pytest.raises(ProcessLookupError):  # nobody of the group is left
        for _ in range(50):
            os.killpg(process.pid, 0)
            time.sleep(0.1)
