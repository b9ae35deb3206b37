"""The verifier: it finds nothing where nothing is, and everything else."""

from __future__ import annotations

import numpy as np
import pytest

import qcore
import tflite_schema as ts
from kernels import ops
from qcore.cli import invoke
from qcore.errors import BadInput
from qcore.verify import Compared, compare
from tests.execute.models import counter, dense


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


def test_a_wrong_kernel_is_found_where_it_is(samples, wrong):
    check = qcore.verify(dense(), samples, paths=("reference",))
    assert not check.ok
    (_, first), (_, second) = check.mismatches
    assert (first.number, second.number) == (0, 1)
    assert first.compared.differing == second.compared.differing == 4  # not more: fed, not carried
    assert first.compared.largest == 1
    assert check.paths[0].outputs.elements == 20  # end to end by other kernels: the compiled ones
    assert "FULLY_CONNECTED 0 (y0): 4 of 20 differ, by up to 1" in check.table()


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


def test_command_needs_data(files, capsys):
    assert invoke(files[:2]) == 2
    assert "give --data" in capsys.readouterr().err
