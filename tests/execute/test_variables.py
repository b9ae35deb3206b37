"""Programs with resource variables: the integers of the Python way, frame after frame."""

from __future__ import annotations

import numpy as np
import pytest

import qcore
import tflite_schema as ts
from kernels import ops
from kernels.errors import NoKernel
from kernels.profile import PATHS
from kernels.simd import target
from kernels.simd.program import NotLowered
from qcore.errors import CannotRun
from qcore.peers import interpreter
from qcore.testing.build import Builder
from tests.execute.models import Streams, counter, streaming

FRAMES = 7


def frames(model: ts.Model, rng: np.random.Generator, count: int = FRAMES) -> list[np.ndarray]:
    graph = model.subgraphs[0]
    shape = graph.tensors[graph.inputs[0]].shape
    return list(rng.integers(-128, 128, (count, *shape)).astype(np.int8))


def both(model: ts.Model, path: str = "optimized") -> tuple[qcore.Executor, qcore.Executor]:
    """An executor with a program, and one that computes operator by operator."""
    fast, slow = qcore.Executor(model, path), qcore.Executor(model, path, "reference")
    assert fast.program(0) is not None and slow.program(0) is None
    return fast, slow


def assert_same(a: qcore.Executor, b: qcore.Executor, samples: list[np.ndarray]) -> None:
    """One sample after the other: outputs, and what the variables hold after each."""
    compared = 0
    for x in samples:
        (made, other) = (next(e.run([x])) for e in (a, b))
        assert made.keys() == other.keys()
        for name in made:
            assert made[name].dtype == other[name].dtype and made[name].shape == other[name].shape
            assert (made[name] == other[name]).all()
            compared += made[name].size
        assert a.resources.keys() == b.resources.keys()
        assert all(np.array_equal(a.resources[k], b.resources[k]) for k in a.resources)
    assert compared


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("layers", [1, 2, 4])
def test_frames(rng, path, layers):
    model = streaming(rng, layers)
    samples = frames(model, rng)
    fast, slow = both(model, path)
    assert fast.program(0).native
    assert_same(fast, slow, samples)
    for executor in (fast, slow):
        executor.reset()
    assert_same(fast, slow, samples[:3])


@pytest.mark.parametrize("path", PATHS)
def test_frames_are_the_interpreters(rng, path):
    if not interpreter.installed("litert"):
        pytest.skip("litert is not installed")
    model = streaming(rng)
    samples = frames(model, rng)
    theirs = list(interpreter.run(model, samples, "litert", path))
    ours = list(qcore.Executor(model, path).run(samples))
    assert len(ours) == len(theirs) == FRAMES
    for a, b in zip(ours, theirs):
        assert all((a[k] == b[k]).all() for k in b) and a.keys() == b.keys()


@pytest.mark.parametrize("name", target.available())
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_batches_go_in_order(rng, name, threads):
    model = streaming(rng)
    samples = frames(model, rng, 23)
    (tensor,) = model.subgraphs[0].outputs
    output = model.subgraphs[0].tensors[tensor].name
    slow = qcore.Executor(model, "xnnpack", "reference")
    want = np.concatenate([made[output] for made in slow.run(iter(samples))])
    with target.use(name):
        fast = qcore.Executor(model, "xnnpack")
        whole = fast.batch(np.stack(samples[:20]), threads)[output]
        rest = np.concatenate([made[output] for made in fast.run(samples[20:])])
    assert (np.concatenate([whole, rest]) == want).all() and len(want) == 23


def test_every_tensor(rng):
    model = streaming(rng)
    fast, slow = both(model)
    for x in frames(model, rng):
        (made, every), (other, same) = (next(e.run([x], tensors=True)) for e in (fast, slow))
        assert made.keys() == other.keys() and every.keys() == same.keys()
        assert all(np.array_equal(every[t], same[t]) for t in same)
        next(fast.run([x])), next(slow.run([x]))  # another program goes on with the same variables
    assert len(every) > 12


def test_resources_can_be_kept_and_given_back(rng):
    model = streaming(rng)
    samples = frames(model, rng)
    fast, slow = both(model)
    assert_same(fast, slow, samples[:3])
    kept = dict(fast.resources)
    before = {key: np.copy(value) for key, value in kept.items()}
    want = [next(fast.run([x])) for x in samples[3:]]
    assert all(np.array_equal(kept[key], before[key]) for key in before)
    fast.resources.update(kept)
    again = [next(fast.run([x])) for x in samples[3:]]
    assert all((a[k] == b[k]).all() for a, b in zip(again, want, strict=True) for k in a)
    key = next(k for k in kept if k.startswith("variable"))
    held = fast.resources
    next(fast.run(samples[:1]))
    held[key] = np.zeros_like(kept[key])  # without asking again
    slow.resources.update({k: np.copy(v) for k, v in fast.resources.items()})
    assert_same(fast, slow, samples[:2])


def odd(case: str) -> ts.Model:
    """Variables used in other ways than a stream does."""
    s = Streams()
    b = s.main
    held = {"dtype": "INT8"}
    x = b.input((1, 4), "x", dtype="INT8")
    first = np.arange(4, dtype=np.int8).reshape(1, 4)
    one, two = s.variable("one", first), s.variable("two", first[:, ::-1].copy())
    outputs = [b.op("READ_VARIABLE", [one], (1, 4), **held)]
    if case == "the old value is an output":
        b.op("ASSIGN_VARIABLE", [one, x])
        shape = b.const(np.array([4], np.int32))
        outputs.append(b.op("RESHAPE", [outputs[0], shape], (4,), **held, new_shape=[4]))
    if case == "values change places":
        other = b.op("READ_VARIABLE", [two], (1, 4), **held)
        b.op("ASSIGN_VARIABLE", [one, other])
        b.op("ASSIGN_VARIABLE", [two, outputs[0]])
        outputs.append(x)
    if case == "a value is read again":
        b.op("ASSIGN_VARIABLE", [one, x])
        outputs.append(b.op("READ_VARIABLE", [one], (1, 4), **held))
        b.op("ASSIGN_VARIABLE", [two, outputs[-1]])
    if case == "two values, two handles":
        b.op("ASSIGN_VARIABLE", [s.variable("one"), outputs[0]])
        b.op("ASSIGN_VARIABLE", [one, x])
        outputs.append(b.op("READ_VARIABLE", [s.variable("one")], (1, 4), **held))
    if case == "a constant is assigned":
        b.op("ASSIGN_VARIABLE", [one, b.const(first + np.int8(7))])
        b.op("ASSIGN_VARIABLE", [two, x])
    if case == "a value that nothing reads":
        b.op("ASSIGN_VARIABLE", [s.variable("three"), x])
    return s.model(outputs)


@pytest.mark.parametrize(
    "case",
    [
        "nothing is assigned", "the old value is an output", "values change places",
        "a value is read again", "two values, two handles", "a constant is assigned",
        "a value that nothing reads",
    ],
)  # fmt: skip
@pytest.mark.parametrize("keep", [False, True])
def test_odd_uses(rng, case, keep):
    model = odd(case)
    samples = frames(model, rng)
    fast, slow = both(model)
    assert_same(fast, slow, samples)
    for x in samples:
        found, want = (next(e.run([x], tensors=True))[keep] for e in (fast, slow))
        assert found.keys() == want.keys() and len(found) >= 1
        assert all(np.array_equal(found[t], want[t]) for t in want)


def test_python_between_variables(rng, monkeypatch):
    """An operator that cannot be lowered, and that stops: variables are as if run one by one."""
    model = streaming(rng)
    samples = frames(model, rng)

    def refuse(call, to):
        raise NotLowered("not this one")

    monkeypatch.setattr(ops.module("CONV_2D"), "lower", refuse)
    fast, slow = both(model)
    assert not fast.program(0).native
    assert_same(fast, slow, samples[:3])
    right, calls = {m: getattr(ops.module("CONV_2D"), m) for m in ("fast", "reference")}, []

    def stops(mode):
        def run(call):
            calls.append(mode)
            if len([c for c in calls if c == mode]) % 3 == 0:
                raise NoKernel("not today")
            return right[mode](call)

        return run

    with monkeypatch.context() as patch:
        for mode in right:
            patch.setattr(ops.module("CONV_2D"), mode, stops(mode))
        for executor in (fast, slow):
            with pytest.raises(CannotRun, match="not today"):
                list(executor.run(samples[:3]))
    calls.clear()
    assert all(np.array_equal(fast.resources[k], slow.resources[k]) for k in slow.resources)
    assert_same(fast, slow, samples[3:])


def test_nothing_assigned_yet():
    model = counter()
    graph = model.subgraphs[0]
    operators = tuple(o for o in graph.operators if o.code.name != "CALL_ONCE")
    model = model.replace(subgraphs=(graph.replace(operators=operators),))
    for executor in both(model, "reference"):
        with pytest.raises(CannotRun, match=r"READ_VARIABLE 1 .* nothing was assigned"):
            next(executor.run([np.ones(2, np.float32)]))
        executor.resources["variable '', 'sum'"] = np.full(2, 3, np.float32)
        assert next(iter(next(executor.run([np.ones(2, np.float32)])).values())).tolist() == [4, 4]


@pytest.mark.parametrize(
    "value", [np.ones((), np.float32), np.ones(2), np.ones((1, 2), np.float32)]
)
def test_a_variable_of_another_form(value):
    for executor in both(counter(), "reference"):
        x = np.ones(2, np.float32)
        next(executor.run([x]))
        executor.resources["variable '', 'sum'"] = value
        made = [next(iter(m.values())) for m in executor.run(iter([x, x]))]
        assert [m.ravel().tolist() for m in made] == [[2, 2], [3, 3]]
        assert made[0].shape == np.broadcast_shapes(value.shape, (2,))


def test_a_batch_of_another_size_goes_on(rng):
    """Python computes what the file does not declare; the variables are the same."""
    fast, slow = both(counter(), "reference")
    ones = np.ones(2, np.float32)
    for x in (ones, ones, np.ones((4, 2), np.float32)[0], ones):
        assert_same(fast, slow, [x])


def test_variables_of_two_signatures(rng):
    """Two subgraphs on one variable, each with a program."""
    s = Streams()
    x = s.main.input((1, 4), "x", dtype="INT8")
    handle = s.variable("v", np.zeros((1, 4), np.int8))
    old = s.main.op("READ_VARIABLE", [handle], (1, 4), dtype="INT8")
    s.main.op("ASSIGN_VARIABLE", [handle, x])
    model = s.model([old])
    graph = model.subgraphs[0]
    model = model.replace(
        subgraphs=(graph, model.subgraphs[1], graph),
        signature_defs=tuple(
            ts.SignatureDef(
                inputs=(ts.TensorMap(name="x", tensor_index=x),),
                outputs=(ts.TensorMap(name="y", tensor_index=old),),
                signature_key=key,
                subgraph_index=number,
            )
            for key, number in (("a", 0), ("b", 2))
        ),
    )
    samples = frames(model, rng, 9)
    for names in ("aaabbbaab", "ababababa", "bbbbbbbba"):
        executor = qcore.Executor(model, "optimized")
        assert executor.program(0) is not None and executor.program(2) is not None
        made = [m["y"] for m in executor.run(zip(names, samples, strict=True))]
        want = [np.zeros((1, 4), np.int8), *samples[:-1]]
        assert all((a == b).all() for a, b in zip(made, want, strict=True))


def test_a_branch_that_has_a_program(rng):
    """What was read before a branch ran is not what it assigned."""
    held = {"dtype": "INT8"}
    name = {"dtype": "RESOURCE", "container": "", "shared_name": "v"}
    first, branch = Streams(), Builder()
    b = first.main
    branch.buffers = b.buffers
    chosen = b.input((), "chosen", dtype="BOOL")
    x = b.input((1, 4), "x", **held)
    handle = first.variable("v", np.zeros((1, 4), np.int8))
    before = b.op("READ_VARIABLE", [handle], (1, 4), **held)
    made = b.op("IF", [chosen, x], (1, 4), **held, then_subgraph_index=2, else_subgraph_index=2)
    after = b.op("READ_VARIABLE", [handle], (1, 4), **held)
    given = branch.input((1, 4), "given", **held)
    handle = branch.op("VAR_HANDLE", [], (), **name)
    old = branch.op("READ_VARIABLE", [handle], (1, 4), **held)
    branch.op("ASSIGN_VARIABLE", [handle, given])
    model = first.model([before, made, after])
    model = model.replace(
        subgraphs=(*model.subgraphs, branch.model([old]).subgraphs[0]),
        buffers=tuple(b.buffers),
    )
    executor = qcore.Executor(model, "optimized")
    assert executor.program(0) is None and executor.program(2).variables
    samples = frames(model.replace(subgraphs=(model.subgraphs[2],)), rng)
    last = np.zeros((1, 4), np.int8)
    results = list(executor.run([(np.array(True), x) for x in samples]))
    for sample, outputs in zip(samples, results, strict=True):
        found = list(outputs.values())
        assert all((a == w).all() for a, w in zip(found, (last, last, sample), strict=True))
        last = sample


def test_a_wrong_program_is_seen(rng, monkeypatch):
    """The comparison above fails where a variable keeps its first value."""
    right = ops.module("ASSIGN_VARIABLE").lower
    monkeypatch.setattr(
        ops.module("ASSIGN_VARIABLE"), "lower",
        lambda call, to: right(call, to) if call.inputs[1].constant else None,
    )  # fmt: skip
    model = streaming(rng, 1)
    with pytest.raises(AssertionError):
        assert_same(*both(model), frames(model, rng))
