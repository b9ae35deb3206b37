"""docs/compare.md: its program runs."""

from __future__ import annotations

from qcore.compare import Comparison
from qcore.compare.words import REASONS
from tests import pages


def test_the_program_of_the_page(tmp_path, monkeypatch, capsys):
    pages.run_program("compare.md", tmp_path, monkeypatch)
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
    page = " ".join(pages.text("compare.md").split())
    assert [text for text in said.values() if text not in page] == []
