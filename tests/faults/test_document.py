"""docs/faults.md is what the tried faults say."""

from __future__ import annotations

from pathlib import Path

from docs import make_faults
from tests.faults.every import FAULTS


def test_the_document_is_current() -> None:
    assert make_faults.DOCUMENT.problem() is None


def test_a_stale_document_is_noticed(tmp_path: Path) -> None:
    other = tmp_path / "faults.md"
    other.write_text(make_faults.document().replace("| 130 |", "| 0 |"))
    problem = make_faults.DOCUMENT.problem(other)
    assert problem is not None and make_faults.COMMAND in problem


def test_every_fault_is_one_row() -> None:
    rows = [line for line in make_faults.document().splitlines() if line.startswith("| ")]
    assert sum("| --- |" not in line and "| fault |" not in line for line in rows) == len(FAULTS)
