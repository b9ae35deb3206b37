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


def counter(read: tuple[int, ...] = (2,)) -> ts.Model:
    """A resource variable that each invocation adds its input to; CALL_ONCE sets it to 0.

    read: the shape that is declared where it is read; no program is made for another than its own.
    """
    main, start = Builder(), Builder()
    x = main.input((2,), "x")
    main.operators.append(
        ts.Operator(
            code=ts.OperatorCode.of("CALL_ONCE"), inputs=(), outputs=(),
            options=ts.Options("CallOnceOptions", init_subgraph_index=1),
        )
    )  # fmt: skip
    handle = main.op("VAR_HANDLE", [], (), dtype="RESOURCE", container="", shared_name="sum")
    old = main.op("READ_VARIABLE", [handle], read)
    new = main.op("ADD", [old, x], (2,))
    main.op("ASSIGN_VARIABLE", [handle, new])
    start.buffers = main.buffers
    handle = start.op("VAR_HANDLE", [], (), dtype="RESOURCE", container="", shared_name="sum")
    start.op("ASSIGN_VARIABLE", [handle, start.const(np.zeros(2, np.float32))])
    graphs = (main.model([new]).subgraphs[0], start.model([]).subgraphs[0])
    return ts.Model(version=3, subgraphs=graphs, buffers=tuple(main.buffers))


class Streams:
    """A model with resource variables in the making; CALL_ONCE gives them their first values."""

    def __init__(self) -> None:
        self.main, self.start = Builder(), Builder()
        self.start.buffers = self.main.buffers
        once = ts.Options("CallOnceOptions", init_subgraph_index=1)
        code = ts.OperatorCode.of("CALL_ONCE")
        self.main.operators.append(ts.Operator(code=code, inputs=(), outputs=(), options=once))

    def variable(self, name: str, value: np.ndarray | None = None) -> int:
        """Its handle; value: what it starts with."""
        more = {"dtype": "RESOURCE", "container": "", "shared_name": name}
        if value is not None:
            handle = self.start.op("VAR_HANDLE", [], (), **more)
            self.start.op("ASSIGN_VARIABLE", [handle, self.start.const(value)])
        return self.main.op("VAR_HANDLE", [], (), **more)

    def model(self, outputs: list[int]) -> ts.Model:
        graphs = (self.main.model(outputs).subgraphs[0], self.start.model([]).subgraphs[0])
        return ts.Model(version=3, subgraphs=graphs, buffers=tuple(self.main.buffers))


def streaming(rng: np.random.Generator, layers: int = 3) -> ts.Model:
    """int8 frames (1, 1, 1, c) through convolutions over time, each with a variable that holds the
    frames before; what a convolution reads, and when the variable moves on, is drawn."""
    s, channels = Streams(), int(rng.integers(1, 20))
    b = s.main
    x = b.input((1, 1, 1, channels), "x", dtype="INT8", scale=0.05, zero_point=3)
    point = 3
    for i in range(layers):
        past, out = int(rng.integers(1, 6)), int(rng.integers(1, 20))
        first = rng.integers(-128, 128, (1, past, 1, channels)).astype(np.int8)
        handle = s.variable(f"frames {i}", first)
        here = {"scale": 0.05, "zero_point": point}
        old = _op(b, "READ_VARIABLE", [handle], first.shape, f"old{i}", **here)
        seen = (1, past + 1, 1, channels)
        x = _op(b, "CONCATENATION", [old, x], seen, f"seen{i}", **here, axis=1)
        ends = (b.const(np.array(v, np.int32)) for v in ([0, 1, 0, 0], [0] * 4, [1] * 4))
        new = _op(
            b, "STRIDED_SLICE", [x, *ends], first.shape, f"new{i}", **here,
            begin_mask=13, end_mask=15,
        )  # fmt: skip
        soon = rng.integers(2)
        if soon:
            b.op("ASSIGN_VARIABLE", [handle, new])
        point = int(rng.integers(-20, 20))
        w = rng.integers(-127, 128, (out, past + 1, 1, channels)).astype(np.int8)
        scale = rng.uniform(0.005, 0.01, out).astype(np.float32)
        w = b.const(w, f"w{i}", scale=scale)
        bias = rng.integers(-500, 500, out).astype(np.int32)
        bias = b.const(bias, f"b{i}", scale=scale * np.float32(0.05))
        x = _op(
            b, "CONV_2D", [x, w, bias], (1, 1, 1, out), f"y{i}", 0.05, point, version=3,
            padding="VALID", stride_h=1, stride_w=1,
        )  # fmt: skip
        if not soon:
            b.op("ASSIGN_VARIABLE", [handle, new])
        channels = out
    return s.model([x])


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
