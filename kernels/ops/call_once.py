"""CALL_ONCE: runs a subgraph once, the first time.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/call_once.cc.
"""

from __future__ import annotations

import numpy as np

from kernels.call import Call
from kernels.numerics import Row
from kernels.opspec import OpSpec

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
    subgraph = int(call.option("init_subgraph_index"))
    if f"initialized {subgraph}" not in call.resources:
        call.run(subgraph, ())
        call.resources[f"initialized {subgraph}"] = True
    return ()


reference = fast = real
