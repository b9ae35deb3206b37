"""A fault: what is wrong, the command that meets it, the exact words it answers with.

`docs/faults.md` is made from these records, and `test_faults.py` tries every one.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OLD = b"what was here before"
OUTPUTS = ("out.tflite", "out.json", "out.npz", "plan.json")
MARK = "QCORE_FAULT"  # in the environment of a command and so of all that it starts
Make = Callable[[Path], None]


@dataclass(frozen=True)
class Fault:
    """what: one line for the table.  command: what is typed, in a folder with `model.tflite`,
    `int8.tflite`, `ranges.json` and `data.npz`.  says: what stands on stderr behind `qcore: `, with
    ... for what depends on the machine; nothing at all where empty.  shows: words on stdout.

    make: brings the fault about in the folder.  own: run in a process of its own.
    until: for interrupts, when to send `signal`.  limit: bytes that a file may grow to.
    environment: more of it, paths in the folder.  writes: outputs that are written all the same.
    """

    what: str
    command: str
    says: str
    make: Make | None = None
    code: int = 2
    shows: str = ""
    own: bool = False
    until: Callable[[Path, str], bool] | None = None
    signal: int = signal.SIGINT
    limit: int | None = None
    environment: dict[str, str] = field(default_factory=dict)
    writes: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        return re.sub(r"\W+", "-", self.what).strip("-").lower()

    def matches(self, stderr: str) -> bool:
        """Whether these are the words, and one line of them."""
        if not self.says:
            return stderr == ""
        parts = f"qcore: {self.says}\n".split("...")
        return re.fullmatch("[^\n]*".join(map(re.escape, parts)), stderr) is not None


def folder(place: Path, models: Path) -> Path:
    """A folder to work in: models and data of `models`, and outputs that were there before."""
    place.mkdir()
    for file in models.iterdir():
        shutil.copy(file, place)
    for name in OUTPUTS:
        (place / name).write_bytes(OLD)
    (place / "tmp").mkdir()
    return place


def contents(place: Path) -> dict[bytes, bytes | None]:
    """Every path under a folder and, of files, what is in it."""
    found: dict[bytes, bytes | None] = {}
    for where, folders, files in os.walk(os.fsencode(place)):
        folders[:] = [f for f in folders if f not in (b"__pycache__", b"cache")]
        for name in (*folders, *files):
            path = os.path.join(where, name)
            regular = os.path.isfile(path)
            found[os.path.relpath(path, os.fsencode(place))] = (
                Path(os.fsdecode(path)).read_bytes() if regular else None
            )
    return found


def alive(mark: str) -> list[str]:
    """Command lines of the processes whose environment has the mark. Linux only."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            inherited = Path(f"/proc/{entry}/environ").read_bytes()
            state = Path(f"/proc/{entry}/stat").read_text().rsplit(")", 1)[1].split()[0]
            if f"{MARK}={mark}".encode() in inherited and state != "Z":
                line = Path(f"/proc/{entry}/cmdline").read_bytes()
                found.append(line.replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return found
