"""Processors and threads. NumPy lets go of Python's lock inside its loops: threads share them."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future

MOST = 8  # threads that stream through memory: more find it busy, and each holds a piece of it

T = TypeVar("T")
R = TypeVar("R")


def cores() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def in_order(function: Callable[[T], R], tasks: Iterable[T], threads: int) -> Iterator[R]:
    """function(task) for each task, in their order, by so many threads.

    No more than two results a thread wait to be taken. With one thread the caller does the work.
    """
    if threads < 2:
        yield from map(function, tasks)
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[R]] = deque()
        for task in tasks:
            waiting.append(pool.submit(function, task))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
