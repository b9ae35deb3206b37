"""Sparse constants of a .tflite file as dense arrays.

A sparse tensor stores its values in the order of a tree: one level for each dimension of the
traversal order, dense levels with every child, CSR levels with the children that are listed.
Source: schema.fbs (SparsityParameters); Chou et al. 2018 (TACO, arXiv:1804.10112).
"""

from __future__ import annotations

import numpy as np

import tflite_schema as ts
from qcore.errors import CannotQuantize


def densify(values: np.ndarray, tensor: ts.Tensor, what: str) -> np.ndarray:
    """The dense array of `tensor.shape` whose stored values are `values`; zero everywhere else.

    values: (n,) in any dtype, in traversal order. what: how a message names the tensor.
    Raises CannotQuantize where the sparsity tables do not describe n values inside the shape.
    """
    sparsity, shape = tensor.sparsity, tensor.shape or ()
    assert sparsity is not None
    order, block_map = sparsity.traversal_order, sparsity.block_map
    levels = sparsity.dim_metadata
    if sorted(order) != list(range(len(levels))) or len(levels) != len(shape) + len(block_map):
        raise _bad(what, f"{len(levels)} levels do not fit the shape {list(shape)}")
    # at[level]: the coordinate along the level's dimension of every node reached so far.
    at: list[np.ndarray] = []
    nodes = 1
    sizes = [0] * len(levels)
    for level, dimension in zip(levels, order, strict=True):
        parent, child, size = _children(level, nodes, what)
        at = [coordinates[parent] for coordinates in at] + [child]
        nodes, sizes[dimension] = child.size, size
    if nodes != values.size:
        raise _bad(what, f"its tables describe {nodes} values and it stores {values.size}")
    place = {dimension: at[level] for level, dimension in enumerate(order)}
    index = [place[d] for d in range(len(shape))]
    for number, dimension in enumerate(block_map):
        # Dimension len(shape) + number counts inside the blocks that cut `dimension`.
        inner = len(shape) + number
        if not 0 <= dimension < len(shape):
            raise _bad(what, f"block dimension {dimension} is not one of {len(shape)}")
        index[dimension] = index[dimension] * sizes[inner] + place[inner]
    if any(i.size and i.max() >= n for i, n in zip(index, shape, strict=True)):
        raise _bad(what, f"an index lies outside the shape {list(shape)}")
    dense = np.zeros(shape, values.dtype)
    dense[tuple(index)] = values
    return dense


def _children(
    level: ts.DimensionMetadata, nodes: int, what: str
) -> tuple[np.ndarray, np.ndarray, int]:
    """For each child of `nodes` nodes its parent's number and its coordinate; the level's size.

    The size of a CSR level is not stored and not needed: 0.
    """
    if level.format == ts.DimensionType.DENSE:
        size = max(0, level.dense_size)
        return np.repeat(np.arange(nodes), size), np.tile(np.arange(size), nodes), size
    if level.array_segments is None or level.array_indices is None:
        raise _bad(what, "a compressed level has no segments or no indices")
    segments = np.asarray(level.array_segments.values, np.int64)
    indices = np.asarray(level.array_indices.values, np.int64)
    counts = np.diff(segments)
    if (
        segments.size != nodes + 1
        or segments[0] != 0
        or (counts < 0).any()
        or segments[-1] != indices.size
        or (indices < 0).any()
    ):
        raise _bad(what, "its segments and indices contradict each other")
    return np.repeat(np.arange(nodes), counts), indices, 0


def _bad(what: str, why: str) -> CannotQuantize:
    return CannotQuantize(
        f"the sparse constant {what} cannot be unpacked: {why}; convert the model again without "
        "sparsity"
    )
