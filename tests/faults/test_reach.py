"""A command opens what it was given, and what it needs to run at all; it imports nothing else.

Every Python process that a command starts reports what it opens, imports and connects to: an audit
hook in `sitecustomize`, which children inherit.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kernels.jit import cache_folder
from tests.faults.fault import ROOT
from tests.faults.test_faults import models  # noqa: F401

HOOK = """
import os, sys
_log = os.open(os.environ["AUDIT_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def _hook(event, args):
    if event == "open" and isinstance(args[0], (str, bytes)):
        flags = args[2] if isinstance(args[2], int) else 0
        writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) != 0
        path = os.path.abspath(os.fsdecode(args[0]))
        os.write(_log, f"{'write' if writes else 'read'} {path}\\n".encode(errors="replace"))
    elif event in ("os.system", "socket.connect", "socket.bind", "pickle.find_class", "os.exec"):
        os.write(_log, f"{event} {args!r}\\n".encode(errors="replace"))
sys.addaudithook(_hook)
"""
TRAP = "import pathlib\npathlib.Path('trapped').touch()\n"
# Modules that a process of ours imports: in the working folder they are somebody's files.
NAMES = ("numpy", "json", "pickle", "typer", "signal", "llvmlite", "qcore", "kernels", "mine")
DATA = "--data data.npz --limit 2"


class Reach:
    """Runs commands in a folder and tells what they opened."""

    def __init__(self, place: Path, models: Path):  # noqa: F811
        self.place = place / "here"
        self.log = place / "log"
        self.home = place / "home"
        hook, script = place / "hook", place / "script"
        for folder in (self.home, hook, script):
            folder.mkdir()
        shutil.copytree(models, self.place)
        (self.place / "tmp").mkdir()
        (hook / "sitecustomize.py").write_text(HOOK)
        self.program = script / "qcore"
        self.program.write_text("from qcore.__main__ import main\nmain()\n")
        self.environment = {
            **os.environ, "PYTHONPATH": f"{hook}:{ROOT}", "AUDIT_LOG": str(self.log),
            "HOME": str(self.home), "TMPDIR": str(self.place / "tmp"),
            "QCORE_CACHE": str(cache_folder()), "PYTHONDONTWRITEBYTECODE": "1",
        }  # fmt: skip

    def __call__(self, command: str) -> list[tuple[str, str]]:
        self.log.write_text("")
        done = subprocess.run(
            [sys.executable, str(self.program), *shlex.split(command)], cwd=self.place,
            env=self.environment, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        lines = self.log.read_text(errors="replace").splitlines()
        return [tuple(line.split(" ", 1)) for line in lines]  # type: ignore[misc]


@pytest.fixture
def reach(tmp_path: Path, models: Path) -> Reach:  # noqa: F811
    return Reach(tmp_path, models)


COMMANDS = {
    "inspect model.tflite --json": ("model.tflite",),
    f"calibrate model.tflite {DATA} -o out.json": ("model.tflite", "data.npz"),
    f"quantize model.tflite {DATA} -o out.tflite": ("model.tflite", "data.npz"),
    f"verify int8.tflite {DATA} --path xnnpack": ("int8.tflite", "data.npz"),
    f"run int8.tflite {DATA} -o out.npz": ("int8.tflite", "data.npz"),
}  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_is_opened_that_was_not_given(reach: Reach, command: str) -> None:
    here = reach.place
    for name in NAMES:
        (here / f"{name}.py").write_text(TRAP)
    seen = reach(command)
    assert not (here / "trapped").exists(), "a file of the working folder was imported"
    reads = {path for event, path in seen if event == "read"}
    writes = {path for event, path in seen if event == "write"}
    assert str(here / COMMANDS[command][0]) in reads  # the hook works
    own = (str(here / "tmp"), str(cache_folder()))
    near = {p for p in reads if p.startswith(str(here)) and not p.startswith(own)} - {str(here)}
    assert near <= {str(here / name) for name in COMMANDS[command]}
    assert not [p for p in reads | writes if p.startswith(str(reach.home))]
    places = (*own, str(here / ".out."), "/dev/null", "/proc/self/", str(here / "out."))
    assert not [p for p in writes if not p.startswith(places)]
    assert {event for event, _ in seen} <= {"read", "write", "pickle.find_class"}
    assert not any((here / "tmp").iterdir())


def test_a_function_is_run_when_asked(reach: Reach) -> None:
    (reach.place / "mine.py").write_text(
        f"{TRAP}import numpy as np\ndef samples(): yield np.zeros((1, 32, 32, 1), np.float32)\n"
    )
    assert not (reach.place / "trapped").exists()
    reach("calibrate model.tflite --data mine:samples -o out.json")
    assert (reach.place / "trapped").exists()
