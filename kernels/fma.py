"""Fused multiply-add of float32 where the hardware's is not at hand: one rounding, not two.

a * b has at most 48 bits, so float64 holds it exactly; the sum with c is then rounded to odd (the
last bit is set if anything was lost), and a value rounded to odd with 53 bits rounds to 24 bits as
the exact one does (E30). float32(float64(a) * b + c) alone is wrong at ties.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from kernels.jit import jit


def fma32(a: ArrayLike, b: ArrayLike, c: ArrayLike) -> np.ndarray:
    """float32(a * b + c) of float32 arrays (broadcast), rounded once, nearest even (E30)."""
    a, b, c = (np.asarray(v, np.float32).astype(np.float64) for v in (a, b, c))
    with np.errstate(invalid="ignore", over="ignore"):
        product = a * b
        total = np.asarray(product + c)
        back = total - product
        lost = (product - (total - back)) + (c - back)  # exact: two-sum
        bits = total.view(np.int64)
        outward = (lost > 0) == (total > 0)
        odd = np.where(outward, bits + 1, bits - 1).view(np.float64)
        inexact = np.isfinite(total) & (lost != 0) & (bits & 1 == 0)
        return np.where(inexact, odd, total).astype(np.float32)


@jit
def fma(a, b, c):
    """`fma32` of single float32 numbers, for jitted loops."""
    product = np.float64(a) * np.float64(b)
    addend = np.float64(c)
    total = product + addend
    back = total - product
    lost = (product - (total - back)) + (addend - back)
    if lost != 0.0 and math.isfinite(total):
        bits = np.float64(total).view(np.int64)
        if bits & 1 == 0:
            bits += 1 if (lost > 0.0) == (total > 0.0) else -1
            total = np.int64(bits).view(np.float64)
    return np.float32(total)
