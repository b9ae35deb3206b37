"""SVDF: state gets one more column W_f x; y = act(sum over rank and memory of state * W_t + bias).

Integer form: int16 time weights of 10 bits and int16 state, so that the products of one output sum
in int32. In the hybrid form only W_f x is a sum of integers; the rest is float32 (E44).

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/svdf.cc,
internal/reference/svdf.h, internal/optimized/neon_tensor_utils.cc (NeonVectorVectorDotProduct).
"""

from __future__ import annotations

import numpy as np

from kernels import activation, hybrid
from kernels.bounds import gamma
from kernels.call import Call
from kernels.errors import RuntimeRefuses
from kernels.exact import matmul
from kernels.fixedpoint import multiply_double, quantize_multiplier, wrap32
from kernels.hybrid import quantize_row
from kernels.jit import jit
from kernels.numerics import Row
from kernels.ops._lstm_float import add_product, add_row
from kernels.opspec import DynamicRange, Operand, OpSpec, Product, Role
from kernels.opversion import Special, hybrid_asymmetric
from kernels.opversion import hybrid as is_hybrid
from kernels.scalar import clip, dbl
from kernels.trace import note

SPEC = OpSpec(
    name="SVDF",
    inputs=(
        Operand("input"),
        Operand("weights_feature", Role.WEIGHT),
        Operand("weights_time", Role.WEIGHT, dtype="int16", bits=10),
        Operand("bias", Role.BIAS, optional=True, scale=(Product(("weights_time", "state")),)),
        Operand("state", Role.STATE, dtype="int16"),
    ),
    outputs=(Operand("output"),),
    mlir=True,
    legacy=frozenset({"int8"}),
    kernels=frozenset({"int8"}),
    versions={"float32": 1, "int8": 3, "int16": 1, "uint8": 1},
    legacy_version=3,
    special=(
        Special(4, "hybrid with asymmetric_quantize_inputs", hybrid_asymmetric),
        Special(2, "hybrid", is_hybrid),
    ),
    dynamic=DynamicRange(
        operand=1,
        hybrid=True,
        per_channel=False,
        asymmetric_inputs=True,
        version=4,
        others=(2,),
    ),
)

NUMERICS = (
    Row(
        "int8",
        "DBL (E25) to the int16 state and to the output, factors in float32; int32 sums wrap",
        "the same",
        "",
        "svdf.cc; reference/svdf.h",
        "the activation must be RELU, and only the clamp to int8 is applied. An int8 state or int8 "
        "time weights corrupt the runtimes' memory",
    ),
    Row(
        "hybrid",
        "rows quantized (E31), float32 sums in four lanes (E44)",
        "the same",
        "",
        "svdf.cc; reference/svdf.h; optimized/neon_tensor_utils.cc",
    ),
)

INPUT, FEATURE, TIME, BIAS, STATE = range(5)
F32 = np.float32


def real(call: Call) -> tuple[np.ndarray, ...]:
    """float32; the sums over input, and over memory and rank, in float64, each rounded once."""
    x, feature, time = (call[p].real().astype(np.float64) for p in (INPUT, FEATURE, TIME))
    state = _pushed(call, call[STATE].real(), (x @ feature.T).astype(np.float32))
    y = _by_rank(call, state * time).sum((2, 3))
    if call.has(BIAS):
        bias = call[BIAS]
        scaled = bias.dtype == "float32" or bias.quantized
        y = y + bias.real() * (F32(1) if scaled else call[TIME].s * call[STATE].s)
    return activation.apply(call, y.astype(np.float32)), state.reshape(call[STATE].shape)


def bound(call: Call) -> tuple[np.ndarray, np.ndarray]:
    """Of the output and of the state: sums in another order (E75); the newest column's error goes
    on into the output's sum."""
    x, feature, time, state = (
        np.abs(call[p].real().astype(np.float64)) for p in (INPUT, FEATURE, TIME, STATE)
    )
    newest = x @ feature.T
    error = np.zeros((len(x), *time.shape))
    error[..., -1] = gamma(x.shape[1] + 3) * newest
    size = _by_rank(call, (_pushed(call, state, newest) + error) * time).sum((2, 3))
    if call.has(BIAS):
        size = size + np.abs(call[BIAS].real())
    found = gamma(_rank(call) * time.shape[1] + 3) * size
    return found + _by_rank(call, error * time).sum((2, 3)), error.reshape(call[STATE].shape)


def reference(call: Call) -> tuple[np.ndarray, ...]:
    """The newest column of the state, then the sum over memory and rank."""
    if call.form == "hybrid":
        return _hybrid(call)
    _check(call)
    (m1, s1), (m2, s2) = _factors(call)
    acc = matmul(call.x(INPUT).astype(np.int64) - call[INPUT].z, call.x(FEATURE).T)
    note("accumulator of the state", acc, "E12")
    newest = np.clip(multiply_double(wrap32(acc), m1, s1), -32768, 32767).astype(np.int16)
    state = _pushed(call, call.x(STATE), newest)
    acc = _by_rank(call, state.astype(np.int64) * call.x(TIME)).sum((2, 3))
    if call.has(BIAS):
        acc = acc + call.x(BIAS)
    note("accumulator", wrap32(acc), "E12")
    y = np.clip(multiply_double(wrap32(acc), m2, s2) + call.output.z, -128, 127)
    return y.astype(np.int8), state.reshape(call[STATE].shape)


def fast(call: Call) -> tuple[np.ndarray, ...]:
    """`reference`, jitted."""
    batches, (filters, memory) = len(call.x(INPUT)), call[TIME].shape
    rank = _rank(call)
    state = call.x(STATE).copy()
    columns = state.reshape(batches, filters, memory)
    y = np.empty((batches, filters // rank), np.float32 if call.form == "hybrid" else np.int8)
    if call.form == "hybrid":
        bias = call.x(BIAS) if call.has(BIAS) else np.zeros(y.shape[1], np.float32)
        w = call.x(FEATURE)
        _hybrid_loops(
            np.ascontiguousarray(call.x(INPUT)), w, call[FEATURE].s, hybrid.row_sums(w),
            hybrid.wrong_blocks(w), call[TIME].real(), bias, rank, _rule(call), columns, y,
        )  # fmt: skip
        return activation.apply(call, y), state
    _check(call)
    bias = call.x(BIAS) if call.has(BIAS) else np.zeros(y.shape[1], np.int32)
    (m1, s1), (m2, s2) = _factors(call)
    rule = np.array([m1, s1, m2, s2, call[INPUT].z, call.output.z], np.int64)
    _loops(call.x(INPUT), call.x(FEATURE), call.x(TIME), bias, rank, rule, columns, y)
    return y, state


def _hybrid(call: Call) -> tuple[np.ndarray, ...]:
    rows = hybrid.RULES[_rule(call)](call.x(INPUT))
    zero = np.zeros((len(call.x(INPUT)), len(call.x(FEATURE))), np.float32)
    newest = add_product(zero, rows, call.x(FEATURE), call[FEATURE].s)
    note("newest state", newest, "E44")
    state = _pushed(call, call.x(STATE), newest)
    filters = lane_sums(state * call[TIME].real())
    y = lane_sums(_by_rank(call, filters[..., None])[..., 0])
    if call.has(BIAS):
        y = y + call.x(BIAS)
    return activation.apply(call, y), state.reshape(call[STATE].shape)


def lane_sums(x: np.ndarray) -> np.ndarray:
    """float32 sums along the last axis as vector code forms them: four lanes over the whole groups
    of 4, the lanes from first to last, then the tail (E44)."""
    whole = x.shape[-1] // 4 * 4
    lanes = np.zeros((*x.shape[:-1], 4), np.float32)
    for i in range(0, whole, 4):
        lanes = lanes + x[..., i : i + 4]
    total = ((lanes[..., 0] + lanes[..., 1]) + lanes[..., 2]) + lanes[..., 3]
    for i in range(whole, x.shape[-1]):
        total = total + x[..., i]
    return total


def _check(call: Call) -> None:
    if activation.fused(call) != activation.RELU:
        raise RuntimeRefuses("SVDF int8 takes RELU only as its fused activation")
    if (call[STATE].dtype, call[TIME].dtype) != ("int16", "int16"):
        raise call.refuse("state and time weights must be int16; others corrupt the runtime")


def _rank(call: Call) -> int:
    return int(call.option("rank", 1))


def _rule(call: Call) -> int:
    asymmetric = call.option("asymmetric_quantize_inputs", False)
    return hybrid.ASYMMETRIC if asymmetric else hybrid.SYMMETRIC


def _factors(call: Call) -> list[tuple[int, int]]:
    """Multiplier and shift to the state and to the output; products and quotients in float32."""
    state = call[STATE].s
    factors = (call[INPUT].s * call[FEATURE].s / state, state * call[TIME].s / call.output.s)
    found = (quantize_multiplier(float(f)) for f in factors)
    return [(int(multiplier), int(shift)) for multiplier, shift in found]


def _pushed(call: Call, state: np.ndarray, newest: np.ndarray) -> np.ndarray:
    """The state (batches, filters, memory) one step older, with the newest column last."""
    columns = state.reshape(len(newest), *call[TIME].shape)
    return np.concatenate([columns[..., 1:], newest[..., None]], axis=2)


def _by_rank(call: Call, x: np.ndarray) -> np.ndarray:
    """(batches, filters, n) -> (batches, units, rank, n)."""
    return x.reshape(len(x), -1, _rank(call), x.shape[2])


@jit
def _loops(x, feature, time, bias, rank, rule, state, y):
    memory = time.shape[1]
    for b in range(x.shape[0]):
        for f in range(feature.shape[0]):
            acc = np.int32(0)
            for i in range(feature.shape[1]):
                acc += np.int32(feature[f, i]) * (np.int32(x[b, i]) - np.int32(rule[4]))
            for i in range(memory - 1):
                state[b, f, i] = state[b, f, i + 1]
            state[b, f, memory - 1] = clip(dbl(np.int64(acc), rule[0], rule[1]), -32768, 32767)
        for unit in range(y.shape[1]):
            acc = np.int32(bias[unit])
            for f in range(unit * rank, (unit + 1) * rank):
                for i in range(memory):
                    acc += np.int32(time[f, i]) * np.int32(state[b, f, i])
            y[b, unit] = clip(dbl(np.int64(acc), rule[2], rule[3]) + rule[5], -128, 127)


@jit
def _hybrid_loops(
    x, feature, scale, sums, blocks, time, bias, rank, rule, state, y
):  # fmt: skip
    memory = time.shape[1]
    q = np.empty(x.shape[1], np.int8)
    filters = np.empty(feature.shape[0], np.float32)
    product = np.empty(memory, np.float32)
    for b in range(x.shape[0]):
        row_scale, zero_point = quantize_row(rule, x[b], q)
        filters[:] = 0
        add_row(filters, q, row_scale, zero_point, feature, scale, sums, blocks)
        for f in range(feature.shape[0]):
            for i in range(memory - 1):
                state[b, f, i] = state[b, f, i + 1]
            state[b, f, memory - 1] = filters[f]
            for i in range(memory):
                product[i] = np.float32(state[b, f, i] * time[f, i])
            filters[f] = _lane_sum(product)
        for unit in range(y.shape[1]):
            total = _lane_sum(filters[unit * rank : (unit + 1) * rank])
            y[b, unit] = np.float32(total + bias[unit])


@jit
def _lane_sum(x):
    whole = x.size // 4 * 4
    lanes = np.zeros(4, np.float32)
    for i in range(whole):
        lanes[i % 4] += x[i]
    total = np.float32(np.float32(np.float32(lanes[0] + lanes[1]) + lanes[2]) + lanes[3])
    for i in range(whole, x.size):
        total = np.float32(total + x[i])
    return total
