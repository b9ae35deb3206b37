"""What the operators share that move elements and never compute with them (E65).

Where an operator only moves, one function is `real`, `reference` and `fast`: NumPy copies at the
speed of memory, and an integer is the same integer on every path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

import numpy as np

from kernels import delegate
from kernels.call import Call, Tensor
from kernels.errors import KernelError, RuntimeRefuses
from kernels.numerics import Row

Kernel = Callable[[Call], tuple[np.ndarray, ...]]
EIGHT, WIDE = ("int8", "uint8"), ("int8", "int16", "uint8")
PACKED = (*WIDE, "int4")
RANK = 6  # XNN_MAX_TENSOR_DIMS


def rows(
    rule: str,
    source: str,
    *,
    forms: Iterable[str] = WIDE,
    xnnpack: Iterable[str] = (),
    note: str = "",
) -> tuple[Row, ...]:
    """A row for each form, and "plain" for int32, int64, bool and float32, which carry no scale."""
    return tuple(
        Row(form, rule, rule, rule if form in xnnpack else "", source, note)
        for form in (*forms, "plain")
    )


def moves(
    function: Kernel | None = None,
    *,
    tied: bool = False,
    forms: Iterable[str] = WIDE,
    newer: Iterable[str] = (),
) -> Any:
    """Decorator of a kernel: operands that the runtime does not take raise RuntimeRefuses.

    tied: inputs and outputs must share scale and zero point. XNNPACK, where it takes an operator,
        always insists; elsewhere the integers are copied as they are.
    forms: the types of quantized data that the runtime takes.
    newer: those among them that tensorflow 2.21 does not take yet.
    """
    if function is None:
        return lambda f: moves(f, tied=tied, forms=forms, newer=newer)
    taken = {True: frozenset(forms), False: frozenset(forms) - frozenset(newer)}

    @wraps(function)
    def kernel(call: Call) -> tuple[np.ndarray, ...]:
        data = next((t for t in (*call.inputs, *call.outputs) if t and t.quantized), None)
        if data is not None and data.dtype not in taken[call.profile.litert]:
            raise RuntimeRefuses(f"{call.name}: the runtime has no kernel for {data.dtype}")
        if tied or call.profile.is_xnnpack:
            check_tied(call)
        try:
            return function(call)
        except KernelError:
            raise
        except (ValueError, IndexError) as error:
            raise RuntimeRefuses(f"{call.name}: operands do not fit: {error}") from error

    return kernel


def check_tied(call: Call) -> None:
    """Raises RuntimeRefuses where quantized inputs and outputs differ in scale or zero point."""
    if not all_same(*call.inputs, *call.outputs):
        raise RuntimeRefuses(
            f"{call.name}: inputs and outputs must share scale and zero point; the runtime stops"
        )


def all_same(*tensors: Tensor | None) -> bool:
    """Whether the quantized ones of these tensors share scale and zero point."""
    found = [t for t in tensors if t is not None and t.quantized]
    return all(t.s == found[0].s and t.z == found[0].z for t in found)


def axis_of(axis: int, rank: int) -> int:
    """0 <= axis < rank, counted from the end where negative. Raises IndexError."""
    if not -rank <= axis < rank:
        raise IndexError(f"axis {axis} of a tensor with {rank} axes")
    return axis % rank


def numbers(call: Call, position: int) -> list[int]:
    """An index operand as Python integers, flat."""
    return [int(v) for v in call.x(position).ravel()]


def pairs(call: Call, position: int) -> list[tuple[int, int]]:
    """Paddings or crops, (before, after) an axis. Raises IndexError where one is negative."""
    found = call.x(position).reshape(-1, 2).tolist()
    if any(n < 0 for pair in found for n in pair):
        raise IndexError(f"negative amounts {found}")
    return [(before, after) for before, after in found]


def held(value: int, dtype: np.dtype) -> np.ndarray:
    """An integer in the type of an array, wrapped as C converts it."""
    return np.array(value).astype(dtype)


def movable(*tensors: Tensor) -> bool:
    """XNNPACK can move these: float, or 8 bits per tensor (quantized_dimension 0 even so); at
    most 6 axes."""
    return all(
        len(t.shape) <= RANK and (t.dtype == "float32" or delegate.per_tensor(t)) for t in tensors
    )
