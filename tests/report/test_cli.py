"""`qcore compare --report --overlay`, of a comparison that was saved."""

from __future__ import annotations

import json

import pytest

from qcore.cli import invoke
from qcore.report import overlay
from tests.report import made


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "found.json"
    made.comparison(2).save(path)
    return path


def test_both_are_written_and_named(saved, tmp_path, capsys):
    page, nodes = tmp_path / "out.html", tmp_path / "nodes.json"
    assert invoke(["compare", str(saved), "--report", str(page), "--overlay", str(nodes)]) == 0
    printed = capsys.readouterr().out
    whole = made.comparison(2)
    for name, values in overlay(whole).items():
        file = tmp_path / f"nodes-{name}.json"
        assert str(file) in printed and json.loads(file.read_text("utf-8")) == values
    assert str(page) in printed and whole.headline in page.read_text("utf-8")


def test_no_place_for_them_is_one_sentence(saved, tmp_path, capsys):
    for option in ("--report", "--overlay"):
        assert invoke(["compare", str(saved), option, str(tmp_path / "no" / "x")]) == 2
        assert "there is no folder" in capsys.readouterr().err
