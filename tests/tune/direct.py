"""Linear operators by their definition, in loops that share nothing with the library."""

from __future__ import annotations

from typing import Any

import numpy as np

import tflite_schema as ts
from kernels import packing


def places(size: int, kernel: int, stride: int, dilation: int, padding: str) -> list[list[int]]:
    """For each output position of an axis, the input position of each tap; it may be outside."""
    span = (kernel - 1) * dilation + 1
    count = -(-size // stride) if padding == "SAME" else (size - span) // stride + 1
    lack = max((count - 1) * stride + span - size, 0) if padding == "SAME" else 0
    return [[o * stride - lack // 2 + k * dilation for k in range(kernel)] for o in range(count)]


def linear(
    name: str, x: np.ndarray, w: np.ndarray, bias: np.ndarray | None = None, padding: str = "VALID",
    stride: tuple[int, int] = (1, 1), dilation: tuple[int, int] = (1, 1),
) -> np.ndarray:  # fmt: skip
    """The outputs in float64. w: as the file has it."""
    x, w = x.astype(np.float64), w.astype(np.float64)
    if name == "FULLY_CONNECTED":
        rows = x.reshape(-1, w.shape[1])
        y = np.array([[sum(r[k] * u[k] for k in range(len(u))) for u in w] for r in rows])
        y = y.reshape(len(rows), len(w))
        return y if bias is None else y + bias
    depthwise = name == "DEPTHWISE_CONV_2D"
    (_, height, width, channels), (kh, kw) = x.shape, w.shape[1:3]
    units = w.shape[3] if depthwise else w.shape[0]
    ys = places(height, kh, stride[0], dilation[0], padding)
    xs = places(width, kw, stride[1], dilation[1], padding)
    y = np.zeros((len(x), len(ys), len(xs), units))
    depth = 1 if depthwise else w.shape[3]
    each = units // (channels // depth)  # output channels of a group
    for oy, ox, o in np.ndindex(len(ys), len(xs), units):
        first = o // each * depth
        for ky, kx in np.ndindex(kh, kw):
            iy, ix = ys[oy][ky], xs[ox][kx]
            if 0 <= iy < height and 0 <= ix < width:
                taps = w[0, ky, kx, o : o + 1] if depthwise else w[o, ky, kx]
                y[:, oy, ox, o] += x[:, iy, ix, first : first + depth] @ taps
    return y if bias is None else y + bias


def real(model: ts.Model, tensor: int) -> np.ndarray:
    """What a constant of a written file stands for, float64."""
    part = model.subgraphs[0]
    record, values = part.tensors[tensor], ts.array(model, 0, tensor)
    assert values is not None
    shape = record.shape or ()
    if record.type == ts.TensorType.INT4:
        values = packing.unpack4(values, int(np.prod(shape))).reshape(shape)
    found: Any = record.quantization
    if found is None:
        return values.astype(np.float64)
    if found.details is not None:
        scales = ts.array(model, 0, found.details.scales)
        assert scales is not None
        return values * np.repeat(scales.astype(np.float64), found.details.block_size, -1)
    along = [1] * len(shape)
    if found.scale.size > 1:
        along[found.quantized_dimension or 0] = found.scale.size
    scale, zero = (a.reshape(along if a.size > 1 else ()) for a in (found.scale, found.zero_point))
    return scale.astype(np.float64) * (values.astype(np.float64) - zero)
