"""Where a model's time goes: each operator's kernels, microseconds, GMAC/s and share.

    python -m bench.profile MODEL [--profile xnnpack] [--no-interpreter] [--seconds 0.05]
                            [--svg docs/roofline.svg] [--json out.json]
    python -m bench.profile --peak

MODEL: a name of the corpus, resnet50_int8, or a .tflite file. Each operator's kernels are called by
themselves inside the model's program, on real values; times are the least of many, one thread.
`theirs`: the operator cut out as a model of its own, invoked by the interpreter on that path.
Operators marked * are computed by Python functions. --peak: the matrix kernel against the measured
peak of the dot instruction.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import qcore
from bench import roofline, single
from bench.results import save, show
from bench.sides import Ours, Theirs, path_of, pin
from kernels.call import Tensor
from kernels.errors import KernelError
from kernels.simd.program import Called, Foreign, Program, Step
from kernels.simd.target import host
from qcore.execute import Block, Node
from qcore.targets.site import macs, sites
from qcore.testing import models

SHORT = 2e-5  # seconds: what is shorter is repeated inside one call
SIZES = ((256, 256, 256), (256, 512, 256), (512, 512, 512), (1024, 256, 1024), (1024, 1024, 1024))


def held(block: Block, numbers: Sequence[int]) -> list[Tensor]:
    """Those that have values: neither absent nor a variable's handle."""
    found = [block.tensors[t] for t in numbers if t >= 0]
    return [t for t in found if t.dtype != "resource"]


def moved(block: Block, node: Node) -> int:
    """Bytes of the operands and the outputs, each once."""
    tensors = held(block, (*node.inputs, *node.outputs))
    return sum(math.prod(t.shape) * t.held.itemsize for t in tensors)


def described(block: Block, node: Node) -> str:
    """Operator and shapes in a few characters."""
    tensors = [*held(block, node.inputs)[:1], *held(block, node.outputs)[:1]]
    shapes = ["x".join(map(str, t.shape)) for t in tensors]
    text = node.name
    if node.name in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        kh, kw = block.tensors[node.inputs[1]].shape[1:3]
        text += f" {kh}x{kw}"
        if (stride := node.options.stride_w) > 1:
            text += f"/{stride}"
    return f"{text} {' -> '.join(shapes)}"


def ours(program: Program, seconds: float) -> dict[int, tuple[list[str], float]]:
    """Operator -> kernels, seconds. The arena has to hold the values of a run."""
    instance = program.instance(0)
    entries = iter(_pieces(program))
    found: dict[int, tuple[list[str], float]] = {}
    for step in program.steps:
        piece = next(entries)
        if isinstance(step, Foreign):
            arrays = [instance.view(n) for n in step.inputs]
            took = single.best(lambda: step.function(arrays), seconds)  # noqa: B023
        else:
            once = single.best(single.rows(piece), seconds / 10)
            repeat = max(1, int(SHORT / max(once, 1e-7)))
            took = single.best(single.rows(piece, repeat), seconds) / repeat
        kernel = step.kernel if isinstance(step, Step) else "*"
        names, before = found.get(step.operator, ([], 0.0))
        found[step.operator] = [*names, kernel], before + took
    return found


def _pieces(program: Program) -> Iterator[Any]:
    """For each step its row of a table; nothing for a foreign one."""
    for segment in program.instance(0).segments:
        if isinstance(segment, Called):
            yield None
        else:
            yield from segment.rows


def theirs(executor: Any, node: Node, values: dict[int, np.ndarray], seconds: float) -> float:
    """Seconds of the operator alone, invoked by the interpreter; nan where it cannot be cut out."""
    try:
        call = executor.call(0, node, values)
        call = replace(call, options=getattr(call.options, "fields", {}))
        side = Theirs(models.to_bytes(call), executor.profile.path, 1)
        side.one(models.arrays(call))
    except (KernelError, RuntimeError, ValueError, AssertionError, TypeError):
        return math.nan
    return single.best(side.it.invoke, seconds)


def profile(model: str, path: str, seconds: float, interpreter: bool) -> list[dict[str, Any]]:
    """A row for each operator that takes time."""
    side = Ours.of(model, path, 1)
    executor = qcore.Executor(path_of(model), path)
    block = executor.blocks[0]
    given = dict(zip(block.graph.inputs, (x[0] for x in side.inputs)))
    values = executor.invoke(0, given, keep=True)
    # In a program that keeps every tensor each operator finds its own inputs. Buffers are not
    # shared there, so a large model's are colder than in a run.
    program = executor.program(0, keep=True)
    assert program is not None
    measured = ours(program, seconds)
    total = sum(took for _, took in measured.values())
    products = {s.number: macs(s) for s in sites(executor.model) if s.subgraph == 0}
    rows = []
    for node in block.nodes:
        if node.number not in measured:
            continue
        kernels, took = measured[node.number]
        work = products[node.number]
        row: dict[str, Any] = {
            "#": node.number, "operator": described(block, node), "kernels": " ".join(kernels),
            "us": took * 1e6, "share %": 100 * took / total,
            "GMAC/s": work / took / 1e9 if work else None,
        }  # fmt: skip
        if interpreter:
            other = theirs(executor, node, values, seconds)
            known = not math.isnan(other)
            row["theirs us"] = other * 1e6 if known else None
            row["ratio"] = took / other if known else None
        rows.append(row | {"bytes": moved(block, node), "macs": work})
    return rows


def by_kind(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows added up by operator; ratio only over those that were measured on both sides."""
    made = []
    for kind in dict.fromkeys(r["operator"].split()[0] for r in rows):
        part = [r for r in rows if r["operator"].split()[0] == kind]
        us = sum(r["us"] for r in part)
        work = sum(r["macs"] for r in part)
        both = [r for r in part if r.get("theirs us")]
        made.append(
            {
                "operators": kind, "count": len(part), "us": us,
                "share %": sum(r["share %"] for r in part),
                "GMAC/s": work / us / 1e3 if work else None,
                "theirs us": sum(r["theirs us"] for r in both) if both else None,
                "ratio": sum(r["us"] for r in both) / sum(r["theirs us"] for r in both)
                if both else None,
            }
        )  # fmt: skip
    return sorted(made, key=lambda r: -r["us"])


def peak(profiles: tuple[str, ...] = ("xnnpack", "optimized")) -> list[dict[str, Any]]:
    """The matrix kernel against the dot instruction, both measured in turn."""
    rows = []
    for path in profiles:
        for m, n, k in SIZES:
            program = single.program(single.dense(m, n, k, path))
            table = program.instance(0).segments[0]
            assert not isinstance(table, Called)
            top = single.peak_rate()
            rate = m * n * k / single.best(single.rows(table.rows), 0.3)
            top = max(top, single.peak_rate())
            kernels = " ".join(s.kernel for s in program.steps if isinstance(s, Step))
            rows.append(
                {"target": host().name, "profile": path, "M": m, "N": n, "K": k, "kernel": kernels,
                 "GMAC/s": rate / 1e9, "peak": top / 1e9, "share %": 100 * rate / top}
            )  # fmt: skip
    return rows


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", nargs="?")
    parser.add_argument("--profile", default="xnnpack")
    parser.add_argument("--no-interpreter", action="store_true")
    parser.add_argument("--seconds", type=float, default=0.05, help="for each operator")
    parser.add_argument("--svg", help="draw the operators under the machine's roofs")
    parser.add_argument("--json")
    parser.add_argument("--peak", action="store_true", help="the matrix kernel against the peak")
    args = parser.parse_args(argv)
    pin(1)
    if args.peak:
        title = "The matrix kernel against the peak of the dot instruction, one thread"
        rows = peak()
        show(title, rows)
        save(args.json, title, rows)
        return 0
    if args.model is None:
        parser.error("give a model or --peak")
    rows = profile(args.model, args.profile, args.seconds, not args.no_interpreter)
    title = f"{Path(args.model).stem}, {args.profile}, {host().name}, one thread"
    shown = [{k: v for k, v in r.items() if k not in ("bytes", "macs")} for r in rows]
    show(title, shown)
    show(f"{title}: by operator", by_kind(rows))
    save(args.json, title, rows)
    if args.svg:
        points = [
            roofline.Point(r["operator"], r["macs"] / r["bytes"], r["GMAC/s"], r["share %"])
            for r in rows if r["macs"]
        ]  # fmt: skip
        roofs = roofline.measured()
        Path(args.svg).write_text(roofline.draw(title, points, *roofs), "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
