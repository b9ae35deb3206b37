"""What `qcore check` says against the tools themselves: `python -m bench.check_targets`.

    python -m bench.check_targets [--tools PYTHON] [--seeds 8] [--targets tflm ethos-u xnnpack]
                                  [--json bench/results/targets_check.json]

Random models of every operator and form (qcore.testing.cases), the same in float, and the models
of the corpus: our tables' answer beside TFLite Micro's interpreter (allocates and computes), Vela
(what is left on the CPU), the official interpreter (loads; what XNNPACK computes). PYTHON: an
interpreter with tflite-micro and ethos-u-vela, which this project does not need. Edge TPU compiler,
GPU delegate and CMSIS-NN cannot be run here. Exit code 1 where an answer differs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import tflite_schema as ts
from bench.results import save, show
from kernels import ops
from kernels.call import Call, Tensor
from kernels.errors import KernelError
from qcore.check import TargetFit, check
from qcore.inspect import dtype_name
from qcore.peers import delegation
from qcore.testing import models
from qcore.testing.cases import generators, make
from tests import corpus

ROOT = Path(__file__).resolve().parents[1]
TITLE = "What the tables of targets say, against the tools"
KNOWN = {
    ("tflm", "STRIDED_SLICE"): "bounds that are offsets are taken for ends: other values, no error",
    ("ethos-u", "STRIDED_SLICE"): "likewise",
}
MODELS = "Models of the corpus by target"
TARGETS = ("reference", "xnnpack", "tflm", "ethos-u")
ACCELERATOR = "ethos-u55-256"
REALS = ("int8", "uint8", "int16")


class Case:
    """One model with its inputs in files. call: of a single operator, None for a corpus model."""

    def __init__(self, folder: Path, name: str, form: str, model: bytes, inputs: Sequence[Any]):
        self.name, self.form = name, form
        self.path = folder / f"{name}.{form}.{len(list(folder.iterdir()))}.tflite".replace(" ", "_")
        self.path.write_bytes(model)
        np.savez(f"{self.path}.npz", *inputs)


def declared(call: Call) -> Call | None:
    """The call with the shapes of its outputs, as converters write them; None if it has none."""
    try:
        made = ops.compute(call, "reference" if call.form else "real")
    except (KernelError, AssertionError, TypeError, ValueError):  # of floats where there are none
        return None
    shaped = (replace(t, declared=a.shape) for t, a in zip(call.outputs, made))
    return call.on(outputs=tuple(shaped))


def as_float(call: Call) -> Call | None:
    """The same operator on float32; None where nothing is quantized."""

    def real(t: Tensor | None) -> Tensor | None:
        if t is None or t.scale is None:
            return t
        data = None if t.data is None else t.real().astype(np.float32)
        return Tensor("float32", data, constant=t.constant, declared=t.shape)

    codes = call.name in ("QUANTIZE", "DEQUANTIZE")
    if not call.form or codes or call.form.split(",")[0] not in REALS:
        return None
    return call.on(inputs=tuple(map(real, call.inputs)), outputs=tuple(map(real, call.outputs)),
                   version=0)  # fmt: skip


def operators(folder: Path, seeds: int, size: int) -> Iterator[Case]:
    """Every operator and form, and each in float once."""
    floats = set()
    for operator, form in generators():
        for seed in range(seeds):
            call = make(operator, form, seed, size)
            found = [(form, call)]
            if (operator, seed) not in floats and (plain := as_float(call)) is not None:
                floats.add((operator, seed))
                found.append(("float32", plain))
            for name, one in found:
                full = declared(one)
                if full is not None:
                    yield Case(folder, operator, name, models.to_bytes(full), models.arrays(full))


def wholes(folder: Path) -> Iterator[Case]:
    """The models of the corpus, with random inputs."""
    rng = np.random.default_rng(0)
    for kind in ("float", "int8"):
        for entry in corpus.entries(kind):
            model = ts.read(entry.path)
            sub = model.subgraphs[0]
            forms = [(sub.tensors[t].shape or (), dtype_name(sub.tensors[t])) for t in sub.inputs]
            inputs = [rng.uniform(-99, 99, shape).astype(dtype) for shape, dtype in forms]
            yield Case(folder, entry.name, "model", entry.path.read_bytes(), inputs)


def asked(python: str, arguments: Sequence[str], cases: Sequence[Case]) -> tuple[str, list[Any]]:
    """Version of a tool, and its answer to each model."""
    done = subprocess.run(
        [python, "bench/target_tools.py", *arguments], cwd=ROOT, text=True, capture_output=True,
        input="".join(f"{case.path}\n" for case in cases),
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(done.stderr.strip() or f"{arguments[0]} stopped with {done.returncode}")
    version, *answers = map(json.loads, done.stdout.splitlines())
    return version, answers


def left_by_vela(answer: Any) -> set[str] | str:
    """First outputs of the operators that stay on the CPU, or why Vela stopped."""
    code, said = answer
    lines = [line for line in said.splitlines() if line.startswith("LEFT ")]
    return set(json.loads(lines[-1][5:])) if not code and lines else said.strip()[-200:]


def compare(target: str, cases: Sequence[Case], python: str) -> tuple[str, list[dict[str, Any]]]:
    """A row for each operator and form, or model: how often both say the same."""
    if target == "tflm":
        version, answers = asked(python, ["tflm"], cases)
        judged = [_alone(a) for a in answers]
    elif target == "ethos-u":
        version, answers = asked(python, ["vela", ACCELERATOR], cases)
        judged = [left_by_vela(a) for a in answers]
    else:
        version = ""
        judged = list(delegation.load([c.path for c in cases], path=target))
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for case, answer in zip(cases, judged, strict=True):
        row = rows.setdefault((case.name, case.form), {
            "target": target, "operator": case.name, "form": case.form, "operators": 0, "taken": 0,
            "we say more": 0, "we say less": 0, "remark": "",
        })  # fmt: skip
        fit = check(case.path, target)[target]
        for ours, theirs, why in pairs(fit, answer):
            row["operators"] += 1
            row["taken"] += theirs
            row["we say more"] += ours and not theirs
            row["we say less"] += theirs and not ours
            if ours != theirs and not row["remark"]:
                row["remark"] = f"{case.path.name}: {' '.join(why.split())[-180:]}"
    return version, list(rows.values())


def _alone(answer: Any) -> str:
    code, said = answer
    return "" if not code else said.strip()[-300:] or f"signal {-code}"


def pairs(fit: TargetFit, answer: Any) -> Iterator[tuple[bool, bool, str]]:
    """(we say that it is taken, the tool does, why not) for each operator that can be told apart;
    once for a model that is taken as a whole or not."""
    if isinstance(answer, str):  # all or nothing, or the tool stopped
        first = next((f"{o.where}: {o.reasons[0]}" for o in fit.operators if o.reasons), "")
        yield all(o.taken for o in fit.operators), not answer, answer or first
    elif isinstance(answer, set):
        for o in (o for o in fit.operators if o.subgraph == 0 and o.output):
            reason = str(o.reasons[0]) if o.reasons else "left"
            yield o.taken, o.output not in answer, f"{o.where}: {reason}"
    elif fit.target == "reference" or answer.error:
        first = next((f"{o.where}: {o.reasons[0]}" for o in fit.operators if o.reasons), "")
        yield all(o.taken for o in fit.operators), not answer.error, answer.error or first
    else:
        for o in fit.operators:
            if o.subgraph == 0 and o.number not in answer.unread:
                reason = str(o.reasons[0]) if o.reasons else "not delegated"
                yield o.taken, o.number in answer.operators, f"{o.where}: {reason}"


def by_model(names: Sequence[str]) -> list[dict[str, Any]]:
    """For each model of the corpus and each target: operators there, share of the products."""
    rows = []
    for name in names:
        found = check(corpus.entry(name).path)
        row: dict[str, Any] = {"model": name, "operators": len(found.targets[0].operators)}
        for t in found.targets:
            row |= {
                t.target: t.running,
                f"{t.target} %": None if t.share is None else 100 * t.share,
            }
        rows.append(row)
    return rows


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0], formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--tools", default=sys.executable, help="a python that has the tools")
    parser.add_argument("--targets", nargs="*", default=list(TARGETS), choices=TARGETS)
    parser.add_argument("--seeds", type=int, default=8, help="models of each operator and form")
    parser.add_argument("--size", type=int, default=60, help="about so many output elements")
    parser.add_argument("--models", nargs="+", help="only check these of the corpus; no tools")
    parser.add_argument("--json", help="write the rows here as well")
    args = parser.parse_args(argv)
    if not corpus.available():
        parser.exit(2, f"{corpus.MISSING}\n")
    if args.models:
        rows = by_model(args.models)
        show(MODELS, rows)
        save(args.json, MODELS, rows)
        return 0
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        cases = [*operators(Path(folder), args.seeds, args.size), *wholes(Path(folder))]
        for target in args.targets:
            version, found = compare(target, cases, args.tools)
            rows += [{**row, "tool": version} for row in found]
            print(f"{target} done: {len(found)} rows", file=sys.stderr)
    wrong = [
        r for r in rows
        if r["we say more"] or (r["we say less"] and (r["target"], r["operator"]) not in KNOWN)
    ]  # fmt: skip
    show(f"{TITLE}: differences", wrong)
    for target in args.targets:
        of = [r for r in rows if r["target"] == target]
        counts = {
            k: sum(r[k] for r in of) for k in ("operators", "taken", "we say more", "we say less")
        }
        print(target, counts)
    save(args.json, TITLE, rows)
    return int(bool(wrong))


if __name__ == "__main__":
    raise SystemExit(main())
