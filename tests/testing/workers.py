"""Children that misbehave: at calls with more than four input values, at any whole model."""

from __future__ import annotations

import os
import time

from qcore.testing.worker import answer, models


def _but(do, runtime, path, items):
    for item in items:
        if item[1] and item[1][0].size > 4:
            do()
        yield from answer(runtime, path, [item])


def aborting(runtime, path, items):
    return _but(os.abort, runtime, path, items)


def hanging(runtime, path, items):
    return _but(lambda: time.sleep(60), runtime, path, items)


def grow():
    kept = [bytearray(os.urandom(1 << 20) * 900)]
    time.sleep(60)
    del kept


def growing(runtime, path, items):
    return _but(grow, runtime, path, items)


def _first(do, runtime, path, items):
    for item in items:
        do()
        yield from models(runtime, path, [item])


def models_abort(runtime, path, items):
    return _first(os.abort, runtime, path, items)


def models_hang(runtime, path, items):
    return _first(lambda: time.sleep(60), runtime, path, items)


def models_grow(runtime, path, items):
    return _first(grow, runtime, path, items)
