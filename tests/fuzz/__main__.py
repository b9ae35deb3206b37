"""Coverage-guided fuzzing of the readers of files, by Atheris (libFuzzer).

    python -m tests.fuzz --minutes 30
    python -m tests.fuzz --target recipe calibration arrays --minutes 15
    python -m tests.fuzz --replay FILE [--target recipe]

Prints executions, coverage, peak memory and the slowest input of each target. A finding ends its
target: the smallest input that shows it is saved under --findings, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.fuzz import target as kit
from tests.fuzz.shrink import kind, smaller

NEEDED = "fuzzing needs atheris and coverage: pip install 'tflite-qcore[fuzz]'"
HANG_S = 30  # libFuzzer's watch, above LIMIT_S: for what does not come back at all
MEMORY_MB = 1024
SHRINK_S = 60.0


@dataclass
class Result:
    """What a target showed. executions: as libFuzzer counts them.  finding: the saved input."""

    target: str
    seconds: float = 0.0
    executions: int = 0
    seeds: int = 0
    corpus: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    lines: float = 0.0
    branches: float = 0.0
    files: dict[str, Any] = field(default_factory=dict)
    peak_mb: float = 0.0
    slowest_s: float = 0.0
    finding: str = ""
    says: str = ""

    def __str__(self) -> str:
        seen = ", ".join(f"{n:,} {what}" for what, n in sorted(self.outcomes.items()))
        rows = [
            f"{self.target}: {self.executions:,} executions in {self.seconds:.0f} s ({seen})",
            f"  from {self.seeds} seeds to {self.corpus} inputs that each reach something new",
            f"  coverage {self.lines:.1f} % of lines, {self.branches:.1f} % of branches",
        ]
        for file, row in self.files.items():
            rows.append(
                f"    {file:40} {row['covered_lines']:4} of {row['num_statements']:4} lines,"
                f" {row['covered_branches']:4} of {row['num_branches']:4} branches"
            )
        rows.append(f"  peak memory {self.peak_mb:.0f} MB, slowest input {self.slowest_s:.3f} s")
        if self.finding:
            rows += [f"  FINDING {self.finding}", f"  {self.says}"]
        return "\n".join(rows)


def search(name: str, seconds: float, seed: int, corpus: Path, findings: Path) -> Result:
    """Fuzz one target in a child process; what it found is made small."""
    corpus.mkdir(parents=True, exist_ok=True)
    seeds = [*kit.load(name).seeds(), *(p.read_bytes() for p in kit.regressions(name))]
    for data in seeds:
        (corpus / hashlib.sha1(data).hexdigest()).write_bytes(data)
    result = Result(name, seeds=len(seeds))
    with tempfile.TemporaryDirectory(prefix="fuzz-") as place:
        work = Path(place)
        words = work / "words"
        words.write_text("".join(f'"{_quoted(w)}"\n' for w in kit.load(name).words))
        state, log = work / "state.json", work / "log"
        flags = [
            f"-max_total_time={max(1, round(seconds))}", f"-seed={seed}",
            f"-max_len={kit.MAX_BYTES}", f"-timeout={HANG_S}", f"-rss_limit_mb={MEMORY_MB}",
            f"-artifact_prefix={work}/found-",
            f"-dict={words}", "-print_final_stats=1", "-len_control=0",
        ]  # fmt: skip
        command = [sys.executable, "-m", "tests.fuzz.engine", "fuzz", name, str(state)]
        began = time.monotonic()
        with open(log, "wb") as said:
            child = subprocess.Popen(
                [*command, str(corpus), *flags],
                stdout=said, stderr=said, env={**os.environ, "TMPDIR": place},
            )  # fmt: skip
            try:
                _follow(name, child, state, began)
            except KeyboardInterrupt:
                print(f"{name}: interrupted", file=sys.stderr)
            finally:
                child.terminate()
                child.wait()
        result.seconds = time.monotonic() - began
        text = log.read_text("utf-8", "replace")
        counted = re.findall(r"number_of_executed_units:\s*(\d+)", text)
        if state.exists():
            seen = json.loads(state.read_text())
            result.outcomes, result.slowest_s = seen["outcomes"], seen["slowest"]
            result.peak_mb = seen["peak_mb"]
        result.executions = int(counted[-1]) if counted else sum(result.outcomes.values())
        peaks = re.findall(r"peak_rss_mb:\s*(\d+)", text)
        result.peak_mb = max(result.peak_mb, *map(float, peaks), 0.0)
        found = sorted(work.glob("found-*"))
        if found:
            _report(result, found[0], findings, text)
        elif not counted and child.returncode not in (0, -15):
            sys.exit(f"{name}: the engine stopped with {child.returncode}\n{text[-3000:]}")
    result.corpus = sum(1 for _ in corpus.iterdir())
    _measure(result, corpus)
    return result


def _quoted(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


def _follow(name: str, child: subprocess.Popen[bytes], state: Path, began: float) -> None:
    """Wait, with a line a minute."""
    while True:
        try:
            child.wait(60)
            return
        except subprocess.TimeoutExpired:
            if state.exists():
                done = sum(json.loads(state.read_text())["outcomes"].values())
                print(
                    f"{name}: {time.monotonic() - began:.0f} s, {done:,} inputs",
                    file=sys.stderr, flush=True,
                )  # fmt: skip


def _report(result: Result, found: Path, findings: Path, log: str) -> None:
    """Make the input small and keep it."""
    data = found.read_bytes()
    label = found.name.removeprefix("found-").split("-")[0]
    first = _failure(result.target, data) if label == "crash" else None
    if first is not None:
        data = smaller(data, lambda tried: _failure(result.target, tried) == first, SHRINK_S)
        result.says = f"{first}: {_message(result.target, data)}"
    else:  # it hangs, takes memory or kills: only a process of its own may try it
        result.says = f"{label}: {log[-1000:]}"
    findings.mkdir(parents=True, exist_ok=True)
    name = f"{result.target}-{label}-{hashlib.sha1(data).hexdigest()[:12]}.bin"
    (findings / name).write_bytes(data)
    result.finding = str(findings / name)


def _failure(name: str, data: bytes) -> str | None:
    try:
        kit.check(kit.load(name), data)
    except Exception as error:
        return kind(error)
    return None


def _message(name: str, data: bytes) -> str:
    try:
        kit.check(kit.load(name), data)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _measure(result: Result, corpus: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="fuzz-") as place:
        out = Path(place) / "coverage.json"
        command = [sys.executable, "-m", "tests.fuzz.engine", "measure", result.target]
        done = subprocess.run(
            [*command, str(out), str(corpus)], capture_output=True, text=True,
            env={**os.environ, "TMPDIR": place},
        )  # fmt: skip
        if done.returncode:
            print(f"{result.target}: not measured: {done.stderr[-500:]}", file=sys.stderr)
            return
        found = json.loads(out.read_text())
    total = found["total"]
    result.lines = 100 * total["covered_lines"] / total["num_statements"]
    result.branches = 100 * total["covered_branches"] / max(1, total["num_branches"])
    result.files = found["files"]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--target", nargs="+", choices=list(kit.MODULES), default=["reader"])
    parser.add_argument("--minutes", type=float, default=30, help="in all, shared by the targets")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", type=Path, help="folder to go on from and to keep what is new")
    parser.add_argument("--findings", type=Path, default=Path("out/fuzz"))
    parser.add_argument("--json", type=Path, help="write the results")
    parser.add_argument("--replay", type=Path, nargs="+", help="only try these inputs")
    arguments = parser.parse_args()
    if arguments.replay:
        target = kit.load(arguments.target[0])
        for file in arguments.replay:
            outcome, took = kit.check(target, file.read_bytes())
            print(f"{file}: {outcome}, {took:.3f} s, peak {kit.peak_mb():.0f} MB")
        return 0
    if find_spec("atheris") is None or find_spec("coverage") is None:
        print(NEEDED, file=sys.stderr)
        return 2
    results = []
    with tempfile.TemporaryDirectory(prefix="fuzz-") as place:
        for name in arguments.target:
            corpus = (arguments.corpus or Path(place)) / name
            seconds = 60 * arguments.minutes / len(arguments.target)
            results.append(search(name, seconds, arguments.seed, corpus, arguments.findings))
            print(results[-1], flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps([vars(r) for r in results], indent=1) + "\n")
    return int(any(r.finding for r in results))


if __name__ == "__main__":
    sys.exit(main())
