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
from qcore.testing.build import Builder, options
from qcore.testing.strategies.recipes import recipes
from qcore.testing.strategies.source import Size, Source

BODIES = ("RELU", "ABS", "NEG", "RELU6")  # exact in float as well
CALLS = ("IF", "WHILE", "CALL_ONCE")


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
    several: some have more than one subgraph, behind signatures or called by one of CALLS.
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
    elif several and (call := draw(st.sampled_from((None, *CALLS)))):
        bodies = st.lists(st.sampled_from(BODIES), min_size=1, max_size=2)
        if call == "IF":
            model = _branching(model, draw(bodies), draw(bodies))
        elif call == "WHILE":
            model = looping(model, draw(bodies), draw(st.integers(0, 3)))
        else:
            model = remembering(model)
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
    more = _More(main)
    if more.last is None:
        return main
    x = more.tensors[more.last]
    branches = []
    for number, operators in enumerate(bodies):
        body = Builder()
        at = body.input(x.shape or (), f"branch{number}_in", range=_range(x))
        branches.append(body.model([_chain(body, at, operators)]))
    flag = ts.Tensor(shape=(), type=ts.TensorType.BOOL, name="condition", has_rank=True)
    condition, chosen = more.tensor(flag), more.tensor(x.replace(name="chosen", buffer=0))
    more.op("IF", (condition, more.last), (chosen,), then_subgraph_index=1, else_subgraph_index=2)
    return together(more.model((condition,), (chosen,)), *branches)


def looping(main: ts.Model, operators: Sequence[str], times: int) -> ts.Model:
    """A graph whose last output goes through unary operators in a WHILE, `times` times."""
    more = _More(main)
    if more.last is None:
        return main
    x = more.tensors[more.last]
    test, body = Builder(), Builder()
    both = tuple(enumerate((test, body)))
    counts = [b.input((1,), f"count{i}", dtype="INT32") for i, b in both]
    inside = [b.input(x.shape or (), f"loop{i}", range=_range(x)) for i, b in both]
    again = test.op("LESS", [counts[0], np.array([times], np.int32)], (1,), dtype="BOOL")
    one = np.array([1], np.int32)
    counted = body.op("ADD", [counts[1], one], (1,), dtype="INT32", names=["counted"])
    step = _chain(body, inside[1], operators)
    number = ts.Tensor(shape=(1,), type=ts.TensorType.INT32, name="count")
    start = more.constant(number.replace(name="start"), np.zeros(1, np.int32))
    ends = more.tensor(number), more.tensor(x.replace(name="looped", buffer=0))
    more.op("WHILE", (start, more.last), ends, cond_subgraph_index=1, body_subgraph_index=2)
    return together(more.model((), ends[1:]), test.model([again]), body.model([counted, step]))


def remembering(main: ts.Model) -> ts.Model:
    """A graph that adds its last output to a variable, which is 0 before the first sample."""
    more = _More(main)
    if more.last is None:
        return main
    x = more.tensors[more.last]
    names: Any = {"container": "", "shared_name": "memory"}
    init = Builder()
    handle = init.op("VAR_HANDLE", [], (), dtype="RESOURCE", names=["handle0"], **names)
    init.op("ASSIGN_VARIABLE", [handle, init.const(np.zeros(x.shape or (), np.float32), "zeros")])
    kept = more.tensor(ts.Tensor(shape=(), type=ts.TensorType.RESOURCE, name="handle"))
    before, after = (more.tensor(x.replace(name=n, buffer=0)) for n in ("before", "after"))
    more.op("CALL_ONCE", (), (), init_subgraph_index=1)
    more.op("VAR_HANDLE", (), (kept,), **names)
    more.op("READ_VARIABLE", (kept,), (before,))
    more.op("ADD", (more.last, before), (after,))
    more.op("ASSIGN_VARIABLE", (kept, after), ())
    return together(more.model((), (after,)), init.model([]))


def _chain(b: Builder, at: int, operators: Sequence[str]) -> int:
    """Unary operators one after another; the last one's output."""
    shape = b.tensors[at].shape or ()
    for operator in operators:
        name = f"{b.tensors[b.inputs[-1]].name}_{at}"
        at = b.op(operator, [at], shape, range=(-1.0, 2.0), names=[name])
    return at


class _More:
    """A model's only subgraph, to which something is added. last: its last float output."""

    def __init__(self, model: ts.Model):
        self._model, graph = model, model.subgraphs[0]
        self.tensors, self._operators = list(graph.tensors), list(graph.operators)
        self._buffers = list(model.buffers)
        floats = [t for t in graph.outputs if self.tensors[t].type == ts.TensorType.FLOAT32]
        self.last = floats[-1] if floats else None

    def tensor(self, tensor: ts.Tensor) -> int:
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def constant(self, tensor: ts.Tensor, values: np.ndarray) -> int:
        self._buffers.append(ts.Buffer(values))
        return self.tensor(tensor.replace(buffer=len(self._buffers) - 1))

    def op(
        self, operator: str, inputs: Sequence[int], outputs: Sequence[int], **fields: Any
    ) -> None:
        code = ts.OperatorCode.of(operator)
        made = options(operator, **fields)
        self._operators.append(
            ts.Operator(code=code, inputs=tuple(inputs), outputs=tuple(outputs), options=made)
        )

    def model(self, inputs: Sequence[int], outputs: Sequence[int]) -> ts.Model:
        """The model with further inputs and outputs."""
        graph = self._model.subgraphs[0]
        graph = graph.replace(
            tensors=tuple(self.tensors),
            operators=tuple(self._operators),
            inputs=(*graph.inputs, *inputs),
            outputs=(*graph.outputs, *outputs),
        )
        return self._model.replace(subgraphs=(graph,), buffers=tuple(self._buffers))


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
