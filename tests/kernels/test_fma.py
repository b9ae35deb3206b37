"""fma32 and its jitted form against exact fractions: one rounding, ties included."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from kernels.fma import fma, fma32
from kernels.jit import jit
from tests import oracle

floats = st.floats(width=32, allow_nan=False, allow_infinity=False)
steps = st.integers(-(2**24), 2**24)
scaled = st.builds(lambda m, e: np.float32(m * 2.0**e), steps, st.integers(-60, 60))


@jit
def _each(a, b, c, out):
    for i in range(a.size):
        out[i] = fma(a[i], b[i], c[i])


def both(a: float, b: float, c: float) -> list[float]:
    one, two, three = (np.float32([v]) for v in (a, b, c))
    out = np.empty(1, np.float32)
    _each(one, two, three, out)
    return [float(fma32(one, two, three)[0]), float(out[0])]


def nearly(a: float, b: float, c: float) -> float:
    """The value that rounds the sum twice."""
    return float(np.float32(np.float64(a) * np.float64(b) + np.float64(c)))


# The sum is 1 + 2^-23 + 2^-24 - 2^-64. float64 drops the last term, and float32 sees a tie.
TIE = (2.0**-24 * (1 + 2.0**-20), 1 - 2.0**-20, 1 + 2.0**-23)
TINY = (2.0**-50, 2.0**-50, 1 + 2.0**-23)


@given(a=floats | scaled, b=floats | scaled, c=floats | scaled)
@example(*TIE)
@example(*TINY)
def test_one_rounding(a: float, b: float, c: float):
    a, b, c = float(a), float(b), float(c)
    want = oracle.f32(Fraction(a) * Fraction(b) + Fraction(c))
    assert all(got == float(want) for got in both(a, b, c))


@given(m=steps, n=steps, e=st.integers(-40, 0), little=st.integers(-70, -30), up=st.booleans())
def test_near_ties(m: int, n: int, e: int, little: int, up: bool):
    """c is about -a * b, or a * b is a small part of c: what the second rounding sees."""
    a, b = float(np.float32(m)), float(np.float32(n * 2.0**e))
    c = float(np.float32((1 if up else -1) * a * b * 2.0 ** (0 if up else -little)))
    want = oracle.f32(Fraction(a) * Fraction(b) + Fraction(c))
    assert both(a, b, c) == [float(want)] * 2


def test_rounding_twice_is_seen():
    assert nearly(*TIE) == 1 + 2.0**-22
    assert both(*TIE) == [1 + 2.0**-23] * 2


def test_not_finite():
    inf = math.inf
    assert both(inf, 1.0, 1.0) == [inf, inf]
    assert both(1.0, 2.0, -inf) == [-inf, -inf]
    assert all(map(math.isnan, both(inf, 0.0, 1.0) + both(inf, 1.0, -inf)))
    assert both(3e38, 3e38, -1.0) == [inf, inf]
