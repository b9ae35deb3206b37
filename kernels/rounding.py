"""The named roundings of a real number to an integer (E2; truth table and proofs in docs/math.md).

Each function takes a float array or scalar, returns the same float dtype and shape, keeps the sign
of zero (-0.3 -> -0.0), and passes NaN and infinities through. All are exact for every value of
float16, float32 and float64, including 0.49999999999999994 and values above 2^52.
`out` may be `x` itself.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from kernels.errors import BadArray, KernelError

Rounding = Callable[..., np.ndarray]


def below_half(dtype: np.dtype) -> np.floating:
    """The largest value of the float type below 0.5: what half_away adds before it truncates."""
    one = np.dtype(dtype).type
    return np.nextafter(one(0.5), one(0.0))


def half_away(x: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
    """Nearest integer, ties away from zero: C `std::round`, LiteRT `TfLiteRound` (E2.1, E2.2)."""
    x = _floats(x, "half_away")
    nudge = np.copysign(below_half(x.dtype), x)
    # Adding 0.5 itself would round the value below 0.5 up to 1, and odd integers above 2^(p-1) too.
    return np.trunc(np.add(x, nudge, out=nudge if x.ndim else None), out=out)


def half_even(x: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
    """Nearest integer, ties to even: IEEE 754 roundToIntegralTiesToEven, `np.rint` (E2.3)."""
    return np.rint(_floats(x, "half_even"), out=out)


def half_up(x: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
    """Nearest integer, ties toward +infinity (-1.5 -> -1): NEON vrshl, (x + half) >> n (E2.4)."""
    x = _floats(x, "half_up")
    low = np.floor(x)
    with np.errstate(invalid="ignore"):  # inf - inf; the comparison with NaN is then False
        up = np.subtract(x, low) >= 0.5
    # A value in (-0.5, 0) gives +0 here; the sign of x is the sign of the answer or of its zero.
    return np.copysign(np.add(low, up.astype(x.dtype)), x, out=out)


def toward_zero(x: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
    """Drop the fraction: C float-to-integer conversion, `np.trunc` (E2.5)."""
    return np.trunc(_floats(x, "toward_zero"), out=out)


ROUNDINGS: dict[str, Rounding] = {
    "half_away": half_away,
    "half_even": half_even,
    "half_up": half_up,
    "toward_zero": toward_zero,
}


def by_name(name: str) -> Rounding:
    """The rounding called `name`; raises KernelError naming the choices."""
    try:
        return ROUNDINGS[name]
    except KeyError:
        known = ", ".join(ROUNDINGS)
        raise KernelError(f"rounding {name!r} is unknown; use one of {known}") from None


def _floats(x: ArrayLike, where: str) -> np.ndarray:
    x = np.asarray(x)
    if x.dtype.kind != "f":
        raise BadArray(f"{where}: needs a float array, got {x.dtype}; convert it first")
    return x
