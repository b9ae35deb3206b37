"""Writes docs/targets.md from the tables in qcore/targets/ and what was compared with the tools.

python docs/make_targets.py           write the file
python docs/make_targets.py --check   exit 1 if the file is not what the tables say
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
COMMAND = "python docs/make_targets.py"
RESULTS = ROOT / "bench" / "results"

if __name__ == "__main__":  # as a program, from a checkout that need not be installed
    sys.path.insert(0, str(ROOT))

from bench.check_targets import KNOWN  # noqa: E402
from docs.document import Document, cell, machine  # noqa: E402
from docs.document import table as rows_table  # noqa: E402
from qcore import targets  # noqa: E402
from qcore.targets.rule import Placement, Rule, Target  # noqa: E402
from qcore.targets.sources import cited  # noqa: E402

HEAD = f"""# Targets

Made by `{COMMAND}` from `qcore/targets/`; do not edit.

`qcore check` says which operators of a model, quantized or not, a device or runtime takes, which
stay on the CPU, and why: each reason is a rule of the tables below, with what was found instead and
where the rule is written. Nothing is run.

```sh
qcore check int8.tflite                                  # all targets
qcore check int8.tflite --target edgetpu --target gpu    # some
qcore check int8.tflite --target edgetpu --strict        # exit code 1 unless all of it runs there
qcore check int8.tflite --json                           # every operator, every reason
qcore check --list --target tflm                         # a target's rules and sources
```

```python
import qcore

found = qcore.check("examples/symbols.tflite", ["edgetpu", "xnnpack"])
print(found["xnnpack"].share)  # of the products that the model sums
for operator in found["edgetpu"].operators:
    print(operator.where, *operator.reasons, sep="; ")
```

`qcore advise` makes what the target might run of a float model (float16, dynamic, int8, int16x8;
other recipes by `--strategy`), checks each by these tables, measures size, error, accuracy, and for
the CPU the time of the official interpreter, and recommends one:

```sh
qcore advise model.tflite --target edgetpu --data train.npz --std 255 -o out.tflite
qcore advise model.tflite --target xnnpack --data calib.npz --eval test.npz --y labels --lost 0.005
qcore advise model.tflite --target gpu --data train.npz --strategy weight_only --strategy float16
```

```python
import numpy as np

data = np.load("examples/symbols.npz")
advice = qcore.advise(
    "examples/symbols.tflite",
    "tflm",
    list(data["x_calib"][:40].astype("float32") / 255),
    data["y_test"][:40],
    evaluation=list(data["x_test"][:40].astype("float32") / 255),
    strategies=["int8"],
)
print(advice.chosen, advice.measured)
```

Error and accuracy are measured on the samples of `--eval` with the labels of `--y`, by default on
`x_test` and `y_test` of the `.npz` of `--data`, as `qcore compare` does ([compare.md](compare.md)).
Without any they are measured on the calibration samples themselves; a warning says so, as it does
where some of the samples are bit for bit samples of the calibration.

What is good enough: with labels at most 1 % of all samples fewer right than by the float model
(`--lost`); without labels, or where the outputs are no class scores, 20 dB on every output.
`--least` asks for dB in any case. Of what is good enough a CPU gets the fastest, another target
what runs the most products there, then leaves the fewest operators, then is the smallest.

Where int8 is tried and not good enough, its constants are tuned ([tuning.md](tuning.md)); where
that does not do either, operators are left float until it does ([mixed.md](mixed.md)): those whose
float form the target itself runs, or the interpreter or TFLite Micro that runs its rest. The search
goes by the SQNR on the calibration samples: first for `--least` (where only accuracy is asked for:
for 3 dB more than int8 has), then for 3, 6, 12 ... dB more until what is measured is good enough,
five times at most. So nothing is fitted to the samples that are measured on.

The exit code is 1 where a target runs nothing of the model, with `--strict` where it does not run
all of it. *Products* are those that convolutions, matrix products and recurrent operators sum, with
the shapes that the file declares.
"""

PLACED = {
    Placement.EACH: "each operator by itself",
    Placement.LARGEST: "the largest connected part",
    Placement.FIRST: "what stands before the first that is not taken",
    Placement.ALL: "the whole model or nothing",
}


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(map(cell, line)) + " |" for line in lines] + [""]


def overview() -> list[str]:
    rows = [
        [f"[`{t.key}`](#{t.key})", t.title, PLACED[t.placement], t.rest, t.checked or "no"]
        for t in targets.all()
    ]
    return table(["target", "", "runs", "the rest runs on", "tried out"], rows)


def measured(name: str) -> dict[str, Any]:
    return json.loads((RESULTS / name).read_text("utf-8"))


TRY = "python -m bench.check_targets --tools PYTHON --json bench/results/targets_check.json"
SHARES = "python -m bench.check_targets --models {} --json bench/results/targets_models.json"
COUNTS = ("forms", "operators", "taken", "we say more", "we say less")
TOOLS = {"tflm": "tflite-micro", "ethos-u": "ethos-u-vela", "": "ai-edge-litert"}


def compared() -> list[str]:
    """What the tools said, added up."""
    data = measured("targets_check.json")
    sums: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(COUNTS, 0))
    tools = {}
    for row in data["rows"]:
        at = sums[row["target"]]
        at["forms"] += 1
        for key in COUNTS[1:]:
            at[key] += row[key]
        version = row["tool"] or data["packages"]["ai-edge-litert"]
        tools[row["target"]] = f"{TOOLS.get(row['target'], TOOLS[''])} {version}"
    body = [[f"`{key}`", tools[key], *(f"{at[k]:,}" for k in COUNTS)] for key, at in sums.items()]
    head = [
        "target",
        "tool",
        "forms, models",
        "compared",
        "taken",
        "only by us",
        "only by the tool",
    ]
    text = f"""## Tried out

    {TRY}

Random models of every operator and form, the same in float, and the models of the corpus: what the
tables say of each operator (of each model, where a target runs a model or does not) beside what the
tool does. The Edge TPU's compiler, the GPU delegate and CMSIS-NN do not run here: their rules stand
by their sources alone.
"""
    known = [f"- `{t}`, `{o}`, only by the tool: {why}." for (t, o), why in KNOWN.items()]
    return [text, *table(head, body), *known, "", machine(data), ""]


def models() -> list[str]:
    rows = measured("targets_models.json")["rows"]
    keys = targets.names()

    def text(row: dict[str, Any], key: str) -> str:
        share = row[f"{key} %"]
        return f"{row[key]}" + ("" if share is None else f" ({share:.4g} %)")

    body = [[r["model"], str(r["operators"]), *(text(r, k) for k in keys)] for r in rows]
    command = SHARES.format(" ".join(r["model"] for r in rows))
    return [
        f"## Five models\n\n    {command}\n",
        "Operators that run there, and their share of the products.\n",
        *table(["model", "operators", *(f"`{k}`" for k in keys)], body),
    ]


ADVICE = "python -m bench.advise --tools PYTHON --json bench/results/advise.json"


def advised() -> list[str]:
    """What `qcore advise` said of models of the corpus, and what became of it."""
    data = measured("advise.json")
    return [
        f"## Advice\n\n    {ADVICE}\n",
        "The recommended file was run: by the official interpreter, each operator against our",
        "integers; by TFLite Micro; by Vela. dB: on the calibration samples. Milliseconds: one",
        "thread, median. Tried: strategies, float among them.\n",
        rows_table(data["rows"]),
        "",
        machine(data),
        "",
    ]


def operators(target: Target) -> list[str]:
    """Operators by the types of their data, and those with a newest version."""
    kinds: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name, taken in sorted(target.operators.items()):
        version = f" (to version {taken.version})" if taken.version else ""
        kinds[taken.dtypes].append(f"`{name}`{version}")
    return [
        f"- {', '.join(types) + ': ' if types else ''}{', '.join(names)}"
        for types, names in kinds.items()
    ]


def of(rule: Rule, target: Target) -> str:
    """The operators that a rule is about; those that it is not about where these are fewer."""
    if not rule.operators:
        return "all"
    others = target.operators.keys() - rule.operators
    if len(others) < len(rule.operators) and others and rule.operators <= target.operators.keys():
        return "all but " + ", ".join(f"`{name}`" for name in sorted(others))
    return ", ".join(f"`{name}`" for name in sorted(rule.operators))


def linked(source: str) -> str:
    """A source whose parts lead where they can be read."""
    parts = [
        (url.removeprefix("https://") if text == url else text, url) for text, url in cited(source)
    ]
    return "".join(f"[{text}]({url})" if url else text for text, url in parts)


def section(target: Target) -> list[str]:
    rows = [[r.name, of(r, target), r.mend, linked(r.source)] for r in target.rules]
    return [
        f"## {target.key}", "", f"{target.title}. {target.about}",
        f"Tried out: {target.checked}." if target.checked else "By its sources alone.", "",
        "Operators:", "", *operators(target), "",
        *table(["has to be so that", "of", "else", "source"], rows),
    ]  # fmt: skip


def document() -> str:
    """The whole text of docs/targets.md."""
    lines = [HEAD, *overview(), *compared(), *models(), *advised()]
    for target in targets.all():
        lines += section(target)
    return "\n".join(lines).rstrip() + "\n"


DOCUMENT = Document("targets.md", "the tables", COMMAND, document)

if __name__ == "__main__":
    sys.exit(DOCUMENT.main(sys.argv[1:]))
