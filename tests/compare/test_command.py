"""`qcore compare` as a user meets it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

import qcore
from qcore.cli import invoke
from qcore.compare import Comparison

PLUGIN = """
from dataclasses import dataclass
import qcore

@dataclass(frozen=True)
class Twice(qcore.schemes.MinMax):
    key = "twice for test_command"
    def choose(self, stats, q):
        found = super().choose(stats, q)
        return qcore.Affine(2 * found.scale, found.zero_point)

def mine(model, samples):
    return qcore.quantize(model, "int8", samples)
"""


@pytest.fixture
def cli(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)

    def call(*arguments) -> tuple[int, str, str]:
        code = invoke(["compare", *map(str, arguments)])
        out = capsys.readouterr()
        return code, out.out, out.err

    return call


@pytest.fixture
def common(example_model, example_data):
    return [
        example_model, "--data", example_data, "--std", 255, "--limit", 8, "--eval-limit", 50,
        "--latency", "none",
    ]  # fmt: skip


def test_candidates_of_every_kind(cli, common, tmp_path):
    (tmp_path / "mine_for_test_command.py").write_text(PLUGIN)
    code, out, err = cli(
        *common, "-c", "int8", "-c", "int8+twice for test_command", "-c",
        "own=mine_for_test_command:mine", "-c", "gone=gone.tflite", "--plugin",
        tmp_path / "mine_for_test_command.py", "--save", "c.json", "--keep", "kept",
    )  # fmt: skip
    assert (code, err) == (0, "")
    found = Comparison.load("c.json")
    names = ["int8", "int8+twice for test_command", "own", "gone"]
    assert [c.name for c in found.candidates] == names
    assert found.samples == 8 and found.labelled == 50
    assert found.candidate("own").outputs == found.candidate("int8").outputs
    assert found.candidate(names[1]).outputs != found.candidate("int8").outputs
    assert "no such file" in found.candidate("gone").error
    assert "McNemar" in out and found.headline in out.replace("\n", " ")
    kept = sorted(p.name for p in (tmp_path / "kept").iterdir())
    assert kept == ["int8+twice_for_test_command.tflite", "int8.tflite", "own.tflite"]
    assert qcore.diff("kept/int8.tflite", "kept/own.tflite").same
    # What was saved is shown again, without a model or data.
    code, again, err = cli("c.json", "--markdown")
    assert code == 0 and again == found.to_markdown()
    code, again, err = cli("c.json", "--json")
    assert json.loads(again)["headline"] == found.headline
    code, _, err = cli("c.json", "-c", "int8")
    assert code == 2 and "leave out --candidate" in err
    for option in (["--layers", 5], ["--std", 255], ["--eval-limit", 5], ["--latency", "none"]):
        code, _, err = cli("c.json", *option)
        assert code == 2 and f"leave out {option[0]}" in err


def test_one_html_file(cli, common):
    pytest.importorskip("jinja2")
    pytest.importorskip("vl_convert")
    code, _, err = cli(*common, "-c", "dynamic", "--report", "out.html")
    assert (code, err) == (0, "")
    assert "<html" in open("out.html", encoding="utf-8").read(2000)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["-c", "int8", "-c", "int8"], "two candidates are called 'int8'"),
        (["--json", "--markdown"], "leave one out"),
        (["--layers", "-1"], "give a whole number, or all"),
        (["--latency", "fast"], "path 'fast' is unknown"),
        (["--plugin", "nowhere.py"], "there is no such file"),
        (["--plugin", "no_module_of_this_name"], "cannot be imported"),
        (["--y", "labels"], "has no array 'labels'"),
        (["--save", "no/where.json"], "there is no folder"),
        (["--keep", "no/where"], "there is no folder"),
    ],
)
def test_wrong_use(cli, common, more, said):
    code, out, err = cli(*common, *more)
    assert code == 2 and out == "" and said in err and err.count("\n") == 1


def test_names_that_become_one_file_name(cli, common, tmp_path):
    given = "-c", "a b=int8", "-c", "a_b=dynamic", "--keep", "kept"
    assert cli(*common, *given, "--layers", 0)[0] == 0
    sizes = {p.name: p.stat().st_size for p in (tmp_path / "kept").iterdir()}
    assert sorted(sizes) == ["a_b (2).tflite", "a_b.tflite"] and len(set(sizes.values())) == 2


def test_outputs_alone(cli, common):
    code, out, err = cli(*common, "-c", "int8", "--layers", 0, "--save", "c.json")
    assert (code, err) == (0, "")
    found = Comparison.load("c.json")
    assert found.layers == () and found.candidates[0].seen == {}
    assert found.candidates[0].outputs[0].count == 50 * 10
    assert found.headline in out


def test_nothing_to_compare_on(cli, example_model):
    code, _, err = cli(example_model)
    assert code == 2 and "give --data" in err


def test_exit_code_when_nothing_could_be_compared(cli, common):
    code, out, _ = cli(*common, "-c", "a=gone.tflite")
    assert code == 1 and "No candidate could be compared" in out


def test_interrupted_leaves_no_process(common, tmp_path):
    """Ctrl-C while the interpreter is timed: its process ends with ours."""
    arguments = [str(a) for a in common]
    arguments[arguments.index("none")] = "reference"
    process = subprocess.Popen(
        [sys.executable, "-m", "qcore", "compare", *arguments, "-c", "int8", "-c", "int16x8"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    deadline = time.time() + 60
    children: list[int] = []
    while time.time() < deadline and not children and process.poll() is None:
        time.sleep(0.02)
        with open(f"/proc/{process.pid}/task/{process.pid}/children") as stream:
            children = [int(n) for n in stream.read().split()]
    assert children, process.communicate()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert (
        process.returncode == 130 and err == "qcore: interrupted; nothing was left half written\n"
    )
    for pid in children:
        for _ in range(100):
            if not os.path.exists(f"/proc/{pid}"):
                break
            time.sleep(0.02)
        assert not os.path.exists(f"/proc/{pid}")
    assert list(tmp_path.iterdir()) == []
