"""TFLiteConverter in a child process: models from Keras and SavedModel, and our integers beside
its own from the same samples."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

import qcore
from qcore.cli import invoke
from qcore.errors import BadInput, BadRecipe, MissingExtra, NotCalibrated, RuntimeFailed
from qcore.peers import child, converter
from qcore.peers.converter import Converter

needs = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None,
    reason="TensorFlow is not installed (extra `tensorflow`)",
)
FILES = "tests.peers.keras_files"


@pytest.fixture(scope="module")
def process() -> Iterator[Converter]:
    """One process for all tests, since it takes seconds to import TensorFlow."""
    with Converter() as shared:
        yield shared


@pytest.fixture(scope="module")
def files(process: Converter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that keras_files writes."""
    folder = tmp_path_factory.mktemp("keras")
    process._child = child.Child(f"{FILES}:write", what="keras_files")
    process._child.call(str(folder))
    process._child.target = converter.TARGET
    return folder


@pytest.fixture(autouse=True)
def shared(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "files" in request.fixturenames:
        process = request.getfixturevalue("process")
        monkeypatch.setattr(converter, "Converter", lambda *_: nullcontext(process))


def images() -> Iterator[np.ndarray]:
    return (np.random.default_rng(k).uniform(-1, 1, (1, 8, 8, 3)).astype("f4") for k in range(4))


@pytest.fixture(scope="module")
def ranges(process: Converter, files: Path) -> qcore.Calibration:
    """As TFLite's calibrator records them."""
    return qcore.calibrate(process.load(files / "cnn.keras"), images(), observer="tflite")


# The older quantizer leaves the ranges in the file, the converter what it has been made from.
IGNORED = ("metadata", "name", "description", "range")
PER_TENSOR = {"operand": "weight", "granularity": "per_tensor"}


@needs
@pytest.mark.parametrize("source", ["cnn.keras", "cnn"])
@pytest.mark.parametrize(
    ("recipe", "per_channel"),
    [("int8", True), ("int8", False), ("int8_float_io", True), ("int16x8", True),
     ("dynamic", True), ("float16", True)],
)  # fmt: skip
def test_our_integers_are_the_converters(recipe, per_channel, source, files, ranges) -> None:
    theirs = converter.make(files / source, images(), recipe, per_channel=per_channel)
    wanted = qcore.recipe(recipe)
    if not per_channel:
        wanted = wanted.with_rule(**PER_TENSOR)
    needed = ranges if "int" in recipe else None
    ours = qcore.quantize(files / source, wanted, needed)
    found = qcore.diff(ours, theirs).without(*IGNORED)
    assert found.compared > 15
    assert found.same, found.changes


@needs
def test_a_wrong_range_is_seen(files, ranges) -> None:
    theirs = converter.make(files / "cnn.keras", (x * 1.01 for x in images()))
    ours = qcore.quantize(files / "cnn.keras", "int8", ranges)
    assert {"scale", "values"} <= qcore.diff(ours, theirs).counts().keys()


@needs
def test_who_made_it(files) -> None:
    made = qcore.peers.make("converter", files / "cnn.keras", recipe="dynamic")
    version = importlib.metadata.version("tensorflow")
    assert made.by == f"TFLiteConverter, tensorflow {version}"
    assert made.model.subgraphs and qcore.load(made).subgraphs


@needs
@pytest.mark.parametrize("name", ["cnn.h5", "cnn"])
def test_every_format_gives_the_same_float_model(name, files, process) -> None:
    of_keras = process.load(files / "cnn.keras")
    found = qcore.diff(of_keras, process.load(files / name)).without(*IGNORED, "signatures")
    assert found.compared and found.same, found.changes


@needs
def test_a_batch_of_any_size(files) -> None:
    model = qcore.load(files / "cnn.keras")
    x = model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]]
    assert tuple(x.shape) == (1, 8, 8, 3) and tuple(x.shape_signature) == (-1, 8, 8, 3)
    assert len(qcore.calibrate(model, [np.zeros((5, 8, 8, 3), "f4")])) > 5


@needs
def test_inputs_by_name_and_in_order(files) -> None:
    model = qcore.load(files / "two.keras")
    names = [i.name for i in qcore.binding.entries(model)[0].inputs]
    assert sorted(names) == ["apple", "zebra"]
    wide = {"zebra": np.linspace(-3, 3, 6, dtype="f4"), "apple": np.ones(3, "f4")}
    named = converter.make(files / "two.keras", [wide])
    ordered = converter.make(files / "two.keras", [tuple(wide[n] for n in names)])
    assert qcore.diff(named, ordered).same
    with pytest.raises(BadInput, match="'image' is no input"):
        converter.make(files / "two.keras", [{"image": np.zeros(6, "f4")}])


@needs
def test_several_signatures(files) -> None:
    # Sums of these are exact, in whatever order a runtime adds.
    codes = {"decode": [np.arange(-4, 4, dtype="f4")], "encode": [np.ones(4, "f4")]}
    model = qcore.load(files / "signatures")
    assert sorted(s.signature_key for s in model.signature_defs) == ["decode", "encode"]
    ours = qcore.quantize(model, "int8", qcore.calibrate(model, codes))
    theirs = converter.make(files / "signatures", codes, "int8")
    found = qcore.diff(ours, theirs).without(*IGNORED)
    assert found.compared > 5 and found.same, found.changes
    alone = converter(files / "signatures", recipe="float", signatures=["decode"])
    assert [s.signature_key for s in alone.signature_defs] == ["decode"]


@needs
def test_types_of_inputs_and_outputs(files) -> None:
    made = converter(files / "cnn.keras", images(), input_type="uint8", output_type="float32")
    graph = made.subgraphs[0]
    types = [graph.tensors[t].type.name for t in (*graph.inputs, *graph.outputs)]
    assert types == ["UINT8", "FLOAT32"]


@needs
def test_commands_take_them(files, tmp_path, capsys) -> None:
    np.savez(tmp_path / "x.npz", x=np.concatenate(list(images())))
    out = tmp_path / "int8.tflite"
    given = ["--data", str(tmp_path / "x.npz"), "-o", str(out)]
    assert invoke(["quantize", str(files / "cnn.keras"), *given]) == 0
    told = capsys.readouterr().out
    assert "int8.tflite" in told and "recipe int8" in told
    assert invoke(["inspect", str(files / "cnn"), "--json"]) == 0
    assert '"FULLY_CONNECTED"' in capsys.readouterr().out
    assert invoke(["diff", str(files / "cnn.keras"), str(out)]) == 1


@needs
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("own.keras", "own.keras has the object 'Own', which only the code"),
        ("own.h5", "own.h5 has the object 'Own', which only the code"),
        ("lambda.keras", "lambda.keras has a Lambda layer, which only the code"),
        ("only.weights.h5", "Keras cannot read .*only.weights.h5"),
        ("strange", "TFLiteConverter refused .*strange: TFLite has no operators for .*Erfinv"),
    ],
)
def test_what_cannot_be_converted_is_said(name, says, files) -> None:
    with pytest.raises((BadInput, RuntimeFailed), match=says) as caught:
        qcore.load(files / name)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 700


def test_what_is_no_model_is_said_without_tensorflow(tmp_path, example_model) -> None:
    (tmp_path / "text.keras").write_text("no archive")
    (tmp_path / "text.h5").write_text("no archive")
    (tmp_path / "empty").mkdir()
    for name, says in (
        ("text.keras", "is no Keras file"),
        ("text.h5", "is no HDF5 file"),
        ("empty", "is a folder and no SavedModel"),
        ("none.keras", "there is no such file"),
    ):
        with pytest.raises(BadInput, match=f"{name}.* {says}"):
            qcore.inspect(tmp_path / name)
    with pytest.raises(BadInput, match=r"symbols\.tflite is neither; for a \.tflite use the peers"):
        converter.make(example_model)
    with pytest.raises(BadInput, match=r"a int is no model; give a path, bytes or a loaded model$"):
        qcore.load(7)
    with pytest.raises(BadRecipe, match="no counterpart of recipe 'int4'; use one of float, int8"):
        converter.make("model.keras", recipe="int4")
    with pytest.raises(BadInput, match="'int9' is no type of an input; use one of float32"):
        converter.make("model.keras", input_type="int9")
    shutil.make_archive(str(tmp_path / "none"), "zip", tmp_path / "empty")
    (tmp_path / "empty" / "saved_model.pb").write_bytes(b"")
    with pytest.raises(NotCalibrated, match="needs samples to make integers"):
        converter.make(tmp_path / "empty")


def test_a_converter_that_aborts(tmp_path, monkeypatch) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"")
    monkeypatch.setattr(converter, "TARGET", f"{FILES}:crash")
    says = r"TFLiteConverter on .* crashed \(SIGABRT\); it last said: F0000 check failed"
    with pytest.raises(RuntimeFailed, match=says):
        qcore.load(tmp_path)


def test_a_missing_package_is_named(tmp_path, monkeypatch) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"")
    (tmp_path / "tensorflow.py").write_text("raise ImportError('not here')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingExtra, match=r"pip install 'tflite-qcore\[tensorflow\]'"):
        qcore.load(tmp_path)


def test_a_keras_model_in_memory_is_pointed_to_a_file() -> None:
    model = type("Functional", (), {"__module__": "keras.src.models"})()
    with pytest.raises(BadInput, match=r"a Functional is no model; .*model\.save"):
        qcore.load(model)
