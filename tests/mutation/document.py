"""docs/mutation.md from what was measured (results.json) and what was thought (equivalent.toml)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from qcore import textfiles

HERE = Path(__file__).parent
RESULTS, REASONS = HERE / "results.json", HERE / "equivalent.toml"
DOCUMENT = HERE.parents[1] / "docs" / "mutation.md"
HEAD = """# Mutation

Made by `python -m tests.mutation --document` from `tests/mutation/`; do not edit.

A test suite is as good as the defects that it notices. cosmic-ray's operators make every small
change that they know to a file (another operator, another number, a condition turned round, a loop
that does not run), one at a time, and the tests that concern the file run on each. A change that no
test notices is a survivor: either a test was missing, and has been added since, or the change makes
no difference, and the reason stands below. Changes to type annotations and docstrings are left out;
cosmic-ray makes no changes to texts.

    pip install '.[test,mutation]'
    python -m tests.mutation kernels/rounding.py

copies the tree, mutates the copy, and writes results and this page; the exit code is 1 if a
survivor is not explained. `tests/mutation/__main__.py` has the table of files and tests.

Where fewer were tried than there are, they are a random sample.

| file | mutants | tried | killed | by time limit | surviving, explained |
| --- | ---: | ---: | ---: | ---: | ---: |
"""


def results() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    return found


def reasons() -> list[dict[str, Any]]:
    """{file, why, change = [[before, after], ...]} of survivors that make no difference."""
    found = textfiles.read(REASONS, ".toml") if REASONS.exists() else {}
    return list(found.get("survivor", []))


def reason(file: str, row: dict[str, Any]) -> str | None:
    for entry in reasons():
        if entry["file"] == file and [row["before"], row["after"]] in entry["change"]:
            return str(entry["why"])
    return None


def unexplained(found: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(f, row) for f in found for row in found[f]["survivors"] if reason(f, row) is None]


def text(found: dict[str, Any]) -> str:
    rows, sections = [], []
    for file, one in found.items():
        kept = len(one["survivors"])
        rows.append(
            f"| `{file}` | {one['mutants']} | {one['tried']} | {one['killed']} |"
            f" {one['timeouts']} | {kept} |\n"
        )
        if kept:
            sections.append(_section(file, one["survivors"]))
    return HEAD + "".join(rows) + "".join(sections)


def _section(file: str, survivors: list[dict[str, Any]]) -> str:
    """Survivors by reason, in the order of the first one of each."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in survivors:
        groups.setdefault(reason(file, row) or "**not explained**", []).append(row)
    parts = [f"\n## {file}\n"]
    for why, rows in groups.items():
        changes = "".join(f"{row['before']}\n    -> {row['after']}\n" for row in rows)
        parts.append(f"\n{why}\n\n```text\n{changes}```\n")
    return "".join(parts)
