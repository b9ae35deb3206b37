"""MEAN: y = mean of x over the axes.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/reduce.cc.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kernels import bounds, trace
from kernels import fixedpoint as fp
from kernels.call import Call
from kernels.numerics import Row
from kernels.ops import _reduce
from kernels.opspec import Operand, OpSpec, Role

if TYPE_CHECKING:
    from kernels.simd.program import Lowering

SPEC = OpSpec(
    name="MEAN",
    inputs=(Operand("input"), Operand("axis", Role.INDEX)),
    outputs=(Operand("output"),),
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 2, "int16": 3, "uint8": 1},
    legacy_version=2,
)

SOURCE = (
    "reduce.cc; reference/reduce.h QuantizedMeanOrSum; optimized/integer_ops/mean.h; "
    "XNNPACK operators/reduce-nd.c, reference/unary-elementwise.cc"
)
NUMERICS = (
    *(
        Row(
            form,
            "DBL (E25) with 1/n in the multiplier (E60)",
            "as reference; rank 4, keep_dims, axes {1, 2}: MIX16 along the channels (E61)",
            "float32 (E62); half away in tensorflow 2.21, half even in ai-edge-litert 2.3",
            SOURCE,
            "The optimized rule for axes {1, 2} splits the channels by thread, so its groups of 16 "
            "and with them ties of negative sums depend on num_threads; one thread is meant here. "
            "tensorflow 2.21 has it only where the axes are listed as (1, 2) or (2, 1). XNNPACK "
            "takes 1 to 6 constant axes and ranks 1 to 6; that of tensorflow 2.21 stops when an "
            "axis is listed twice.",
        )
        for form in ("int8", "uint8")
    ),
    Row("int16", "DBL (E25) with 1/n in the multiplier (E60)", "as reference", source=SOURCE),
)

LANES = 16


def real(call: Call) -> tuple[np.ndarray, ...]:
    """Mean along the axes. Floats: sums in float64, in order, rounded once; integers: toward
    zero."""
    x, along = call.x(0), _reduce.axes(call)
    if x.dtype == np.float32:
        folded = _reduce.fold(x, along)
        with np.errstate(invalid="ignore", over="ignore"):
            mean = (_reduce.ordered_sums(folded) / np.float64(folded.shape[1])).astype(np.float32)
    elif x.dtype in (np.int32, np.int64):
        total = x.sum(axis=along, dtype=np.int64)
        count = max(x.size // max(total.size, 1), 1)
        mean = (np.sign(total) * (np.abs(total) // count)).astype(x.dtype)
    else:
        raise call.refuse(f"MEAN of {x.dtype} without scales; quantize it")
    return (np.reshape(mean, _reduce.shape(call)),)


def bound(call: Call) -> np.ndarray:
    """Sums in another order (E75)."""
    return bounds.of_sums(call, _reduce.fold(call.x(0), _reduce.axes(call)).shape[1])


def reference(call: Call) -> tuple[np.ndarray, ...]:
    """acc = sum x along the axes, then the path's own way to divide (E60-E62)."""
    x = _reduce.folded(call)
    return (_finish(call, _reduce.sums(x), x.shape[1]),)


def fast(call: Call) -> tuple[np.ndarray, ...]:
    """`reference` with jitted sums."""
    x = _reduce.folded(call)
    return (_finish(call, _reduce.fast_sums(x), x.shape[1]),)


def lower(call: Call, to: Lowering) -> None:
    """Compiled: 8 bits and float32."""
    from kernels.simd import floats, windows

    if not call.form:
        floats.mean(to)
        return
    windows.mean_of(to)


delegated = _reduce.delegated


def _finish(call: Call, total: np.ndarray, count: int) -> np.ndarray:
    """Sums (outer, inner) of `count` elements each -> the output."""
    x, y = call[0], call.output
    _reduce.prepared(call)
    if call.profile.is_xnnpack:
        return _reduce.xnnpack(call, total, np.float32(1) / np.float32(count), count)
    if not call.profile.is_reference and _over_height_and_width(call):
        bias, factor = over_image(call, count)
        trace.note("factor", factor, "E61")
        steps = fp.multiply_mixed(total, *fp.quantize_multiplier(factor), LANES) + bias
    else:
        trace.note("factor", float(x.s) / float(y.s) / count, "E60")
        steps = y.z + fp.multiply_double(fp.wrap32(total - x.z * count), *by_count(call, count))
    return _reduce.finished(call, steps)


def over_image(call: Call, count: int) -> tuple[int, float]:
    """What is added at the end, with the zero point of x in it, and the factor (E61)."""
    x, y = call[0], call.output
    product = np.float32(np.float32(np.float32(x.z) * x.s) / y.s)
    bias = y.z - int(np.float32(product + np.float32(0.5 if product > 0 else -0.5)))
    return bias, float(x.s / np.float32(np.float32(count) * y.s))


def by_count(call: Call, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Multiplier and shift of s_x / (s_y count) (E60)."""
    multiplier, shift = fp.quantize_multiplier(float(call[0].s) / float(call.output.s))
    left = min(count.bit_length() - 1, 32, 31 + int(shift))
    return (multiplier << left) // count, shift - left


def _over_height_and_width(call: Call) -> bool:
    """Whether the optimized path has a kernel of its own: 8 bit, rank 4, axes {1, 2} kept."""
    listed = call.x(1).ravel().tolist()
    return (
        call[0].dtype != "int16"
        and len(call[0].shape) == 4
        and bool(call.option("keep_dims", False))
        and _reduce.axes(call) == (1, 2)
        and (call.profile.litert or sorted(listed) == [1, 2])
    )
