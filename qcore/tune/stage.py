"""The stage: a model, its plan and the moments of its inputs -> the model with tuned constants."""

from __future__ import annotations

import functools
import hashlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

import tflite_schema as ts
from qcore.errors import NotCalibrated
from qcore.graph import Graph, graphs
from qcore.params import Affine, TensorKey
from qcore.plan.values import Form, Plan, SubgraphPlan
from qcore.recipe import Recipe
from qcore.tune.asked import asked
from qcore.tune.linear import Linear
from qcore.tune.moments import Moments
from qcore.tune.operators import BIAS, WEIGHT, linear

LARGEST = float(np.finfo(np.float32).max)
MOST_SOLVED = 4  # results that are kept of one operator's moments, for plans that share scales


def tuned(
    model: ts.Model, plan: Plan, recipe: Recipe, moments: Mapping[TensorKey, Moments]
) -> tuple[ts.Model, tuple[str, ...]]:
    """The model with weights on the grids of the plan, so that rounding to nearest gives the chosen
    integers, and with corrected biases; and what could not be done, as sentences.

    model: prepared.  moments: by the outputs of its linear operators, as `needs_moments` says.
    Raises NotCalibrated for moments of another model's weights.
    """
    editor = ts.Editor(model)
    notes: list[str] = []
    for graph, part in zip(graphs(model), plan.subgraphs, strict=True):
        _Tuner(graph, part, recipe, moments, notes).into(editor)
    return (editor.apply() if editor.edits else model), tuple(notes)


@dataclass(frozen=True)
class _Use:
    """A linear operator and what its weights are multiplied with.

    bias: the tensor that makes up for the mean error of the weights, None where none does.
    """

    number: int
    linear: Linear
    moments: Moments
    bias: int | None


class _Tuner:
    """One subgraph."""

    def __init__(
        self, graph: Graph, part: SubgraphPlan, recipe: Recipe,
        moments: Mapping[TensorKey, Moments], notes: list[str],
    ) -> None:  # fmt: skip
        self.graph, self.part, self.recipe = graph, part, recipe
        self.moments, self.notes = moments, notes
        inserted = {f for step in part.steps if step.inserted for f in step.outputs}
        read = {f for step in part.steps for f in step.inputs if f >= 0 and f not in inserted}
        self.shown = {part.forms[f].tensor for f in read if part.forms[f].dtype == "float32"}
        self.shown.update(graph.outputs)
        self.stored: dict[int, list[Form]] = defaultdict(list)
        for form in part.forms:
            if form.rounding is not None:
                self.stored[form.tensor].append(form)

    def into(self, editor: ts.Editor) -> None:
        """Adds the edits of this subgraph."""
        by_weight: dict[int, list[int]] = defaultdict(list)
        for step in self.part.steps:
            if step.source is not None and any(asked(self.graph, self.recipe, step.source)):
                by_weight[self.graph.operators[step.source].inputs[WEIGHT]].append(step.source)
        for weight, numbers in by_weight.items():
            form = self._form(weight, numbers[0])
            if form is None:
                continue
            uses = [use for number in numbers if (use := self._use(number)) is not None]
            if len({(use.linear.name, use.linear.groups) for use in uses}) > 1:
                self._say(numbers[0], "another operator reads its weights in other groups")
            elif uses:
                self._tune(editor, weight, form, uses)

    def _form(self, weight: int, number: int) -> Form | None:
        """The one form in which the integers of a weight are stored."""
        forms = self.stored[weight]
        if not forms:
            return None  # left float, and the plan says why
        first = forms[0]
        known = first.params is not None and first.range is not None
        same = all(
            (f.params, f.range, f.rounding) == (first.params, first.range, first.rounding)
            for f in forms
        )
        if weight in self.shown or not known or not same:
            self._say(number, "its weights stand in the file in several forms")
            return None
        return first

    def _use(self, number: int) -> _Use | None:
        """The operator and what was observed of it; None where nothing was."""
        graph = self.graph
        found = linear(graph, number)
        assert found is not None
        moments = self.moments.get(found.key)
        if moments is None or not moments.count:
            self._say(number, "what it reads was not observed")
            return None
        if moments.total.shape != (found.groups, found.size):
            raise NotCalibrated(
                f"the calibration has moments of {' x '.join(map(str, moments.total.shape))} "
                f"inputs of {graph.where(number)}, whose weights have {found.groups} x "
                f"{found.size}: it is of another model; calibrate this one"
            )
        bias = self._bias(number) if asked(graph, self.recipe, number).bias is not None else None
        return _Use(number, found, moments, bias)

    def _bias(self, number: int) -> int | None:
        """The bias of an operator, which is its own (`qcore.tune.biases`)."""
        graph = self.graph
        bias = graph.operators[number].inputs[BIAS]
        if not (graph.is_float(bias) and graph.is_constant(bias)):
            self._say(number, "its bias is computed", "the bias")
            return None
        return bias

    def _say(self, number: int, why: str, what: str = "it") -> None:
        self.notes.append(f"{self.graph.where(number)}: {why}, so that {what} was not tuned")

    def _tune(self, editor: ts.Editor, weight: int, form: Form, uses: list[_Use]) -> None:
        """Adds the edits of a weight and of the biases beside it."""
        assert form.params is not None
        values = self.graph.constant(weight)
        assert values is not None
        scale, zero_point = _grid(form.params, values.shape)
        integers = self._solved(values, form, scale, zero_point, uses)
        made = integers is not None
        if integers is None:
            if all(use.bias is None for use in uses):
                return
            integers = _encoded(values, form)
        # What no scale can stand for is left to the encoder, and no error of it is known.
        usable = np.isfinite(scale) & (scale > 0)
        better = np.where(usable, np.where(usable, scale, 1.0) * (integers - zero_point), values)
        if made:
            self._set(editor, weight, better)
        for use in uses:
            if use.bias is None:
                continue
            bias = self.graph.constant(use.bias)
            assert bias is not None
            error = use.linear.rows(values - better)
            mean = np.matmul(error, use.moments.mean[:, :, None]).reshape(-1)
            self._set(editor, use.bias, bias.reshape(-1) + mean)

    def _solved(
        self, values: np.ndarray, form: Form, scale: np.ndarray, zero_point: np.ndarray,
        uses: list[_Use],
    ) -> np.ndarray | None:  # fmt: skip
        """The integers that the form's rounding chooses, int64 in the shape of the weight; None
        where it looks at no covariances, or there are none."""
        assert form.range is not None and form.rounding is not None
        if form.rounding.needs != "covariance":
            return None
        if any(use.moments.products is None for use in uses):
            self._say(uses[0].number, "only means of what it reads were observed", "its weight")
            return None
        central = all(use.bias is not None for use in uses)
        read = tuple(use.moments for use in uses)
        weights = hashlib.sha256(np.ascontiguousarray(values).data).digest()
        key = (weights, form.params, form.range, form.rounding, central, read)
        linear, kept = uses[0].linear, read[0].solved
        found = kept.get(key)
        if found is None:
            count = sum(moments.count for moments in read)
            parts = (moments.second(central) * (moments.count / count) for moments in read)
            second = functools.reduce(np.add, parts)
            w = linear.rows(values.astype(np.float64))
            s, z = linear.rows(scale), linear.rows(zero_point)
            found = form.rounding.solve(w, s, z, form.range, second).astype(form.range.dtype)
            while len(kept) >= MOST_SOLVED:
                kept.pop(next(iter(kept)))
            kept[key] = found
        return linear.weights(found).astype(np.int64)

    def _set(self, editor: ts.Editor, tensor: int, values: np.ndarray) -> None:
        record = self.graph.tensors[tensor]
        array = np.clip(values, -LARGEST, LARGEST).astype(np.float32)
        buffer = editor.add_buffer(array.reshape(-1))
        editor.set_tensor(self.graph.subgraph, tensor, record.replace(buffer=buffer))


def _encoded(values: np.ndarray, form: Form) -> np.ndarray:
    """The integers of a constant as they will be in the file, int64 in its shape."""
    params = form.params
    assert params is not None and form.rounding is not None
    rows = values
    if params.block:
        rows, params = values.reshape(-1, params.block), replace(params, axis=0, block=0)
    integers = form.rounding.encode(rows, params, form.stats, form.range)
    return integers.reshape(values.shape).astype(np.int64)


def _grid(params: Affine, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Scale and zero point of every value of a constant, float64."""
    if params.block:
        parts = (params.scale, params.zero_point)
        blocks = (p.reshape(*shape[:-1], shape[-1] // params.block) for p in parts)
        scale, zero_point = (np.repeat(b, params.block, -1) for b in blocks)
    else:
        scale, zero_point = (np.broadcast_to(p, shape) for p in params.along(len(shape)))
    return scale.astype(np.float64), zero_point.astype(np.float64)
