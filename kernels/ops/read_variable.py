"""READ_VARIABLE: y = the value of the variable.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/read_variable.cc.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kernels.call import Call, variable
from kernels.errors import RuntimeRefuses
from kernels.numerics import Row
from kernels.opspec import Operand, OpSpec, Role

if TYPE_CHECKING:
    from kernels.simd.program import Lowering

SPEC = OpSpec(
    name="READ_VARIABLE",
    inputs=(Operand("resource_id", Role.INDEX),),
    outputs=(Operand("value"),),
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
    legacy_version=1,
    static=False,
)

NUMERICS = (Row("any", "copies (E65)", "as reference", source="read_variable.cc"),)


def real(call: Call) -> tuple[np.ndarray, ...]:
    """The value last assigned. Raises RuntimeRefuses before the first assignment."""
    key, resources = variable(call.x()), call.resources or {}
    if key not in resources:
        raise RuntimeRefuses(f"READ_VARIABLE: nothing was assigned to {call.x().item()} yet")
    return (resources[key],)


reference = fast = real


def lower(call: Call, to: Lowering) -> None:
    """Compiled: a copy."""
    to.read(variable(call.x()))
