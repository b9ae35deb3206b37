"""MUL: y = act(a * b), with broadcast.

Constants stand in an activation's place: rules A make them asymmetric, rules B symmetric.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/mul.cc.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kernels.call import Call
from kernels.numerics import Row
from kernels.ops import _binary
from kernels.opspec import Operand, OpSpec
from kernels.opversion import Special, Use, bare_int16

if TYPE_CHECKING:
    from kernels.simd.program import Lowering


def _grows(use: Use) -> bool:
    """The product of the input scales is at least the output scale."""
    if use.inputs[:1] == ("int16",) or len(use.scales) < 3 or not all(use.scales):
        return False
    s1, s2, s_out = (float(s) for s in use.scales[:3] if s is not None)
    return s1 * s2 / s_out >= 1.0


SPEC = OpSpec(
    name="MUL",
    inputs=(Operand("input1"), Operand("input2")),
    outputs=(Operand("output"),),
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 2, "int16": 4, "uint8": 1},
    legacy_version=2,
    special=(
        Special(7, "int16 without quantization", bare_int16),
        Special(3, "s1 * s2 / s_out >= 1, 8 bit", _grows),
    ),
)

_SOURCE = (
    "reference/integer_ops/mul.h; optimized/integer_ops/mul.h; optimized/optimized_ops.h; "
    "XNNPACK microparams-init.c"
)
NUMERICS = (
    Row(
        "int8",
        "DBL, factor in float32 (E47)",
        "in blocks of 16 along each run saturated to int16, the zero point added with wrap; rest "
        "as reference (E47)",
        "XF (E28)",
        _SOURCE,
    ),
    Row(
        "uint8",
        "DBL, factor in float32 (E47)",
        "in blocks of 8 along each run saturated to int16 (wrapped where one operand stands "
        "still), the zero point added with wrap; rest as reference (E47)",
        "XF (E28)",
        _SOURCE,
    ),
    Row("int16", "DBL, factor in float32 (E47)", "as reference", "", _SOURCE),
    Row("plain", "one product; integers wrap", "as reference", "float32", _SOURCE),
)


def real(call: Call) -> tuple[np.ndarray, ...]:
    """y = act(a * b) in float32; int32, int64 and int16 wrap."""
    return _binary.plain(call, np.multiply)


def reference(call: Call) -> tuple[np.ndarray, ...]:
    """(a - z_a)(b - z_b) scaled once (E47; in XNNPACK, E28)."""
    _binary.check(call, _binary.WIDE)
    return _binary.product_reference(call, _binary.product_parameters(call))


def fast(call: Call) -> tuple[np.ndarray, ...]:
    """`reference`, jitted."""
    _binary.check(call, _binary.WIDE)
    return _binary.product_fast(call, _binary.product_parameters(call))


def lower(call: Call, to: Lowering) -> None:
    """Compiled: 8 bits and float32."""
    from kernels.simd import floats, operands

    if not call.form:
        floats.two(to, "mul")
        return
    operands.product_of(to)


def delegated(call: Call) -> bool:
    """Whether XNNPACK takes the call: 8 bits, the scale ratio 2^-16 to 256."""
    return _binary.delegated(call, product=True)
