"""ADD: y = act(a + b), with broadcast.

Constants stand in an activation's place: rules A make them asymmetric, rules B symmetric.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/add.cc.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kernels.call import Call
from kernels.numerics import Row
from kernels.ops import _binary
from kernels.opspec import Operand, OpSpec
from kernels.opversion import Special, bare_int16

if TYPE_CHECKING:
    from kernels.simd.program import Lowering

SPEC = OpSpec(
    name="ADD",
    inputs=(Operand("input1"), Operand("input2")),
    outputs=(Operand("output"),),
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 2, "int16": 1, "uint8": 1},
    legacy_version=2,
    special=(
        Special(5, "int16 without quantization", bare_int16),
        Special(
            3,
            "int16 unless pot_scale_int16",
            lambda use: use.inputs[0] == "int16" and use.option("pot_scale_int16") is False,
        ),
    ),
)

_SOURCE = (
    "reference/add.h; optimized/integer_ops/add.h; optimized/optimized_ops.h; "
    "XNNPACK microparams-init.c"
)
NUMERICS = (
    Row(
        "int8",
        "three times DBL from a left shift of 20 (E45)",
        "in blocks of 16 along each run the shift comes before the product (of 8, and after it, "
        "floored, where one operand stands still); int16 wraps; rest as reference (E45)",
        "two multipliers of 21 bits, ties up (E46)",
        _SOURCE,
        "An output multiplier of 1 or more aborts the runtime.",
    ),
    Row(
        "uint8",
        "three times DBL from a left shift of 20 (E45)",
        "in blocks of 8 along each run the shift comes after the product and floors; int16 wraps; "
        "rest as reference (E45)",
        "two multipliers of 21 bits, ties up (E46)",
        _SOURCE,
    ),
    Row(
        "int16",
        "three times DBL from a left shift of 15 (E45)",
        "without broadcast in blocks of 16 the shift comes before the product (E45)",
        "",
        _SOURCE,
    ),
    Row(
        "int16, power of two",
        "one operand shifted, ties away, saturated (E45)",
        "as reference",
        "",
        _SOURCE,
        "pot_scale_int16, the default of the schema; a broadcast aborts the runtime.",
    ),
    Row("plain", "one sum; integers wrap", "as reference", "float32", _SOURCE),
)


def real(call: Call) -> tuple[np.ndarray, ...]:
    """y = act(a + b) in float32; int32, int64 and int16 wrap."""
    return _binary.plain(call, np.add)


def reference(call: Call) -> tuple[np.ndarray, ...]:
    """Both operands on one scale, summed, rescaled (E45); in XNNPACK, E46."""
    return _compute(call, fast=False)


def fast(call: Call) -> tuple[np.ndarray, ...]:
    """`reference`, jitted."""
    return _compute(call, fast=True)


def lower(call: Call, to: Lowering) -> None:
    """Compiled: 8 bits and float32."""
    from kernels.simd import floats, operands

    if not call.form:
        floats.two(to, "add")
        return
    operands.sum_of(to, sign=1)


def delegated(call: Call) -> bool:
    """Whether XNNPACK takes the call: 8 bits, each input scale 2^-10 to 256 times the output's."""
    return _binary.delegated(call)


def _compute(call: Call, fast: bool) -> tuple[np.ndarray, ...]:
    _binary.check(call, _binary.WIDE)
    if call.profile.is_xnnpack:
        shared = _binary.xnnpack_parameters(call, sign=1)
        return (_binary.xnnpack_fast if fast else _binary.xnnpack_reference)(call, shared)
    shifts = _binary.shifted_parameters(call, sign=1)
    if shifts is not None:
        return (_binary.shifted_fast if fast else _binary.shifted_reference)(call, shifts)
    factors = _binary.sum_parameters(call, sign=1)
    return (_binary.sum_fast if fast else _binary.sum_reference)(call, factors)
