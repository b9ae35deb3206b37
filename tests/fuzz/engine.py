"""The child processes of `python -m tests.fuzz`: one that searches, one that measures.

    python -m tests.fuzz.engine fuzz reader STATE.json CORPUS -max_total_time=60 ...
    python -m tests.fuzz.engine measure reader OUT.json CORPUS

What follows CORPUS are libFuzzer's flags: Atheris runs libFuzzer in the process. Modules of
MEASURED are instrumented as they are imported, so nothing of ours may be imported before; what they
import besides is not.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

STATE_S = 1.0  # seconds between writes of the state


class State:
    """What the search did so far, in a file that the parent reads; the slowest input beside it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.outcomes: Counter[str] = Counter()
        self.slowest = 0.0
        self.written = 0.0

    def add(self, outcome: str, took: float, data: bytes) -> None:
        self.outcomes[outcome] += 1
        if took > self.slowest:
            self.slowest = took
            self.path.with_suffix(".slowest").write_bytes(data)
        now = time.monotonic()
        if now - self.written > STATE_S:
            self.written = now
            self.save()

    def save(self) -> None:
        from tests.fuzz.target import peak_mb

        values = {"outcomes": self.outcomes, "slowest": self.slowest, "peak_mb": peak_mb()}
        beside = self.path.with_suffix(".new")
        beside.write_text(json.dumps(values))
        os.replace(beside, self.path)


def fuzz(name: str, state: Path, arguments: list[str]) -> None:
    """Search until libFuzzer's flags say stop; libFuzzer then ends the process."""
    import atheris

    from tests.fuzz import target as kit

    with atheris.instrument_imports(include=list(kit.MEASURED[name])):
        target = kit.load(name)
    import numpy as np

    seen = State(state)

    def one(data: bytes) -> None:
        outcome, took = kit.check(target, data, quick=True)
        seen.add(outcome, took, data)

    def mutated(data: bytes, most: int, seed: int) -> bytes:
        rng = np.random.default_rng(seed)
        if data and rng.integers(4):
            made = target.mutate(data, rng)
            if 0 < len(made) <= most:
                return made
        changed: bytes = atheris.Mutate(data, most)
        return changed

    atheris.Setup([sys.argv[0], *arguments], one, custom_mutator=mutated)
    atheris.Fuzz()


def measure(name: str, out: Path, corpus: Path) -> None:
    """Lines and branches of MEASURED that the inputs of a folder reach, a file a row."""
    import coverage

    from tests.fuzz import target as kit

    watched = coverage.Coverage(
        data_file=None, branch=True, config_file=False, source_pkgs=list(kit.MEASURED[name])
    )
    watched.start()
    target = kit.load(name)
    count = 0
    for file in sorted(corpus.iterdir()):
        target.attempt(file.read_bytes())
        count += 1
    watched.stop()
    report = out.with_suffix(".report")
    watched.json_report(outfile=str(report), pretty_print=False)
    found = json.loads(report.read_text())
    rows = {file: _row(entry["summary"]) for file, entry in found["files"].items()}
    out.write_text(json.dumps({"inputs": count, "files": rows, "total": _row(found["totals"])}))


def _row(summary: dict[str, Any]) -> dict[str, int]:
    names = ("covered_lines", "num_statements", "covered_branches", "num_branches")
    return {name: summary[name] for name in names}


COMMANDS: dict[str, Callable[..., None]] = {
    "fuzz": lambda name, state, *rest: fuzz(name, Path(state), list(rest)),
    "measure": lambda name, out, corpus: measure(name, Path(out), Path(corpus)),
}

if __name__ == "__main__":
    COMMANDS[sys.argv[1]](*sys.argv[2:])
