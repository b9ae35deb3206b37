"""docs/math.md is the source: its truth table is run, and every equation cited exists there."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from kernels.rounding import ROUNDINGS
from tests.kernels.same import assert_identical

ROOT = Path(__file__).resolve().parents[2]
MATH = (ROOT / "docs" / "math.md").read_text()


def headings(text: str) -> list[int]:
    return [int(n) for n in re.findall(r"^## E(\d+)\. ", text, re.M)]


def cited(text: str) -> set[int]:
    """Equation numbers in a source: E7, E2.1, E22-E28; only where a whole word."""
    found = {int(n) for n in re.findall(r"\bE(\d{1,2})(?:\.\d)?\b", text)}
    for first, last in re.findall(r"\bE(\d+)-E(\d+)\b", text):
        found |= set(range(int(first), int(last) + 1))
    return found


def truth_table(text: str) -> list[dict[str, float]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    start = next(i for i, line in enumerate(lines) if line.startswith("| x | half_away"))
    names = [cell.strip() for cell in lines[start].strip("|").split("|")]
    rows = []
    for line in lines[start + 2 :]:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) != len(names):
            break
        rows.append(dict(zip(names, map(float, cells), strict=True)))
    return rows


def check_table(rows: list[dict[str, float]]) -> None:
    x = np.array([row["x"] for row in rows])
    for name, rounding in ROUNDINGS.items():
        assert_identical(rounding(x), np.array([row[name] for row in rows]), name)


def test_equations_are_numbered_without_gaps():
    assert headings(MATH) == list(range(1, len(headings(MATH)) + 1))
    assert len(headings(MATH)) >= 29


def test_every_citation_exists():
    known = set(headings(MATH))
    sources = {*(ROOT / "kernels").rglob("*.py"), *(ROOT / "tests" / "kernels").glob("test_*.py")}
    used: set[int] = set()
    for source in sorted(sources - {Path(__file__).resolve()}):
        numbers = cited(source.read_text())
        assert numbers <= known, f"{source.name} cites E{sorted(numbers - known)}"
        used |= numbers
    assert len(used) > 20


def test_truth_table():
    rows = truth_table(MATH)
    assert len(rows) >= 20
    check_table(rows)


@pytest.mark.parametrize("name", ROUNDINGS)
def test_the_table_check_can_fail(name):
    rows = truth_table(MATH)
    rows[0] = {**rows[0], name: rows[0][name] + 1}
    with pytest.raises(AssertionError):
        check_table(rows)


def test_the_citation_check_can_fail():
    assert cited("see E97 and E3.1, E4-E6") == {97, 3, 4, 5, 6}
    assert headings("## E1. a\n## E3. b\n") == [1, 3]
