"""An operator as the exact oracle sees it: plain Python numbers, flat lists, shapes.

    @oracle("ADD")
    def add(task: Task) -> list[Answer]: ...

Answers are (shape, values) for each output, then for each state that is kept. Values are Python
ints, bools, or Fractions (nan and infinities as floats). No NumPy, and nothing of ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any

Answer = tuple[tuple[int, ...], list[Any]]


@dataclass(frozen=True)
class Operand:
    """values: flat, row-major; None for an output.  scales: Fractions, one or one a channel."""

    dtype: str
    shape: tuple[int, ...]
    values: list[Any] | None
    scales: list[Fraction] | None
    zero_points: list[int]
    axis: int
    constant: bool

    @property
    def scale(self) -> Fraction:
        assert self.scales is not None
        return self.scales[0]

    @property
    def zero_point(self) -> int:
        return self.zero_points[0]

    @property
    def qmin(self) -> int:
        return 0 if self.dtype.startswith("u") else -(2 ** (self.bits - 1))

    @property
    def qmax(self) -> int:
        return 2 ** (self.bits - (not self.dtype.startswith("u"))) - 1

    @property
    def bits(self) -> int:
        return int(self.dtype.lstrip("uint"))

    def at(self, *index: int) -> Any:
        """The value at an index."""
        assert self.values is not None and len(index) == len(self.shape)
        return self.values[flat(index, self.shape)]


@dataclass(frozen=True)
class Task:
    """path: the one that computes ("optimized" where XNNPACK does not take the operator)."""

    operator: str
    inputs: list[Operand | None]
    outputs: list[Operand]
    options: dict[str, Any]
    path: str
    runtime: str
    intermediates: list[Operand]

    @property
    def y(self) -> Operand:
        return self.outputs[0]

    def x(self, position: int = 0) -> Operand:
        found = self.inputs[position]
        assert found is not None
        return found

    def has(self, position: int) -> bool:
        return position < len(self.inputs) and self.inputs[position] is not None

    def option(self, name: str, default: Any = 0) -> Any:
        found = self.options.get(name)
        return default if found is None else found


def flat(index: Sequence[int], shape: Sequence[int]) -> int:
    """Row-major position."""
    found = 0
    for i, n in zip(index, shape, strict=True):
        found = found * n + i
    return found


def indices(shape: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Every index, row-major."""
    return product(*map(range, shape))


def count(shape: Sequence[int]) -> int:
    return math.prod(shape)


_oracles: dict[str, Callable[[Task], list[Answer]]] = {}


def oracle(*operators: str) -> Callable[[Callable[[Task], list[Answer]]], Any]:
    """Decorator: this function knows the exact answer of these operators."""

    def register(function: Callable[[Task], list[Answer]]) -> Any:
        for name in operators:
            assert name not in _oracles, f"{name} has two oracles"
            _oracles[name] = function
        return function

    return register


def oracles() -> dict[str, Callable[[Task], list[Answer]]]:
    """Operator -> oracle, of every module in `ops/`."""
    for file in sorted((Path(__file__).parent / "ops").glob("[a-z]*.py")):
        import_module(f"tests.oracle.ops.{file.stem}")
    return dict(_oracles)
