"""Writes docs/models.md from the measurement in bench/results/models.json.

python docs/make_models.py           write the file
python docs/make_models.py --check   exit 1 if the file is not what the measurement says
"""

from __future__ import annotations

import json
import sys
from itertools import groupby
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
COMMAND = "python docs/make_models.py"

if __name__ == "__main__":  # as a program, from a checkout that need not be installed
    sys.path.insert(0, str(ROOT))

from docs.document import Document, machine, table  # noqa: E402

HEAD = f"""# Models by recipe

Made by `{COMMAND}` from `bench/results/models.json`; do not edit. Measured by

    python -m bench.models --json bench/results/models.json

Every pre-trained float model of the corpus by every recipe that ships: all recipes of a model from
one calibration on at most 100 inputs, judged on the test part of its data where they have one, else
on the same inputs. The models are not part of the project; `QCORE_CORPUS` names their folder.

- **size**: of the file, and in per cent of the float file.
- **top-1**: per cent of the labelled test inputs that are right, with its 95 % interval (Wilson).
- **agrees**: per cent of inputs whose highest score is the float model's, for classifiers.
- **SQNR**: of each output against the float model, dB.
- **ms**: one input, one thread, the official interpreter's fastest path; median.
- **in float**: operators that compute floats from floats alone, of all in the file; `qcore
  quantize` says why.
"""


def line(row: dict[str, Any]) -> dict[str, Any]:
    """A row as it is shown."""
    return {
        "recipe": row["recipe"],
        "size": "" if row["bytes"] is None else _size(row["bytes"], row["size"]),
        "top-1": _share(row),
        "agrees": "" if row["agrees %"] is None else f"{row['agrees %']:.2f} of {row['inputs']:,}",
        "SQNR": row["SQNR dB"] or "",
        "ms": "" if row["ms"] is None else f"{row['ms']:.3g} ({row['path']})",
        "in float": "" if row["in float"] is None else f"{row['in float']} of {row['operators']}",
        "remark": row["remark"],
    }


def _size(count: int, share: float) -> str:
    return f"{count / 1000:,.0f} kB ({100 * share:.0f} %)"


def _share(row: dict[str, Any]) -> str:
    if row["top-1 %"] is None:
        return ""
    return f"{row['top-1 %']:.2f} ({row['95 % from']:.2f} to {row['to']:.2f})"


def without_empty(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows without the columns in which none has anything."""
    kept = [key for key in rows[0] if any(row[key] != "" for row in rows)]
    return [{key: row[key] for key in kept} for row in rows]


def text() -> str:
    """The whole document."""
    data = json.loads((ROOT / "bench" / "results" / "models.json").read_text("utf-8"))
    parts = [HEAD]
    for model, rows in groupby(data["rows"], key=lambda row: row["model"]):
        parts.append(f"## {model}\n\n{table(without_empty([line(row) for row in rows]))}\n")
    return "\n".join([*parts, machine(data)]) + "\n"


DOCUMENT = Document("models.md", "the measurement", COMMAND, text)

if __name__ == "__main__":
    sys.exit(DOCUMENT.main(sys.argv[1:]))
