"""GELU: y = x * Phi(x), Phi by erf or, where approximate says so, by tanh.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/activations.cc.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from kernels import bounds, libm
from kernels.call import Call
from kernels.jit import jit
from kernels.numerics import Row
from kernels.ops import _unary as unary
from kernels.opspec import Operand, OpSpec

if TYPE_CHECKING:
    from kernels.simd.program import Lowering

SPEC = OpSpec(
    name="GELU",
    inputs=(Operand("input"),),
    outputs=(Operand("output"),),
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 2, "int16": 1, "uint8": 2},
    legacy_version=2,
)

NUMERICS = (
    Row(
        "int8",
        "table (E50), float32 left to right: 0.5 x erfcf(-x sqrt(1/2)), or by tanhf",
        "as reference",
        source="kernels/internal/reference/gelu.h; internal/common.h",
    ),
    Row("uint8", "as int8", "as int8", source="kernels/internal/reference/gelu.h"),
    Row(
        "int16",
        "513 interpolated nodes (E51) of the same",
        "as reference",
        source="kernels/internal/reference/gelu.h; internal/common.h",
        note="Zero points other than 0 are taken.",
    ),
)
SQRT_HALF = np.float32(math.sqrt(0.5))
SQRT_2_PI = np.float32(2 / math.sqrt(math.pi) * math.sqrt(0.5))


def real(call: Call) -> tuple[np.ndarray, ...]:
    """y = x Phi(x), or its approximation by tanh, float32; within 1e-6 |x| + 1e-7."""
    x = call.x()
    unary.floats(call)
    if call.option("approximate", False):
        return (_approximate(x, np.tanh),)
    out = np.empty(x.shape, np.float32)
    _loop(np.ascontiguousarray(x).ravel(), out.reshape(-1))
    return (out,)


def bound(call: Call) -> np.ndarray:
    """2 ulp of x measured (C library, XNNPACK): the error of erf or tanh, times x (E76)."""
    return bounds.of_function(call.x(), 4)


def reference(call: Call) -> tuple[np.ndarray, ...]:
    """The table of the form that `approximate` names (E50, E51)."""
    return (unary.look_up(call, _table(call)),)


def fast(call: Call) -> tuple[np.ndarray, ...]:
    """`reference`, jitted."""
    return (unary.gather(call, _table(call)),)


def lower(call: Call, to: Lowering) -> None:
    """Compiled on 8 bits: a table of all codes."""
    from kernels.simd import operands

    operands.table_of(to, reference)


def _table(call: Call) -> np.ndarray:
    unary.check(call, unary.ALL, centred=False)
    return unary.table(call, _approximate if call.option("approximate", False) else _exact)


def _exact(x: np.ndarray) -> np.ndarray:
    return np.float32(0.5) * x * libm.erfc(x * -SQRT_HALF)


def _approximate(x: np.ndarray, tanh: Callable[[np.ndarray], np.ndarray] = libm.tanh) -> np.ndarray:
    inner = SQRT_2_PI * (x + np.float32(0.044715) * x * x * x)
    return np.float32(0.5) * x * (np.float32(1) + tanh(inner))


@jit
def _loop(x, out):
    for i in range(x.size):
        out[i] = np.float32(0.5) * x[i] * np.float32(math.erfc(x[i] * -SQRT_HALF))
