"""What a failed check leaves: Python that makes the same call again, and files that run."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given

from kernels import ops
from kernels.call import Call, Tensor, options
from kernels.errors import KernelError
from kernels.profile import Profile
from qcore.peers.child import Child, Items
from qcore.testing import strategies as qs
from qcore.testing.cases import generators, make
from qcore.testing.checks.failure import LISTED, Case, CheckFailed, source, write
from qcore.testing.conformance import follow

FORMS = list(generators())


def pasted(text: str) -> Call:
    """The call that the source makes; the lines that only show something are left out."""
    tree = ast.parse(text)
    tree.body = [n for n in tree.body if not isinstance(n, ast.Expr)]
    names: dict[str, Call] = {}
    exec(compile(tree, "case.py", "exec"), names)
    return names["call"]


def bits(value: np.ndarray | None) -> tuple | None:
    return None if value is None else (value.dtype, value.shape, value.tobytes())


def parts(t: Tensor | None) -> tuple | None:
    if t is None:
        return None
    return (
        t.dtype, bits(t.data), bits(t.scale), bits(t.zero_point), t.axis, t.constant, t.declared,
    )  # fmt: skip


def same_call(a: Call, b: Call) -> bool:
    tensors = [[*map(parts, (*c.inputs, *c.outputs, *c.intermediates))] for c in (a, b)]
    names = [(c.name, c.profile, c.version, {**vars(c.options)}) for c in (a, b)]
    return tensors[0] == tensors[1] and names[0] == names[1]


@pytest.mark.parametrize(("size", "step"), [(5, 1), (900, 5)])
def test_every_form_is_the_same_call_again(size, step):
    for operator, form in FORMS[::step]:
        call = make(operator, form, size, size).on(profile=Profile("xnnpack", "tensorflow"))
        assert same_call(pasted(source(call)), call), f"{operator} {form}"


@given(call=qs.calls(size=40))
def test_any_call_is_the_same_again(call):
    assert same_call(pasted(source(call)), call)


def test_numbers_that_are_hard_to_write():
    values = np.array([np.nan, np.inf, -np.inf, -0.0, 1e-45, 3.4028235e38, 0.1, 1 / 3], np.float32)
    halves = np.array([[0.1], [6e-8]], np.float16)
    call = Call(
        "CONCATENATION",
        (
            Tensor("float32", values),
            Tensor("float16", halves, constant=True),
            Tensor("int8", np.zeros((0, 3), np.int8), np.float32([5e-324, 0.1]), None, axis=1),
            Tensor("int64", np.int64(-(2**63))[()] * np.ones((), np.int64)),
            Tensor("complex64", np.array([1 - 2j], np.complex64)),
            Tensor("bool", np.array([True, False])),
            None,
        ),
        (Tensor("float32"),),
        options(axis=np.int32(-1), scale=0.1, names=("a",), shape=[1, 2], none=None),
        Profile("optimized", portable=True),
        version=3,
    )
    assert same_call(pasted(source(call)), call)


@pytest.mark.parametrize("count", [LISTED, LISTED + 1, 30_000])
def test_large_arrays_are_short_and_exact(count, rng):
    for data in (rng.integers(-128, 128, count).astype(np.int8), np.full(count, 7, np.int8)):
        call = Call("RELU", (Tensor("int8", data),), (Tensor("int8"),))
        text = source(call)
        assert same_call(pasted(text), call)
        assert max(map(len, text.splitlines())) < 200
    assert len(text) < 800  # what is all the same is one number


def test_another_call_would_be_seen():
    call = make("ADD", "int8", 1, 5)
    other = call.on(profile=Profile("optimized"))
    assert not same_call(pasted(source(call)), other)
    x = call.inputs[0]
    changed = Tensor(x.dtype, x.data + np.int8(1), x.scale, x.zero_point)
    assert not same_call(pasted(source(call)), call.on(inputs=(changed, *call.inputs[1:])))


def test_the_pasted_python_shows_what_is_expected(tmp_path):
    call = make("FULLY_CONNECTED", "int8", 3, 9)
    want = ops.compute(call, "reference")
    text = Case(call, want, "raised ValueError: no").python()
    done = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, check=True, cwd=Path.cwd()
    )
    assert done.stdout.strip() == str(want).strip()
    assert "# got: raised ValueError: no" in text


@pytest.mark.parametrize("operator,form", [("CONV_2D", "int8"), ("SVDF", "int8"), ("PAD", "int16")])
def test_the_written_files_run_in_the_interpreter(operator, form, tmp_path):
    call = make(operator, form, 2, 20)
    want = follow(call, 1, "reference")
    wrong = tuple(np.roll(y, 1) for y in want)
    failed = Case(call, want, wrong).failed("it differs", tmp_path)
    assert failed.folder is not None and failed.folder.parent == tmp_path
    assert sorted(p.name for p in failed.folder.iterdir()) == [
        "case.py", "expected.npz", "got.npz", "inputs.npz", "model.tflite",
    ]  # fmt: skip
    with np.load(failed.folder / "inputs.npz") as arrays:
        inputs = [arrays[name] for name in arrays.files]
    with np.load(failed.folder / "expected.npz") as arrays:
        expected = [arrays[name] for name in arrays.files]
    item = ((failed.folder / "model.tflite").read_bytes(), inputs, 1)
    with Child("qcore.testing.worker:answer", time_limit=60) as child:
        ((found, _),) = child.stream("litert", "reference", Items(), items=[item])
    assert all(map(np.array_equal, expected, found)) and len(expected) == len(found)
    assert same_call(pasted((failed.folder / "case.py").read_text("utf-8")), call)


def test_the_message_has_everything(tmp_path):
    call = make("ADD", "int8", 1, 5)
    failed = Case(call, "a crash", ()).failed("it crashed", tmp_path)
    assert str(failed).startswith("it crashed\n\nimport numpy")
    assert str(failed).endswith(f"written to {failed.folder}")
    assert isinstance(failed, AssertionError) and failed.call is call
    assert str(CheckFailed("only this")) == "only this"


def test_a_call_that_is_no_file_is_still_shown(tmp_path):
    call = Call("NO_SUCH_OPERATOR", (Tensor("int8", np.zeros(2, np.int8)),), (Tensor("int8"),))
    folder = Case(call, "x", "y").failed("?", tmp_path).folder
    assert folder is not None and [p.name for p in folder.iterdir()] == ["case.py"]


def test_files_are_whole_or_not_there(tmp_path, monkeypatch):
    import os

    def full(*given):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as m:
        m.setattr(os, "replace", full)
        with pytest.raises(OSError, match="No space"):
            write({"model.tflite": b"abc"}, tmp_path, "x")
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []
    one, two = (write({"model.tflite": b"abc"}, tmp_path, "a name/:") for _ in range(2))
    assert one == two and (one / "model.tflite").read_bytes() == b"abc"  # the same case, once
    assert write({"model.tflite": b"abd"}, tmp_path, "a name/:") != one
    assert one.parent == tmp_path


def test_a_refusal_is_a_kernel_error():
    """What check_operator counts as refused."""
    with pytest.raises(KernelError):
        ops.compute(Call("NO_SUCH_OPERATOR", (), ()), "reference")
