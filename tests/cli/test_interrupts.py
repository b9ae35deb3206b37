"""An interrupt ends a command wherever it comes."""

from __future__ import annotations

import subprocess
import sys

import pytest

# The signal comes inside a callback whose exceptions Python prints and forgets.
PROGRAM = """
import signal, sys, time, weakref
import qcore.__main__ as entry

class Thing: ...

def invoke(arguments):
    def gone(_):
        signal.raise_signal(signal.SIGINT)
        len("here it is raised")
    thing = Thing()
    kept = weakref.ref(thing, gone)
    del thing
    time.sleep(2)
    return 0

import qcore.cli
qcore.cli.invoke = invoke
{before}
entry.main()
"""


@pytest.mark.skipif(not hasattr(__import__("signal"), "setitimer"), reason="no timers here")
def test_an_interrupt_inside_a_callback_is_not_lost():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(before="")], capture_output=True, text=True
    )
    assert done.returncode == 130
    assert done.stderr == "qcore: interrupted; nothing was left half written\n"


def test_without_the_hook_it_is_lost():
    """The test above can fail."""
    before = "entry._lost = sys.__unraisablehook__"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(before=before)], capture_output=True, text=True
    )
    assert done.returncode == 0 and "KeyboardInterrupt" in done.stderr
