"""How the values of a constant are distributed, a few groups at a time.

A scheme that needs more than a range is given it in parts, so that memory does not grow with the
model: small groups as they are, sorted; large ones counted in the bins of `qcore.observers`.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import numpy as np

import tflite_schema as ts
from qcore.observers.histogram import Histogram, count_values, exponent_for
from qcore.params import Distribution, Stats

EXACT = 1 << 14  # values of a group up to which each is known by itself
BINS = 1 << 14  # of a larger group
POINTS = 1 << 17  # values or bins of a part


def parts(values: np.ndarray, axis: int | None, stats: Stats) -> Iterator[Stats]:
    """`stats` of the groups of a constant in consecutive parts, each with its Distribution.

    values: float32, finite.  axis: that of the groups, None for one.  stats: their ranges.
    """
    if axis is None:
        values = values.reshape(1, 1, -1)
    else:
        before, after = values.shape[:axis], values.shape[axis + 1 :]
        values = values.reshape(prod(before), values.shape[axis], prod(after))
    count = values.shape[0] * values.shape[2]
    exact = count <= EXACT
    step = max(1, POINTS // max(1, count if exact else BINS))
    for start in range(0, values.shape[1], step):
        span = slice(start, start + step)
        part = values[:, span]
        found = _sorted(part) if exact else _counted(part, stats.take(span))
        yield Stats(stats.lo[span], stats.hi[span], stats.count, found)


def _sorted(part: np.ndarray) -> Distribution:
    """Every value of a part, (before, groups, after)."""
    rows = np.sort(np.moveaxis(part, 1, 0).reshape(part.shape[1], -1), axis=1).astype(np.float64)
    ts.release(part)
    return Distribution(rows, rows, np.broadcast_to(np.int64(1), rows.shape))


def _counted(part: np.ndarray, stats: Stats) -> Distribution:
    """The histogram of each group of a part, rows of one length."""
    found = [
        _histogram(part[:, g], float(stats.lo[g]), float(stats.hi[g])) for g in range(part.shape[1])
    ]
    size = max(h.counts.size for h in found)
    edges, counts = np.zeros((len(found), size + 1)), np.zeros((len(found), size), np.int64)
    for row, known, h in zip(edges, counts, found, strict=True):
        row[: h.counts.size + 1], row[h.counts.size + 1 :] = h.edges, h.edges[-1]
        known[: h.counts.size] = h.counts
    edges = np.clip(edges, stats.lo[:, None], stats.hi[:, None])
    return Distribution(edges[:, :-1], edges[:, 1:], counts)


def _histogram(values: np.ndarray, lo: float, hi: float) -> Histogram:
    """Of one group, (before, after), read in slices."""
    exponent = exponent_for(lo, hi, BINS)
    if len(values) == 1:
        values = values.reshape(-1)
    step = max(1, len(values) * POINTS // values.size)
    found = None
    for start in range(0, len(values), step):
        piece = values[start : start + step]
        more = count_values(piece.reshape(-1), lo, hi, exponent)
        found = more if found is None else found.add(more)
        ts.release(piece)
    assert found is not None
    return found
