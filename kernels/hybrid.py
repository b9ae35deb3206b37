"""Float activations as int8 rows: what hybrid kernels do with their input before the integer sums.

Three rules, each a function of rows, x (R, N) float32 -> q (R, N) int8, scale (R,) float32,
zero_point (R,) int64, so that x is about scale * (q - zero_point):

    asymmetric   LiteRT, asymmetric_quantize_inputs
    symmetric    LiteRT, without it; zero_point is 0
    qd8          XNNPACK's "dynamically quantized" input, always asymmetric

`quantize(rule, x)` is the same jitted, and `quantize_row` one row for jitted loops. What a row is
(a batch, an image, a pixel) is the operator's business.

Sources: LiteRT kernels/internal/optimized/neon_tensor_utils.cc (on x86 through NEON_2_SSE, for the
reference kernels too), XNNPACK src/xnnpack/quantization.h and f32-qs8-vcvt; docs/math.md E31.
"""

from __future__ import annotations

import math

import numpy as np

from kernels import fixedpoint
from kernels.exact import matmul
from kernels.jit import jit
from kernels.rounding import half_away, half_even
from kernels.scalar import half_away32, half_away64, wrap32

ASYMMETRIC, SYMMETRIC, QD8 = range(3)
INT32_MIN = -(2**31)

Rows = tuple[np.ndarray, np.ndarray, np.ndarray]
F32 = np.float32
QUIET = np.errstate(divide="ignore", over="ignore", invalid="ignore")  # ranges near the ends


@QUIET
def asymmetric(x: np.ndarray) -> Rows:
    """Range widened to hold 0, zero point nudged to an integer (E31).

    The scale is float32((max - min) / 255), with the difference in float32; a row of zeros has
    scale 1. Rounding depends on the place: _round.
    """
    lo, hi = np.minimum(x.min(1), F32(0)), np.maximum(x.max(1), F32(0))
    empty = lo == hi
    step = (hi - lo).astype(np.float64) / 255.0
    step[empty] = 1.0
    low, high = lo / step, hi / step
    chosen = np.where(128.0 + np.abs(low) < 127.0 + np.abs(high), -128.0 - low, 127.0 - high)
    zero_point = half_away(np.clip(chosen, -128.0, 127.0)).astype(np.int64)
    zero_point[empty] = 0
    scale = step.astype(np.float32)
    inverse = np.where(scale == 0, 0.0, 1.0 / scale.astype(np.float64)).astype(np.float32)
    return _round(x, inverse, zero_point, -128), scale, zero_point


@QUIET
def symmetric(x: np.ndarray) -> Rows:
    """Largest magnitude at 127 (E31): scale float32(max / 127), values times float32(127 / max)."""
    most = np.abs(x).max(1)
    empty = most == 0
    inverse = F32(127) / most
    inverse[empty] = 0
    zero_point = np.zeros(len(x), np.int64)
    scale = np.where(empty, F32(1), most / F32(127))
    return _round(x, inverse, zero_point, -127), scale, zero_point


@QUIET
def qd8(x: np.ndarray) -> Rows:
    """XNNPACK's (E31): all in float32, the inverse scale 255 / (max - min) first, half even."""
    lo, hi = np.minimum(x.min(1), F32(0)), np.maximum(x.max(1), F32(0))
    inverse = np.where(lo == hi, F32(1), F32(255) / (hi - lo))
    low, high = lo * inverse, hi * inverse
    from_min = (F32(-128) + low) + (F32(127) + high) > 0
    chosen = np.where(from_min, F32(-128) - low, F32(127) - high)
    chosen = np.where(np.isnan(chosen), F32(-128), np.clip(chosen, F32(-128), F32(127)))
    zero_point = half_even(chosen).astype(np.int64)
    t = x * inverse[:, None]
    steps = half_even(np.where(np.isnan(t), F32(32767), np.clip(t, F32(-32768), F32(32767))))
    q = np.clip(steps + zero_point[:, None], -128, 127).astype(np.int8)
    return q, F32(1) / inverse, zero_point


def _round(x: np.ndarray, inverse: np.ndarray, zero_point: np.ndarray, qmin: int) -> np.ndarray:
    """x * inverse as steps: whole groups of 8 add a half in float32 and truncate, the tail is
    half_away; then the zero point, and the clamp (E31)."""
    t, z = x * inverse[:, None], zero_point[:, None]
    whole = x.shape[1] // 8 * 8
    body = np.trunc(t[:, :whole] + np.copysign(F32(0.5), t[:, :whole]))
    tail = half_away(t[:, whole:]) + z.astype(np.float32)
    steps = np.concatenate([fixedpoint.wrap32(_int32(body) + z), _int32(tail)], axis=1)
    return np.clip(steps, qmin, 127).astype(np.int8)


def _int32(x: np.ndarray) -> np.ndarray:
    """Integral floats as int64; what does not fit 32 bits is INT32_MIN, as x86 converts it."""
    fits = np.abs(x) < F32(2**31)  # False for NaN
    return np.where(fits, np.where(fits, x, F32(0)).astype(np.int64), INT32_MIN)


RULES = (asymmetric, symmetric, qd8)


def quantize(rule: int, x: np.ndarray) -> Rows:
    """`asymmetric`, `symmetric` or `qd8` of the rows, jitted."""
    q = np.empty(x.shape, np.int8)
    scale = np.empty(len(x), np.float32)
    zero_point = np.empty(len(x), np.int64)
    quantize_rows(rule, np.ascontiguousarray(x), q, scale, zero_point)
    return q, scale, zero_point


@jit
def quantize_rows(rule, x, q, scale, zero_point):
    for row in range(x.shape[0]):
        scale[row], zero_point[row] = quantize_row(rule, x[row], q[row])


@jit
def quantize_row(rule, x, q):
    """One row x (N,) float32 into q (N,) int8; returns scale (float32) and zero point (int64)."""
    lo, hi = np.float32(0), np.float32(0)
    for value in x:
        lo, hi = min(lo, value), max(hi, value)
    if rule == 2:
        return _qd8_row(x, q, lo, hi)
    if lo == hi:
        q[:] = 0
        return np.float32(1), np.int64(0)
    if rule == 0:
        step = np.float64(np.float32(hi - lo)) / 255.0
        low, high = np.float64(lo) / step, np.float64(hi) / step
        if 128.0 + abs(low) < 127.0 + abs(high):
            chosen = -128.0 - low
        else:
            chosen = 127.0 - high
        zero_point = np.int64(half_away64(min(max(chosen, -128.0), 127.0)))
        scale = np.float32(step)
        inverse = np.float32(0)
        if scale != 0:
            inverse = np.float32(1.0 / np.float64(scale))
        qmin = np.int64(-128)
    else:
        most = max(-lo, hi)
        scale = np.float32(most / np.float32(127))
        inverse = np.float32(np.float32(127) / most)
        zero_point, qmin = np.int64(0), np.int64(-127)
    whole = x.size // 8 * 8
    for i in range(whole):
        t = np.float32(x[i] * inverse)
        t = np.float32(t + np.float32(math.copysign(np.float32(0.5), t)))
        steps = np.int64(t) if abs(t) < np.float32(2147483648.0) else np.int64(-2147483648)
        q[i] = min(max(wrap32(steps + zero_point), qmin), 127)
    for i in range(whole, x.size):
        t = np.float32(x[i] * inverse)
        if abs(t) < np.float32(1073741824.0):
            steps = half_away32(t) + zero_point
        else:
            steps = np.int64(-2147483648)
        q[i] = min(max(steps, qmin), 127)
    return scale, zero_point


@jit
def _qd8_row(x, q, lo, hi):
    inverse = np.float32(1)
    if lo != hi:
        inverse = np.float32(np.float32(255) / np.float32(hi - lo))
    low, high = np.float32(lo * inverse), np.float32(hi * inverse)
    from_min = np.float32(np.float32(-128) + low) + np.float32(np.float32(127) + high)
    if np.float32(from_min) > 0:
        chosen = np.float32(np.float32(-128) - low)
    else:
        chosen = np.float32(np.float32(127) - high)
    if not chosen > np.float32(-128):  # NaN too: the inverse scale of a tiny range is infinite
        chosen = np.float32(-128)
    zero_point = np.int64(np.rint(min(chosen, np.float32(127))))
    for i in range(x.size):
        t = np.float32(x[i] * inverse)
        t = max(t, np.float32(-32768)) if t < np.float32(32767) else np.float32(32767)
        q[i] = min(max(np.int64(np.rint(t)) + zero_point, -128), 127)
    return np.float32(np.float32(1) / inverse), zero_point


def products(q: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Sums (R, O) of q (R, N) times w (O, N), int64, as the x86 kernels of recurrent operators and
    FULLY_CONNECTED form them (E44).

    In whole blocks of 16 the sign of q is moved to the weight in 8 bits, where -(-128) is -128: a
    negative q times -128 comes out negative.
    """
    sums = matmul(q, w.T)
    whole = wrong_blocks(w)
    if whole:
        negative = np.minimum(q[:, :whole], 0)
        sums = sums + 256 * matmul(negative, (w[:, :whole] == -128).T)
    return sums


def wrong_blocks(w: np.ndarray) -> int:
    """How many columns of w (O, N) meet q in blocks of 16, 0 where no weight is -128."""
    return w.shape[1] // 16 * 16 if w.size and w.min() == -128 else 0


def row_sums(w: np.ndarray) -> np.ndarray:
    """Sums (O,) of rows of int8, int64, by which the same kernels take a zero point out (E44).

    Eight 16-bit lanes add up the blocks of 16, and wrap from 2064 columns on.
    """
    rows, n = w.shape
    w = w.astype(np.int64)
    blocks, whole = n // 16 * 16, n // 8 * 8
    lanes = w[:, :blocks].reshape(rows, blocks // 16, 8, 2).sum((1, 3))
    if whole > blocks:
        lanes = lanes + w[:, blocks:whole]
    return lanes.astype(np.int16).sum(1, dtype=np.int64) + w[:, whole:].sum(1)
