"""FULLY_CONNECTED: y[b,o] = act(sum_i x[b,i] * w[o,i] + bias[o]).

Integer activations here; float activations beside integer weights in `_fully_connected_hybrid.py`.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/fully_connected.cc.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from kernels import activation, bounds, delegate
from kernels.call import Call
from kernels.errors import RuntimeRefuses
from kernels.fixedpoint import wrap32
from kernels.numerics import Row
from kernels.ops import _conv
from kernels.ops import _fully_connected_hybrid as _hybrid
from kernels.ops import _fully_connected_shuffled as _shuffled
from kernels.ops._products import centred, integer_loops, sums
from kernels.opspec import DynamicRange, Operand, OpSpec, Product, Role
from kernels.opversion import (
    Special,
    hybrid,
    hybrid_asymmetric,
    hybrid_per_channel,
    inputs,
    option,
    wide_bias,
)
from kernels.stage import Rule, Stage

if TYPE_CHECKING:
    from kernels.simd.program import Lowering

SPEC = OpSpec(
    name="FULLY_CONNECTED",
    inputs=(
        Operand("input"),
        Operand("weights", Role.WEIGHT, axis=0),
        Operand("bias", Role.BIAS, optional=True, scale=(Product(("input", "weights")),)),
    ),
    outputs=(Operand("output"),),
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 4, "int16": 1, "uint8": 1},
    legacy_version=4,
    special=(
        Special(14, "int2 weights", lambda use: use.inputs[1] == "int2"),
        Special(13, "int16 activations, int4 weights", inputs("int16", "int4")),
        Special(12, "hybrid, per channel", hybrid_per_channel),
        Special(11, "int16 activations with quantized_bias_type", wide_bias),
        Special(7, "int16 activations and weights", inputs("int16", "int16")),
        Special(6, "two inputs", lambda use: len(use.inputs) == 2),
        Special(5, "keep_num_dims", option("keep_num_dims")),
        Special(4, "int8 activations and weights", inputs("int8", "int8")),
        Special(10, "int8 activations, int4 weights", inputs("int8", "int4")),
        Special(9, "hybrid with asymmetric_quantize_inputs", hybrid_asymmetric),
        Special(3, "hybrid", hybrid),
        Special(2, "shuffled weights", lambda use: use.option("weights_format") == 1),
    ),
    dynamic=DynamicRange(
        operand=1,
        hybrid=True,
        per_channel=True,
        asymmetric_inputs=True,
        version=12,
    ),
)

INT32, INT64 = 2, 4  # TensorType, as in quantized_bias_type
SHUFFLED = 1

_INT = "reference/integer_ops/fully_connected.h; optimized/integer_ops/fully_connected.h; "
_XNN = "XNNPACK operators/fully-connected-nc.c"
_LITERT = "kernels/fully_connected.cc; optimized/sse_tensor_utils.cc; "
_GEMM = "XNNPACK qd8-f32-qc8w-gemm"

NUMERICS = (
    Row(
        "int8",
        "F64 (E27), factor in float64",
        "UP (E25); per tensor the scale product is rounded to float32",
        "XF (E28)",
        _INT + _XNN,
        "Per tensor, a bias scale further than 0.02 output steps from the product is refused, but "
        "not by XNNPACK. Weight zero points count per tensor only; XNNPACK of tensorflow 2.21 "
        "ignores them, that of litert leaves such a call to the optimized kernel, and both fail "
        "on per-channel ones. F64 beyond int32 is INT32_MIN before the zero point is added.",
    ),
    Row(
        "int8 x int4",
        "as int8",
        "as int8",
        "XF (E28)",
        _INT + _XNN,
        "XNNPACK takes an even depth; that of tensorflow 2.21 no scale shared by several units.",
    ),
    Row(
        "int8 x int2",
        "as int8",
        "as int8",
        "XF (E28)",
        _INT + _XNN,
        "XNNPACK takes per-channel weights whose depth is a multiple of 4.",
    ),
    Row("int16, int64 bias", "F64 (E27), 64-bit sums", "as reference", "", _INT),
    Row(
        "int16, int32 bias",
        "F64 (E27)",
        "UP (E25); with a weight zero point F64",
        "",
        _INT,
        "Without quantized_bias_type INT32 the reference kernel reads the bias as int64.",
    ),
    Row(
        "int16, no bias",
        "F64 (E27), 64-bit sums unless quantized_bias_type is INT32",
        "UP (E25); F64 with a weight zero point, and in litert with quantized_bias_type INT64",
        "",
        _INT,
    ),
    Row("int16 x int4", "as int16", "as int16", "", _INT),
    Row("int16 x int2", "as int16", "as int16", "", _INT),
    Row(
        "int16 x int16",
        "M64 (E26)",
        "M64 (E26)",
        "",
        "kernels/fully_connected.cc",
        "Not in tensorflow 2.21. The bias is read as int32 unless quantized_bias_type is INT64.",
    ),
    Row(
        "uint8",
        "F64 (E27)",
        "UP (E25)",
        "XF (E28)",
        "reference/fully_connected.h; " + _XNN,
        "Zero points of input and weights both count, on every path.",
    ),
    Row(
        "uint8 to int16",
        "F64 (E27)",
        "UP (E25)",
        "",
        "reference/fully_connected.h",
        "A bias must be there.",
    ),
    Row(
        "shuffled",
        "DBL (E25)",
        "DBL (E25), no activation; pairs of products wrap at 16 bits",
        "",
        "reference/fully_connected.h; optimized/optimized_ops.h",
        "Zero points 128 whatever the file says; the workspace is a second output.",
    ),
    Row(
        "hybrid",
        "rows by E31, E35",
        "as reference",
        "rows qd8 (E31), fma (E35)",
        _LITERT + _GEMM,
        "Beside negative inputs, weights of -128 count as 128 in whole groups of 16 (E35), but not "
        "in XNNPACK. Weight zero points are ignored; XNNPACK of litert fails on them.",
    ),
    Row(
        "hybrid x uint8",
        "as hybrid, the bytes of the weights read as int8",
        "as reference",
        "",
        _LITERT,
    ),
    Row(
        "hybrid x int4",
        "as hybrid",
        "packed kernel (E36), symmetric rows: depth even and >= 32, >= 4 units; else as hybrid",
        "as hybrid",
        "optimized/4bit/sse_fully_connected.cc; " + _GEMM,
        "Weights of -8 spoil themselves and neighbours in the packed kernel (E36). XNNPACK of "
        "tensorflow 2.21 takes no scale shared by several units.",
    ),
    Row(
        "hybrid x int2",
        "as hybrid",
        "as hybrid",
        "as hybrid; in tensorflow 2.21 product and bias are rounded one by one",
        _LITERT + "XNNPACK qd8-f32-qc2w-gemm",
    ),
    Row(
        "hybrid, blocks int4",
        "act(bias): the scales of blocks are not read",
        "E37 in the shapes of the packed kernel (no activation), else as reference",
        "E37, scales as bfloat16: nearest in litert, truncated in tensorflow 2.21",
        "kernels/fully_connected.cc; XNNPACK qd8-f32-qb4w-gemm",
        "XNNPACK takes blocks of a multiple of 32.",
    ),
    Row(
        "hybrid, blocks int2",
        "act(bias)",
        "act(bias)",
        "",
        "kernels/fully_connected.cc",
        "XNNPACK fails on it, so that the interpreter is not made.",
    ),
)


def real(call: Call) -> tuple[np.ndarray, ...]:
    """y = act(x w^T + b). Sums in float64, rounded once to float32; those of few weights in order,
    others as NumPy adds."""
    w = call[1].real()
    if w.shape[1] == 0:
        return _empty(call)
    x = _hybrid.rows(call.x(0), w.shape[1])
    if _conv.short(w):
        at = _conv.Window((1, 1), (1, 1), (1, 1), (0, 0), (1, len(x)))
        y = _conv.ordered_sums(x[None, None], w.T[None, None], at)[0, 0]
    else:
        y = x.astype(np.float64) @ w.astype(np.float64).T
    if call.has(2):
        y = y + call[2].real()
    return (activation.apply(call, _shaped(call, y.astype(np.float32))),)


def bound(call: Call) -> np.ndarray:
    """Sums in another order (E75)."""
    return bounds.of_sums(call, call[1].shape[1])


def reference(call: Call) -> tuple[np.ndarray, ...]:
    """acc = sum (x - z_x)(w - z_w) + b; then the output stage of the path (E12, E25-E28)."""
    _check(call)
    if call[1].shape[1] == 0:
        return _empty(call)
    if call.option("weights_format") == SHUFFLED:
        return _shuffled.compute(call, fast=False)
    if call[0].dtype == "float32":
        return (_shaped(call, _hybrid.reference(call)),)
    x, w = _hybrid.rows(call.x(0), call.x(1).shape[1]), call.x(1)
    wide = _wide(call)
    acc = sums(x, w, call[0].z, weight_zero_point(call), wide)
    if call.has(2):
        acc = acc + call.x(2).reshape(-1)
    return (_shaped(call, stage(call)(acc if wide else wrap32(acc))),)


def fast(call: Call) -> tuple[np.ndarray, ...]:
    """`reference`, jitted."""
    _check(call)
    if call[1].shape[1] == 0:
        return _empty(call)
    if call.option("weights_format") == SHUFFLED:
        return _shuffled.compute(call, fast=True)
    if call[0].dtype == "float32":
        return (_shaped(call, _hybrid.fast(call)),)
    w = call.x(1)
    x = centred(_hybrid.rows(call.x(0), w.shape[1]), call[0].z)
    bias = np.zeros(len(w), np.int64)
    if call.has(2):
        bias[:] = call.x(2).reshape(-1)
    out = np.empty((len(x), len(w)), call.output.held)
    p = stage(call).parameters(len(w))
    integer_loops(x, w, weight_zero_point(call), bias, _wide(call), p, out)
    return (_shaped(call, out),)


def stage(call: Call) -> Stage:
    """Which rule and factor each path uses: reference F64, optimized UP, XNNPACK XF."""
    x, w, y = call[0], call[1], call.output
    assert w.scale is not None
    factor: np.ndarray
    if call.profile.is_xnnpack:
        rule, factor = Rule.XF, np.asarray(np.float32(x.s * w.scale) / y.s)
        if (factor >= 256).any():
            raise RuntimeRefuses(f"{call.name}: XNNPACK takes no requantization factor >= 256")
    else:
        rule = _rule(call)
        factor = float(x.s) * w.scale.astype(np.float64) / float(y.s)
        if rule is not Rule.F64 and not w.per_channel:  # the product is a float there
            factor = np.asarray(np.float64(x.s * w.s) / float(y.s))
    return Stage.of(rule, factor, y.z, activation.clamp(call), y.range)


def _rule(call: Call) -> Rule:
    if call[1].dtype == "int16":
        return Rule.M64
    return Rule.F64 if _by_reference(call) else _vector(call)


def _vector(call: Call) -> Rule:
    """ruy's rule, by vector or by portable code; a single row of 8 bits has a kernel before ruy."""
    units, depth = call[1].shape
    single = math.prod(call[0].shape) // depth == 1 and call[0].dtype != "int16"
    if call.profile.portable and not (single and units >= 4 and depth >= 8):
        return Rule.SGL
    return Rule.UP


def _by_reference(call: Call) -> bool:
    """Whether the reference kernel computes: also int16 on the optimized path, unless the bias has
    32 bits (or there is none) and the weights have zero point 0."""
    if call.profile.is_reference:
        return True
    if call[0].dtype != "int16":
        return False
    kind = call.option("quantized_bias_type")
    return (
        call[1].z != 0
        or (call.has(2) and call[2].dtype == "int64")
        or (call.profile.litert and kind == INT64)
    )


def _wide(call: Call) -> bool:
    """Whether sums have 64 bits."""
    if call[0].dtype != "int16":
        return False
    if call[1].dtype == "int16":
        return True
    return _by_reference(call) and call.option("quantized_bias_type") != INT32


def weight_zero_point(call: Call) -> int:
    """Per channel there is none; XNNPACK of tensorflow 2.21 ignores that of int8 weights."""
    w = call[1]
    if w.per_channel or (call.profile.is_xnnpack and w.dtype != "uint8"):
        return 0
    return w.z


def delegated(call: Call) -> bool:
    """Whether XNNPACK takes the call (or fails on it, see check_delegated)."""
    x, w, y = call[0], call[1], call.output
    if not (delegate.static(call, 1) and w.quantized and call.option("weights_format") == 0):
        return False
    assert w.scale is not None
    if activation.fused(call) not in activation.BOUNDS or x.dtype != y.dtype:
        return False
    depth, litert = w.shape[1], call.profile.litert
    single = w.scale.ndim == 1 and w.scale.size == w.shape[0]
    if w.dtype == "int4" and (depth % 2 or not (litert or single or w.scale.ndim > 1)):
        return False
    if w.dtype == "int2" and (depth % 4 or not (single or w.scale.ndim > 1)):
        return False
    if w.scale.ndim > 1 and depth // w.scale.shape[-1] % 32:
        return False
    if x.dtype == "float32":
        return w.dtype in ("int8", "int4", "int2") and delegate.static(call, 2)
    if not _bias_taken(call) or not delegate.per_tensor(x, y):
        return False
    if x.dtype == "uint8":
        return w.dtype == "uint8"
    if w.dtype == "int8" and not w.per_channel and w.z != 0 and litert:
        return False
    return x.dtype == "int8" and w.dtype in ("int8", "int4", "int2")


def lower(call: Call, to: Lowering) -> None:
    """The matrix kernel on rows of the input."""
    from kernels.simd import convolution, floats, hybrid

    convolution.constant(call, 1, 2)
    if not call.form:
        floats.matrix(to, call[1].real())
        return
    _check(call)
    if call[0].dtype == "float32":
        hybrid.matrix(to)
        return
    w = call.x(1)
    bias = call.x(2) if call.has(2) else np.zeros(w.shape[0], np.int32)
    convolution.matrix(to, stage(call), w, weight_zero_point(call), bias)


def _bias_taken(call: Call) -> bool:
    if not call.has(2):
        return True
    b = call[2]
    return (
        b.constant
        and b.dtype == "int32"
        and b.scale is not None
        and delegate.normal(b)
        and (b.per_channel or b.z == 0)
    )


def _check(call: Call) -> None:
    """Raises RuntimeRefuses where the runtime stops, NoKernel for what it computes by accident."""
    x, w, y = call[0], call[1], call.output
    if w.data is None or w.x.ndim != 2:
        raise RuntimeRefuses(f"{call.name}: weights must have 2 dimensions")
    if call.option("keep_num_dims", False) and x.shape[-1:] != w.shape[1:]:
        raise RuntimeRefuses(f"{call.name}: rows of {x.shape[-1:]} values, filters of {w.shape[1]}")
    if w.scale is not None and w.scale.ndim == 1 and w.per_channel:
        if w.axis != 0 or w.scale.size != w.shape[0]:
            raise RuntimeRefuses(f"{call.name}: weights need one scale, or one for each unit")
    if call.profile.is_xnnpack:
        check_delegated(call)
    if x.dtype == "float32":
        return _hybrid.check(call)
    kinds = (x.dtype, w.dtype, y.dtype)
    if kinds not in _KINDS and call.option("weights_format") != SHUFFLED:
        raise call.refuse(f"no kernel for {' x '.join(kinds[:2])} -> {y.dtype}")
    if w.dtype == "int16" and not call.profile.litert:
        raise RuntimeRefuses(f"{call.name}: tensorflow 2.21 has no kernel for int16 weights")
    if w.dtype in ("int4", "int2") and w.zero_point is not None and w.zero_point.any():
        raise RuntimeRefuses(f"{call.name}: {w.dtype} weights need zero point 0")
    if x.dtype == "uint8" and w.per_channel:
        raise RuntimeRefuses(f"{call.name}: uint8 weights have one scale")
    if call.profile.is_xnnpack:
        return None
    if kinds == ("uint8", "uint8", "int16") and not call.has(2):
        raise call.refuse("the kernel reads a bias that is not there; give it one of zeros")
    if x.dtype == "int16":
        if x.z or y.z:
            raise RuntimeRefuses(f"{call.name}: int16 activations need zero point 0")
        _check_wide_bias(call)
    elif call.has(2) and call[2].dtype != "int32":
        raise call.refuse(f"a {call[2].dtype} bias would be read as int32; store it as int32")
    if call.has(2) and not w.per_channel:
        b = call[2]
        given = 0.0 if b.scale is None else float(b.s)
        if not abs(float(x.s) * float(w.s) - given) / float(y.s) <= 0.02:
            raise RuntimeRefuses(f"{call.name}: the bias scale is not input scale * weight scale")
    return None


def check_delegated(call: Call) -> None:
    """What XNNPACK takes and then fails on, so that the interpreter is not even made."""
    x, w = call[0], call[1]
    assert w.scale is not None
    several = w.scale.ndim == 1 and w.scale.size > 1
    zero_points = w.zero_point is not None and bool(w.zero_point.any())
    if w.scale.ndim > 1 and w.dtype != "int4":
        raise RuntimeRefuses(f"{call.name}: XNNPACK fails on blocks of {w.dtype}")
    if x.dtype == "float32":
        if zero_points and (several or call.profile.litert):
            raise RuntimeRefuses(f"{call.name}: XNNPACK fails on weights whose zero point is not 0")
    elif zero_points and several:
        raise RuntimeRefuses(f"{call.name}: XNNPACK fails on weights whose zero point is not 0")
    if w.shape[1] and math.prod(x.shape) % w.shape[1]:
        raise RuntimeRefuses(f"{call.name}: XNNPACK needs whole rows of {w.shape[1]} values")
    if not all(delegate.normal(t) for t in (x, w, call.output) if t.quantized):
        raise RuntimeRefuses(f"{call.name}: XNNPACK fails on a scale that is 0 or subnormal")
    if x.dtype == "float32" or not call.has(2):
        return
    b = call[2]
    if b.per_channel and b.zero_point is not None and b.zero_point.any():
        raise RuntimeRefuses(f"{call.name}: XNNPACK fails on a bias whose zero point is not 0")
    narrow = w.dtype in ("int4", "int2")
    if not call.profile.litert and (b.per_channel != several or (narrow and not several)):
        raise RuntimeRefuses(
            f"{call.name}: XNNPACK of tensorflow 2.21 wants as many scales of the bias as of the "
            "weights, and per-channel ones beside int4 and int2"
        )


def _check_wide_bias(call: Call) -> None:
    kind = call.option("quantized_bias_type")
    if kind not in (0, INT32, INT64) or (
        kind and call.has(2) and call[2].dtype != {INT32: "int32", INT64: "int64"}[kind]
    ):
        raise RuntimeRefuses(f"{call.name}: quantized_bias_type is not the type of the bias")
    if not call.has(2):
        return
    if call[1].dtype == "int16":
        wanted = "int64" if kind == INT64 else "int32"
    elif _by_reference(call):
        wanted = "int32" if kind == INT32 else "int64"
    else:
        wanted = "int32"
    if call[2].dtype != wanted:
        raise call.refuse(f"a {call[2].dtype} bias is read as {wanted}; set quantized_bias_type")


_KINDS = {
    *(("int8", w, "int8") for w in ("int8", "int4", "int2")),
    *(("int16", w, "int16") for w in ("int8", "int4", "int2", "int16")),
    ("uint8", "uint8", "uint8"),
    ("uint8", "uint8", "int16"),
}


def _empty(call: Call) -> tuple[np.ndarray, ...]:
    """Filters without values: the runtime fills the output with zero bytes, bias or not."""
    rows, dtype = call.x(0).shape[:-1], call.output.held
    shape = rows if call.option("keep_num_dims", False) else (math.prod(rows),)
    return (np.zeros((*shape, call[1].shape[0]), dtype),)


def _shaped(call: Call, y: np.ndarray) -> np.ndarray:
    """(rows, units) in the shape of the output: with keep_num_dims, that of the input."""
    return y.reshape(*call[0].shape[:-1], -1) if call.option("keep_num_dims", False) else y
