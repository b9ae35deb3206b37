"""From ranges to scales and zero points, as TFLite's two quantizers compute them, bit for bit.

`mlir` is the quantizer behind TFLiteConverter's int8 path, `legacy` the older one behind its 16x8
path. Every function maps arrays of groups (G,) to arrays of groups (G,); inputs that are one float
are taken as G = 1. Ranges are in real units, float64 or float32; scales are in real units a step,
float32 unless the name says `double`; zero points are int64. Symmetric scales have zero point 0.
Bounds must be finite with lo <= hi, magnitudes finite and >= 0, else NotFinite / BadRange.

Sources: LiteRT converter/quantization/common/quantization_lib/quantization_utils.{h,cc}
(ConvertStatsToQDQs, GetQuantizedType, DownCastScale), tfl_quantization_driver.cc
(SetBiasParamsWithAdjustments), converter/transforms/prepare_quantize_helper.{h,cc},
tools/optimize/quantization_utils.cc; tensorflow compiler/mlir/quantization/common/ir/
FakeQuantSupport.cc. Derivations and the reasons for each degenerate case: docs/math.md E4-E15.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from kernels.errors import BadArray, BadRange, NotFinite
from kernels.ranges import INT16, INT16_NARROW, IntRange
from kernels.rounding import half_away

SMALL_RANGE = 1e-6  # ranges below (activations) or up to (constants) this width are widened, E6
BIAS_LIMIT = 2**30 - 1  # floor((2^31 - 1) / 2): largest |integer| the mlir guard leaves a bias, E14
INT32_MAX = 2**31 - 1


class ScaleZeroPoint(NamedTuple):
    """scale (G,) float32 and zero_point (G,) int64."""

    scale: np.ndarray
    zero_point: np.ndarray


class MlirGuard(NamedTuple):
    """Result of bias_guard_mlir: scales after the guard, and where it acted."""

    weight_scale: np.ndarray  # (G,) float32
    bias_scale: np.ndarray  # (G,) float32
    raised: np.ndarray  # (G,) bool
    exact_weight_scale: np.ndarray  # (G,) float64: before rounding, see affine.encode_tensor_mlir


class LegacyGuard(NamedTuple):
    """Result of bias_guard_legacy: weight magnitude after the guard, and where it acted."""

    max_abs: np.ndarray  # (G,) float32
    raised: np.ndarray  # (G,) bool


# --- ranges ---------------------------------------------------------------------------------------


def include_zero(lo: ArrayLike, hi: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """float64 (min(lo, 0), max(hi, 0)): real 0 must have an integer (E4)."""
    lo, hi = _range(lo, hi)
    return np.minimum(lo, 0.0), np.maximum(hi, 0.0)


def widen_activation(lo: ArrayLike, hi: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """mlir, calibrated tensors: hi - lo < 1e-6 moves *both* ends out by 1e-6 (E6).

    So a range of 9.9e-7 triples, and its zero point lands near the middle.
    """
    lo, hi = _range(lo, hi)
    small = hi - lo < SMALL_RANGE
    return np.where(small, lo - SMALL_RANGE, lo), np.where(small, hi + SMALL_RANGE, hi)


def widen_constant(lo: ArrayLike, hi: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """mlir, constants: hi - lo <= 1e-6 is widened to at least [-5e-7, 5e-7] (E6)."""
    lo, hi = _range(lo, hi)
    small = ~(hi - lo > SMALL_RANGE)
    half = SMALL_RANGE / 2
    return np.where(small, np.minimum(lo, -half), lo), np.where(small, np.maximum(hi, half), hi)


# --- asymmetric -----------------------------------------------------------------------------------


def asymmetric_mlir(
    lo: ArrayLike, hi: ArrayLike, q: IntRange, widen: str = "activation"
) -> ScaleZeroPoint:
    """Scale and zero point of a range, rules of the mlir quantizer (E5, E6, E7).

    Range with 0, widened (`widen`: "activation", "constant", or "none" for LSTM operands); scale =
    float32(hi) - float32(lo) over qmax - qmin, float32; zero point qmin - lo / scale in float64,
    rounded once to float32, clamped to q, half away. A range too wide for float32 gives scale inf;
    a zero range with widen="none" gives scale 0 and zero point qmin.
    """
    lo, hi = include_zero(lo, hi)
    if widen == "activation":
        lo, hi = widen_activation(lo, hi)
    elif widen == "constant":
        lo, hi = widen_constant(lo, hi)
    elif widen != "none":
        raise BadRange(f"asymmetric_mlir: widen={widen!r}; use 'activation', 'constant' or 'none'")
    with np.errstate(all="ignore"):
        scale = (hi.astype(np.float32) - lo.astype(np.float32)) / np.float32(q.steps)
        exact = q.qmin - lo / scale.astype(np.float64)
        anchored = np.where(scale == 0, q.qmin, exact).astype(np.float32)
    return ScaleZeroPoint(scale, _nudged(anchored, q))


def asymmetric_legacy(lo: ArrayLike, hi: ArrayLike, q: IntRange) -> ScaleZeroPoint:
    """Scale and zero point of a range, rules of the older quantizer: all in float32 (E5, E7).

    No widening, so denormal scales are possible; a zero range gives scale 0, zero point qmin.
    """
    lo, hi = include_zero(lo, hi)
    with np.errstate(all="ignore"):
        low, high = lo.astype(np.float32), hi.astype(np.float32)
        scale = (high - low) / np.float32(q.steps)
        exact = np.float32(q.qmin) - low / scale
        anchored = np.where(scale == 0, np.float32(q.qmin), exact)
    return ScaleZeroPoint(scale, _nudged(anchored, q))


def activation16_mlir(lo: ArrayLike, hi: ArrayLike) -> ScaleZeroPoint:
    """int16 activations of the mlir quantizer: [-m, m] over 65535 steps, zero point 0 or -1 (E8).

    The true zero point is -1/2, so rounding noise decides which of the two it becomes.
    """
    m = _magnitude(lo, hi)
    return asymmetric_mlir(-m, m, INT16)


def activation16_legacy(lo: ArrayLike, hi: ArrayLike) -> ScaleZeroPoint:
    """int16 activations of the older quantizer: m / 32767, zero point 0 (E8)."""
    scale = symmetric_legacy(_magnitude(lo, hi), INT16_NARROW)
    return ScaleZeroPoint(scale, np.zeros(scale.shape, np.int64))


def power_of_two_mlir(lo: ArrayLike, hi: ArrayLike) -> np.ndarray:
    """int16 LSTM cell state, mlir: 2^ceil(log2 m) / 32768, m the largest magnitude (E9).

    Any exponent is allowed; m = 0 gives scale 0.
    """
    fraction, exponent = np.frexp(_magnitude(lo, hi))
    exponent = exponent - (fraction == 0.5)
    scale = np.where(fraction == 0, 0.0, np.ldexp(1.0, exponent - 15))
    with np.errstate(over="ignore", under="ignore"):
        return scale.astype(np.float32)


def power_of_two_legacy(lo: ArrayLike, hi: ArrayLike) -> np.ndarray:
    """int16 LSTM cell state, older quantizer: as power_of_two_mlir, exponent in [0, 10] (E9)."""
    scale = power_of_two_mlir(lo, hi)
    return np.clip(scale, np.float32(2.0**-15), np.float32(2.0**-5))


# --- symmetric ------------------------------------------------------------------------------------


def symmetric_mlir(max_abs: ArrayLike, q: IntRange) -> np.ndarray:
    """Weights and other symmetric constants, mlir: float32(m) - float32(-m) over qmax - qmin (E10).

    m of 5e-7 or less counts as 5e-7, so a channel of zeros has scale 1e-6 / (qmax - qmin). m above
    half the float32 range gives inf.
    """
    m = _nonnegative(max_abs)
    low, high = widen_constant(-m, m)
    with np.errstate(over="ignore"):
        width = high.astype(np.float32) - low.astype(np.float32)
        return width / np.float32(q.steps)


def symmetric_legacy(max_abs: ArrayLike, q: IntRange) -> np.ndarray:
    """Per-channel weights and int16 constants, older quantizer: m / qmax in float32 (E10).

    A channel of zeros has scale 0.
    """
    with np.errstate(under="ignore", over="ignore"):
        return _nonnegative(max_abs).astype(np.float32) / np.float32(q.qmax)


def symmetric_legacy_tensor(max_abs: ArrayLike, q: IntRange) -> np.ndarray:
    """Per-tensor weights and constants, older quantizer: m / qmax in float32; zeros: 1 (E10)."""
    scale = symmetric_legacy(max_abs, q)
    return np.where(_nonnegative(max_abs) == 0, np.float32(1.0), scale)


def symmetric_double(max_abs: ArrayLike, q: IntRange) -> np.ndarray:
    """Weights of dynamic-range models: float64 2m / (qmax - qmin), m at least 5e-7 (E11).

    The integers are made with this value (affine.encode_double); its float32 rounding is stored.
    """
    m = _nonnegative(max_abs)
    low, high = widen_constant(-m, m)
    return (high - low) / q.steps


# --- bias -----------------------------------------------------------------------------------------


def bias_scale(input_scale: ArrayLike, weight_scale: ArrayLike) -> np.ndarray:
    """float32 product of the two scales, (G,): one step of the accumulator (E12).

    The float64 product of two float32 values is exact, so rounding it gives the float32 product.
    """
    product = _group(input_scale).astype(np.float32) * _group(weight_scale).astype(np.float32)
    return product.astype(np.float32)


def bias_guard_mlir(
    bias: ArrayLike, input_scale: float, weight_scale: ArrayLike, per_tensor: bool = False
) -> MlirGuard:
    """Keep each bias integer within half of int32 by raising scales, mlir rules (E14).

    bias (C,) float32; weight_scale (C,), or (1,) with per_tensor, where the largest |bias| counts
    and reaching the limit already acts. Where |bias| / bias_scale > 2^30 - 1: bias_scale becomes
    |bias| / (2^30 - 1) and weight_scale that over input_scale, float64 rounded to float32; the
    weights must then be encoded with the new scale. Else the scales come back unchanged.
    """
    magnitude, s_in, w = _guard_inputs(bias, input_scale, weight_scale, per_tensor)
    product = bias_scale(s_in, w)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        reached = magnitude / product.astype(np.float64)
        # A zero bias under a zero scale is 0 / 0; the official test is false then, or for a tensor
        # "not below", which would raise the scale to 0: no change there either.
        raised = ~(reached < BIAS_LIMIT) if per_tensor else reached > BIAS_LIMIT
        raised &= magnitude > 0
        higher = magnitude / BIAS_LIMIT
        exact = np.where(raised, higher / np.float64(s_in), w.astype(np.float64))
        new_bias = np.where(raised, higher.astype(np.float32), product)
        return MlirGuard(exact.astype(np.float32), new_bias, raised, exact)


def bias_guard_legacy(
    bias: ArrayLike, input_scale: float, max_abs: ArrayLike, per_tensor: bool = False
) -> LegacyGuard:
    """Keep each bias integer within half of int32 by raising the weight range, older rules (E14).

    bias (C,) float32; max_abs (C,), or (1,) with per_tensor. Where |bias| >= 0.5 * input_scale *
    (max_abs / 127) * (2^31 - 1), max_abs becomes 2 |bias| / (2^31 - 1) * float32(127 /
    input_scale); scale and integers follow from it (symmetric_legacy, affine.encode_max32).
    `raised` is where max_abs changed: a dead channel without bias meets the test as 0 >= 0.
    """
    magnitude, s_in, m = _guard_inputs(bias, input_scale, max_abs, per_tensor)
    half_step = 0.5 * np.float64(s_in) * (m / np.float32(127)).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if per_tensor:
            # float32 division by 2^31 - 1, which float32 rounds to 2^31.
            raised = (magnitude.astype(np.float32) / np.float32(INT32_MAX)) >= half_step
        else:
            raised = magnitude >= half_step * INT32_MAX
        per_unit = np.float64(np.float32(127) / s_in)
        higher = (2.0 * magnitude / INT32_MAX * per_unit).astype(np.float32)
    raised &= higher != m
    return LegacyGuard(np.where(raised, higher, m), raised)


# --- what these share -----------------------------------------------------------------------------


def _nudged(anchored: np.ndarray, q: IntRange) -> np.ndarray:
    """Clamp float32 zero points to q, then round half away: int64 (E7)."""
    return half_away(np.clip(anchored, np.float32(q.qmin), np.float32(q.qmax))).astype(np.int64)


def _group(values: ArrayLike) -> np.ndarray:
    values = np.atleast_1d(np.asarray(values))
    if values.ndim != 1:
        raise BadArray(f"scales: groups are a (G,) array, got shape {values.shape}")
    return values


def _range(lo: ArrayLike, hi: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    lo, hi = _group(lo).astype(np.float64), _group(hi).astype(np.float64)
    bad = ~(np.isfinite(lo) & np.isfinite(hi))
    if bad.any():
        g = int(np.flatnonzero(bad)[0])
        raise NotFinite(f"scales: range [{lo[g]}, {hi[g]}] of group {g} is not finite")
    if (lo > hi).any():
        g = int(np.flatnonzero(lo > hi)[0])
        raise BadRange(f"scales: range [{lo[g]}, {hi[g]}] of group {g} has its ends swapped")
    return lo, hi


def _magnitude(lo: ArrayLike, hi: ArrayLike) -> np.ndarray:
    lo, hi = _range(lo, hi)
    return np.maximum(np.abs(lo), np.abs(hi))


def _nonnegative(max_abs: ArrayLike) -> np.ndarray:
    m = _group(max_abs).astype(np.float64)
    if not (np.isfinite(m) & (m >= 0)).all():
        raise NotFinite("scales: a magnitude is negative, NaN or infinite")
    return m


def _guard_inputs(
    bias: ArrayLike, input_scale: float, per_group: ArrayLike, per_tensor: bool
) -> tuple[np.ndarray, np.float32, np.ndarray]:
    magnitude = np.abs(_group(bias).astype(np.float32)).astype(np.float64)
    per_group = _group(per_group).astype(np.float32)
    if not np.isfinite(magnitude).all():
        raise NotFinite("bias guard: the bias holds a NaN or an infinity; leave the operator float")
    if per_tensor:
        magnitude = magnitude.max(keepdims=True)
    if magnitude.shape != per_group.shape:
        raise BadArray(
            f"bias guard: {magnitude.size} biases for {per_group.size} weight groups; "
            "pass one a channel, or per_tensor=True with one weight group"
        )
    return magnitude, np.float32(input_scale), per_group
