"""SUM: y = sum of x over the axes.

Rules B of tensorflow 2.21 tie input and output; the mirror of the sources frees them for 8 bit.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/reduce.cc.
"""

from __future__ import annotations

import numpy as np

from kernels import bounds, trace
from kernels import fixedpoint as fp
from kernels.call import Call
from kernels.numerics import Row
from kernels.ops import _reduce
from kernels.opspec import Operand, OpSpec, Role, Tie

SPEC = OpSpec(
    name="SUM",
    inputs=(Operand("input"), Operand("axis", Role.INDEX)),
    outputs=(Operand("output"),),
    legacy_tie=Tie.SAME,
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 2, "int16": 1, "uint8": 1},
    legacy_version=2,
)

SOURCE = (
    "reduce.cc; reference/reduce.h, optimized/reduce.h QuantizedMeanOrSum; "
    "XNNPACK operators/reduce-nd.c, reference/unary-elementwise.cc"
)
FLOAT = "float32, half away, then the zero point (E62)"
XNNPACK = "float32 (E62); half away in tensorflow 2.21, half even in ai-edge-litert 2.3"
NUMERICS = (
    Row(
        "int8",
        "DBL (E25, E60) on bytes: input and output are read and written as uint8",
        FLOAT,
        XNNPACK,
        SOURCE,
        "A defect of the reference kernel: negative values count as 256 more, and the output is "
        "clipped to 0..255 and then taken as int8.",
    ),
    Row("uint8", "DBL (E25, E60)", FLOAT, XNNPACK, SOURCE),
    Row(
        "int16",
        "-",
        FLOAT,
        source=SOURCE,
        note="The reference kernel takes int16 tensors for bytes and leaves the second half of the "
        "output as it was: not a defined result.",
    ),
)


def real(call: Call) -> tuple[np.ndarray, ...]:
    """Sum along the axes. Floats: in float64, rounded once; integers wrap."""
    x, along = call.x(0), _reduce.axes(call)
    if x.dtype == np.float32:
        total = x.sum(axis=along, dtype=np.float64).astype(np.float32)
    elif x.dtype in (np.int32, np.int64):
        total = x.sum(axis=along, dtype=x.dtype)
    else:
        raise call.refuse(f"SUM of {x.dtype} without scales; quantize it")
    return (np.reshape(total, _reduce.shape(call)),)


def bound(call: Call) -> np.ndarray:
    """Sums in another order (E75)."""
    return bounds.of_sums(call, _reduce.fold(call.x(0), _reduce.axes(call)).shape[1])


def reference(call: Call) -> tuple[np.ndarray, ...]:
    """acc = sum x along the axes; (acc - n z_x) s_x / s_y + z_y by the path's rule (E60, E62)."""
    x = _folded(call)
    return (_finish(call, _reduce.sums(x), x.shape[1]),)


def fast(call: Call) -> tuple[np.ndarray, ...]:
    """`reference` with jitted sums."""
    x = _folded(call)
    return (_finish(call, _reduce.fast_sums(x), x.shape[1]),)


delegated = _reduce.delegated


def _folded(call: Call) -> np.ndarray:
    """The input, folded; on the reference path the bytes for which that kernel takes it."""
    _reduce.prepared(call)
    x = _reduce.folded(call)
    if not call.profile.is_reference:
        return x
    if call[0].dtype == "int16":
        raise call.undefined(
            "the official kernel leaves half of the output unset; use another path"
        )
    return x.view(np.uint8)


def _finish(call: Call, total: np.ndarray, count: int) -> np.ndarray:
    """Sums (outer, inner) of `count` elements each -> the output."""
    x, y = call[0], call.output
    if call.profile.is_xnnpack:
        return _reduce.xnnpack(call, total, np.float32(1), count)
    if call.profile.is_reference:
        factor = float(x.s) / float(y.s)
        trace.note("factor", factor, "E60")
        acc = fp.wrap32(total - x.z * count)
        steps = fp.multiply_double(acc, *fp.quantize_multiplier(factor)) + y.z
        out = np.clip(steps, 0, 255).astype(np.uint8).view(y.held)
        return out.reshape(_reduce.shape(call))
    scale = np.float32(x.s / y.s)
    bias = np.float32(np.float32(np.float32(-x.z) * scale) * np.float32(count))
    return _reduce.finished(call, _reduce.affine_float(total, scale, bias, y.z, call))
