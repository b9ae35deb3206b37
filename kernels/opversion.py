"""When an operator needs which version: the conditions of LiteRT's `op_version.cc`, by name.

A file of `kernels/ops/` lists a `Special` for each version that depends on more than the dtype of
the data; the conditions that several operators share stand here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Use:
    """One operator as it stands in a graph, so far as its version depends on that.

    inputs, outputs: lower-case dtypes, None where an operand is absent.
    shapes: of the inputs, None where unknown or absent.
    scales: first scale of each input, then of each output; None where there is none.
    options: the operator's builtin options: any object with the schema's field names.
    per_channel: the weight (or, for QUANTIZE and DEQUANTIZE, the tensor) has several scales.
    """

    inputs: tuple[str | None, ...]
    outputs: tuple[str | None, ...]
    shapes: tuple[tuple[int, ...] | None, ...] = ()
    scales: tuple[float | None, ...] = ()
    options: Any = None
    per_channel: bool = False

    def option(self, name: str) -> Any:
        """The option, None if this operator's options have no such field."""
        return getattr(self.options, name, None)

    def shape(self, position: int) -> tuple[int, ...]:
        """Shape of an input, () where it is unknown."""
        return (self.shapes[position] if position < len(self.shapes) else None) or ()

    def rank(self, position: int = 0) -> int:
        """Rank of an input, 0 where it is unknown."""
        return len(self.shape(position))


Condition = Callable[[Use], bool]


@dataclass(frozen=True)
class Special:
    """A version that depends on more than the dtype of the data: `reason` says when, in words."""

    version: int
    reason: str
    when: Condition


def inputs(*dtypes: str) -> Condition:
    """The first inputs have these dtypes."""
    return lambda use: use.inputs[: len(dtypes)] == dtypes


def either(dtype: str) -> Condition:
    """The first input or the first output has this dtype."""
    return lambda use: dtype in (*use.inputs[:1], *use.outputs[:1])


def option(*names: str) -> Condition:
    """One of these options is set: True, or not 0."""
    return lambda use: any(bool(use.option(name)) for name in names)


def rank_above(axes: int) -> Condition:
    """The first input has more axes."""
    return lambda use: use.rank() > axes


def wide_broadcast(use: Use) -> bool:
    """The first two inputs differ in shape, and some input has more than 4 axes."""
    differ = use.shape(0) != use.shape(1)
    return differ and max((len(s) for s in use.shapes if s is not None), default=0) > 4


def hybrid(use: Use) -> bool:
    """Float activations beside int8 weights in position 1."""
    return use.inputs[:2] == ("float32", "int8") and use.outputs[:1] == ("float32",)


def hybrid_per_channel(use: Use) -> bool:
    return hybrid(use) and use.per_channel


def hybrid_asymmetric(use: Use) -> bool:
    return hybrid(use) and bool(use.option("asymmetric_quantize_inputs"))


def wide_bias(use: Use) -> bool:
    """int16 activations, int8 weights, and the type of the bias written in the options."""
    return use.inputs[:2] == ("int16", "int8") and bool(use.option("quantized_bias_type"))


def bare_int16(use: Use) -> bool:
    """int16 data that is not quantized."""
    return use.inputs[:1] == ("int16",) and use.scales[:1] == (None,)
