"""docs/sweep.md: its program runs, and its grid file is one."""

from __future__ import annotations

from qcore.sweep.grid import read
from tests import pages


def test_the_program_of_the_page(tmp_path, monkeypatch, capsys):
    pages.run_program("sweep.md", tmp_path, monkeypatch)
    out = capsys.readouterr().out
    assert "dynamic+weight=mse" in out and out.count(" dB ") >= 1


def test_the_grid_file_of_the_page(tmp_path):
    (text,) = pages.blocks("sweep.md", "toml")
    (tmp_path / "grid.toml").write_text(text)
    found = read(tmp_path / "grid.toml")
    assert [len(list(g.combinations())) for g in found.grids] == [2**5, 3]
    assert found.measure == {"layers": 0, "latency": ["xnnpack"]}
