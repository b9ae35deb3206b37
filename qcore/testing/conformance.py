"""Our kernels against an official runtime, on random models of one operator.

python -m qcore.testing.conformance [--op ADD ...] [--form int8 ...] [--path P] [--runtime R]

Each row is an operator, a form, a path and a runtime. Stateful operators are invoked twice. A row
in which anything differs is not ok, unless it is a known difference (KNOWN), and then it must
differ.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from kernels import ops
from kernels.call import Call
from kernels.errors import KernelError
from kernels.profile import PATHS, RUNTIMES, Profile
from qcore.errors import RuntimeFailed
from qcore.peers.child import Child, Items
from qcore.testing import models
from qcore.testing.cases import generators, make
from qcore.testing.draw import Draw

MODES = ("reference", "fast")
MORE = 4
# (operator, form, path, runtime) -> why the integers differ, where we know no rule that makes them.
KNOWN: dict[tuple[str, str, str, str], str] = {
    ("SUM", "int16", "reference", runtime): "half of the output stays as memory happened to be"
    for runtime in RUNTIMES
}


@dataclass(frozen=True)
class Case:
    """One random model. number: the seed."""

    operator: str
    form: str
    number: int
    call: Call


@dataclass
class Row:
    """What one (operator, form, path, runtime) showed.

    compared, differing: output elements, once for both modes.  ties: models with tie-making scales.
    refused: models that the runtime would not run, with its first message.  agreed: of those,
    models that our kernels refuse too.  taken: models that XNNPACK took; mistaken: seeds where
    `delegated` said otherwise.  seeds: those that differ.  ours: messages where the runtime
    answered and we did not.
    """

    operator: str
    form: str
    path: str
    runtime: str
    models: int = 0
    ties: int = 0
    compared: int = 0
    differing: int = 0
    largest: float = 0.0
    refused: int = 0
    agreed: int = 0
    message: str = ""
    taken: int = 0
    mistaken: list[int] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    ours: list[str] = field(default_factory=list)

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.operator, self.form, self.path, self.runtime

    @property
    def equal(self) -> bool:
        """Nothing differs, and something was compared or the runtime has no such kernel."""
        wrong = self.differing or self.ours or self.mistaken
        return not wrong and (self.compared > 0 or self.refused == self.models > 0)

    @property
    def ok(self) -> bool:
        """Equal, or different where that is known: strict both ways."""
        return self.equal != (self.key in KNOWN)

    def merge(self, other: Row) -> None:
        """Take in what further models of the same row showed."""
        for name in ("models", "ties", "compared", "differing", "refused", "agreed", "taken"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.largest = max(self.largest, other.largest)
        self.message = self.message or other.message
        for name in ("mistaken", "seeds", "ours"):
            getattr(self, name).extend(getattr(other, name))

    def add(self, case: Case, answer: Any, modes: Sequence[str] = MODES) -> None:
        """Compare one model's answer, or count its refusal."""
        call = case.call
        self.models += 1
        self.ties += Draw(case.number).ties
        if isinstance(answer, str):
            self.refused += 1
            self.message = self.message or answer
            try:
                follow(call, repeats(call), modes[0])
            except KernelError:
                self.agreed += 1
            return
        theirs, taken = answer
        self.taken += taken
        if call.profile.is_xnnpack and taken != ops.resolve(call).profile.is_xnnpack:
            self.mistaken.append(case.number)
        self.compared += sum(a.size for a in theirs)
        wrong: list[np.ndarray] = [np.zeros(a.shape, bool) for a in theirs]
        for mode in modes:
            try:
                ours = follow(call, repeats(call), mode)
            except KernelError as error:
                self.ours.append(f"seed {case.number}: {error}")
                return
            for a, b, off in zip(ours, theirs, wrong, strict=True):
                if a.shape != b.shape or a.dtype != b.dtype:
                    self.ours.append(
                        f"seed {case.number}: {a.dtype} {a.shape} where the runtime has {b.dtype} "
                        f"{b.shape}"
                    )
                    return
                differs = ~same(a, b)
                if differs.any():
                    off |= differs
                    distance = np.abs(a.astype(np.float64) - b.astype(np.float64))[differs]
                    self.largest = max(self.largest, float(np.nanmax(distance)))
        found = sum(int(np.count_nonzero(off)) for off in wrong)
        if found:
            self.differing += found
            self.seeds.append(case.number)


def repeats(call: Call) -> int:
    """How often a model is invoked before its outputs are compared."""
    return 2 if models.states(call) else 1


def follow(call: Call, times: int, mode: str) -> tuple[np.ndarray, ...]:
    """Our outputs and states after invoking the call `times` times."""
    kept = models.states(call)
    found: tuple[np.ndarray, ...] = ()
    for _ in range(times):
        found = ops.compute(call, mode)
        inputs = list(call.inputs)
        for position, value in zip(kept, found[len(call.outputs) :], strict=True):
            inputs[position] = replace(call[position], data=value)
        call = call.on(inputs=tuple(inputs))
    return found


def same(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Elementwise: the same value; the sign of zero is no difference, NaN equals NaN."""
    if a.dtype.kind == "f":
        return (a == b) | (np.isnan(a) & np.isnan(b))
    return a == b


def items(cases: Iterable[Case], sent: list[Case]) -> Iterator[tuple[bytes, Any, int]]:
    """What the child is given for each case, which is then also in `sent`."""
    for case in cases:
        sent.append(case)
        yield models.to_bytes(case.call), models.arrays(case.call), repeats(case.call)


def answers(cases: Iterable[Case], profile: Profile) -> Iterator[tuple[Case, Any]]:
    """Each case with the runtime's answer: (outputs and states, whether XNNPACK took it), or a
    message. A crash is an answer as well, and the child is started again behind it."""
    waiting: Iterator[Case] = iter(cases)
    first = next(waiting, None)
    while first is not None:
        sent: list[Case] = []
        with Child("qcore.testing.worker:answer", what=str(profile), time_limit=300) as child:
            try:
                for answer in child.stream(
                    profile.runtime,
                    profile.path,
                    Items(),
                    items=items(chain((first,), waiting), sent),
                    ahead=1,
                ):
                    yield sent.pop(0), answer
                first = None
            except RuntimeFailed as error:
                yield sent.pop(0), str(error)
                # Those that were sent ahead have no answer: they go first into the next child.
                waiting = chain(sent, waiting)
                first = next(waiting, None)


def rows(
    profile: Profile, wanted: Sequence[tuple[str, str]], seeds: Sequence[int], size: int,
    modes: Sequence[str] = MODES,
) -> Iterator[Row]:  # fmt: skip
    """A row for each (operator, form), as it is complete."""
    return _rows(profile, [(o, f, seeds) for o, f in wanted], size, modes)


def _rows(
    profile: Profile, wanted: Iterable[tuple[str, str, Sequence[int]]], size: int,
    modes: Sequence[str] = MODES,
) -> Iterator[Row]:  # fmt: skip
    """The same with seeds of its own for each row."""
    cases = (
        Case(operator, form, seed, make(operator, form, seed, size).on(profile=profile))
        for operator, form, seeds in wanted
        for seed in seeds
    )
    row: Row | None = None
    for case, answer in answers(cases, profile):
        if row is None or (row.operator, row.form) != (case.operator, case.form):
            if row is not None:
                yield row
            row = Row(case.operator, case.form, profile.path, profile.runtime)
        row.add(case, answer, modes)
    if row is not None:
        yield row


def _share(
    profile: Profile, wanted: Sequence[tuple[str, str]], seeds: range, outputs: int
) -> list[Row]:
    """Rows with at least `outputs` elements, where some more models (MORE times as many at most)
    make so many."""
    size = -(-outputs // len(seeds))
    found = list(rows(profile, wanted, seeds, size))
    short = {(r.operator, r.form): r for r in found if 0 < r.compared < outputs}
    further = []
    for key, row in short.items():
        lacking = min(1.6 * (outputs / row.compared - 1), MORE)
        more = max(1, round(len(seeds) * lacking))
        further.append((*key, range(seeds.stop, seeds.stop + more)))
    for extra in _rows(profile, further, size):
        short[extra.operator, extra.form].merge(extra)
    return found


def line(r: Row) -> str:
    """A row as a line of text."""
    text = (
        f"{'ok ' if r.ok else 'BAD'} {r.operator:24} {r.form:20} {r.runtime:10} {r.path:9} "
        f"models {r.models:3} ties {r.ties:3} outputs {r.compared:9,} differ {r.differing:,}"
    )
    if r.path == "xnnpack":
        text += f" by XNNPACK {r.taken}"
    if r.differing:
        text += f" (largest {r.largest:g}; seeds {r.seeds[:5]})"
    if r.mistaken:
        text += f" delegation mistaken: seeds {r.mistaken[:5]}"
    if r.refused:
        text += f" refused {r.refused} (ours {r.agreed}): {r.message}"
    if r.ours:
        text += f" ours: {r.ours[0]}"
    return text


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m qcore.testing.conformance", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--op", nargs="+", help="operators (all)")
    parser.add_argument("--form", nargs="+", help="forms (all)")
    parser.add_argument("--path", nargs="+", choices=PATHS, default=list(PATHS))
    parser.add_argument("--runtime", nargs="+", choices=list(RUNTIMES), default=list(RUNTIMES))
    parser.add_argument("--models", type=int, default=30, help="random models a row")
    parser.add_argument(
        "--outputs", type=int, default=200_000, help="output elements a row, at least"
    )
    parser.add_argument("--seed", type=int, default=0, help="first seed")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    given = parser.parse_args(argv)
    wanted = [
        (operator, form)
        for operator, form in generators()
        if (not given.op or operator in given.op) and (not given.form or form in given.form)
    ]
    if not wanted:
        print("no operator and form of that name; nothing was compared", file=sys.stderr)
        return 2
    began = time.monotonic()
    seeds = range(given.seed, given.seed + given.models)
    profiles = [Profile(path, runtime) for runtime in given.runtime for path in given.path]
    # Several shares of a profile, so that the processes end at about the same time.
    shares = [wanted[i :: given.jobs * 2] for i in range(given.jobs * 2)]
    found: list[Row] = []
    with ProcessPoolExecutor(given.jobs) as pool:
        work = [
            pool.submit(_share, p, s, seeds, given.outputs) for p in profiles for s in shares if s
        ]
        for part in work:
            for row in part.result():
                found.append(row)
                print(line(row), flush=True)
    found.sort(key=lambda r: r.key)
    bad = [r for r in found if not r.ok]
    seconds = time.monotonic() - began
    print(
        f"{len(found)} rows, {sum(r.models for r in found):,} models, "
        f"{sum(r.compared for r in found):,} outputs compared, {len(bad)} rows not as they should "
        f"be, {seconds:.0f} s"
    )
    for row in bad:
        print(line(row))
    if given.json:
        _save(given.json, found, seconds)
    return 1 if bad or not any(r.compared for r in found) else 0


def _save(path: Path, found: Sequence[Row], seconds: float) -> None:
    from importlib import metadata

    from tflite_schema import files

    names = ("tflite-qcore", "numpy", "numba", "ai-edge-litert", "tensorflow")
    packages = {name: metadata.version(name) for name in names}
    kept = ("models", "ties", "compared", "differing", "refused", "taken")
    key = ("operator", "form", "path", "runtime")
    table = [{**dict(zip(key, r.key)), **{k: getattr(r, k) for k in kept}} for r in found]
    data = {"packages": packages, "seconds": round(seconds), "rows": table}
    files.replace(path, ((json.dumps(data, indent=0) + "\n").encode(),))


if __name__ == "__main__":
    sys.exit(main())
