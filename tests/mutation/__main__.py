"""Which mutants of the numeric core our tests do not notice, by cosmic-ray's operators.

    python -m tests.mutation                          every file of TABLE; hours
    python -m tests.mutation kernels/rounding.py
    python -m tests.mutation kernels/rounding.py --again    only what survived before, by new tests
    python -m tests.mutation --document               docs/mutation.md from the recorded results

The tree is copied to a temporary folder and mutated there, in a random order; Ctrl-C keeps what was
tried of a file. Results go to results.json beside this file, a file at a time; a survivor that
`equivalent.toml` does not explain makes the exit code 1.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.mutation import document
from tests.mutation.mutants import Mutant, again, mutants

ROOT = Path(__file__).resolve().parents[2]
NEEDED = "the mutation check needs cosmic-ray: pip install 'tflite-qcore[mutation]'"
COPIED = ("kernels", "qcore", "tflite_schema", "tests", "examples", "docs", "setup.cfg",
          "pyproject.toml", "Makefile", "README.md")  # fmt: skip
KERNELS = "tests/kernels/"


@dataclass(frozen=True)
class Subject:
    """A file and the tests that concern it: pytest's arguments. sample: most mutants, 0 for all."""

    tests: tuple[str, ...]
    sample: int = 0


def _operator(name: str) -> tuple[str, ...]:
    """The tests that run in this process: no official runtime or converter is asked."""
    return (
        f"{KERNELS}test_ops.py", f"{KERNELS}test_delegated.py", f"{KERNELS}test_opspec.py",
        "-k",
        f"[{name}] or [{name}- or test_specs or test_version or test_document_is or test_ratios",
    )  # fmt: skip


TABLE: dict[str, Subject] = {
    "kernels/rounding.py": Subject((f"{KERNELS}test_rounding.py",)),
    "kernels/fixedpoint.py": Subject((f"{KERNELS}test_fixedpoint.py",)),
    "kernels/affine.py": Subject((f"{KERNELS}test_affine.py",)),
    "kernels/ops/add.py": Subject(_operator("ADD")),
    "kernels/ops/average_pool_2d.py": Subject(_operator("AVERAGE_POOL_2D")),
    "kernels/ops/mul.py": Subject(_operator("MUL")),
    "kernels/ops/fully_connected.py": Subject(_operator("FULLY_CONNECTED"), 300),
}


class Server:
    """A child process that runs tests on mutants of one file; kind: "fresh" or "loaded"."""

    def __init__(self, kind: str, tree: Path, file: str, tests: tuple[str, ...]) -> None:
        self.child = subprocess.Popen(
            [sys.executable, "-m", "tests.mutation.server", kind, file, *tests], cwd=tree,
            text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env={**os.environ, "QCORE_CACHE": str(tree / "cache"), "PYTHONHASHSEED": "0"},
        )  # fmt: skip
        self.baseline = self._answer()
        if self.baseline["state"] != "passed":
            sys.exit(f"the tests of {file} do not pass without a mutant")

    def _answer(self) -> dict[str, Any]:
        assert self.child.stdout is not None
        line = self.child.stdout.readline()
        if not line:
            sys.exit(f"the server stopped with {self.child.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def run(self, mutant: Mutant) -> dict[str, Any]:
        assert self.child.stdin is not None
        self.child.stdin.write(json.dumps({"source": mutant.source}) + "\n")
        self.child.stdin.flush()
        return self._answer()

    def close(self) -> None:
        assert self.child.stdin is not None
        self.child.stdin.close()
        self.child.terminate()
        self.child.wait()


def copied(place: Path) -> Path:
    """The tree without what is made."""
    tree = place / "tree"
    tree.mkdir()
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tree / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, tree / name)
    return tree


def examine(
    file: str, subject: Subject, sample: int, before: dict[str, Any] | None, log: Path | None
) -> dict[str, Any]:
    """Run every mutant of a file, or the survivors of a result; counts and survivors."""
    source = (ROOT / file).read_text("utf-8")
    states: dict[str, int] = {"failed": 0, "timeout": 0, "passed": 0}
    if before is not None:
        chosen = [again(source, row) for row in before["survivors"]]
        count, tried = before["mutants"], before["tried"]
        states["failed"] = tried - before["timeouts"] - len(chosen)
        states["timeout"] = before["timeouts"]
    else:
        found = list(mutants(source))
        chosen = random.Random(1).sample(found, min(sample or len(found), len(found)))
        count, tried = len(found), len(chosen)
    survivors = []
    with tempfile.TemporaryDirectory(prefix="mutation-") as place:
        tree = copied(Path(place))
        fresh = Server("fresh", tree, file, subject.tests)
        loaded = Server("loaded", tree, file, subject.tests)
        began = time.monotonic()
        try:
            for number, mutant in enumerate(chosen, 1):
                answer = (loaded if mutant.inside else fresh).run(mutant)
                states[answer["state"]] += 1
                row = asdict(mutant)
                del row["source"], row["inside"]
                if answer["state"] == "passed":
                    survivors.append(row)
                    print(f"{file}:{mutant.line}: {mutant.before}  ->  {mutant.after}", flush=True)
                if log is not None:
                    with open(log, "a") as out:
                        out.write(json.dumps({"file": file, **answer, **row}) + "\n")
                if number % 50 == 0:
                    print(f"{file}: {number} of {len(chosen)}, {time.monotonic() - began:.0f} s",
                          file=sys.stderr, flush=True)  # fmt: skip
        except KeyboardInterrupt:  # what was tried is a sample, for the order is a random one
            print(f"{file}: interrupted after {number - 1} of {len(chosen)}", file=sys.stderr)
            tried -= len(chosen) - number + 1
        finally:
            fresh.close()
            loaded.close()
    return {
        "mutants": count, "tried": tried, "killed": states["failed"],
        "timeouts": states["timeout"], "tests": list(subject.tests),
        "survivors": sorted(survivors, key=lambda row: (row["line"], row["after"])),
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutation", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("files", nargs="*", choices=[*TABLE, []], help="all by default")
    parser.add_argument("--again", action="store_true", help="try the recorded survivors only")
    parser.add_argument("--sample", type=int, help="at most so many mutants of a file")
    parser.add_argument("--log", type=Path, help="append a JSON line for each mutant")
    parser.add_argument("--document", action="store_true", help="only write docs/mutation.md")
    arguments = parser.parse_args()
    results = document.results()
    if not arguments.document:
        if find_spec("cosmic_ray") is None:
            print(NEEDED, file=sys.stderr)
            return 2
        for file in arguments.files or TABLE:
            subject = TABLE[file]
            sample = subject.sample if arguments.sample is None else arguments.sample
            before = results.get(file) if arguments.again else None
            one = examine(file, subject, sample, before, arguments.log)
            results = {**document.results(), file: one}  # another run may have added a file
            results = {name: results[name] for name in TABLE if name in results}
            document.RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    document.DOCUMENT.write_text(document.text(results), "utf-8")
    unexplained = document.unexplained(results)
    for file, row in unexplained:
        print(f"not explained: {file}: {row['before']}  ->  {row['after']}")
    return int(bool(unexplained))


if __name__ == "__main__":
    sys.exit(main())
