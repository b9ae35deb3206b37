"""Who is told that code is being compiled: nobody, unless somebody above has asked to be."""

from __future__ import annotations

from collections.abc import Callable

Listener = Callable[[str, int, int], None]

_listener: Listener | None = None


def listen(listener: Listener | None) -> Listener | None:
    """From now on tell `listener` (what, done, of); returns who was told before."""
    global _listener
    before, _listener = _listener, listener
    return before


def tell(what: str, done: int, of: int) -> None:
    """What is compiled, and how far; the last call has done == of, also where compiling fails."""
    if _listener is not None:
        _listener(what, done, of)
