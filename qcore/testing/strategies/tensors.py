"""Quantized tensors of any granularity, and groups of floats as schemes meet them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kernels import affine
from kernels.ranges import IntRange
from qcore.errors import BadInput
from qcore.params import Affine, Stats
from qcore.testing.strategies.numbers import MAX32, TINY32, finite32, int_ranges, scales32
from qcore.testing.strategies.numbers import zero_points as zero_points_of

DENSE = 64

# --- quantized tensors ----------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class QuantizedTensor:
    """values: integers in q.  params: one pair for the tensor, for each index of an axis, or for
    each block along an axis (in the order of the blocks, first axis slowest)."""

    values: np.ndarray
    params: Affine
    q: IntRange

    def spread(self) -> tuple[np.ndarray, np.ndarray]:
        """scale and zero point of every value: arrays of the values' shape."""
        p, shape = self.params, self.values.shape
        if p.axis is None or not p.block:
            scale, zero_point = p.along(len(shape))
            return np.broadcast_to(scale, shape), np.broadcast_to(zero_point, shape)
        grid = blocks(shape, p.axis, p.block)
        scale, zero_point = (
            np.repeat(a.reshape(grid), p.block, p.axis) for a in (p.scale, p.zero_point)
        )
        return scale, zero_point

    def real(self) -> np.ndarray:
        """The float32 values that the integers stand for (E3)."""
        return affine.dequantize(self.values, *self.spread())


def blocks(shape: Sequence[int], axis: int, block: int) -> tuple[int, ...]:
    """The shape with blocks of values along `axis` counted as one."""
    return (*shape[:axis], shape[axis] // block, *shape[axis + 1 :])


def granularities(shape: Sequence[int]) -> st.SearchStrategy[tuple[int | None, int]]:
    """(axis, block) of what a tensor of this shape can have: (None, 0) per tensor, (axis, 0) per
    channel, (axis, block) in blocks that divide the axis."""
    found: list[tuple[int | None, int]] = [(None, 0)]
    found += [(axis, 0) for axis, n in enumerate(shape) if n]
    found += [(a, b) for a, n in enumerate(shape) for b in range(1, n + 1) if n % b == 0]
    return st.sampled_from(found)


@st.composite
def quantized_tensors(
    draw: st.DrawFn,
    q: IntRange | None = None,
    shape: Sequence[int] | None = None,
    granularity: tuple[int | None, int] | None = None,
    symmetric: bool = False,
    scales: st.SearchStrategy[float] | None = None,
) -> QuantizedTensor:
    """Integers with scales and zero points.

    q, shape: any of up to 16 bits, up to 4 dimensions of up to 6, if not given.
    granularity: (axis, block) as of `granularities`; any of them if not given.
    symmetric: all zero points 0.  scales: what a scale is drawn from.
    """
    q = draw(int_ranges()) if q is None else q
    if shape is None:
        shape = draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=1, max_side=6))
    shape = tuple(shape)
    axis, block = draw(granularities(shape)) if granularity is None else granularity
    if axis is not None and (axis >= len(shape) or (block and shape[axis] % block)):
        raise BadInput(f"blocks of {block or 1} along axis {axis} do not fit the shape {shape}")
    count = 1
    if axis is not None:
        count = math.prod(blocks(shape, axis, block)) if block else shape[axis]
    one = scales32(2.0**-20, 2.0**4) if scales is None else scales
    scale = draw(hnp.arrays(np.float32, count, elements=one, fill=one))
    z = st.just(0) if symmetric else zero_points_of(q)
    zero_point = draw(hnp.arrays(np.int64, count, elements=z, fill=z))
    element = st.integers(q.qmin, q.qmax)
    # Few values are drawn one by one, so that each can become 0; many share what is simplest.
    fill = st.nothing() if math.prod(shape) <= DENSE else element
    values = draw(hnp.arrays(q.dtype, shape, elements=element, fill=fill))
    return QuantizedTensor(values, Affine(scale, zero_point, axis, block), q)


# --- groups of floats -----------------------------------------------------------------------------

Group = np.ndarray  # (N,) float32: the values that share a scale
_LARGE, _SMALL = 2.0**20, 2.0**-20  # magnitudes of ordinary data; smaller ranges are widened (E6)


def _floats(lo: float, hi: float) -> st.SearchStrategy[float]:
    """Of a magnitude in [lo, hi], either sign."""
    size = st.floats(lo, hi, width=32)
    return st.builds(lambda m, s: m * s, size, st.sampled_from([1.0, -1.0]))


def _array(elements: st.SearchStrategy[float], size: int) -> st.SearchStrategy[Group]:
    """1 to `size` values, at least one of `elements` and others that are 0 or of them."""
    rest = st.lists(st.one_of(st.just(0.0), elements), max_size=max(size - 1, 0))
    return st.builds(lambda x, more: np.array([x, *more], np.float32), elements, rest)


def _constant(size: int) -> st.SearchStrategy[Group]:
    number = st.integers(min(2, size), size)
    return st.builds(lambda n, v: np.full(n, v, np.float32), number, _floats(_SMALL, _LARGE))


def _outlier(size: int) -> st.SearchStrategy[Group]:
    """Values of one order, and one that is 2^10 times as large or more, anywhere among them."""

    def made(small: list[float], large: float, at: int) -> Group:
        at %= len(small) + 1
        return np.array([*small[:at], large, *small[at:]], np.float32)

    few = st.lists(_floats(_SMALL, 1.0), min_size=1, max_size=max(size - 1, 1))
    return st.builds(made, few, _floats(2.0**10, _LARGE), st.integers(0, size))


def _widest(size: int) -> st.SearchStrategy[Group]:
    """Both ends beyond half of float32, so that their difference overflows."""
    end = st.floats(3 * 2.0**126, MAX32, width=32)
    more = _array(finite32(), size)
    return st.builds(lambda a, b, c: np.array([a, -b, *c[2:]], np.float32), end, end, more)


def _nonfinite(value: float) -> Callable[[int], st.SearchStrategy[Group]]:
    def made(size: int) -> st.SearchStrategy[Group]:
        some = _array(_floats(_SMALL, _LARGE), size)
        place = st.integers(0, max(size - 1, 0))

        def put(values: Group, at: int, sign: float) -> Group:
            values[at % values.size] = value * sign
            return values

        return st.builds(put, some, place, st.sampled_from([1.0, -1.0]))

    return made


_KINDS: dict[str, Callable[[int], st.SearchStrategy[Group]]] = {
    "ordinary": lambda n: _array(_floats(_SMALL, _LARGE), n),
    "positive": lambda n: _array(_floats(_SMALL, _LARGE), n).map(np.abs),
    "negative": lambda n: _array(_floats(_SMALL, _LARGE), n).map(lambda x: 0 - np.abs(x)),
    "zero": lambda n: st.integers(1, n).map(lambda k: np.zeros(k, np.float32)),
    "constant": _constant,
    "single": lambda n: _floats(_SMALL, _LARGE).map(lambda v: np.array([v], np.float32)),
    "outlier": _outlier,
    "tiny": lambda n: _array(_floats(2.0**-100, 2.0**-22), n),
    "denormal": lambda n: _array(_floats(TINY32, 2.0**-118), n),
    "huge": lambda n: _array(_floats(2.0**100, 2.0**126), n),
    "widest": _widest,
    "empty": lambda n: st.just(np.zeros(0, np.float32)),
    "nan": _nonfinite(np.nan),
    "inf": _nonfinite(np.inf),
}
# Kinds of groups that have a range; and those that have none, drawn only where they are named.
KINDS = tuple(k for k in _KINDS if k not in ("empty", "nan", "inf"))
NO_RANGE = ("empty", "nan", "inf")


def groups(
    count: int = 4, size: int = 16, kinds: Iterable[str] = KINDS
) -> st.SearchStrategy[list[Group]]:
    """1 to `count` groups of 1 to about `size` float32 values, each of one of the kinds.

    Magnitudes: ordinary (with positive, negative, constant, single) 2^-20 to 2^20, tiny 2^-100 to
    2^-22, denormal up to 2^-118 (whose scales are denormal), huge 2^100 to 2^126, widest: of a
    width that leaves float32. zero, empty, nan, inf and outlier are what they say. KINDS are those
    that have a range, NO_RANGE the others.
    Raises BadInput for a kind that is not known.
    """
    kinds = tuple(kinds)
    unknown = [k for k in kinds if k not in _KINDS]
    if unknown or not kinds:
        raise BadInput(
            f"there is no kind of group {', '.join(unknown) or 'to draw'}; known are: "
            + ", ".join(_KINDS)
        )
    made = {k: _KINDS[k](size) for k in kinds}  # once: making them costs more than drawing
    one = st.sampled_from(kinds).flatmap(made.__getitem__)
    return st.lists(one, min_size=1, max_size=count)


def stats_of(found: Sequence[Group]) -> Stats:
    """Ranges of groups, as a scheme sees them: (inf, -inf) for an empty one, NaN for one with NaN.

    count: the values of the largest group.
    """
    lo = [float(g.min(initial=np.inf)) + 0.0 for g in found]
    hi = [float(g.max(initial=-np.inf)) + 0.0 for g in found]
    return Stats(np.array(lo), np.array(hi), max((g.size for g in found), default=0))
