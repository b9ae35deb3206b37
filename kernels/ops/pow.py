"""POW: y = a ^ b, with broadcast; float and int32 only.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/pow.cc.
"""

from __future__ import annotations

import numpy as np

from kernels import bounds
from kernels.call import Call
from kernels.errors import RuntimeRefuses
from kernels.ops import _binary
from kernels.opspec import Operand, OpSpec

SPEC = OpSpec(
    name="POW",
    inputs=(Operand("input1"), Operand("input2")),
    outputs=(Operand("output"),),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
)

NUMERICS = _binary.rows("plain numbers only", "kernels/pow.cc", ("plain",))


def real(call: Call) -> tuple[np.ndarray, ...]:
    """y = a ^ b, float32 or int32.

    One whole exponent >= 1 for all: products of a, which wrap. Otherwise int32 powers are float64
    made integers again, and those that do not fit become -2^31. Raises RuntimeRefuses for negative
    integer exponents.
    """
    a, b = call.x(0), call.x(1)
    out = _binary.shape(call)
    whole = a.dtype.kind == "i"
    if whole and (b < 0).any():
        raise RuntimeRefuses("POW: a negative exponent of int32; the runtime stops")
    with np.errstate(all="ignore"):
        if b.size == 1 and a.shape != b.shape and a.shape == out:
            exponent = float(b.reshape(-1)[0])
            near = int(np.round(exponent)) if np.isfinite(exponent) else 0
            if abs(exponent - near) < 1e-5 and near >= 1:
                return (_product(a, near),)
        if not whole:
            return (np.asarray(np.power(a, b)),)
        found = np.power(a.astype(np.float64), b.astype(np.float64))
        fits = (found > -(2.0**31) - 1) & (found < 2.0**31)
        return (np.where(fits, np.where(fits, found, 0).astype(np.int32), np.int32(-(2**31))),)


def bound(call: Call) -> np.ndarray:
    """1 ulp measured (C library; E76). Whole powers as products are equal."""
    with np.errstate(all="ignore"):
        return np.where(np.isinf(found := real(call)[0]), 0, bounds.of_function(found, 2))


def reference(call: Call) -> tuple[np.ndarray, ...]:
    """There is no integer kernel."""
    raise RuntimeRefuses("POW: the runtime takes float32 and int32 only")


fast = reference


def _product(a: np.ndarray, exponent: int) -> np.ndarray:
    """a ^ exponent by squaring, each product in the type of a."""
    if exponent == 1:
        return a
    half = _product(a, exponent // 2)
    return half * half * a if exponent % 2 else half * half
