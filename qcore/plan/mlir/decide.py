"""Which operators become integer, and who reads which version of a value.

Sources: LiteRT converter/quantization/common/quantization_lib/quantization_utils.h
(QuantizationPattern, FoldTrivalRequantizeOp), tfl_quantization_driver.cc (RequantizeValue),
converter/transforms/{quantize,post_quantize,optimize_op_order}.cc.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from kernels.opspec import Role
from qcore.plan.mlir.problem import Grid, Problem
from qcore.plan.mlir.propagate import Propagation, Slot
from qcore.recipe import INTEGER

# Which version of a value somebody reads: its own parameters, what its producer wrote before them,
# or the n-th request.
BASE, INNER = -1, -2
_STORED = ("int8", "uint8", "int16")


@dataclass
class Value:
    """The versions of one computed tensor, and which of them each reader takes.

    readers: (operator, position) -> version.  output: the version that graph outputs show.
    """

    tensor: int
    slot: Slot
    readers: dict[tuple[int, int], int] = field(default_factory=dict)
    output: int = BASE

    def grid(self, version: int) -> Grid:
        found = (
            self.slot.inner
            if version == INNER
            else self.slot.grid
            if version == BASE
            else self.slot.requests[version].grid
        )
        assert found is not None
        return found

    @property
    def first(self) -> int:
        """The version that the producer writes."""
        return BASE if self.slot.inner is None else INNER

    def float_version(self, version: int, is_float: bool) -> int | None:
        """What a float reader of `version` dequantizes, None where it reads the float value itself.

        is_float: the value exists as float. Parameters that the quantizer made up for a value may
        be taken back, requests are kept.
        """
        if version >= 0:
            return version
        if self.slot.inner is not None:
            return INNER
        return None if is_float else BASE


class Decision:
    """integer: by operator, whether it becomes an integer operator.  values: by tensor."""

    def __init__(self, problem: Problem, found: Propagation) -> None:
        self.problem = problem
        self.graph = problem.graph
        self.found = found
        count = len(self.graph.operators)
        self.reasons = [self._why_float(i) for i in range(count)]
        self.values = {t: self._value(t) for t in self._computed() if self._stored(t)}
        if not problem.recipe.deviates("integer_readers"):
            for i in (*reversed(range(count)), *range(count)):
                self._keep_unreached(i)
        for i in range(count):
            self._hand_on(i)
            self._push_down(i)

    def integer(self, operator: int) -> bool:
        return self.reasons[operator] is None

    def hybrid(self, operator: int, position: int) -> bool:
        """Whether a float operator reads int8 weights: TRANSPOSE_CONV does, once they have some."""
        problem = self.problem
        if problem.graph.operators[operator].name != "TRANSPOSE_CONV" or self.integer(operator):
            return False
        if (
            problem.modes[operator] != "static"
            or problem.role(operator, position) is not Role.WEIGHT
        ):
            return False
        return self.found.operand(operator, position).grid is not None

    def producer_integer(self, tensor: int) -> bool:
        producer = self.graph.producer.get(tensor)
        return producer is not None and self.integer(producer)

    def _computed(self) -> list[int]:
        graph = self.graph
        made = [t for op in graph.operators for t in op.outputs if t >= 0]
        return [t for t in dict.fromkeys((*graph.inputs, *made)) if t >= 0 and graph.is_float(t)]

    def _stored(self, tensor: int) -> bool:
        return self.found.stored(self.found.result(tensor))

    def _why_float(self, operator: int) -> str | None:
        """Why an operator is left float, None where it becomes an integer operator."""
        problem, graph = self.problem, self.graph
        name = graph.operators[operator].name
        mode = problem.modes[operator]
        inputs, outputs = problem.inputs(operator), problem.outputs(operator)
        if not inputs and not outputs:
            return "no float operand"
        if operator in problem.copies:
            return "between two ranges of one value"
        if mode not in INTEGER:
            # ASSIGN_VARIABLE has no output.
            first = next(iter(graph.operators[operator].outputs), -1)
            return problem.beyond.get(first, f"the recipe says {mode}")
        spec = problem.specs[operator]
        if spec is None or not spec.mlir:
            return f"the converter has no integer {name}"
        dtypes = set()
        for position, tensor in inputs:
            where = f"input {position} ({graph.name(tensor)})"
            slot = self.found.operand(operator, position)
            if problem.role(operator, position) is Role.BIAS and not graph.is_constant(tensor):
                return f"{where} is a computed bias"
            if slot.grid is None:
                if graph.is_constant(tensor):
                    readable = problem.readable(tensor)
                    return f"{where} has no parameters" if readable else f"{where} is not finite"
                if problem.range(tensor) is not None:
                    return f"{where} is tied to others and is handed no scale by them"
                return f"{where} has no range"
            if not self.found.stored(slot):
                return f"{where} stays float"
            if problem.role(operator, position) is Role.ACTIVATION:
                grid = self.found.read(operator, position)
                assert grid is not None
                dtypes.add(grid.dtype)
        for position, tensor in outputs:
            slot = self.found.result(tensor)
            if slot.grid is None or not self.found.stored(slot):
                return f"output {position} ({graph.name(tensor)}) has no range"
            dtypes.add(slot.grid.dtype)
        strange = sorted(d for d in dtypes & set(_STORED) if d != "int8" and d not in spec.kernels)
        return f"there is no {strange[0]} kernel for {name}" if strange else None

    # --- versions ---------------------------------------------------------------------------------

    def _value(self, tensor: int) -> Value:
        """Who reads which version.

        If every read could be a request, the first request takes over the tensor's own DEQUANTIZE
        and with it all readers that did not ask for something else.
        """
        slot = self.found.slots[tensor]
        value = Value(tensor, slot)
        reads = self.graph.readers.get(tensor, ())
        count = len(reads) + self.graph.outputs.count(tensor)
        usual = 0 if slot.requests and count <= len(slot.requests) else BASE
        value.output = usual if slot.output is None else slot.output
        value.readers = dict.fromkeys(reads, usual)
        for number, request in enumerate(slot.requests):
            for user in request.users:
                value.readers[user] = number
        self._merge_trivial(value)
        return value

    def _merge_trivial(self, value: Value) -> None:
        """A producer with a free choice writes the requested version itself if no other is read."""
        slot, tensor = value.slot, value.tensor
        if not slot.requests or slot.inner is not None or not self.producer_integer(tensor):
            return
        producer = self.graph.producer[tensor]
        if self.problem.tied(producer) or self.problem.fixed(producer):
            return
        read = set(value.readers.values())
        if tensor in self.graph.outputs:
            read.add(value.output)
        if BASE in read or len(read) != 1:
            return
        asked = slot.requests[read.pop()].grid
        if slot.grid is not None and asked.dtype != slot.grid.dtype:
            return  # its kernel writes the type that it reads
        slot.grid = asked
        slot.requests = []
        value.readers = dict.fromkeys(value.readers, BASE)
        value.output = BASE

    def float_reads(self, value: Value) -> int:
        """Reads as float: operators left float, and graph outputs."""
        count = sum(not self.integer(i) for i, _ in value.readers)
        return count + self.graph.outputs.count(value.tensor)

    # --- operators that the converter does not reach ----------------------------------------------

    def _keep_unreached(self, operator: int) -> None:
        """Leaves an operator without float results float where the converter does.

        It comes to such an operator only through a DEQUANTIZE that it reads, whose readers it takes
        one after another and stops at one that stays float.
        """
        problem, inputs = self.problem, self.problem.inputs(operator)
        if not self.integer(operator) or problem.outputs(operator) or not inputs:
            return
        if self.graph.operators[operator].name == "SHAPE":  # folded long before
            return
        if not any(self._reached(operator, position) for position, _ in inputs):
            self.reasons[operator] = "another reader of its input stays float"

    def _reached(self, operator: int, position: int) -> bool:
        """Whether all readers that come before are integer.

        Readers come from the last to the first, and graph outputs before them; from the first to
        the last where the parameters of the value replaced its own range, and of a constant.
        """
        graph = self.graph
        tensor = graph.operators[operator].inputs[position]
        value = self.values.get(tensor)
        if value is None:  # a constant
            shared = self.found.operand(operator, position).weight
            before = [i for i, _ in graph.readers[tensor] if i < operator]
            return not shared or all(self.integer(i) for i in before)
        version = value.readers[operator, position]
        readers = [i for (i, _), v in value.readers.items() if v == version]
        if not value.slot.own and self.problem.range(tensor) is not None:
            return all(self.integer(i) for i in readers if i < operator)
        if tensor in graph.outputs and value.output == version:
            return False
        return all(self.integer(i) for i in readers if i > operator)

    # --- values with two ranges -------------------------------------------------------------------

    def _hand_on(self, operator: int) -> None:
        """Lets the result of a copy be the input's integers, where there are any.

        The converter drops a DEQUANTIZE and QUANTIZE in a row behind an operator, and with it the
        second range. A tied reader still needs the parameters that it was promised.
        """
        if operator not in self.problem.copies:
            return
        source, target = self.problem.copied(operator)
        value, result = self.values.get(source), self.values.get(target)
        if value is None or result is None:
            return
        position = self.graph.operators[operator].inputs.index(source)
        version = value.readers[operator, position]
        made = self.producer_integer(source)
        grid = value.grid(version)
        if not (made and version == value.first) and not grid.same(result.slot.grid):
            return
        self.reasons[operator] = None
        if grid.same(result.slot.grid):
            return
        tied = any(self.problem.tied(i) and self.integer(i) for i, _ in result.readers)
        if tied and result.slot.inner is None:
            result.slot.inner = grid
        else:
            result.slot.grid = grid

    # --- DEQUANTIZE behind operators that shrink --------------------------------------------------

    def _push_down(self, operator: int) -> None:
        """Makes a float operator integer that only moves values and writes fewer than it reads.

        The converter pushes a DEQUANTIZE with one reader through such an operator, which then works
        on the integers that were dequantized.
        """
        problem, graph = self.problem, self.graph
        inputs, outputs = problem.inputs(operator), problem.outputs(operator)
        op = graph.operators[operator]
        if self.integer(operator) or problem.modes[operator] not in INTEGER:
            return
        if not (problem.quantizable(operator) and problem.tied(operator)):
            return
        if len(inputs) != 1 or len(outputs) != 1 or len(op.outputs) != 1:
            return
        (position, source), (_, target) = inputs[0], outputs[0]
        if problem.apart(operator, source):
            return
        value = self.values.get(source)
        if value is None or target in self.values:
            return
        if _elements(graph.tensors[source]) <= _elements(graph.tensors[target]):
            return
        is_float = source in graph.producer and not self.producer_integer(source)
        version = value.float_version(value.readers[operator, position], is_float)
        if version is None or self._dequantized_reads(value, version, is_float) != 1:
            return
        grid = value.grid(version).like(f"same as {op.name} {operator}")
        value.readers[operator, position] = version
        slot = self.found.result(target)
        slot.grid, slot.own = grid, True
        self.values[target] = Value(
            target, slot, dict.fromkeys(graph.readers.get(target, ()), BASE)
        )
        self.reasons[operator] = None

    def _dequantized_reads(self, value: Value, version: int, is_float: bool) -> int:
        reads = [v for (i, _), v in value.readers.items() if not self.integer(i)]
        reads += [value.output] * self.graph.outputs.count(value.tensor)
        return sum(value.float_version(v, is_float) == version for v in reads)


def _elements(tensor: object) -> int:
    """Number of values, unknown dimensions counted as one."""
    shape = getattr(tensor, "shape_signature", None) or getattr(tensor, "shape", None) or ()
    return int(np.prod([n if n >= 0 else 1 for n in shape], dtype=np.int64))
