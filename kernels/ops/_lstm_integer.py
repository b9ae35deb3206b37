"""LSTM with int8 activations and weights and 16-bit gates ("8x8->16"), of UNIDIRECTIONAL_SEQUENCE_
LSTM and LSTM (E42).

The runtimes have one portable kernel for it, which every path uses. `Parameters` is what it
prepares once: per gate the weights, multipliers and biases with the zero points folded in.
`reference` and `fast` walk over the steps with the same parameters.

Sources: LiteRT kernels/unidirectional_sequence_lstm.cc (PopulateQuantizedLstmParams8x8_16),
kernels/lstm_eval.cc (LstmStepInteger8x8_16), kernels/internal/reference/portable_tensor_utils.cc.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from kernels import gemmlowp
from kernels.call import Call
from kernels.errors import RuntimeRefuses
from kernels.exact import matmul
from kernels.fixedpoint import (
    multiply_double,
    multiply_up,
    pot_away,
    quantize_multiplier,
    wrap16,
    wrap32,
)
from kernels.gemmlowp import inverse_sqrt_scalar
from kernels.jit import jit
from kernels.ops._lstm import (
    BIAS,
    CELL,
    CELL_STATE,
    GATES,
    HIDDEN_STATE,
    INPUT_WEIGHTS,
    NORM,
    PEEPHOLE,
    PROJECTION,
    PROJECTION_BIAS,
    RECURRENT_WEIGHTS,
    steps_first,
)  # fmt: skip
from kernels.scalar import cdiv, clip, dbl, up
from kernels.scalar import pot_away as pot_away_scalar
from kernels.scalar import wrap16 as wrap16_scalar
from kernels.scalar import wrap32 as wrap32_scalar
from kernels.trace import note

F32 = np.float32


class Parameters(NamedTuple):
    """Prepared once for a call. Arrays of four have the gates input, forget, cell, output.

    w (4, C, I), r (4, C, H) int8: of the input and of the last output (C cells, H outputs).
    w_bias, r_bias (4, C) int64: gate bias (none with layer norm) and zero point times row sums.
    factors (4, 4, 2): multiplier and shift for input, state, peephole and norm of each gate.
    peephole (4, B, C) int64: the weight that meets the cell of each batch; see _peephole.
    peephole_up (B, C): products that vector code rounds, in whole blocks of 16: UP, not DBL (E25).
    norm (4, C), norm_bias (4, C), guard (4,): layer norm.
    cell_shift: 30 + log2 of the cell scale.  squash: the table of tanh for the cell state, empty
    where the runtime leaves the input gate in its place.
    projection (H, C) or (0, 0); hidden: multiplier, shift and zero point of o * tanh(c);
    projected: multiplier, shift, zero point after the projection.
    """

    w: np.ndarray
    r: np.ndarray
    w_bias: np.ndarray
    r_bias: np.ndarray
    factors: np.ndarray
    peephole: np.ndarray
    peephole_up: np.ndarray
    norm: np.ndarray
    norm_bias: np.ndarray
    guard: np.ndarray
    has_input_gate: bool
    has_peephole: bool
    has_norm: bool
    cell_shift: int
    cell_clip: int
    sigmoid: np.ndarray
    tanh: np.ndarray
    squash: np.ndarray
    projection: np.ndarray
    projection_bias: np.ndarray
    projection_clip: int
    hidden: np.ndarray
    projected: np.ndarray


def reference(call: Call) -> tuple[np.ndarray, ...]:
    """Steps of gates, cell and output, over all batches at once."""
    x, shaped = steps_first(call)
    p = parameters(call, x.shape[1])
    h = call.x(HIDDEN_STATE).reshape(x.shape[1], -1)
    c = call.x(CELL_STATE).reshape(x.shape[1], -1).astype(np.int64)
    outputs = []
    for now in x:
        h, c = _step(p, now, h, c)
        outputs.append(h)
    y = np.stack(outputs) if outputs else np.empty((0, *h.shape), np.int8)
    return shaped(y), _like(call, HIDDEN_STATE, h), _like(call, CELL_STATE, c)


def fast(call: Call) -> tuple[np.ndarray, ...]:
    """`reference`, jitted over steps."""
    x, shaped = steps_first(call)
    batches = x.shape[1]
    p = parameters(call, batches)
    h = call.x(HIDDEN_STATE).reshape(batches, -1).copy()
    c = call.x(CELL_STATE).reshape(batches, -1).copy()
    y = np.empty((x.shape[0], *h.shape), np.int8)
    _steps(np.ascontiguousarray(x), p, h, c, y)
    return shaped(y), _like(call, HIDDEN_STATE, h), _like(call, CELL_STATE, c)


def parameters(call: Call, batches: int) -> Parameters:
    """What the runtime prepares from scales, zero points and weights (E42)."""
    if len(call.intermediates) != 5:
        raise RuntimeRefuses(
            f"{call.name} int8 needs 5 intermediate tensors, got {len(call.intermediates)}"
        )
    x, state, cell = call[0], call[HIDDEN_STATE], call[CELL_STATE]
    hidden = call.intermediates[4]
    cells, inputs = call[INPUT_WEIGHTS[CELL]].shape
    outputs = call[RECURRENT_WEIGHTS[CELL]].shape[1]
    gates = range(0 if call.has(INPUT_WEIGHTS[0]) else 1, 4)
    has_peephole, has_norm = call.has(PEEPHOLE[3]), call.has(NORM[1])
    power = _log2(call, cell.s)
    if not -30 <= power <= (-9 if call.name == "LSTM" else 1):
        raise call.refuse(f"a cell state of scale 2^{power} has no kernel; use 2^-15..2^-9")

    w = np.zeros((4, cells, inputs), np.int8)
    r = np.zeros((4, cells, outputs), np.int8)
    w_bias, r_bias = np.zeros((4, cells), np.int64), np.zeros((4, cells), np.int64)
    factors = np.zeros((4, 4, 2), np.int64)
    peephole = np.zeros((4, batches, cells), np.int64)
    whole = np.arange(min(outputs, cells)) < outputs // 16 * 16
    peephole_up = _laid(call, whole, batches, cells)
    norm, norm_bias = np.zeros((4, cells), np.int64), np.zeros((4, cells), np.int64)
    guard = np.ones(4, np.int64)
    for k in gates:
        w[k], r[k] = call.x(INPUT_WEIGHTS[k]), call.x(RECURRENT_WEIGHTS[k])
        scale = call.intermediates[k].s if has_norm else F32(2.0**-12)
        bias = call.x(BIAS[k]).astype(np.int64)
        w_bias[k] = wrap32((0 if has_norm else bias) - x.z * w[k].sum(1, dtype=np.int64))
        r_bias[k] = wrap32(-state.z * r[k].sum(1, dtype=np.int64))
        factors[k, 0] = _factor(call[INPUT_WEIGHTS[k]].s * x.s / scale)
        factors[k, 1] = _factor(call[RECURRENT_WEIGHTS[k]].s * state.s / scale)
        if has_peephole and k != CELL:
            peephole[k] = _peephole(call, k, batches, outputs)
            product = 2.0**power * float(call[PEEPHOLE[k]].s) / float(scale)
            factors[k, 2] = _factor(F32(product))
        if has_norm:
            norm[k], norm_bias[k] = call.x(NORM[k]), bias
            factors[k, 3] = _factor(call[NORM[k]].s)
            guard[k] = max(1, int(F32(10000) * call[NORM[k]].s))

    projection, projection_bias = np.zeros((0, 0), np.int8), np.zeros(0, np.int64)
    projected = np.zeros(3, np.int64)
    hidden_zero = hidden.z
    if call.has(PROJECTION):
        projection = call.x(PROJECTION)
        # The product enters with -z, and the sum is corrected by +z (E42).
        hidden_zero = -hidden.z
        projection_bias = hidden.z * projection.sum(1, dtype=np.int64)
        if call.has(PROJECTION_BIAS):
            projection_bias = projection_bias + call.x(PROJECTION_BIAS)
        projection_bias = wrap32(projection_bias)
        projected[:2] = _factor(call[PROJECTION].s * hidden.s / state.s)
        projected[2] = state.z
    return Parameters(
        w, r, w_bias, r_bias, factors, peephole, peephole_up, norm, norm_bias, guard,
        gates[0] == 0, has_peephole, has_norm,
        30 + power, _clip_steps(call, "cell_clip", cell.s, 2**15),
        gemmlowp.logistic_table(3), gemmlowp.tanh_table(3), _squash(call, power, gates[0] == 0),
        np.ascontiguousarray(projection), projection_bias,
        _clip_steps(call, "proj_clip", call.output.s, 2**7),
        np.array([*_factor(F32(2.0**-30 / float(hidden.s))), hidden_zero], np.int64), projected,
    )  # fmt: skip


def _factor(factor: np.float32) -> tuple[int, int]:
    """A float32 factor as multiplier and shift (E22)."""
    multiplier, shift = quantize_multiplier(float(factor))
    return int(multiplier), int(shift)


def _log2(call: Call, scale: np.float32) -> int:
    """The exponent of a power of two; the runtime takes 2^(n ± 0.001) for it."""
    exact = math.log2(float(scale))
    found = math.floor(exact + 0.5)
    if abs(exact - found) >= 1e-3:
        raise call.refuse(
            f"the cell state has scale {scale}; the runtimes report that it is no power of two, "
            "and compute with parameters that they have not set"
        )
    return found


def _squash(call: Call, power: int, has_input_gate: bool) -> np.ndarray:
    """tanh of the cell state, whose 15 + power integer bits must be 0..6.

    Outside, the runtime computes nothing, and the buffer keeps what the input gate left in it.
    """
    if 0 <= 15 + power <= 6:
        return gemmlowp.tanh_table(15 + power)
    if not has_input_gate:
        raise call.refuse(f"cell state of scale 2^{power}, no input gate: memory without values")
    return np.zeros(0, np.int16)


def _clip_steps(call: Call, option: str, scale: np.float32, end: int) -> int:
    """A clipping value in steps, truncated; 0: none."""
    value = F32(call.option(option, 0.0))
    return int(min(value / scale, F32(end - 1))) if value > 0 else 0


def _peephole(call: Call, gate: int, batches: int, outputs: int) -> np.ndarray:
    """The peephole weight that meets each cell, (batches, cells).

    The runtime takes H outputs for the length of the vector. Where the projection makes H < C, only
    the first H cells of a batch get their product; time-major (all batches in one call) the
    products lie one after the other in the flat (batches, cells) array.
    """
    weights = call.x(PEEPHOLE[gate]).astype(np.int64)
    if outputs > weights.size:
        raise call.undefined("peephole with more outputs than cells reads beyond its weights")
    return _laid(call, weights[:outputs], batches, weights.size)


def _laid(call: Call, values: np.ndarray, batches: int, cells: int) -> np.ndarray:
    """What meets each cell, (batches, cells), where the runtime walks `values` once a batch."""
    found = np.zeros((batches, cells), values.dtype)
    if call.name == "LSTM" or call.option("time_major", False):
        found.flat[: batches * values.size] = np.tile(values, batches)
    else:
        found[:, : values.size] = values
    return found


def _step(
    p: Parameters, x: np.ndarray, h: np.ndarray, c: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """One step of all batches: x (B, I), h (B, H) int8, c (B, C) -> the new h and c."""
    forget = _gate(p, 1, x, h, c)
    update = _gate(p, CELL, x, h, c)
    inward = _gate(p, 0, x, h, c) if p.has_input_gate else 32767 - forget
    kept = wrap16(pot_away(forget * c, 15))
    c = _clip16(kept + wrap16(pot_away(inward * update, p.cell_shift)))
    if p.cell_clip:
        c = np.clip(c, -p.cell_clip, p.cell_clip)
    note("cell state", c, "E42")
    outward = _gate(p, 3, x, h, c)  # the new cell state meets its peephole
    squashed = p.squash[c & 0xFFFF].astype(np.int64) if p.squash.size else inward
    multiplier, shift, zero_point = p.hidden
    hidden = multiply_double(outward * squashed, multiplier, shift) + zero_point
    hidden = np.clip(hidden, -128, 127).astype(np.int8)
    note("output", hidden, "E42")
    if not p.projection.size:
        return hidden, c
    acc = wrap32(matmul(hidden, p.projection.T) + p.projection_bias)
    multiplier, shift, zero_point = p.projected
    h = np.clip(multiply_double(acc, multiplier, shift) + zero_point, -128, 127)
    if p.projection_clip:
        h = np.clip(h, -p.projection_clip, p.projection_clip)
    note("projection", h, "E42")
    return h.astype(np.int8), c


def _gate(p: Parameters, k: int, x: np.ndarray, h: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Gate k of all batches in Q0: sums in Q3.12 (or the intermediate's scale), then sigmoid."""
    (w, r, peephole, norm) = p.factors[k]
    g = _clip16(multiply_double(wrap32(matmul(x, p.w[k].T) + p.w_bias[k]), *w))
    g = _clip16(g + multiply_double(wrap32(matmul(h, p.r[k].T) + p.r_bias[k]), *r))
    if p.has_peephole and k != CELL:
        product = p.peephole[k] * c
        rounded = (multiply_up(product, *peephole), multiply_double(product, *peephole))
        g = _clip16(g + np.where(p.peephole_up, *rounded))
    if p.has_norm:
        g = _normalized(g, p.norm[k], p.norm_bias[k], p.guard[k], *norm)
    note(f"{GATES[k]} gate before activation", g, "E42")
    table = p.tanh if k == CELL else p.sigmoid
    return table[g & 0xFFFF].astype(np.int64)


def _normalized(
    g: np.ndarray, weight: np.ndarray, bias: np.ndarray, guard: int, multiplier: int, shift: int
) -> np.ndarray:
    """Layer norm of rows of Q-something integers to Q3.12 (E43)."""
    n = g.shape[1]
    mean = _toward_zero(g.sum(1) * 1024, n)
    variance = _toward_zero((g * g).sum(1) * (2**20 // n) - mean * mean, 2**20)
    a, b = gemmlowp.inverse_sqrt(np.where(variance < 1, guard, variance))
    scaled = multiply_double(1024 * g - mean[:, None], a[:, None], b[:, None])
    weighted = scaled * weight + bias  # 32 bits in the source, 64 in the released builds
    tenth = wrap32(_toward_zero(weighted + np.where(weighted > 0, 512, -512), 1024))
    return _clip16(multiply_double(tenth, multiplier, shift + 12))


def _toward_zero(a: np.ndarray, b: int) -> np.ndarray:
    """a / b of integers as C divides, b > 0."""
    return np.sign(a) * (np.abs(a) // b)


def _clip16(x: np.ndarray) -> np.ndarray:
    return np.clip(x, -32768, 32767)


def _like(call: Call, position: int, value: np.ndarray) -> np.ndarray:
    """A new state in the shape and type of the old one."""
    old = call[position]
    return value.astype(old.held).reshape(old.shape)


@jit
def _steps(x, p, h, c, y):
    batches, cells = c.shape
    gates = np.empty((4, batches, cells), np.int64)
    hidden = np.empty(cells, np.int8)
    for t in range(x.shape[0]):
        if p.has_input_gate:
            _gate_rows(p, 0, x[t], h, c, gates[0])
        _gate_rows(p, 1, x[t], h, c, gates[1])
        _gate_rows(p, 2, x[t], h, c, gates[2])
        for b in range(batches):
            for j in range(cells):
                forget = gates[1, b, j]
                if not p.has_input_gate:
                    gates[0, b, j] = 32767 - forget
                kept = wrap16_scalar(pot_away_scalar(forget * c[b, j], 15))
                new = wrap16_scalar(pot_away_scalar(gates[0, b, j] * gates[2, b, j], p.cell_shift))
                total = clip(kept + new, -32768, 32767)
                if p.cell_clip > 0:
                    total = clip(total, -p.cell_clip, p.cell_clip)
                c[b, j] = total
        _gate_rows(p, 3, x[t], h, c, gates[3])
        for b in range(batches):
            for j in range(cells):
                squashed = gates[0, b, j]
                if p.squash.size > 0:
                    squashed = np.int64(p.squash[c[b, j] & 0xFFFF])
                steps = dbl(gates[3, b, j] * squashed, p.hidden[0], p.hidden[1]) + p.hidden[2]
                hidden[j] = clip(steps, -128, 127)
            if p.projection.size == 0:
                h[b] = hidden
            else:
                for o in range(h.shape[1]):
                    acc = np.int32(p.projection_bias[o])
                    for j in range(cells):
                        acc += np.int32(hidden[j]) * np.int32(p.projection[o, j])
                    steps = dbl(np.int64(acc), p.projected[0], p.projected[1]) + p.projected[2]
                    steps = clip(steps, -128, 127)
                    if p.projection_clip > 0:
                        steps = clip(steps, -p.projection_clip, p.projection_clip)
                    h[b, o] = steps
        y[t] = h


@jit
def _gate_rows(p, k, x, h, c, out):
    f = p.factors[k]
    table = p.tanh if k == 2 else p.sigmoid
    for b in range(out.shape[0]):
        for j in range(out.shape[1]):
            acc = np.int32(p.w_bias[k, j])
            for i in range(x.shape[1]):
                acc += np.int32(x[b, i]) * np.int32(p.w[k, j, i])
            g = clip(dbl(np.int64(acc), f[0, 0], f[0, 1]), -32768, 32767)
            acc = np.int32(p.r_bias[k, j])
            for i in range(h.shape[1]):
                acc += np.int32(h[b, i]) * np.int32(p.r[k, j, i])
            g = clip(g + dbl(np.int64(acc), f[1, 0], f[1, 1]), -32768, 32767)
            if p.has_peephole and k != 2:
                product = p.peephole[k, b, j] * c[b, j]
                if p.peephole_up[b, j]:
                    g += up(product, f[2, 0], f[2, 1])
                else:
                    g += dbl(product, f[2, 0], f[2, 1])
                g = clip(g, -32768, 32767)
            out[b, j] = g
        if p.has_norm:
            _normalize(out[b], p.norm[k], p.norm_bias[k], p.guard[k], f[3, 0], f[3, 1])
        for j in range(out.shape[1]):
            out[b, j] = table[out[b, j] & 0xFFFF]


@jit
def _normalize(g, weight, bias, guard, multiplier, shift):
    n = g.size
    total, squares = np.int64(0), np.int64(0)
    for value in g:
        total += value
        squares += value * value
    mean = cdiv(total * 1024, np.int64(n))
    variance = cdiv(squares * np.int64((1 << 20) // n) - mean * mean, np.int64(1 << 20))
    if variance < 1:
        variance = guard
    a, b = inverse_sqrt_scalar(variance)
    for j in range(n):
        scaled = dbl(1024 * g[j] - mean, a, b)
        weighted = scaled * weight[j] + bias[j]
        nudged = weighted + (512 if weighted > 0 else -512)
        tenth = wrap32_scalar(cdiv(nudged, np.int64(1024)))
        g[j] = clip(dbl(tenth, multiplier, shift + 12), -32768, 32767)
