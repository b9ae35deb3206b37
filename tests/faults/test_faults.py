"""Every fault of docs/faults.md: the words, the exit code, and that nothing was lost or left."""

from __future__ import annotations

import os
import resource
import shlex
import shutil
import subprocess
import sys
import time
import uuid
from pathlib import Path

import numpy as np
import pytest

import qcore
from qcore.cli import invoke
from qcore.errors import QcoreError
from tests.faults import fault as faults
from tests.faults.every import FAULTS
from tests.faults.fault import MARK, OLD, ROOT, Fault, alive, contents
from tests.faults.system import CALLS, CODES

LINUX = sys.platform.startswith("linux")
pytestmark = pytest.mark.skipif(not LINUX, reason="looks for processes in /proc")


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory, example_model: Path) -> Path:
    """The files that every fault finds beside what it brings itself."""
    place = tmp_path_factory.mktemp("models")
    shutil.copy(example_model, place / "model.tflite")
    pictures = np.random.default_rng(0).random((3, 32, 32, 1), np.float32)
    np.savez(place / "data.npz", x=pictures)
    ranges = qcore.calibrate(example_model, pictures, progress=False)
    ranges.save(place / "ranges.json")
    model = qcore.load(example_model)
    qcore.quantize(model, "int8", ranges).save(place / "int8.tflite")
    qcore.quantize(model, "float16").save(place / "float16.tflite")
    return place


def here(fault: Fault, place: Path, patch, capsys) -> tuple[int, str, str]:
    """Run in this process, with the refusals of a file system that the fault asks for."""
    refused = fault.environment.get("refuse")
    if refused == ".":
        patch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    elif refused is not None:
        real = os.open

        def refuse(path, flags, *more, **options):
            if flags & os.O_EXCL and str(path).endswith(".tmp"):
                raise OSError(CODES[refused], os.strerror(CODES[refused]), path)
            return real(path, flags, *more, **options)

        patch.setattr(os, "open", refuse)
    if fault.command in CALLS:
        samples = np.load(place / "data.npz")["x"]
        try:
            qcore.calibrate(place / "model.tflite", samples, **CALLS[fault.command])
        except QcoreError as error:
            return 2, "", f"qcore: {error}\n"
        return 0, "", ""
    path = list(sys.path)
    try:
        code = invoke(shlex.split(fault.command)[1:])
    finally:
        sys.path[:] = path
        sys.modules.pop("mine", None)
    return code, *capsys.readouterr()


def apart(fault: Fault, place: Path, mark: str) -> tuple[int, str, str]:
    """Run in a process of its own, which gets the fault's limit and signal."""
    own = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    own |= {"TMPDIR": str(place / "tmp"), **fault.environment}
    program = shlex.join([sys.executable, "-m", "qcore"])
    line = fault.command.encode(errors="surrogateescape").replace(b"qcore", os.fsencode(program), 1)

    def limited() -> None:
        if fault.limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (fault.limit, fault.limit))

    shell = b"|" in line or b">" in line
    words = ["bash", "-c", b"set -o pipefail; " + line] if shell else shlex.split(
        os.fsdecode(line)
    )  # fmt: skip
    process = subprocess.Popen(
        words, cwd=place, env=own, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=limited, start_new_session=True,
    )  # fmt: skip
    if fault.until is not None:
        until = time.monotonic() + 30
        if fault.until(place, mark) is True and process.poll() is None:
            time.sleep(0.15)  # the interpreter is up, and imports
        while not fault.until(place, mark) and time.monotonic() < until:
            assert process.poll() is None, process.communicate()
            time.sleep(0.005)
        process.send_signal(fault.signal)
    try:
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    return process.returncode, out.decode(errors="replace"), err.decode(errors="replace")


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.key)
def test_fault(fault: Fault, models: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    place = faults.folder(tmp_path / "here", models)
    if fault.make is not None:
        fault.make(place)
    before = contents(place)
    mark = uuid.uuid4().hex
    monkeypatch.setenv(MARK, mark)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(place)
    if fault.own:
        code, out, err = apart(fault, place, mark)
    else:
        code, out, err = here(fault, place, monkeypatch, capsys)
    monkeypatch.undo()

    assert (code, fault.matches(err)) == (fault.code, True), (code, err, out[-500:])
    assert fault.shows in out
    until = time.monotonic() + 5
    while (left := alive(mark)) and time.monotonic() < until:
        time.sleep(0.02)
    assert not left
    after = contents(place)
    after.pop(os.path.join(b"tmp", b"started"), None)
    for name in map(os.fsencode, fault.writes):
        made = after.pop(name)
        assert made != before.pop(name, None) and made != OLD
    assert sorted(after) == sorted(before)
    assert after == before


def test_faults_have_names_of_their_own() -> None:
    keys = [(fault.what, fault.command) for fault in FAULTS]
    assert len(FAULTS) > 100 and len(set(keys)) == len(keys)


def test_the_check_of_words_fails() -> None:
    fault = Fault("x", "qcore x", "a ... went wrong; mend it")
    assert fault.matches("qcore: a b c went wrong; mend it\n")
    for wrong in ("qcore: a went wrong", "qcore: a\nb went wrong; mend it\n", "", "Traceback\n"):
        assert not fault.matches(wrong)
    assert Fault("x", "qcore x", "").matches("") and not Fault("x", "qcore x", "").matches("y\n")


def test_the_search_for_processes_and_files_finds_them(tmp_path: Path) -> None:
    mark = uuid.uuid4().hex
    code = "import time; time.sleep(30)"
    with subprocess.Popen([sys.executable, "-c", code], env={**os.environ, MARK: mark}) as child:
        assert any(code in line for line in alive(mark))
        child.kill()
    assert not alive(mark)
    before = contents(tmp_path)
    (tmp_path / ".out.tmp").write_text("half")
    assert contents(tmp_path) != before
