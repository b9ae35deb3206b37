"""ASSIGN_VARIABLE: the variable takes the value.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/assign_variable.cc.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kernels.call import Call, variable
from kernels.numerics import Row
from kernels.opspec import Operand, OpSpec, Role

if TYPE_CHECKING:
    from kernels.simd.program import Lowering

SPEC = OpSpec(
    name="ASSIGN_VARIABLE",
    inputs=(Operand("resource_id", Role.INDEX), Operand("value")),
    outputs=(),
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
    legacy_version=1,
    static=False,
)

NUMERICS = (Row("any", "copies (E65)", "as reference", source="assign_variable.cc"),)


def real(call: Call) -> tuple[np.ndarray, ...]:
    """Keeps the value in call.resources. Raises NoKernel without them."""
    if call.resources is None:
        raise call.refuse("variables need Call.resources; run the model with qcore.run")
    call.resources[variable(call.x())] = call.x(1).copy()
    return ()


reference = fast = real


def lower(call: Call, to: Lowering) -> None:
    """Compiled: a copy."""
    to.write(variable(call.x()), 1)
