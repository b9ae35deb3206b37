"""Numbers that hurt: ties and their neighbours, denormals, powers of two, ends, saturation.

A float strategy draws Python floats that are float32 values. All shrink toward the plainest value:
0, 1, the smallest tie, int8.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from hypothesis import strategies as st

from kernels import fixedpoint, ranges
from kernels.ranges import INT8, IntRange
from kernels.stage import LANES, Rule
from qcore.errors import BadInput

MAX32 = float(np.finfo(np.float32).max)
TINY32 = float(np.finfo(np.float32).smallest_subnormal)
NORMAL32 = float(np.finfo(np.float32).tiny)
INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1
# int8 first: what a failure shrinks to.
RANGES = (
    "int8", "int8_narrow", "int4", "int4_narrow", "int2", "int2_narrow", "uint8", "int16",
    "int16_narrow",
)  # fmt: skip
NEIGHBOURS = (0, -1, 1)


# --- integer ranges and zero points ---------------------------------------------------------------


def int_ranges(names: Iterable[str] = RANGES) -> st.SearchStrategy[IntRange]:
    """A range of kernels.ranges by name: signed, narrow and unsigned, of 2 to 16 bits.

    Raises BadInput for a name that is not known.
    """
    names = tuple(names)
    unknown = [n for n in names if n not in ranges.NAMED]
    if unknown or not names:
        raise BadInput(
            f"there is no integer range {', '.join(unknown) or 'to draw'}; known are: "
            + ", ".join(ranges.NAMED)
        )
    return st.sampled_from([ranges.NAMED[n] for n in names])


def zero_points(q: IntRange) -> st.SearchStrategy[int]:
    """Zero points in q, often an end, its neighbour, or next to the middle."""
    middle = (q.qmin + q.qmax + 1) // 2
    special = {q.qmin, q.qmin + 1, middle - 1, middle, q.qmax - 1, q.qmax}
    inside = sorted((z for z in special if q.qmin <= z <= q.qmax), key=abs)
    return st.one_of(st.integers(q.qmin, q.qmax), st.sampled_from(inside))


# --- float32 values and scales --------------------------------------------------------------------


def finite32(limit: float = MAX32) -> st.SearchStrategy[float]:
    """Any finite float32 up to a magnitude, denormals and both zeros included."""
    limit = float(np.float32(limit))
    return st.floats(-limit, limit, width=32, allow_nan=False, allow_subnormal=True)


def powers_of_two32(
    least: int = -149, most: int = 127, neighbours: bool = True
) -> st.SearchStrategy[float]:
    """2^e, least <= e <= most, and with `neighbours` the float32 values beside it (never 0)."""
    ulps = st.sampled_from(NEIGHBOURS if neighbours else NEIGHBOURS[:1])
    return st.builds(lambda e, n: max(_beside(2.0**e, n), TINY32), st.integers(least, most), ulps)


def magnitudes32(limit: float = MAX32) -> st.SearchStrategy[float]:
    """Non-negative float32 values: 0, denormals, powers of two and their neighbours, anything."""
    limit = float(np.float32(limit))
    known = [v for v in (0.0, TINY32, NORMAL32, 5e-7, 1e-6, 1.0) if v <= limit]
    return st.one_of(
        st.sampled_from(known),
        powers_of_two32().filter(lambda v: v <= limit),
        st.floats(0.0, limit, width=32, allow_subnormal=True),
        st.floats(min(2.0**-13, limit), min(100.0, limit), width=32),
    ).map(lambda v: float(np.float32(v)))


def scales32(least: float = TINY32, most: float = 2.0**100) -> st.SearchStrategy[float]:
    """Positive finite float32 scales: those of real models, powers of two and their neighbours,
    and from denormal to huge."""
    lo, hi = float(np.float32(least)), float(np.float32(most))
    every = st.floats(lo, hi, width=32)
    some = [every]
    if lo <= 2.0**-20 and 2.0**4 <= hi:
        some.insert(0, st.floats(2.0**-20, 2.0**4, width=32, exclude_min=True))
        some.append(st.integers(-20, 4).map(lambda e: 2.0**e))
    some.append(powers_of_two32().map(lambda v: min(max(v, lo), hi)))
    return st.one_of(some)


@st.composite
def tied_scales(draw: st.DrawFn, count: int = 2) -> tuple[float, ...]:
    """`count` scales, the last of an output, whose effective scale makes exact ties.

    Of (x, y) or (x, w, y) the product of all but the last over the last is p / 2^k exactly, p odd
    and small, 1 <= k <= 8: the accumulator 2^(k - 1) and its odd multiples are halfway between two
    integers. Float32 products of the scales are exact. All but the ratio is arbitrary: the scales
    share odd factors that cancel.
    """
    if count < 2:
        raise BadInput(f"tied_scales of {count}; a ratio needs at least 2 scales")
    odd = st.integers(0, 15).map(lambda n: 2 * n + 1)
    exponents = st.integers(-20, 4)
    common, k = draw(odd), draw(st.integers(1, 8))
    inputs = [(draw(st.sampled_from([1, 3, 5, 7])), draw(exponents)) for _ in range(count - 1)]
    last = common * 2.0 ** (sum(e for _, e in inputs) + k)
    scales = [p * 2.0**e for p, e in inputs]
    scales[0] *= common
    return (*scales, last)


@st.composite
def near_ties32(draw: st.DrawFn, scale: float, qmax: int = 140, ulps: int = 2) -> float:
    """A float32 within `ulps` of (n + 1/2) * scale, |n| up to about qmax: where one rounding more
    or less shows. With ulps=0 the float32 nearest to the tie."""
    n = draw(st.integers(-qmax - 2, qmax + 1))
    value = min(max((n + 0.5) * float(scale), -MAX32), MAX32)
    return _beside(value, draw(st.integers(0, ulps)) * draw(st.sampled_from([1, -1])))


@st.composite
def weights_for(draw: st.DrawFn, scale: float, infinite: bool = True) -> np.ndarray:
    """(1..12,) float32 data to encode with about this scale."""
    some = [near_ties32(min(scale, 1e30)), finite32(), st.floats(-200 * scale, 200 * scale)]
    if infinite:
        some.append(st.sampled_from([np.inf, -np.inf, 0.0, -0.0, MAX32, -MAX32, TINY32]))
    values = draw(st.lists(st.one_of(some), min_size=1, max_size=12))
    with np.errstate(over="ignore"):
        return np.array(values, np.float64).astype(np.float32)


def _beside(value: float, ulps: int) -> float:
    """The float32 `ulps` above (below, if negative) the one nearest to `value`; finite."""
    near = np.float32(value)
    for _ in range(abs(ulps)):
        near = np.nextafter(near, np.float32(np.copysign(MAX32, ulps)))
    return float(near)


# --- fixed point ----------------------------------------------------------------------------------


def int32s() -> st.SearchStrategy[int]:
    """int32 values: ends, powers of two and neighbours, small, any."""
    edge = st.builds(
        lambda e, d, s: max(INT32_MIN, min(INT32_MAX, s * 2**e + d)),
        st.integers(0, 31),
        st.integers(-2, 2),
        st.sampled_from([-1, 1]),
    )
    return st.one_of(st.integers(-1000, 1000), edge, st.integers(INT32_MIN, INT32_MAX))


def multipliers() -> st.SearchStrategy[int]:
    """Quantized multipliers: 0, [2^30, 2^31) with its ends."""
    return st.one_of(
        st.sampled_from([0, 2**30, 2**30 + 1, 2**31 - 1, 0x7FFEFFFF, 0x7FFF0000, 3 * 2**29]),
        st.integers(2**30, 2**31 - 1),
    )


def shifts(rule: Rule = Rule.DBL) -> st.SearchStrategy[int]:
    """Shifts that the rule takes, > 0 to the left: [-31, 30], for 64-bit accumulators [-31, 7]."""
    return st.integers(-31, 7 if rule is Rule.M64 else 30)


def ties(
    multiplier: int, shift: int, rule: Rule = Rule.DBL, step: int = 0
) -> st.SearchStrategy[int]:
    """Accumulators that are exactly halfway at one rounding of the rule; nothing where none is.

    step: 0 the high product (or the only rounding), 1 the right shift after it (DBL, UP, MIX).
    """
    found = _ties(multiplier, shift, rule, step)
    return st.nothing() if found is None else found


def accumulators(
    multiplier: int, shift: int, rule: Rule = Rule.DBL, q: IntRange = INT8, zero_point: int = 0
) -> st.SearchStrategy[int]:
    """Accumulators that are hard for one factor and rule: ties of each of its roundings and their
    neighbours, what lands at the ends of q, what overflows a left shift, INT32_MIN and INT32_MAX.

    int32 values; for Rule.M64 in [-2^47, 2^47).
    """
    lo, hi = _bounds(rule)
    beside = st.sampled_from(NEIGHBOURS)
    ends = st.sampled_from([lo, hi, -hi])
    some: list[st.SearchStrategy[int]] = [int32s()]
    if rule is Rule.M64:
        some.append(st.integers(lo, hi))
    some.append(ends)
    found = [t for step in (0, 1) if (t := _ties(multiplier, shift, rule, step)) is not None]
    some += [st.builds(int.__add__, t, beside) for t in found]
    if shift > 0 and rule is not Rule.M64:
        edges = st.sampled_from([INT32_MAX >> shift, INT32_MIN >> shift])
        some.append(st.builds(int.__add__, edges, beside))
    if multiplier:
        # Without exact ties within reach, those whose product is closest to one.
        top, total = _factor(multiplier, shift, rule)
        most = max(abs(lo) * top >> total, 1)
        near = st.integers(-min(most, 1000), min(most, 1000))
        some.append(st.builds(lambda n, d: _div((2 * n + 1) << total, 2 * top) + d, near, beside))
        sides = st.sampled_from(sorted({q.qmin - zero_point, q.qmax - zero_point}, key=abs))
        some.append(
            st.builds(lambda n, half, d: _div((2 * n + half) << total, 2 * top) + d,
                      sides, st.sampled_from([0, -1, 1]), beside)
        )  # fmt: skip
    return st.one_of(some).map(lambda x: min(max(x, lo), hi))


def _bounds(rule: Rule) -> tuple[int, int]:
    return (-(2**47), 2**47 - 1) if rule is Rule.M64 else (INT32_MIN, INT32_MAX)


def _div(a: int, b: int) -> int:
    """The integer nearest to a / b, b > 0."""
    return (2 * a + b) // (2 * b)


def _factor(multiplier: int, shift: int, rule: Rule) -> tuple[int, int]:
    """(integer factor, total right shift): the exact product is x * factor / 2^shift."""
    if rule is Rule.M64:
        return int(fixedpoint.reduce_multiplier(multiplier)), 15 - shift
    return multiplier, 31 - shift


def _ties(multiplier: int, shift: int, rule: Rule, step: int) -> st.SearchStrategy[int] | None:
    """See `ties`; None where there are none."""
    lo, hi = _bounds(rule)
    two_steps = rule in (Rule.DBL, Rule.UP, *LANES)
    if multiplier <= 0 or step not in ((0, 1) if two_steps else (0,)):
        return None
    if step == 1:
        return _second_ties(multiplier, -shift)
    if two_steps:
        # The left shift comes before the product; x stays where it does not overflow.
        left = max(shift, 0)
        factor, total, lo, hi = multiplier << left, 31, lo >> left, hi >> left
    else:
        factor, total = _factor(multiplier, shift, rule)
    if rule is Rule.XF:
        single = np.float32(multiplier * 2.0**-30)  # 24 bits
        factor = int(float(single) * 2**30)
    # factor = odd * 2^v: x * factor is an odd multiple of 2^(total - 1) iff x is one of this unit.
    v = (factor & -factor).bit_length() - 1
    if v > total - 1:
        return None
    unit = 1 << (total - 1 - v)
    if rule is Rule.XF:  # x is rounded to float32 as well: few multiples are exact
        lo, hi = max(lo, -(unit << 24)), min(hi, unit << 24)
        most = (1 << 24) // (factor >> v)  # the product must be exact in 24 bits
        lo, hi = max(lo, -most * unit), min(hi, most * unit)
    return _odd_multiples(unit, lo, hi)


def _odd_multiples(unit: int, lo: int, hi: int) -> st.SearchStrategy[int] | None:
    # (2n + 1) * unit in [lo, hi]
    first, last = -((unit - lo) // (2 * unit)), (hi - unit) // (2 * unit)
    if first > last:
        return None
    near = st.integers(max(first, -500), min(last, 500))
    return st.one_of(near, st.integers(first, last)).map(lambda n: (2 * n + 1) * unit)


def _second_ties(multiplier: int, right: int) -> st.SearchStrategy[int] | None:
    """Accumulators whose rounded high product is an odd multiple of 2^(right - 1)."""
    if right < 1:
        return None
    # |x| < 2^31, so high products up to multiplier - 1 occur; each does, since steps are below 1.
    targets = _odd_multiples(1 << (right - 1), -multiplier + 1, multiplier - 1)
    if targets is None:
        return None
    # The smallest x with x * multiplier + 2^30 >= h * 2^31.
    return targets.map(lambda h: -(((1 << 30) - (h << 31)) // multiplier))
