"""Calibration over an executor: samples in shards, what was found of each merged in their order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from dataclasses import replace
from itertools import islice
from typing import Any

import tflite_schema as ts
from kernels.threads import cores
from qcore.binding import Binder, Bound
from qcore.calibrate.collect import merged
from qcore.calibrate.program import build
from qcore.calibrate.run import How, Part, observe
from qcore.errors import RuntimeFailed
from qcore.load import load


def workers(executor: Any) -> int:
    """How many tasks an executor works on at a time, as far as it tells."""
    client = getattr(executor, "_client", None)  # Dask's
    if client is not None:
        return max(1, sum(client.nthreads().values()))
    return getattr(executor, "_max_workers", None) or cores()


def over(
    executor: Executor, given: Any, model: ts.Model, signature: str | None,
    samples: Iterator[Bound], how: How, shard: int, progress: Callable[[int], None] | None,
) -> Part:  # fmt: skip
    """All samples; no more of them are in memory than keep the executor busy.

    A shard sees whether the first path can run its own first sample.
    """
    source = os.path.abspath(given) if isinstance(given, (str, os.PathLike)) else ts.to_bytes(model)
    how = replace(how, threads=how.threads or 1)
    waiting: deque[Future[Part]] = deque()
    total: Part | None = None
    most = 2 * workers(executor)
    try:
        while True:
            while len(waiting) < most and (items := list(islice(samples, shard))):
                waiting.append(executor.submit(_part, source, signature, items, how))
            if not waiting:
                break
            part = waiting.popleft().result()
            total = part if total is None else _sum(total, part)
            if progress is not None:
                progress(total.samples)
    except (CancelledError, BrokenExecutor) as error:
        said = f"the executor gave up ({type(error).__name__}); start it again"
        raise RuntimeFailed(said) from error
    finally:
        for future in waiting:
            future.cancel()
    assert total is not None  # no sample at all is an error before
    return total


def _part(source: str | bytes, signature: str | None, items: list[Bound], how: How) -> Part:
    """In a worker: one shard."""
    model = load(source)
    binder = Binder(model, signature)
    programs = build(model, {e.subgraph for e in binder.entries})
    return observe(source, model, binder, programs, iter(items), how)


def _sum(a: Part, b: Part) -> Part:
    ran = {name: value if b.ran[name] == value else f"{value} + {b.ran[name]}"
           for name, value in a.ran.items()}  # fmt: skip
    notes = tuple(dict.fromkeys((*a.notes, *b.notes)))
    return Part(merged((a.found, b.found)), a.samples + b.samples, ran, notes)
