"""FAKE_QUANT: y = dequantize(quantize(x)) for the range and bits of the options, all in float.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/fake_quant.cc.
"""

from __future__ import annotations

import numpy as np

from kernels.call import Call
from kernels.errors import RuntimeRefuses
from kernels.numerics import Row
from kernels.opspec import Operand, OpSpec
from kernels.opversion import Special, option
from kernels.rounding import half_away
from kernels.trace import note

SPEC = OpSpec(
    name="FAKE_QUANT",
    inputs=(Operand("input"),),
    outputs=(Operand("output"),),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
    special=(Special(2, "narrow_range", option("narrow_range")),),
)

NUMERICS = (
    Row(
        "float32",
        "half_away(f32((x - lo) * f32(1 / s))) * s + lo in float32 (E57)",
        "the same",
        "",
        "kernels/fake_quant.cc; kernels/internal/quantization_util.cc (FakeQuantizeArray)",
        "narrow_range is refused by the runtime",
    ),
)


def real(call: Call) -> tuple[np.ndarray, ...]:
    """x clipped to the nudged range and rounded to its 2^bits points, in float32 (E57)."""
    if call.option("narrow_range", False):
        raise RuntimeRefuses("FAKE_QUANT: narrow_range; the runtime stops in prepare")
    lo, hi, scale = nudged(call.option("min"), call.option("max"), call.option("num_bits"))
    note("nudged range", np.array([lo, hi]), "E57")
    x = np.asarray(call.x(0), np.float32)
    with np.errstate(all="ignore"):
        # As C++ max and min compare: a NaN becomes lo.
        clipped = np.where(lo < x, x, lo)
        clipped = np.where(clipped < hi, clipped, hi)
        steps = half_away((clipped - lo) * (np.float32(1) / scale))
        return (steps * scale + lo,)


def nudged(lo: float, hi: float, bits: int) -> tuple[np.float32, np.float32, np.float32]:
    """Ends and step of the range moved so that 0 is one of its points, all float32 (E57)."""
    low, high, qmax = np.float32(lo), np.float32(hi), np.float32(2**bits - 1)
    with np.errstate(all="ignore"):
        scale = (high - low) / qmax
        anchored = -low / scale
        zero_point = np.float32(min(max(float(half_away(anchored)), 0.0), float(qmax)))
        return -zero_point * scale, (qmax - zero_point) * scale, scale


reference = fast = real
