"""Hypothesis strategies that look for trouble: ties, neighbours of ties, denormals, saturation."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

MAX32 = float(np.finfo(np.float32).max)
TINY32 = float(np.finfo(np.float32).smallest_subnormal)


def finite32(limit: float = MAX32) -> st.SearchStrategy[float]:
    """Any finite float32, denormals and both zeros included."""
    limit = float(np.float32(limit))
    return st.floats(-limit, limit, width=32, allow_nan=False, allow_subnormal=True)


def magnitudes32(limit: float = MAX32) -> st.SearchStrategy[float]:
    """Non-negative float32 values: 0, denormals, powers of two and their neighbours, anything."""
    limit = float(np.float32(limit))
    powers = st.builds(
        lambda e, s: float(np.nextafter(np.float32(2.0**e), np.float32(s))),
        st.integers(-120, 100),
        st.sampled_from([0.0, np.inf]),
    )
    return st.one_of(
        st.sampled_from([0.0, TINY32, 1.1754943508222875e-38, 1e-6, 5e-7, 1.0]),
        powers.filter(lambda v: v <= limit),
        st.floats(0.0, limit, width=32, allow_subnormal=True),
        st.floats(2.0**-13, 100.0, width=32),
    ).map(lambda v: float(np.float32(v)))


def scales32() -> st.SearchStrategy[float]:
    """Positive finite float32 scales, from denormal to large; mostly those of real models."""
    return st.one_of(
        st.floats(2.0**-20, 2.0**4, width=32, exclude_min=True),
        st.integers(-30, 10).map(lambda e: 2.0**e),
        st.floats(TINY32, 2.0**100, width=32, allow_subnormal=True),
    )


@st.composite
def near_ties32(draw: st.DrawFn, scale: float, qmax: int = 140) -> float:
    """A float32 within two ulp of (n + 1/2) * scale: where one rounding more or less shows."""
    n = draw(st.integers(-qmax - 2, qmax + 1))
    value = np.float32((n + 0.5) * scale)
    for _ in range(draw(st.integers(0, 2))):
        value = np.nextafter(value, np.float32(draw(st.sampled_from([-np.inf, np.inf]))))
    return float(value)


@st.composite
def weights_for(draw: st.DrawFn, scale: float, infinite: bool = True) -> np.ndarray:
    """(1..12,) float32 data to encode with about this scale."""
    some = [near_ties32(min(scale, 1e30)), finite32(), st.floats(-200 * scale, 200 * scale)]
    if infinite:
        some.append(st.sampled_from([np.inf, -np.inf, 0.0, -0.0, MAX32, -MAX32, TINY32]))
    values = draw(st.lists(st.one_of(some), min_size=1, max_size=12))
    with np.errstate(over="ignore"):
        return np.array(values, np.float64).astype(np.float32)


def int32s() -> st.SearchStrategy[int]:
    """int32 values: ends, powers of two and neighbours, small, any."""
    edge = st.builds(
        lambda e, d, s: max(-(2**31), min(2**31 - 1, s * 2**e + d)),
        st.integers(0, 31),
        st.integers(-2, 2),
        st.sampled_from([-1, 1]),
    )
    return st.one_of(edge, st.integers(-1000, 1000), st.integers(-(2**31), 2**31 - 1))


def multipliers() -> st.SearchStrategy[int]:
    """Quantized multipliers: 0, [2^30, 2^31) with its ends."""
    return st.one_of(
        st.sampled_from([0, 2**30, 2**30 + 1, 2**31 - 1, 0x7FFEFFFF, 0x7FFF0000, 3 * 2**29]),
        st.integers(2**30, 2**31 - 1),
    )
