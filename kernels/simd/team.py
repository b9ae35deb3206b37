"""Threads that stand by for compiled kernels, so that a run of some microseconds can be shared.

    with taken() as team:                    # None while another thread of the process has it
        team.run([(kernel, parameters, begin, end), ...])      # addresses; one call a member

A member looks for work for a while after its last one, at its own line of memory (`runner_member`
in runner.py): the next run of a loop costs no system call. Then it sleeps until a byte comes
through its pipe. All of it is compiled code, which holds no lock of Python and which no exception
tears apart. There is one team in a process. It grows and never ends: its threads are daemons, and a
forked process starts with a new one.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from kernels.simd import build
from kernels.simd.gemm import aligned
from kernels.simd.runner import ASLEEP, ENTRY, LINE

Work = tuple[int, int, int, int]  # address of a kernel and of its parameters, begin, end


class Team:
    """The caller and its members."""

    def __init__(self) -> None:
        found = build.addresses(("runner_member", "runner_wake", "runner_lead"))
        self._member, self._wake, self._lead = (ENTRY(entry) for entry in found.values())
        self._lines: list[np.ndarray] = []
        self._done = aligned(LINE).view(np.int64)

    def _line(self, number: int) -> np.ndarray:
        """The memory of a member: its state, its work, the address of the count of those who are
        done, and both ends of its pipe."""
        while len(self._lines) <= number:
            line = aligned(LINE).view(np.int64)
            line[:] = ASLEEP, 0, 0, 0, 0, self._done.ctypes.data, *os.pipe()
            threading.Thread(
                target=self._member, args=(line.ctypes.data, 0, 0), name="qcore-team", daemon=True
            ).start()
            self._lines.append(line)
        return self._lines[number]

    def awake(self, members: int) -> bool:
        """Whether none of so many sleeps. Those that do are woken, which takes longer than a short
        run: they are awake for the next one."""
        lines = [self._line(i) for i in range(members)]
        asleep = [line for line in lines if line[0] == ASLEEP]
        for line in asleep:
            self._wake(line.ctypes.data, 0, 0)
        return not asleep

    def run(self, works: Sequence[Work]) -> None:
        """Every member one of them at the same time, the caller the first; returns after the last.

        They may wait for one another.
        """
        first, *others = works
        lines = [self._line(i) for i in range(len(others))]
        for line, work in zip(lines, others):
            line[1:5] = work
        self._done[0] = 0
        given = np.array(
            [*first, self._done.ctypes.data, len(lines), *(line.ctypes.data for line in lines)],
            np.int64,
        )
        self._lead(given.ctypes.data, 0, 0)


_team: Team | None = None
_lock = threading.Lock()


@contextmanager
def taken() -> Iterator[Team | None]:
    """The team of this process for this thread alone; None while another thread has it."""
    global _team
    lock = _lock
    if not lock.acquire(blocking=False):
        yield None
        return
    try:
        _team = _team or Team()
        yield _team
    finally:
        lock.release()


def _forget() -> None:
    """In a forked process: the threads stayed behind, and the lock may have been held."""
    global _team, _lock
    _team, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
