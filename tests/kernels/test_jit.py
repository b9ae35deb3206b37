"""Compiled loops: what the name of a cache folder follows, who may use it, what an import costs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HELPER = """
from kernels.jit import jit

BASE = {base}

@jit
def helper(x):
    return x + {step}

def plain(x):
    return x
"""
CALLER = """
from helper import BASE, helper
from kernels.jit import jit

@jit
def twice(x):
    return helper(helper(x)) + BASE

@jit
def alone(x):
    return x - {term}
"""


def write(folder: Path, base: int = 100, step: int = 1, term: int = 2) -> None:
    (folder / "helper.py").write_text(HELPER.format(base=base, step=step))
    (folder / "caller.py").write_text(CALLER.format(term=term))


def python(code: str, folder: Path, cache: Path | str) -> str:
    """What a fresh process prints."""
    environment = {
        **os.environ,
        "QCORE_CACHE": str(cache),
        "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert told.returncode == 0, told.stderr[-2000:]
    return told.stdout.strip()


DIGESTS = "import caller as c; print(c.twice.digest, c.alone.digest)"
RUN = """
import caller
print(caller.twice(1), sum(caller.twice.dispatcher.stats.cache_hits.values()))
"""


def test_a_digest_follows_what_is_called(tmp_path: Path) -> None:
    def digests(**changes: int) -> tuple[str, str]:
        write(tmp_path, **changes)
        twice, alone = python(DIGESTS, tmp_path, tmp_path / "cache").split()
        return twice, alone

    first = digests()
    assert digests() == first
    step, base, term = digests(step=3), digests(base=7), digests(term=5)
    assert step[0] != first[0] and step[1] == first[1]  # a callee
    assert base[0] not in (first[0], step[0]) and base[1] == first[1]  # a global number
    assert term[0] == first[0] and term[1] != first[1]  # its own constant


def test_flags_are_part_of_the_digest() -> None:
    from kernels.jit import jit

    def same(x):
        return x

    assert jit(same).digest == jit(same).digest != jit(fastmath=True)(same).digest


def test_a_second_process_finds_the_code(tmp_path: Path) -> None:
    write(tmp_path)
    cache = tmp_path / "cache"
    assert python(RUN, tmp_path, cache) == "103 0"
    assert python(RUN, tmp_path, cache) == "103 1"
    write(tmp_path, step=10)  # a changed helper is never taken from the old cache
    assert python(RUN, tmp_path, cache) == "121 0"


TOLD = """
import numba
from kernels import notice
notice.listen(lambda *told: print(*told, end="; "))
import caller
caller.twice(1)
numba.njit(lambda x: x)(1)  # somebody else's
"""


def test_compiling_is_told(tmp_path: Path) -> None:
    write(tmp_path)
    cache = tmp_path / "cache"
    told = python(TOLD, tmp_path, cache)
    assert told == "twice 0 1; twice 1 1;"  # with all that it calls
    assert python(TOLD, tmp_path, cache) == ""  # found on disk


@pytest.mark.parametrize("where", ["a file", "read-only"])
def test_a_cache_that_cannot_be_written(tmp_path: Path, where: str) -> None:
    write(tmp_path)
    cache = tmp_path / "cache"
    if where == "a file":
        cache.write_text("in the way")
    else:
        cache.mkdir()
        cache.chmod(0o555)
        if os.access(cache, os.W_OK):
            pytest.skip("this user may write everywhere")
    assert python(RUN, tmp_path, cache) == "103 0"


def test_the_cache_folder_is_asked_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    from kernels.jit import cache_folder

    monkeypatch.setenv("QCORE_CACHE", "/somewhere")
    assert cache_folder() == Path("/somewhere")
    monkeypatch.delenv("QCORE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert cache_folder() == Path("/cache/tflite-qcore")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "tflite-qcore"


def test_importing_operators_does_not_load_numba(tmp_path: Path) -> None:
    code = """
import sys
from kernels import ops
found = [ops.module(name) for name in ops.names()]
assert len(found) > 100 and None not in found
loaded = {name.partition(".")[0] for name in sys.modules}
print(sorted(loaded & {"numba", "llvmlite", "tflite_schema", "qcore", "tensorflow"}))
"""
    assert python(code, tmp_path, tmp_path) == "[]"
