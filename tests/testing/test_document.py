"""docs/testing.md: its Python runs, and prints what stands there.

`python -m tests.testing.test_document` writes the outputs anew.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "testing.md"
BLOCK = re.compile(r"(?ms)^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?")
# Under load the first draws, which import much, may take longer than Hypothesis puts up with.
PATIENT = """\
from hypothesis import HealthCheck, settings
settings.register_profile("patient", deadline=None, suppress_health_check=list(HealthCheck))
settings.load_profile("patient")
"""
FOLDER = re.compile(r"written to \S+?([^/\s]+)$", re.M)


def blocks(page: str) -> list[tuple[str, str | None]]:
    """(Python, the output that stands below it)."""
    return [(m[1], m[2]) for m in BLOCK.finditer(page)]


NEXT = "--- next ---\n"
# Blocks one after another, each with names of its own, as a program each would run them.
RUN = f"""\
import sys
for code in sys.stdin.read().split({NEXT!r}):
    exec(compile(code, "block", "exec"), {{"__name__": "__main__"}})
    print({NEXT!r}, end="", flush=True)
"""


def outputs(codes: list[str], folder: Path) -> list[str]:
    """What each block prints; those for pytest (`# test_mine.py`) are run by pytest, together."""
    if not (folder / "examples").exists():
        shutil.copytree(ROOT / "examples", folder / "examples")
    tests = {m[1]: code for code in codes if (m := re.match(r"# (test_\w+\.py)\n", code))}
    made: dict[str, str] = {}
    programs = [code for code in codes if code not in tests.values()]
    if programs:
        said = _ran(["-c", PATIENT + RUN], folder, NEXT.join(programs))
        made = dict(zip(programs, plain(said).split(NEXT)))
    if tests:
        (folder / "conftest.py").write_text(PATIENT, "utf-8")
        for name, code in tests.items():
            (folder / name).write_text(code, "utf-8")
        options = ["-p", "qcore.testing.plugin", "-p", "no:cacheprovider", "-q"]
        where = ["--rootdir", str(folder), "-c", "/dev/null"]
        said = _ran(["-m", "pytest", *where, *options, *tests], folder)
        assert f"{sum(c.count('def test_') for c in tests.values())} passed" in said, said
        made |= dict.fromkeys(tests.values(), "")
    return [made[code] for code in codes]


def _ran(command: list[str], folder: Path, given: str = "") -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *command], cwd=folder, capture_output=True, text=True,
        input=given, env=environment(), timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def environment() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


def counted(text: str) -> str:
    """Without what depends on Hypothesis's release: how many cases, which one is the
    smallest, and the digest of files."""
    text = re.sub(
        r"[\d,]+ (examples|outputs equal|refused|skipped|by both|undefined|groups|values encoded)",
        r"N \1",
        text,
    )
    text = re.sub(r"output\[.*\] is \S+, should be \S+ \(\d+ of \d+ differ\)", "A CASE", text)
    text = re.sub(r"^call = .*?^# got: [^\n]*$", "ITS PYTHON", text, flags=re.M | re.S)
    return re.sub(r"(written to \S+)-[0-9a-f]{8}$", r"\1", text, flags=re.M)


def plain(text: str) -> str:
    """Without the name of a temporary folder."""
    return FOLDER.sub(r"written to /tmp/\1", text)


def test_python_blocks_run_and_print_what_stands_there(tmp_path):
    listed = blocks(PAGE.read_text("utf-8"))
    assert len(listed) > 10 and sum(shown is not None for _, shown in listed) > 6
    for (_, shown), found in zip(listed, outputs([c for c, _ in listed], tmp_path), strict=True):
        assert shown is None or counted(found) == counted(shown)


def test_another_output_would_be_seen(tmp_path):
    codes = ["print('written to /tmp/x-1/add_int8-12')", "x = 1\nprint(x)", "print('x' in vars())"]
    assert outputs(codes, tmp_path) == ["written to /tmp/add_int8-12\n", "1\n", "False\n"]
    for wrong in ("raise SystemExit(3)", "# test_it.py\ndef test_it(): assert False\n"):
        with pytest.raises(AssertionError):
            outputs([wrong], tmp_path)
    assert counted("1,234 examples, 5 skipped") == counted("7 examples, 10 skipped")
    assert counted("output[0] is 0") != counted("output[0] is 1")
    assert blocks("```python\na\n```\n\n```text\nb\n```\n") == [("a\n", "b\n")]


def main() -> None:
    from tempfile import TemporaryDirectory

    page = PAGE.read_text("utf-8")
    with TemporaryDirectory() as folder:
        found = iter(outputs([code for code, _ in blocks(page)], Path(folder)))

    def again(match: re.Match[str]) -> str:
        said = next(found)
        if match[2] is None:
            return match[0]
        return f"```python\n{match[1]}```\n\n```text\n{said}```\n"

    PAGE.write_text(BLOCK.sub(again, page), "utf-8")


if __name__ == "__main__":
    main()
