"""What the programs in this folder share: a document written or checked, tables."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Document:
    """name: file in this folder.  source: what it is made from.  command, text: what makes it."""

    name: str
    source: str
    command: str
    text: Callable[[], str]

    def problem(self, path: Path | None = None) -> str | None:
        """What is wrong with the file, with the command that mends it; None if it is current."""
        path = FOLDER / self.name if path is None else path
        if path.is_file() and path.read_text("utf-8") == self.text():
            return None
        return f"{path.name} is not what {self.source} say; run: {self.command}"

    def main(self, arguments: list[str]) -> int:
        """Write the file; with --check only say what is wrong. Returns the exit code."""
        if arguments not in ([], ["--check"]):
            print(f"usage: {self.command} [--check]", file=sys.stderr)
            return 2
        if not arguments:
            (FOLDER / self.name).write_text(self.text(), "utf-8")
            return 0
        found = self.problem()
        if found is not None:
            print(found, file=sys.stderr)
        return int(found is not None)


def cell(value: Any) -> str:
    """A value in a table: four figures of a float, nothing for None."""
    if value is None:
        return ""
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


def table(rows: list[dict[str, Any]]) -> str:
    """Rows with the same keys as a Markdown table."""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(map(cell, row.values()) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def machine(data: dict[str, Any]) -> str:
    """What the rows of a file in bench/results were measured on, as a sentence."""
    packages = ", ".join(f"{k} {v}" for k, v in data["packages"].items() if v)
    processor = data.get("processor", data["machine"])
    return f"{data['cores']} cores, {processor}, Python {data['python']}; {packages}."
