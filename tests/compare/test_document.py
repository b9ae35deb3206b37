"""docs/compare.md: its program runs."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from qcore.compare import Comparison
from qcore.compare.words import REASONS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "compare.md").read_text("utf-8")


def test_the_program_of_the_page(tmp_path, monkeypatch, capsys):
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"(?ms)^```python\n(.*?)^```", PAGE)
    exec(compile(code, "docs/compare.md", "exec"), {"__name__": "page"})
    found = Comparison.load("comparison.json")
    assert [c.name for c in found.candidates] == ["int8", "int8+octav", "int16x8", "dynamic"]
    assert found.labelled == 100 and found.samples == 20
    out = capsys.readouterr().out
    assert found.headline in out and "'scale': " in out


def test_the_page_names_every_reason():
    """One word for each, as the page has it."""
    said = {
        "other_operator": "computed by another operator", "weights": "far from the float ones",
        "empty_channels": "channels whose weights became 0", "bias": "bias at the end of int32",
        "bias_scale": "in other steps than input times weights", "dead_channels": "dead",
        "saturation": "values that saturate", "outlier": "one outlier",
        "fixed_or_tied": "several times as wide", "few_codes": "few codes used",
        "inherited": "inherited",
    }  # fmt: skip
    assert set(said) == {r.__name__ for r in REASONS}
    page = " ".join(PAGE.split())
    assert [text for text in said.values() if text not in page] == []
