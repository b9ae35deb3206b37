"""Certificates of the corpus: `python -m bench.certify`.

Every quantized model, on each path: whether no accumulator can overflow, how many bits are left,
what can saturate, as far as where the error against float has a bound that says something, and
every tensor's elements on real inputs against their boxes. Exit code 1 where something is not
proved, or lies outside.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from typing import Any

import numpy as np

import qcore
from bench.results import save, show
from kernels.profile import PATHS
from qcore.certify import Certificate, started
from qcore.errors import BadInput
from tests import corpus

TITLE = "certificates of the corpus"
FLOAT = {"int8": ("f32", "f16"), "dynrange": ("f32", "f16")}  # how a model is called beside


def float_model(entry: corpus.Entry) -> Any:
    """The float model beside a quantized one; None where the corpus has none."""
    stem, _, kind = entry.name.rpartition("_")
    names = [f"{stem}_{other}" for other in FLOAT.get(kind, ())]
    return next((e.path for e in corpus.entries("float") if e.name in names), None)


def certified(entry: corpus.Entry) -> tuple[Certificate, str]:
    """On the XNNPACK path, against the float model where that is the one that was quantized."""
    beside = float_model(entry)
    if beside is not None:
        try:
            return qcore.certify(entry.path, float_model=beside), ""
        except BadInput as reason:
            return qcore.certify(entry.path), str(reason)
    return qcore.certify(entry.path), "no float model beside it"


def held(entry: corpus.Entry, samples: int) -> tuple[int, int]:
    """Elements of all tensors on real inputs, and how many of them lie outside of their box."""
    walk, given, _ = started(entry.path, errors=False)
    block = walk.executor.binder.entries[walk.executor.binder.default].subgraph
    walk.subgraph(block, given)
    boxes = walk.boxes[block]
    count = outside = 0
    for _, tensors in qcore.Executor(entry.path).run(entry.samples(samples, "test"), tensors=True):
        for tensor, array in tensors.items():
            box = boxes.get(tensor)
            if box is not None and array.dtype.kind in "biuf":
                count += array.size
                outside += int(np.count_nonzero((array < box.lo) | (array > box.hi)))
    return count, outside


def row(entry: corpus.Entry, samples: int) -> dict[str, Any]:
    """What the certificates of one model say."""
    began = time.process_time()
    found, remark = certified(entry)
    seconds = time.process_time() - began
    others = [qcore.certify(entry.path, profile=p, errors=False) for p in PATHS if p != "xnnpack"]
    elements, outside = held(entry, samples)
    sums = found.accumulators
    operator, least = min(sums, key=lambda pair: pair[1].spare)
    staged = [o for o in found.operators if o.saturation is not None and o.accumulators]
    bounded = [o for o in found.operators if o.error is not None and math.isfinite(o.error.bound)]
    says = [o.error for o in bounded if o.error is not None and not o.error.trivial]
    steps = [e.steps for e in says if math.isfinite(e.steps)]
    free = next(
        (i for i, o in enumerate(bounded) if o.error and not o.error.unconditional), len(bounded)
    )
    return {
        "model": entry.name, "operators": len(found.operators),
        "by a rule": sum(not o.rule.startswith("type") for o in found.operators),
        "sums": sum(len(a.lo) for _, a in sums),
        "proved, paths": sum(c.proved for c in (found, *others)),
        "bits left": least.spare, "in": f"{operator.name} {operator.number}",
        "any order": sum(a.any_order for _, a in sums) == len(sums),
        "raw": sum(a.raw for _, a in sums) == len(sums),
        "can saturate": sum(o.saturation.possible for o in staged if o.saturation),
        "of": len(staged), "first error, steps": next(iter(steps), None),
        "errors that say something": len(says), "for every input": free,
        "elements": elements, "outside": outside, "against": found.against,
        "CPU seconds": seconds, "remark": remark,
    }  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", nargs="*", help="names of the manifest; default all")
    parser.add_argument("--samples", type=int, default=8, help="inputs to hold against the boxes")
    parser.add_argument("--json", help="write the rows here as well")
    args = parser.parse_args(argv)
    if not corpus.available():
        parser.exit(2, f"{corpus.MISSING}\n")
    rows = []
    for entry in corpus.entries("int8"):
        if not args.models or entry.name in args.models:
            rows.append(row(entry, args.samples))
            print(f"{entry.name} done", file=sys.stderr)
    show(TITLE, rows)
    save(args.json, TITLE, rows)
    wrong = (r["proved, paths"] < len(PATHS) or r["outside"] or not r["elements"] for r in rows)
    return int(not rows or any(wrong))


if __name__ == "__main__":
    raise SystemExit(main())
