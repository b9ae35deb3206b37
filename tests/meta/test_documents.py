"""What README and docs say can be done can be done: commands, options, links, Python blocks."""

from __future__ import annotations

import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from qcore.cli import invoke as run

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
README = (ROOT / "README.md").read_text("utf-8")


def blocks(text: str, language: str) -> list[str]:
    """The fenced code blocks of one language."""
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```", text)


def shell_problems(text: str, makefile: str, help_of) -> list[str]:
    """Sentences about `make` targets and `qcore` options in the shell blocks that do not exist."""
    found = []
    for line in "".join(blocks(text, "sh")).splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["make"]:
            missing = [t for t in words[1:] if not re.search(rf"(?m)^{re.escape(t)}:", makefile)]
            found += [f"make {target}: no such target" for target in missing]
        elif words[:1] == ["qcore"]:
            shown = help_of(words[1])
            options = [w.split("=")[0] for w in words[2:] if w.startswith("-")]
            found += [f"{line}: no option {o}" for o in options if f"{o} " not in f"{shown} "]
    return found


def help_of(command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "qcore", command, "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def broken_links(document: Path, text: str) -> list[str]:
    """Relative links whose target is not there."""
    text = re.sub(r"(?ms)^```.*?^```", "", text)
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text)
    local = [t for t in targets if not re.match(r"[a-z]+:", t)]
    return [f"{document.name}: {t}" for t in local if not (document.parent / t).exists()]


def test_shell_blocks_name_what_exists():
    assert len(blocks(README, "sh")) >= 2
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for document in DOCUMENTS:
        assert shell_problems(document.read_text("utf-8"), makefile, help_of) == []


@pytest.mark.parametrize("line", ["make sandwich", "qcore quantize m.tflite --faster"])
def test_what_does_not_exist_is_seen(line):
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert len(shell_problems(f"```sh\n{line}\n```\n", makefile, help_of)) == 1


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)
def test_links_lead_somewhere(document):
    assert broken_links(document, document.read_text("utf-8")) == []


def test_a_broken_link_is_seen():
    assert broken_links(ROOT / "README.md", "[x](docs/nowhere.md)") == [
        "README.md: docs/nowhere.md"
    ]


def test_every_page_is_in_the_index():
    index = (ROOT / "docs" / "README.md").read_text("utf-8")
    pages = [p.name for p in (ROOT / "docs").glob("*.md") if p.name != "README.md"]
    assert [p for p in pages if f"]({p})" not in index] == []


@pytest.mark.parametrize("number", range(len(blocks(README, "python"))))
def test_python_blocks_run(number, tmp_path):
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    code = blocks(README, "python")[number]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_the_shell_command_runs(tmp_path, monkeypatch, capsys):
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    lines = [w for block in blocks(README, "sh") for w in block.splitlines()]
    (command,) = [line for line in lines if line.startswith("qcore ")]
    assert run(shlex.split(command)[1:]) == 0, capsys.readouterr().err
    assert (tmp_path / "symbols_int8.tflite").is_file()


MAKERS = sorted((ROOT / "docs").glob("make_*.py"))


@pytest.mark.parametrize("maker", MAKERS, ids=lambda path: path.stem)
def test_made_documents_are_current(maker, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(maker.parent))
    document = runpy.run_path(str(maker))["DOCUMENT"]
    assert document.problem() is None
    stale = tmp_path / document.name
    stale.write_text(document.text() + "more", "utf-8")
    assert document.command in document.problem(stale)
