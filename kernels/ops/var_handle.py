"""VAR_HANDLE: y = the handle of a variable.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/var_handle.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec, Role

SPEC = OpSpec(
    name="VAR_HANDLE",
    inputs=(),
    outputs=(Operand("resource_id", Role.INDEX),),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
    legacy_version=1,
)
