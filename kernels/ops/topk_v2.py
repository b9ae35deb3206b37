"""TOPK_V2: values and indices of the k largest x of the last axis, lower index first.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/topk_v2.cc.
"""

from __future__ import annotations

import numpy as np

from kernels.call import Call
from kernels.errors import RuntimeRefuses
from kernels.numerics import Row
from kernels.opspec import Operand, OpSpec, Role, Tie
from kernels.opversion import Special

SPEC = OpSpec(
    name="TOPK_V2",
    inputs=(Operand("input"), Operand("k", Role.INDEX)),
    outputs=(Operand("values"), Operand("indices", Role.INDEX)),
    tie=Tie.SAME,
    mlir=True,
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 2, "int16": 3, "uint8": 1},
    special=(
        Special(
            3,
            "int16 k or indices",
            lambda use: "int16" in (*use.inputs[:2], *use.outputs[1:2]),
        ),
    ),
)

NUMERICS = tuple(
    Row(
        form,
        "integer, lower index first",
        "integer, lower index first",
        source="topk_v2.cc",
        note="k is int32 or int16, the indices likewise.",
    )
    for form in ("int8", "uint8", "int16")
)


def real(call: Call) -> tuple[np.ndarray, ...]:
    """The k largest of each row, descending, and where they stand; NaN after every number.

    Integers as they are: a scale is positive and changes no order, and the values keep it.
    """
    x, k = call.x(0), max(int(call.x(1).ravel()[0]), 0)
    if x.ndim == 0 or k > x.shape[-1]:
        raise RuntimeRefuses(f"TOPK_V2: k is {k}, the rows are shorter")
    if k == 0 and not call.profile.litert:
        raise RuntimeRefuses("TOPK_V2: tensorflow 2.21 corrupts its memory where k is 0")
    order = -x if x.dtype.kind == "f" else ~x  # ~ turns the order around without overflow
    places = np.argsort(order, axis=-1, kind="stable")[..., :k]
    indices = call.outputs[1].dtype if len(call.outputs) > 1 else "int32"
    return np.take_along_axis(x, places, axis=-1), places.astype(indices)


reference = fast = real
