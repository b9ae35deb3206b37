"""check_model, and the property over random graphs: ours pass, whatever is wrong is found."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import tflite_schema as ts
from kernels import ops
from kernels.errors import KernelError, RuntimeRefuses
from kernels.profile import PATHS, Profile
from qcore.calibrate import Calibration
from qcore.errors import BadInput, MissingExtra
from qcore.quantize import quantize
from qcore.testing import properties
from qcore.testing.build import Builder
from qcore.testing.checks import model as checked
from qcore.testing.checks import search
from qcore.testing.checks.failure import CheckFailed
from qcore.testing.checks.model import check_model
from qcore.testing.strategies.graphs import looping, together

SHAPE = (1, 2, 3)
SAMPLES = [np.linspace(-2, 3, 6, dtype=np.float32).reshape(SHAPE), np.zeros(SHAPE, np.float32)]


def small() -> ts.Model:
    """RELU, ABS of one input."""
    b = Builder()
    x = b.input(SHAPE, "x", range=(-2, 3))
    y = b.op("RELU", [x], SHAPE, range=(0, 3), names=["y"])
    return b.model([b.op("ABS", [y], SHAPE, range=(0, 3), names=["z"])])


@pytest.fixture(scope="module")
def int8() -> ts.Model:
    return ts.read(quantize(small(), "int8", Calibration.from_model(small())).to_bytes())


def spoil(monkeypatch, change, name="RELU", mode="reference"):
    right = getattr(ops.module(name), mode)
    monkeypatch.setattr(ops.module(name), mode, lambda call: (change(right(call)[0].copy()),))


def one_off(y):
    y.flat[-1] ^= 1
    return y


@pytest.mark.parametrize("path", PATHS)
def test_ours_pass(path, int8, tmp_path):
    done = check_model(int8, SAMPLES, path, folder=tmp_path)
    assert (done.models, done.samples, done.operators) == (1, 2, 2)
    assert done.compared == 24 and done.whole >= 24 and done.refused == 0
    assert "2 samples through 2 operators, 24 elements equal" in str(done)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_kernel_is_found(int8, monkeypatch, tmp_path):
    spoil(monkeypatch, one_off)
    with pytest.raises(CheckFailed, match=r"RELU 0 \(y\): 2 of 12 differ, by up to 1") as caught:
        check_model(int8, SAMPLES, "reference", mode="reference", folder=tmp_path)
    folder = caught.value.folder
    assert folder is not None and folder.parent == tmp_path
    assert sorted(p.name for p in folder.iterdir()) == [
        "inputs0.npz", "inputs1.npz", "model.tflite",
    ]  # fmt: skip
    monkeypatch.undo()
    command = [sys.executable, "-c", caught.value.python]
    assert subprocess.run(command, check=False).returncode == 0  # ours are right again


def test_what_only_shows_end_to_end_is_found(int8, monkeypatch, tmp_path):
    """An operator that is right on the runtime's inputs, and wrong on its own."""
    walk = checked.Walk

    class Wrong(walk):
        def _whole(self, subgraph, node, ours):
            return None

        def _end_to_end(self, name, executor, subgraph, given, visible, shown):
            changed = {t: np.roll(a, 1) for t, a in given.items()}
            super()._end_to_end(name, executor, subgraph, changed, visible, shown)

    monkeypatch.setattr(checked, "Walk", Wrong)
    with pytest.raises(CheckFailed, match=r"end to end .* every operator by itself is equal"):
        check_model(int8, SAMPLES[:1], "reference", folder=tmp_path)


def test_a_refusal_of_ours_alone_is_found(int8, monkeypatch, tmp_path):
    def refuse(call):
        raise KernelError("not today")

    monkeypatch.setattr(ops.module("RELU"), "reference", refuse)
    with pytest.raises(CheckFailed, match="not today"):
        check_model(int8, SAMPLES, "reference", mode="reference", folder=tmp_path)


@pytest.mark.parametrize(
    ("worker", "says", "limits"),
    [
        ("models_abort", "crashed .SIGABRT.", {}),
        ("models_hang", "no answer within 2 s", {"time_limit": 2.0}),
        ("models_grow", "more than the 600 MB", {"memory_limit": 600_000_000}),
    ],
)
def test_a_runtime_that_ends_is_a_finding(worker, says, limits, int8, monkeypatch, tmp_path):
    monkeypatch.setattr(checked, "WORKER", f"tests.testing.workers:{worker}")
    with pytest.raises(CheckFailed, match=says) as caught:
        check_model(int8, SAMPLES, "reference", folder=tmp_path, **limits)
    assert caught.value.folder is not None


def test_a_runtime_that_ends_where_we_say_so_is_none(int8, monkeypatch):
    """And nothing is left to compare."""

    def refuse(call):
        raise RuntimeRefuses("it stops")

    monkeypatch.setattr(ops.module("RELU"), "reference", refuse)
    monkeypatch.setattr(checked, "WORKER", "tests.testing.workers:models_abort")
    with pytest.raises(CheckFailed, match=r"nothing was compared.*SIGABRT"):
        check_model(int8, SAMPLES, "reference")


def test_signatures_and_loops_are_run():
    """Samples by name go into their own subgraph; a loop's body is compared as well."""
    main = looping(small(), ["NEG"], 3)
    signed = together(small(), small())
    signatures = tuple(
        ts.SignatureDef(
            inputs=(ts.TensorMap("in", g.inputs[0]),), outputs=(ts.TensorMap("out", g.outputs[0]),),
            signature_key=f"entry{i}", subgraph_index=i,
        )
        for i, g in enumerate(signed.subgraphs)
    )  # fmt: skip
    signed = signed.replace(signature_defs=signatures)
    assert check_model(main, SAMPLES, "reference").operators == 3
    done = check_model(signed, [("entry1", SAMPLES[0]), ("entry0", SAMPLES[1])], "reference")
    assert done.samples == 2 and done.operators == 4


def test_nothing_compared_is_a_failure(monkeypatch, int8):
    monkeypatch.setattr(checked.ts, "to_bytes", lambda model: b"")
    with pytest.raises(CheckFailed, match="nothing was compared: "):
        check_model(int8, SAMPLES, "reference")


def test_names_that_are_not_known(monkeypatch, int8):
    for wrong in ({"path": "fastest"}, {"runtime": "other"}):
        with pytest.raises(BadInput):
            check_model(int8, SAMPLES, **wrong)
    monkeypatch.setattr(checked, "installed", lambda name: False)
    with pytest.raises(MissingExtra, match="pip install ai-edge-litert"):
        check_model(int8, SAMPLES)


def test_the_property_finds_what_is_wrong(monkeypatch, tmp_path):
    monkeypatch.setattr(search, "SHRINKING", 1.0)
    found = properties.whole_models(Profile(), 10, 0, tmp_path)
    assert found.ok and found.examples > 3 and not any(tmp_path.iterdir())
    right = ops.apply

    def wrong(call, mode):
        made = right(call, mode)
        if not made or made[0].dtype.kind != "f":
            return made
        return (made[0] + np.float32(1000), *made[1:])

    monkeypatch.setattr(ops, "apply", wrong)
    found = properties.whole_models(Profile(), 6, 0, tmp_path)
    assert not found.ok and len(found.failures) == 1 and "differ" in found.failures[0]
    assert [p.name for p in tmp_path.rglob("model.tflite")]


def test_the_property_looks_at_the_file(monkeypatch, tmp_path):
    monkeypatch.setattr(search, "SHRINKING", 0.5)

    def wrong(model, folder):
        raise CheckFailed("a tie does not hold")

    monkeypatch.setattr(properties, "check_quantized", wrong)
    found = properties.whole_models(Profile(), 6, 0, tmp_path)
    assert found.failures and "a tie does not hold" in found.failures[0]
