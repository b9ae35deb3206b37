"""Memory does not grow with the model: constants are read, encoded and written in blocks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import qcore
import tflite_schema as ts
from bench.make_large import large
from qcore.peers import interpreter

ROOT = Path(__file__).resolve().parents[2]
MEGABYTE = 1 << 20

# ru_maxrss would start from the peak of the test process, since it survives exec.
QUANTIZE = """
import re, sys
import qcore
qcore.quantize(qcore.load(sys.argv[1]), sys.argv[3]).save(sys.argv[2])
print(1024 * int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]))
"""


def peak(source: Path, target: Path, recipe: str) -> int:
    """Largest resident size of a process that quantizes one file, bytes."""
    run = subprocess.run(
        [sys.executable, "-c", QUANTIZE, str(source), str(target), recipe],
        cwd=ROOT, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-2000:]
    return int(run.stdout)


LINUX = pytest.mark.skipif(
    not Path("/proc/self/status").is_file(), reason="no /proc to read the peak memory from"
)


def check(folder: Path, gigabytes: float, width: int, limit: int, recipes: tuple[str, ...]) -> None:
    source = folder / "large.tflite"
    ts.write(large(int(gigabytes * 1e9), width), source)
    assert source.stat().st_size >= gigabytes * 1e9
    x = np.random.default_rng(0).random((1, width), np.float32)
    (real,) = interpreter.run(source, [x], path="optimized")
    for recipe in recipes:
        target = folder / f"{recipe}.tflite"
        used = peak(source, target, recipe)
        assert used < limit, f"{recipe}: peak {used / MEGABYTE:.0f} MB"
        ratio = target.stat().st_size / source.stat().st_size
        assert ratio < {"float16": 0.51}.get(recipe, 0.26)
        (made,) = interpreter.run(target, [x], path="optimized")
        a, b = (next(iter(y.values())).astype(np.float64) for y in (real, made))
        assert 10 * np.log10(np.sum(a**2) / np.sum((a - b) ** 2)) > 20, recipe
        target.unlink()
    source.unlink()


@LINUX
def test_memory_of_a_model_of_a_third_of_a_gigabyte(tmp_path: Path) -> None:
    """Layers of 64 MB: a process that held one of them and its integers would pass the limit."""
    check(tmp_path, 0.33, 4096, 130 * MEGABYTE, ("dynamic", "float16"))


@LINUX
@pytest.mark.slow
def test_memory_of_a_model_of_three_gigabytes(tmp_path: Path) -> None:
    """Constants after the flatbuffer, as such files have them."""
    check(tmp_path, 3.0, 8192, 700 * MEGABYTE, ("dynamic",))


@pytest.mark.parametrize("recipe", ["dynamic", "float16"])
def test_threads_do_not_show(recipe, monkeypatch):
    """Slices of a constant are shared out; the file is the same whoever did which."""
    import threading

    from kernels import threads
    from qcore import patch
    from qcore.plan import common

    monkeypatch.setattr(common, "STATS_BYTES", 1 << 18)
    monkeypatch.setattr(patch, "BLOCK", 1 << 15)
    model = ts.read(ts.to_bytes(large(1, 512)))
    seen: set[int] = set()
    real = common.reductions.min_max

    def noted(*given):
        seen.add(threading.get_ident())
        return real(*given)

    monkeypatch.setattr(common.reductions, "min_max", noted)
    made = []
    for count in (1, 3):
        for module in (patch, common):
            monkeypatch.setattr(module, "cores", lambda count=count: count)
        seen.clear()
        made.append(qcore.quantize(model, recipe).to_bytes())
        assert (seen == {threading.get_ident()}) == (count == 1)
    assert made[0] == made[1]
    assert list(threads.in_order(lambda x: -x, range(100), 3)) == [-x for x in range(100)]
