"""Rounding column by column, where each column makes up for the errors of those before it (E96).

E. Frantar, S. Ashkboos, T. Hoefler, D. Alistarh, GPTQ: Accurate Post-Training Quantization for
Generative Pre-trained Transformers, 2022; in the form of J. Chee, Y. Cai, V. Kuleshov, C. De Sa,
QuIP: 2-Bit Quantization of Large Language Models With Guarantees, 2023, which needs no inverse.
"""

from __future__ import annotations

import numpy as np

from kernels.ranges import IntRange
from kernels.rounding import half_away

EPSILON = 2.0**-40  # of the largest eigenvalue, times columns: what raised eigenvalues are at least
_BLOCK = 64  # columns that take over one error after the other; what stands before, at once


def solve(
    w: np.ndarray, scale: np.ndarray, zero_point: np.ndarray, q: IntRange, second: np.ndarray,
    damp: float,
) -> np.ndarray:  # fmt: skip
    """Integers, as float64, for which e^T H e of each row's error e is small, never above that of
    rounding to nearest (ties away from zero).

    w, scale, zero_point: (G, R, K) float64; a scale of 0 or infinity gives the zero point.
    H: second (G, K, K), with `damp` of the mean of its diagonal added to the diagonal. Columns are
    taken in the order of falling diagonal.
    """
    usable = np.isfinite(scale) & (scale > 0)
    w, scale = np.where(usable, w, 0.0), np.where(usable, scale, 1.0)
    nearest = _nearest(w, scale, zero_point, q)
    power = np.einsum("gkk->gk", second).mean(-1)
    live = power > 0
    if not live.any():
        return nearest
    second, power = np.where(live[:, None, None], second, np.eye(w.shape[2])), power + ~live
    order = np.argsort(-np.einsum("gkk->gk", second), axis=-1, kind="stable")
    damped, upper = _factored(second, damp * power, order)
    columns = order[:, None, :]
    sorted_w, s, z = (np.take_along_axis(a, columns, 2) for a in (w, scale, zero_point))
    back = np.argsort(order, axis=-1)[:, None, :]
    made = np.take_along_axis(_one_by_one(sorted_w, s, z, q, upper), back, 2)
    ours, plain = (w - scale * (integers - zero_point) for integers in (made, nearest))
    # a^T H a < b^T H b, by one product of matrices
    better = np.einsum("grk,grk->gr", np.matmul(ours - plain, damped), ours + plain) < 0
    return np.where((better & live[:, None])[:, :, None], made, nearest)


def _nearest(w: np.ndarray, scale: np.ndarray, zero_point: np.ndarray, q: IntRange) -> np.ndarray:
    return np.clip(half_away(w / scale + zero_point), q.qmin, q.qmax)


def _factored(
    second: np.ndarray, ridge: np.ndarray, order: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """H: `second` with `ridge` (G,) on its diagonal; and U, upper triangular with ones on its
    diagonal, with H = U D U^T once the columns of H are in order, (G, K).

    Sums that were rounded can leave a matrix with eigenvalues below zero, where a small ridge does
    not help: these are raised.
    """
    size = second.shape[-1]
    damped = second + ridge[:, None, None] * np.eye(size)
    try:
        return damped, _upper(damped, order)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(damped)
        least = np.maximum(ridge[:, None], values[:, -1:] * size * EPSILON)
        scaled = vectors * np.maximum(values, least)[:, None, :]
        damped = np.matmul(scaled, vectors.transpose(0, 2, 1))
        return damped, _upper((damped + damped.transpose(0, 2, 1)) / 2, order)


def _upper(second: np.ndarray, order: np.ndarray) -> np.ndarray:
    """U."""
    rows = np.take_along_axis(second, order[:, :, None], 1)
    ordered = np.take_along_axis(rows, order[:, None, :], 2)
    lower = np.linalg.cholesky(ordered[:, ::-1, ::-1])[:, ::-1, ::-1]
    return lower / np.einsum("gkk->gk", lower)[:, None, :]


def _one_by_one(
    w: np.ndarray, scale: np.ndarray, zero_point: np.ndarray, q: IntRange, upper: np.ndarray
) -> np.ndarray:
    """The columns rounded from the first to the last, each after what the errors of those before it
    come to: e^T H e = sum_k D_k (e_k + sum_{j<k} e_j U_jk)^2."""
    made, errors = np.empty_like(w), np.empty_like(w)
    for start in range(0, w.shape[2], _BLOCK):
        stop = min(start + _BLOCK, w.shape[2])
        owed = np.matmul(errors[:, :, :start], upper[:, :start, start:stop])
        for k in range(start, stop):
            within = np.matmul(errors[:, :, start:k], upper[:, start:k, k, None])[:, :, 0]
            target = w[:, :, k] + owed[:, :, k - start] + within
            made[:, :, k] = _nearest(target, scale[:, :, k], zero_point[:, :, k], q)
            errors[:, :, k] = w[:, :, k] - scale[:, :, k] * (made[:, :, k] - zero_point[:, :, k])
    return made
