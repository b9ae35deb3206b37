"""LSTM with float32 activations: int8 weights ("hybrid", E44) or float32 ones.

One direction at a time: `prepare` reads the operands that `Places` names, and a walker takes
x (T, B, I) and the states h (B, H), c (B, C) to y (T, B, H) and the new states.

    hybrid(cell, x, aux, h, c)          the runtime's float32, bit for bit
    hybrid_fast(...)                    the same, jitted
    real(...)                           the meaning: sums in float64, rounded once
    errors(...)                         how far a runtime's float32 may be from `real`

Sources: LiteRT kernels/lstm_eval.cc (LstmStepHybrid, LstmStepFloat), internal/optimized/
sse_tensor_utils.cc, internal/reference/portable_tensor_utils.cc.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kernels import activation, eigen
from kernels import hybrid as rows
from kernels.bounds import U, gamma
from kernels.call import Call
from kernels.eigen import sigmoid_scalar, tanh_scalar
from kernels.fixedpoint import wrap32
from kernels.hybrid import quantize_row
from kernels.jit import jit
from kernels.ops._lstm import CELL, GATES, Places
from kernels.trace import note

F32 = np.float32
REAL = ("real", "bound")  # modes that take the operands in real units
FUNCTION = 12 * U  # of a sigmoid or tanh, 6 ulp of 1 (E76)


class Cell(NamedTuple):
    """One direction. Arrays of four: gates input, forget, cell, output; C cells, H outputs.

    w (4, C, I), aux (4, C, A), r (4, C, H): int8 with a scale each in `scales` (3, 4), or float32
    with scale 1. diagonal (4, C), is_diagonal (4,): recurrent weights that are a diagonal.
    peephole, bias, norm (4, C) float32.  projection (H, C), its scale and bias (H,).
    rule: of kernels.hybrid.  squash: activation of cell gate and cell state, a number of the enum.
    vector (4, B, C): whether vector code computes the sigmoid (kernels.eigen).
    """

    w: np.ndarray
    aux: np.ndarray
    r: np.ndarray
    scales: np.ndarray
    diagonal: np.ndarray
    is_diagonal: np.ndarray
    peephole: np.ndarray
    bias: np.ndarray
    norm: np.ndarray
    has_input_gate: bool
    has_aux: bool
    has_peephole: bool
    has_norm: bool
    projection: np.ndarray
    projection_scale: np.float32
    projection_bias: np.ndarray
    has_projection: bool
    cell_clip: np.float32
    projection_clip: np.float32
    rule: int
    squash: int
    vector: np.ndarray


def prepare(
    call: Call, at: Places, batches: int, time_major: bool, has_aux: bool = False,
    real: bool = False,
) -> Cell:  # fmt: skip
    """The operands of one direction. real: int8 weights as the real values they stand for."""

    def values(position: int) -> np.ndarray:
        return call[position].real() if real else call.x(position)

    cells, inputs = call[at.weights[CELL]].shape
    outputs = call[at.recurrent[CELL]].shape[-1]
    kind = values(at.weights[CELL]).dtype
    gates = range(0 if call.has(at.weights[0]) else 1, 4)
    has_peephole, has_norm = call.has(at.peephole[3]), at.norm[1] >= 0 and call.has(at.norm[1])
    w, r = np.zeros((4, cells, inputs), kind), np.zeros((4, cells, outputs), kind)
    aux = np.zeros((4, cells, call[at.aux[CELL]].shape[1] if has_aux else 0), kind)
    scales = np.ones((3, 4), np.float32)
    diagonal, is_diagonal = np.zeros((4, cells), np.float32), np.zeros(4, bool)
    peephole, bias, norm = (np.zeros((4, cells), np.float32) for _ in range(3))
    for k in gates:
        w[k], bias[k] = values(at.weights[k]), _bias(call, at, k)
        recurrent = values(at.recurrent[k])
        is_diagonal[k] = recurrent.ndim == 1
        if is_diagonal[k]:
            diagonal[k] = recurrent
        else:
            r[k] = recurrent
        if has_aux:
            aux[k] = values(at.aux[k])
        if not real:
            scales[:, k] = [
                call[p].s if p >= 0 and call.has(p) and call[p].quantized else F32(1)
                for p in (at.weights[k], at.aux[k], at.recurrent[k])
            ]
        if has_peephole and k != CELL:
            peephole[k] = call[at.peephole[k]].real()
        if has_norm:
            norm[k] = call[at.norm[k]].real()
    projection, projection_bias = np.zeros((0, cells), kind), np.zeros(outputs, np.float32)
    if call.has(at.projection):
        projection = np.ascontiguousarray(values(at.projection))
        if call.has(at.projection_bias):
            projection_bias = _projection_bias(call, at)
    scaled = call.has(at.projection) and call[at.projection].quantized and not real
    return Cell(
        w, aux, r, scales, diagonal, is_diagonal, peephole, bias, norm,
        gates[0] == 0, has_aux, has_peephole, has_norm,
        projection, call[at.projection].s if scaled else F32(1), projection_bias,
        call.has(at.projection),
        F32(call.option("cell_clip", 0.0)), F32(call.option("proj_clip", 0.0)),
        rows.ASYMMETRIC if call.option("asymmetric_quantize_inputs", False) else rows.SYMMETRIC,
        activation.fused(call), _vector(call, batches, cells, gates[0] == 0, time_major),
    )  # fmt: skip


def _bias(call: Call, at: Places, k: int) -> np.ndarray:
    """The bias of a gate in real units, also of an integer LSTM whose file gives it no scale."""
    bias = call[at.bias[k]]
    if bias.dtype == "float32" or bias.quantized:
        return bias.real()
    if at.norm[1] >= 0 and call.has(at.norm[1]):
        return bias.x * (call[at.norm[k]].s * F32(2.0**-10))
    return bias.x * (call[0].s * call[at.weights[k]].s)


def _projection_bias(call: Call, at: Places) -> np.ndarray:
    bias = call[at.projection_bias]
    if bias.dtype == "float32" or bias.quantized:
        return bias.real()
    return bias.x * (call.intermediates[4].s * call[at.projection].s)


def _vector(call: Call, batches: int, cells: int, has_input_gate: bool, time_major: bool):
    """Which elements of the sigmoid gates vector code computes.

    The gates lie one after the other in a buffer: (input,) cell, forget, output, each of all
    batches. A time-major walk activates all batches of a gate at once, the other one batch.
    """
    slots = (0, 2, 1, 3) if has_input_gate else (0, 1, 0, 2)
    found = np.empty((4, batches, cells), bool)
    for k, slot in enumerate(slots):
        start, size = slot * batches * cells, batches * cells
        if time_major:
            found[k] = eigen.vectorized(call.profile, start, size).reshape(batches, cells)
        else:
            for b in range(batches):
                found[k, b] = eigen.vectorized(call.profile, start + b * cells, cells)
    return found


def real(
    cell: Cell, x: np.ndarray, aux: np.ndarray | None, h: np.ndarray, c: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All steps; sums of each gate in float64, everything else elementwise in float32."""
    outputs = []
    for t in range(len(x)):
        now = None if aux is None else aux[t]
        forget = _real_gate(cell, 1, x[t], now, h, c)
        update = _real_gate(cell, CELL, x[t], now, h, c)
        inward = _real_gate(cell, 0, x[t], now, h, c) if cell.has_input_gate else F32(1) - forget
        c = _clipped(forget * c + update * inward, cell.cell_clip)
        h = _real_gate(cell, 3, x[t], now, h, c) * apply(cell.squash, c, update)
        if cell.has_projection:
            y = h.astype(np.float64) @ cell.projection.T.astype(np.float64) + cell.projection_bias
            h = _clipped(y.astype(np.float32), cell.projection_clip)
        outputs.append(h)
    return np.stack(outputs) if outputs else np.empty((0, *h.shape), np.float32), h, c


def _sums(cell: Cell, k: int, x, aux, h, c) -> np.ndarray:
    """float64: a gate's products, without normalization and bias."""
    g = x.astype(np.float64) @ cell.w[k].T.astype(np.float64)
    if aux is not None and cell.has_aux:
        g = g + aux.astype(np.float64) @ cell.aux[k].T.astype(np.float64)
    if cell.is_diagonal[k]:
        g = g + h.astype(np.float64) * cell.diagonal[k]
    else:
        g = g + h.astype(np.float64) @ cell.r[k].T.astype(np.float64)
    if cell.has_peephole and k != CELL:
        g = g + c.astype(np.float64) * cell.peephole[k]
    return g


def _real_gate(cell: Cell, k: int, x, aux, h, c) -> np.ndarray:
    g = _sums(cell, k, x, aux, h, c)
    if cell.has_norm:
        g = g - g.mean(1, keepdims=True)
        g = g / np.sqrt((g * g).mean(1, keepdims=True) + 1e-8) * cell.norm[k]
    g = (g + cell.bias[k]).astype(np.float32)
    return apply(cell.squash, g, None) if k == CELL else eigen.sigmoid(g, np.array(True))


def errors(
    cell: Cell, x: np.ndarray, aux: np.ndarray | None, h: np.ndarray, c: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bounds (float64) of what `real` returns, by the same steps: each value has an error beside
    it, which sums add to (E75) and activations, whose slope is at most 1, pass on (E76)."""
    outputs = []
    eh, ec = np.zeros(h.shape), np.zeros(c.shape)
    for t in range(len(x)):
        now = None if aux is None else aux[t]
        given = (x[t], now, h, eh)
        forget, ef = _bounded_gate(cell, 1, *given, c, ec)
        update, eu = _bounded_gate(cell, CELL, *given, c, ec)
        inward, ei = F32(1) - forget, ef + U
        if cell.has_input_gate:
            inward, ei = _bounded_gate(cell, 0, *given, c, ec)
        e = product_error(forget, ef, c, ec) + product_error(update, eu, inward, ei)
        c, ec = _clipped(forget * c + update * inward, cell.cell_clip), _capped(e, cell.cell_clip)
        outward, eo = _bounded_gate(cell, 3, *given, c, ec)
        squashed, es = apply(cell.squash, c, update), ec + FUNCTION
        if cell.squash == activation.NONE:
            es = eu
        elif cell.squash == activation.TANH:
            es = np.minimum(es, 2)
        h, eh = outward * squashed, product_error(outward, eo, squashed, es)
        if cell.has_projection:
            weights = np.abs(cell.projection.T.astype(np.float64))
            size = (np.abs(h) + eh) @ weights + np.abs(cell.projection_bias)
            y = h.astype(np.float64) @ cell.projection.T.astype(np.float64) + cell.projection_bias
            h = _clipped(y.astype(np.float32), cell.projection_clip)
            eh = eh @ weights + gamma(len(weights) + 3) * size
            eh = _capped(eh, cell.projection_clip)
        outputs.append(eh)
    return np.stack(outputs) if outputs else np.empty((0, *h.shape)), eh, ec


def _capped(e: np.ndarray, limit: np.float32) -> np.ndarray:
    """The error of a value that is clipped to +-limit; a bound of 1e30 says nothing any more."""
    return np.minimum(e, 2.0 * float(limit) if limit > 0 else 1e30)


def product_error(a: np.ndarray, ea: np.ndarray, b: np.ndarray, eb: np.ndarray) -> np.ndarray:
    """Of a b, rounded on both sides and once more in a sum of two."""
    a, b = np.abs(a.astype(np.float64)), np.abs(b.astype(np.float64))
    return ea * (b + eb) + a * eb + 4 * U * (a + ea) * (b + eb)


def _bounded_gate(cell: Cell, k: int, x, aux, h, eh, c, ec) -> tuple[np.ndarray, np.ndarray]:
    """The value of a gate and its error."""
    value = _real_gate(cell, k, x, aux, h, c)
    size = np.abs(x).astype(np.float64) @ np.abs(cell.w[k].T).astype(np.float64)
    terms = x.shape[1] + h.shape[1] + 5
    if aux is not None and cell.has_aux:
        size = size + np.abs(aux).astype(np.float64) @ np.abs(cell.aux[k].T).astype(np.float64)
        terms += aux.shape[1]
    recurrent = np.abs(cell.r[k].T).astype(np.float64)
    if cell.is_diagonal[k]:
        e = eh * np.abs(cell.diagonal[k])
        size = size + np.abs(h) * np.abs(cell.diagonal[k])
    else:
        e = eh @ recurrent
        size = size + np.abs(h).astype(np.float64) @ recurrent
    if cell.has_peephole and k != CELL:
        e = e + ec * np.abs(cell.peephole[k])
        size = size + np.abs(c) * np.abs(cell.peephole[k])
    size = size + e  # of the runtime's own values
    bias = np.abs(cell.bias[k])
    if cell.has_norm:
        e = _norm_error(cell, k, size, e + gamma(terms) * size, x, aux, h, c) + 4 * U * bias
    else:
        e = e + gamma(terms) * (size + bias)
    if k == CELL:
        ends = 2.0 if cell.squash == activation.TANH else np.inf
        return value, np.minimum(e + FUNCTION, ends)
    return value, np.minimum(e / 4 + FUNCTION, 1.0)  # a sigmoid's slope is at most 1/4


def _norm_error(cell: Cell, k: int, size, e, x, aux, h, c) -> np.ndarray:
    """Of a normalized gate: z = away / root(mean away^2). The root of a mean of squares changes by
    no more than that of the changes; |z| is at most sqrt(cells)."""
    g = _sums(cell, k, x, aux, h, c)
    n = g.shape[1]
    away = g - g.mean(1, keepdims=True)
    ea = e + e.mean(1, keepdims=True) + gamma(n + 3) * (size + size.mean(1, keepdims=True))
    root = np.sqrt((away * away).mean(1, keepdims=True) + 1e-8)
    er = np.sqrt((ea * ea).mean(1, keepdims=True)) + gamma(n + 6) * root
    z = np.abs(away / root)
    left = np.maximum(root - er, 1e-30)
    worst = np.minimum((ea + z * er) / left, 2 * np.sqrt(n))
    return (worst + 8 * U * z) * np.abs(cell.norm[k])


def hybrid(
    cell: Cell, x: np.ndarray, aux: np.ndarray | None, h: np.ndarray, c: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All steps. Rows of x, aux and h are quantized, each product is added to the gate in float32
    (E44)."""
    outputs = []
    for t in range(len(x)):
        x_rows = rows.RULES[cell.rule](x[t])
        aux_rows = rows.RULES[cell.rule](aux[t]) if aux is not None and cell.has_aux else None
        h_rows = rows.RULES[cell.rule](h)
        given = (x_rows, aux_rows, h_rows, h)
        forget = _hybrid_gate(cell, 1, *given, c)
        update = _hybrid_gate(cell, CELL, *given, c)
        inward = _hybrid_gate(cell, 0, *given, c) if cell.has_input_gate else F32(1) - forget
        c = _clipped(forget * c + update * inward, cell.cell_clip)
        note("cell state", c, "E44")
        outward = _hybrid_gate(cell, 3, *given, c)
        h = outward * apply(cell.squash, c, update)
        if cell.has_projection:
            acc = np.broadcast_to(cell.projection_bias, (len(h), len(cell.projection_bias)))
            h = add_product(acc, rows.RULES[cell.rule](h), cell.projection, cell.projection_scale)
            h = _clipped(h, cell.projection_clip)
        note("output", h, "E44")
        outputs.append(h)
    return np.stack(outputs) if outputs else np.empty((0, *h.shape), np.float32), h, c


def _hybrid_gate(cell: Cell, k: int, x_rows, aux_rows, h_rows, h, c) -> np.ndarray:
    start = np.zeros_like(cell.bias[k]) if cell.has_norm else cell.bias[k]
    g = np.broadcast_to(start, c.shape)
    g = add_product(g, x_rows, cell.w[k], cell.scales[0, k])
    if aux_rows is not None:
        g = add_product(g, aux_rows, cell.aux[k], cell.scales[1, k])
    if cell.is_diagonal[k]:
        g = g + cell.diagonal[k] * h
    else:
        g = add_product(g, h_rows, cell.r[k], cell.scales[2, k])
    if cell.has_peephole and k != CELL:
        g = g + cell.peephole[k] * c
    if cell.has_norm:
        g = _normalized(g) * cell.norm[k] + cell.bias[k]
    note(f"{GATES[k]} gate before activation", g, "E44")
    return apply(cell.squash, g, g) if k == CELL else eigen.sigmoid(g, cell.vector[k])


def add_product(
    g: np.ndarray, quantized: rows.Rows, weights: np.ndarray, scale: np.float32
) -> np.ndarray:
    """g + f32(f32(sum (q - z) w) * f32(row scale * weight scale)), all float32 (E44)."""
    q, row_scale, zero_point = quantized
    sums = rows.products(q, weights)
    if zero_point.any():
        sums = sums - zero_point[:, None] * rows.row_sums(weights)
    return g + wrap32(sums).astype(np.float32) * (row_scale * scale)[:, None]


def _normalized(g: np.ndarray) -> np.ndarray:
    """(g - mean) / sqrt(variance + 1e-8) of rows; sums run from left to right in float32."""
    n = F32(g.shape[1])
    mean = np.add.accumulate(g, 1)[:, -1:] / n
    away = g - mean
    variance = np.add.accumulate(away * away, 1)[:, -1:] / n
    return away * (F32(1) / np.sqrt(variance + F32(1e-8)))


def apply(kind: int, x: np.ndarray, stale: np.ndarray | None) -> np.ndarray:
    """The activation of cell gate and cell state. Without one the runtime leaves the cell gate's
    values where those of the cell state should go: `stale`."""
    if kind == activation.TANH:
        return eigen.tanh(x)
    if kind == activation.NONE:
        return x if stale is None else stale
    if kind == activation.SIGN_BIT:
        return np.signbit(x).astype(np.float32)
    lo, hi = activation.BOUNDS[kind]
    return np.clip(x, F32(lo), F32(hi))


def _clipped(x: np.ndarray, limit: np.float32) -> np.ndarray:
    return np.clip(x, -limit, limit) if limit > 0 else x


def hybrid_fast(
    cell: Cell, x: np.ndarray, aux: np.ndarray | None, h: np.ndarray, c: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`hybrid`, jitted."""
    h, c = h.copy(), c.copy()
    y = np.empty((x.shape[0], *h.shape), np.float32)
    if aux is None:
        aux = np.empty((*x.shape[:2], 0), np.float32)
    matrices = (cell.w, cell.aux, cell.r)
    sums = tuple(np.stack([rows.row_sums(m) for m in four]) for four in matrices)
    blocks = np.array([[rows.wrong_blocks(m) for m in four] for four in matrices])
    projected = (rows.row_sums(cell.projection), rows.wrong_blocks(cell.projection))
    inputs = (np.ascontiguousarray(x), np.ascontiguousarray(aux))
    _steps(cell, *inputs, h, c, y, sums, blocks, projected)
    return y, h, c


@jit
def _steps(cell, x, aux, h, c, y, sums, blocks, projected):
    batches, cells = c.shape
    gates = np.empty((4, cells), np.float32)
    hidden = np.empty(cells, np.float32)
    qx, qa = np.empty(x.shape[2], np.int8), np.empty(aux.shape[2], np.int8)
    qh, qc = np.empty(h.shape[1], np.int8), np.empty(cells, np.int8)
    for t in range(x.shape[0]):
        for b in range(batches):
            sx, zx = quantize_row(cell.rule, x[t, b], qx)
            sa, za = np.float32(1), np.int64(0)
            if cell.has_aux:
                sa, za = quantize_row(cell.rule, aux[t, b], qa)
            sh, zh = quantize_row(cell.rule, h[b], qh)
            for k in range(4):
                if k == 0 and not cell.has_input_gate:
                    continue
                g = gates[k]
                if k == 3:
                    _update(cell, gates, c[b])
                for j in range(cells):
                    g[j] = np.float32(0) if cell.has_norm else cell.bias[k, j]
                add_row(g, qx, sx, zx, cell.w[k], cell.scales[0, k], sums[0][k], blocks[0, k])
                if cell.has_aux:
                    add_row(g, qa, sa, za, cell.aux[k], cell.scales[1, k], sums[1][k], blocks[1, k])
                if cell.is_diagonal[k]:
                    for j in range(cells):
                        g[j] = np.float32(g[j] + np.float32(cell.diagonal[k, j] * h[b, j]))
                else:
                    add_row(g, qh, sh, zh, cell.r[k], cell.scales[2, k], sums[2][k], blocks[2, k])
                if cell.has_peephole and k != 2:
                    for j in range(cells):
                        g[j] = np.float32(g[j] + np.float32(cell.peephole[k, j] * c[b, j]))
                if cell.has_norm:
                    _normalize(g, cell.norm[k], cell.bias[k])
                for j in range(cells):
                    if k == 2:
                        g[j] = squash(cell.squash, g[j], g[j])
                    else:
                        g[j] = sigmoid_scalar(g[j], cell.vector[k, b, j])
            for j in range(cells):
                hidden[j] = np.float32(gates[3, j] * squash(cell.squash, c[b, j], gates[2, j]))
            if cell.has_projection:
                h[b] = cell.projection_bias
                s, z = quantize_row(cell.rule, hidden, qc)
                add_row(h[b], qc, s, z, cell.projection, cell.projection_scale, *projected)
                if cell.projection_clip > 0:
                    for o in range(h.shape[1]):
                        h[b, o] = min(max(h[b, o], -cell.projection_clip), cell.projection_clip)
            else:
                h[b] = hidden
            y[t, b] = h[b]


@jit
def _update(cell, gates, c):
    """The new cell state in c."""
    for j in range(c.size):
        inward = gates[0, j] if cell.has_input_gate else np.float32(np.float32(1) - gates[1, j])
        new = np.float32(np.float32(gates[1, j] * c[j]) + np.float32(gates[2, j] * inward))
        if cell.cell_clip > 0:
            new = min(max(new, -cell.cell_clip), cell.cell_clip)
        c[j] = new


@jit
def add_row(g, q, row_scale, zero_point, weights, scale, sums, blocks):
    """add_product of one row, into g. sums, blocks: row_sums and wrong_blocks of the weights."""
    factor = np.float32(row_scale * scale)
    for j in range(weights.shape[0]):
        acc = np.int32(0)
        for i in range(weights.shape[1]):
            acc += np.int32(q[i]) * np.int32(weights[j, i])
        for i in range(blocks):
            if weights[j, i] == -128 and q[i] < 0:
                acc += np.int32(q[i]) * np.int32(256)
        acc -= np.int32(zero_point * sums[j])
        g[j] = np.float32(g[j] + np.float32(np.float32(acc) * factor))


@jit
def squash(kind, x, stale):
    """`apply` on one number."""
    if kind == 4:
        return tanh_scalar(x)
    if kind == 0:
        return stale
    if kind == 5:
        return np.float32(1) if np.signbit(x) else np.float32(0)
    if kind == 1:
        return max(x, np.float32(0))
    if kind == 2:
        return min(max(x, np.float32(-1)), np.float32(1))
    return min(max(x, np.float32(0)), np.float32(6))


@jit
def _normalize(g, weight, bias):
    n = np.float32(g.size)
    total = np.float32(0)
    for value in g:
        total = np.float32(total + value)
    mean = np.float32(total / n)
    total = np.float32(0)
    for value in g:
        away = np.float32(value - mean)
        total = np.float32(total + np.float32(away * away))
    variance = np.float32(total / n)
    inverse = np.float32(
        np.float32(1) / np.float32(np.sqrt(np.float32(variance + np.float32(1e-8))))
    )
    for j in range(g.size):
        value = np.float32(np.float32(g[j] - mean) * inverse)
        g[j] = np.float32(np.float32(value * weight[j]) + bias[j])


WALKERS = {"real": real, "reference": hybrid, "fast": hybrid_fast, "bound": errors}
