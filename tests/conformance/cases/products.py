"""FULLY_CONNECTED, BATCH_MATMUL, EMBEDDING_LOOKUP."""

from __future__ import annotations

import numpy as np

from kernels.call import Call, Tensor, options
from tests.conformance.cases import cases
from tests.conformance.draw import Draw


@cases("FULLY_CONNECTED", "int8")
def fully_connected(draw: Draw, form: str, size: int) -> Call:
    rows, units = draw.shape(2, size, most=400)
    depth = draw.integer(1, 200)
    x = draw.tensor("int8", (rows, depth))
    w = draw.weight((units, depth), 0 if draw.chance() else None)
    bias = None
    if draw.chance(0.8):
        bias = Tensor(
            "int32",
            draw.random.integers(-3000, 3000, units).astype(np.int32),
            np.float32(x.s * w.scale), np.zeros(w.scale.size, np.int64), constant=True,
        )  # fmt: skip
    y = draw.output("int8", (rows, units), scale=draw.scale(0.01, 2))
    return Call(
        "FULLY_CONNECTED", (x, w, bias), (y,),
        options(fused_activation_function=draw.integer(0, 3)),
    )  # fmt: skip
