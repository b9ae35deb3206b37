"""How linear operators multiply: inputs as columns, weights as rows.

y[g, n, r] = sum_k x[g, n, k] * w[g, r, k], where n counts output positions, and g groups that share
neither inputs nor weights (E12).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from types import SimpleNamespace

import numpy as np

from kernels.call import Call
from kernels.errors import RuntimeRefuses
from kernels.ops._conv import Window, padded, window
from qcore.params import TensorKey

_BLOCK = 1 << 18  # values of columns made at a time: 2 MB as float64, near the cache


@dataclass(frozen=True)
class Linear:
    """One operator with constant weights.

    key: its output.  input: what it reads.  shape: of the weights, as the file has them.
    channels: of the input.  options: of the window.
    """

    key: TensorKey
    input: TensorKey
    name: str
    shape: tuple[int, ...]
    channels: int
    options: tuple[tuple[str, int], ...] = ()

    @property
    def groups(self) -> int:
        if self.name == "FULLY_CONNECTED":
            return 1
        return self.channels // (1 if self.name == "DEPTHWISE_CONV_2D" else self.shape[3])

    @property
    def size(self) -> int:
        """K: products in a sum."""
        return prod(self.shape) // self.units

    @property
    def units(self) -> int:
        """Output channels, those of a group next to each other."""
        return self.shape[3] if self.name == "DEPTHWISE_CONV_2D" else self.shape[0]

    def rows(self, weights: np.ndarray) -> np.ndarray:
        """weights, of `shape` -> (G, R, K)."""
        units_first = np.moveaxis(weights, 3, 0) if self._last else weights
        return units_first.reshape(self.groups, self.units // self.groups, self.size)

    def weights(self, rows: np.ndarray) -> np.ndarray:
        """What `rows` was made of."""
        if not self._last:
            return rows.reshape(self.shape)
        return np.moveaxis(rows.reshape(self.units, *self.shape[:3]), 0, 3)

    @property
    def _last(self) -> bool:
        return self.name == "DEPTHWISE_CONV_2D"  # (1, KH, KW, O)

    def columns(self, values: np.ndarray) -> Iterator[np.ndarray]:
        """The input as it ran, float32 -> blocks of columns, (G, N, K), N of all of them the number
        of output positions; zeros stand outside of the image. Nothing for an input that does not
        fit the weights, which the runtime refuses.
        """
        if self.name == "FULLY_CONNECTED":
            if values.size % self.size == 0:
                yield values.reshape(1, -1, self.size)
            return
        if values.ndim != 4 or values.shape[3] != self.channels:
            return
        kernel = self.shape[1:3]
        call = Call(self.name, (), (), SimpleNamespace(**dict(self.options)))
        try:
            at = window(call, values.shape[1:3], kernel)
        except RuntimeRefuses:
            return
        if min(at.out) < 1:
            return
        if kernel == (1, 1) and at.stride == (1, 1):
            yield self._grouped(values.reshape(-1, 1, self.channels))
            return
        seen = _windows(values, at)
        step = max(1, _BLOCK // max(1, seen[:, 0].size))
        for start in range(0, seen.shape[1], step):
            part = seen[:, start : start + step]
            yield self._grouped(part.reshape(-1, prod(kernel), self.channels))

    def _grouped(self, seen: np.ndarray) -> np.ndarray:
        """(N, taps, C) -> (G, N, K)."""
        positions, taps, _ = seen.shape
        parts = seen.reshape(positions, taps, self.groups, -1)
        return parts.transpose(2, 0, 1, 3).reshape(self.groups, positions, self.size)


def _windows(x: np.ndarray, at: Window) -> np.ndarray:
    """(N, H, W, C) -> a view (N, OH, OW, KH, KW, C) of a padded copy."""
    seen = np.lib.stride_tricks.sliding_window_view(padded(x, at), at.spans, (1, 2))
    (sh, sw), (dh, dw), (oh, ow) = at.stride, at.dilation, at.out
    return seen[:, ::sh, ::sw, :, ::dh, ::dw][:, :oh, :ow].transpose(0, 1, 2, 4, 5, 3)
