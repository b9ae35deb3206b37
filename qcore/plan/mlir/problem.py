"""What is to be planned, and the questions that the rules ask about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from kernels.opspec import Fixed, OpSpec, Role, Tie
from qcore.errors import BadRecipe
from qcore.graph import Graph
from qcore.params import Affine, Stats, TensorKey
from qcore.plan import common
from qcore.recipe import INTEGER, Recipe, Setting
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

    def computes(self, operator: int) -> bool:
        """Whether the operator is to be computed in integers, as far as the recipe goes."""
        return self.modes[operator] in INTEGER and self.quantizable(operator)

    def wide(self, operator: int) -> bool:
        """Whether the operator is to be computed on int16 activations beside others on int8."""
        return self.islands and self.modes[operator] == "int16x8" and self.computes(operator)

    @cached_property
    def islands(self) -> bool:
        """Whether the recipe asks for such operators at all."""
        return any(rule.mode == "int16x8" for rule in self.recipe.rules)

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
        made = self.outputs(operator)
        wide = bool(made) and all(self.wide_value(t) for _, t in made)
        return spec is not None and any(
            "int16" in o.fixed if wide else o.fixed for o in spec.outputs
        )

    def fixed_grid(self, operator: int, position: int) -> Grid | None:
        """The only parameters that the kernel writes at an output, None where it has a choice."""
        tensor = self.graph.operators[operator].outputs[position]
        return self._fixed(operator, position, self.wide_value(tensor))

    def _fixed(self, operator: int, position: int, wide: bool) -> Grid | None:
        spec = self.specs[operator]
        operand = spec.output(position) if spec else None
        if operand is None or not operand.fixed:
            return None
        dtype = common.output_setting(self.graph, self.recipe, operator, position, wide).dtype
        found: Fixed | None = operand.fixed.get(dtype or "")
        if found is None:
            return None
        name = self.graph.operators[operator].name
        return Grid(dtype or "", Affine.of(found.scale, found.zero_point), f"fixed by {name}")

    # --- islands of int16 -------------------------------------------------------------------------

    @cached_property
    def _wide(self) -> dict[int, bool]:
        return {}

    def wide_value(self, tensor: int) -> bool:
        """Whether a computed value's own parameters are int16 of an island.

        The operator that writes it decides. A value that exists as float first is what all of its
        integer readers are, and a graph input what the caller gives.
        """
        if not self.islands:
            return False
        if tensor not in self._wide:
            self._wide[tensor] = self._is_wide(tensor)
        return self._wide[tensor]

    def _is_wide(self, tensor: int) -> bool:
        producer = self.graph.producer.get(tensor)
        if producer is not None and producer in self.copies:
            return self.wide_value(self.copied(producer)[0])
        if producer is not None and self.computes(producer):
            return self.wide(producer)
        if producer is None and tensor in self.graph.inputs and common.is_entry(self.graph):
            if self.recipe.input_type != "float32":
                return self.recipe.input_type == "int16"
        readers = set(self._integer_readers(tensor))
        return bool(readers) and all(map(self.wide, readers))

    def _integer_readers(self, tensor: int) -> Iterator[int]:
        for i, _ in self.graph.readers.get(tensor, ()):
            if i in self.copies:
                source, target = self.copied(i)
                if source == tensor:
                    yield from self._integer_readers(target)
            elif self.computes(i):
                yield i

    def copied(self, operator: int) -> tuple[int, int]:
        """Input and result of an operator that hands on a value."""
        graph, op = self.graph, self.graph.operators[operator]
        (target,) = op.outputs
        shape = graph.tensors[target].shape
        source = next(
            t
            for t in op.inputs
            if graph.is_float(t) and not graph.is_constant(t) and graph.tensors[t].shape == shape
        )
        return source, target

    def apart(self, operator: int, tensor: int) -> bool:
        """Whether a computed operand or result has another type than the operator works on."""
        if not self.islands or self.graph.is_constant(tensor):
            return False
        if self.computes(operator):
            return self.wide(operator) != self.wide_value(tensor)
        first = next((t for _, t in (*self.outputs(operator), *self.inputs(operator))), tensor)
        return self.wide_value(first) != self.wide_value(tensor)

    def across(self, tensor: int, base: Grid, wide: bool) -> Grid | None:
        """The parameters of a value for readers on the other side of an island's border.

        Into an island: where the value's own steps are all there is of it (`base`, int8), each of
        them is 128 steps of int16, so that nothing is rounded or clipped; a value that exists as
        float is quantized from it on its own range. Out of it: as the value would be without the
        island.
        """
        origin, stats = self._origin(tensor), self.range(tensor)
        producer = self.graph.producer.get(origin)
        if wide and base.dtype == "int16":  # by a dtype of the rules
            return base
        if wide:
            params = common.widened(base.params)
            if params is not None and not (stats is not None and self._is_float(origin)):
                return Grid("int16", params, f"{base.dtype} steps / 128")
        elif producer is not None:
            position = self.graph.operators[producer].outputs.index(origin)
            if (fixed := self._fixed(producer, position, False)) is not None:
                return fixed
        if stats is None:
            stats = common.reach(base.params, base.dtype)
        return self._choose(tensor, stats, wide)

    def _origin(self, tensor: int) -> int:
        """The value that a chain of operators hands on as `tensor`."""
        while (producer := self.graph.producer.get(tensor)) is not None and producer in self.copies:
            tensor = self.copied(producer)[0]
        return tensor

    def _is_float(self, tensor: int) -> bool:
        """Whether a value exists as float before it is quantized."""
        producer = self.graph.producer.get(tensor)
        if producer is not None:
            return not self.computes(producer)
        return self.recipe.input_type == "float32" or not common.is_entry(self.graph)

    def _near(self, tensor: int) -> bool:
        """Whether an operator that is to be integer reads or writes a value."""
        producer = self.graph.producer.get(tensor)
        made = producer is not None and self.computes(producer)
        return made or next(self._integer_readers(tensor), None) is not None

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

    def activation_setting(self, tensor: int, wide: bool | None = None) -> Setting:
        """What the recipe says of a computed tensor, by the operator that writes it.

        wide: whether as int16 of an island; None: as the value itself is.
        """
        if wide is None:
            wide = self.wide_value(tensor)
        operator = self.graph.producer.get(tensor)
        if operator is None:
            return common.activation_setting(self.recipe, self.graph.name(tensor), wide)
        position = self.graph.operators[operator].outputs.index(tensor)
        return common.output_setting(self.graph, self.recipe, operator, position, wide)

    def setting(self, operator: int, position: int) -> Setting:
        """What the recipe says of an operand."""
        return common.setting(self.graph, self.recipe, operator, position, self.wide(operator))

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

    def _choose(self, tensor: int, stats: Stats, wide: bool | None = None) -> Grid | None:
        found = self.activation_setting(tensor, wide)
        what = f"tensor {self.graph.name(tensor)!r}"
        if found.scheme is None or found.dtype is None:
            if self.islands and not self._near(tensor):
                return None
            raise BadRecipe(f"no rule gives {what} a scheme and a dtype; add one for activations")
        q = common.int_range(found.dtype, found.scheme.takes_narrow, what)
        params = common.choose(found.scheme, stats, q, what)
        return Grid(found.dtype, params, found.scheme.key, stats)

    def constant_rounding(self, operator: int, position: int) -> Rounding:
        """How a constant that stands in an activation's place becomes integers."""
        found = self.setting(operator, position)
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
