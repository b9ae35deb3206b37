"""What `explain` writes down is what the kernels compute."""

from __future__ import annotations

import numpy as np
import pytest

import qcore
import tflite_schema as ts
from kernels.profile import PATHS
from qcore.cli import invoke
from qcore.errors import BadInput
from tests.execute.models import dense


@pytest.fixture
def sample(rng):
    return rng.integers(-128, 128, (1, 7)).astype(np.int8)


def test_outputs_are_those_of_a_run(sample):
    model = dense()
    for position in range(5):
        found = qcore.explain(model, sample, 0, position)
        for p in found.paths:
            _, tensors = qcore.run(model, sample, p.path, tensors=True)
            tensor = model.subgraphs[0].operators[0].outputs[0]
            assert p.output == tensors[tensor].flat[position]
        assert [p.path for p in found.paths] == list(PATHS)


def test_steps_lead_to_the_output(sample):
    found = qcore.explain(dense(), sample, "y1", (0, 2))
    optimized = next(p for p in found.paths if p.path == "optimized")
    steps = {s.name: s for s in optimized.steps}
    high, shifted = steps["high product, ties up"], steps["right shift, ties up"]
    assert high.value in high.candidates and shifted.value in shifted.candidates
    clamped = np.clip(
        shifted.value + steps["zero point"].value,
        steps["clamp, lower end"].value, steps["clamp, upper end"].value,
    )  # fmt: skip
    assert clamped == optimized.output
    text = str(found)
    assert "accumulator" in text and "(E23)" in text and found.verdict in text


def test_a_disagreement_is_said():
    """An accumulator of -5 times a factor of 1/2: -2.5 is rounded in two ways."""
    model = dense(units=1, depth=1)
    graph = model.subgraphs[0]
    fc = graph.operators[0]
    tensors = list(graph.tensors)
    buffers = list(model.buffers)
    for position, (scale, zero, data) in enumerate(
        [(0.5, 0, None), (1.0, 0, np.array([[1]], np.int8)), (0.5, 0, np.array([0], np.int32))]
    ):
        t = fc.inputs[position]
        q = ts.Quantization(scale=np.array([scale], np.float32), zero_point=np.array([zero]))
        tensors[t] = tensors[t].replace(quantization=q)
        if data is not None:
            raw = np.frombuffer(data.tobytes(), np.uint8)
            buffers[tensors[t].buffer] = ts.Buffer(data=raw)
    y = fc.outputs[0]
    q = ts.Quantization(scale=np.array([1.0], np.float32), zero_point=np.array([0]))
    tensors[y] = tensors[y].replace(quantization=q)
    model = model.replace(
        subgraphs=(graph.replace(tensors=tuple(tensors), operators=(fc,), outputs=(y,)),),
        buffers=tuple(buffers),
    )
    found = qcore.explain(model, np.array([[-5]], np.int8), 0, 0)
    assert {p.path: p.output for p in found.paths} == {
        "reference": -3, "optimized": -2, "xnnpack": -2,
    }  # fmt: skip
    assert not found.agree
    assert found.verdict == "reference: -3; optimized and xnnpack: -2."
    assert "a tie" in str(found)


@pytest.mark.parametrize(
    ("operator", "element", "message"),
    [
        (9, 0, "there is no operator 9"),
        ("nobody", 0, "no operator writes a tensor called 'nobody'"),
        (0, 99, "element 99 is outside"),
        (0, (0, 0, 0), r"element \[0, 0, 0\] is outside"),
    ],
)
def test_wrong_use(sample, operator, element, message):
    with pytest.raises(BadInput, match=message):
        qcore.explain(dense(), sample, operator, element)


def test_command(tmp_path, sample, capsys):
    ts.write(dense(), tmp_path / "model.tflite")
    np.save(tmp_path / "x.npy", sample)
    arguments = ["explain", str(tmp_path / "model.tflite"), "--data", str(tmp_path / "x.npy")]
    assert invoke([*arguments, "--operator", "1", "--element", "0,3"]) == 0
    assert "element [0, 3]" in capsys.readouterr().out
    assert invoke([*arguments, "--operator", "1", "--element", "a"]) == 2
    assert invoke([*arguments, "--operator", "1", "--sample", "7"]) == 2
    assert "fewer samples" in capsys.readouterr().err
