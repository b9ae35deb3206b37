"""The programs of the pages in docs/, run as a reader would."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def text(name: str) -> str:
    """A page of docs/."""
    return (ROOT / "docs" / name).read_text("utf-8")


def blocks(name: str, language: str) -> list[str]:
    """The code blocks of a page in one language."""
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```", text(name))


def run_program(name: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs the one program of a page in a folder that has examples/ in it."""
    shutil.copytree(ROOT / "examples", place / "examples")
    monkeypatch.chdir(place)
    (code,) = blocks(name, "python")
    exec(compile(code, f"docs/{name}", "exec"), {"__name__": "page"})
