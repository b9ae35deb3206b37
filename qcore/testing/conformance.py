"""Our kernels against an official runtime, on random models of one operator.

python -m qcore.testing.conformance [--op ADD ...] [--form int8 ...] [--path P] [--runtime R]
                                    [--targets all]

Each row is an operator, a form, a path and a runtime: its `reference` and `fast`, and the kernels
that its `lower` compiles for each target. Stateful operators are invoked twice. A row in which
anything differs is not ok, unless it is a known difference (KNOWN), and then it must differ.
"""

from __future__ import annotations

import argparse
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
from kernels.simd import target
from kernels.simd.build import CompilerFailed
from kernels.simd.program import Plan
from qcore.errors import RuntimeFailed
from qcore.peers.child import Child, Items
from qcore.testing import lowered, measured, models
from qcore.testing.cases import generators, make
from qcore.testing.draw import Draw

MODES = ("reference", "fast")
MORE = 4
HELD = 1 << 28  # bytes of inputs and answers that wait for their kernels
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
class Kernels:
    """What compiled kernels of one target showed. calls: that are lowered.  compared, differing:
    their output elements.  seeds: of calls that differ."""

    calls: int = 0
    compared: int = 0
    differing: int = 0
    seeds: list[int] = field(default_factory=list)

    def __add__(self, other: Kernels) -> Kernels:
        return Kernels(
            self.calls + other.calls,
            self.compared + other.compared,
            self.differing + other.differing,
            self.seeds + other.seeds,
        )


@dataclass
class Row:
    """What one (operator, form, path, runtime) showed.

    compared, differing: output elements, once for both modes.  ties: models with tie-making scales.
    refused: models that the runtime would not run, with its first message.  agreed: of those,
    models that our kernels refuse too.  taken: models that XNNPACK took; mistaken: seeds where
    `delegated` said otherwise.  seeds: those that differ.  ours: messages where the runtime
    answered and we did not.  kernels: by target, for the targets that were asked for.
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
    kernels: dict[str, Kernels] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.operator, self.form, self.path, self.runtime

    @property
    def equal(self) -> bool:
        """Nothing differs, and something was compared or the runtime has no such kernel."""
        wrong = self.differing or self.ours or self.mistaken
        wrong = wrong or any(k.differing for k in self.kernels.values())
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
        for name, found in other.kernels.items():
            self.kernels[name] = self.kernels.get(name, Kernels()) + found

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

    def add_compiled(
        self, name: str, case: Case, plan: Plan, theirs: Sequence[np.ndarray]
    ) -> None:  # fmt: skip
        """Compare what the plan's kernels make; name: of the target, which is in use."""
        found = Kernels(1)
        try:
            ours = lowered.run(case.call, lowered.finish(case.call, plan))
        except CompilerFailed as error:
            self.ours.append(f"seed {case.number}, {name}: {error}")
            return
        for a, b in zip(ours, theirs, strict=True):
            found.compared += b.size
            found.differing += int(np.count_nonzero(~same(a, b)))
        if found.differing:
            found.seeds.append(case.number)
        self.kernels[name] += found


class Compiling:
    """Calls with their answers, waiting for compiled kernels, so that a child compiles many."""

    def __init__(self, targets: Sequence[str]):
        self.targets = tuple(targets)
        self._waiting: list[tuple[Row, Case, list[np.ndarray]]] = []
        self._held = 0

    def add(self, row: Row, case: Case, answer: Any) -> None:
        if isinstance(answer, str) or not self.targets:
            return
        for name in self.targets:
            row.kernels.setdefault(name, Kernels())
        theirs = answer[0][: len(case.call.outputs)]
        self._waiting.append((row, case, theirs))
        self._held += sum(a.nbytes for a in (*theirs, *models.arrays(case.call)))
        if self._held > HELD:
            self.finish()

    def finish(self) -> None:
        """Compile, compute and compare what waits."""
        for name in self.targets:
            with target.use(name):
                planned = [
                    (row, case, theirs, plan)
                    for row, case, theirs in self._waiting
                    if (plan := _planned(row, case, theirs)) is not None
                ]
                try:
                    lowered.compile_all(plan for *_, plan in planned)
                except CompilerFailed:
                    pass  # the row whose kernel it is says so
                for row, case, theirs, plan in planned:
                    row.add_compiled(name, case, plan, theirs)
        self._waiting.clear()
        self._held = 0


def _planned(row: Row, case: Case, theirs: Sequence[np.ndarray]) -> Plan | None:
    """None where a program would compute the call in Python."""
    try:
        return lowered.plan(case.call, theirs)
    except KernelError:
        return None
    except AssertionError as error:
        row.ours.append(f"seed {case.number}: {error}")
        return None


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
    modes: Sequence[str] = MODES, compiling: Compiling | None = None,
) -> Iterator[Row]:  # fmt: skip
    """A row for each (operator, form), as it is complete; compiled kernels are still to come where
    `compiling` is given."""
    return _rows(profile, [(o, f, seeds) for o, f in wanted], size, modes, compiling)


def _rows(
    profile: Profile, wanted: Iterable[tuple[str, str, Sequence[int]]], size: int,
    modes: Sequence[str] = MODES, compiling: Compiling | None = None,
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
        if compiling is not None:
            compiling.add(row, case, answer)
    if row is not None:
        yield row


def share(
    profile: Profile, wanted: Sequence[tuple[str, str]], seeds: range, outputs: int,
    targets: Sequence[str],
) -> list[Row]:  # fmt: skip
    """Rows with at least `outputs` elements, where some more models (MORE times as many at most)
    make so many."""
    size = -(-outputs // len(seeds))
    compiling = Compiling(targets)
    found = list(rows(profile, wanted, seeds, size, compiling=compiling))
    short = {(r.operator, r.form): r for r in found if 0 < r.compared < outputs}
    further = []
    for key, row in short.items():
        lacking = min(1.6 * (outputs / row.compared - 1), MORE)
        more = max(1, round(len(seeds) * lacking))
        further.append((*key, range(seeds.stop, seeds.stop + more)))
    extras = list(_rows(profile, further, size, compiling=compiling))
    compiling.finish()
    for extra in extras:
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
    if r.kernels:
        text += _compiled_words(r)
    if r.differing:
        text += f" (largest {r.largest:g}; seeds {r.seeds[:5]})"
    if r.mistaken:
        text += f" delegation mistaken: seeds {r.mistaken[:5]}"
    if r.refused:
        text += f" refused {r.refused} (ours {r.agreed}): {r.message}"
    if r.ours:
        text += f" ours: {r.ours[0]}"
    return text


def _compiled(r: Row) -> int:
    """Calls of all targets."""
    return sum(k.calls for k in r.kernels.values())


def _compiled_words(r: Row) -> str:
    """Targets with the same counts share their words."""
    said: dict[str, list[str]] = {}
    for name, k in r.kernels.items():
        if k.calls:
            seeds = f" (seeds {k.seeds[:5]})" if k.seeds else ""
            words = f"{k.calls} calls, {k.compared:,} outputs differ {k.differing:,}{seeds}"
            said.setdefault(words, []).append(name)
    return " compiled: " + ("; ".join(f"{' '.join(t)} {w}" for w, t in said.items()) or "none")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m qcore.testing.conformance", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--op", nargs="+", help="operators (all)")
    parser.add_argument("--form", nargs="+", help="forms (all)")
    parser.add_argument("--path", nargs="+", choices=PATHS, default=list(PATHS))
    parser.add_argument("--runtime", nargs="+", choices=list(RUNTIMES), default=list(RUNTIMES))
    parser.add_argument(
        "--targets", nargs="*", choices=["all", *target.TARGETS], default=[target.host().name],
        help="vector code to compile kernels for; all: what this machine runs; none: no kernels",
    )  # fmt: skip
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
    targets = target.available() if "all" in given.targets else tuple(given.targets)
    if absent := set(targets) - set(target.available()):
        print(f"this machine does not run {', '.join(sorted(absent))}", file=sys.stderr)
        return 2
    began = time.monotonic()
    seeds = range(given.seed, given.seed + given.models)
    profiles = [Profile(path, runtime) for runtime in given.runtime for path in given.path]
    # Several shares of a profile, so that the processes end at about the same time.
    shares = [wanted[i :: given.jobs * 2] for i in range(given.jobs * 2)]
    found: list[Row] = []
    with ProcessPoolExecutor(given.jobs) as pool:
        work = [
            pool.submit(share, p, s, seeds, given.outputs, targets)
            for p in profiles
            for s in shares
            if s
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
    for name in targets:
        k = sum((r.kernels[name] for r in found if name in r.kernels), Kernels())
        print(
            f"compiled kernels, {name}: {k.calls:,} calls, {k.compared:,} outputs compared, "
            f"{k.differing:,} differ"
        )
    if none := [r for r in found if targets and r.compared and not _compiled(r)]:
        print(f"{len(none)} rows have no call that is compiled")
    for row in bad:
        print(line(row))
    if given.json:
        _save(given.json, found, seconds)
    return 1 if bad or not any(r.compared for r in found) else 0


def _save(path: Path, found: Sequence[Row], seconds: float) -> None:
    from importlib import metadata

    names = ("tflite-qcore", "numpy", "numba", "ai-edge-litert", "tensorflow")
    packages = {name: metadata.version(name) for name in names}
    kept = ("models", "ties", "compared", "differing", "refused", "taken")
    key = ("operator", "form", "path", "runtime")
    table: list[dict[str, Any]] = [
        {**dict(zip(key, r.key)), **{k: getattr(r, k) for k in kept}} for r in found
    ]
    for row, r in zip(table, found):
        row["kernels"] = {n: [k.calls, k.compared, k.differing] for n, k in r.kernels.items()}
    data = {"packages": packages, "seconds": round(seconds), "rows": table}
    measured.save(path, data)


if __name__ == "__main__":
    sys.exit(main())
