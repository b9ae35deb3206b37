"""Every public name has its place in docs/python.md, and what stands there runs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import qcore

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "python.md").read_text("utf-8")


def problems(page: str) -> list[str]:
    """Public names that the page's table lacks, and names in it that are none."""
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `qcore.")]
    named = [name for row in rows for name in re.findall(r"`qcore\.(\w+)`", row)]
    wrong = [f"{name} is missing" for name in qcore.__all__ if name not in named]
    wrong += [f"{name} is not public" for name in named if name not in qcore.__all__]
    return wrong + [
        f"{name} stands there twice" for name in {n for n in named if named.count(n) > 1}
    ]


def test_every_name_has_a_place():
    assert problems(PAGE) == []
    assert problems(PAGE.replace("`qcore.diff`", "`qcore.other`")) == [
        "diff is missing", "other is not public",
    ]  # fmt: skip
    assert problems(PAGE.replace("`qcore.diff`", "`qcore.load`"))[-1] == "load stands there twice"


def test_the_example_runs(tmp_path):
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    (code,) = re.findall(r"(?ms)^```python\n(.*?)^```", PAGE)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(" dB") == 2
