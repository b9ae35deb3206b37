"""Compiling: in a child, once, and without harm when the compiler crashes or hangs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from kernels import notice
from kernels.errors import KernelError
from kernels.simd import build, library, target


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and nothing loaded."""
    monkeypatch.setenv("QCORE_CACHE", str(tmp_path))
    monkeypatch.setattr(build, "_loaded", {})
    return tmp_path


def test_compiled_once(cache, monkeypatch):
    first = build.addresses(["copy_pad", "copy_runs"])
    assert all(first.values())
    files = sorted(p.name for p in cache.rglob("*.o"))
    assert files == ["copy_pad.o", "copy_runs.o"]
    monkeypatch.setattr(build, "_loaded", {})
    monkeypatch.setattr(build, "_compile", None)  # loading needs no compiler
    assert all(build.addresses(["copy_pad", "copy_runs"]).values())


def test_progress(cache):
    seen = []
    build.addresses(["copy_pad"], lambda done, of: seen.append((done, of)))
    assert seen[0] == (0, 1) and seen[-1] == (1, 1)


def test_progress_tells_of_each_kernel_and_ends(cache, monkeypatch):
    monkeypatch.setattr(build, "WATCH_SECONDS", 0.001)
    names = ["copy_pad", "copy_runs", "gemm_6x4_float", "gemm_7x3_float"]
    seen = []
    before = notice.listen(lambda *told: seen.append(told))
    try:
        build.addresses(names)
        assert [of for _, _, of in seen] == [4] * len(seen)
        counts = [done for _, done, _ in seen]
        assert counts[0] == 0 and counts[-1] == 4 and sorted(set(counts)) == counts
        seen.clear()
        build.addresses(names)  # nothing to tell
        assert seen == []
        with pytest.raises(build.CompilerFailed):
            build.addresses(["copy_nothing"])
        assert seen[-1] == ("kernels", 1, 1)  # whoever shows it can stop
    finally:
        notice.listen(before)


def test_a_cache_that_cannot_be_written(cache, monkeypatch):
    """Kernels are compiled for this process alone; what is cached already is still taken."""
    build.addresses(["copy_pad"])
    (folder,) = cache.iterdir()
    monkeypatch.setattr(build, "_loaded", {})
    real = build.tempfile.TemporaryFile

    def refuse(*args, **options):
        if options.get("dir") == folder:
            raise PermissionError(13, "Permission denied")
        return real(*args, **options)

    monkeypatch.setattr(build.tempfile, "TemporaryFile", refuse)
    assert all(build.addresses(["copy_pad", "copy_runs"]).values())
    assert [p.name for p in folder.iterdir()] == ["copy_pad.o"]


def test_a_cache_folder_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("QCORE_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(build, "_loaded", {})
    assert all(build.addresses(["copy_pad"]).values())


def test_a_compiler_that_fails_is_an_error(cache):
    with pytest.raises(build.CompilerFailed, match="copy_nothing"):
        build.addresses(["copy_nothing"])
    assert all(build.addresses(["copy_pad"]).values())  # and the next one works


def test_a_compiler_that_hangs_is_an_error(cache, monkeypatch):
    monkeypatch.setattr(build, "TIME_LIMIT", 0.01)
    with pytest.raises(build.CompilerFailed, match="more than"):
        build.addresses(["gemm_6x4_float"])


def test_a_model_runs_without_its_compiler(cache, monkeypatch):
    """The executor computes operator by operator where no program can be made."""
    import numpy as np

    import qcore
    from tests.execute.models import dense

    def crash(*_: object) -> None:
        raise build.CompilerFailed("compiling: the compiler crashed")

    monkeypatch.setattr(build, "_compile", crash)
    executor = qcore.Executor(dense(), "reference")
    x = np.ones((1, 7), np.int8)
    assert executor.program(0) is None
    want = qcore.run(dense(), x, "reference", mode="reference")
    assert (next(executor.run([x]))["y1"] == want["y1"]).all()


def test_targets():
    names = target.available()
    assert names[-1] == "portable"
    with target.use("portable"):
        assert target.host().name == "portable"
    with pytest.raises(KernelError, match="no vector code is called 'mmx'"):
        target.host_or_named("mmx")


def test_the_environment_names_a_target(monkeypatch):
    monkeypatch.setenv("QCORE_SIMD", "portable")
    assert target.host().name == "portable"


def test_a_target_that_the_processor_lacks(monkeypatch):
    monkeypatch.setattr(target, "_features", lambda: frozenset({"avx2"}))
    assert target.available() == ("avx2", "portable")
    with pytest.raises(KernelError, match="this processor has no avx512vnni"):
        target.host_or_named("avx512vnni")


def test_every_kernel_is_named_by_its_module():
    with pytest.raises(ModuleNotFoundError):
        library.write("nowhere_1", target.host())


def test_loading_takes_no_numba(tmp_path):
    code = (
        "import sys, numpy as np, qcore\n"
        "from tests.execute.models import dense\n"
        "qcore.run(dense(), np.ones((1, 7), np.int8), 'xnnpack')\n"
        "assert 'numba' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def numbers_from_elsewhere(source: str) -> set[str]:
    """Files of kernels/ outside kernels/simd from which a module takes names in capitals."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("kernels."):
            parts = node.module.split(".")[1:]
            if parts[0] != "simd" and any(name.name.isupper() for name in node.names):
                found.add("/".join(parts) + ".py")
    return found


def test_the_cache_knows_every_number_in_a_kernel():
    """What is written into machine code names its folder (build.CONSTANTS)."""
    folder = Path(build.__file__).parent
    kernels = [f for f in folder.glob("*.py") if "\ndef write(" in f.read_text()]
    assert len(kernels) > 10
    found = set().union(*(numbers_from_elsewhere(f.read_text()) for f in kernels))
    found.discard("stage.py")  # its numbers lie beside the weights, as data
    assert found <= set(build.CONSTANTS)
    assert all((folder.parent / name).is_file() for name in build.CONSTANTS)
    seen = numbers_from_elsewhere("from kernels.ops.tanh import START, plain")
    assert seen == {"ops/tanh.py"}  # the counterpart: it would be seen
