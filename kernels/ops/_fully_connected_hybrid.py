"""FULLY_CONNECTED of float activations and integer weights: rows quantized on the fly (E31).

A call takes one of four routes:

    ROWS        int8 sums of a quantized row, for weights of any width
    NIBBLES     LiteRT's packed int4 kernel (E36)
    BLOCKS      a scale for each block of a row, LiteRT (E37)
    BLOCKS_XNN  the same, XNNPACK (E37)

Sources: LiteRT kernels/fully_connected.cc (EvalHybridDense, EvalHybridDense4Bit,
EvalBlockwise4Bit), kernels/internal/optimized/4bit/sse_fully_connected.cc; XNNPACK
src/qd8-f32-qc8w-gemm, src/qd8-f32-qb4w-gemm and src/packing.cc.
"""

from __future__ import annotations

import numpy as np

from kernels import activation, eigen, hybrid
from kernels.call import Call
from kernels.errors import RuntimeRefuses
from kernels.fma import fma, fma32
from kernels.jit import jit
from kernels.ops import _products as products
from kernels.ops._products import dot32, total
from kernels.rounding import half_away
from kernels.scalar import half_away32
from kernels.trace import note

ROWS, NIBBLES, BLOCKS, BLOCKS_XNN = range(4)
F32 = np.float32


def reference(call: Call) -> np.ndarray:
    """(R, O) float32."""
    x, w = _operands(call)
    sw, bias = _scales(call, w), _bias(call, len(w))
    kind = route(call)
    if kind == NIBBLES:
        return _act(call, _nibbles(x, w, sw, bias if call.has(2) else None))
    if kind in (BLOCKS, BLOCKS_XNN):
        y = _blocks(x, w, sw, kind == BLOCKS_XNN)
        if call.has(2):
            y = y + bias
        return y if kind == BLOCKS else _act(call, y)
    if skipped(call, x):
        return _alone(call, bias, len(x))
    q, s, z = hybrid.RULES[_rule(call)](x)
    return _act(call, products.hybrid(_how(call), q, s, z, w, sw, bias))


def fast(call: Call) -> np.ndarray:
    """`reference`, jitted."""
    x, w = _operands(call)
    sw, bias = _scales(call, w), _bias(call, len(w))
    out = np.empty((len(x), len(w)), np.float32)
    kind = route(call)
    if kind == NIBBLES:
        _nibble_loops(np.ascontiguousarray(x), packed(w), sw, bias, call.has(2), out)
        return _act(call, out)
    if kind == ROWS and skipped(call, x):
        return _alone(call, bias, len(x))
    q, s, z = hybrid.quantize(_rule(call), x)
    if kind in (BLOCKS, BLOCKS_XNN):
        _block_loops(kind == BLOCKS_XNN, q, s, z, w, sw, bias, call.has(2), out)
        return out if kind == BLOCKS else _act(call, out)
    sums = products.weight_sums(_how(call), w)
    products.hybrid_loops(_how(call), q, s, z, w, sums, sw, bias, out)
    return _act(call, out)


def route(call: Call) -> int:
    """Which kernel the runtime's path takes."""
    w = call[1]
    blockwise = w.scale is not None and w.scale.ndim > 1
    if call.profile.is_xnnpack:
        return BLOCKS_XNN if blockwise else ROWS
    units, depth = w.shape
    packable = w.dtype == "int4" and w.constant and depth % 2 == 0 and depth >= 32 and units >= 4
    if call.profile.is_reference or not packable:
        return ROWS
    return BLOCKS if blockwise else NIBBLES


def skipped(call: Call, x: np.ndarray) -> bool:
    """Whether LiteRT leaves the products out: all of the input is 0. Adding them would make +0.0 of
    a bias of -0.0."""
    return not call.profile.is_xnnpack and not x.any()


def _alone(call: Call, bias: np.ndarray, rows: int) -> np.ndarray:
    """The bias in every row; a RELU leaves no -0.0."""
    y = _act(call, np.tile(bias, (rows, 1)))
    ends = activation.BOUNDS.get(activation.fused(call), (None,))
    return y + F32(0) if ends[0] == 0 else y


def check(call: Call) -> None:
    """Raises RuntimeRefuses or NoKernel."""
    w = call[1]
    assert w.scale is not None
    if w.dtype not in ("int8", "uint8", "int4", "int2"):
        raise call.refuse(f"no hybrid kernel for {w.dtype} weights; use int8, int4 or int2")
    if call.has(2) and call[2].dtype != "float32":
        raise RuntimeRefuses(f"{call.name}: a hybrid kernel takes a float32 bias only")
    zero_points = w.zero_point is not None and w.zero_point.any()
    if zero_points and w.dtype in ("int4", "int2"):
        raise RuntimeRefuses(f"{call.name}: {w.dtype} weights need zero point 0")


def _rule(call: Call) -> int:
    if call.profile.is_xnnpack:
        return hybrid.QD8
    if route(call) == BLOCKS or call.option("asymmetric_quantize_inputs", False):
        return hybrid.ASYMMETRIC
    return hybrid.SYMMETRIC


def _how(call: Call) -> int:
    """The last step; for int2 XNNPACK of tensorflow 2.21 has portable code only, without fma."""
    if not call.profile.is_xnnpack:
        return products.LITERT
    plain = call[1].dtype == "int2" and not call.profile.litert
    return products.XNNPACK_PLAIN if plain else products.XNNPACK


def _operands(call: Call) -> tuple[np.ndarray, np.ndarray]:
    w = call.x(1)
    if w.dtype == np.uint8:
        w = w.view(np.int8)  # the kernel reads the bytes as they are
    return rows(call.x(0), w.shape[1]), w


def rows(x: np.ndarray, depth: int) -> np.ndarray:
    """The input as rows of `depth` values; what is left over is not looked at."""
    count = x.size // depth
    return x.reshape(-1)[: count * depth].reshape(count, depth)


def _scales(call: Call, w: np.ndarray) -> np.ndarray:
    """(O,), or (O, blocks). Kernels that know no blocks find scale 0 beside them."""
    scale = call[1].scale
    assert scale is not None
    if scale.ndim > 1:
        scale = scale.reshape(len(w), -1)
        if route(call) == ROWS:
            return np.zeros(len(w), np.float32)
        return _bfloat16(scale, call.profile.litert) if call.profile.is_xnnpack else scale
    return np.ascontiguousarray(np.broadcast_to(scale, (len(w),)))


def _bfloat16(scale: np.ndarray, nearest: bool) -> np.ndarray:
    """As XNNPACK packs the scales of blocks (E37): nearest even, truncated in tensorflow 2.21."""
    bits = np.ascontiguousarray(scale, np.float32).view(np.uint32)
    if nearest:
        bits = bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))
    return (bits & np.uint32(0xFFFF0000)).view(np.float32)


def _bias(call: Call, units: int) -> np.ndarray:
    return call.x(2).reshape(-1) if call.has(2) else np.zeros(units, np.float32)


def _act(call: Call, y: np.ndarray) -> np.ndarray:
    if activation.fused(call) == activation.TANH:
        return eigen.tanh(y)
    return activation.apply(call, y)


def packed(w: np.ndarray) -> np.ndarray:
    """Weights + 7 as the packed kernel holds them: 0..14 in four bits (E36).

    -8 becomes -1, whose high bits also fill a neighbour: columns c and c + 16 of a group of 32
    share a byte, c in its upper half. A partial last group is packed with less damage.
    """
    units, depth = w.shape
    groups = -(-depth // 32)
    full = np.zeros((units, groups * 32), np.int8)
    full[:, :depth] = w
    upper, lower = np.moveaxis(full.reshape(units, groups, 2, 16), 2, 0)
    spoilt_upper, spoilt_lower = upper == -8, lower == -8
    spill = np.zeros_like(spoilt_upper)
    spill[..., 2:] = spoilt_upper[..., :-2]
    spill[..., np.arange(16) // 2 % 2 == 0] = False  # 16-bit shifts carry into odd bytes only
    if depth % 32:
        spill[:, -1] = False
    made = np.stack(
        [
            np.where(spoilt_upper | spoilt_lower, 15, upper + 7),
            np.where(spoilt_lower | spill, 15, lower + 7),
        ],
        axis=2,
    )
    return np.ascontiguousarray(made.reshape(units, -1)[:, :depth]).astype(np.int8)


def _nibbles(x: np.ndarray, w: np.ndarray, sw: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
    """Symmetric rows against weights + 7, and -7 sum q as an addend of its own (E36)."""
    most = np.abs(x).max(1, initial=0)
    most = np.where(most == 0, F32(127), most)
    s, inverse = most / F32(127), F32(127) / most
    q = half_away(x * inverse[:, None]).astype(np.int64)
    note("row scale", s, "E36")
    offset = (-7 * q.sum(1)).astype(F32) * s
    y = offset[:, None] * sw
    if bias is not None:
        y = y + bias
    acc = products.matmul(q, packed(w).T).astype(F32)
    note("accumulator", acc, "E36")
    return y + acc * s[:, None] * sw


def _blocks(x: np.ndarray, w: np.ndarray, sw: np.ndarray, xnnpack: bool) -> np.ndarray:
    """Blocks of a row summed in float32, in order (E37)."""
    q, s, z = (hybrid.qd8 if xnnpack else hybrid.asymmetric)(x)
    block = w.shape[1] // sw.shape[1]
    y = np.zeros((len(x), len(w)), np.float32)
    sums = np.zeros(len(w), np.float32)  # of the weights, in real units
    parts = [slice(i * block, (i + 1) * block) for i in range(sw.shape[1])]
    for i, part in enumerate(parts):
        sums = sums + w[:, part].sum(1, dtype=np.int64).astype(F32) * sw[:, i]
    note("row scale", s, "E31")
    if xnnpack:
        y = -(sums * (z + 128).astype(F32)[:, None])
    for i, part in enumerate(parts):
        acc = products.matmul(q[:, part].astype(np.int64) + 128 * xnnpack, w[:, part].T).astype(F32)
        y = fma32(acc, sw[:, i], y) if xnnpack else y + acc * sw[:, i]
    if not xnnpack:
        y = y - z.astype(F32)[:, None] * sums
    return y * s[:, None]


@jit
def _nibble_loops(x, w, sw, bias, biased, out):
    q = np.empty(x.shape[1], np.int8)
    for row in range(x.shape[0]):
        most = np.float32(0)
        for value in x[row]:
            most = max(most, abs(value))
        if most == 0:
            most = np.float32(127)
        s, inverse = np.float32(most / np.float32(127)), np.float32(np.float32(127) / most)
        for i in range(q.size):
            q[i] = half_away32(np.float32(x[row, i] * inverse))
        offset = np.float32(np.float32(-7 * total(q)) * s)
        for unit in range(w.shape[0]):
            y = np.float32(offset * sw[unit])
            if biased:
                y = np.float32(y + bias[unit])
            acc = np.float32(np.float32(dot32(q, w[unit])) * s)
            out[row, unit] = np.float32(y + np.float32(acc * sw[unit]))


@jit
def _block_loops(xnnpack, q, s, z, w, sw, bias, biased, out):
    count = sw.shape[1]
    block = w.shape[1] // count
    weights = np.empty(count, np.int64)
    for unit in range(w.shape[0]):
        sums = np.float32(0)
        for i in range(count):
            weights[i] = total(w[unit, i * block : (i + 1) * block])
            sums = np.float32(sums + np.float32(sw[unit, i] * np.float32(weights[i])))
        for row in range(q.shape[0]):
            y = np.float32(0)
            if xnnpack:
                y = np.float32(-np.float32(sums * np.float32(z[row] + 128)))
            for i in range(count):
                at = i * block
                acc = dot32(q[row, at : at + block], w[unit, at : at + block])
                if xnnpack:
                    y = fma(np.float32(acc + 128 * weights[i]), sw[unit, i], y)
                else:
                    y = np.float32(y + np.float32(np.float32(acc) * sw[unit, i]))
            if not xnnpack:
                y = np.float32(y - np.float32(np.float32(z[row]) * sums))
            y = np.float32(y * s[row])
            out[row, unit] = np.float32(y + bias[unit]) if biased else y
