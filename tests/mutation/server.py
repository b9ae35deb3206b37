"""Runs the tests that concern a file on one mutant after another, in a fork each.

    python -m tests.mutation.server fresh FILE OPTIONS ...
    python -m tests.mutation.server loaded FILE OPTIONS ...

in a copy of the tree; one JSON line a mutant on standard input, one back on the output. "fresh"
loads only the libraries before it forks, writes the mutant in place of FILE, and imports kernels,
qcore and the tests in the fork. "loaded" has collected the tests when it forks and then gives
the functions of the module the code of the mutant's: many times faster, and the same where nothing
but the body of a function differs. Its quickest tests come first.

Hypothesis stops at the first failure: which example is the simplest does not matter here. It draws
the examples that `make test` draws.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

MEMORY = 16 << 30
COMMON = ("-x", "-q", "-p", "no:cacheprovider", "--capture=no")


class Quick:
    """A pytest plugin: tests with fixed examples first, and no shrinking."""

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items.sort(key=lambda item: getattr(item.function, "is_hypothesis_test", False))

    def pytest_sessionstart(self) -> None:
        from hypothesis import Phase, settings

        settings.register_profile(
            "mutation", settings(), phases=(Phase.explicit, Phase.generate),
            report_multiple_bugs=False, database=None,
        )  # fmt: skip
        settings.load_profile("mutation")


def watched(child: int, seconds: float) -> tuple[str, float]:
    """("passed", "failed" or "timeout", seconds) of a fork that runs tests."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            if code in (4, 5, 99):
                raise SystemExit(f"pytest could not run the tests (exit code {code})")
            return ("failed" if code else "passed"), time.monotonic() - began
        time.sleep(0.005)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "timeout", time.monotonic() - began


def forked() -> int:
    """os.fork, the child in a group of its own, silent, its memory limited."""
    child = os.fork()
    if child == 0:
        import resource

        os.setsid()
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
    return child


def serve(run: Callable[[str | None, float], tuple[str, float]], out: Any) -> None:
    """The unchanged file first, then what comes in."""
    state, took = run(None, 3600)
    print(json.dumps({"state": state, "seconds": took}), file=out, flush=True)
    for line in sys.stdin:
        state, seconds = run(json.loads(line)["source"], 20 + 6 * took)
        print(json.dumps({"state": state, "seconds": seconds}), file=out, flush=True)


def fresh(file: Path, options: list[str]) -> None:
    # What the tests load of others; nothing of ours.
    import hypothesis.strategies
    import llvmlite.binding
    import numba
    import numba.core.event
    import numpy
    import pytest

    _: Any = (hypothesis, llvmlite, numba, numpy)
    root, original = Path.cwd(), file.read_text("utf-8")

    def run(source: str | None, seconds: float) -> tuple[str, float]:
        for compiled in (file.parent / "__pycache__").glob(f"{file.stem}.*.pyc"):
            compiled.unlink()
        sys.dont_write_bytecode = source is not None
        if source is not None:
            file.write_text(source, "utf-8")
        child = forked()
        if child == 0:
            code = 3
            try:
                code = int(pytest.main([*options, *COMMON], plugins=[Quick()]))
                if not str(sys.modules["kernels"].__file__).startswith(str(root)):
                    code = 99
            finally:
                os._exit(code)
        try:
            return watched(child, seconds)
        finally:
            file.write_text(original, "utf-8")

    serve(run, sys.stdout)


class Loaded(Quick):
    """A pytest plugin that forks where the tests would run; the child then runs them."""

    def __init__(self, module: str, out: Any) -> None:
        self.module, self.out = module, out
        self.took: Any = None  # a file, while the unchanged module is tested

    def pytest_runtest_logreport(self, report: Any) -> None:
        if self.took is not None:
            print(json.dumps([report.nodeid, report.duration]), file=self.took, flush=True)

    def pytest_runtestloop(self, session: Any) -> bool | None:
        class Child(Exception):
            pass

        def run(source: str | None, seconds: float) -> tuple[str, float]:
            child = forked()
            if child == 0:
                if source is not None:
                    exchange(sys.modules[self.module], source)
                raise Child
            answer = watched(child, seconds)
            if source is None:
                self.took.seek(0)
                took: Counter[str] = Counter()
                for line in self.took:
                    name, duration = json.loads(line)
                    took[name] += duration
                self.took = None
                session.items.sort(key=lambda item: took[item.nodeid])
            return answer

        self.took = tempfile.TemporaryFile("w+")
        try:
            serve(run, self.out)
        except Child:
            return None
        return True


def exchange(module: ModuleType, source: str) -> None:
    """Give every function of the module the code that it has in another text of it."""
    made: dict[str, Any] = {"__name__": module.__name__, "__file__": module.__file__}
    exec(compile(source, str(module.__file__), "exec"), made)
    for name, old in vars(module).items():
        if getattr(old, "__module__", None) != module.__name__:
            continue
        if isinstance(old, FunctionType):
            old.__code__ = made[name].__code__
        elif isinstance(old, type):
            for key, method in vars(old).items():
                if isinstance(method, FunctionType) and isinstance(
                    vars(made[name]).get(key), FunctionType
                ):
                    method.__code__ = vars(made[name])[key].__code__


def loaded(file: Path, options: list[str]) -> None:
    import pytest

    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what pytest prints is no answer
    plugin = Loaded(".".join(file.with_suffix("").parts), out)
    code = int(pytest.main([*options, *COMMON], plugins=[plugin]))
    os._exit(code)


if __name__ == "__main__":
    {"fresh": fresh, "loaded": loaded}[sys.argv[1]](Path(sys.argv[2]), sys.argv[3:])
