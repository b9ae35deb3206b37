"""FULLY_CONNECTED with weights in the order SHUFFLED4x16INT8: uint8 -> int16, 1 or 4 rows.

The weights are stored in tiles of 4 units x 16 values, their zero point 128 taken off by flipping
the top bit. A second output is the runtime's workspace: the input with flipped top bits, 4 rows in
tiles of 4 x 16. The zero points of input and weights are 128 whatever the file says.

The optimized kernel leaves the activation out, and adds two products in 16 bits: 2 * 128 * 128
wraps to -32768.

Sources: LiteRT kernels/internal/reference/fully_connected.h, kernels/internal/optimized/
optimized_ops.h (ShuffledFullyConnected).
"""

from __future__ import annotations

import numpy as np

from kernels import activation
from kernels.call import Call
from kernels.errors import RuntimeRefuses
from kernels.exact import matmul
from kernels.fixedpoint import wrap32
from kernels.ops._products import integer_loops, sums
from kernels.stage import Rule, Stage


def compute(call: Call, fast: bool) -> tuple[np.ndarray, np.ndarray]:
    """y (B, O) int16 and the workspace (B, N) uint8."""
    x, w = call[0], call[1]
    if (x.dtype, w.dtype, call.output.dtype) != ("uint8", "uint8", "int16") or not call.has(2):
        raise RuntimeRefuses(f"{call.name}: shuffled weights are for uint8 -> int16 with a bias")
    units, depth = w.shape
    rows = x.x.reshape(-1, depth)
    if len(rows) not in (1, 4) or units % 4 or depth % 16:
        raise RuntimeRefuses(f"{call.name}: shuffled weights need 1 or 4 rows and whole tiles")
    flipped = rows ^ np.uint8(0x80)
    weights = unshuffled(w.x).view(np.int8)
    bias = call.x(2).reshape(-1).astype(np.int64) + np.zeros((len(rows), 1), np.int64)
    if not call.profile.is_reference:
        bias = bias - 65536 * _wrapped(flipped.view(np.int8), weights)
    out = stage(call)
    if fast:
        y = np.empty((len(rows), units), np.int16)
        x16, p = flipped.view(np.int8).astype(np.int16), out.parameters(units)
        for row in range(len(rows)):  # 1 or 4, each with addends of its own
            integer_loops(x16[row : row + 1], weights, 0, bias[row], False, p, y[row : row + 1])
    else:
        y = out(wrap32(sums(flipped.view(np.int8), weights, 0, 0) + bias))
    work = flipped
    if len(rows) == 4:
        work = flipped.reshape(4, -1, 16).swapaxes(0, 1).reshape(4, depth)
    return y, np.ascontiguousarray(work)


def unshuffled(w: np.ndarray) -> np.ndarray:
    """Tiles of 4 units x 16 values as plain rows (O, N)."""
    units, depth = w.shape
    return np.ascontiguousarray(
        w.reshape(units // 4, depth // 16, 4, 16).swapaxes(1, 2).reshape(units, depth)
    )


def stage(call: Call) -> Stage:
    x, w, y = call[0], call[1], call.output
    factor = np.float64(x.s * w.s) / float(y.s)
    if factor >= 2**31 and not call.profile.is_reference:
        factor = np.float64(0)  # vector code shifts everything out (E25)
    ends = activation.clamp(call) if call.profile.is_reference else (y.range.qmin, y.range.qmax)
    return Stage.of(Rule.DBL, factor, 0, ends, y.range)


def _wrapped(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """(B, O): how many pairs, 8 apart in a group of 16, are -128 in a row of x and of w."""
    pair_x, pair_w = (
        (a.reshape(len(a), -1, 2, 8) == -128).all(2).reshape(len(a), -1) for a in (x, w)
    )
    return matmul(pair_x, pair_w.T)
