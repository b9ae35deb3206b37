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


def test_a_terminal_sees_count_and_label():
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80"},
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
    for words in (b"Counting", b"7/7", b"Listed", b"2/2", b"Endless"):
        assert words in seen
