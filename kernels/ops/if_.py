"""IF: the outputs of one of two subgraphs, called with the inputs after the condition.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/if.cc.
"""

from __future__ import annotations

import numpy as np

from kernels.call import Call
from kernels.numerics import Row
from kernels.opspec import Operand, OpSpec, Role

SPEC = OpSpec(
    name="IF",
    inputs=(Operand("cond", Role.INDEX), Operand("input", optional=True, variadic=True)),
    outputs=(Operand("output", optional=True, variadic=True),),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
    static=False,
)

NUMERICS = (Row("any", "runs one of two subgraphs", "as reference", source="if.cc"),)


def real(call: Call) -> tuple[np.ndarray, ...]:
    """The outputs of the chosen subgraph. Raises NoKernel without subgraphs."""
    if call.run is None:
        raise call.refuse("needs subgraphs; run the model with qcore.run")
    branch = "then" if call.x().ravel()[0] else "else"
    inputs = tuple(call.x(p) for p in range(1, len(call.inputs)))
    return call.run(int(call.option(f"{branch}_subgraph_index")), inputs)


reference = fast = real
