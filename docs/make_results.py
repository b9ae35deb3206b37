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
        "verify.json",
        "python -m bench.verify --json bench/results/verify.json",
        "Our kernels against the official interpreter on whole models: the quantized models of"
        " the corpus as shipped, and what our quantizer makes of the float ones. Elements: each"
        " operator on the interpreter's own tensors. Outputs: end to end. Floats of operators with"
        " a bound are held to it, and what stands behind them may differ end to end.",
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
    (
        "speed.json",
        "python -m bench.speed --json bench/results/speed.json",
        "Milliseconds, medians, both sides in one process in turn, called from Python with inputs"
        " and outputs copied; every output was compared first (`outputs`: how many, all equal)."
        " Ratio: ours / the interpreter's. Invoke: without the copies. Batch: per image of 32, the"
        " interpreter resized to 32 or one by one, whichever is faster for it.",
    ),
    (
        "peak.json",
        "python -m bench.profile --peak --json bench/results/peak.json",
        "The matrix kernel, output stage included, against a loop of nothing but dot instructions"
        " on registers.",
    ),
    (
        "start.json",
        "python -m bench.start --json bench/results/start.json",
        "Fresh processes: import, read the model, compile or load kernels, run one image. Cold:"
        " nothing compiled before.",
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


def by_model(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of verify.json, the paths of both runtimes added up."""
    sums = ("elements", "differ", "within a bound", "outputs", "outputs differ")
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        start = {"model": row["model"], "recipe": row["recipe"], "paths": 0, "samples": 0}
        at = found.setdefault((row["model"], row["recipe"]), start)
        at["paths"] += bool(row["elements"])
        at["samples"] = max(at["samples"], row["samples"] or 0)
        for key in sums:
            at[key] = at.get(key, 0) + (row[key] or 0)
        at["remark"] = at.get("remark") or (row["remark"] or "")[:120]
    return list(found.values())


def summaries(name: str, rows: list[dict[str, Any]]) -> list[str]:
    """Further tables that follow from the rows."""
    if name != "speed.json":
        return []
    from bench.speed import scaling, summary

    return [
        "Geometric means and worst rows; targets: the seven models whose means count.",
        table(summary(rows)),
        "Ours, one thread / two.",
        table(scaling(rows)),
    ]


def text() -> str:
    """The whole document."""
    parts = [HEAD]
    for name, command, about in MEASURED:
        data = json.loads((ROOT / "bench" / "results" / name).read_text("utf-8"))
        rows = by_model(data["rows"]) if name == "verify.json" else data["rows"]
        packages = ", ".join(f"{k} {v}" for k, v in data["packages"].items() if v)
        machine = data.get("processor", data["machine"])
        parts.append(
            f"## {data['title']}\n\n    {command}\n\n{about}\n\n"
            + "".join(f"{t}\n\n" for t in (table(rows), *summaries(name, rows)))
            + f"{data['cores']} cores, {machine}, Python {data['python']}; {packages}.\n"
        )
    return "\n".join(parts)


DOCUMENT = Document("results.md", "the measurements", COMMAND, text)

if __name__ == "__main__":
    sys.exit(DOCUMENT.main(sys.argv[1:]))
