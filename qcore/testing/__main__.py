"""Every property of the kit, on new random cases for some minutes, or on the same few.

python -m qcore.testing                     new cases for 50 minutes on two cores, both runtimes
python -m qcore.testing --minutes 10        the same for another time
python -m qcore.testing --short             the same few cases each time, in about a minute

Prints a row for each property: cases, outputs compared and with what, failures. What fails is
shrunk and written to a folder of its own. Exit code 0 when all are equal and each property compared
something, 1 when not, 130 when interrupted.
"""

from __future__ import annotations

import argparse
import multiprocessing
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from random import SystemRandom

from kernels.profile import RUNTIMES
from qcore.peers.interpreter import installed
from qcore.testing import measured
from qcore.testing.properties import Outcome, Task, deep, short

MINUTES = 50.0
PACKAGES = ("tflite-qcore", "hypothesis", "numpy", "numba", "ai-edge-litert", "tensorflow")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m qcore.testing", description=__doc__.splitlines()[0]
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--minutes", type=float, default=MINUTES, help="how long to look at new random cases (50)"
    )
    how.add_argument("--short", action="store_true", help="the same few cases each time")
    parser.add_argument(
        "--runtime", nargs="+", choices=list(RUNTIMES),
        help="to compare with (those that are installed; --short: litert)",
    )  # fmt: skip
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--seed", type=int, help="the first, for the same cases again")
    parser.add_argument("--folder", type=Path, help="for cases that fail (a temporary one)")
    parser.add_argument("--json", type=Path, help="write the table to this file")
    given = parser.parse_args(argv)
    wanted = given.runtime or (["litert"] if given.short else list(RUNTIMES))
    runtimes = [name for name in wanted if installed(name)]
    if not runtimes or (given.runtime and len(runtimes) < len(wanted)):
        print(f"{', '.join(wanted)}: not installed; nothing to compare with", file=sys.stderr)
        return 2
    if given.jobs < 1 or given.minutes <= 0:
        print("--jobs and --minutes have to be above 0", file=sys.stderr)
        return 2
    seed = SystemRandom().randrange(1 << 31) if given.seed is None else given.seed
    began = time.monotonic()
    if given.short:
        tasks, until = short(runtimes, given.folder), float("inf")
    else:
        tasks = deep(runtimes, given.folder, seed, given.minutes, given.jobs)
        until = began + 60 * given.minutes
    try:
        found = run(tasks, given.jobs, until, lambda f: print(f"failed: {f}", file=sys.stderr))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    seconds = time.monotonic() - began
    print(table(found))
    print(f"{seconds:.0f} s" + ("" if given.short else f", seed {seed}"))
    if given.json:
        save(given.json, found, seconds, None if given.short else seed)
    return 0 if found and all(o.ok for o in found) else 1


def run(
    tasks: Iterator[Task], jobs: int, until: float, tell: Callable[[str], None]
) -> list[Outcome]:
    """Outcomes by property, in the order of their first task; no task begins after `until`
    (time.monotonic). tell: is given each failure when it is found."""
    found: dict[tuple[str, str], Outcome] = {}
    running: dict[Future[Outcome], Task] = {}
    pool = ProcessPoolExecutor(jobs, initializer=signal.signal, initargs=_QUIET)
    try:
        while True:
            while len(running) < jobs and time.monotonic() < until:
                task = next(tasks, None)
                if task is None:
                    break
                running[pool.submit(task.run, *task.arguments)] = task
            if not running:
                return list(found.values())
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                outcome = _outcome(done, running.pop(done))
                for failure in outcome.failures:
                    tell(failure)
                key = outcome.name, outcome.against
                found.setdefault(key, Outcome(*key)).add(outcome)
    except BaseException:
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


_QUIET = (signal.SIGINT, signal.SIG_IGN)  # an interrupt is the parent's to handle


def _outcome(done: Future[Outcome], task: Task) -> Outcome:
    """What the task found; that it failed itself is a finding as well."""
    try:
        return done.result()
    except BrokenProcessPool:
        raise
    except Exception as error:
        trace = getattr(error.__cause__, "tb", "")  # of the other process, as text
        where = [line.strip() for line in str(trace).splitlines() if line.startswith("  File ")]
        said = f"{type(error).__name__}: {error}" + "".join(f" ({w})" for w in where[-1:])
        return Outcome(task.run.__name__, failures=[said])


def table(found: Sequence[Outcome]) -> str:
    """A row for each property, and sums."""
    rows = [("property", "with", "cases", "compared", "failures")]
    for o in found:
        failed = str(len(o.failures)) if o.failures or o.compared else "nothing was compared"
        rows.append((o.name, o.against, f"{o.examples:,}", f"{o.compared:,}", failed))
    theirs = sum(o.compared for o in found if o.against)
    rows.append(
        (
            "altogether",
            f"{theirs:,} with runtimes",
            f"{sum(o.examples for o in found):,}",
            f"{sum(o.compared for o in found):,}",
            str(sum(len(o.failures) for o in found)),
        )
    )
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    return "\n".join(
        "  ".join(c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths)))
        for row in rows
    )


def save(path: Path, found: Sequence[Outcome], seconds: float, seed: int | None) -> None:
    """The same as JSON."""
    rows = [
        {"property": o.name, "with": o.against, "cases": o.examples, "compared": o.compared,
         "failures": len(o.failures)}
        for o in found
    ]  # fmt: skip
    told = [sentence for o in found for sentence in o.failures]
    about = {"seconds": round(seconds), "seed": seed, "failed": told}
    title = "Properties, random cases"
    measured.save(path, {"title": title, **measured.machine(PACKAGES), **about, "rows": rows})


if __name__ == "__main__":
    sys.exit(main())
