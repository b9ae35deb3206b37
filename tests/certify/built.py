"""Models built by hand: sums that overflow, and where they stand in the graph."""

from __future__ import annotations

from typing import Any

import numpy as np

import tflite_schema as ts
from qcore.testing.build import Builder, quantization


def output(b: Builder, tensor: int, scale: float, zero_point: int = 0) -> int:
    """A computed tensor with its quantization parameters."""
    q = quantization(scale=scale, zero_point=zero_point)
    b.tensors[tensor] = b.tensors[tensor].replace(quantization=q)
    return tensor


def weights(b: Builder, w: np.ndarray, bias: np.ndarray, x_scale: float) -> tuple[int, int]:
    """int8 weights (units first) and a bias, of scale 1/2 a unit."""
    units = len(w)
    zeros = np.zeros(units, np.int64)
    scale = np.full(units, 0.5)
    return (
        b.const(w.astype(np.int8), "w", scale=scale, zero_point=zeros),
        b.const(bias, "b", scale=scale * x_scale, zero_point=zeros),
    )


def dense(
    bias: int, depth: int = 8, before: str = "", dtype: str = "INT8", out: float = 1e5
) -> ts.Model:
    """FULLY_CONNECTED of two units, the second with this bias; the input goes through `before`."""
    b = Builder()
    z = 0 if dtype == "INT16" else -3
    w = np.where(np.arange(2 * depth).reshape(2, depth) % 3 == 0, -100, 90)
    kind: Any = np.int64 if dtype == "INT16" else np.int32
    if before == "QUANTIZE":
        x = b.input((1, depth), "x")
        at = output(b, b.op("QUANTIZE", [x], (1, depth), dtype=dtype), 0.25, z)
    elif before == "RELU":
        x = b.input((1, depth), "x", dtype=dtype, scale=0.25, zero_point=z)
        at = output(b, b.op("RELU", [x], (1, depth), dtype=dtype, version=2), 0.25, z)
    else:
        at = b.input((1, depth), "x", dtype=dtype, scale=0.25, zero_point=z)
    operands = weights(b, w, np.array([5, bias], kind), 0.25)
    y = b.op("FULLY_CONNECTED", [at, *operands], (1, 2), dtype=dtype, version=5)
    return b.model([output(b, y, out)])


def convolution(bias: int, dtype: str = "INT8") -> ts.Model:
    """CONV_2D of a 5 x 4 image with padding; the second channel has this bias."""
    b = Builder()
    wide = dtype == "INT16"
    x = b.input((1, 5, 4, 2), "x", dtype=dtype, scale=0.25, zero_point=0 if wide else -3)
    w = (np.arange(2 * 3 * 3 * 2).reshape(2, 3, 3, 2) % 7 - 3) * 40
    kind: Any = np.int64 if wide else np.int32
    operands = weights(b, w, np.array([5, bias], kind), 0.25)
    y = b.op(
        "CONV_2D", [x, *operands], (1, 5, 4, 2), dtype=dtype, version=1 if wide else 3,
        padding="SAME", stride_w=1, stride_h=1, dilation_w_factor=1, dilation_h_factor=1,
    )  # fmt: skip
    return b.model([output(b, y, 1e10 if wide else 1e6)])
