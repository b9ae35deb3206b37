"""CALL_ONCE: runs a subgraph once, the first time.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/call_once.cc.
"""

from __future__ import annotations

from kernels.opspec import OpSpec

SPEC = OpSpec(
    name="CALL_ONCE",
    inputs=(),
    outputs=(),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
)
