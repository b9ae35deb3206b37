"""From a constant's float values to its integers, once scale and zero point stand.

A rounding is a plug: the converter's own arithmetics are here, and two that know what an operator
multiplies the constant with (docs/tuning.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from kernels import affine, scales
from kernels.ranges import IntRange
from qcore.errors import BadRecipe
from qcore.params import Affine, Stats
from qcore.plugs import Plug
from qcore.tune import gptq


@dataclass(frozen=True)
class Rounding(Plug):
    """Base of every rounding. Subclass as a frozen dataclass and write `encode`; `key` names it.

    needs: what it must know of what a linear operator multiplies the constant with: "values"
    nothing, "mean" the mean of each product's input, "covariance" all second moments. A rounding of
    weights that says "covariance" has `solve`, a rounding of biases that says "mean" makes up for
    the mean error of the weights; both are called by `qcore.tune`.
    """

    family: ClassVar[str] = "rounding"
    needs: ClassVar[str] = "values"

    def encode(
        self, values: np.ndarray, params: Affine, stats: Stats | None, q: IntRange | None
    ) -> np.ndarray:
        """Integers for `values`.

        values: any shape, float32, real units; a slice along axis 0 when the tensor is large, with
        params and stats cut to the same groups. stats: the range that params were chosen from.
        Returns an array of q.dtype in [q.qmin, q.qmax], same shape; q is None for float16 alone.
        """
        raise NotImplementedError

    def solve(
        self, w: np.ndarray, scale: np.ndarray, zero_point: np.ndarray, q: IntRange,
        second: np.ndarray,
    ) -> np.ndarray:  # fmt: skip
        """Integers for weights, where `needs` is "covariance".

        w, scale, zero_point: (G, R, K) float64, rows of G groups.  second: (G, K, K), moments of
        the inputs of each group.  Returns (G, R, K), whole numbers in [q.qmin, q.qmax].
        """
        raise NotImplementedError


def _max_abs(stats: Stats, params: Affine, ndim: int) -> np.ndarray:
    """The largest magnitude of each group as float32, shaped to broadcast."""
    magnitude = np.maximum(np.abs(stats.lo), np.abs(stats.hi)).astype(np.float32)
    shape = [1] * ndim
    if params.axis is not None and ndim:
        shape[params.axis] = magnitude.size
    return magnitude.reshape(shape if ndim else ())


@dataclass(frozen=True)
class Nearest(Rounding):
    """Nearest integer of w / scale + zero_point in float64, ties away from zero (E16)."""

    key: ClassVar[str] = "nearest"

    def encode(self, values, params, stats, q):
        scale, zero_point = params.along(values.ndim)
        return affine.encode_double(values, scale.astype(np.float64), zero_point, q)


@dataclass(frozen=True)
class NearestMlir(Rounding):
    """Symmetric constants of the MLIR quantizer, float32 arithmetic (E16).

    Per channel and in sixteen bits w * float32(1 / scale), in eight bits per tensor
    w * float32(qmax / max|w|).
    """

    key: ClassVar[str] = "nearest-mlir"

    def encode(self, values, params, stats, q):
        if params.axis is not None or q.bits > 8:
            return affine.encode_inverse32(values, params.along(values.ndim)[0], q)
        assert stats is not None
        return affine.encode_max32(values, _max_abs(stats, params, values.ndim), q)


@dataclass(frozen=True)
class NearestLegacy(Rounding):
    """Symmetric constants of the older quantizer, float32 arithmetic (E16).

    Eight bits w * float32(qmax / max|w|), sixteen bits w * float32(1 / scale).
    """

    key: ClassVar[str] = "nearest-legacy"

    def encode(self, values, params, stats, q):
        if q.bits > 8:
            return affine.encode_inverse32(values, params.along(values.ndim)[0], q)
        assert stats is not None
        return affine.encode_max32(values, _max_abs(stats, params, values.ndim), q)


@dataclass(frozen=True)
class NearestDynamic(Rounding):
    """Nearest of w over the scale not yet rounded to float32: dynamic-range weights (E16)."""

    key: ClassVar[str] = "nearest-dynamic"

    def encode(self, values, params, stats, q):
        assert stats is not None
        magnitude = _max_abs(stats, params, values.ndim)
        scale = scales.symmetric_double(magnitude.reshape(-1), q).reshape(magnitude.shape)
        return affine.encode_double(values, scale, np.zeros_like(scale, np.int64), q)


@dataclass(frozen=True)
class Bias(Rounding):
    """Nearest of b * float32(1 / scale), saturated symmetrically: biases everywhere (E15)."""

    key: ClassVar[str] = "bias"

    def encode(self, values, params, stats, q):
        return affine.encode_bias(values, params.along(values.ndim)[0], q)


@dataclass(frozen=True)
class Gptq(Nearest):
    """Integers of weights that leave the operator's outputs nearest to those of float.

    GPTQ (E. Frantar et al., 2022; E96): one column after the other is rounded to nearest, and those
    that are still open make up for its error. What is made small is e^T H e of each row's error e,
    with H the second moments of the inputs on the samples; about their mean where the bias is
    "corrected" and makes up for the rest.

    damp: is added to the diagonal of H, as a share of its mean: little trusts the samples, much
    comes to plain rounding. Weights of operators that are not linear are rounded to nearest.
    """

    key: ClassVar[str] = "gptq"
    needs: ClassVar[str] = "covariance"
    damp: float = 0.1

    def __post_init__(self) -> None:
        if not (isinstance(self.damp, (int, float)) and 0 < self.damp < np.inf):
            raise BadRecipe(f"gptq's damp is {self.damp!r}; give a number above 0")

    def solve(self, w, scale, zero_point, q, second):
        return gptq.solve(w, scale, zero_point, q, second, self.damp)


@dataclass(frozen=True)
class Corrected(Bias):
    """A bias that makes up for the mean error of the weights: b + sum_k (w_k - w'_k) E[x_k] (E97).

    w' is what the integers of the weights stand for, E[x_k] the mean of what each weight is
    multiplied with on the samples (M. Nagel et al., Data-Free Quantization Through Weight
    Equalization and Bias Correction, 2019). Biases of operators that are not linear are encoded as
    they are.
    """

    key: ClassVar[str] = "corrected"
    needs: ClassVar[str] = "mean"


@dataclass(frozen=True)
class Float16(Rounding):
    """Nearest float16, ties to even, saturated to +-65504 (E19)."""

    key: ClassVar[str] = "float16"

    def encode(self, values, params, stats, q):
        return affine.encode_float16(values)


@dataclass(frozen=True)
class Requantized(Rounding):
    """Rounded twice: integers on a first grid, then those on the grid wanted (E18).

    What the older quantizer does to a constant that must share an output's scale. scale,
    zero_point, lo, hi, qmin, qmax, first: grid, range, integers and rounding (or what its `to_json`
    gave) of the first encoding, per tensor.
    """

    key: ClassVar[str] = "requantized"
    scale: float
    zero_point: int
    lo: float
    hi: float
    qmin: int
    qmax: int
    first: Any

    def encode(self, values, params, stats, q):
        before = Affine.of(self.scale, self.zero_point)
        bits = np.int16 if self.qmax > 127 else np.int8
        span = IntRange(self.qmin, self.qmax, np.dtype(bits))
        integers = self.first.encode(values, before, Stats.of(self.lo, self.hi), span)
        return affine.requantize_constant(
            integers,
            before.scale[0],
            before.zero_point[0],
            params.scale[0],
            params.zero_point[0],
            q,
        )

    def __post_init__(self) -> None:
        if not isinstance(self.first, Rounding):
            object.__setattr__(self, "first", Rounding.from_json(self.first))

    def to_json(self):
        return {**super().to_json(), "first": self.first.to_json()}
