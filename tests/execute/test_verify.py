"""The verifier: it finds nothing where nothing is, and everything else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import qcore
import tflite_schema as ts
from kernels import ops
from kernels.simd import target
from qcore.cli import invoke
from qcore.errors import BadInput, CannotRun
from qcore.execute import Executor
from qcore.peers.interpreter import as_file
from qcore.peers.steps import Timer
from qcore.verify import Compared, OperatorCheck, PathCheck, compare
from tests.execute.models import counter, dense, streaming


@pytest.fixture
def samples(rng):
    return [rng.integers(-128, 128, (1, 7)).astype(np.int8) for _ in range(4)]


@pytest.fixture
def wrong(monkeypatch):
    """A kernel that is off by one in one element."""
    right = ops.module("FULLY_CONNECTED").fast

    def off_by_one(call):
        (y,) = right(call)
        y.flat[2] ^= 1
        return (y,)

    monkeypatch.setattr(ops.module("FULLY_CONNECTED"), "fast", off_by_one)


def test_equal_on_every_path(samples):
    check = qcore.verify(dense(), samples)
    assert check.ok and not check.mismatches
    assert [p.path for p in check.paths] == ["reference", "optimized", "xnnpack"]
    assert check.compared == 3 * 4 * 10  # paths, samples, two operators with five outputs each
    assert all(p.outputs.elements == 20 for p in check.paths)
    assert [o.delegated for o in check.paths[2].operators] == [True, True]
    assert "XF" in check.paths[2].operators[0].rule


@pytest.mark.parametrize("layers", [1, 3])
def test_who_computes_is_what_the_interpreter_shows(rng, layers):
    """Variables move by XNNPACK's nodes too: all that the target's table says, and nothing else."""
    model = streaming(rng, layers)
    main = model.subgraphs[0]
    given = [rng.integers(-128, 128, main.tensors[main.inputs[0]].shape).astype(np.int8)]
    check = qcore.verify(model, given)
    shown = [[o.delegated for o in p.operators] for p in check.paths]
    table = qcore.check(model, "xnnpack")["xnnpack"].operators
    said = [o.taken for o in table if o.subgraph == 0]
    assert check.ok and shown == [[False] * len(said), [False] * len(said), said]
    kinds = {o.name for o in check.paths[2].operators if o.delegated}
    assert {"VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CONV_2D"} <= kinds
    assert {o.name for o in check.paths[2].operators if not o.delegated} == {"CALL_ONCE"}


def test_a_timed_model_counts_the_same(rng):
    model = streaming(rng, 2)
    graph = model.subgraphs[0]
    x = rng.integers(-128, 128, graph.tensors[graph.inputs[0]].shape).astype(np.int8)
    with Timer() as timer, as_file(model) as file:
        found = {
            path: timer.time(file, 0, {graph.inputs[0]: x}, path, seconds=0.0).delegated
            for path in ("reference", "xnnpack")
        }
    assert found == {"reference": None, "xnnpack": len(graph.operators) - 1}  # not CALL_ONCE


def test_float_operators_are_counted_as_well(rng, example_model, example_data):
    given = list(qcore.data.open(example_data, std=255, limit=1))
    (path,) = qcore.verify(example_model, given, ("xnnpack",)).paths
    table = qcore.check(example_model, "xnnpack")["xnnpack"].operators
    assert [o.delegated for o in path.operators] == [o.taken for o in table]
    assert any(o.delegated for o in path.operators)


def test_a_wrong_kernel_is_found_where_it_is(samples, wrong):
    check = qcore.verify(dense(), samples, paths=("reference",))
    assert not check.ok
    (_, first), (_, second) = check.mismatches
    assert (first.number, second.number) == (0, 1)
    assert first.compared.differing == second.compared.differing == 4  # not more: fed, not carried
    assert first.compared.largest == 1
    assert check.paths[0].outputs.elements == 20  # end to end by other kernels: the compiled ones
    assert "FULLY_CONNECTED 0 (y0): 4 of 20 differ, by up to 1" in check.table()


@pytest.fixture
def wrong_program(monkeypatch):
    """A compiled form that packs another bias than the operator's."""
    right = ops.module("FULLY_CONNECTED").lower

    def lower(call, to):
        x, w, bias = call.inputs
        right(call.on(inputs=(x, w, replace(bias, data=bias.data + 100))), to)

    monkeypatch.setattr(ops.module("FULLY_CONNECTED"), "lower", lower)


def test_a_wrong_program_is_found_end_to_end(samples, wrong_program):
    check = qcore.verify(dense(), samples, paths=("reference",))
    (path,) = check.paths
    assert not check.mismatches and path.compared.differing == 0
    assert path.outputs.differing > 0 and path.tensors.differing > path.outputs.differing
    assert not path.ok and not check.ok


def test_a_program_that_stops_is_not_ok(samples, monkeypatch):
    def invoke(*args, **more):
        raise CannotRun("the second operator has no answer")

    monkeypatch.setattr(Executor, "invoke", invoke)
    check = qcore.verify(dense(), samples, paths=("reference",))
    assert not check.mismatches and not check.ok
    assert check.paths[0].tensors == Compared()
    assert "end to end: the second operator has no answer" in check.table()


RIGHT, NOTHING = Compared(4), Compared()


def one_path(operator=RIGHT, tensors=RIGHT, loose=NOTHING, undefined="", **more):
    made = OperatorCheck(0, "ADD", "y", "int8", "", False, operator, undefined=undefined)
    return PathCheck("reference", "litert", 1, (made,), tensors, tensors, loose, **more)


@pytest.mark.parametrize(
    "ok, path",
    [
        (True, one_path()),
        (False, one_path(operator=Compared(4, 1, 1.0))),
        (False, one_path(tensors=Compared(4, 1, 1.0))),
        # Differences behind floats with a bound are none, beside others they do not hide those.
        (True, one_path(tensors=Compared(4, 2, 1.0), loose=Compared(3, 2, 1.0))),
        (False, one_path(tensors=Compared(4, 2, 1.0), loose=Compared(3, 1, 1.0))),
        # Nothing was compared, operator by operator or end to end.
        (False, one_path(operator=NOTHING)),
        (False, one_path(tensors=NOTHING)),
        (True, one_path(tensors=NOTHING, undefined="reads memory that nobody wrote")),
        (False, one_path(operator=NOTHING, undefined="reads memory that nobody wrote")),
        (False, one_path(stopped="no answer")),
        (True, one_path(operator=NOTHING, tensors=NOTHING, failed="it aborted")),
    ],
)
def test_when_a_path_is_ok(ok, path):
    assert path.ok is ok


def test_nothing_compared_is_not_ok():
    assert not qcore.verify(dense(), [np.zeros((1, 7), np.int8)], paths=("reference",)).paths == ()
    from qcore.verify import Verification

    assert not Verification(()).ok


def test_a_path_that_does_not_run_is_a_result(samples):
    model = dense()
    graph = model.subgraphs[0]
    newer = tuple(
        op.replace(code=ts.OperatorCode.of("FULLY_CONNECTED", version=99)) for op in graph.operators
    )
    check = qcore.verify(
        model.replace(subgraphs=(graph.replace(operators=newer),)), samples, paths=("reference",)
    )
    assert not check.ok and check.paths[0].failed
    assert "not run" in check.table()


def test_state_over_samples():
    x = [np.array([1, i], np.float32) for i in range(3)]
    check = qcore.verify(counter(), x, paths=("reference", "optimized"))
    assert check.ok, check.table()


def test_both_runtimes(samples):
    pytest.importorskip("tensorflow")
    check = qcore.verify(dense(), samples[:1], ("reference",), ("litert", "tensorflow"))
    assert check.ok and [p.runtime for p in check.paths] == ["litert", "tensorflow"]


def test_compare():
    a = np.array([1, 2, 3], np.int8)
    assert compare(a, a) == (Compared(3), "")
    assert compare(a, a + np.int8(2))[0] == Compared(3, 3, 2.0)
    assert compare(a, a.astype(np.int16))[0].differing == 3
    f = np.array([1, np.nan, 0.0], np.float32)
    assert compare(f, f)[0].differing == 0
    assert compare(f, f + np.float32(1))[0].differing == 2
    near = f + np.float32(1e-6)
    assert compare(f, near, 1e-5)[0] == Compared(3, 0, pytest.approx(1e-6, rel=0.1), 3)
    assert compare(f, near, 1e-8)[0].differing == 2
    assert compare(f, np.array([1, 2, 0], np.float32), 1e-5)[0].differing == 1  # NaN and a number


def test_wrong_use(samples):
    with pytest.raises(BadInput, match="mode 'real'"):
        qcore.verify(dense(), samples, mode="real")
    with pytest.raises(BadInput, match="paths is empty"):
        qcore.verify(dense(), samples, ())


@pytest.fixture
def files(tmp_path, samples):
    ts.write(dense(), tmp_path / "model.tflite")
    np.save(tmp_path / "x.npy", np.concatenate(samples))
    return ["verify", str(tmp_path / "model.tflite"), "--data", str(tmp_path / "x.npy")]


def test_command(files, capsys):
    assert invoke([*files, "--operators"]) == 0
    out = capsys.readouterr().out
    assert "none differs" in out and "XF (E28)" in out
    assert invoke([*files, "--json"]) == 0
    assert '"ok": true' in capsys.readouterr().out


def test_command_exits_with_1(files, capsys, wrong):
    assert invoke([*files, "--path", "reference"]) == 1
    assert "not equal: 8 elements differ" in capsys.readouterr().out


def test_command_tells_of_a_wrong_program(files, capsys, wrong_program):
    assert invoke([*files, "--path", "reference"]) == 1
    out = capsys.readouterr().out
    assert "not equal: end to end" in out and "every operator by itself is equal" in out


def test_command_needs_data(files, capsys):
    assert invoke(files[:2]) == 2
    assert "give --data" in capsys.readouterr().err


def test_each_target_is_run(samples):
    names = target.available()
    check = qcore.verify(dense(), samples, paths=("reference",), targets=names)
    (path,) = check.paths
    assert check.ok and tuple(path.by_target) == names
    each = path.by_target[names[0]]
    assert each.elements > 0 and all(c == each for c in path.by_target.values())
    assert path.tensors.elements == len(names) * each.elements
    assert path.compared.elements == 4 * 10  # operator by operator: once
    assert check.to_json()["paths"][0]["by_target"][names[0]]["elements"] == each.elements


def test_a_target_that_is_wrong_is_found(samples, monkeypatch):
    right = Executor._invoke

    def wrong(self, program, block, given, keep):
        made = right(self, program, block, given, keep)
        if program.target.name == "portable":
            made[block.graph.outputs[0]] ^= 1
        return made

    monkeypatch.setattr(Executor, "_invoke", wrong)
    names = dict.fromkeys((target.available()[0], "portable"))
    (path,) = qcore.verify(dense(), samples, paths=("reference",), targets=names).paths
    assert not path.ok and path.by_target["portable"].differing == 20
    assert sum(c.differing for c in path.by_target.values()) == path.tensors.differing == 20


def test_an_unknown_target_is_said(samples):
    with pytest.raises(BadInput, match="no vector code is called 'mmx'"):
        qcore.verify(dense(), samples, targets=("mmx",))
