"""Writes docs/results.md from the measurements in bench/results/*.json.

python docs/make_results.py           write the file
python docs/make_results.py --check   exit 1 if the file is not what the measurements say
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
COMMAND = "python docs/make_results.py"

if __name__ == "__main__":  # as a program, from a checkout that need not be installed
    sys.path.insert(0, str(ROOT))

from docs.document import Document  # noqa: E402

# File in bench/results, the command that made it, what it shows.
MEASURED = (
    (
        "twin.json",
        "python -m tests.twin --graphs 600 --corpus --json bench/results/twin.json",
        "Ours and TFLite's two quantizers from the same ranges (A: int8, B: 16x8 and its int8"
        " form), deviations off. Identical means type, float32 scale bits, zero point, axis and"
        " every integer. Refused: the official quantizer stops. Put apart: it rewrites the graph"
        " before it quantizes, or computes what C++ leaves undefined; the command lists each"
        " reason.",
    ),
    (
        "end_to_end.json",
        "python -m bench.end_to_end --json bench/results/end_to_end.json",
        "From the same samples: each side calibrates and quantizes by itself.",
    ),
    (
        "recipes.json",
        "python -m bench.recipes --json bench/results/recipes.json",
        "Every float model of the corpus by every recipe, run by the official interpreter: SQNR of"
        " each output against float, size against the source file, operators that compute in"
        " float.",
    ),
    (
        "accuracy.json",
        "python -m bench.accuracy --json bench/results/accuracy.json",
        "Per cent of the test images right, and the same answer as the float model, from the same"
        " calibration samples.",
    ),
    (
        "quantizers.json",
        "python -m bench.quantizers --recipes dynamic,weight_only,int8,int16x8"
        " --json bench/results/quantizers.json",
        "Whole processes against LiteRT's quantizer, in turn.",
    ),
)

HEAD = f"""# Measured

Made by `{COMMAND}` from `bench/results/`; do not edit. Each table stands under the command that
measures it again. The models are not part of the project; `QCORE_CORPUS` names their folder.
"""


def cell(value: Any) -> str:
    if value is None:
        return ""
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


def table(rows: list[dict[str, Any]]) -> str:
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(map(cell, row.values()) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def text() -> str:
    """The whole document."""
    parts = [HEAD]
    for name, command, about in MEASURED:
        data = json.loads((ROOT / "bench" / "results" / name).read_text("utf-8"))
        packages = ", ".join(f"{k} {v}" for k, v in data["packages"].items() if v)
        parts.append(
            f"## {data['title']}\n\n    {command}\n\n{about}\n\n{table(data['rows'])}\n\n"
            f"{data['cores']} cores, {data['machine']}, Python {data['python']}; {packages}.\n"
        )
    return "\n".join(parts)


DOCUMENT = Document("results.md", "the measurements", COMMAND, text)

if __name__ == "__main__":
    sys.exit(DOCUMENT.main(sys.argv[1:]))
