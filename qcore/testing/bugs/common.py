"""Operands of the smallest models, in few words."""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.call import Call, Tensor, options

__all__ = ["Call", "Tensor", "const", "floats", "index", "of", "options", "out", "plain", "q"]


def q(
    dtype: str, data: Any, scale: Any = 0.5, zero_point: int = 0, axis: int = 0,
    constant: bool = False,
) -> Tensor:  # fmt: skip
    """A quantized operand; several scales are those of the channels along `axis`."""
    scales = np.atleast_1d(np.float32(scale))
    held = Tensor(dtype).held
    return Tensor(
        dtype, np.asarray(data, held), scales, np.full(scales.size, zero_point, np.int64), axis,
        constant,
    )  # fmt: skip


def const(dtype: str, data: Any, scale: Any = 0.5, zero_point: int = 0, axis: int = 0) -> Tensor:
    """A quantized constant."""
    return q(dtype, data, scale, zero_point, axis, constant=True)


def out(dtype: str, shape: tuple[int, ...], scale: float = 0.5, zero_point: int = 0) -> Tensor:
    """A quantized output."""
    made = q(dtype, 0, scale, zero_point)
    return Tensor(dtype, None, made.scale, made.zero_point, declared=shape)


def plain(dtype: str, shape: tuple[int, ...]) -> Tensor:
    """An output that is not quantized."""
    return Tensor(dtype, declared=shape)


def of(data: Any, dtype: str = "float32", constant: bool = False) -> Tensor:
    """An operand that is not quantized."""
    return Tensor(dtype, np.asarray(data, dtype), constant=constant)


def floats(data: Any, constant: bool = False) -> Tensor:
    """A float32 operand."""
    return of(data, "float32", constant)


def index(*values: int, constant: bool = True) -> Tensor:
    """int32 indices, a shape, axes."""
    return of(values, "int32", constant)
