"""Small whole models: float graphs with all that converters write, and what quantize makes of them.

The operators and their shapes are those of `qcore.testing.graphs`; here the numbers are drawn, and
what no single operator has is added: several entries, subgraphs that are called, constants that are
shared between subgraphs, ends that are odd.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.errors import UnsatisfiedAssumption

import tflite_schema as ts
from qcore.calibrate import Calibration
from qcore.errors import QcoreError
from qcore.quantize import Quantized, quantize
from qcore.recipe import Recipe
from qcore.testing import graphs
from qcore.testing.build import Builder
from qcore.testing.strategies.recipes import recipes
from qcore.testing.strategies.source import Size, Source

BODIES = ("RELU", "ABS", "TANH", "NEG")


class RandomState(Source):
    """`Source` under the names of numpy.random.RandomState."""

    def rand(self, *shape: int) -> Any:
        return self.random(shape or None)

    def choice(self, a: Any, size: Size = None, p: Any = None) -> Any:
        """With or without probabilities: a search wants the rare ones as well."""
        return super().choice(a, size)

    def randint(self, low: int, high: int | None = None, size: Size = None) -> Any:
        return self.integers(low, high, size)


def float_models(
    operators: Sequence[str] | None = None,
    most: int = 6,
    ranges: bool = True,
    several: bool = True,
) -> st.SearchStrategy[ts.Model]:
    """Float models of 1 to `most` operators a subgraph, which the official interpreters run.

    operators: the names to choose from, by default all that `qcore.testing.graphs` knows.
    ranges: computed tensors carry min and max, so that `Calibration.from_model` has a calibration.
    several: some have more than one subgraph, behind signatures or called by IF.
    Shrinks toward one subgraph of one operator, nothing odd about it.
    """
    made = _models(operators, most, several)
    return made if ranges else made.map(without_ranges)


def without_ranges(model: ts.Model) -> ts.Model:
    """The model without min and max: calibration has to find them."""
    return model.replace(
        subgraphs=tuple(
            s.replace(tensors=tuple(t.replace(quantization=None) for t in s.tensors))
            for s in model.subgraphs
        )
    )


@st.composite
def _models(draw: st.DrawFn, operators: Sequence[str] | None, most: int, several: bool) -> ts.Model:
    parts = draw(st.lists(_one(operators, most), min_size=1, max_size=3 if several else 1))
    model = parts[0] if len(parts) == 1 else together(*parts)
    if len(parts) > 1:
        if draw(st.booleans()):
            model = _share(model)
        signatures = (_signature(model, i) for i in range(len(parts)))
        model = model.replace(signature_defs=tuple(signatures))
    elif several and draw(st.booleans()):
        bodies = st.lists(st.sampled_from(BODIES), min_size=1, max_size=2)
        model = _branching(model, draw(bodies), draw(bodies))
    return model


@st.composite
def _one(draw: st.DrawFn, operators: Sequence[str] | None, most: int) -> ts.Model:
    try:
        model = graphs.grow(
            RandomState(draw), operators, sizes=(1, most), tries=8 * most,
            attempt=lambda make: draw(st.just(make).map(_run)),
        )  # fmt: skip
    except ValueError:
        raise UnsatisfiedAssumption(f"no operator of {operators} fits") from None
    for odd in draw(st.lists(st.sampled_from(tuple(_ODD)), max_size=2, unique=True)):
        model = _ODD[odd](model)
    return model


def _run(make: Callable[[], bool]) -> bool:
    """Draws what `make` draws, as a part of its own, which shrinking can leave out."""
    return make()


def _branching(main: ts.Model, *bodies: Sequence[str]) -> ts.Model:
    """A graph whose last output goes through IF, on a condition that is an input.

    bodies: the unary operators of the two branches.
    """
    graph = main.subgraphs[0]
    floats = [t for t in graph.outputs if graph.tensors[t].type == ts.TensorType.FLOAT32]
    if not floats:
        return main
    x = graph.tensors[floats[-1]]
    shape = x.shape or ()
    branches = []
    for number, operators in enumerate(bodies):
        body = Builder()
        at = body.input(shape, f"branch{number}_in", range=_range(x))
        for operator in operators:
            name = f"branch{number}_{at}"
            at = body.op(operator, [at], shape, range=(-1.0, 2.0), names=[name])
        branches.append(body.model([at]))
    condition, chosen = len(graph.tensors), len(graph.tensors) + 1
    branch = ts.Operator(
        code=ts.OperatorCode.of("IF"),
        inputs=(condition, floats[-1]),
        outputs=(chosen,),
        options=ts.Options("IfOptions", then_subgraph_index=1, else_subgraph_index=2),
    )
    flag = ts.Tensor(shape=(), type=ts.TensorType.BOOL, name="condition", has_rank=True)
    graph = graph.replace(
        tensors=(*graph.tensors, flag, x.replace(name="chosen", buffer=0)),
        inputs=(*graph.inputs, condition),
        outputs=(*graph.outputs, chosen),
        operators=(*graph.operators, branch),
    )
    return together(main.replace(subgraphs=(graph,)), *branches)


def _range(tensor: ts.Tensor) -> tuple[float, float] | None:
    q = tensor.quantization
    if q is None or q.min is None or q.max is None:
        return None
    return float(q.min[0]), float(q.max[0])


def together(*models: ts.Model) -> ts.Model:
    """One model with the first subgraphs of all, in this order."""
    buffers: list[ts.Buffer] = [ts.Buffer(data=None)]
    subgraphs = []
    for number, model in enumerate(models):
        graph, shift = model.subgraphs[0], len(buffers) - 1
        tensors = (t.replace(buffer=t.buffer + shift if t.buffer else 0) for t in graph.tensors)
        subgraphs.append(graph.replace(tensors=tuple(tensors), name=f"part{number}"))
        buffers += model.buffers[1:]
    return models[0].replace(subgraphs=tuple(subgraphs), buffers=tuple(buffers))


def _share(model: ts.Model) -> ts.Model:
    """Float constants of later subgraphs become those of the first, where they are as long."""
    known: dict[int, int] = {}
    for tensor in model.subgraphs[0].tensors:
        if tensor.buffer and tensor.type == ts.TensorType.FLOAT32:
            known.setdefault(model.buffers[tensor.buffer].nbytes, tensor.buffer)

    def shared(tensor: ts.Tensor) -> ts.Tensor:
        if not tensor.buffer or tensor.type != ts.TensorType.FLOAT32:
            return tensor
        return tensor.replace(buffer=known.get(model.buffers[tensor.buffer].nbytes, tensor.buffer))

    first, *rest = model.subgraphs
    changed = (s.replace(tensors=tuple(shared(t) for t in s.tensors)) for s in rest)
    return model.replace(subgraphs=(first, *changed))


def _signature(model: ts.Model, subgraph: int) -> ts.SignatureDef:
    graph = model.subgraphs[subgraph]
    return ts.SignatureDef(
        inputs=tuple(ts.TensorMap(f"in{i}", t) for i, t in enumerate(graph.inputs)),
        outputs=tuple(ts.TensorMap(f"out{i}", t) for i, t in enumerate(graph.outputs)),
        signature_key=f"entry{subgraph}",
        subgraph_index=subgraph,
    )


def _graph(model: ts.Model, **changes: Any) -> ts.Model:
    return model.replace(subgraphs=(model.subgraphs[0].replace(**changes),))


def _constants(model: ts.Model) -> list[int]:
    tensors = enumerate(model.subgraphs[0].tensors)
    return [i for i, t in tensors if t.buffer and t.type == ts.TensorType.FLOAT32]


def _unused_tensor(model: ts.Model) -> ts.Model:
    """One that nobody computes or reads, and a constant that nobody reads."""
    graph = model.subgraphs[0]
    more = ts.Tensor(shape=(3,), name="unused")
    constant = ts.Tensor(shape=(2,), name="unread", buffer=len(model.buffers))
    model = model.replace(buffers=(*model.buffers, ts.Buffer(np.array([1, -2], np.float32))))
    return _graph(model, tensors=(*graph.tensors, more, constant))


def _unread_input(model: ts.Model) -> ts.Model:
    graph = model.subgraphs[0]
    more = ts.Tensor(shape=(1, 2), name="unread_input")
    inputs = (*graph.inputs, len(graph.tensors))
    return _graph(model, tensors=(*graph.tensors, more), inputs=inputs)


def _returned_input(model: ts.Model) -> ts.Model:
    graph = model.subgraphs[0]
    return _graph(model, outputs=(*graph.outputs, graph.inputs[0]))


def _returned_constant(model: ts.Model) -> ts.Model:
    graph, constants = model.subgraphs[0], _constants(model)
    return _graph(model, outputs=(*graph.outputs, *constants[:1]))


def _shared_constant(model: ts.Model) -> ts.Model:
    """The first operator that reads a constant once more, with outputs of its own."""
    graph, constants = model.subgraphs[0], set(_constants(model))
    reading = (op for op in graph.operators if constants & set(op.inputs))
    operator = next(reading, None)
    if operator is None:
        return model
    more = tuple(graph.tensors[t].replace(name=f"again{t}") for t in operator.outputs)
    outputs = tuple(range(len(graph.tensors), len(graph.tensors) + len(more)))
    return _graph(
        model,
        tensors=(*graph.tensors, *more),
        operators=(*graph.operators, operator.replace(outputs=outputs)),
        outputs=(*graph.outputs, *outputs),
    )


def _twice_returned(model: ts.Model) -> ts.Model:
    graph = model.subgraphs[0]
    return _graph(model, outputs=(*graph.outputs, graph.outputs[0]))


def _same_names(model: ts.Model) -> ts.Model:
    """Names say nothing: all of what is computed shares one, constants have none."""
    graph = model.subgraphs[0]
    ends = {*graph.inputs, *graph.outputs}
    tensors = (
        t if i in ends else t.replace(name=None if t.buffer else "same")
        for i, t in enumerate(graph.tensors)
    )
    return _graph(model, tensors=tuple(tensors))


def _empty_buffers(model: ts.Model) -> ts.Model:
    """What is computed has an empty buffer of its own, as TensorFlow's converter writes it."""
    graph, buffers = model.subgraphs[0], list(model.buffers)
    tensors = []
    for tensor in graph.tensors:
        if not tensor.buffer:
            tensor = tensor.replace(buffer=len(buffers))
            buffers.append(ts.Buffer(data=None))
        tensors.append(tensor)
    return _graph(model.replace(buffers=tuple(buffers)), tensors=tuple(tensors))


_ODD = {
    "shared constant": _shared_constant,
    "unused tensor": _unused_tensor,
    "unread input": _unread_input,
    "returned input": _returned_input,
    "returned constant": _returned_constant,
    "twice returned": _twice_returned,
    "same names": _same_names,
    "empty buffers": _empty_buffers,
}


@st.composite
def quantized_models(
    draw: st.DrawFn,
    models: st.SearchStrategy[ts.Model] | None = None,
    by: st.SearchStrategy[Recipe] | None = None,
) -> Quantized:
    """Models through `qcore.quantize`, on the ranges that they carry.

    models: `float_models()` by default.  by: `recipes(model)` by default.
    What a recipe refuses is not drawn; `Quantized.source` is the float model.
    """
    model = draw(float_models() if models is None else models)
    recipe = draw(recipes(model) if by is None else by)
    try:
        return quantize(model, recipe, Calibration.from_model(model))
    except QcoreError:
        raise UnsatisfiedAssumption("the recipe refuses the model") from None
