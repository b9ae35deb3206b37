"""BATCH_MATMUL: y = x @ y' over the last two axes, either side transposed where adj_x, adj_y say
so.

A constant side stands in an activation's place: rules A make it asymmetric, rules B symmetric.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/batch_matmul.cc.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from kernels import bounds, delegate, hybrid
from kernels.call import Call
from kernels.errors import RuntimeRefuses
from kernels.exact import matmul
from kernels.fixedpoint import wrap32
from kernels.jit import jit
from kernels.numerics import Row
from kernels.ops._products import centred, dot32, integer_loops
from kernels.opspec import DynamicRange, Operand, OpSpec
from kernels.opversion import Special, hybrid_asymmetric
from kernels.stage import Rule, Stage
from kernels.trace import note

if TYPE_CHECKING:
    from kernels.simd.program import Lowering

SPEC = OpSpec(
    name="BATCH_MATMUL",
    inputs=(Operand("x"), Operand("y")),
    outputs=(Operand("output"),),
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16"}),
    versions={"float32": 1, "int8": 2, "int16": 3, "uint8": 1},
    legacy_version=2,
    special=(Special(4, "hybrid with asymmetric_quantize_inputs", hybrid_asymmetric),),
    dynamic=DynamicRange(
        operand=1,
        hybrid=True,
        per_channel=False,
        asymmetric_inputs=True,
        version=4,
    ),
)

_SOURCE = "reference/batch_matmul.h; XNNPACK operators/batch-matrix-multiply-nc.c"

NUMERICS = (
    Row(
        "int8",
        "DBL (E25), scale product in float32",
        "as reference",
        "XF (E28)",
        _SOURCE,
        "XNNPACK of tensorflow 2.21 ignores the zero point of the right side; that of litert "
        "leaves such a call to the other kernel. tensorflow 2.21 leaves a part of the output "
        "unwritten when adj_x is set and only the left side has several matrices in its last "
        "batch axis.",
    ),
    Row("int8 to int32", "plain sums, zero points ignored", "as reference", "", _SOURCE),
    Row("int16", "M64 (E26), scale product in float32", "as reference", "", _SOURCE),
    Row("int16 x int8", "M64 (E26)", "as reference", "", _SOURCE, "not in tensorflow 2.21"),
    Row(
        "hybrid",
        "rows by E31, E38",
        "rows by E31, E38",
        "rows qd8 (E31), E35 without bias",
        _SOURCE,
        "Beside several batch axes, scale and zero point are those of another matrix (E38). "
        "tensorflow 2.21 has no reference kernel for asymmetric inputs.",
    ),
)


def real(call: Call) -> tuple[np.ndarray, ...]:
    """y = x @ w, either side transposed. Sums in float64, rounded once to float32."""
    x, w = _rows(call, call[0].real()), _units(call, call[1].real())
    y = np.matmul(x.astype(np.float64), w.astype(np.float64).swapaxes(-1, -2))
    return (y.astype(np.float32),)


def bound(call: Call) -> np.ndarray:
    """Sums in another order (E75)."""
    return bounds.of_sums(call, _rows(call, call.x(0)).shape[-1])


def reference(call: Call) -> tuple[np.ndarray, ...]:
    """acc = sum (x - z_x)(w - z_w), then the output stage of the path (E12, E25-E28)."""
    _check(call)
    if call[0].dtype == "float32":
        return (_hybrid(call, fast=False),)
    x, w = _rows(call, call.x(0)), _units(call, call.x(1))
    x_zero, w_zero = _zero_points(call)
    acc = matmul(x.astype(np.int64) - x_zero, (w.astype(np.int64) - w_zero).swapaxes(-1, -2))
    if call[0].dtype == "int8":
        acc = wrap32(acc)
    if call.output.dtype == "int32":
        note("accumulator", acc, "E12")
        return (acc.astype(np.int32),)
    return (stage(call)(acc),)


def fast(call: Call) -> tuple[np.ndarray, ...]:
    """`reference`, jitted."""
    _check(call)
    if call[0].dtype == "float32":
        return (_hybrid(call, fast=True),)
    x, w = _rows(call, call.x(0)), _units(call, call.x(1))
    shape = (*np.broadcast_shapes(x.shape[:-2], w.shape[:-2]), x.shape[-2], w.shape[-2])
    at_x, at_w = _batches(x, shape), _batches(w, shape)
    w = np.ascontiguousarray(w).reshape(-1, *w.shape[-2:])
    x_zero, w_zero = _zero_points(call)
    x = np.ascontiguousarray(centred(x, x_zero)).reshape(-1, *x.shape[-2:])
    bias, wide = np.zeros(shape[-1], np.int64), call[0].dtype == "int16"
    out = np.empty((len(at_x), *shape[-2:]), call.output.held)
    if call.output.dtype == "int32":
        _sum_loops(x, w, at_x, at_w, out)
    else:
        p = stage(call).parameters(shape[-1])
        _integer_loops(x, w, w_zero, bias, wide, p, at_x, at_w, out)
    return (out.reshape(shape),)


def stage(call: Call) -> Stage:
    x, w, y = call[0], call[1], call.output
    if call.profile.is_xnnpack:
        factor = float(np.float32(x.s * w.s) / y.s)
        if factor >= 256:
            raise RuntimeRefuses(f"{call.name}: XNNPACK takes no requantization factor >= 256")
        rule = Rule.XF
    else:
        factor = float(x.s * w.s) / float(y.s)
        rule = Rule.M64 if x.dtype == "int16" else Rule.DBL
    return Stage.of(rule, factor, y.z, (y.range.qmin, y.range.qmax), y.range)


def lower(call: Call, to: Lowering) -> None:
    """Compiled: int8 to int8."""
    from kernels.simd import matrices

    matrices.product(to)


def delegated(call: Call) -> bool:
    """Whether XNNPACK takes the call."""
    x, w, y = call[0], call[1], call.output
    if w.dtype != "int8" or not w.quantized or x.dtype != y.dtype:
        return False
    assert w.scale is not None
    units = len(w.shape) - (2 if call.option("adj_y", False) else 1)
    if w.per_channel and w.axis != units:
        return False
    if x.dtype == "float32":
        return True
    if x.dtype != "int8" or not delegate.per_tensor(x, y):
        return False
    return not w.per_channel and (w.z == 0 or not call.profile.litert)


def _rows(call: Call, x: np.ndarray) -> np.ndarray:
    """The left side as (..., rows, depth)."""
    return x.swapaxes(-1, -2) if call.option("adj_x", False) else x


def _units(call: Call, w: np.ndarray) -> np.ndarray:
    """The right side as (..., units, depth)."""
    return w if call.option("adj_y", False) else w.swapaxes(-1, -2)


def _batches(a: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Which matrix of `a` each matrix of the output needs."""
    own = np.arange(math.prod(a.shape[:-2])).reshape(a.shape[:-2])
    return np.ascontiguousarray(np.broadcast_to(own, shape[:-2])).reshape(-1)


def _zero_points(call: Call) -> tuple[int, int]:
    """int32 outputs ignore them; XNNPACK of tensorflow 2.21 that of the right side."""
    if call.output.dtype == "int32":
        return 0, 0
    return call[0].z, 0 if call.profile.is_xnnpack else call[1].z


def _hybrid(call: Call, fast: bool) -> np.ndarray:
    """Rows quantized on the fly against integer matrices (E31, E35, E38)."""
    x, w = _rows(call, call.x(0)), _units(call, call.x(1))
    shape = (*np.broadcast_shapes(x.shape[:-2], w.shape[:-2]), x.shape[-2], w.shape[-2])
    xnnpack = call.profile.is_xnnpack
    if not xnnpack and x.ndim > 2 and w.ndim > 2 and w.shape[-3] == 1:
        if not call.option("adj_x", False):  # the runtime takes them as one taller matrix
            x = x.reshape(*x.shape[:-3], -1, x.shape[-1])
        w = w.reshape(*w.shape[:-3], *w.shape[-2:])
        if call.option("adj_x", False):
            x = x.reshape(*x.shape[:-3], *x.shape[-2:])
    at_x, at_w, at_scale, at_sum = _matrices(x.shape[:-2], w.shape[:-2])
    if xnnpack:
        at_scale, at_sum = at_x, at_w
    rows, w = x.shape[-2], np.ascontiguousarray(w).reshape(-1, *w.shape[-2:])
    flat = np.ascontiguousarray(x).reshape(-1, x.shape[-1])
    rule = _quantizer(call)
    q, s, z = hybrid.quantize(rule, flat) if fast else hybrid.RULES[rule](flat)
    q, s, z = q.reshape(-1, rows, q.shape[1]), s.reshape(-1, rows), z.reshape(-1, rows)
    sw = np.ascontiguousarray(np.broadcast_to(np.asarray(call[1].scale), (w.shape[-2],)))
    sums = w.sum(-1, dtype=np.int64) if xnnpack else hybrid.row_sums(w.reshape(-1, w.shape[-1]))
    sums = sums.reshape(w.shape[:-1])
    if fast:
        y = np.empty((len(at_x), rows, w.shape[-2]), np.float32)
        _hybrid_loops(xnnpack, q, s, z, w, sums, sw, at_x, at_w, at_scale, at_sum, y)
        return y.reshape(shape)
    dots = matmul(q[at_x], w[at_w].swapaxes(-1, -2))
    s, z, sums = s[at_scale][:, :, None], z[at_scale][:, :, None], sums[at_sum][:, None]
    note("row scale", s, "E31")
    if xnnpack:
        acc = wrap32(dots - z * sums).astype(np.float32)
        return (acc * s * sw).reshape(shape)
    acc = np.trunc(wrap32(dots).astype(np.float32) - sums.astype(np.float32) * z.astype(np.float32))
    note("accumulator", acc, "E38")
    return (s * sw * acc).reshape(shape)


def _matrices(x: tuple[int, ...], w: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """For each matrix of the output: that of x, that of w, and the ones whose row scales and whose
    weight sums the runtime takes: all batch indices added up, instead of strides (E38)."""
    x, w = (1,) * (3 - len(x)) + x, (1,) * (3 - len(w)) + w
    batch = np.broadcast_shapes(x, w)
    index = np.indices(batch).reshape(3, -1)
    found = []
    for own in (x, w):
        first, second, third = (i * (n != 1) for i, n in zip(index, own, strict=True))
        found.append(((first * own[1] + second) * own[2] + third, first + second + third))
    return found[0][0], found[1][0], found[0][1], found[1][1]


def _quantizer(call: Call) -> int:
    if call.profile.is_xnnpack:
        return hybrid.QD8
    asymmetric = call.option("asymmetric_quantize_inputs", False)
    return hybrid.ASYMMETRIC if asymmetric else hybrid.SYMMETRIC


def _check(call: Call) -> None:
    x, w, y = call[0], call[1], call.output
    kinds = (x.dtype, w.dtype, y.dtype)
    if kinds not in _KINDS:
        raise call.refuse(f"no kernel for {' x '.join(kinds[:2])} -> {y.dtype}")
    if not (2 <= x.x.ndim <= 5 and 2 <= w.x.ndim <= 5):
        raise RuntimeRefuses(f"{call.name}: ranks 2 to 5, not {x.x.ndim} and {w.x.ndim}")
    hybrid_call, litert = x.dtype == "float32", call.profile.litert
    if call.profile.is_xnnpack:
        if hybrid_call and not w.constant:
            if not litert:
                raise RuntimeRefuses(f"{call.name}: XNNPACK fails on a computed int8 right side")
            raise call.refuse("XNNPACK reads no values of a computed int8 right side")
        if hybrid_call and litert and w.z:
            raise RuntimeRefuses(f"{call.name}: XNNPACK fails on a right side with a zero point")
        return
    batch_x, batch_w = x.shape[:-2], w.shape[:-2]
    if x.dtype == "int16" and (x.z or w.z or y.z):
        raise RuntimeRefuses(f"{call.name}: int16 needs zero point 0")
    if kinds[:2] == ("int16", "int8") and not litert:
        raise RuntimeRefuses(f"{call.name}: tensorflow 2.21 takes int16 beside int16 only")
    if hybrid_call and call.profile.is_reference and not litert and _quantizer(call) == 0:
        raise RuntimeRefuses(
            f"{call.name}: the reference kernels of tensorflow 2.21 end at version 3"
        )
    if not hybrid_call and (x.per_channel or w.per_channel):
        raise call.refuse("integer kernels know one scale a side; quantize per tensor")
    adj_x = call.option("adj_x", False)
    if not litert and adj_x and batch_x and batch_w and batch_w[-1] == 1 < batch_x[-1]:
        raise call.undefined("tensorflow 2.21 leaves a part of this output unwritten; avoid adj_x")
    if hybrid_call and w.per_channel and w.axis != w.x.ndim - (2 if _adj_y(call) else 1):
        raise call.refuse("scales of the right side must be along its units")
    if hybrid_call and _quantizer(call) == hybrid.ASYMMETRIC and _unknown_sums(call):
        raise call.undefined("the kernel reads weight sums that nobody wrote; use 4 dimensions")


def _adj_y(call: Call) -> bool:
    return bool(call.option("adj_y", False))


def _unknown_sums(call: Call) -> bool:
    """Whether the runtime reads past the weight sums it made, which leave out the first of five
    dimensions (E38)."""
    batch_x, own = call[0].shape[:-2], call[1].shape[:-2]
    if batch_x and own and own[-1] == 1:
        own = own[:-1]
    own = (1,) * (3 - len(own)) + own
    return sum(n - 1 for n in own) >= own[1] * own[2]


_KINDS = {
    ("int8", "int8", "int8"),
    ("int8", "int8", "int32"),
    ("int16", "int16", "int16"),
    ("int16", "int8", "int16"),
    ("float32", "int8", "float32"),
}


@jit
def _integer_loops(x, w, w_zero, bias, wide, p, at_x, at_w, out):
    for i in range(at_x.size):
        integer_loops(x[at_x[i]], w[at_w[i]], w_zero, bias, wide, p, out[i])


@jit
def _sum_loops(x, w, at_x, at_w, out):
    for i in range(at_x.size):
        a, b = x[at_x[i]], w[at_w[i]]
        for row in range(a.shape[0]):
            for unit in range(b.shape[0]):
                out[i, row, unit] = dot32(a[row], b[unit])


@jit
def _hybrid_loops(xnnpack, q, s, z, w, sums, sw, at_x, at_w, at_scale, at_sum, out):
    for i in range(at_x.size):
        a, b, m, n = q[at_x[i]], w[at_w[i]], at_scale[i], at_sum[i]
        for row in range(a.shape[0]):
            for unit in range(b.shape[0]):
                dot = dot32(a[row], b[unit])
                if xnnpack:
                    acc = np.float32(np.int32(dot - z[m, row] * sums[n, unit]))
                    out[i, row, unit] = np.float32(np.float32(acc * s[m, row]) * sw[unit])
                else:
                    offset = np.float32(np.float32(sums[n, unit]) * np.float32(z[m, row]))
                    acc = np.float32(np.int64(np.float32(np.float32(dot) - offset)))
                    out[i, row, unit] = np.float32(np.float32(s[m, row] * sw[unit]) * acc)
