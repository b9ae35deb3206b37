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


def output(code: str, folder: Path) -> str:
    """What the block prints; one for pytest (`# test_mine.py`) is run by pytest."""
    if not (folder / "examples").exists():
        shutil.copytree(ROOT / "examples", folder / "examples")
    named = re.match(r"# (test_\w+\.py)\n", code)
    command = ["-c", PATIENT + code]
    if named:
        (folder / named[1]).write_text(code, "utf-8")
        options = ["-p", "qcore.testing.plugin", "-p", "no:cacheprovider", "-q"]
        command = ["-m", "pytest", "--rootdir", str(folder), "-c", "/dev/null", *options, named[1]]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *command], cwd=folder, capture_output=True, text=True,
        env=environment(), timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return plain(done.stdout)


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


@pytest.mark.parametrize("number", range(len(blocks(PAGE.read_text("utf-8")))))
def test_python_blocks_run_and_print_what_stands_there(number, tmp_path):
    code, shown = blocks(PAGE.read_text("utf-8"))[number]
    found = output(code, tmp_path)
    assert shown is None or counted(found) == counted(shown)


def test_another_output_would_be_seen(tmp_path):
    assert output("print('written to /tmp/x-1/add_int8-12')", tmp_path) == (
        "written to /tmp/add_int8-12\n"
    )
    with pytest.raises(AssertionError):
        output("raise SystemExit(3)", tmp_path)
    assert counted("1,234 examples, 5 skipped") == counted("7 examples, 10 skipped")
    assert counted("output[0] is 0") != counted("output[0] is 1")
    assert blocks("```python\na\n```\n\n```text\nb\n```\n") == [("a\n", "b\n")]


def main() -> None:
    from tempfile import TemporaryDirectory

    def again(match: re.Match[str]) -> str:
        if match[2] is None:
            return match[0]
        with TemporaryDirectory() as folder:
            found = output(match[1], Path(folder))
        return f"```python\n{match[1]}```\n\n```text\n{found}```\n"

    PAGE.write_text(BLOCK.sub(again, PAGE.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
