"""python -m tests.conformance [--op NAME ...] [--form F] [--path P] [--runtime R] ..."""

from __future__ import annotations

import argparse
import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path

from kernels.profile import PATHS, RUNTIMES, Profile
from tests.conformance.cases import generators
from tests.conformance.run import Row, row


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("--op", nargs="+", help="operators (all)")
    parser.add_argument("--form", nargs="+", help="forms (all)")
    parser.add_argument("--path", nargs="+", choices=PATHS, default=list(PATHS))
    parser.add_argument("--runtime", nargs="+", choices=RUNTIMES, default=list(RUNTIMES))
    parser.add_argument("--models", type=int, default=30, help="random models a row")
    parser.add_argument("--outputs", type=int, default=200_000, help="output elements a row")
    parser.add_argument("--seed", type=int, default=0, help="first seed")
    parser.add_argument("--jobs", type=int, default=1, help="rows at a time")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    return parser.parse_args()


def _row(task: tuple) -> Row:
    return row(*task)


def main() -> int:
    given = arguments()
    started = time.monotonic()
    size = -(-given.outputs // given.models)
    seeds = range(given.seed, given.seed + given.models)
    tasks = [
        (operator, form, Profile(path, runtime), seeds, size)
        for operator, form in generators()
        if (not given.op or operator in given.op) and (not given.form or form in given.form)
        for runtime in given.runtime
        for path in given.path
    ]
    if not tasks:
        print("no operator and form of that name; nothing was compared", file=sys.stderr)
        return 2
    rows = []
    with ProcessPoolExecutor(given.jobs) as pool:
        for found in pool.map(_row, tasks):
            rows.append(found)
            print(line(found), flush=True)
    bad = [r for r in rows if not r.ok]
    print(
        f"{len(rows)} rows, {sum(r.models for r in rows)} models, "
        f"{sum(r.compared for r in rows):,} outputs compared, {len(bad)} rows not equal, "
        f"{time.monotonic() - started:.0f} s"
    )
    if given.json:
        given.json.write_text(json.dumps([asdict(r) for r in rows], indent=1) + "\n")
    return 1 if bad else 0


def line(r: Row) -> str:
    text = (
        f"{'ok ' if r.ok else 'BAD'} {r.operator:24} {r.form:18} {r.profile.runtime:10} "
        f"{r.profile.path:9} models {r.models:3} ties {r.ties:3} outputs {r.compared:9} "
        f"differ {r.differing}"
    )
    if r.profile.is_xnnpack:
        text += f" delegated {r.taken}"
    if r.differing:
        text += f" (largest {r.largest:g}; seeds {r.seeds[:5]})"
    if r.mistaken:
        text += f" delegation mistaken: seeds {r.mistaken[:5]}"
    if r.refused:
        text += f" refused {r.refused}: {r.refusal}"
    if r.ours:
        text += f" ours: {r.ours[0]}"
    return text


if __name__ == "__main__":
    sys.exit(main())
