"""python -m qcore.testing.bugs                     lists the bugs
python -m qcore.testing.bugs KEY                 what is known of one
python -m qcore.testing.bugs KEY -o bug.tflite   writes its model, and its input beside it (.npz)
python -m qcore.testing.bugs --check [KEY ...]   tries them on the installed runtimes; exit 1 if
                                                 one does not behave as documented
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import tflite_schema as ts
from qcore.testing import bugs
from qcore.testing.bugs.record import PATHS, RUNTIMES, Bug, grouped


def table(listed: Sequence[Bug]) -> str:
    """Key, runtimes and paths, title; one line each."""
    rows = []
    for bug in listed:
        letters = {
            name: "".join(p[0].upper() if (name, p) in bug.seen else "-" for p in PATHS)
            for name in RUNTIMES
        }
        rows.append((bug.key, letters["tensorflow"], letters["litert"], bug.title))
    wide = max(len(r[0]) for r in rows)
    head = f"{'key':{wide}}  TF   LRT  defect   (R, O, X: reference, optimized, xnnpack)"
    return "\n".join([head, *(f"{k:{wide}}  {t}  {r}  {title}" for k, t, r, title in rows)])


def shown(bug: Bug) -> str:
    """All that is documented of one bug."""
    lines = [bug.title, "", f"trigger: {bug.trigger}"]
    lines += [f"{where}: {what}" for where, what in grouped(bug.seen)]
    lines += [f"a correct kernel: {bug.correct}", f"our profiles: {bug.ours}"]
    return "\n".join([*lines, *([bug.note] if bug.note else [])])


def check(listed: Sequence[Bug]) -> int:
    """Try them on every installed runtime; print what each does."""
    from qcore.peers.interpreter import installed

    names = [r for r in RUNTIMES if installed(r)]
    if not names:
        print("no official runtime is installed; pip install ai-edge-litert", file=sys.stderr)
        return 1
    wrong = tried = 0
    for runtime in names:
        for bug, place, answer in bugs.ask(listed, runtime):
            tried += 1
            problem = bug.problem(place, answer)
            wrong += problem is not None
            state = "as documented" if place in bug.seen else "right"
            print(problem or f"{bug.key} on {RUNTIMES[runtime]}, {place[1]}: {state}")
    print(f"{tried} tried, {wrong} not as documented")
    return int(wrong > 0 or tried == 0)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m qcore.testing.bugs", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("keys", nargs="*", metavar="KEY")
    parser.add_argument("-o", "--output", metavar="FILE", help="write the model of one bug")
    parser.add_argument("--check", action="store_true", help="try them on the installed runtimes")
    given = parser.parse_args(arguments)
    try:
        listed = [bugs.get(k) for k in given.keys]
    except KeyError as error:
        print(error.args[0], file=sys.stderr)
        return 2
    if given.output and (len(listed) != 1 or given.check):
        print("-o writes the model of one KEY", file=sys.stderr)
        return 2
    if given.check:
        return check(listed or bugs.all())
    if not listed:
        print(table(bugs.all()))
        return 0
    if not given.output:
        print("\n\n".join(shown(bug) for bug in listed))
        return 0
    case = listed[0].case()
    path = Path(given.output)
    ts.write(case.model, path)
    runs = [*case.before, case.inputs]
    prefix = [f"run{i}_" if case.before else "" for i in range(len(runs))]
    arrays: Any = {f"{p}input{i}": a for p, run in zip(prefix, runs, strict=True)
              for i, a in enumerate(run)}  # fmt: skip
    np.savez(path.with_suffix(".npz"), **arrays)
    print(f"wrote {path} and {path.with_suffix('.npz')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
