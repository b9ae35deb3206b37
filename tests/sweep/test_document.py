"""docs/sweep.md: its program runs, and its grid file is one."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from qcore.sweep.grid import read

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "sweep.md").read_text("utf-8")


def test_the_program_of_the_page(tmp_path, monkeypatch, capsys):
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"(?ms)^```python\n(.*?)^```", PAGE)
    exec(compile(code, "docs/sweep.md", "exec"), {"__name__": "page"})
    out = capsys.readouterr().out
    assert "dynamic+weight=mse" in out and out.count(" dB ") >= 1


def test_the_grid_file_of_the_page(tmp_path):
    (text,) = re.findall(r"(?ms)^```toml\n(.*?)^```", PAGE)
    (tmp_path / "grid.toml").write_text(text)
    found = read(tmp_path / "grid.toml")
    assert [len(list(g.combinations())) for g in found.grids] == [2**5, 3]
    assert found.measure == {"layers": 0, "latency": ["xnnpack"]}
