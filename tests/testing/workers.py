"""Children that misbehave at models with more than four input values."""

from __future__ import annotations

import os
import time

from qcore.testing.worker import answer


def _but(do, runtime, path, items):
    for item in items:
        if item[1] and item[1][0].size > 4:
            do()
        yield from answer(runtime, path, [item])


def aborting(runtime, path, items):
    return _but(os.abort, runtime, path, items)


def hanging(runtime, path, items):
    return _but(lambda: time.sleep(60), runtime, path, items)


def growing(runtime, path, items):
    def grow():
        kept = [bytearray(os.urandom(1 << 20) * 900)]
        time.sleep(60)
        del kept

    return _but(grow, runtime, path, items)
