"""The plan of a subgraph while it is being made: forms that change, operators in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from kernels import ranges as int_ranges
from kernels.opspec import Role, Tie
from kernels.opversion import Use
from kernels.ranges import IntRange
from qcore.errors import BadRecipe, CannotQuantize
from qcore.graph import Graph
from qcore.params import Affine, Stats
from qcore.plan import common
from qcore.plan.legacy import constants, ends, guard, states
from qcore.plan.legacy.choice import AS_ACTIVATIONS, MODES, Choice
from qcore.plan.values import Form, Step, SubgraphPlan
from qcore.recipe import Recipe, Setting
from qcore.rounding import Requantized

PAD_VALUE = ("PADV2", 2)


class Draft:
    """Form i is tensor i from the start, as it stands in the file; further forms are appended."""

    def __init__(
        self,
        graph: Graph,
        recipe: Recipe,
        ranges: Mapping[int, Stats],
        choices: Sequence[Choice],
    ) -> None:
        self.graph, self.recipe, self.ranges, self.choices = graph, recipe, ranges, choices
        self.forms = [Form(i, common.dtype_of(t)) for i, t in enumerate(graph.tensors)]
        self.steps: list[Step] = []
        self.inputs, self.outputs = list(graph.inputs), list(graph.outputs)
        self.constants: dict[object, int] = {}  # (tensor, how it is read) -> form
        self.float_read: set[int] = set()  # forms that a float operator has read so far
        # operator -> version of its first use in the source
        self.own_versions = {op.name: op.code.version for op in reversed(graph.operators)}
        self.reads: Counter[int] = Counter()  # form -> steps that read it, before requantizing
        self.weight_ranges = guard.guarded_ranges(self)

    def plan(self) -> SubgraphPlan:
        """All passes in order."""
        if self.recipe.deviates("float_readers"):
            self._quantize_inputs_first()
        for i, choice in enumerate(self.choices):
            if choice.dtype is None:
                self._float_step(i, choice)
            else:
                self._integer_step(i, choice.dtype, choice.tie)
        self._requantize_operands()
        constants.biases(self)
        ends.inputs(self)
        ends.outputs(self)
        return SubgraphPlan(
            tuple(self.forms), tuple(self.steps), tuple(self.inputs), tuple(self.outputs)
        )

    # --- forms ------------------------------------------------------------------------------------

    def add(self, form: Form) -> int:
        self.forms.append(form)
        return len(self.forms) - 1

    def name(self, form: int) -> str:
        """Name of a form in the written file."""
        return self.forms[form].name or self.graph.name(self.forms[form].tensor)

    def parameters(self, t: int, dtype: str, found: Setting, stats: Stats) -> Form:
        """A form of tensor t on the range `stats` by the recipe."""
        what = f"tensor {self.graph.name(t)!r}"
        if found.scheme is None:
            raise BadRecipe(f"no rule gives {what} a scheme; add one for its operand")
        q = common.int_range(dtype, found.scheme.takes_narrow, what)
        params, note = common.choose(found.scheme, stats, q, what), common.degenerate(stats)
        params, mended = self.mended(params, q)
        note = "; ".join(n for n in (note, mended) if n) or None
        return Form(t, dtype, params, rule=found.scheme.key, stats=stats, note=note)

    def mended(self, params: Affine, q: IntRange) -> tuple[Affine, str | None]:
        """Positive, normal scales in place of zero and denormal ones, and what was done."""
        if not self.recipe.deviates("zero_scale"):
            return params, None
        return common.mended(params, q)

    def activation(self, t: int, dtype: str, i: int, position: int) -> Form:
        """The integer form of a computed tensor that operator i reads, on its own range."""
        stats = self.ranges.get(t)
        if stats is None:
            raise CannotQuantize(
                f"{self.graph.where(i)} needs the range of {self.graph.name(t)!r}, which was not "
                "calibrated; give samples that reach it"
            )
        return self.parameters(t, dtype, self._activation_setting(t, i, position), stats)

    def _activation_setting(self, t: int, i: int, position: int) -> Setting:
        if t in self.graph.inputs:
            wide = common.is_wide(self.graph, self.recipe, i)
            found = common.activation_setting(self.recipe, self.graph.name(t), wide)
            if found.scheme is not None:
                return found
        return common.setting(self.graph, self.recipe, i, position)

    # --- operators --------------------------------------------------------------------------------

    def _quantize_inputs_first(self) -> None:
        """Graph inputs that some operator reads as integers, before a float reader sees them."""
        reads = list(self._integer_reads())
        if any(rule.mode == "int16x8" for rule in self.recipe.rules):
            # Into int8 a value can be brought from int16, the other way its last bits are gone;
            # where the caller gives int8, there are none.
            wide = self.recipe.input_type in ("float32", "int16")
            reads.sort(key=lambda read: (self.choices[read[0]].dtype == "int16") != wide)
        for i, position, t in reads:
            if t in self.graph.inputs and not self.forms[t].quantized and self.graph.is_float(t):
                dtype = self.choices[i].dtype
                assert dtype is not None
                self.forms[t] = self.activation(t, dtype, i, position)

    def _integer_reads(self):
        for i, choice in enumerate(self.choices):
            spec = self.graph.spec(i)
            if choice.dtype is None or spec is None:
                continue
            for position, t in enumerate(self.graph.operators[i].inputs):
                operand = spec.operand(position)
                if t >= 0 and operand is not None and operand.role is Role.ACTIVATION:
                    yield i, position, t

    def _float_step(self, i: int, choice: Choice) -> None:
        """An operator as it is; what it reads of integers goes through DEQUANTIZE, one a read."""
        op = self.graph.operators[i]
        inputs = []
        for t in op.inputs:
            if t >= 0 and self.forms[t].quantized:
                made = self.add(
                    Form(t, "float32", name=f"{self.name(t)}_float", rule="dequantized")
                )
                self.insert("DEQUANTIZE", t, made)
                t = made
            elif t >= 0:
                self.float_read.add(t)
            inputs.append(t)
        step = common.kept_step(self.graph, i)
        mode = "kept" if choice.kept else step.mode
        version = self.version(i, None)
        self.steps.append(
            step.replace(inputs=tuple(inputs), note=choice.note, mode=mode, version=version)
        )

    def _integer_step(self, i: int, dtype: str, tie: Tie) -> None:
        op, spec = self.graph.operators[i], self.graph.spec(i)
        assert spec is not None
        states.shared(self, i, dtype)
        inputs = list(op.inputs)
        for position, t in enumerate(op.inputs):
            operand = spec.operand(position)
            if t < 0 or operand is None or operand.role in (Role.INDEX, Role.BIAS):
                continue
            if not self.graph.is_float(t) or self._overlooked(op.name, position):
                continue
            if operand.role is Role.STATE:
                states.state(self, i, position, dtype)
            elif self.graph.is_constant(t):
                inputs[position] = self._constant(i, position, dtype, tie)
            else:
                inputs[position] = self._computed(i, position, dtype)
        intermediates = states.intermediates(self, i, dtype)
        for position, t in enumerate(op.outputs):
            self._output(i, position, t, dtype, tie, inputs)
        self.steps.append(
            Step(
                source=i,
                name=op.name,
                version=max(self.version(i, dtype), self._narrow_version(i, inputs)),
                inputs=tuple(inputs),
                outputs=tuple(op.outputs),
                intermediates=intermediates,
                options=self._options(i, dtype),
                mode=MODES.get(dtype, dtype),
            )
        )

    def _overlooked(self, name: str, position: int) -> bool:
        """An operand that the older quantizer leaves float beside integer data."""
        return (name, position) == PAD_VALUE and not self.recipe.deviates("missing_kernels")

    def _computed(self, i: int, position: int, dtype: str) -> int:
        """The form in which operator i reads a computed tensor, by QUANTIZE where it differs."""
        t = self.graph.operators[i].inputs[position]
        if self.forms[t].quantized:
            if self.forms[t].dtype == dtype:
                return t
        elif t in self.graph.inputs:
            self.forms[t] = self.activation(t, dtype, i, position)
            return t
        made = self._across(t, dtype, i, position)
        made = made.replace(name=f"{self.name(t)}_{dtype}")
        return self.insert("QUANTIZE", t, self.add(made))

    def _across(self, t: int, dtype: str, i: int, position: int) -> Form:
        """The form of a value for a reader of another type than its own."""
        form = self.forms[t]
        if form.params is not None and (form.dtype, dtype) == ("int8", "int16"):
            params = common.widened(form.params)
            if params is not None:
                return Form(t, dtype, params, rule="int8 steps / 128")
        if (only := ends.fixed(self, form, dtype)) is not None:
            return Form(t, dtype, only, rule=form.rule)
        if form.params is not None and t not in self.ranges:
            found = self._activation_setting(t, i, position)
            return self.parameters(t, dtype, found, common.reach(form.params, form.dtype))
        return self.activation(t, dtype, i, position)

    def _constant(self, i: int, position: int, dtype: str, tie: Tie) -> int:
        """The form in which operator i reads a constant."""
        t = self.graph.operators[i].inputs[position]
        made = constants.operand(self, i, position, dtype, tie)
        params = made.params
        if params is not None and params.groups == 1:  # one channel is read the same on any axis
            params = replace(params, axis=None)
        key = (t, made.dtype, params, made.range, made.rounding)
        if key in self.constants:
            return self.constants[key]
        separate = self.recipe.deviates("constant_per_use")
        if self.forms[t].quantized and not separate:
            return t
        if self.forms[t].quantized or (
            t in self.float_read and self.recipe.deviates("float_readers")
        ):
            at = self.add(made.replace(name=f"{self.name(t)}_{made.dtype}"))
        else:
            at, self.forms[t] = t, made
        self.constants[key] = at
        return at

    def _output(
        self, i: int, position: int, t: int, dtype: str, tie: Tie, inputs: Sequence[int]
    ) -> None:
        """Parameters of an output: taken over, fixed, or from its own range."""
        spec = self.graph.spec(i)
        operand = spec.output(position) if spec is not None else None
        if t < 0 or operand is None or operand.role is Role.INDEX or not self.graph.is_float(t):
            return
        if self.forms[t].quantized:  # shared with a state
            return
        if tie in (Tie.SAME, Tie.FIRST):
            assert spec is not None and spec.data is not None
            source = self.forms[inputs[spec.data]]
            rule = f"same as {self.graph.name(source.tensor)}"
            self.forms[t] = Form(t, dtype, source.params, rule=rule, stats=source.stats)
        elif dtype in operand.fixed:
            assert spec is not None
            fixed = operand.fixed[dtype]
            params = Affine.of(fixed.scale, fixed.zero_point)
            self.forms[t] = Form(t, dtype, params, rule=f"fixed by {spec.name}")
        else:
            found = common.output_setting(self.graph, self.recipe, i, position)
            if t not in self.ranges:
                raise CannotQuantize(
                    f"{self.graph.where(i)} writes {self.graph.name(t)!r}, whose range was not "
                    "calibrated; give samples that reach it"
                )
            self.forms[t] = self.parameters(t, dtype, found, self.ranges[t])

    def _requantize_operands(self) -> None:
        """Brings the operands of tied operators to their output's scale, last operator first."""
        self.reads.update(f for step in self.steps for f in set(step.inputs))
        at = len(self.steps) - 1
        while at >= 0:
            step = self.steps[at]
            choice = self.choices[step.source] if step.source is not None else Choice()
            if choice.dtype is not None and self._all_alike(choice.tie):
                self._requantize(at, choice)
            at -= 1

    def _all_alike(self, tie: Tie) -> bool:
        """Whether further operands must come to the output's scale."""
        return tie is Tie.OUTPUT or (tie is Tie.FIRST and self.recipe.deviates("missing_kernels"))

    def _requantize(self, at: int, choice: Choice) -> None:
        step = self.steps[at]
        assert step.source is not None
        spec = self.graph.spec(step.source)
        goal = self.forms[step.outputs[0]].params
        assert spec is not None and goal is not None and choice.dtype is not None
        inputs = list(step.inputs)
        for position, f in enumerate(step.inputs):
            operand = spec.operand(position)
            if f < 0 or operand is None or operand.role is not Role.ACTIVATION:
                continue
            form = self.forms[f]
            if form.params is None or _alike(form.params, goal):
                continue
            if form.rounding is not None and self.reads[f] == 1:
                self.forms[f] = self._encoded_again(form, goal)
                continue
            name = f"{self.name(f)}_requantized"
            rule = f"requantized for {self.graph.where(step.source)}"
            made = self.add(Form(form.tensor, choice.dtype, goal, rule=rule, name=name))
            # In front of the QUANTIZE of an earlier operand, as the older quantizer inserts them.
            self.steps.insert(at, self._conversion("QUANTIZE", f, made))
            inputs[position] = made
        shift = next(k for k in range(at, len(self.steps)) if self.steps[k].source == step.source)
        self.steps[shift] = self.steps[shift].replace(inputs=tuple(inputs))

    def _encoded_again(self, form: Form, goal: Affine) -> Form:
        """A constant whose integers are made from its first integers (E18)."""
        assert form.params is not None and form.stats is not None and form.rounding is not None
        assert form.range is not None
        rounding = Requantized(
            scale=float(form.params.scale[0]),
            zero_point=int(form.params.zero_point[0]),
            lo=float(form.stats.lo[0]),
            hi=float(form.stats.hi[0]),
            qmin=form.range.qmin,
            qmax=form.range.qmax,
            first=form.rounding,
        )
        q = form.range if form.dtype == "int16" else int_ranges.NAMED[form.dtype]
        return replace(form, params=goal, rounding=rounding, range=q, rule="requantized")

    # --- steps ------------------------------------------------------------------------------------

    def insert(self, name: str, source: int, target: int) -> int:
        """Appends QUANTIZE or DEQUANTIZE; returns the form that it writes."""
        self.steps.append(self._conversion(name, source, target))
        return target

    def _conversion(self, name: str, source: int, target: int) -> Step:
        form = self.forms[target]
        mode = MODES.get(form.dtype, "float32") if name == "QUANTIZE" else "float32"
        return Step(None, name, self.inserted_version(name), (source,), (target,), mode=mode)

    def inserted_version(self, name: str) -> int:
        """Version of an inserted operator: that of the model's own ones where it has any."""
        return max(2, self.own_versions.get(name, 2))

    def version(self, i: int, dtype: str | None) -> int:
        """Operator version; the older quantizer raises those of float operators as well."""
        op, spec = self.graph.operators[i], self.graph.spec(i)
        version = op.code.version
        if spec is None:
            return version
        if spec.legacy_version is not None:
            version = max(version, spec.legacy_version)
        if dtype is not None and dtype not in spec.legacy:
            version = max(version, spec.versions.get(dtype, 1))
        return version

    def _narrow_version(self, i: int, inputs: Sequence[int]) -> int:
        """Version that weights below eight bits need, which the older quantizer does not make."""
        op, spec = self.graph.operators[i], self.graph.spec(i)
        assert spec is not None
        dtypes = tuple(self.forms[f].dtype if f >= 0 else None for f in inputs)
        if not {"int4", "int2"} & set(dtypes):
            return 1
        outputs = tuple(self.forms[t].dtype if t >= 0 else None for t in op.outputs)
        shapes = tuple(self.graph.tensors[t].shape if t >= 0 else None for t in op.inputs)
        return spec.version(Use(dtypes, outputs, shapes, options=op.options, per_channel=True))

    def _options(self, i: int, dtype: str) -> dict[str, Any]:
        """Fields of the builtin options that integer kernels look at."""
        name = self.graph.operators[i].name
        if name in common.BIAS_TYPE_OPTION or dtype == "int16":
            return common.wide_options(name, constants.bias_dtype(self, i, dtype))
        return {}

    def reads_as_activation(self, i: int, tie: Tie) -> bool:
        """Whether constant data of operator i is int16 beside int16 outputs."""
        return (
            self.recipe.deviates("constant_operands")
            or self.graph.operators[i].name in AS_ACTIVATIONS
            or tie is not Tie.NONE
        )


def _alike(a: Affine, b: Affine) -> bool:
    """Same scale and zero point, per tensor."""
    return a.groups == 1 and a.scale[0] == b.scale[0] and a.zero_point[0] == b.zero_point[0]
