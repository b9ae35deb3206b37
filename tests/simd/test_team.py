"""The team: everybody takes part, sleepers wake, nobody waits for a team that another one has."""

from __future__ import annotations

import os
import threading
import time

import numpy as np
import pytest

from kernels.simd import build, team
from kernels.simd.gemm import aligned
from kernels.simd.runner import ASLEEP

UNITS = 4
SIZE = 64


@pytest.fixture
def copies():
    """Work for a number of members: each copies its rows of an image that no other one copies."""
    entry = build.addresses(["copy_pad"])["copy_pad"]
    kept = []

    def make(members: int):
        x, y = aligned(members * UNITS * SIZE), aligned(members * UNITS * SIZE)
        x[:] = np.arange(x.size) % 251
        parameters = np.array(
            [x.ctypes.data, y.ctypes.data, members * UNITS, SIZE, 0, 0, 0, 0, members * UNITS],
            np.int64,
        )
        kept.append((x, y, parameters))
        at = parameters.ctypes.data
        return x, y, [(entry, at, i * UNITS, (i + 1) * UNITS) for i in range(members)]

    return make


@pytest.mark.parametrize("members", [1, 2, 3, 5])
def test_every_member_does_its_part(copies, members):
    for _ in range(50):
        x, y, works = copies(members)
        with team.taken() as together:
            together.run(works)
        assert (x == y).all()


def test_sleepers_are_woken(copies):
    with team.taken() as together:
        together.run(copies(3)[2])
        while not all(line[0] == ASLEEP for line in together._lines):
            time.sleep(0.01)
        assert not together.awake(2)  # but now they are
        x, y, works = copies(3)
        together.run(works)
        assert (x == y).all()
        while not all(line[0] == ASLEEP for line in together._lines):
            time.sleep(0.01)
        x, y, works = copies(3)
        together.run(works)  # without being woken before
        assert (x == y).all()


def test_only_one_thread_has_it(copies):
    found = []
    with team.taken() as together:

        def other():
            with team.taken() as mine:
                found.append(mine)

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert together is not None and found == [None]
    with team.taken() as again:
        assert again is together


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_has_its_own(copies):
    with team.taken() as together:
        together.run(copies(2)[2])
        x, y, works = copies(2)
        child = os.fork()
        if not child:
            code = 1
            try:
                with team.taken() as own:
                    own.run(works)
                    code = int(own is together or not (x == y).all())
            finally:
                os._exit(code)
    _, status = os.waitpid(child, 0)
    assert status == 0


def test_a_member_that_does_nothing_is_seen(copies):
    """The counterpart: with one share missing the copy is not whole."""
    x, y, works = copies(3)
    entry, at, begin, _ = works[2]
    with team.taken() as together:
        together.run([*works[:2], (entry, at, begin, begin)])
    assert not (x == y).all()
