"""A model computed by our own kernels: `run` for one sample, `Executor` for many.

The arithmetic is that of a profile (kernels/profile.py): the integers are those which the official
interpreter computes on that path. Operators come from kernels/ops, found by their names; nothing
here knows one of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

import tflite_schema as ts
from kernels import affine, ops, packing, ranges
from kernels.call import Call, Tensor
from kernels.errors import KernelError, NotFinite
from kernels.profile import PATHS, RUNTIMES, Profile
from qcore.binding import Binder, Entry, Input, with_ones
from qcore.errors import BadInput, BadSample, CannotRun
from qcore.graph import Graph, graphs
from qcore.sparse import densify

if TYPE_CHECKING:
    from kernels.simd.program import Program

HELD = 1 << 22  # bytes of samples of a batch that are made ready at a time
LEAST = 64  # but as many samples for each thread, so that waiting for the last one costs little
UNPACK = {"int4": packing.unpack4, "int2": packing.unpack2}
NO_OPTIONS = SimpleNamespace()


def as_profile(profile: str | Profile, runtime: str | None = None) -> Profile:
    """A profile by the name of its path. Raises BadInput for a name that is none."""
    if isinstance(profile, Profile):
        return profile if runtime is None else replace(profile, runtime=runtime)
    if profile not in PATHS:
        raise BadInput(f"profile {profile!r} is unknown; known are {', '.join(PATHS)}")
    if runtime is not None and runtime not in RUNTIMES:
        raise BadInput(f"runtime {runtime!r} is unknown; known are {', '.join(RUNTIMES)}")
    return Profile(profile, runtime or "litert")


def run(
    model: Any,
    sample: Any,
    profile: str | Profile = "xnnpack",
    mode: str = "fast",
    tensors: bool = False,
    *,
    runtime: str | None = None,
    signature: str | None = None,
    each: bool = False,
    threads: int | None = None,
) -> Any:
    """The outputs of one sample: a dict of output name -> array.

    model: path, bytes, Model or quantized model.  sample: an array, a tuple, or a dict of name ->
    array (see `qcore.binding`); the leading dimension may be a batch. Floats for an input that is
    quantized become its integers, rounded half away; integers are taken as they are.
    profile: "reference", "optimized", "xnnpack" or a Profile.  runtime: "litert" or "tensorflow",
    for the few rules that differ.  mode: "fast" or "reference" (the same integers, compiled or in
    NumPy), or "real": every tensor in real units, nothing rounded to integers.
    With tensors=True a pair of that and a dict of tensor index -> array with every tensor of the
    entry's subgraph that has values.
    each: `sample` is many samples, stacked; every one is computed by itself, by `threads` threads
    (all cores), and the outputs have a row for each (`Executor.batch`).
    Raises CannotRun naming the operator that has no kernel or cannot compute; BadSample.
    """
    if each and tensors:
        raise BadInput("tensors=True shows the tensors of one sample; leave out each=True")
    executor = Executor(model, profile, mode, runtime=runtime, signature=signature)
    if each:
        return executor.batch(sample, threads)
    return next(executor.run([sample], tensors=tensors))


class NotCompiled(Exception):
    """A subgraph has no program: a state, control flow, shapes that are not known before."""


@dataclass(frozen=True)
class Node:
    """One operator, ready to be called. states: inputs that it keeps between invocations."""

    number: int
    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    intermediates: tuple[Tensor, ...]
    options: Any
    version: int
    states: tuple[int, ...]
    last_use: tuple[int, ...]  # tensors that nobody reads afterwards


class Executor:
    """A model, a profile and a mode; states and resource variables live as long as it does."""

    def __init__(
        self,
        model: Any,
        profile: str | Profile = "xnnpack",
        mode: str = "fast",
        *,
        runtime: str | None = None,
        signature: str | None = None,
    ):
        from qcore.load import load
        from qcore.progress import show_compiling

        show_compiling()
        if mode not in ops.MODES:
            raise BadInput(f"mode {mode!r} is unknown; known are {', '.join(ops.MODES)}")
        self.model = load(model)
        self.profile = as_profile(profile, runtime)
        self.mode = mode
        self.binder = Binder(self.model, signature, floats=True)
        self.blocks = tuple(Block(graph, mode) for graph in graphs(self.model))
        self._states: dict[tuple[int, int], np.ndarray] = {}
        self._resources: dict[str, Any] = {}
        self._lent: set[str] = set()  # keys of resources whose arrays are a program's memory
        self._programs: dict[tuple[int, bool], Program | None] = {}

    def reset(self) -> None:
        """Forget the states of recurrent operators and the values of resource variables."""
        self._states.clear()
        self._resources.clear()
        self._lent.clear()

    @property
    def resources(self) -> dict[str, Any]:
        """Values of resource variables, and what else outlasts an invocation. They may be changed;
        the arrays are nobody else's."""
        for key in self._lent:
            if key in self._resources:
                self._resources[key] = self._resources[key].copy()
        self._lent.clear()
        return self._resources

    def run(self, samples: Iterable[Any], tensors: bool = False) -> Iterator[Any]:
        """What `qcore.run` returns, for each sample in turn.

        Samples that come as one array, or as a list of arrays of one shape, are computed a block at
        a time, as `batch` does it.
        """
        if not tensors and self._batches(samples):
            assert isinstance(samples, np.ndarray | list)
            entry = self.binder.entries[self.binder.default]
            names = [name for name, _ in entry.outputs]
            for part in self._blocks(entry, {entry.inputs[0].name: samples}, len(samples), None):
                rows = zip(*(part[t] for _, t in entry.outputs))
                yield from (dict(zip(names, row)) for row in rows)
            return
        for bound in self.binder.all(samples):
            entry = self.binder.entries[bound.entry]
            block = self.blocks[entry.subgraph]
            given = {
                i.tensor: block.encode(i.tensor, array)
                for i, array in zip(entry.inputs, bound.arrays)
            }
            kept = self.invoke(entry.subgraph, given, keep=tensors)
            made = {name: kept[t] for name, t in entry.outputs}
            yield (made, kept) if tensors else made

    def invoke(
        self, subgraph: int, given: Mapping[int, np.ndarray], keep: bool = False
    ) -> dict[int, np.ndarray]:
        """Run a subgraph on arrays as its inputs store them.

        Returns tensor index -> array: the subgraph's inputs and outputs, or with `keep` everything
        but constants.
        """
        block = self.blocks[subgraph]
        program = self.program(subgraph, keep) if block.declares(given) else None
        if program is not None and self._holds(subgraph, program):
            try:
                return self._invoke(program, block, given, keep)
            except NotCompiled:  # the file declares other shapes than its operators make
                self._programs[subgraph, keep] = None
            except CannotRun:
                if not program.variables:
                    raise  # else what was assigned before the operator that stops is to stay
        values: dict[int, np.ndarray] = dict(given)
        wanted = {*block.graph.inputs, *block.graph.outputs}
        for node in block.nodes:
            results = self._compute(subgraph, node, values)
            values.update((t, r) for t, r in zip(node.outputs, results) if t >= 0)
            self.keep_states(subgraph, node, results)
            if not keep:
                for tensor in node.last_use:
                    if tensor not in wanted:
                        values.pop(tensor, None)
        for tensor in block.variables:
            values[tensor] = self.state(subgraph, tensor)
        for tensor in block.graph.outputs:
            if tensor >= 0 and tensor not in values:  # a constant that is returned
                values[tensor] = block.tensors[tensor].x
        return values

    def _compute(
        self, subgraph: int, node: Node, values: Mapping[int, np.ndarray]
    ) -> tuple[np.ndarray, ...]:
        call = self.call(subgraph, node, values)
        try:
            return ops.compute(call, self.mode)
        except KernelError as error:
            raise CannotRun(f"{self.blocks[subgraph].where(node)}: {error}") from error

    def program(self, subgraph: int = 0, keep: bool = False) -> Program | None:
        """The subgraph as a program of compiled kernels (mode "fast"), made when first asked for.

        keep: one whose every tensor can be read after a run. None where there is none: a state of a
        recurrent operator, control flow, shapes that depend on data, or a compiler that failed.
        """
        key = subgraph, keep
        if key not in self._programs:
            self._programs[key] = self._compiled(subgraph, keep) if self.mode == "fast" else None
        return self._programs[key]

    def _compiled(self, subgraph: int, keep: bool) -> Program | None:
        from kernels.simd.build import CompilerFailed
        from qcore.compiled import compile_block

        try:
            return compile_block(self.blocks[subgraph], self.profile, keep)
        except (NotCompiled, CompilerFailed):
            return None

    def _holds(self, subgraph: int, program: Program) -> bool:
        """Give the program's variables their values, unless it has them from its last run. False
        where it cannot take them."""
        if not program.variables and not program.before:
            return True
        held = program.instance(0).variables
        for key, view in held.items():
            if self._resources.get(key) is not view:
                break
        else:
            if all(key in self._resources for key, _ in program.before):
                return True
        block, resources = self.blocks[subgraph], self.resources
        for key, number in program.before:
            if key not in resources:
                self._compute(subgraph, block.nodes[number], {})
        for key, (_, variable) in program.variables.items():
            value = resources.get(key)
            if value is None:
                if variable.read:
                    return False
            elif (value.shape, value.dtype) != (variable.form.shape, variable.form.dtype):
                return False
            else:
                held[key][...] = value
        if program.native:  # else it may stop in the middle: the values before are still needed
            resources.update(held)
            self._lent.update(held)
        return True

    def _invoke(
        self, program: Program, block: Block, given: Mapping[int, np.ndarray], keep: bool
    ) -> dict[int, np.ndarray]:
        made = program.one([given[t] for t in program.inputs])
        values = {**given, **dict(zip(program.outputs, made))}
        if program.variables and not program.native:
            held = program.instance(0).variables
            self._resources.update({key: view.copy() for key, view in held.items()})
        if keep:
            instance = program.instance(0)
            values |= {t: instance.view(t).copy() for t in program.tensors if t not in values}
            values |= program.known
        return values

    def batch(self, images: Any, threads: int | None = None) -> dict[str, np.ndarray]:
        """Many samples at once, each computed by itself: the fast way through a data set.

        images: an array for the model's only input, or a dict of name -> array; the first axis
        counts the samples, the others are those of the input without its leading 1.  threads: None
        for all cores; the result does not depend on it. Returns output name -> array with a row
        for each sample. Raises BadSample, CannotRun.
        """
        entry = self.binder.entries[self.binder.default]
        given = images if isinstance(images, Mapping) else {entry.inputs[0].name: images}
        if set(given) != {i.name for i in entry.inputs}:
            names = ", ".join(repr(i.name) for i in entry.inputs)
            raise BadSample(f"{entry.where()} takes {names}; give an array for each")
        counts = {len(a) for a in given.values()}
        if len(counts) != 1:
            raise BadSample(f"the arrays hold {sorted(counts)} samples; give the same number each")
        count = counts.pop()
        if not count:
            raise BadSample("the arrays hold no samples; give at least one")
        parts = list(self._blocks(entry, given, count, threads))
        made = {t: np.concatenate([p[t] for p in parts]) for _, t in entry.outputs}
        return {
            name: a.reshape(-1, *a.shape[2:]) if a.ndim > 1 and a.shape[1] == 1 else a
            for name, a in ((name, made[t]) for name, t in entry.outputs)
        }

    def _batches(self, samples: Any) -> bool:
        """Whether there are several samples as one array or alike, and the default entry has a
        program that takes them."""
        if isinstance(samples, list):
            forms = {(a.shape, a.dtype) if isinstance(a, np.ndarray) else None for a in samples}
            several = len(samples) > 1 and len(forms) == 1 and None not in forms
        else:
            several = isinstance(samples, np.ndarray) and samples.shape[:1] > (1,)
        entry = self.binder.entries[self.binder.default]
        if not several or len(entry.inputs) != 1:
            return False
        first = stacked(entry.inputs[0], samples[:1])
        return first is not None and self.program(entry.subgraph) is not None

    def _blocks(
        self, entry: Entry, given: Mapping[str, Any], count: int, threads: int | None
    ) -> Iterator[dict[int, np.ndarray]]:
        """Outputs of a block of samples after the other: tensor -> array with a row for each."""
        from kernels.simd.build import cores

        team = threads or cores()
        size = sum(np.asarray(a[0]).nbytes for a in given.values())
        step = max(HELD // max(size, 1), LEAST * team)
        block = self.blocks[entry.subgraph]
        for first in range(0, count, step):
            part = {name: a[first : first + step] for name, a in given.items()}
            arrays = self._ready(entry, part, first)
            declared = block.declares({i.tensor: a[0] for i, a in zip(entry.inputs, arrays)})
            program = self.program(entry.subgraph) if declared else None
            inputs = [
                _encoded(block, i.tensor, a, team, program) for i, a in zip(entry.inputs, arrays)
            ]
            made = {i.tensor: a for i, a in zip(entry.inputs, inputs)}
            # What may stop in the middle of a block leaves the variables as its last image did.
            whole = program is not None and (program.native or not program.variables)
            if program is not None and whole and self._holds(entry.subgraph, program):
                try:
                    ordered = [made[t] for t in program.inputs]
                    outs = program.run(min(step, count - first), ordered, team)
                    made |= dict(zip(program.outputs, outs))
                    yield {t: made[t] for _, t in entry.outputs}
                    continue
                except NotCompiled:
                    self._programs[entry.subgraph, False] = None
            rows = [self.invoke(entry.subgraph, dict(zip(made, row))) for row in zip(*inputs)]
            yield {t: np.stack([r[t] for r in rows]) for _, t in entry.outputs}

    def _ready(self, entry: Entry, part: Mapping[str, Any], first: int) -> list[np.ndarray]:
        """(N, ...) arrays of samples as (N, *shape of the input), each adapted as one alone is."""
        whole = [stacked(i, part[i.name]) for i in entry.inputs]
        found = [a for a in whole if a is not None]
        if len(found) == len(whole):
            return found
        count = len(part[entry.inputs[0].name])
        bound = [
            self.binder.bind({n: a[i] for n, a in part.items()}, first + i).arrays
            for i in range(count)
        ]
        return [np.stack([row[p] for row in bound]) for p in range(len(whole))]

    def call(self, subgraph: int, node: Node, values: Mapping[int, np.ndarray]) -> Call:
        """The operator with its operands' values, as `kernels.ops.compute` takes it."""
        block = self.blocks[subgraph]

        def operand(tensor: int) -> Tensor | None:
            if tensor < 0:
                return None
            found = block.tensors[tensor]
            if found.constant:
                return found
            if tensor in block.variables:
                return replace(found, data=self.state(subgraph, tensor))
            if tensor not in values:
                raise CannotRun(
                    f"{block.where(node)} reads {block.graph.name(tensor)!r}, which nothing before "
                    "it computes; the file is not in order of execution"
                )
            return replace(found, data=values[tensor])

        return Call(
            node.name,
            tuple(operand(t) for t in node.inputs),
            tuple(block.tensors[t] for t in node.outputs if t >= 0),
            node.options,
            self.profile,
            node.version,
            node.intermediates,
            self._run,
            self.resources,
        )

    def state(self, subgraph: int, tensor: int) -> np.ndarray:
        """A variable tensor: as the last operator left it; at first 0 in real units."""
        key = subgraph, tensor
        if key not in self._states:
            found = self.blocks[subgraph].tensors[tensor]
            self._states[key] = np.full(found.shape, found.z if found.quantized else 0, found.held)
        return self._states[key]

    def set_state(self, subgraph: int, tensor: int, array: np.ndarray) -> None:
        """Give a variable tensor this value, from the next invocation on."""
        self._states[subgraph, tensor] = array

    def keep_states(self, subgraph: int, node: Node, made: Sequence[np.ndarray]) -> None:
        """Keep the operator's new states, which stand behind its outputs in `made`."""
        for position, state in zip(node.states, made[len(node.outputs) :], strict=True):
            self.set_state(subgraph, node.inputs[position], state)

    def _run(self, subgraph: int, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """Another subgraph, for the operators of control flow."""
        graph = self.blocks[subgraph].graph
        values = self.invoke(subgraph, dict(zip(graph.inputs, inputs)))
        return tuple(values[t] for t in graph.outputs)


class Block:
    """One subgraph: its operators as nodes, its tensors with parameters and constant values."""

    def __init__(self, graph: Graph, mode: str):
        self.graph = graph
        self.real = mode == "real"
        self._parameters: dict[int, Tensor] = {}

    @cached_property
    def tensors(self) -> tuple[Tensor, ...]:
        return tuple(self._tensor(t) for t in range(len(self.graph.tensors)))

    @cached_property
    def _shapes(self) -> tuple[tuple[int, ...], ...]:
        return tuple(t.shape for t in self.tensors)

    @cached_property
    def variables(self) -> frozenset[int]:
        return frozenset(
            t for t in range(len(self.graph.tensors)) if self.graph.is_variable(t)
        ) - set(self.graph.inputs)

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        last: dict[int, int] = {}
        for i, op in enumerate(self.graph.operators):
            last.update((t, i) for t in (*op.inputs, *op.outputs) if t >= 0)
        return tuple(self._node(i, last) for i in range(len(self.graph.operators)))

    def where(self, node: Node) -> str:
        """How a message names an operator."""
        number = self.graph.subgraph
        return self.graph.where(node.number) + (f" in subgraph {number}" if number else "")

    def declares(self, given: Mapping[int, np.ndarray]) -> bool:
        """Whether the inputs have the shapes that the file declares."""
        shapes = self._shapes
        for tensor, array in given.items():
            if array.shape != shapes[tensor]:
                return False
        return True

    def encode(self, tensor: int, array: np.ndarray) -> np.ndarray:
        """A sample's array as the tensor holds it."""
        floats = array.dtype.kind == "f"
        if floats == self.real:
            return array
        t = self._parameters.get(tensor)
        if t is None:
            t = self._parameters[tensor] = parameters(self.graph, tensor)
        if not t.quantized or t.dtype not in ranges.NAMED:
            return array
        if self.real:
            return replace(t, data=array).real()
        if not 0 < t.s < np.inf:
            raise CannotRun(
                f"input {self.graph.name(tensor)!r} has the scale {t.s}, by which nothing can be "
                "divided; give it integers, or mend the model"
            )
        try:
            return affine.quantize(array, t.s, t.z, t.range)
        except NotFinite:
            raise BadSample(
                f"input {self.graph.name(tensor)!r} is given NaN, for which no integer stands; "
                "mend the sample"
            ) from None

    def _tensor(self, tensor: int) -> Tensor:
        found = parameters(self.graph, tensor)
        data = constant(self.graph, tensor)
        if data is not None:
            found = replace(found, data=data, constant=True)
        if not self.real or not found.quantized:
            return found
        # In real units; states of other types (int16 cell states) and biases likewise.
        return Tensor(
            "float32",
            None if found.data is None else found.real(),
            constant=found.constant,
            declared=found.declared,
        )

    def _node(self, number: int, last: Mapping[int, int]) -> Node:
        op = self.graph.operators[number]
        spec = ops.find(op.name)
        kept = spec.states(len(op.inputs)) if spec is not None else ()
        return Node(
            number,
            op.name,
            op.inputs,
            op.outputs,
            tuple(self.tensors[t] for t in op.intermediates),
            op.options or op.options_2 or NO_OPTIONS,
            op.code.version,
            tuple(p for p in kept if op.inputs[p] >= 0),
            tuple(t for t in {*op.inputs, *op.outputs} if t >= 0 and last[t] == number),
        )


def stacked(to: Input, samples: Any) -> np.ndarray | None:
    """(N, ...) samples as (N, *shape of the input), where each is adapted alike and without looking
    at its values; else None."""
    if to.shape is None or -1 in to.shape:
        return None
    try:
        array = np.asarray(samples)
    except ValueError:  # of several shapes
        return None
    if not (array.dtype == to.dtype or (to.floats and array.dtype.kind == "f")):
        return None
    shape, have = tuple(to.shape), array.shape[1:]
    if len(have) < len(shape):
        have = with_ones(np.empty(have, np.bool_), shape).shape
    if have != shape:
        return None
    array = array.reshape(len(array), *shape)
    return array if array.dtype == to.dtype else array.astype(np.float32, copy=False)


def _encoded(
    block: Block, tensor: int, samples: np.ndarray, team: int, program: Program | None
) -> np.ndarray:
    """`Block.encode` of many samples, by the program's threads."""
    if program is None or samples.dtype.kind != "f" or min(team, len(samples)) < 2:
        return block.encode(tensor, samples)
    shares = np.array_split(samples, team)
    work = program.workers(team - 1).map(lambda a: block.encode(tensor, a), shares[1:])
    return np.concatenate([block.encode(tensor, shares[0]), *work])


def parameters(graph: Graph, tensor: int) -> Tensor:
    """The tensor's type and quantization parameters, without values."""
    record = graph.tensors[tensor]
    dtype = ts.TensorType(record.type).name.lower()
    found = Tensor(dtype, declared=record.shape or ())
    q = record.quantization
    if q is None:
        return found
    details = getattr(q, "details", None)
    if details is not None and details.table == "BlockwiseQuantization":
        scales = graph.constant(details.scales)
        assert scales is not None
        scale = scales.astype(np.float32).reshape(scales.shape[0], -1)
        return replace(found, scale=scale, zero_point=np.zeros(1, np.int64))
    if q.scale is None or not q.scale.size:
        return found
    zero_point = np.zeros(q.scale.size, np.int64) if q.zero_point is None else q.zero_point
    if zero_point.size == 0:
        zero_point = np.zeros(q.scale.size, np.int64)
    return replace(found, scale=q.scale, zero_point=zero_point, axis=int(q.quantized_dimension))


def constant(graph: Graph, tensor: int) -> np.ndarray | None:
    """A constant's values, dense and unpacked; None for what is computed."""
    if not graph.is_constant(tensor) or tensor in graph.inputs:
        return None
    record = graph.tensors[tensor]
    data = graph.constant(tensor)
    if data is None:
        return None
    unpack = UNPACK.get(ts.TensorType(record.type).name.lower())
    shape = record.shape or ()
    if record.sparsity is not None:
        return densify(data, record, graph.name(tensor))
    return data if unpack is None else unpack(data, int(np.prod(shape))).reshape(shape)
