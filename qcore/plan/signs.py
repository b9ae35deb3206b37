"""Which tensors cannot be negative, whatever the input, also after rounding to integers."""

from __future__ import annotations

import numpy as np

from kernels.opspec import Role
from qcore.graph import Graph

# Zero in, zero out, and never below it; rounding cannot change that.
NEVER_NEGATIVE = frozenset(
    {
        "ABS", "EXP", "LOGISTIC", "RELU", "RELU6", "RELU_0_TO_1", "RSQRT", "SOFTMAX", "SQRT",
        "SQUARE", "SQUARED_DIFFERENCE",
    }
)  # fmt: skip
# Not negative where no operand is.
KEEPS_SIGN = frozenset(
    {
        "ADD", "AVERAGE_POOL_2D", "BATCH_MATMUL", "BATCH_TO_SPACE_ND", "BROADCAST_TO",
        "CONCATENATION", "CUMSUM", "DEPTH_TO_SPACE", "DEQUANTIZE", "DIV", "EXPAND_DIMS", "GATHER",
        "GATHER_ND", "MAX_POOL_2D", "MEAN", "MINIMUM", "MIRROR_PAD", "MUL", "PACK", "PAD", "PADV2",
        "PRELU", "LEAKY_RELU", "QUANTIZE", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "RESHAPE",
        "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "REVERSE_V2", "SELECT", "SELECT_V2", "SLICE",
        "SPACE_TO_BATCH_ND", "SPACE_TO_DEPTH", "SPLIT", "SPLIT_V", "SQUEEZE", "STRIDED_SLICE",
        "SUM", "TILE", "TRANSPOSE", "UNPACK",
    }
)  # fmt: skip
CLAMPED_BELOW = ("RELU", "RELU6")


def nonnegative(graph: Graph) -> frozenset[int]:
    """Tensors that hold no negative value on any input; constants included."""
    known: set[int] = set()

    def holds(t: int) -> bool:
        if t in known:
            return True
        values = graph.constant(t) if graph.is_constant(t) else None
        return values is not None and values.dtype == np.float32 and bool((values >= 0).all())

    for i, op in enumerate(graph.operators):
        fused = getattr(getattr(op.options, "fused_activation_function", None), "name", "")
        data = [
            holds(t)
            for position, t in enumerate(op.inputs)
            if t >= 0 and (o := graph.operand(i, position)) is not None and o.role is not Role.INDEX
        ]
        if (
            op.name in NEVER_NEGATIVE
            or fused in CLAMPED_BELOW
            or (op.name in KEEPS_SIGN and data and all(data))
            or (op.name == "MAXIMUM" and any(data))
        ):
            known.update(op.outputs)
    return frozenset(known)
