"""What the child executes, as plain values: light to import, as the child does little else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qcore.params import TensorKey


@dataclass(frozen=True)
class Watch:
    """A tensor to observe. maker: the operator that writes it, for messages ("" for an input)."""

    tensor: int
    key: TensorKey
    name: str
    maker: str


@dataclass(frozen=True)
class Stretch:
    """Operators that the runtime runs in one go, as subgraph `subgraph` of the file it is given.

    inputs are set before, outputs read after; watch in execution order; states: variable tensors.
    """

    subgraph: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    watch: tuple[Watch, ...]
    states: tuple[Watch, ...]


@dataclass(frozen=True)
class Call:
    """A control-flow operator. kind: while, if, case, once or call; where: how messages name it."""

    kind: str
    targets: tuple[int, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    watch: tuple[Watch, ...]
    where: str


@dataclass(frozen=True)
class Program:
    """One subgraph of the model. constants: those that steps pass on, by tensor.

    handles: inputs that are resource handles, which nobody passes.
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    steps: tuple[Stretch | Call, ...]
    watch: tuple[Watch, ...]
    constants: dict[int, np.ndarray]
    handles: frozenset[int]
