"""What is to be planned, and the questions that the rules ask about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from kernels.opspec import Fixed, OpSpec, Role, Tie
from qcore.errors import BadRecipe
from qcore.graph import Graph
from qcore.params import Affine, Stats, TensorKey
from qcore.plan import common
from qcore.recipe import Recipe, Setting
from qcore.rounding import Rounding


@dataclass(frozen=True)
class Grid:
    """Where a value is stored: integer type, scale and zero point, and how they came about."""

    dtype: str
    params: Affine
    rule: str
    stats: Stats | None = None

    def same(self, other: Grid | None) -> bool:
        """Whether both stand for the same numbers, bit for bit."""
        return other is not None and self.dtype == other.dtype and self.params.same(other.params)

    def like(self, rule: str) -> Grid:
        """These parameters, taken over for the reason `rule`."""
        return replace(self, rule=rule, stats=None)


@dataclass(frozen=True, eq=False)
class Problem:
    """One subgraph, the recipe, and the calibrated ranges of its tensors.

    copies: operators that only hand on a value, between two ranges of it.
    beyond: operators, by their first result, that no kernel could compute, and why.
    """

    graph: Graph
    recipe: Recipe
    ranges: Mapping[TensorKey, Stats]
    copies: frozenset[int] = frozenset()
    beyond: Mapping[int, str] = field(default_factory=dict)
    _grids: dict[int, Grid | None] = field(default_factory=dict)

    # --- operators --------------------------------------------------------------------------------

    @cached_property
    def specs(self) -> tuple[OpSpec | None, ...]:
        return tuple(self.graph.spec(i) for i in range(len(self.graph.operators)))

    @cached_property
    def modes(self) -> tuple[str, ...]:
        """The recipe's mode of each operator, "float" where no kernel could compute it."""
        return tuple(
            "float"
            if op.outputs and op.outputs[0] in self.beyond
            else self.recipe.mode(op.name, self.graph.output_names(i))
            for i, op in enumerate(self.graph.operators)
        )

    def quantizable(self, operator: int) -> bool:
        """Whether the converter has an integer form of the operator, whatever the recipe says."""
        spec = self.specs[operator]
        return spec is not None and spec.mlir and operator not in self.copies

    def tied(self, operator: int) -> bool:
        """Whether the operator's float operands and results must share their parameters."""
        spec = self.specs[operator]
        if spec is None or operator in self.copies:
            return False
        kernel = self.recipe.deviates("untied_moves") and spec.tie is Tie.SAME
        return kernel or spec.tie_under("mlir") is Tie.SAME

    def inputs(self, operator: int) -> tuple[tuple[int, int], ...]:
        """(position, tensor) of the float operands."""
        op = self.graph.operators[operator]
        return tuple((p, t) for p, t in enumerate(op.inputs) if self.graph.is_float(t))

    def outputs(self, operator: int) -> tuple[tuple[int, int], ...]:
        """(position, tensor) of the float results."""
        op = self.graph.operators[operator]
        return tuple((p, t) for p, t in enumerate(op.outputs) if self.graph.is_float(t))

    def operand_count(self, operator: int) -> int:
        """Operands as the converter counts them: it always gives RESHAPE its shape."""
        op = self.graph.operators[operator]
        return max(len(op.inputs), 2 if op.name == "RESHAPE" else 0)

    def role(self, operator: int, position: int) -> Role | None:
        spec = self.specs[operator]
        operand = spec.operand(position) if spec else None
        return operand.role if operand else None

    def fixed(self, operator: int) -> bool:
        """Whether the kernel insists on one output range."""
        spec = self.specs[operator]
        return spec is not None and any(o.fixed for o in spec.outputs)

    def fixed_grid(self, operator: int, position: int) -> Grid | None:
        """The only parameters that the kernel writes at an output, None where it has a choice."""
        spec = self.specs[operator]
        operand = spec.output(position) if spec else None
        if operand is None or not operand.fixed:
            return None
        dtype = common.output_setting(self.graph, self.recipe, operator, position).dtype
        found: Fixed | None = operand.fixed.get(dtype or "")
        if found is None:
            return None
        name = self.graph.operators[operator].name
        return Grid(dtype or "", Affine.of(found.scale, found.zero_point), f"fixed by {name}")

    # --- tensors ----------------------------------------------------------------------------------

    def range(self, tensor: int) -> Stats | None:
        """The calibrated range of a float tensor that is computed or fed, and that somebody reads.

        The converter drops the range of a value without readers, so that an input which the graph
        does not use stays float.
        """
        if not self.graph.is_float(tensor) or self.graph.is_constant(tensor):
            return None
        if tensor not in self.graph.readers and tensor not in self.graph.outputs:
            return None
        return self.ranges.get(self.graph.key(tensor))

    def activation_setting(self, tensor: int) -> Setting:
        """What the recipe says of a computed tensor, by the operator that writes it."""
        operator = self.graph.producer.get(tensor)
        if operator is None:
            return common.activation_setting(self.recipe, self.graph.name(tensor))
        position = self.graph.operators[operator].outputs.index(tensor)
        return common.output_setting(self.graph, self.recipe, operator, position)

    def grid(self, tensor: int) -> Grid | None:
        """Parameters of a tensor by its own calibrated range; None where it has none."""
        if tensor not in self._grids:
            stats = self.range(tensor)
            self._grids[tensor] = None if stats is None else self._choose(tensor, stats)
        return self._grids[tensor]

    def give(self, tensor: int, grid: Grid) -> None:
        """Sets the parameters of a tensor; of several readers' wishes the first holds."""
        self._grids.setdefault(tensor, grid)

    def given(self, tensor: int) -> Grid | None:
        """What `give` set, for tensors that no operator reads or writes."""
        return self._grids.get(tensor)

    def _choose(self, tensor: int, stats: Stats) -> Grid:
        found = self.activation_setting(tensor)
        what = f"tensor {self.graph.name(tensor)!r}"
        if found.scheme is None or found.dtype is None:
            raise BadRecipe(f"no rule gives {what} a scheme and a dtype; add one for activations")
        q = common.int_range(found.dtype, found.scheme.takes_narrow, what)
        params = common.choose(found.scheme, stats, q, what)
        return Grid(found.dtype, params, found.scheme.key, stats)

    def constant_rounding(self, operator: int, position: int) -> Rounding:
        """How a constant that stands in an activation's place becomes integers."""
        found = common.setting(self.graph, self.recipe, operator, position)
        if found.rounding is not None:
            return found.rounding
        if found.scheme is None:
            name = self.graph.name(self.graph.operators[operator].inputs[position])
            raise BadRecipe(f"no rule gives constant {name!r} a scheme; add one for activations")
        return found.scheme.rounding

    def readable(self, tensor: int) -> bool:
        """Whether a constant is one that the converter looks at: its first value is finite."""
        values = self.graph.constant(tensor)
        return values is not None and values.size > 0 and bool(np.isfinite(values.reshape(-1)[0]))
