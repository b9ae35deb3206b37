"""Writes docs/faults.md from the list in tests/faults/, which the tests try one by one.

python docs/make_faults.py           write the file
python docs/make_faults.py --check   exit 1 if the file is not what the list says
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMMAND = "python docs/make_faults.py"

if __name__ == "__main__":  # as a program, from a checkout that need not be installed
    sys.path.insert(0, str(ROOT))

from docs.document import Document  # noqa: E402
from tests.faults.every import FAULTS, SECTIONS  # noqa: E402
from tests.faults.fault import Fault  # noqa: E402
from tests.faults.system import CODES  # noqa: E402

HEAD = f"""# Faults

Made by `{COMMAND}` from `tests/faults/`; do not edit.

{len(FAULTS)} ways in which files, systems and users are not what a program hopes for, each with the
command that meets it and what it answers: one sentence on standard error, after `qcore: `. Exit
code 2 is a refusal, 1 a check that failed, 130 an interrupt, 141 a reader that went away.

`pytest tests/faults` tries every row: the words and the exit code are these (`...` is what depends
on the machine or the length of a name), no process that the command started is alive, its folder
for temporary files is empty, and every file in the working folder, an earlier output of the same
name among them, has the bytes that it had before. Where a command does write, *afterwards* says
what.

Beside these rows:

- `tests/faults/test_caches.py`: caches of compiled code that are cut, flipped bit by bit, full of
  noise, gone, on a full disk, or filled by two processes at once: what is damaged is compiled
  again, and nothing is lost but time.
- `tests/faults/test_reach.py`: every file that a command and its children open is one that it was
  given, its temporary folder, the cache or a part of the installation. Nothing connects to a
  network. Files of the working folder are not imported, whatever their names; `module:function` is
  code that is run, since it is asked for. Objects pickled into arrays are refused unread.
- `tests/calibrate/test_child.py`: the child process alone; `tests/schema/test_bad_files.py`: model
  files.
"""


def cell(text: str) -> str:
    """Text as code in a table, whatever is in it."""
    shown = text.encode(errors="backslashreplace").decode()
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in shown).replace("|", "\\|")
    if len(shown) > 240:
        shown = shown[:120] + " [...] " + shown[-60:]
    ticks = "``" if "`" in shown else "`"
    pad = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{ticks}{pad}{shown}{pad}{ticks}"


def cause(fault: Fault) -> str:
    """The fault, and how the test brings it about where that is not the file."""
    limit = f" (files of at most {fault.limit} bytes)" if fault.limit is not None else ""
    fake = " (simulated)" if fault.environment.get("refuse") in {".", *CODES} else ""
    return fault.what.replace("|", "\\|") + limit + fake


def row(fault: Fault) -> str:
    says = cell(fault.says) if fault.says else "nothing"
    if fault.shows:
        shown = cell(fault.shows.strip())
        says = f"on standard output: {shown}" if not fault.says else f"{says}, {shown}"
    after = ", ".join(f"{cell(name)} is written" for name in fault.writes) or "all as before"
    return f"| {cause(fault)} | {cell(fault.command)} | {says} | {fault.code} | {after} |"


def document() -> str:
    """The whole text of docs/faults.md."""
    lines = [HEAD]
    for title, faults in SECTIONS.items():
        lines += [f"## {title}", "", "| fault | command | answer | exit | afterwards |"]
        lines += ["| --- | --- | --- | ---: | --- |", *map(row, faults), ""]
    return "\n".join(lines).rstrip() + "\n"


DOCUMENT = Document("faults.md", "the faults", COMMAND, document)

if __name__ == "__main__":
    sys.exit(DOCUMENT.main(sys.argv[1:]))
