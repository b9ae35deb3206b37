"""float32 tanh and sigmoid of Eigen, which LiteRT's recurrent kernels use instead of the C library.

tanh is a rational function at every position. sigmoid is a polynomial in vector code and the C
library's expf in scalar code; which positions of a vector are scalar, `vectorized` tells (E44).
Products and sums are rounded one by one (no fused multiply-add).

Sources: Eigen Core/arch/Default/GenericPacketMathFunctions.h (ptanh_float), Core/functors/
UnaryFunctors.h (scalar_logistic_op<float>), Core/AssignEvaluator.h.
"""

from __future__ import annotations

import numpy as np

from kernels import libm
from kernels.jit import jit
from kernels.libm import expf
from kernels.profile import Profile

F32 = np.float32
TANH_END = F32(7.90738964080810547)
TANH_ODD = (1.394553628e-8, 2.102733560e-5, 3.520756727e-3, 1.340216100e-1)  # highest power first
TANH_EVEN = (8.015776984e-7, 3.326951409e-4, 2.597254514e-2, 4.673548340e-1, 1.0)
SIGMOID_END = F32(16.6355324)  # from here on 1
SIGMOID_LOW = F32(-104.0)  # below 0
LOG2_E = F32(1.44269504088896341)
LN2_HIGH, LN2_LOW = F32(-0.693359375), F32(2.12194440e-4)
EXP = tuple(
    F32(c)
    for c in (
        0.49999141693115234375, 0.16666877269744873046875, 4.1898667812347412109375e-2,
        8.33471305668354034423828125e-3,
    )
)  # fmt: skip
LANES = 4


def vectorized(profile: Profile, start: int, length: int) -> np.ndarray:
    """(length,) bool: whether vector code computes an element of a vector that begins `start`
    floats into memory that is aligned to 16 bytes.

    ai-edge-litert: whole aligned groups of 4; head and tail are scalar. tensorflow: everywhere.
    """
    if not profile.litert:
        return np.ones(length, bool)
    head = min(-start % LANES, length)
    found = np.zeros(length, bool)
    found[head : head + (length - head) // LANES * LANES] = True
    return found


def tanh(x: np.ndarray) -> np.ndarray:
    """float32 -> float32, x P(x^2) / Q(x^2) on the clamped x (E44)."""
    x = np.clip(x, -TANH_END, TANH_END)
    x2 = x * x
    p = x2 * F32(TANH_ODD[0]) + F32(TANH_ODD[1])
    for c in TANH_ODD[2:]:
        p = p * x2 + F32(c)
    q = x2 * F32(TANH_EVEN[0]) + F32(TANH_EVEN[1])
    for c in TANH_EVEN[2:]:
        q = q * x2 + F32(c)
    return (x2 * x * p + x) / q


def sigmoid(x: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """float32 -> float32; vector: bool mask that broadcasts to x, from `vectorized` (E44)."""
    with np.errstate(all="ignore"):  # what overflows lies below SIGMOID_LOW
        found = _sigmoid_vector(x)
    vector = np.broadcast_to(vector, x.shape)
    if not vector.all():
        e = libm.exp(np.minimum(x[~vector], SIGMOID_END))
        found[~vector] = e / (F32(1) + e)
    return found


def _sigmoid_vector(x: np.ndarray) -> np.ndarray:
    """e / (1 + e) with e = exp(x / 2)^2, and exp(x / 2) = 2^m exp(r) by a polynomial in r."""
    half = np.minimum(x, SIGMOID_END) * F32(0.5)
    m = np.floor(half * LOG2_E + F32(0.5))
    r = m * LN2_LOW + (m * LN2_HIGH + half)
    r2 = r * r
    even, odd = r2 * EXP[2] + EXP[0], r2 * EXP[3] + EXP[1]
    p = r2 * (r * odd + even) + (r + F32(1))
    e = np.ldexp(p, np.maximum(m, -1000).astype(np.int32)).astype(np.float32)
    e = e * e
    return np.where(x < SIGMOID_LOW, F32(0), e / (F32(1) + e)).astype(np.float32)


@jit
def tanh_scalar(x):
    x = np.float32(min(max(x, -TANH_END), TANH_END))
    x2 = np.float32(x * x)
    p = np.float32(np.float32(x2 * np.float32(TANH_ODD[0])) + np.float32(TANH_ODD[1]))
    p = np.float32(np.float32(p * x2) + np.float32(TANH_ODD[2]))
    p = np.float32(np.float32(p * x2) + np.float32(TANH_ODD[3]))
    q = np.float32(np.float32(x2 * np.float32(TANH_EVEN[0])) + np.float32(TANH_EVEN[1]))
    q = np.float32(np.float32(q * x2) + np.float32(TANH_EVEN[2]))
    q = np.float32(np.float32(q * x2) + np.float32(TANH_EVEN[3]))
    q = np.float32(np.float32(q * x2) + np.float32(TANH_EVEN[4]))
    return np.float32(np.float32(np.float32(np.float32(x2 * x) * p) + x) / q)


@jit
def sigmoid_scalar(x, vector):
    """One element; vector: whether vector code computes it."""
    one = np.float32(1)
    if not vector:
        e = expf(min(x, SIGMOID_END))
        return np.float32(e / np.float32(one + e))
    if x < SIGMOID_LOW:
        return np.float32(0)
    half = np.float32(min(x, SIGMOID_END) * np.float32(0.5))
    m = np.float32(np.floor(np.float32(np.float32(half * LOG2_E) + np.float32(0.5))))
    r = np.float32(np.float32(m * LN2_LOW) + np.float32(np.float32(m * LN2_HIGH) + half))
    r2 = np.float32(r * r)
    even = np.float32(np.float32(r2 * EXP[2]) + EXP[0])
    odd = np.float32(np.float32(r2 * EXP[3]) + EXP[1])
    p = np.float32(np.float32(r * odd) + even)
    p = np.float32(np.float32(r2 * p) + np.float32(r + one))
    e = np.float32(np.float64(p) * 2.0 ** np.float64(m))
    e = np.float32(e * e)
    return np.float32(e / np.float32(one + e))
