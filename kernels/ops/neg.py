"""NEG: y = -x.

The runtime accepts int8 and int16, negates the bare integers and ignores zero points: no integer
kernel in our sense.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/neg.cc.
"""

from __future__ import annotations

import numpy as np

from kernels.call import Call
from kernels.numerics import Row
from kernels.ops import _unary as unary
from kernels.opspec import Operand, OpSpec

SPEC = OpSpec(
    name="NEG",
    inputs=(Operand("input"),),
    outputs=(Operand("output"),),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
)

NUMERICS = (
    Row(
        "int8",
        "-x of the bare integers; scales and zero points unused; -128 stays -128",
        "as reference",
        source="kernels/neg.cc",
    ),
    *(
        Row(form, "as int8", "as int8", source="kernels/neg.cc")
        for form in ("int16", "int32", "int64")
    ),
)


def real(call: Call) -> tuple[np.ndarray, ...]:
    """y = -x; integers wrap."""
    unary.floats(call, "float16", "int8", "int16", "int32", "int64")
    return (np.negative(call.x()),)


reference = fast = real
