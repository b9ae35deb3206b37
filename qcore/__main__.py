"""The process of the command `qcore`: signals, then `qcore.cli.invoke`, then its exit code."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import time
from typing import Any, NoReturn

TWICE_SECONDS = 2.0  # a signal so soon after another is the same wish
AGAIN_SECONDS = 0.01
INTERRUPTED = "qcore: interrupted; nothing was left half written\n"
_last = -TWICE_SECONDS


def _interrupt(*_: Any) -> None:
    """As Ctrl-C, but a second one does not disturb what the first has ended and cleans up."""
    global _last
    now = time.monotonic()
    if now - _last >= TWICE_SECONDS:
        _last = now
        raise KeyboardInterrupt


def _lost(found: Any) -> None:
    """An interrupt that was raised where exceptions are only printed (a callback of a weakref,
    of which importing has some) comes again a moment later."""
    global _last
    if found.exc_type is not KeyboardInterrupt or not hasattr(signal, "setitimer"):
        sys.__unraisablehook__(found)
        return
    _last = -TWICE_SECONDS
    signal.signal(signal.SIGALRM, _interrupt)
    signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS)


def _catch() -> None:
    """Whatever asks for an end is a KeyboardInterrupt, unless whoever started us ignores it."""
    sys.unraisablehook = _lost
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def main() -> None:
    """Run the command of `sys.argv` and exit with its code; never returns."""
    try:
        _catch()
        # A file's name need not be text, and a terminal's encoding need not have all letters.
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        from qcore.cli import invoke  # takes a moment, in which Ctrl-C is Ctrl-C too

        code = invoke(sys.argv[1:])
    except KeyboardInterrupt:
        sys.stderr.write(INTERRUPTED)
        code = 130
    if code == 130:
        _leave(code)
    sys.exit(code)


def _leave(code: int) -> NoReturn:
    """End at once. Python's own way waits for threads, and exits by SIGINT, whatever the code,
    where the interrupt came while something was imported (it was raised in an `exec`)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.collect()  # what stands in frames that are gone: temporary folders, child processes
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
