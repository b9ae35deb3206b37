"""Small quantized models for the tests of running, verifying and explaining."""

from __future__ import annotations

import numpy as np

import tflite_schema as ts
from qcore.testing.build import Builder


def dense(units: int = 5, depth: int = 7, seed: int = 3) -> ts.Model:
    """int8 (1, depth) -> FULLY_CONNECTED -> FULLY_CONNECTED -> (1, units) int8."""
    rng = np.random.default_rng(seed)
    b = Builder()
    x = b.input((1, depth), "x", dtype="INT8", scale=0.05, zero_point=3)
    for i in range(2):
        w = b.const(
            rng.integers(-127, 128, (units, depth)).astype(np.int8), f"w{i}",
            scale=rng.uniform(0.01, 0.02, units).astype(np.float32),
        )  # fmt: skip
        bias = b.const(rng.integers(-500, 500, units).astype(np.int32), f"b{i}", scale=0.001)
        x = _op(b, "FULLY_CONNECTED", [x, w, bias], (1, units), f"y{i}", 0.06, -7, version=4)
        depth = units
    return b.model(outputs=[x])


def counter() -> ts.Model:
    """A resource variable that each invocation adds its input to; CALL_ONCE sets it to 0."""
    main, start = Builder(), Builder()
    x = main.input((2,), "x")
    main.operators.append(
        ts.Operator(
            code=ts.OperatorCode.of("CALL_ONCE"), inputs=(), outputs=(),
            options=ts.Options("CallOnceOptions", init_subgraph_index=1),
        )
    )  # fmt: skip
    handle = main.op("VAR_HANDLE", [], (), dtype="RESOURCE", container="", shared_name="sum")
    old = main.op("READ_VARIABLE", [handle], (2,))
    new = main.op("ADD", [old, x], (2,))
    main.op("ASSIGN_VARIABLE", [handle, new])
    start.buffers = main.buffers
    handle = start.op("VAR_HANDLE", [], (), dtype="RESOURCE", container="", shared_name="sum")
    start.op("ASSIGN_VARIABLE", [handle, start.const(np.zeros(2, np.float32))])
    graphs = (main.model([new]).subgraphs[0], start.model([]).subgraphs[0])
    return ts.Model(version=3, subgraphs=graphs, buffers=tuple(main.buffers))


def _op(
    b: Builder, name: str, operands: list, shape: tuple, out: str, scale: float, zero_point: int,
    version: int = 1, **fields,
) -> int:  # fmt: skip
    """An operator whose int8 output has these parameters."""
    made = b.op(name, operands, shape, dtype="INT8", names=[out], version=version, **fields)
    t = b.tensors[made]
    b.tensors[made] = t.replace(
        quantization=ts.Quantization(
            scale=np.array([scale], np.float32), zero_point=np.array([zero_point], np.int64)
        )
    )
    return made
