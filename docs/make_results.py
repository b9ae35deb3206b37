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

from bench import evaluate, targets  # noqa: E402
from bench.speed import scaling, summary  # noqa: E402
from docs.document import Document, machine, table  # noqa: E402
from kernels.simd.target import TARGETS  # noqa: E402

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
        "python -m bench.verify --targets all --json bench/results/verify.json",
        "Our kernels against the official interpreter on whole models: the quantized models of"
        " the corpus as shipped, and what our quantizer makes of the float ones. Elements: each"
        " operator on the interpreter's own tensors. Outputs: end to end, once for each kind of"
        " vector code. Under its name: elements of tensors that its compiled program made end to"
        " end, and how many differ. Floats of operators with a bound are held to it; what stands"
        " behind them may differ end to end, and is not counted there.",
    ),
    (
        "properties.json",
        "python -m qcore.testing --json bench/results/properties.json",
        "Random cases by property (testing.md): how many, and the output elements that were"
        " compared, with the runtime that is named, else with our own definition.",
    ),
    (
        "accuracy.json",
        "python -m bench.accuracy --json bench/results/accuracy.json",
        "Per cent of the test images right, and the same answer as the float model, from the same"
        " calibration samples.",
    ),
    (
        "schemes.json",
        "python -m bench.schemes --json bench/results/schemes.json",
        "Schemes beside the quantizers of TFLite and LiteRT, all from the same calibration samples:"
        " right answers with their 95 % interval (10,000 pictures of Fashion-MNIST, 1,000 of"
        " CIFAR), the same first class as the float model, SQNR of the outputs, size, seconds to"
        " quantize (samples included, ranges that several candidates share observed once).",
    ),
    (
        "tuning.json",
        "python -m bench.tuning --json bench/results/tuning.json",
        "Integers of weights and biases chosen on the samples (tuning.md), the scales are the same."
        " Models without labels are judged on the samples they were tuned on.",
    ),
    (
        "mixed.json",
        "python -m bench.mixed search --json bench/results/mixed.json",
        "The fewest products in float for 6 dB more than int8 has, at most a tenth of them"
        " (mixed.md). Reproduced: the saved recipe makes the same model. Unseen: the recipe"
        " calibrated on views of one half of the photos, measured on the other.",
    ),
    (
        "subsets.json",
        "python -m bench.mixed subsets --json bench/results/subsets.json",
        "The search beside the best of all subsets of operators, each of which was measured.",
    ),
    (
        "sweep.json",
        "python -m bench.sweep --json bench/results/sweep.json",
        "One grid of trials run in several ways. Differing: numbers and texts unlike those of the"
        " first run.",
    ),
    (
        "quantizers.json",
        "python -m bench.quantizers --recipes dynamic,weight_only,int8,int16x8"
        " --json bench/results/quantizers.json",
        "Whole processes against LiteRT's quantizer, in turn.",
    ),
    (
        "rates.json",
        "python -m bench.quantizer_speed rates --json bench/results/rates.json",
        "A constant in memory, GB of its float32 a second: finding the range, and making and"
        " packing the integers. A copy of the same bytes writes as much as it reads.",
    ),
    (
        "stages.json",
        "python -m bench.quantizer_speed stages --json bench/results/stages.json",
        "Fresh processes, medians; `import` is this project's. First sample: child and interpreter"
        " start, one run. Sample: each further one by one worker; of it invoke: the interpreter"
        " alone. Bytes alone: the written file again, from memory.",
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
        "targets.json",
        "python -m bench.targets --json bench/results/targets.json",
        "The same processor, its better vector code left unused. Milliseconds an image, medians,"
        " one at a time and in batches of 32; every output was compared with the interpreter's"
        " first (`outputs`: how many, all equal).",
    ),
    (
        "evaluate.json",
        "python -m bench.evaluate --json bench/results/evaluate.json",
        "From Python, from floats or integers to the integers of every output; both sides in one"
        " process in turn, medians. The interpreter in batches: resized, of the fastest size."
        " Differ: outputs unlike the interpreter's for one image at a time.",
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
        for name in (n for n in TARGETS if n in row):
            more = row[name] or 0, row[f"{name} differ"] or 0
            at[name] = tuple(map(sum, zip(at.get(name, (0, 0)), more)))
        at["remark"] = at.get("remark") or (row["remark"] or "")[:120]
    for at in found.values():
        at |= {n: f"{at[n][0]:,} / {at[n][1]:,}" for n in TARGETS if n in at}
    return list(found.values())


def by_property(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of properties.json, and the sums: of what was compared with runtimes, and of all."""
    counts = ("cases", "compared", "failures")
    sums = [
        {"property": name, "with": "", **{c: sum(r[c] for r in part) for c in counts}}
        for name, part in (("with runtimes", [r for r in rows if r["with"]]), ("altogether", rows))
    ]
    return [r | {c: f"{r[c]:,}" for c in counts} for r in (*rows, *sums)]


SHOWN = {
    "properties.json": by_property,
    "verify.json": by_model,
    "targets.json": targets.by_model,
}  # others as they are


def summaries(name: str, rows: list[dict[str, Any]]) -> list[str]:
    """Further tables that follow from the rows."""
    if name == "targets.json":
        return ["GMAC/s of the operators that sum products.", table(targets.by_operator(rows))]
    if name == "evaluate.json":
        return ["Times as many images a second.", table(evaluate.summary(rows))]
    if name != "speed.json":
        return []
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
        rows = SHOWN.get(name, list)(data["rows"])
        parts.append(
            f"## {data['title']}\n\n    {command}\n\n{about}\n\n"
            + "".join(f"{t}\n\n" for t in (table(rows), *summaries(name, data["rows"])))
            + f"{machine(data)}\n"
        )
    return "\n".join(parts)


DOCUMENT = Document("results.md", "the measurements", COMMAND, text)

if __name__ == "__main__":
    sys.exit(DOCUMENT.main(sys.argv[1:]))
