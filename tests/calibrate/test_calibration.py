"""The frozen value: kept and read back exactly, refused for other models, shown."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

import tflite_schema as ts
from qcore.calibrate import Calibration, calibrate, fingerprint
from qcore.errors import BadInput, NotCalibrated
from qcore.observers import HistogramObserver, MinMaxState, MovingAverage
from qcore.params import Stats, TensorKey
from qcore.prepare import prepare
from qcore.recipe import recipe
from tests.calibrate import graphs

SAMPLES = [np.float32([[0.1, -2.5, 3e-7, 7.0]]), np.float32([[1 / 3, 1e30, -1e-40, 0.0]])]


@pytest.mark.parametrize("observer", ["minmax", MovingAverage(0.9), HistogramObserver(16)], ids=str)
def test_save_and_load(tmp_path: Path, observer) -> None:
    found = calibrate(graphs.two_inputs(False), [(s[:, :3], s[:, 1:]) for s in SAMPLES], observer)
    path = tmp_path / "ranges.json"
    found.save(path)
    back = Calibration.load(path)
    assert back == found and back.observer == found.observer and list(back) == list(found)
    for key in found:
        assert back[key] == found[key] and back.states[key] == found.states[key]
    assert [p.name for p in tmp_path.iterdir()] == ["ranges.json"]
    data = json.loads(path.read_text())
    if observer == "minmax":
        data["tensors"][0]["lo"] = math.nextafter(data["tensors"][0]["lo"], -1)
    else:
        data["tensors"][0]["count"] += 1
    assert Calibration.from_json(data) != found
    path.write_text("{}")
    with pytest.raises(BadInput, match=r"ranges\.json: this JSON is no calibration"):
        Calibration.load(path)
    path.write_bytes(b"\xff\x00")
    with pytest.raises(BadInput, match="is no calibration"):
        Calibration.load(path)
    del data["tensors"][0]["index"]
    with pytest.raises(BadInput, match="damaged"):
        Calibration.from_json(data)
    with pytest.raises(BadInput, match="version 99"):
        Calibration.from_json({**data, "version": 99})


def test_it_is_a_frozen_mapping() -> None:
    found = calibrate(graphs.chain(), SAMPLES[:1])
    assert len(found) == 3 and TensorKey(0, 0) in found and TensorKey(0, 1) not in found
    assert (
        isinstance(found[TensorKey(0, 0)], Stats) and found.by_name("y") == found[TensorKey(0, 3)]
    )
    with pytest.raises(KeyError):
        found.by_name("nothing")
    with pytest.raises(TypeError):
        found.states[TensorKey(0, 0)] = MinMaxState()
    with pytest.raises(AttributeError):
        found.samples = 3


def renamed(model: ts.Model, change) -> ts.Model:
    graph = model.subgraphs[0]
    tensors = tuple(t.replace(name=change(t.name)) for t in graph.tensors)
    return model.replace(subgraphs=(graph.replace(tensors=tensors),))


def test_for_model() -> None:
    model = graphs.chain()
    found = calibrate(model, SAMPLES[:1])
    assert found.for_model(model) is found
    # the same places and names in a changed file (weights, an extra tensor at the end)
    graph = model.subgraphs[0]
    longer = model.replace(
        subgraphs=(
            graph.replace(
                tensors=(*graph.tensors, ts.Tensor((1,))),
            ),
        )
    )
    assert fingerprint(longer) != fingerprint(model)
    assert dict(found.for_model(longer)) == dict(found)
    # the same names at other places
    moved = graphs.model(
        {"y": (1, 4), "a": (1, 4), "one": np.ones((1, 4), np.float32), "x": (1, 4)},
        [("ADD", ["x", "one"], ["a"], graphs.ADD), ("MUL", ["a", "a"], ["y"], graphs.MUL)],
        ["x"], ["y"],
    )  # fmt: skip
    there = found.for_model(moved)
    assert there[TensorKey(0, 0)] == found.by_name("y") and there.by_name("x") == found.by_name("x")
    with pytest.raises(
        NotCalibrated, match="of another model: the model to quantize has no tensor 'a'"
    ):
        found.for_model(renamed(moved, lambda n: "b" if n == "a" else n))
    with pytest.raises(NotCalibrated, match="exactly one tensor"):
        found.for_model(renamed(moved, lambda n: "a" if n == "one" else n))


def test_merge_refuses_what_does_not_belong_together() -> None:
    found = calibrate(graphs.chain(), SAMPLES[:1])
    with pytest.raises(NotCalibrated, match="different models"):
        found.merge(calibrate(graphs.dynamic(), SAMPLES[:1]))
    with pytest.raises(BadInput, match="'minmax' and 'moving_average'"):
        found.merge(calibrate(graphs.chain(), SAMPLES[:1], "moving_average"))
    with pytest.raises(BadInput, match="with other settings"):
        calibrate(graphs.chain(), SAMPLES[:1], MovingAverage(0.5)).merge(
            calibrate(graphs.chain(), SAMPLES[:1], MovingAverage(0.6))
        )


def test_from_model(tmp_path: Path) -> None:
    model = graphs.chain()
    with pytest.raises(NotCalibrated, match="carries no min and max"):
        Calibration.from_model(model)
    graph = model.subgraphs[0]
    lo, hi = np.float32([-0.1]), np.float32([1 / 3])
    tensors = list(graph.tensors)
    tensors[0] = tensors[0].replace(quantization=ts.Quantization(min=lo, max=hi))
    tensors[1] = tensors[1].replace(quantization=ts.Quantization(min=lo, max=hi))  # a constant
    carrying = model.replace(subgraphs=(graph.replace(tensors=tuple(tensors)),))
    ts.write(carrying, tmp_path / "m.tflite")
    found = Calibration.from_model(tmp_path / "m.tflite")
    assert list(found) == [TensorKey(0, 0)]
    assert (found[TensorKey(0, 0)].lo[0], found[TensorKey(0, 0)].hi[0]) == (
        float(lo[0]),
        float(hi[0]),
    )
    assert found.for_model(carrying) is found and "carried by the file" in found.summary()


def test_display() -> None:
    from io import StringIO

    from rich.console import Console

    found = calibrate(renamed(graphs.chain(), lambda n: f"<{n}>[b]"), SAMPLES[:1])
    text = StringIO()
    Console(file=text, width=100).print(found)
    assert "<a>[b]" in text.getvalue() and "minmax" in text.getvalue()
    assert "&lt;a&gt;[b]" in found._repr_html_() and "<a>" not in found._repr_html_()
    assert repr(found).startswith("Calibration(3 tensors, minmax, 1 sample (litert")


def test_ranges_of_a_model_without_lstm_intermediates_serve_the_one_with_them():
    whole = graphs.lstm()
    graph = whole.subgraphs[0]
    bare = whole.replace(
        subgraphs=(
            graph.replace(operators=tuple(op.replace(intermediates=()) for op in graph.operators)),
        )
    )
    made = calibrate(bare, [np.ones(graph.tensors[graph.inputs[0]].shape, np.float32)])
    prepared = prepare(bare, recipe("int8"))
    (op,) = (o for o in prepared.subgraphs[0].operators if o.intermediates)
    found = made.for_model(prepared)
    assert TensorKey(0, op.intermediates[4]) not in made
    assert found[TensorKey(0, op.intermediates[4])] == found[TensorKey(0, op.outputs[0])]
    assert TensorKey(0, op.intermediates[0]) not in found
