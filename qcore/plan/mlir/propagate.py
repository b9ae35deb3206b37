"""How parameters travel through the graph, and who has to requantize.

The converter hands parameters on with a work list, so the order in which it visits operators
decides conflicts: operators from the last to the first, weights after them, and whatever gets new
parameters puts its neighbours on top. We keep that order, since it is what makes a tensor's scale.

Source: LiteRT converter/quantization/common/quantization_lib/tfl_quantization_driver.cc.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from kernels.opspec import Role
from qcore.plan import common
from qcore.plan.mlir import constants
from qcore.plan.mlir.problem import Grid, Problem

# A tensor; or one use (tensor, operator, position) of a constant that is quantized for that use.
Key: TypeAlias = "int | tuple[int, int, int]"


@dataclass
class Request:
    """Readers (operator, position) that want a value on another grid than its own."""

    grid: Grid
    users: list[tuple[int, int]]


@dataclass
class Slot:
    """What has been decided for one value.

    grid: its parameters.  own: they come from its own range and nothing changes them.
    inner: what its producer writes where that differs; a QUANTIZE to `grid` follows.
    requests: requantized versions for some readers.
    output: which of them graph outputs show, None for the value itself.
    weight: a constant with parameters of its own content.
    form: for weights, the quantized constant.
    """

    key: Key
    grid: Grid | None = None
    own: bool = False
    inner: Grid | None = None
    requests: list[Request] = field(default_factory=list)
    output: int | None = None
    weight: bool = False

    @property
    def tensor(self) -> int:
        return self.key if isinstance(self.key, int) else self.key[0]


class Propagation:
    """The work list and the slots it fills; `run` once, then read `slots`."""

    def __init__(self, problem: Problem, kept: frozenset[int]) -> None:
        self.problem = problem
        self.graph = problem.graph
        self.kept = kept
        self.slots: dict[Key, Slot] = {}
        self.adjusted: dict[tuple[int, int], constants.Coarser] = {}
        self.worked = tuple(
            problem.quantizable(i) or problem.tied(i) for i in range(len(self.graph.operators))
        )
        self._list: list[Slot | int] = []
        self._done: set[int] = set()

    # --- slots ------------------------------------------------------------------------------------

    def operand(self, operator: int, position: int) -> Slot:
        """The slot of an operand: of the tensor, or of this use of a constant."""
        tensor = self.graph.operators[operator].inputs[position]
        key: Key = tensor
        if self.graph.is_constant(tensor) and (
            not self._by_content(operator, position)
            or constants.own_use(self.problem, operator, position)
        ):
            key = (tensor, operator, position)
        return self._slot(key)

    def _by_content(self, operator: int, position: int) -> bool:
        """Whether a constant gets its parameters from its own values here."""
        problem = self.problem
        return problem.role(operator, position) is not Role.BIAS and not problem.tied(operator)

    def result(self, tensor: int) -> Slot:
        return self._slot(tensor)

    def _slot(self, key: Key) -> Slot:
        slot = self.slots.get(key)
        if slot is None:
            slot = self.slots[key] = Slot(key)
            if isinstance(key, int) and key in self.kept:
                slot.grid, slot.own = self.problem.grid(key), True
        return slot

    def stored(self, slot: Slot) -> bool:
        """Whether an integer version of the value comes to exist.

        A value that was only ever asked for by a reader, and whose producer the converter does not
        know, is given no QUANTIZE.
        """
        if slot.grid is None:
            return False
        producer = self.graph.producer.get(slot.tensor)
        return slot.own or producer is None or self.worked[producer]

    # --- the work list ----------------------------------------------------------------------------

    def run(self) -> None:
        self._list = [*self._weights(), *(i for i, w in enumerate(self.worked) if w)]
        self._work()
        if self.problem.recipe.deviates("unreached"):
            while self._unreached():
                self._work()
        if self.problem.islands:
            self._borders()

    def _borders(self) -> None:
        """What operators read of values on the other side of an island's border, and with it the
        biases that follow from it; last what graph outputs show."""
        problem = self.problem
        for i in range(len(self.graph.operators)):
            if not problem.computes(i):
                continue
            if not problem.tied(i):
                for position, tensor in problem.inputs(i):
                    if problem.apart(i, tensor) and problem.role(i, position) is Role.ACTIVATION:
                        self._cross(self.operand(i, position), problem.wide(i), (i, position))
            for position, _ in problem.inputs(i):
                if problem.role(i, position) is Role.BIAS:
                    self._set_bias(i, position)
        wanted = problem.recipe.output_type
        if wanted == "float32" or not common.is_entry(self.graph):
            return
        for tensor in dict.fromkeys(self.graph.outputs):
            if self.graph.is_float(tensor) and not self.graph.is_constant(tensor):
                if problem.wide_value(tensor) != (wanted == "int16"):
                    slot = self.result(tensor)
                    slot.output = self._cross(slot, wanted == "int16", None)

    def _cross(self, slot: Slot, wide: bool, user: tuple[int, int] | None) -> int | None:
        """Asks for a value as it is on the other side of the border; the number of the request."""
        if slot.grid is None:
            return None
        grid = self.problem.across(slot.tensor, slot.grid, wide)
        if grid is None or grid.same(slot.grid):
            return None
        return self._request(slot, grid, user)

    def read(self, operator: int, position: int) -> Grid | None:
        """The parameters with which an operator reads an operand."""
        slot = self.operand(operator, position)
        for request in slot.requests:
            if (operator, position) in request.users:
                return request.grid
        return slot.grid

    def _unreached(self) -> bool:
        """Puts tied operators on the list whose parameters came after the list had passed them."""
        self._list = [
            i
            for i, worked in enumerate(self.worked)
            if worked
            and i not in self._done
            and self.problem.tied(i)
            and self._shared(i) is not None
        ]
        return bool(self._list)

    def _work(self) -> None:
        while self._list:
            item = self._list.pop()
            if isinstance(item, Slot):
                self._give_weight(item)
            elif item not in self._done:
                self._done.add(item)
                self._visit(item)

    def _weights(self) -> list[Slot]:
        """Slots of the constants that have parameters of their own and that somebody can use."""
        found: dict[Key, Slot] = {}
        for i in range(len(self.graph.operators)):
            if not self.problem.computes(i):
                continue
            for position, tensor in self.problem.inputs(i):
                if not self.graph.is_constant(tensor) or not self._by_content(i, position):
                    continue
                if self.problem.readable(tensor):
                    slot = self.operand(i, position)
                    slot.weight = True
                    found.setdefault(slot.key, slot)
        return list(found.values())

    def weight_use(self, slot: Slot) -> tuple[int, int]:
        """(operator, position) of the read that decides how a constant is quantized."""
        if isinstance(slot.key, tuple):
            return slot.key[1:]
        return constants.weight_use(self.problem, slot.tensor)

    def _give_weight(self, slot: Slot) -> None:
        if slot.grid is None:
            slot.grid = constants.weight_grid(self.problem, slot.tensor, self.weight_use(slot))
            self._push_readers(slot.tensor)

    def _push_readers(self, tensor: int) -> None:
        """Put the readers on the list; those of a value that had a range: the last one on top."""
        readers = [i for i, _ in self.graph.readers.get(tensor, ()) if self.worked[i]]
        if self.problem.range(tensor) is None:
            readers.reverse()
        self._list.extend(readers)

    def _push_producer(self, slot: Slot) -> None:
        producer = self.graph.producer.get(slot.tensor)
        if producer is not None and not slot.own and self.worked[producer]:
            self._list.append(producer)

    def _visit(self, operator: int) -> None:
        problem = self.problem
        name = self.graph.operators[operator].name
        if problem.tied(operator):
            grid = self._shared(operator)
            if grid is None:  # nothing has reached it yet
                self._done.discard(operator)
                return
            grid = grid.like(f"same as {name} {operator}")
            for position, tensor in problem.inputs(operator):
                if not problem.apart(operator, tensor):
                    self._set_operand(operator, position, grid)
                elif problem.computes(operator):
                    self._request(self.operand(operator, position), grid, (operator, position))
            for _, tensor in problem.outputs(operator):
                if not problem.apart(operator, tensor):
                    self._set_result(tensor, grid)
        for position, tensor in problem.outputs(operator):
            fixed = problem.fixed_grid(operator, position)
            if fixed is not None:
                self._set_result(tensor, fixed)
        for position, _ in problem.inputs(operator):
            if problem.role(operator, position) is not Role.BIAS:
                continue
            across = any(problem.apart(operator, t) for _, t in problem.inputs(operator))
            if across or not self._set_bias(operator, position):
                self._done.discard(operator)

    def _shared(self, operator: int) -> Grid | None:
        """The parameters that all operands and results of a tied operator take.

        What a range of its own fixed goes first: the result's where there is one result, else the
        first operand's; then what has been handed on, in the same order. With one operand in all,
        that operand goes before the result.
        """
        problem = self.problem
        inputs = problem.inputs(operator)
        if (
            len(inputs) == 1
            and problem.computes(operator)
            and problem.apart(operator, inputs[0][1])
        ):
            # It stands at a border: what is moved or averaged keeps its range, as without one.
            slot = self.operand(operator, inputs[0][0])
            if problem.range(slot.tensor) is not None:
                wide = problem.wide(operator)
                return slot.grid and problem.across(slot.tensor, slot.grid, wide)
        inputs = tuple(use for use in inputs if not problem.apart(operator, use[1]))
        operands = [self.operand(operator, p) for p, _ in inputs]
        outputs = [t for _, t in problem.outputs(operator) if not problem.apart(operator, t)]
        results = [self.result(t) for t in outputs]
        one_operand = problem.operand_count(operator) == 1
        one_result = len(self.graph.operators[operator].outputs) == 1
        for own in (True, False):
            before = [s.grid for s in operands if s.grid is not None and s.own == own]
            after = [s.grid for s in results if s.grid is not None and s.own == own]
            if one_operand and before:
                return before[0]
            if one_result and after:
                return after[0]
            if before or after:
                return (before + after)[0]
        return None

    def _set_operand(self, operator: int, position: int, grid: Grid) -> None:
        slot = self.operand(operator, position)
        if slot.grid is None:
            slot.grid = grid
            self._push_producer(slot)
        elif not slot.grid.same(grid):
            self._request(slot, grid, (operator, position))

    def _request(self, slot: Slot, grid: Grid, user: tuple[int, int] | None) -> int:
        """Asks for a value on another grid, None for a graph output; the number of the request."""
        users = [] if user is None else [user]
        for number, request in enumerate(slot.requests):
            if request.grid.same(grid):
                request.users += users
                return number
        slot.requests.append(Request(grid, users))
        return len(slot.requests) - 1

    def _set_result(self, tensor: int, grid: Grid) -> None:
        slot = self.result(tensor)
        if slot.grid is None:
            slot.grid = grid
            self._push_readers(tensor)
        elif not slot.grid.same(grid) and slot.inner is None:
            slot.inner = grid

    def _set_bias(self, operator: int, position: int) -> bool:
        """Parameters of a bias from those of the operands it is added to; False if too early."""
        slot = self.operand(operator, position)
        if slot.grid is not None:
            return True
        grids = {p: self.read(operator, p) for p, _ in self.problem.inputs(operator)}
        made = constants.bias_grid(self.problem, operator, position, grids)
        if made is None:
            return False
        slot.grid = made.bias
        if made.weight is not None:
            self.adjusted[operator, made.weight_position] = made.weight
        return True
