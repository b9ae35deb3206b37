"""The bar is for terminals: it never changes what passes through, and a pipe sees nothing of it."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

from qcore.progress import track

PROGRAM = """
from qcore.progress import track
import sys
assert list(track(iter(range(7)), "Counting", total=7)) == list(range(7))
assert list(track([1, 2], "Listed")) == [1, 2]
assert list(track((x for x in "ab"), "Endless")) == ["a", "b"]
"""


def test_items_pass_one_at_a_time_and_unchanged():
    pulled = []

    def items():
        for i in range(3):
            pulled.append(i)
            yield i

    out = track(items(), "x", show=True)
    assert pulled == []
    assert next(out) == 0 and pulled == [0]
    assert list(out) == [1, 2]


def test_a_pipe_sees_nothing():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def on_terminal(program: str, **environment: str) -> bytes:
    """What a terminal sees on stderr of a Python program that prints nothing."""
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80", **environment},
    )  # fmt: skip
    os.close(theirs)
    seen = b""
    while True:
        try:
            part = os.read(ours, 1 << 16)
        except OSError:  # Linux ends a terminal without writers this way
            break
        if not part:
            break
        seen += part
    os.close(ours)
    out, _ = child.communicate()
    assert child.returncode == 0 and out == b""
    return seen


def test_a_terminal_sees_count_and_label():
    seen = on_terminal(PROGRAM)
    for words in (b"Counting", b"7/7", b"Listed", b"2/2", b"Endless"):
        assert words in seen


COMPILES = """
import numpy as np, qcore
from tests.execute.models import dense
qcore.run(dense(), np.ones((1, 7), np.int8), "xnnpack")
"""


def test_a_terminal_sees_what_is_compiled(tmp_path):
    seen = on_terminal(COMPILES, QCORE_CACHE=str(tmp_path))
    assert b"Compiling kernels" in seen
    assert seen.endswith(b"\r\x1b[2K\x1b[?25h\r")  # the line is gone, the cursor back
    assert on_terminal(COMPILES, QCORE_CACHE=str(tmp_path)) == b""  # nothing to compile


def test_a_pipe_sees_nothing_of_compiling(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", COMPILES], capture_output=True, text=True,
        env={**os.environ, "QCORE_CACHE": str(tmp_path)},
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


BOTH = """
from kernels import notice
from qcore import progress
progress.show_compiling()
notice.tell("first", 0, 2)
notice.tell("second", 0, 1)
notice.tell("second", 1, 1)
notice.tell("second", 1, 1)
notice.tell("first", 2, 2)
for item in progress.track([1, 2], "Samples"):
    notice.tell("kernels", item, 3)
notice.tell("kernels", 3, 3)
assert not progress._tasks and progress._own is None and not progress._open
"""


def test_compiling_shares_the_display_of_a_bar():
    seen = on_terminal(BOTH)
    for words in (b"Compiling first", b"Compiling second", b"Samples", b"Compiling kernels"):
        assert words in seen
