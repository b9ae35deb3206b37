"""Weights alone: what becomes of operators that compute in float (dynamic, weight_only, float16).

Runs over a SubgraphPlan in which every operator to be computed in integers has been planned. A
weight is read by a hybrid kernel as it is stored, or stands behind a DEQUANTIZE that runs once.

Sources: LiteRT converter/transforms/prepare_quantize_dynamic_range.cc, quantize.cc and
optimize_op_order.cc, tools/versioning/op_version.cc, and what tensorflow 2.21 was measured to
write.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from kernels.affine import FLOAT16_MAX
from kernels.opspec import OpSpec, Role, Tie
from kernels.opversion import Use
from qcore.errors import BadRecipe
from qcore.granularity import PER_CHANNEL
from qcore.graph import Graph
from qcore.params import Affine
from qcore.plan import common
from qcore.plan.values import Form, Plan, Step, SubgraphPlan
from qcore.recipe import Recipe, Setting
from qcore.rounding import Float16, Nearest

MODES = ("dynamic", "weight_only", "float16")

# Operators whose hybrid kernel takes weights below eight bits (measured with ai-edge-litert 2.3).
NARROW_HYBRID = {
    "int4": frozenset({"FULLY_CONNECTED", "CONV_2D", "EMBEDDING_LOOKUP"}),
    "int2": frozenset({"FULLY_CONNECTED", "EMBEDDING_LOOKUP"}),
}
# Weights with a scale for each block of a row, by type; the block is a multiple of BLOCK_UNIT.
BLOCKWISE = {
    "int4": frozenset({"FULLY_CONNECTED", "EMBEDDING_LOOKUP"}),
}
BLOCK_UNIT = 32
SMALLEST_FLOAT16 = 2.0**-24
BLOCK_REMARKS = {"FULLY_CONNECTED": "the reference kernel takes the weights for 0"}
# Their hybrid kernel reads a scale for each channel, also where the file has one (measured).
PER_CHANNEL_ONLY = frozenset({"DEPTHWISE_CONV_2D"})
# DEQUANTIZE by the type it reads; per channel where that differs (op_version.cc).
DEQUANTIZE_VERSION = {"float16": 3, "int16": 3, "int8": 2, "uint8": 1, "int4": 6, "int2": 7}
DEQUANTIZE_PER_CHANNEL = 5


def plan_weights(graph: Graph, part: SubgraphPlan, recipe: Recipe) -> SubgraphPlan:
    """`part` with the weights of its float operators in the form that the recipe asks for.

    Only steps of mode "float32" that come from the source are looked at. Raises BadRecipe where a
    weight has no scheme or dtype, BadStatistics for a weight that holds NaN or infinity.
    """
    return _Weights(graph, part, recipe).plan()


def unify_versions(plan: Plan, inserted: bool = False) -> Plan:
    """One version for each operator: the highest that any of its uses in the file needs.

    The converter writes one operator code for each builtin, so a float FULLY_CONNECTED stands at
    version 12 once another one in the file is hybrid. The older quantizer does so only for what it
    inserts (inserted=True).
    """
    highest: dict[str, int] = {}
    for part in plan.subgraphs:
        for step in part.steps:
            if step.inserted or not inserted:
                highest[step.name] = max(step.version, highest.get(step.name, 0))

    def raised(step: Step) -> Step:
        if inserted and not step.inserted:
            return step
        return step.replace(version=highest[step.name])

    return plan.replace(
        subgraphs=tuple(
            part.replace(steps=tuple(map(raised, part.steps))) for part in plan.subgraphs
        )
    )


@dataclass(frozen=True)
class _Dequantize:
    """A DEQUANTIZE to insert: from form to form, behind step `after` (-1: before all steps)."""

    stored: int
    real: int
    after: int = -1


class _Weights:
    def __init__(self, graph: Graph, part: SubgraphPlan, recipe: Recipe):
        self.graph, self.part, self.recipe = graph, part, recipe
        self.forms: list[Form] = list(part.forms)
        self.steps: list[Step] = list(part.steps)
        computed = {f for step in part.steps for f in step.outputs}
        # Float constants as they stand in the source: what may be changed.
        self.free = {
            f
            for f, form in enumerate(part.forms)
            if form.dtype == "float32"
            and form.params is None
            and f not in computed
            and graph.is_constant(form.tensor)
            and graph.tensors[form.tensor].sparsity is None
            and self._size(form.tensor)
        }
        self.stored: dict[tuple[Any, ...], int] = {}  # (constant, ...) -> its stored form
        self.behind: dict[int, _Dequantize] = {}  # stored form -> its DEQUANTIZE

    def plan(self) -> SubgraphPlan:
        for i, step in enumerate(self.steps):
            if step.source is None or step.mode != "float32":
                continue
            mode = self.recipe.mode(step.name, self.graph.output_names(step.source))
            if mode == "float16":
                self._halve(i)
            elif mode in MODES:
                self._quantize(i, mode)
            elif mode == "float" and step.note is None:
                self.steps[i] = step.replace(note="the recipe says float")
        moved = [self._push_down(d) for d in self._in_order()]
        return self._assembled(moved)

    def _size(self, tensor: int) -> int:
        return prod(self.graph.tensors[tensor].shape or ())

    # float16

    def _halve(self, i: int) -> None:
        """Every float constant that step i reads becomes float16 behind DEQUANTIZE."""
        step = self.steps[i]
        for position, f in enumerate(step.inputs):
            if f not in self.free:
                continue
            if self._setting(self._source(step), position).dtype in (None, "float16"):
                self._dequantized(i, position, self._half_form(f), "float16")

    def _half_form(self, f: int) -> Form:
        form = self.forms[f]
        values = self.graph.constant(form.tensor)
        assert values is not None
        stats = common.stats_of(self.graph, form.tensor, None)
        beyond = 0
        if (np.abs([stats.lo, stats.hi]) > FLOAT16_MAX).any():
            beyond = int(np.count_nonzero(np.abs(values) > FLOAT16_MAX))
        return form.replace(
            dtype="float16",
            rule="float16",
            stats=stats,
            rounding=Float16(),
            saturated=beyond,
            note=f"{beyond} values beyond {FLOAT16_MAX:g}" if beyond else None,
        )

    # integers

    def _quantize(self, i: int, mode: str) -> None:
        """The weights of step i as integers, hybrid or behind DEQUANTIZE."""
        step = self.steps[i]
        source = self._source(step)
        spec = self.graph.spec(source)
        if spec is None:
            return
        positions = self._positions(spec, step, mode)
        small = self._too_small(step, positions)
        dynamic = spec.dynamic
        if small and dynamic is not None and mode == "dynamic":
            cell = len(dynamic.operands) > 1 and self.recipe.deviates("whole_cells")
            if dynamic.all_or_none or cell:
                positions = []
        for position in positions:
            if position in small:
                continue
            operand = spec.operand(position)
            axis = operand.axis if operand is not None else None
            if mode == "dynamic" and dynamic is not None and not dynamic.per_channel:
                axis = None
            found = self._setting(source, position)
            if found.dtype == "float32":
                continue
            form = self._form(spec, step, position, found, axis, mode)
            why = self._no_hybrid(spec, form, axis) if mode == "dynamic" else ""
            if why is None:
                self._hybrid(i, position, form)
            else:
                self._dequantized(i, position, form, mode, why)
        if small and self.steps[i].mode == "float32":
            self._remark(i, small, spec)
        elif mode == "dynamic" and dynamic is None and self._weights_of(spec, step):
            self.steps[i] = self.steps[i].replace(note=f"float: no hybrid kernel of {step.name}")

    def _form(
        self, spec: OpSpec, step: Step, position: int, found: Setting, axis: int | None, mode: str
    ) -> Form:
        """The integer form of a weight; per channel where blocks are asked for and not possible."""
        tensor = self.forms[step.inputs[position]].tensor
        granularity = found.granularity
        if granularity is None or granularity.kind != "blockwise":
            return self._constant(tensor, found, axis)
        shape = self.graph.tensors[tensor].shape or ()
        why = None
        if mode != "dynamic" or spec.name not in BLOCKWISE.get(found.dtype or "", ()):
            why = f"no kernel of {spec.name} takes {found.dtype} blocks in mode {mode}"
        elif granularity.axis not in (None, len(shape) - 1):
            why = f"blocks along axis {granularity.axis}, kernels take them along the last one"
        elif granularity.block % BLOCK_UNIT or shape[-1] % granularity.block:
            why = f"blocks of {granularity.block} do not fit rows of {shape[-1]}"
        if why is None:
            return self._blocks(spec.name, tensor, found, granularity.block)
        form = self._constant(tensor, dataclasses.replace(found, granularity=PER_CHANNEL), axis)
        return form.replace(note="; ".join(filter(None, (f"per channel: {why}", form.note))))

    def _constant(self, tensor: int, found: Setting, axis: int | None) -> Form:
        """The form of a constant, its scales positive whatever scheme they are by."""
        form = common.constant_form(self.graph, tensor, found, axis)
        return common.mended_form(form) if self.recipe.deviates("zero_scale") else form

    def _blocks(self, operator: str, tensor: int, found: Setting, block: int) -> Form:
        """A weight with one float16 scale for each block of a row, as the file stores them."""
        what = f"constant {self.graph.name(tensor)!r}"
        if found.scheme is None or found.dtype is None or not found.scheme.symmetric:
            raise BadRecipe(f"blockwise {what} needs a dtype and a symmetric scheme; give it both")
        values = self.graph.constant(tensor)
        assert values is not None
        stats = common.constant_stats(values.reshape(-1, block), 0)
        q = common.int_range(found.dtype, True, what)
        scale = common.choose_constant(self.graph, tensor, found.scheme, stats, q, 0, block).scale
        stored = np.clip(scale, SMALLEST_FLOAT16, FLOAT16_MAX).astype(np.float16)
        zero = np.zeros(scale.size, np.int64)
        notes = [BLOCK_REMARKS.get(operator), common.degenerate(stats)]
        return Form(
            tensor=tensor,
            dtype=found.dtype,
            params=Affine(stored.astype(np.float32), zero, values.ndim - 1, block),
            rule=f"{found.scheme.key}, float16 scales",
            stats=stats,
            range=q,
            # The integers are of the scale that the file holds, whatever the scheme's own rounding.
            rounding=found.rounding or Nearest(),
            note="; ".join(filter(None, notes)),
        )

    def _setting(self, source: int, position: int) -> Setting:
        """What the recipe says of a constant; in an activation's place it counts as a weight."""
        graph = self.graph
        op, operand = graph.operators[source], graph.operand(source, position)
        bias = operand is not None and operand.role is Role.BIAS
        return self.recipe.setting(
            op.name,
            "bias" if bias else "weight",
            operand.name if operand is not None else "",
            graph.name(op.inputs[position]),
            outputs=graph.output_names(source),
        )

    def _source(self, step: Step) -> int:
        assert step.source is not None
        return step.source

    def _weights_of(self, spec: OpSpec, step: Step) -> list[int]:
        """Positions of constant weights."""
        found = []
        for position, f in enumerate(step.inputs):
            operand = spec.operand(position)
            if f in self.free and operand is not None and operand.role is Role.WEIGHT:
                found.append(position)
        return found

    def _positions(self, spec: OpSpec, step: Step, mode: str) -> list[int]:
        """Input positions whose constants the mode is about."""
        taken = set(spec.dynamic.operands) if spec.dynamic is not None else set()
        if mode == "weight_only":
            taken.update(self._weights_of(spec, step))
        return [p for p in sorted(taken) if p < len(step.inputs) and step.inputs[p] in self.free]

    def _too_small(self, step: Step, positions: list[int]) -> dict[int, int]:
        """Position -> number of values, for weights below the recipe's least number."""
        names = self.graph.output_names(self._source(step))
        least = self.recipe.min_elements(step.name, names)
        sizes = {p: self._size(self.forms[step.inputs[p]].tensor) for p in positions}
        return {p: n for p, n in sizes.items() if n < least}

    def _remark(self, i: int, small: dict[int, int], spec: OpSpec) -> None:
        position, size = next(iter(small.items()))
        operand = spec.operand(position)
        name = operand.name if operand is not None else "constant"
        least = self.recipe.min_elements(
            spec.name, self.graph.output_names(self._source(self.steps[i]))
        )
        self.steps[i] = self.steps[i].replace(
            note=f"float: {name} has {size} values, fewer than {least}"
        )

    def _no_hybrid(self, spec: OpSpec, form: Form, axis: int | None) -> str | None:
        """Why the kernel cannot read the weight as it is stored; None if it can."""
        assert form.params is not None
        if spec.dynamic is None or not spec.dynamic.hybrid:
            return ""
        if form.dtype != "int8" and spec.name not in NARROW_HYBRID.get(form.dtype, ()):
            return f"{spec.name} has no hybrid kernel for {form.dtype}"
        if form.params.zero_point.any():
            return "the hybrid kernel takes zero point 0 only"
        if form.range is not None and not form.range.narrow:
            return f"the hybrid kernel misreads {form.range.qmin}"
        if spec.name in PER_CHANNEL_ONLY and form.params.axis is None:
            return "the hybrid kernel needs a scale for each channel"
        if form.params.block:
            return None
        if form.params.axis not in (None, axis):
            return f"the hybrid kernel takes no scales along axis {form.params.axis}"
        return None

    def _hybrid(self, i: int, position: int, form: Form) -> None:
        step = self.steps[i]
        spec = self.graph.spec(self._source(step))
        assert spec is not None and spec.dynamic is not None
        options = dict(step.options)
        if spec.dynamic.asymmetric_inputs:
            options["asymmetric_quantize_inputs"] = True
        step = step.replace(
            inputs=_with(step.inputs, position, self._store(step.inputs[position], form)),
            options=options,
            mode="dynamic",
        )
        self.steps[i] = step.replace(version=max(step.version, self._version(step, spec)))

    def _dequantized(self, i: int, position: int, form: Form, mode: str, note: str = "") -> None:
        """Step i reads a DEQUANTIZE of the stored form; one serves all readers."""
        step = self.steps[i]
        stored = self._store(step.inputs[position], form)
        if stored not in self.behind:
            name = f"{self.graph.name(form.tensor)}_dequantized"
            real = Form(tensor=form.tensor, dtype="float32", rule="dequantized", name=name)
            self.behind[stored] = _Dequantize(stored, self._add(real))
        self.steps[i] = step.replace(
            inputs=_with(step.inputs, position, self.behind[stored].real),
            mode="weight_only" if mode == "dynamic" else mode,
            note=note or step.note,
        )

    def _store(self, f: int, form: Form) -> int:
        """The number of a stored form of constant f, the same for equal forms."""
        key = (f, form.dtype, form.params, form.range, form.rounding)
        if key not in self.stored:
            self.stored[key] = self._add(form)
        return self.stored[key]

    def _add(self, form: Form) -> int:
        self.forms.append(form)
        return len(self.forms) - 1

    def _version(self, step: Step, spec: OpSpec) -> int:
        """The version that the step needs with the forms it has now."""
        source = self.graph.operators[self._source(step)]
        options = source.options
        if options is not None and step.options:
            options = options.replace(**step.options)
        return spec.version(self._use(step, options))

    def _use(self, step: Step, options: object) -> Use:
        def of(numbers: tuple[int, ...]) -> list[Form | None]:
            return [self.forms[f] if f >= 0 else None for f in numbers]

        inputs, outputs = of(step.inputs), of(step.outputs)
        several = [f for f in inputs if f is not None and f.params is not None]
        return Use(
            inputs=tuple(None if f is None else f.dtype for f in inputs),
            outputs=tuple(None if f is None else f.dtype for f in outputs),
            shapes=tuple(None if f is None else self.graph.tensors[f.tensor].shape for f in inputs),
            scales=tuple(
                float(f.params.scale[0]) if f is not None and f.params is not None else None
                for f in (*inputs, *outputs)
            ),
            options=options,
            per_channel=any(f.params is not None and f.params.groups > 1 for f in several),
        )

    # order and places of DEQUANTIZE

    def _in_order(self) -> list[_Dequantize]:
        """By the tensor they read: the order in which the converter writes them."""
        return sorted(self.behind.values(), key=lambda d: (self.forms[d.stored].tensor, d.stored))

    def _push_down(self, d: _Dequantize) -> _Dequantize:
        """`d` behind its reader while that one only moves values and makes fewer of them.

        GATHER from an int8 table is the usual case. The reader then works on the integers.
        """
        while True:
            params = self.forms[d.stored].params
            if params is None or params.axis is not None or self.forms[d.stored].dtype != "int8":
                return d
            readers = [i for i, step in enumerate(self.steps) for f in step.inputs if f == d.real]
            if len(readers) != 1 or d.real in self.part.outputs:
                return d
            i = readers[0]
            step = self.steps[i]
            if step.source is None or len(step.outputs) != 1:
                return d
            spec = self.graph.spec(step.source)
            if spec is None or spec.tie_under("mlir") is not Tie.SAME or "int8" not in spec.kernels:
                return d
            out = step.outputs[0]
            if self._count(self.forms[d.real].tensor) <= self._count(self.forms[out].tensor):
                return d
            d = self._moved(d, i, params, spec)

    def _moved(self, d: _Dequantize, i: int, params: Affine, spec: OpSpec) -> _Dequantize:
        step = self.steps[i]
        out = step.outputs[0]
        tensor = self.forms[out].tensor
        moved = Form(
            tensor=tensor,
            dtype="int8",
            params=params,
            rule=f"same as {self.graph.name(self.forms[d.stored].tensor)}",
            name=f"{self.graph.name(tensor)}_int8",
        )
        number = self._add(moved)
        step = step.replace(
            inputs=tuple(d.stored if f == d.real else f for f in step.inputs), outputs=(number,)
        )
        step = step.replace(version=max(step.version, self._version(step, spec)), mode="int8")
        self.steps[i] = step
        return _Dequantize(number, out, after=i)

    def _count(self, tensor: int) -> int:
        """Elements of a tensor, a dimension that is not static counted as 1."""
        record = self.graph.tensors[tensor]
        return prod(n for n in (record.shape_signature or record.shape or ()) if n >= 0)

    def _assembled(self, placed: list[_Dequantize]) -> SubgraphPlan:
        after: dict[int, list[Step]] = {}
        for d in placed:
            after.setdefault(d.after, []).append(self._step(d))
        steps = after.get(-1, [])
        for i, step in enumerate(self.steps):
            steps = [*steps, step, *after.get(i, ())]
        return self._renumbered(steps)

    def _step(self, d: _Dequantize) -> Step:
        form = self.forms[d.stored]
        several = form.params is not None and form.params.groups > 1
        version = DEQUANTIZE_VERSION[form.dtype]
        if several and form.dtype == "int8":
            version = DEQUANTIZE_PER_CHANNEL
        return Step(
            source=None,
            name="DEQUANTIZE",
            version=version,
            inputs=(d.stored,),
            outputs=(d.real,),
            mode="float16" if form.dtype == "float16" else "weight_only",
        )

    def _renumbered(self, steps: list[Step]) -> SubgraphPlan:
        """Stored forms take the number of the float constant that nobody reads any more."""
        used = {f for s in steps for f in (*s.inputs, *s.outputs, *s.intermediates)}
        used.update(self.part.inputs, self.part.outputs)
        place: dict[int, int] = {}
        taken: set[int] = set()
        for key, number in self.stored.items():
            f = key[0]
            if f not in used and f not in taken and number in used:
                place[number] = f
                taken.add(f)
        forms: list[Form] = []
        at: dict[int, int] = {-1: -1}
        for number, form in enumerate(self.forms):
            if number < len(self.part.forms):
                at[number] = len(forms)
                forms.append(form)
            elif number in place:
                at[number] = place[number]
                forms[place[number]] = form
            elif number in used:
                at[number] = len(forms)
                forms.append(form)

        def to(numbers: tuple[int, ...]) -> tuple[int, ...]:
            return tuple(at[n] for n in numbers)

        return self.part.replace(
            forms=tuple(forms),
            steps=tuple(
                s.replace(
                    inputs=to(s.inputs), outputs=to(s.outputs), intermediates=to(s.intermediates)
                )
                for s in steps
            ),
        )


def _with(numbers: tuple[int, ...], position: int, value: int) -> tuple[int, ...]:
    return (*numbers[:position], value, *numbers[position + 1 :])
