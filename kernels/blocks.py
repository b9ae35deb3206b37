"""Walk large arrays in pieces that stay in the cache, with per-group parameters beside them.

The constant encoders and the reductions make several passes over their data. Done on whole tensors
every pass would go to memory; done on BLOCK elements at a time, only the first read and the last
write do, and the working memory is a few hundred kilobytes whatever the size of the tensor.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from kernels.errors import BadArray

# Elements a piece. Two float32 scratch arrays of this size are 512 kB: inside the second-level
# cache of current cores, and long enough that NumPy's cost per call hardly shows.
BLOCK = 1 << 16

# Inner runs at least this long are broadcast by NumPy row by row; shorter ones would spend their
# time in loop set-up, so the parameters are repeated into a flat array instead.
LONG_RUN = 32

_local = threading.local()


def scratch(*dtypes: DTypeLike) -> tuple[np.ndarray, ...]:
    """BLOCK elements of each type, of what memory this thread keeps for the purpose.

    For whoever asks, until it returns: what it calls must not ask. Made anew each time, such arrays
    can cost as much in pages given back and taken again as the work that is done in them.
    """
    kept: dict[str, np.ndarray] = _local.__dict__
    made = []
    for place, given in enumerate(dtypes):
        dtype = np.dtype(given)
        key, size = f"{place}:{dtype.itemsize}", BLOCK * dtype.itemsize
        if key not in kept or kept[key].size < size:
            kept[key] = np.empty(size, np.uint8)
        made.append(kept[key][:size].view(dtype))
    return tuple(made)


Piece = tuple[np.ndarray, np.ndarray, tuple[np.ndarray, ...]]


def along(values: ArrayLike, axis: int | None, ndim: int) -> np.ndarray:
    """(G,) values shaped to broadcast along `axis` of an `ndim`-dimensional array.

    `axis` None takes exactly one value, of any shape, and returns it 0-d.
    Raises BadArray if the values do not have that shape or `axis` is out of range.
    """
    values = np.asarray(values)
    if axis is None:
        if values.size != 1:
            raise BadArray(f"along: axis None takes one value, got shape {values.shape}")
        return values.reshape(())
    if values.ndim != 1 or not -ndim <= axis < ndim:
        raise BadArray(f"along: values {values.shape} do not go along axis {axis} of {ndim}")
    shape = [1] * ndim
    shape[axis] = values.size
    return values.reshape(shape)


def groups_of(shape: tuple[int, ...], axis: int | None) -> tuple[int, int, int]:
    """(outer, groups, inner): element (o, g, i) of the C-ordered array belongs to group g."""
    if axis is None:
        return 1, 1, math.prod(shape)
    if not -len(shape) <= axis < len(shape):
        raise BadArray(f"axis {axis} is not an axis of shape {shape}")
    axis %= len(shape)
    return math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])


def pieces(
    source: np.ndarray,
    target: np.ndarray,
    parameters: tuple[np.ndarray, ...],
    block: int | None = None,
) -> Iterator[Piece]:
    """Cut `source` and `target` (same shape, C order) into pieces of at most `block` elements.

    block: BLOCK unless given.
    parameters: arrays that broadcast against source.shape, all with the same pattern of axes
    (e.g. scale and zero point of one granularity). Yields (source piece, target piece, parameters
    of the piece); the pieces are 1-D or 2-D views, the parameters broadcast against them. Nothing
    of the size of `source` is allocated. Raises BadArray if a parameter does not broadcast.
    """
    block = BLOCK if block is None else block
    shape = source.shape
    parameters = tuple(_aligned(p, shape) for p in parameters)
    if source.size == 0:
        return
    laid = layout(shape, parameters)
    if laid is None:
        # Two separated groups of axes: take the outermost axis one index at a time.
        axis = next(d for d, length in enumerate(shape) if length != 1)
        for index in range(shape[axis]):
            cut = (slice(None),) * axis + (slice(index, index + 1),)
            some = tuple(p[cut] if p.shape[axis] != 1 else p for p in parameters)
            yield from pieces(source[cut], target[cut], some, block)
        return
    extent, full = laid
    if extent[1] == 1:
        scalars = tuple(p.reshape(()) for p in full)
        yield from _flat(source.reshape(-1), target.reshape(-1), scalars, block)
        return
    yield from _grouped(source.reshape(-1), target.reshape(-1), full, extent, block)


def layout(
    shape: tuple[int, ...], parameters: tuple[np.ndarray, ...]
) -> tuple[tuple[int, int, int], tuple[np.ndarray, ...]] | None:
    """(outer, groups, inner) and (groups,) values of each parameter: element (o, g, i) of the
    C-ordered array has those of group g. None where the axes of the parameters are not neighbours.

    parameters: as for `pieces`. Raises BadArray if one does not broadcast.
    """
    parameters = tuple(_aligned(p, shape) for p in parameters)
    varies = [any(p.shape[d] != 1 for p in parameters) for d in range(len(shape))]
    # Axes of length 1 and the parameter pattern decide how far dimensions can be merged.
    live = [d for d in range(len(shape)) if shape[d] != 1]
    grouped = [d for d in live if varies[d]]
    if not grouped:
        return (1, 1, math.prod(shape)), tuple(p.reshape(-1) for p in parameters)
    first, last = grouped[0], grouped[-1]
    if any(first < d < last and not varies[d] for d in live):
        return None
    full = tuple(
        np.broadcast_to(p.reshape(p.shape[first : last + 1]), shape[first : last + 1]).reshape(-1)
        for p in parameters
    )
    groups = math.prod(shape[first : last + 1])
    return (math.prod(shape[:first]), groups, math.prod(shape[last + 1 :])), full


def _aligned(parameter: ArrayLike, shape: tuple[int, ...]) -> np.ndarray:
    parameter = np.asarray(parameter)
    if parameter.ndim > len(shape):
        raise BadArray(f"parameter {parameter.shape} has more axes than the data {shape}")
    parameter = parameter.reshape((1,) * (len(shape) - parameter.ndim) + parameter.shape)
    if any(p not in (1, s) for p, s in zip(parameter.shape, shape, strict=True)):
        raise BadArray(f"parameter {parameter.shape} does not broadcast against the data {shape}")
    return parameter


def _flat(
    source: np.ndarray, target: np.ndarray, parameters: tuple[np.ndarray, ...], block: int
) -> Iterator[Piece]:
    for start in range(0, source.size, block):
        stop = start + block
        yield source[start:stop], target[start:stop], parameters


def _grouped(
    source: np.ndarray,
    target: np.ndarray,
    parameters: tuple[np.ndarray, ...],
    extent: tuple[int, int, int],
    block: int,
) -> Iterator[Piece]:
    outer, groups, inner = extent
    if inner >= LONG_RUN:
        yield from _rows(source, target, parameters, extent, block)
        return
    period = groups * inner
    if period <= block:
        # Repeat the parameters of whole periods side by side: one flat loop serves every piece.
        copies = min(block // period, outer)
        wide = tuple(np.tile(np.repeat(p, inner), copies) for p in parameters)
        for start in range(0, source.size, copies * period):
            part = source[start : start + copies * period]
            yield (
                part,
                target[start : start + part.size],
                tuple(p[: part.size] for p in wide),
            )
        return
    step = block // inner
    for o in range(outer):
        for g in range(0, groups, step):
            some = tuple(p[g : g + step] for p in parameters)
            if inner > 1:
                some = tuple(np.repeat(p, inner) for p in some)
            start = o * period + g * inner
            stop = start + some[0].size
            yield source[start:stop], target[start:stop], some


def _rows(
    source: np.ndarray,
    target: np.ndarray,
    parameters: tuple[np.ndarray, ...],
    extent: tuple[int, int, int],
    block: int,
) -> Iterator[Piece]:
    outer, groups, inner = extent
    if inner >= block:
        for row in range(outer * groups):
            scalars = tuple(p[row % groups] for p in parameters)
            start, stop = row * inner, (row + 1) * inner
            yield from _flat(source[start:stop], target[start:stop], scalars, block)
        return
    rows, step = outer * groups, block // inner
    from_, to = source.reshape(rows, inner), target.reshape(rows, inner)
    for row in range(0, rows, step):
        cut = slice(row, row + step)
        if outer == 1:
            yield from_[cut], to[cut], tuple(p[cut, None] for p in parameters)
            continue
        group = np.arange(row, min(row + step, rows)) % groups
        yield from_[cut], to[cut], tuple(p[group, None] for p in parameters)
