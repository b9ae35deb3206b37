"""A bar with rate and time left on a terminal; nothing in a pipe.

`track` counts items. `show_compiling` has a line shown while kernels are compiled, in the bar's own
display where there is one.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Iterator, Sized
from typing import TYPE_CHECKING, TypeVar

from kernels import notice

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

T = TypeVar("T")


def track(
    items: Iterable[T], label: str, total: int | None = None, show: bool | None = None
) -> Iterator[T]:
    """The items, one at a time as they come, while a bar on stderr counts them.

    total: how many there will be; found out from `items` where it has a length, else unknown and
    the bar shows the count alone.  show: None for "only when stderr is a terminal".
    """
    if show is None:
        show = on_terminal()
    if not show:
        yield from items
        return
    if total is None and isinstance(items, Sized):
        total = len(items)
    with _display(total is not None) as progress:
        _open.append(progress)
        try:
            task = progress.add_task(label, total=total)
            for item in items:
                yield item
                progress.advance(task)
        finally:
            _open.remove(progress)


def on_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


def show_compiling() -> None:
    """From now on a line on stderr, where that is a terminal, tells what is being compiled."""
    notice.listen(_compiling)


_open: list[Progress] = []  # bars on the terminal, and the display of what is compiled
_own: Progress | None = None
_tasks: dict[str, tuple[Progress, TaskID]] = {}
_lock = threading.Lock()


def _compiling(what: str, done: int, of: int) -> None:
    """`what` is done, or a line says how far it is; its display ends with the last line."""
    global _own
    if not on_terminal():
        return
    with _lock:
        if done >= of:
            progress, task = _tasks.pop(what, (None, None))
            if progress is not None and task is not None:
                progress.remove_task(task)
            if _own is not None and not _tasks:
                _own.stop()
                _own = None
            return
        if what in _tasks:
            progress, task = _tasks[what]
            progress.update(task, completed=done)
            return
        if not _open and _own is None:
            _own = _display(rates=False)
            _own.start()
        progress = _open[-1] if _open else _own
        assert progress is not None
        _tasks[what] = progress, progress.add_task(f"Compiling {what}", total=of, completed=done)


def _display(known: bool = True, rates: bool = True) -> Progress:
    """Bars on stderr, gone when they end.  known: whether the time left can be."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:,.1f}/s", style="progress.data.speed")

    columns: list[ProgressColumn] = [
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
    ]  # fmt: skip
    if rates:
        columns += [Rate(), TimeRemainingColumn() if known else TimeElapsedColumn()]
    return Progress(*columns, console=Console(stderr=True), transient=True)
