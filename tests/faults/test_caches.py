"""Caches of compiled code: damaged, full, gone, and written by several processes at once."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kernels.jit import Jitted
from kernels.simd import build
from tests.faults.fault import ROOT

KERNELS = ["copy_pad", "copy_runs"]
DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "cut": lambda data: data[: len(data) // 2],
    "one bit": lambda data: data[:200] + bytes([data[200] ^ 1]) + data[201:],
    "noise": lambda data: np.random.default_rng(0).bytes(len(data)),
}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv("QCORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(build, "_loaded", {})
    return tmp_path / "cache"


def damage(cache: Path, pattern: str, how: str) -> None:
    files = list(cache.rglob(pattern))
    assert files
    for file in files:
        file.write_bytes(DAMAGE[how](file.read_bytes()))


def total(values):
    out = 0.0
    for value in values:
        out += value
    return out


def from_disk() -> bool:
    """Call `total` as a new process would; whether its code came from the cache."""
    made = Jitted(total)
    assert made(np.arange(5.0)) == 10
    return bool(sum(made.dispatcher.stats.cache_hits.values()))


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_object_file_is_compiled_again(cache: Path, how: str, monkeypatch) -> None:
    """LLVM would end the process for some of these."""
    build.addresses(KERNELS)
    damage(cache, "copy_pad.o", how)
    compiled: list[list[str]] = []
    real = build._compile
    monkeypatch.setattr(build, "_compile", lambda n, *more: compiled.append(n) or real(n, *more))
    for _ in range(2):
        monkeypatch.setattr(build, "_loaded", {})
        assert all(build.addresses(KERNELS).values())
    assert compiled == [["copy_pad"]]


@pytest.mark.parametrize("pattern", ["*.nbc", "*.nbi"])
def test_damaged_machine_code_is_compiled_again(cache: Path, pattern: str) -> None:
    assert not from_disk() and from_disk()
    for how in DAMAGE:
        damage(cache, pattern, how)
        assert not from_disk(), how
        assert from_disk(), how


def test_a_folder_that_vanishes_while_kernels_compile(cache: Path) -> None:
    told: list[int] = []

    def progress(done: int, of: int) -> None:
        told.append(done)
        shutil.rmtree(cache, ignore_errors=True)

    assert all(build.addresses(["copy_pad"], progress).values())
    assert told


def test_a_folder_that_vanishes_before_the_code_is_kept(cache: Path) -> None:
    made = Jitted(total)
    assert made.dispatcher is not None
    shutil.rmtree(cache)
    assert made(np.arange(5.0)) == 10
    assert from_disk()


def test_a_full_disk_costs_only_the_cache(cache: Path, monkeypatch) -> None:
    from numba.core.caching import IndexDataCacheFile

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(IndexDataCacheFile, "_save_index", full)
    assert not from_disk() and not from_disk()


def test_no_room_anywhere_is_an_error_of_the_compiler(cache: Path, monkeypatch) -> None:
    """For which an operator is computed in another way (tests/simd/test_build.py)."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(build.tempfile, "TemporaryFile", full)
    monkeypatch.setattr(build.tempfile, "TemporaryDirectory", full)
    with pytest.raises(build.CompilerFailed, match=r"compiling copy_pad: .*No space left"):
        build.addresses(["copy_pad"])


def test_an_interrupt_while_children_start_leaves_none(cache: Path, monkeypatch) -> None:
    real, children = subprocess.Popen, []

    def start(*arguments, **options):
        if children:
            raise KeyboardInterrupt
        children.append(real(*arguments, **options))
        return children[0]

    monkeypatch.setattr(build, "cores", lambda: 2)
    monkeypatch.setattr(build.subprocess, "Popen", start)
    fds = len(os.listdir("/proc/self/fd"))
    with pytest.raises(KeyboardInterrupt):
        build.addresses(KERNELS)
    assert children[0].wait(10) != 0
    assert not [p.name for p in cache.rglob(".*")]
    assert len(os.listdir("/proc/self/fd")) == fds


def test_an_interrupt_while_a_runtime_starts_leaves_nothing_open(monkeypatch) -> None:
    from qcore.peers import child

    def start(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(child.subprocess, "Popen", start)
    fds = len(os.listdir("/proc/self/fd"))
    with pytest.raises(KeyboardInterrupt):
        child.Child("tests.calibrate.targets:add")
    assert len(os.listdir("/proc/self/fd")) == fds


BOTH = """
import numpy as np
from kernels.simd import build
from tests.faults.test_caches import KERNELS, total
from kernels.jit import Jitted
made = Jitted(total)
print(made(np.arange(5.0)), made(np.arange(5)), all(build.addresses(KERNELS).values()))
"""


def test_two_processes_fill_the_same_caches_at_once(cache: Path, monkeypatch) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    processes = [
        subprocess.Popen([sys.executable, "-c", BOTH], env=environment, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=60)[0] for process in processes]
    assert said == [b"10.0 10.0 True\n"] * 2
    assert not [p for p in cache.rglob("*") if p.name.startswith(".") or ".tmp." in p.name]
    monkeypatch.setattr(build, "_compile", None)  # what they left is whole
    assert all(build.addresses(KERNELS).values()) and from_disk()
