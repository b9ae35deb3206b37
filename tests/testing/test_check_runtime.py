"""check_runtime: our kernels pass; a wrong kernel of ours, and a runtime that dies, are found."""

from __future__ import annotations

import numpy as np
import pytest

from kernels import ops
from kernels.errors import KernelError, RuntimeRefuses
from kernels.profile import PATHS, Profile
from qcore.errors import BadInput, MissingExtra
from qcore.peers.child import Child, Items
from qcore.testing import conformance
from qcore.testing.checks import runtime, search
from qcore.testing.checks.failure import CheckFailed
from qcore.testing.checks.runtime import check_runtime
from tests.testing.test_failure import pasted


@pytest.mark.parametrize("path", PATHS)
def test_ours_pass(path, depth, tmp_path):
    done = check_runtime(path, operators=["SOFTMAX", "SVDF"], examples=12 * depth, folder=tmp_path)
    assert done.profile == Profile(path) and len(done.forms) >= 6 and all(done.forms.values())
    assert done.examples > 50 and done.compared == sum(done.forms.values()) > done.examples
    assert list(tmp_path.iterdir()) == [] and f"{done.compared:,} outputs equal" in str(done)


def test_the_compiled_twin_passes():
    done = check_runtime("xnnpack", "litert", "MUL", "int8", mode="fast", examples=16)
    assert done.examples == 16 and done.forms.keys() == {("MUL", "int8")}


def spoil(monkeypatch, name="RELU", mode="reference", change=None):
    """Make our kernel wrong."""
    right = getattr(ops.module(name), mode)

    def off(y):
        y.flat[0] ^= 1
        return y

    monkeypatch.setattr(
        ops.module(name), mode, lambda call: ((change or off)(right(call)[0].copy()),)
    )
    return right


@pytest.mark.parametrize("mode", ["reference", "fast"])
def test_a_wrong_kernel_of_ours_is_found(mode, monkeypatch, tmp_path):
    right = spoil(monkeypatch, mode=mode)
    with pytest.raises(CheckFailed, match=f"RELU as int8 .*of our {mode} kernel, output") as caught:
        check_runtime("reference", operators="RELU", form="int8", mode=mode, folder=tmp_path)
    folder = caught.value.folder
    again = pasted(caught.value.python)
    with np.load(folder / "expected.npz") as expected, np.load(folder / "got.npz") as got:
        assert expected["output0"].size == 1
        assert expected["output0"] == right(again)[0] != got["output0"]
        assert got["output0"] == getattr(ops.module("RELU"), mode)(again)[0]
        with np.load(folder / "inputs.npz") as inputs:
            item = ((folder / "model.tflite").read_bytes(), list(inputs.values()), 1)
        with Child("qcore.testing.worker:answer", time_limit=60) as child:
            (((found,), _),) = child.stream("litert", "reference", Items(), items=[item])
        assert np.array_equal(found, expected["output0"])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda y: y.reshape(1, 1, -1, 1, 1, 1), "has shape"),
        (lambda y: y.astype(np.int32), "is int32, should be int8"),
    ],
)
def test_wrong_shapes_and_types_are_found(change, says, monkeypatch, tmp_path):
    spoil(monkeypatch, change=change)
    with pytest.raises(CheckFailed, match=says):
        check_runtime("reference", operators="RELU", form="int8", folder=tmp_path)


def test_a_refusal_of_ours_alone_is_found(monkeypatch, tmp_path):
    def refuse(call):
        raise KernelError("not today")

    monkeypatch.setattr(ops.module("RELU"), "reference", refuse)
    with pytest.raises(CheckFailed, match="refuses what the runtime computes: not today") as caught:
        check_runtime("reference", operators="RELU", form="int8", folder=tmp_path)
    assert "# got: refused: not today" in caught.value.python


def test_a_mistaken_delegation_is_found(monkeypatch, tmp_path):
    def xnnpack(call):
        return original(call.on(profile=Profile("xnnpack")))

    original = ops.module("LOGISTIC").reference
    monkeypatch.setattr(ops.module("LOGISTIC"), "delegated", lambda call: False)
    monkeypatch.setattr(ops.module("LOGISTIC"), "reference", xnnpack)
    with pytest.raises(CheckFailed, match="XNNPACK takes it, unlike"):
        check_runtime("xnnpack", operators="LOGISTIC", form="int8", folder=tmp_path)


@pytest.mark.parametrize(
    ("worker", "says", "limits"),
    [
        ("aborting", "crashed .SIGABRT.", {}),
        ("hanging", "no answer within 2 s", {"time_limit": 2.0}),
        ("growing", "more than the 600 MB", {"memory_limit": 600_000_000}),
    ],
)
def test_a_runtime_that_ends_is_a_finding(worker, says, limits, monkeypatch, tmp_path):
    monkeypatch.setattr(runtime, "WORKER", f"tests.testing.workers:{worker}")
    monkeypatch.setattr(search, "SHRINKING", 1.0)
    with pytest.raises(CheckFailed, match=says) as caught:
        check_runtime("reference", operators="RELU", form="int8", folder=tmp_path, **limits)
    call = caught.value.call
    assert call is not None and 4 < call.x(0).size < 32  # found in an early round
    assert caught.value.folder is not None and (caught.value.folder / "model.tflite").is_file()


def test_a_runtime_that_ends_where_we_say_so_is_none(monkeypatch):
    """And nothing is left to compare here."""
    right = ops.module("RELU").reference

    def refuse(call):
        if call.x(0).size > 4:
            raise RuntimeRefuses("it stops")
        return right(call)

    monkeypatch.setattr(ops.module("RELU"), "reference", refuse)
    monkeypatch.setattr(runtime, "WORKER", "tests.testing.workers:aborting")
    done = check_runtime("reference", operators="RELU", form="int8", size=8, examples=12)
    assert done.refused == done.agreed > 0 and done.examples == 12 - done.refused


def test_nothing_compared_is_a_failure(monkeypatch):
    monkeypatch.setattr(runtime.models, "to_bytes", lambda call: b"")
    with pytest.raises(CheckFailed, match=r"nothing was compared .8 models refused"):
        check_runtime("reference", operators="RELU", form="int8", examples=8)


def test_known_differences_are_left_out():
    assert ("SUM", "int16", "reference", "litert") in conformance.KNOWN
    done = check_runtime("reference", operators="SUM", examples=2)
    assert done.forms.keys() == {("SUM", "int8"), ("SUM", "uint8")}


def test_names_that_are_not_known(monkeypatch):
    for wrong in (
        {"operators": "NOPE"}, {"operators": "ADD", "form": "int3"}, {"path": "fastest"},
        {"runtime": "other"},
    ):  # fmt: skip
        with pytest.raises(BadInput):
            check_runtime(**wrong)
    monkeypatch.setattr(runtime, "installed", lambda name: False)
    with pytest.raises(MissingExtra, match="pip install ai-edge-litert"):
        check_runtime("reference", operators="ADD")
