"""STABLEHLO_COMPOSITE: calls the subgraph that decomposes it; a delegate may know it by name.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/stablehlo_composite.cc.
"""

from __future__ import annotations

import numpy as np

from kernels.call import Call
from kernels.numerics import Row
from kernels.opspec import Operand, OpSpec

SPEC = OpSpec(
    name="STABLEHLO_COMPOSITE",
    inputs=(Operand("input", optional=True, variadic=True),),
    outputs=(Operand("output", optional=True, variadic=True),),
    versions={"float32": 1, "int8": 1, "int16": 1, "uint8": 1},
    static=False,
)

NUMERICS = (Row("any", "runs its decomposition", "as reference", source="stablehlo_composite.cc"),)


def real(call: Call) -> tuple[np.ndarray, ...]:
    """The outputs of the decomposition. Raises NoKernel without subgraphs."""
    if call.run is None:
        raise call.refuse("needs subgraphs; run the model with qcore.run")
    inputs = tuple(call.x(p) for p in range(len(call.inputs)))
    return call.run(int(call.option("decomposition_subgraph_index")), inputs)


reference = fast = real
