"""Samples for a model: what a calibration meets on good days and on bad ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

import tflite_schema as ts
from qcore.binding import Entry, Input, entries
from qcore.testing.strategies.source import Source

FINITE = ("normal", "constant", "zero", "outlier", "tiny", "huge")
NONFINITE = ("nan", "infinity")
DATA_KINDS = (*FINITE, *NONFINITE)


def calibration_data(
    model: ts.Model, kinds: Sequence[str] = FINITE, least: int = 1, most: int = 4
) -> st.SearchStrategy[list[Any]]:
    """`least` to `most` samples, all of one kind; 0 is no data at all.

    kinds: of "normal", "constant" (one value everywhere), "zero", "outlier" (one value 1e4 times
    the others), "tiny" (denormal), "huge" (1e30), "nan" and "infinity" (one such value in one
    sample).  Each sample names its signature where the model has any. Shrinks toward few samples of
    the first kind with simple values.
    """
    return st.sampled_from(tuple(kinds)).flatmap(lambda kind: _samples(model, kind, least, most))


@st.composite
def _samples(draw: st.DrawFn, model: ts.Model, kind: str, least: int, most: int) -> list[Any]:
    count = draw(st.integers(least, most))
    spoilt = draw(st.integers(0, max(0, count - 1)))
    ways = entries(model)
    found = []
    for number in range(count):
        entry = draw(st.sampled_from(ways))
        usual = kind if kind in FINITE or number == spoilt else "normal"
        arrays = tuple(_values(draw, i, usual) for i in entry.inputs)
        found.append(_named(entry, arrays))
    return found


def _named(entry: Entry, arrays: tuple[np.ndarray, ...]) -> Any:
    return arrays if entry.name is None else (entry.name, arrays)


def _values(draw: st.DrawFn, i: Input, kind: str) -> np.ndarray:
    shape = tuple(max(1, d) for d in i.shape or ())
    source = Source(draw)
    if np.dtype(i.dtype).kind != "f":
        return np.asarray(source.integers(0, 2, shape)).astype(i.dtype)
    size = math.prod(shape)
    if kind == "zero":
        return np.zeros(shape, i.dtype)
    if kind == "constant":
        return np.full(shape, draw(st.sampled_from([1.0, -1.0, 0.1, -3e-5, 700.0])), i.dtype)
    factor = {"tiny": 1e-40, "huge": 1e30}.get(kind, 1.0)
    values = np.array(source.normal(0, factor, shape), np.float64)
    special = {"outlier": 1e4, "nan": math.nan, "infinity": math.inf}.get(kind)
    if special is not None and size:
        values.reshape(-1)[draw(st.integers(0, size - 1))] = special
    return values.astype(i.dtype)
