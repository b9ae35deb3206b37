"""The pytest plugin: depth, folder and checks; and that it leaves other projects alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
TESTS = """
import numpy as np
from kernels import ops

def test_right(qcore_check, qcore_depth):
    done = qcore_check.operator(lambda c: ops.compute(c, "reference"), "RELU", form="int8")
    print(f"depth {qcore_depth}, {done.examples} examples")

def test_wrong(qcore_check):
    qcore_check.operator(lambda c: np.maximum(c.x(0), 0), "RELU", form="int8", examples=40)

def test_runtime(qcore_check):
    assert qcore_check.runtime("reference", operators="RELU", form="int8", examples=8).compared
"""


@pytest.fixture
def project(tmp_path):
    """A user's project; `run` runs its tests in a process of its own, with our plugin or not."""

    def run(tests: str, *options: str, plugin: bool = True, ini: str = ""):
        (tmp_path / "test_it.py").write_text(tests, "utf-8")
        (tmp_path / "pytest.ini").write_text(f"[pytest]\n{ini}\n", "utf-8")
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options]
        # As the entry point would, whether or not this checkout was installed with it.
        more = ["-p", "qcore.testing.plugin"] if plugin else []
        env = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT)}
        return subprocess.run(
            [*command, *more], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300
        )

    return run


def test_fixtures_do_what_they_say(project, tmp_path):
    done = project(TESTS, "-rP", f"--qcore-folder={tmp_path / 'found'}")
    assert done.returncode == 1 and "1 failed, 2 passed" in done.stdout, done.stdout
    assert "depth 1, 200 examples" in done.stdout
    assert "RELU as int8 on the reference path" in done.stdout and "call = Call(" in done.stdout
    (folder,) = (tmp_path / "found").iterdir()
    assert (folder / "model.tflite").is_file() and str(folder) in done.stdout


def test_depth_is_one_option(project):
    test = TESTS.split("def test_wrong")[0].replace("RELU", "RANK")
    deeper = project(test, "-rP", "--qcore-depth", "2")
    assert "depth 2, 400 examples" in deeper.stdout, deeper.stdout
    written = project(test, "-rP", ini="qcore_depth = 3")
    assert "depth 3, 600 examples" in written.stdout, written.stdout


@pytest.mark.parametrize("text", ["deeper", "0", "-1"])
def test_a_depth_that_is_none(project, text):
    done = project("def test(qcore_depth): pass", f"--qcore-depth={text}")
    assert done.returncode == 4 and "should be ci, deep or a number" in done.stderr


def test_who_does_not_use_it_notices_nothing(project):
    """No import, no Hypothesis profile, and fixtures of the same name are the project's own."""
    tests = """
import sys

import pytest

@pytest.fixture
def qcore_check():
    return "mine"

def test_mine(qcore_check):
    assert qcore_check == "mine"

def test_nothing_is_loaded():
    assert not {"numpy", "hypothesis", "numba", "kernels"} & set(sys.modules)
"""
    done = project(tests)
    assert done.returncode == 0, done.stdout + done.stderr
    seen = project(tests.replace('"hypothesis", ', '"_pytest", '))
    assert seen.returncode == 1  # something that is loaded would be seen


def test_a_check_that_is_none(project):
    done = project("def test(qcore_check): qcore_check.speed()")
    assert "there are operator, runtime" in done.stdout


def test_every_checker_is_a_method(tmp_path):
    from qcore.testing import checks
    from qcore.testing.plugin import CHECKS, Checks, Depth

    assert {f"check_{name}" for name in CHECKS} == {n for n in checks.__all__ if "check_" in n}
    bound = Checks(Depth(3, None), tmp_path)
    for name in CHECKS:
        assert getattr(bound, name).func is getattr(checks, f"check_{name}")
    assert bound.scheme.keywords == {"seed": None, "examples": 600}
    assert bound.roundtrip.keywords == {"folder": tmp_path}


def test_the_entry_point_is_the_plugin():
    table = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert table["entry-points"]["pytest11"] == {"qcore": "qcore.testing.plugin"}
    assert {r.split(">")[0] for r in table["optional-dependencies"]["testing"]} == {
        "hypothesis", "pytest",
    }  # fmt: skip
