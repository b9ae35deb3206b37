"""Results for people and machines: a rich table, and the same rows as JSON with the machine."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "tflite-qcore", "numpy", "ai-edge-litert", "tensorflow", "litert-quantizer", "flatbuffers",
)  # fmt: skip


def machine() -> dict[str, Any]:
    """What the numbers were measured on: processor, cores, Python and package versions."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "machine": platform.machine(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "packages": versions,
    }


def show(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Prints rows (dicts with the same keys) as a table; numbers to the right."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for key in rows[0] if rows else ():
        number = any(isinstance(row[key], (int, float)) for row in rows)
        table.add_column(key, justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(
            *(
                "" if v is None else f"{v:.4g}" if isinstance(v, float) else str(v)
                for v in row.values()
            )
        )
    Console().print(table)


def save(path: str | Path | None, title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes title, rows and machine as JSON where a path was given."""
    if path is not None:
        from qcore.files import write_text

        write_text(
            path, json.dumps({"title": title, **machine(), "rows": list(rows)}, indent=1) + "\n"
        )
