"""CAST: y = x in another type, as bare numbers: scales mean nothing to it.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/cast.cc.
"""

from __future__ import annotations

import numpy as np

from kernels.call import Call
from kernels.numerics import Row
from kernels.opspec import Operand, OpSpec

SPEC = OpSpec(
    name="CAST",
    inputs=(Operand("input"),),
    outputs=(Operand("output"),),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
)

SOURCE = "kernels/cast.cc"
NUMERICS = (
    Row(
        "int8",
        "the bare integers; scales and zero points unused",
        "as reference",
        source=SOURCE,
        note="To a narrower integer: the low bits.",
    ),
    *(
        Row(form, "as int8", "as int8", source=SOURCE)
        for form in ("uint8", "int16", "uint16", "int32", "uint32", "int64", "bool")
    ),
    Row(
        "float32",
        "toward zero, saturating; NaN becomes the largest integer",
        "as reference",
        source=SOURCE,
        note="tensorflow 2.21 saturates to int32, int4 and int2 only: what does not fit in another "
        "type is undefined there and depends on the position. float16 and bfloat16: half even, "
        "from float32.",
    ),
    Row("float16", "as float32", "as float32", source=SOURCE),
    Row("float64", "as float32", "as float32", source=SOURCE),
    Row("int4", "to float32 only", "as reference", source=SOURCE),
    Row("int2", "as int4", "as int4", source=SOURCE),
)
PACKED = ("int4", "int2", "uint4")  # these meet float32 only
KINDS = (
    "float32", "float16", "bfloat16", "float64", "int8", "uint8", "int16", "uint16", "int32",
    "uint32", "int64", "bool", "complex64",
)  # fmt: skip


def real(call: Call) -> tuple[np.ndarray, ...]:
    """y = x in another type. bfloat16 is held as its bits, uint16."""
    source, target = call[0].dtype, call.output.dtype
    for packed, other in ((source, target), (target, source)):
        if (packed in PACKED and other != "float32") or packed not in PACKED + KINDS:
            raise call.refuse(f"there is no kernel from {source} to {target}")
    x = call.x()
    if source == "bfloat16" and x.dtype == np.uint16:
        x = (x.astype(np.uint32) << 16).view(np.float32)
    return (_to(x.real if x.dtype.kind == "c" and target != "complex64" else x, target),)


reference = fast = real


def _to(x: np.ndarray, target: str) -> np.ndarray:
    with np.errstate(all="ignore"):
        if target == "bool":
            return x != 0
        if target == "bfloat16":
            bits = np.ascontiguousarray(x.astype(np.float32)).view(np.uint32)
            rounded = (bits + (((bits >> 16) & 1) + 0x7FFF)) >> 16
            return np.where(np.isnan(x), 0x7FC0, rounded).astype(np.uint16).reshape(x.shape)
        if target == "float16":
            return x.astype(np.float32).astype(np.float16)  # rounds twice from wider types
        if x.dtype.kind == "f" and (target in PACKED or target.lstrip("u").startswith("int")):
            return _saturated(x, target)
        return x.astype(target)


def _saturated(x: np.ndarray, target: str) -> np.ndarray:
    """Floats to integers, toward zero."""
    if target in PACKED:
        lo, hi = {"int4": (-8, 7), "int2": (-2, 1), "uint4": (0, 15)}[target]
        held = np.dtype(np.uint8 if target == "uint4" else np.int8)
    else:
        held = np.dtype(target)
        lo, hi = int(np.iinfo(held).min), int(np.iinfo(held).max)
    x = x.astype(np.float64)
    high, low = ~(x < hi + 1.0), x <= lo
    found = np.trunc(np.where(high | low, 0, x)).astype(held)
    return np.where(high, np.asarray(hi, held), np.where(low, np.asarray(lo, held), found))
