"""CALL_ONCE: runs a subgraph once, the first time.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/call_once.cc.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kernels.call import Call
from kernels.numerics import Row
from kernels.opspec import OpSpec

if TYPE_CHECKING:
    from kernels.simd.program import Lowering

SPEC = OpSpec(
    name="CALL_ONCE",
    inputs=(),
    outputs=(),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
    static=False,
)

NUMERICS = (Row("any", "runs a subgraph once", "as reference", source="call_once.cc"),)


def real(call: Call) -> tuple[np.ndarray, ...]:
    """Runs the subgraph, unless call.resources knows that it was run. Raises NoKernel without
    resources or subgraphs."""
    if call.resources is None or call.run is None:
        raise call.refuse("needs subgraphs and resources; run the model with qcore.run")
    key = initialized(call)
    if key not in call.resources:
        call.run(int(call.option("init_subgraph_index")), ())
        call.resources[key] = True
    return ()


def initialized(call: Call) -> str:
    """The key in Call.resources that says that the subgraph was run."""
    return f"initialized {int(call.option('init_subgraph_index'))}"


reference = fast = real


def lower(call: Call, to: Lowering) -> None:
    """Compiled: done before."""
    to.first(initialized(call))
