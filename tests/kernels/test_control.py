"""Control flow, variables and composites: small models, ours against the official interpreter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from flatbuffers import flexbuffers

import tflite_schema as ts
from kernels import ops
from kernels.call import Call, Tensor, options
from kernels.errors import NoKernel, RuntimeRefuses
from kernels.profile import PATHS, RUNTIMES, Profile
from qcore.errors import RuntimeFailed
from qcore.peers import interpreter
from qcore.testing.build import Builder

INT8 = {"dtype": "INT8", "scale": 0.5, "zero_point": 3}


def subgraphs(*builders: Builder, outputs: Sequence[Sequence[int]]) -> ts.Model:
    """One model of several subgraphs; the builders share the first one's buffers."""
    made = [b.model(o).subgraphs[0] for b, o in zip(builders, outputs, strict=True)]
    return ts.Model(version=3, subgraphs=tuple(made), buffers=tuple(builders[0].buffers))


def builders(count: int) -> list[Builder]:
    made = [Builder() for _ in range(count)]
    for b in made[1:]:
        b.buffers = made[0].buffers
    return made


def emit(
    b: Builder, operator: str, inputs: Sequence[int], outputs: Sequence[int], **fields: Any
) -> tuple[int, ...]:
    """An operator whose output tensors are there already."""
    composite = operator == "STABLEHLO_COMPOSITE"
    words = operator.title().replace("_", "")
    table = "StableHLOCompositeOptions" if composite else f"{words}Options"
    given = ts.Options(table, **fields)
    b.operators.append(
        ts.Operator(
            code=ts.OperatorCode.of(operator, version=1),
            inputs=tuple(inputs),
            outputs=tuple(outputs),
            **{"options_2" if composite else "options": given},
        )
    )
    return tuple(outputs)


def compute(model: ts.Model, profile: Profile, mode: str, resources: dict[str, Any]) -> Any:
    """A run function for Call.run: every operator of a subgraph in turn, by our kernels."""

    def run(number: int, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        graph = model.subgraphs[number]
        values = dict(zip(graph.inputs, inputs, strict=True))

        def tensor(i: int) -> Tensor:
            t = graph.tensors[i]
            dtype = ts.TensorType(t.type).name.lower()
            data, raw = values.get(i), model.buffers[t.buffer].data
            if data is None and raw is not None and len(raw):
                data = np.frombuffer(bytes(raw), dtype).reshape(t.shape)
            q = t.quantization
            scaled = q is not None and q.scale is not None
            return Tensor(
                dtype, data, q.scale if scaled else None, q.zero_point if scaled else None,
                constant=i not in values, declared=t.shape,
            )  # fmt: skip

        for op in graph.operators:
            call = Call(
                op.code.name,
                tuple(tensor(i) for i in op.inputs), tuple(tensor(i) for i in op.outputs),
                op.options or op.options_2 or options(), profile, 1, (), run, resources,
            )  # fmt: skip
            values.update(zip(op.outputs, ops.compute(call, mode), strict=True))
        return tuple(values[i] if i in values else tensor(i).x for i in graph.outputs)

    return run


def loop() -> ts.Model:
    """WHILE count < n: count + 1, x reversed and one step further; int8 data, int32 counter."""
    main, cond, body = builders(3)
    for b in (main, cond, body):
        b.input((1,), "count", dtype="INT32")
        b.input((1,), "n", dtype="INT32")
        b.input((3, 2), "x", **INT8)
    less = cond.op("LESS", [0, 1], (1,), dtype="BOOL")
    more = body.tensor((1,), "more", dtype="INT32")
    emit(body, "ADD", [0, body.const(np.int32(1))], [more])
    back, moved = (body.tensor((3, 2), name, **INT8) for name in ("back", "moved"))
    emit(body, "REVERSE_V2", [2, body.const(np.array([0], np.int32))], [back])
    start = body.const(np.array([0, 1], np.int32))
    update = body.const(np.array([[7]], np.int8), scale=0.5, zero_point=3)
    emit(body, "DYNAMIC_UPDATE_SLICE", [back, update, start], [moved])
    out = [main.tensor((1,), dtype="INT32"), main.tensor((1,), dtype="INT32")]
    out.append(main.tensor((3, 2), **INT8))
    emit(main, "WHILE", [0, 1, 2], out, cond_subgraph_index=1, body_subgraph_index=2)
    return subgraphs(main, cond, body, outputs=[out[::2], [less], [more, 1, moved]])


def branch() -> ts.Model:
    """IF c: x transposed and back, else x reversed."""
    main, then, other = builders(3)
    main.input((1,), "c", dtype="BOOL")
    for b in (main, then, other):
        b.input((2, 3), "x", **INT8)
    a, z = then.tensor((3, 2), **INT8), then.tensor((2, 3), **INT8)
    perm = then.const(np.array([1, 0], np.int32))
    emit(then, "TRANSPOSE", [0, perm], [a])
    emit(then, "TRANSPOSE", [a, perm], [z])
    y = other.tensor((2, 3), **INT8)
    emit(other, "REVERSE_V2", [0, other.const(np.array([1], np.int32))], [y])
    out = main.tensor((2, 3), **INT8)
    emit(main, "IF", [0, 1], [out], then_subgraph_index=1, else_subgraph_index=2)
    return subgraphs(main, then, other, outputs=[[out], [z], [y]])


def memory(initialize: bool = True, container: str = "") -> ts.Model:
    """Two variables of one name in two containers: the older value comes out, x goes in."""
    main, init = builders(2)
    x = main.input((2, 2), "x", **INT8)
    if initialize:
        emit(main, "CALL_ONCE", [], [], init_subgraph_index=1)
    found = []
    for b in (main, init):
        for place in (container, "other"):
            handle = b.tensor((), dtype="RESOURCE")
            emit(b, "VAR_HANDLE", [], [handle], container=place, shared_name="v")
            if b is init:
                start = np.full((2, 2), len(place), np.int8)
                emit(b, "ASSIGN_VARIABLE", [handle, b.const(start, scale=0.5, zero_point=3)], [])
                continue
            old = b.tensor((2, 2), **INT8)
            emit(b, "READ_VARIABLE", [handle], [old])
            emit(b, "ASSIGN_VARIABLE", [handle, found[0] if found else x], [])
            found.append(old)
    return subgraphs(main, init, outputs=[found, []])


def composite() -> ts.Model:
    """A composite of one reversal."""
    main, inside = builders(2)
    for b in (main, inside):
        b.input((2, 3), "x", **INT8)
    y, out = inside.tensor((2, 3), **INT8), main.tensor((2, 3), **INT8)
    emit(inside, "REVERSE_V2", [0, inside.const(np.array([1], np.int32))], [y])
    nothing = np.frombuffer(flexbuffers.Dumps({}), np.uint8)
    emit(
        main, "STABLEHLO_COMPOSITE", [0], [out],
        name="own.thing", decomposition_subgraph_index=1, composite_attributes=nothing,
    )  # fmt: skip
    return subgraphs(main, inside, outputs=[[out], [y]])


def samples(model: ts.Model, count: int = 4) -> list[tuple[np.ndarray, ...]]:
    random = np.random.default_rng(5)
    graph = model.subgraphs[0]
    names = [graph.tensors[i].name for i in graph.inputs]
    return [
        tuple(
            {
                "count": np.array([0], np.int32), "n": np.array([k], np.int32),
                "c": np.array([k % 2 > 0]),
                "x": random.integers(-128, 128, graph.tensors[i].shape).astype(np.int8),
            }[name]
            for i, name in zip(graph.inputs, names, strict=True)
        )
        for k in range(count)
    ]  # fmt: skip


MODELS = {"loop": loop, "branch": branch, "memory": memory, "composite": composite}


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", MODELS)
def test_outputs_are_those_of_the_runtime(name: str, path: str, runtime: str) -> None:
    if not interpreter.installed(runtime):
        pytest.skip(f"{runtime} is not installed")
    model = MODELS[name]()
    inputs = samples(model)
    theirs = list(interpreter.run(model, inputs, runtime=runtime, path=path))
    assert len(theirs) == len(inputs)
    for mode in ("reference", "fast"):
        run = compute(model, Profile(path, runtime), mode, {})
        for sample, want in zip(inputs, theirs, strict=True):
            got = run(0, [np.asarray(array) for array in sample])
            assert len(got) == len(want) > 0
            for a, b in zip(got, want.values(), strict=True):
                assert a.dtype == b.dtype and a.shape == b.shape and (a == b).all(), (name, mode)


def test_a_variable_that_was_never_assigned() -> None:
    model = memory(initialize=False)
    with pytest.raises(RuntimeFailed):
        list(interpreter.run(model, samples(model), path="reference"))
    with pytest.raises(RuntimeRefuses, match="nothing was assigned"):
        compute(model, Profile(), "fast", {})(0, samples(model)[0])


def test_the_initializer_runs_once_per_life() -> None:
    seen: list[int] = []
    resources: dict[str, Any] = {}

    def run(number: int, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        seen.append(number)
        return ()

    for subgraph in (3, 3, 4, 3):
        call = Call("CALL_ONCE", (), (), options(init_subgraph_index=subgraph), run=run)
        assert ops.compute(call.on(resources=resources)) == ()
    assert seen == [3, 4]


def test_an_assigned_value_is_a_copy() -> None:
    resources: dict[str, Any] = {}
    (handle,) = ops.compute(Call("VAR_HANDLE", (), (Tensor("resource"),), options(shared_name="v")))
    held, x = Tensor("resource", handle), np.arange(3, dtype=np.int8)
    ops.compute(Call("ASSIGN_VARIABLE", (held, Tensor("int8", x)), (), resources=resources))
    x[:] = 9
    read = Call("READ_VARIABLE", (held,), (Tensor("int8"),), resources=resources)
    assert ops.compute(read)[0].tolist() == [0, 1, 2]


@pytest.mark.parametrize("name", ["IF", "WHILE", "CALL_ONCE", "STABLEHLO_COMPOSITE"])
def test_without_subgraphs(name: str) -> None:
    with pytest.raises(NoKernel, match=r"run the model with qcore\.run"):
        ops.compute(Call(name, (Tensor("bool", np.array(True)),), ()))
