"""The two other integer kernels of LSTM: one step, no peephole.

    narrow   int8, 8-bit sums per gate ("8x8->8"), chosen by 12 intermediate tensors (E42)
    basic    uint8, 5 inputs (kernel_type BASIC), everything else 16 bits (E42)

Sources: LiteRT kernels/lstm.cc, kernels/lstm_eval.cc (LstmStepInteger8x8_8), internal/reference/
portable_tensor_utils.cc, internal/optimized/optimized_ops.h (LstmCell).
"""

from __future__ import annotations

from functools import cache

import numpy as np

from kernels import eigen, gemmlowp, libm
from kernels.bounds import gamma
from kernels.call import Call
from kernels.errors import RuntimeRefuses
from kernels.exact import matmul
from kernels.fixedpoint import (
    multiply_double,
    multiply_int64,
    multiply_single,
    multiply_up,
    pot_away,
    quantize_multiplier,
    wrap16,
    wrap32,
)  # fmt: skip
from kernels.ops._lstm import CELL_STATE, HIDDEN_STATE, NORM, PROJECTION, PROJECTION_BIAS
from kernels.ops._lstm_float import FUNCTION, product_error
from kernels.rounding import half_away
from kernels.trace import note

F32 = np.float32
CODES = np.arange(65536, dtype=np.uint16).astype(np.int16)  # every int16, at its low 16 bits


def narrow(call: Call) -> tuple[np.ndarray, ...]:
    """8x8->8: the input gate is always 1 - forget; layer norm and projection are always there.

    Of 12 intermediates, gate k has its sum at 3 k, the product with the input at 3 k + 1 and that
    with the state at 3 k + 2. The output gate takes zero point 7 for 11, and as the multiplier of
    its recurrent product the number that lies behind the array: a shift, so the product vanishes.
    """
    if not (call.has(NORM[1]) and call.has(PROJECTION) and call.has(PROJECTION_BIAS)):
        raise call.refuse("8x8->8 without layer norm, projection and its bias reads address 0")
    if float(call[CELL_STATE].s) != 2.0**-15:
        raise call.refuse("8x8->8 needs a cell state of scale 2^-15")
    x, h = call.x(0), call.x(HIDDEN_STATE).reshape(len(call.x(0)), -1)
    c = call.x(CELL_STATE).reshape(len(x), -1).astype(np.int64)
    forget, update = (_narrow_gate(call, k, x, h) for k in (1, 2))
    c = wrap16(pot_away(forget * c, 15)) + wrap16(pot_away((32767 - forget) * update, 15))
    c = np.clip(c, -32768, 32767)
    clip = F32(call.option("cell_clip", 0.0))
    if 0 < clip < 1:
        limit = int(min(clip / call[CELL_STATE].s, F32(32767)))
        c = np.clip(c, -limit, limit) if limit else c
    note("cell state", c, "E42")
    outward = _narrow_gate(call, 3, x, h)
    hidden = wrap16(pot_away(outward * _tanh(c, -15), 15))
    w = call[PROJECTION]
    multiplier, shift = quantize_multiplier(
        float(F32(float(w.s) * 2.0**-15 / float(call[HIDDEN_STATE].s)))
    )
    acc = matmul(hidden, w.x.T) + call.x(PROJECTION_BIAS)
    y = np.clip(multiply_int64(acc, multiplier, shift) + call[HIDDEN_STATE].z, -128, 127)
    clip = F32(call.option("proj_clip", 0.0))
    if clip > 0:
        limit = int(min(clip / call.output.s, F32(127)))
        y = np.clip(y, -limit, limit) if limit else y
    y = y.astype(np.int8)
    states = (y.reshape(call[HIDDEN_STATE].shape), c.astype(np.int16))
    return (y, states[0], states[1].reshape(call[CELL_STATE].shape))


def _narrow_gate(call: Call, k: int, x: np.ndarray, h: np.ndarray) -> np.ndarray:
    middle = call.intermediates
    total = middle[3 * k].s
    parts = []
    for values, source, weights, place in (
        (x, call[0], call[1 + k], 3 * k + 1), (h, call[HIDDEN_STATE], call[5 + k], 3 * k + 2),
    ):  # fmt: skip
        zero_point = middle[7 if place == 11 else place].z
        acc = matmul(values.astype(np.int64) - source.z, weights.x.T)
        factor = quantize_multiplier(float(weights.s * source.s / middle[place].s))
        small = np.clip(multiply_double(wrap32(acc), *factor) + zero_point, -128, 127)
        multiplier, shift = quantize_multiplier(float(middle[place].s / total))
        if place == 11:
            multiplier = quantize_multiplier(float(middle[5].s / middle[3].s))[1]
        parts.append(multiply_double(small - zero_point, multiplier, shift))
    g = np.clip(parts[0] + parts[1], -32768, 32767)
    note("gate before layer norm", g, "E42")
    g = _normalized(call, k, g.astype(np.float32))
    return _tanh(g, -12) if k == 2 else _sigmoid(g)


def _normalized(call: Call, k: int, g: np.ndarray) -> np.ndarray:
    """Layer norm in float32, sums from left to right; Q3.12 out."""
    weight = call[NORM[k]]
    multiplier, shift = quantize_multiplier(float(weight.s))
    scale = F32(float(multiplier) * 2.0 ** float(shift - 31))
    n = F32(g.shape[1])
    mean = np.add.accumulate(g, 1)[:, -1:] / n
    variance = np.add.accumulate(g * g, 1)[:, -1:] / n - mean * mean
    with np.errstate(invalid="ignore", divide="ignore"):
        safe = np.where(variance == 0, F32(1e-8), variance)
        inverse = F32(1) / np.sqrt(safe)
        value = (g - mean) * inverse * weight.x.astype(np.float32) * scale
        value = value + call.x(12 + k).astype(np.float32) * (F32(2.0**-10) * scale)
        steps = half_away(value * F32(4096))
        lost = ~(np.abs(steps) < F32(2**31))  # x86 converts what does not fit to the lowest
    steps = np.where(lost, F32(-32768), steps)
    return np.clip(steps, -32768, 32767).astype(np.int64)


def _sigmoid(g: np.ndarray) -> np.ndarray:
    """Q3.12 to Q0.15 in float32, toward zero."""
    return _sigmoid_table()[g & 0xFFFF]


def _tanh(g: np.ndarray, power: int) -> np.ndarray:
    """tanh(g * 2^power) in Q0.15, toward zero."""
    return _tanh_table(power)[g & 0xFFFF]


@cache
def _sigmoid_table() -> np.ndarray:
    x = CODES.astype(np.float32) * F32(2.0**-12)
    y = F32(1) / (F32(1) + libm.exp(-x))
    return np.minimum((y * F32(32768)).astype(np.int64), 32767)


@cache
def _tanh_table(power: int) -> np.ndarray:
    x = (CODES.astype(np.float64) * 2.0**power).astype(np.float32)
    return np.minimum((libm.tanh(x) * F32(32768)).astype(np.int64), 32767)


def basic(call: Call) -> tuple[np.ndarray, ...]:
    """uint8: outputs are the activation, the state, both inputs side by side, and the gates."""
    kinds = tuple(None if t is None else t.dtype for t in call.inputs)
    if kinds != ("uint8", "uint8", "uint8", "int32", "int16"):
        raise RuntimeRefuses(f"the basic LSTM kernel has no form for {kinds}")
    if abs(float(np.log2(call.outputs[1].s)) + 11) >= 1e-3:
        raise RuntimeRefuses("the basic LSTM kernel needs a state of scale 2^-11")
    both = np.concatenate([call.x(0), call.x(1)], 1)
    acc = matmul(both.astype(np.int64) - 128, (call.x(2).astype(np.int64) - call[2].z).T)
    factor = quantize_multiplier(float(F32(4096) * call[3].s))
    multiply = multiply_single if call.profile.portable else multiply_up
    gates = np.clip(multiply(wrap32(acc + call.x(3)), *factor), -32768, 32767)
    note("gates before activation", gates, "E42")
    i, m, f, o = np.split(gates, 4, axis=1)
    sigmoid, tanh = gemmlowp.logistic_table(3), gemmlowp.tanh_table(3)
    new = gemmlowp.high_mul(sigmoid[i & 0xFFFF], tanh[m & 0xFFFF], 16)
    kept = gemmlowp.high_mul(sigmoid[f & 0xFFFF], call.x(4), 16)
    state = np.clip(pot_away(new, 4) + kept, -32768, 32767)
    squashed = tanh[gemmlowp.saturating_shift(state, 1, 16) & 0xFFFF]
    y = pot_away(gemmlowp.high_mul(sigmoid[o & 0xFFFF], squashed, 16), 8)
    y = np.clip(y, -128, 127) + 128
    return y.astype(np.uint8), state.astype(np.int16), both, gates.astype(np.int16)


def basic_real(call: Call) -> tuple[np.ndarray, ...]:
    """The basic kernel in float32; the sum in float64, rounded once."""
    x, h, w, b, c = (call[p].real() for p in range(5))
    both = np.concatenate([x, h], 1)
    gates = (both.astype(np.float64) @ w.T.astype(np.float64) + b).astype(np.float32)
    i, m, f, o = np.split(gates, 4, axis=1)
    everywhere = np.array(True)
    i, f, o = (eigen.sigmoid(g, everywhere) for g in (i, f, o))
    state = i * eigen.tanh(m) + f * c
    return o * eigen.tanh(state), state, both, gates


def basic_bound(call: Call) -> tuple[np.ndarray, ...]:
    """Of `basic_real`, by the same steps (E75, E76)."""
    w, b, c = (call[p].real().astype(np.float64) for p in (2, 3, 4))
    _, state, both, gates = basic_real(call)
    eg = gamma(w.shape[1] + 3) * (np.abs(both) @ np.abs(w.T) + np.abs(b))
    i, m, f, o = np.split(gates, 4, axis=1)
    ei, em, ef, eo = np.split(eg, 4, axis=1)
    everywhere = np.array(True)
    i, f, o = (eigen.sigmoid(g, everywhere) for g in (i, f, o))
    ei, ef, eo = (e / 4 + FUNCTION for e in (ei, ef, eo))
    es = product_error(i, ei, eigen.tanh(m), em + FUNCTION)
    es = es + product_error(f, ef, c, np.zeros(c.shape))
    ey = product_error(o, eo, eigen.tanh(state), es + FUNCTION)
    return ey, es, np.zeros(both.shape), eg
