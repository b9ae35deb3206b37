"""h = act(W x + A a + R h + b) over steps: RNN, UNIDIRECTIONAL_ and BIDIRECTIONAL_SEQUENCE_RNN.

Activations are float32; weights are int8 ("hybrid", E44) or float32.

Sources: LiteRT kernels/internal/kernel_utils.cc (RnnBatchStep), internal/optimized/
sse_tensor_utils.cc.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kernels import activation
from kernels import hybrid as rows
from kernels.bounds import U, gamma
from kernels.call import Call
from kernels.hybrid import quantize_row
from kernels.jit import jit
from kernels.numerics import Row
from kernels.ops._lstm_float import add_product, add_row, apply, squash
from kernels.trace import note

F32 = np.float32
REAL = ("real", "bound")  # modes that take the operands in real units


def numerics(source: str, note: str = "") -> tuple[Row, ...]:
    """The one row of such an operator."""
    return (
        Row(
            "hybrid",
            "rows quantized (E31), float32 sums of products, Eigen's tanh (E44)",
            "the same",
            "",
            f"{source}; internal/kernel_utils.cc; optimized/sse_tensor_utils.cc",
            note,
        ),
    )


def as_read(call: Call, aux: np.ndarray, x: np.ndarray) -> np.ndarray:
    """An auxiliary input (in the call's order) as a runtime reads it whose steps are as far apart
    as those of x."""
    if aux.shape == x.shape:
        return aux
    inputs, extra = x.shape[2], aux.shape[2]
    if extra < inputs:
        raise call.undefined("an auxiliary input smaller than the input is read beyond its end")
    flat = aux.ravel()
    steps, rows = aux.shape[:2]
    if call.option("time_major", False):
        step = inputs * rows
        return np.stack(
            [flat[t * step :][: rows * extra].reshape(rows, extra) for t in range(steps)]
        )
    parts = [flat[i * inputs :][:extra] for i in range(steps * rows)]
    return np.stack(parts).reshape(steps, rows, extra)


class Layer(NamedTuple):
    """One direction: w (H, I), aux (H, A; A = 0 without), r (H, H), int8 with scales or float32;
    bias (H,) float32; rule of kernels.hybrid; activation's number."""

    w: np.ndarray
    aux: np.ndarray
    r: np.ndarray
    scales: np.ndarray
    bias: np.ndarray
    rule: int
    activation: int


def layer(
    call: Call, w: int, r: int, bias: int, aux: int | None = None, real: bool = False
) -> Layer:
    """The operands at these positions. real: int8 weights as the real values they stand for."""
    kinds = (call[0].dtype, call[w].dtype)
    if not real and kinds != ("float32", "int8"):
        raise call.refuse("no kernel for these types; use float32 with int8 or float32 weights")
    found = [call[p].real() if real else call.x(p) for p in (w, r)]
    auxiliary = np.zeros((len(found[0]), 0), found[0].dtype)
    if aux is not None:
        auxiliary = call[aux].real() if real else call.x(aux)
    scales = np.ones(3, np.float32)
    if not real:
        scales[:] = [call[w].s, F32(1) if aux is None else call[aux].s, call[r].s]
    asymmetric = call.option("asymmetric_quantize_inputs", False)
    return Layer(
        found[0], auxiliary, found[1], scales, call[bias].real(),
        rows.ASYMMETRIC if asymmetric else rows.SYMMETRIC, activation.fused(call),
    )  # fmt: skip


def walk(
    p: Layer, x: np.ndarray, h: np.ndarray, mode: str, aux: np.ndarray | None = None,
    backward: bool = False,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """x (T, B, I), aux (T, B, A) and h (B, H) -> y (T, B, H) and the new h; in mode "bound" the
    errors of both (float64).

    backward: from the last step to the first; y keeps the order of x.
    """
    if aux is None:
        aux = np.zeros((*x.shape[:2], 0), np.float32)
    if backward:
        x, aux = x[::-1], aux[::-1]
    y = np.empty((*x.shape[:2], h.shape[1]), np.float32)
    if mode == "fast":
        matrices = (p.w, p.aux, p.r)
        sums = tuple(rows.row_sums(m) for m in matrices)
        blocks = np.array([rows.wrong_blocks(m) for m in matrices])
        h = h.copy()
        _steps(p, np.ascontiguousarray(x), np.ascontiguousarray(aux), h, sums, blocks, y)
    elif mode == "bound":
        y, h = _errors(p, x, aux, h)
    else:
        step = _real if mode == "real" else _hybrid
        for t in range(len(x)):
            y[t] = h = step(p, x[t], aux[t], h)
    return (y[::-1] if backward else y), h


def _real(p: Layer, x: np.ndarray, aux: np.ndarray, h: np.ndarray) -> np.ndarray:
    """One step; the sum in float64, rounded once."""
    given = ((x, p.w), (aux, p.aux), (h, p.r))
    total = sum(a.astype(np.float64) @ w.T.astype(np.float64) for a, w in given) + p.bias
    return apply(p.activation, total.astype(np.float32), None)


def _errors(
    p: Layer, x: np.ndarray, aux: np.ndarray, h: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Of every step and of the last state: of the sums (E75), of the state that goes into them, and
    of the activation, 6 ulp of 1 (E76), whose slope is at most 1."""
    w, other, r = (np.abs(m.T.astype(np.float64)) for m in (p.w, p.aux, p.r))
    y, e = np.zeros((*x.shape[:2], h.shape[1])), np.zeros(h.shape)
    terms = len(w) + len(other) + len(r)
    for t in range(len(x)):
        size = np.abs(x[t]) @ w + np.abs(aux[t]) @ other + np.abs(h) @ r + np.abs(p.bias)
        e = e @ r
        e = e + gamma(terms + 3) * (size + e)
        if p.activation == activation.TANH:
            e = np.minimum(e + 12 * U, 2)
        y[t], h = e, _real(p, x[t], aux[t], h)
    return y, e


def _hybrid(p: Layer, x: np.ndarray, aux: np.ndarray, h: np.ndarray) -> np.ndarray:
    """One step; products are added to the bias one after the other in float32 (E44)."""
    y = np.broadcast_to(p.bias, h.shape)
    for values, weights, scale in zip((x, aux, h), (p.w, p.aux, p.r), p.scales, strict=True):
        if weights.size:
            y = add_product(y, rows.RULES[p.rule](values), weights, scale)
    note("before activation", y, "E44")
    return apply(p.activation, y, None)


@jit
def _steps(p, x, aux, h, sums, blocks, y):
    qx, qa = np.empty(x.shape[2], np.int8), np.empty(aux.shape[2], np.int8)
    qh = np.empty(h.shape[1], np.int8)
    for t in range(x.shape[0]):
        for b in range(x.shape[1]):
            g = y[t, b]
            g[:] = p.bias
            scale, zero_point = quantize_row(p.rule, x[t, b], qx)
            add_row(g, qx, scale, zero_point, p.w, p.scales[0], sums[0], blocks[0])
            if p.aux.size > 0:
                scale, zero_point = quantize_row(p.rule, aux[t, b], qa)
                add_row(g, qa, scale, zero_point, p.aux, p.scales[1], sums[1], blocks[1])
            scale, zero_point = quantize_row(p.rule, h[b], qh)
            add_row(g, qh, scale, zero_point, p.r, p.scales[2], sums[2], blocks[2])
            for j in range(g.size):
                g[j] = squash(p.activation, g[j], g[j])
            h[b] = g
