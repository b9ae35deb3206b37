"""VAR_HANDLE: y = the handle of a variable.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/var_handle.cc.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kernels.call import Call
from kernels.numerics import Row
from kernels.opspec import Operand, OpSpec, Role

if TYPE_CHECKING:
    from kernels.simd.program import Lowering

SPEC = OpSpec(
    name="VAR_HANDLE",
    inputs=(),
    outputs=(Operand("resource_id", Role.INDEX),),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
    legacy_version=1,
    static=False,
)

NUMERICS = (Row("any", "the variable's name", "as reference", source="var_handle.cc"),)


def real(call: Call) -> tuple[np.ndarray, ...]:
    """The handle: a string array without axes that holds container and shared_name."""
    container, name = (str(call.option(field, "")) for field in ("container", "shared_name"))
    return (np.array(f"{container!r}, {name!r}"),)


reference = fast = real


def lower(call: Call, to: Lowering) -> None:
    """Compiled: known before."""
    to.know(real(call)[0])
