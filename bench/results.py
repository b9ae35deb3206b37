"""Results for people and machines: a table, the same rows as JSON with the machine; corpus runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from qcore.testing import measured
from tests import corpus

PACKAGES = (
    "tflite-qcore", "numpy", "numba", "llvmlite", "ai-edge-litert", "tensorflow",
    "litert-quantizer", "flatbuffers",
)  # fmt: skip

PIPE_WIDTH = 160  # columns where there is no terminal to ask


def show(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Prints rows (dicts with the same keys) as a table; numbers to the right."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for key in rows[0] if rows else ():
        number = any(isinstance(row[key], (int, float)) for row in rows)
        table.add_column(key, justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(_text, row.values()))
    terminal = sys.stdout.isatty()
    Console(width=None if terminal else PIPE_WIDTH).print(table)


def _text(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def save(path: str | Path | None, title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes title, rows and machine as JSON where a path was given."""
    if path is not None:
        data = {"title": title, **measured.machine(PACKAGES), "rows": list(rows)}
        measured.save(path, data)


def over_corpus(
    text: str,
    title: str,
    rows_of: Callable[[corpus.Entry, Sequence[str], int], list[dict[str, Any]]],
    recipes: Sequence[str],
    samples: int,
    argv: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """A program that makes rows for each float model of the corpus, shows and saves them.

    text: its description.  rows_of: (model, recipes, samples) -> rows.  recipes, samples: defaults
    of its options.  Exits with 2 where there is no corpus.
    """
    parser = argparse.ArgumentParser(description=text)
    parser.add_argument("--models", nargs="*", help="names of the manifest; default all")
    parser.add_argument("--recipes", nargs="*", default=list(recipes))
    parser.add_argument("--samples", type=int, default=samples)
    parser.add_argument("--json", help="write the rows here as well")
    args = parser.parse_args(argv)
    if not corpus.available():
        parser.exit(2, f"{corpus.MISSING}\n")
    rows: list[dict[str, Any]] = []
    for entry in corpus.entries("float"):
        if not args.models or entry.name in args.models:
            rows += rows_of(entry, args.recipes, args.samples)
            print(f"{entry.name} done", file=sys.stderr)
    show(title, rows)
    save(args.json, title, rows)
    return rows
