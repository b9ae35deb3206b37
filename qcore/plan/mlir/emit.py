"""From decided slots to forms and steps, in the order in which the converter writes them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from kernels import ops
from kernels.opspec import Role
from kernels.opversion import Use
from qcore.errors import BadRecipe
from qcore.params import Affine
from qcore.plan import common
from qcore.plan.mlir import constants
from qcore.plan.mlir.decide import BASE, Decision, Value
from qcore.plan.mlir.problem import Problem
from qcore.plan.mlir.propagate import Propagation
from qcore.plan.values import Form, Step, SubgraphPlan


@dataclass
class Made:
    """Forms of one value as they come to exist, by version; floating: the value as float."""

    forms: dict[int, int] = field(default_factory=dict)
    dequantized: dict[int, int] = field(default_factory=dict)
    floating: int | None = None


class Emitter:
    """Builds the SubgraphPlan; `emit` once."""

    def __init__(self, problem: Problem, found: Propagation, entry: bool) -> None:
        self.problem = problem
        self.graph = problem.graph
        self.found = found
        self.decision = Decision(problem, found)
        self.values = self.decision.values
        self.input_type = problem.recipe.input_type if entry else "float32"
        self.output_type = problem.recipe.output_type if entry else "float32"
        self.forms: list[Form] = []
        self.steps: list[Step] = []
        self.made: dict[int, Made] = {t: Made() for t in self.values}
        self._plain: dict[int, int] = {}  # tensor -> form of the tensor as it is
        self._constants: dict[object, int] = {}
        self.copied: list[int] = []

    # --- forms ------------------------------------------------------------------------------------

    def _add(self, form: Form) -> int:
        self.forms.append(form)
        return len(self.forms) - 1

    def plain(self, tensor: int) -> int:
        """The form of a tensor that stays as it is."""
        if tensor not in self._plain:
            dtype = common.dtype_of(self.graph.tensors[tensor])
            self._plain[tensor] = self._add(Form(tensor=tensor, dtype=dtype))
        return self._plain[tensor]

    def _stored_form(self, value: Value, version: int) -> Form:
        grid = value.grid(version)
        note = None if grid.stats is None else common.degenerate(grid.stats, grid.params)
        rule = grid.rule if version == BASE else f"{grid.rule}, requantized"
        if version == value.first and version != BASE:
            rule = grid.rule
        return Form(
            tensor=value.tensor,
            dtype=grid.dtype,
            params=grid.params,
            rule=rule,
            stats=grid.stats,
            note=note,
        )

    def _inserted(self, name: str, source: int, target: int, note: str | None = None) -> None:
        use = self._use((source,), (target,), None)
        spec = ops.find(name)
        assert spec is not None
        self.steps.append(
            Step(None, name, spec.version(use), (source,), (target,), mode="kept", note=note)
        )

    def _named(self, form: Form, suffix: str) -> Form:
        return form.replace(name=f"{self.graph.name(form.tensor)}_{suffix}")

    def _versions(self, value: Value, have: int) -> None:
        """Adds what is read of a value behind its producer: QUANTIZE and DEQUANTIZE.

        have: the form that exists already, float, of version `value.first`, or the uint8 form of a
        graph input.
        """
        made = self.made[value.tensor]
        params, unsigned = self.forms[have].params, self.forms[have].dtype == "uint8"
        unsigned = unsigned and value.grid(value.first).dtype != "uint8"
        integers, floats = self._read(value, is_float=params is None)
        if params is None:
            made.floating = have
        elif not unsigned:
            made.forms[value.first] = have
        direct = unsigned and value.first in floats
        if direct:
            floats.remove(value.first)
        needed = integers | floats
        base = value.grid(BASE).dtype
        beside = {  # another type than the value's own, straight from the float
            v for v in needed if v >= 0 and params is None and value.grid(v).dtype != base
        }
        if any(v >= 0 for v in needed - beside):
            needed.add(BASE)
        if BASE in needed:
            needed.add(value.first)
        for version in dict.fromkeys((value.first, BASE, *range(len(value.slot.requests)))):
            if version in needed and version not in made.forms:
                form = self._stored_form(value, version)
                if version in beside:
                    parent, suffix = have, form.dtype
                    form = form.replace(rule=value.grid(version).rule)
                elif version == value.first:
                    parent, suffix = have, "int8" if unsigned else "quantized"
                else:
                    parent = made.forms[value.first if version == BASE else BASE]
                    suffix = "requantized"
                made.forms[version] = self._add(self._named(form, suffix))
                self._inserted("QUANTIZE", parent, made.forms[version])
            if version >= 0 and version in floats:
                self._dequantize(value, version, made.forms[version])
        for version in sorted(v for v in floats if v < 0):
            self._dequantize(value, version, made.forms[version])
        if direct:
            self._dequantize(value, value.first, have)

    def _dequantize(self, value: Value, version: int, source: int) -> None:
        form = Form(tensor=value.tensor, dtype="float32", rule="dequantized")
        number = self._add(self._named(form, "dequantized"))
        self.made[value.tensor].dequantized[version] = number
        self._inserted("DEQUANTIZE", source, number)

    def _read(self, value: Value, is_float: bool) -> tuple[set[int], set[int]]:
        """Versions that are read as integers, and that are read behind DEQUANTIZE."""
        integers: set[int] = set()
        floats: set[int | None] = set()
        for (operator, _), version in value.readers.items():
            if self.decision.integer(operator):
                integers.add(version)
            else:
                floats.add(value.float_version(version, is_float))
        if value.tensor in self.graph.outputs:
            shown, as_integer = self._output_version(value, is_float)
            if not as_integer:
                floats.add(shown)
            elif shown is not None:
                integers.add(shown)
        return integers, {v for v in floats if v is not None}

    def _output_version(self, value: Value, is_float: bool) -> tuple[int | None, bool]:
        """The version that a graph output shows, and whether as integers."""
        version = value.output
        dequantized = value.float_version(version, is_float)
        if self.output_type == "float32":
            return dequantized, False
        if version == BASE and self.decision.float_reads(value) > 1:
            # The shared DEQUANTIZE has been moved or removed by the time outputs are looked at.
            return dequantized, dequantized is not None
        return version, True

    # --- the subgraph -----------------------------------------------------------------------------

    def emit(self) -> SubgraphPlan:
        inputs = self._inputs()
        for i in range(len(self.graph.operators)):
            self._operator(i)
        outputs = self._outputs()
        self._keep_names(inputs, outputs)
        folded = tuple((i, "changes nothing") for i in self.copied)
        return SubgraphPlan(tuple(self.forms), tuple(self.steps), inputs, outputs, folded)

    def _keep_names(self, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> None:
        """Gives a graph output the name it had; what had it inside is told by its type."""
        for number in dict.fromkeys(outputs):
            form = self.forms[number]
            if form.name is None:
                continue
            for n, other in enumerate(self.forms):
                inside = n not in inputs and n not in outputs
                if inside and other.tensor == form.tensor and other.name is None:
                    self.forms[n] = self._named(other, other.dtype)
            self.forms[number] = form.replace(name=None)

    def _inputs(self) -> tuple[int, ...]:
        """Graph inputs and the QUANTIZE behind each that stays float."""
        numbers: dict[int, int] = {}
        later: list[tuple[Value, int]] = []
        for tensor in self.graph.inputs:
            value = self.values.get(tensor)
            if value is None or self.input_type == "float32":
                form = Form(tensor=tensor, dtype=common.dtype_of(self.graph.tensors[tensor]))
                if value is None and self.graph.is_float(tensor):
                    form = form.replace(note="not calibrated")
                numbers[tensor] = self._plain[tensor] = self._add(form)
            else:
                form = self._stored_form(value, BASE)
                if self.input_type == "uint8" and form.dtype == "int8":
                    assert form.params is not None
                    form = form.replace(dtype="uint8", params=_unsigned(form.params))
                elif self.input_type != form.dtype:
                    raise BadRecipe(
                        f"input {self.graph.name(tensor)!r} is quantized to {form.dtype}, and the "
                        f"recipe asks for {self.input_type}; use float32 or {form.dtype}"
                    )
                numbers[tensor] = self._add(form)
            if value is not None:
                later.append((value, numbers[tensor]))
        # Parameters that were handed on are inserted in front of those of own ranges, last first.
        handed = [x for x in later if not x[0].slot.own]
        for value, number in (*reversed(handed), *(x for x in later if x[0].slot.own)):
            self._versions(value, number)
        return tuple(numbers[t] for t in self.graph.inputs)

    def _operator(self, i: int) -> None:
        op, integer = self.graph.operators[i], self.decision.integer(i)
        if i in self.problem.copies:
            self._copy(i)
            return
        inputs = tuple(self._operand(i, p, t) for p, t in enumerate(op.inputs))
        inputs += (-1,) * (self._optional(i) - len(inputs))
        outputs = []
        for tensor in op.outputs:
            value = self.values.get(tensor)
            if integer and value is not None:
                outputs.append(self._add(self._stored_form(value, value.first)))
            else:
                outputs.append(-1 if tensor < 0 else self.plain(tensor))
        reason = None if integer else self.decision.reasons[i]
        computes = bool(self.problem.inputs(i) or self.problem.outputs(i))
        spec = self.problem.specs[i]
        version = op.code.version
        if spec is not None:
            version = spec.version(self._use(inputs, tuple(outputs), op.options))
        mode = "kept" if not computes else "float32" if not integer else self._mode(i)
        self.steps.append(
            Step(
                source=i,
                name=op.name,
                version=version,
                inputs=inputs,
                outputs=tuple(outputs),
                intermediates=tuple(self._intermediate(i, t) for t in op.intermediates or ()),
                options=common.wide_options(op.name) if mode == "int16x8" else {},
                mode=mode,
                note=reason if computes else None,
            )
        )
        for tensor, number in zip(op.outputs, outputs):
            if tensor in self.values:
                self._versions(self.values[tensor], number)

    def _copy(self, i: int) -> None:
        """An operator that hands on a value: its result is the form that it reads."""
        source, target = self.problem.copied(i)
        number = self._operand(i, self.graph.operators[i].inputs.index(source), source)
        if self.forms[number].params is None:
            self._plain[target] = number
        self.copied.append(i)
        if target in self.values:
            self._versions(self.values[target], number)

    def _optional(self, i: int) -> int:
        """Operands of an operator if an absent bias is written out, as the converter does.

        Nothing else is: RESHAPE's kernel reads a shape that is -1 and crashes.
        """
        spec = self.problem.specs[i]
        operands = spec.inputs if spec else ()
        count = len(self.graph.operators[i].inputs)
        return len(operands) if all(o.role is Role.BIAS for o in operands[count:]) else 0

    def _mode(self, i: int) -> str:
        grids = [self.found.slots[t].grid for _, t in self.problem.outputs(i)]
        grids += [self.found.read(i, p) for p, _ in self.problem.inputs(i)]
        grid = grids[0]
        assert grid is not None
        return "int16x8" if grid.dtype == "int16" else grid.dtype

    def _operand(self, i: int, position: int, tensor: int) -> int:
        """The form that an operator reads."""
        if tensor < 0:
            return -1
        if self.graph.is_constant(tensor):
            is_data = self.decision.integer(i) or self.decision.hybrid(i, position)
            is_data = is_data and self.graph.is_float(tensor)
            return self._constant(i, position, tensor) if is_data else self.plain(tensor)
        if self.graph.is_variable(tensor) and self.decision.integer(i):
            return self._state(i, position, tensor)
        value = self.values.get(tensor)
        if value is None:
            return self.plain(tensor)
        version = value.readers[i, position]
        if self.decision.integer(i):
            return self.made[value.tensor].forms[version]
        made = self.made[value.tensor]
        dequantized = value.float_version(version, made.floating is not None)
        if dequantized is not None:
            return made.dequantized[dequantized]
        assert made.floating is not None
        return made.floating

    def _state(self, i: int, position: int, tensor: int) -> int:
        """The form of a state that an integer operator keeps."""
        if tensor not in self._plain:
            grid = self.found.operand(i, position).grid
            assert grid is not None
            self._plain[tensor] = self._add(
                Form(tensor, grid.dtype, grid.params, grid.rule, grid.stats)
            )
        return self._plain[tensor]

    def _intermediate(self, i: int, tensor: int) -> int:
        """The form of an LSTM's intermediate tensor."""
        grid = self.problem.given(tensor) if self.decision.integer(i) else None
        if grid is None or tensor in self._plain:
            return self.plain(tensor)
        self._plain[tensor] = self._add(
            Form(tensor, grid.dtype, grid.params, grid.rule, grid.stats)
        )
        return self._plain[tensor]

    def _constant(self, i: int, position: int, tensor: int) -> int:
        """The stored form of a constant that an integer operator reads."""
        problem, slot = self.problem, self.found.operand(i, position)
        assert slot.grid is not None
        coarser = self.found.adjusted.get((i, position))
        grid = slot.grid if coarser is None else coarser.grid
        key = (tensor, grid.dtype, grid.params)
        if key not in self._constants:
            if slot.weight:
                form = constants.weight_form(problem, tensor, self.found.weight_use(slot))
                if coarser is not None:
                    rounding = form.rounding
                    if rounding is None or rounding.needs == "values":  # others are for any scale
                        rounding = coarser.rounding or rounding
                    form = form.replace(params=grid.params, rule=grid.rule, rounding=rounding)
            elif problem.role(i, position) is Role.BIAS:
                form = constants.bias_form(problem, i, position, grid)
            else:
                form = constants.operand_form(problem, i, position, grid)
            self._constants[key] = self._add(form)
        return self._constants[key]

    def _outputs(self) -> tuple[int, ...]:
        numbers = []
        for tensor in self.graph.outputs:
            value = self.values.get(tensor)
            if value is None:
                numbers.append(self.plain(tensor))
                continue
            made = self.made[value.tensor]
            version, as_integer = self._output_version(value, made.floating is not None)
            if version is None:
                assert made.floating is not None
                numbers.append(made.floating)
            elif not as_integer:
                numbers.append(made.dequantized[version])
            else:
                numbers.append(self._integer_output(value, version))
        return tuple(numbers)

    def _integer_output(self, value: Value, version: int) -> int:
        number = self.made[value.tensor].forms[version]
        form = self.forms[number]
        if form.dtype == self.output_type:
            return number
        if self.output_type == "uint8" and form.dtype == "int8":
            assert form.params is not None
            unsigned = form.replace(dtype="uint8", params=_unsigned(form.params))
            target = self._add(self._named(unsigned, "uint8"))
            self._inserted("QUANTIZE", number, target)
            return target
        raise BadRecipe(
            f"output {self.graph.name(value.tensor)!r} is quantized to {form.dtype}, and the "
            f"recipe asks for {self.output_type}; use float32 or {form.dtype}"
        )

    def _use(self, inputs: tuple[int, ...], outputs: tuple[int, ...], options: object) -> Use:
        """What the version of an operator depends on."""

        def dtype(number: int) -> str | None:
            return None if number < 0 else self.forms[number].dtype

        def scale(number: int) -> float | None:
            params = None if number < 0 else self.forms[number].params
            return None if params is None else float(params.scale[0])

        def shape(number: int) -> tuple[int, ...] | None:
            return None if number < 0 else self.graph.tensors[self.forms[number].tensor].shape

        both = (*inputs, *outputs)
        return Use(
            inputs=tuple(dtype(n) for n in inputs),
            outputs=tuple(dtype(n) for n in outputs),
            shapes=tuple(shape(n) for n in inputs),
            scales=tuple(scale(n) for n in both),
            options=options,
            per_channel=any(
                n >= 0 and (p := self.forms[n].params) is not None and p.groups > 1 for n in both
            ),
        )


def _unsigned(params: Affine) -> Affine:
    """The uint8 parameters of the same reals as int8 ones."""
    return Affine(params.scale, np.asarray(params.zero_point) + 128)
