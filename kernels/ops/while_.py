"""WHILE: the inputs passed through the body subgraph as long as the condition subgraph says so.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/while.cc.
"""

from __future__ import annotations

import numpy as np

from kernels.call import Call
from kernels.numerics import Row
from kernels.opspec import Operand, OpSpec, Tie

SPEC = OpSpec(
    name="WHILE",
    inputs=(Operand("input", variadic=True),),
    outputs=(Operand("output", variadic=True),),
    tie=Tie.NONE,
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
    static=False,
)

NUMERICS = (Row("any", "runs subgraphs in turn", "as reference", source="while.cc"),)


def real(call: Call) -> tuple[np.ndarray, ...]:
    """The values when the condition first says no. Raises NoKernel without subgraphs."""
    if call.run is None:
        raise call.refuse("needs subgraphs; run the model with qcore.run")
    condition, body = (int(call.option(f"{name}_subgraph_index")) for name in ("cond", "body"))
    values = tuple(call.x(p) for p in range(len(call.inputs)))
    while call.run(condition, values)[0].ravel()[0]:
        values = call.run(body, values)
    return values


reference = fast = real
