"""A model as the calibrating child runs it: stretches of operators, and calls between them.

The runtime keeps the tensors of a WHILE body only for its last iteration, and of a branch only if
it ran. To see them all, a subgraph with control flow is cut at those operators: each stretch in
between becomes a subgraph of its own with the same tensors (so indices keep their meaning), and the
child does what the control-flow operator would have done, running the called subgraphs one
iteration at a time. Every operator still runs exactly once as often as before and in the same
order, in one interpreter, so resource variables and their initialisation behave as they would.

A resource handle cannot be moved between interpreter calls; the operator that makes it (a pure
look-up by name) is repeated in each stretch that needs it, also behind WHILE arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import tflite_schema as ts
from qcore.calibrate import lstm
from qcore.calibrate.steps import Call, Program, Stretch, Watch
from qcore.errors import RuntimeFailed
from qcore.params import TensorKey

# Operator -> (kind, fields of its options with the subgraphs it calls).
CALLS: dict[str, tuple[str, tuple[str, ...]]] = {
    "WHILE": ("while", ("cond_subgraph_index", "body_subgraph_index")),
    "STABLEHLO_WHILE": ("while", ("cond_subgraph_index", "body_subgraph_index")),
    "IF": ("if", ("then_subgraph_index", "else_subgraph_index")),
    "STABLEHLO_CASE": ("case", ("branch_subgraph_indices",)),
    "CALL_ONCE": ("once", ("init_subgraph_index",)),
    "CALL": ("call", ("subgraph",)),
    "STABLEHLO_COMPOSITE": ("call", ("decomposition_subgraph_index",)),
}
HANDLES = {"VAR_HANDLE", "HASHTABLE"}
STATEFUL = {
    "ASSIGN_VARIABLE", "READ_VARIABLE", "HASHTABLE", "HASHTABLE_IMPORT", "CALL_ONCE",
    "RANDOM_UNIFORM", "RANDOM_STANDARD_NORMAL", "MULTINOMIAL",
}  # fmt: skip


@dataclass(frozen=True)
class Programs:
    """What the child is given: the file's model, a Program for each subgraph that can run.

    fixed_model: None, or a model that makes the float32 tensors which depend on constants alone;
    fixed: which they are, by its subgraph.
    aliases: tensors that the runtime does not keep -> the tensor that has the same values.
    unseen: tensors that it does not keep and that no other stands for.
    other_floats: tensors of another float type, which nobody observes.
    stateful: whether a sample can leave something behind for the next one.
    resources: whether that lives outside tensors, so that only a new interpreter forgets it.
    """

    model: ts.Model
    by_subgraph: dict[int, Program]
    fixed_model: ts.Model | None
    fixed: tuple[Stretch, ...]
    aliases: dict[TensorKey, TensorKey]
    unseen: tuple[TensorKey, ...]
    other_floats: tuple[TensorKey, ...]
    stateful: bool
    resources: bool
    split: bool


def is_constant(model: ts.Model, graph: ts.SubGraph, tensor: int) -> bool:
    """Whether the file holds the tensor's data (a buffer with no bytes is no data)."""
    found = graph.tensors[tensor]
    return model.buffers[found.buffer].nbytes > 0 or found.external_buffer > 0


def called(op: ts.Operator) -> tuple[str, tuple[int, ...]] | None:
    """(kind, subgraphs) of a control-flow operator, None for any other."""
    entry = CALLS.get(op.name)
    if entry is None:
        return None
    kind, fields = entry
    table = op.options_2 if op.name.startswith("STABLEHLO") else op.options
    if table is None:
        return kind, tuple(0 for _ in fields)
    targets: list[int] = []
    for field in fields:
        value = getattr(table, field)
        targets.extend(int(v) for v in np.atleast_1d([] if value is None else value))
    return kind, tuple(targets)


def reachable(model: ts.Model, roots: set[int]) -> list[int]:
    """Subgraphs that can run from `roots`, in ascending order."""
    found: set[int] = set()
    todo = list(roots)
    while todo:
        number = todo.pop()
        if number in found:
            continue
        found.add(number)
        for op in model.subgraphs[number].operators:
            call = called(op)
            if call:
                todo.extend(call[1])
    return sorted(found)


def _type(graph: ts.SubGraph, tensor: int) -> str:
    kind = graph.tensors[tensor].type
    return getattr(kind, "name", str(kind))


def _follow_handles(model: ts.Model, numbers: list[int]) -> dict[tuple[int, int], ts.Operator]:
    """(subgraph, tensor) -> the operator that makes the handle in it, through calls as well."""
    made: dict[tuple[int, int], ts.Operator] = {}
    changed = True
    while changed:
        changed = False

        def learn(number: int, tensor: int, op: ts.Operator | None) -> None:
            nonlocal changed
            if op is None:
                return
            old = made.get((number, tensor))
            if old is None:
                made[number, tensor] = op
                changed = True
            elif old.options != op.options or old.code != op.code:
                graph = model.subgraphs[number]
                raise RuntimeFailed(
                    f"subgraph {number} ({graph.name}) is called with different resource variables "
                    f"as {graph.tensors[tensor].name!r}, which calibration cannot follow; "
                    "duplicate that function in the model, or leave it out of quantization"
                )

        for number in numbers:
            graph = model.subgraphs[number]
            for op in graph.operators:
                if op.name in HANDLES:
                    for tensor in op.outputs:
                        learn(number, tensor, op)
                call = called(op)
                if not call or call[0] == "once":
                    continue
                arguments = op.inputs[1:] if call[0] in ("if", "case") else op.inputs
                for target in call[1]:
                    for outer, inner in zip(arguments, model.subgraphs[target].inputs):
                        if outer >= 0 and _type(graph, outer) == "RESOURCE":
                            learn(target, inner, made.get((number, outer)))
                    if call[0] != "while" or target == call[1][-1]:
                        for outer, inner in zip(op.outputs, model.subgraphs[target].outputs):
                            if _type(graph, outer) == "RESOURCE":
                                learn(number, outer, made.get((target, inner)))
    return made


def _fixed(model: ts.Model, graph: ts.SubGraph) -> set[int]:
    """Tensors that operators make of constants alone."""
    fixed: set[int] = set()
    for op in graph.operators:
        if op.name in CALLS or op.name in STATEFUL or op.name in HANDLES:
            continue
        inputs = [t for t in op.inputs if t >= 0]
        if inputs and all(
            (t in fixed or is_constant(model, graph, t)) and not graph.tensors[t].is_variable
            for t in inputs
        ):
            fixed.update(op.outputs)
    return fixed


def build(
    model: ts.Model, roots: set[int], observe: Callable[[TensorKey], bool] | None = None
) -> Programs:
    """Cut every subgraph that can run from `roots` into what the child executes.

    observe: which tensors to watch; all float32 tensors without data when None.
    """
    numbers = reachable(model, roots)
    handles = _follow_handles(model, numbers)
    new_graphs: list[ts.SubGraph] = []
    programs: dict[int, Program] = {}
    fixed_graphs: list[ts.SubGraph] = []
    fixed_steps: list[Stretch] = []
    aliases: dict[TensorKey, TensorKey] = {}
    unseen: list[TensorKey] = []
    other_floats: list[TensorKey] = []
    targets_of_calls = {
        t
        for n in numbers
        for op in model.subgraphs[n].operators
        for t in (called(op) or ("", ()))[1]
    }
    split = stateful = resources = False

    for number in numbers:
        graph = model.subgraphs[number]
        fixed = _fixed(model, graph)
        makers = {t: f"{op.name} {i}" for i, op in enumerate(graph.operators) for t in op.outputs}

        def watch(tensors: Any, number: int = number, graph: ts.SubGraph = graph,
                  makers: dict[int, str] = makers) -> tuple[Watch, ...]:  # fmt: skip
            out = []
            for t in dict.fromkeys(tensors):
                key = TensorKey(number, t)
                if t < 0 or _type(graph, t) != "FLOAT32" or is_constant(model, graph, t):
                    continue
                if observe is None or observe(key):
                    name = graph.tensors[t].name or f"tensor {t}"
                    out.append(Watch(t, key, name, makers.get(t, "")))
            return tuple(out)

        makes_fixed = [op for op in graph.operators if op.outputs and op.outputs[0] in fixed]
        if seen_fixed := watch(t for op in makes_fixed for t in op.outputs):
            kept = tuple(w.tensor for w in seen_fixed)
            fixed_steps.append(Stretch(len(fixed_graphs), (), (), seen_fixed, ()))
            fixed_graphs.append(
                graph.replace(inputs=(), outputs=kept, operators=tuple(makes_fixed))
            )
        for op in graph.operators:
            _intermediates(op, number, aliases, unseen)
            other_floats += [
                TensorKey(number, t)
                for t in op.outputs
                if t >= 0 and _type(graph, t) in ("FLOAT16", "BFLOAT16", "FLOAT64")
            ]
        stateful |= any(op.name in STATEFUL for op in graph.operators)
        resources |= any(op.name in STATEFUL | HANDLES for op in graph.operators)
        stateful |= any(t.is_variable for t in graph.tensors)
        taken = frozenset(t for t in graph.inputs if _type(graph, t) in ("RESOURCE", "VARIANT"))
        whole = not taken and not any(op.name in CALLS for op in graph.operators)
        pieces = _pieces(graph)
        steps: list[Stretch | Call] = []
        returned = {t for t in graph.outputs if t >= 0} if number in targets_of_calls else set()
        needed_later = _needed_later(graph, pieces, returned)
        passed: set[int] = {t for t in graph.outputs if t >= 0}
        for piece, later in zip(pieces, needed_later):
            if isinstance(piece, int):
                op = graph.operators[piece]
                kind, targets = called(op) or ("", ())
                steps.append(
                    Call(
                        kind,
                        targets,
                        op.inputs,
                        op.outputs,
                        watch(op.outputs),
                        f"{op.name} {piece}",
                    )
                )
                passed.update(t for t in op.inputs if t >= 0)
                continue
            operators = [graph.operators[i] for i in piece]
            read = dict.fromkeys(t for op in operators for t in op.inputs if t >= 0)
            written = dict.fromkeys(t for op in operators for t in op.outputs if t >= 0)
            states = [t for t in read if graph.tensors[t].is_variable]
            movable = [t for t in written if _type(graph, t) not in ("RESOURCE", "VARIANT")]
            outputs = tuple(t for t in movable if t in later)
            seen = watch([t for t in written if t not in fixed])
            if whole:
                inputs = graph.inputs
                subgraph = number
            else:
                split = True
                inputs = tuple(
                    t for t in read
                    if t not in written and not graph.tensors[t].is_variable
                    and not is_constant(model, graph, t)
                    and _type(graph, t) not in ("RESOURCE", "VARIANT")
                )  # fmt: skip
                extra = []
                for t in read:
                    if _type(graph, t) == "RESOURCE" and t not in written:
                        maker = handles.get((number, t))
                        if maker is None:
                            raise RuntimeFailed(
                                f"the handle {graph.tensors[t].name!r} in subgraph {number} comes "
                                "from where calibration cannot follow it; leave that part of the "
                                "model out of quantization"
                            )
                        extra.append(maker.replace(inputs=(), outputs=(t,)))
                    if _type(graph, t) == "VARIANT" and t not in written:
                        raise RuntimeFailed(
                            f"tensor {graph.tensors[t].name!r} (a list of tensors) passes through "
                            f"control flow in subgraph {number}, which calibration cannot follow; "
                            "convert the model with fixed-size arrays"
                        )
                subgraph = len(model.subgraphs) + len(new_graphs)
                new_graphs.append(
                    ts.SubGraph(
                        tensors=graph.tensors,
                        inputs=inputs,
                        # XNNPACK drops what nobody reads, so the graph's own outputs stay outputs.
                        outputs=tuple(t for t in movable if t in later or t in graph.outputs),
                        operators=(*extra, *operators),
                        name=f"{graph.name or number}.{len(steps)}",
                    )
                )
            steps.append(Stretch(subgraph, inputs, outputs, seen, watch(states)))
        constants = {}
        for t in passed:
            if is_constant(model, graph, t):
                found = ts.array(model, number, t)
                assert found is not None
                constants[t] = np.array(found)
        programs[number] = Program(
            graph.inputs,
            graph.outputs,
            tuple(steps),
            watch(graph.inputs),
            constants,
            taken,
        )
    if new_graphs:
        model = model.replace(subgraphs=(*model.subgraphs, *new_graphs))
    fixed_model = None
    if fixed_graphs:
        fixed_model = model.replace(
            subgraphs=tuple(fixed_graphs), signature_defs=(), metadata=(), appended=None
        )
    return Programs(
        model, programs, fixed_model, tuple(fixed_steps), aliases, tuple(unseen),
        tuple(other_floats), stateful,
        resources, split,
    )  # fmt: skip


def _intermediates(
    op: ts.Operator, number: int, aliases: dict[TensorKey, TensorKey], unseen: list[TensorKey]
) -> None:
    """Which of an LSTM's intermediates are another tensor, and which cannot be seen."""
    if not lstm.has_intermediates(op):
        return
    if lstm.has_norm(op):
        unseen.extend(TensorKey(number, t) for t in op.intermediates[:4])
    last = TensorKey(number, op.intermediates[4])
    if lstm.has_projection(op):
        unseen.append(last)
    else:
        aliases[last] = TensorKey(number, op.outputs[0])


def _pieces(graph: ts.SubGraph) -> list[int | list[int]]:
    """Operator numbers: lists of ordinary ones, and single control-flow ones between them."""
    out: list[int | list[int]] = []
    for i, op in enumerate(graph.operators):
        if op.name in CALLS:
            out.append(i)
        elif out and isinstance(out[-1], list):
            out[-1].append(i)
        else:
            out.append([i])
    return out


def _needed_later(
    graph: ts.SubGraph, pieces: list[int | list[int]], returned: set[int]
) -> list[set[int]]:
    """For each piece, the tensors that later pieces read or the subgraph returns."""
    needed = set(returned)
    out: list[set[int]] = []
    for piece in reversed(pieces):
        out.append(set(needed))
        for i in [piece] if isinstance(piece, int) else piece:
            needed.update(t for t in graph.operators[i].inputs if t >= 0)
    return out[::-1]
