"""LiteRT's quantizer in a child process, and our reading of its recipes against what it does."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

import qcore
import tflite_schema as ts
from qcore.errors import BadInput, BadRecipe, MissingExtra, NotCalibrated
from qcore.peers import child, litert
from qcore.peers.kept import Kept
from qcore.recipe import Recipe
from qcore.testing.build import Builder

needs = pytest.mark.skipif(
    importlib.util.find_spec("litert_quantizer") is None,
    reason="litert-quantizer is not installed (extra `peers`)",
)


def theirs(mode: str, bits: int) -> list:
    """A recipe as its JSON files hold it, for all operations."""
    config = {
        "weight_tensor_config": {
            "num_bits": bits, "symmetric": True, "granularity": "CHANNELWISE", "dtype": "INT",
        },
        "compute_precision": "INTEGER" if mode == "dynamic" else "FLOAT",
        "explicit_dequantize": mode != "dynamic",
    }  # fmt: skip
    entry = {"regex": ".*", "operation": "*", "algorithm_key": "min_max_uniform_quantize"}
    return [{**entry, "op_config": config}]


def stored(model: ts.Model) -> dict[str, str]:
    """Name -> type of every constant with more than one value."""
    found = {}
    for i, tensor in enumerate(model.subgraphs[0].tensors):
        value = ts.array(model, 0, i)
        if value is not None and value.size > 1 and tensor.type.name != "INT32":
            found[(tensor.name or "").removesuffix("_dequantized")] = tensor.type.name
    return found


@needs
@pytest.mark.parametrize(("mode", "bits"), [("dynamic", 8), ("dynamic", 4), ("weight_only", 8)])
def test_its_recipe_gives_the_same_types_here_and_there(mode, bits, example_model: Path) -> None:
    made = litert.make(example_model, recipe=theirs(mode, bits))
    assert made.by == f"LiteRT's quantizer, litert-quantizer {version('litert-quantizer')}"
    ours = qcore.quantize(example_model, Recipe.from_json(theirs(mode, bits)))
    expected = stored(made.model)
    assert f"INT{bits}" in expected.values()
    assert stored(ts.read(ours.to_bytes())) == expected


def their_octav(x: np.ndarray, bits: int) -> np.ndarray:
    """Scales of groups (G, n) as LiteRT's OCTAV has them, in float32 where the order of sums is of
    no account: at most ten steps from 1, left when no group moves any more."""
    noise, qmax = np.float32(4.0**-bits / 3), np.float32(2 ** (bits - 1) - 1)
    end = np.ones(len(x), np.float32)
    for _ in range(10):
        above, below = x >= end[:, None], x <= -end[:, None]  # zeros are both where the end is 0
        total = np.where(above, x, 0).sum(axis=1) - np.where(below, x, 0).sum(axis=1)
        many = (above.sum(axis=1) + below.sum(axis=1)).astype(np.float32) * (1 - noise)
        weight = (many + np.float64(noise) * x.shape[1]).astype(np.float32)
        before, end = end, total / weight
        if np.allclose(before, end):
            break
    return np.minimum(end, np.abs(x).max(axis=1)) / qmax


def their_mse(x: np.ndarray, bits: int) -> np.ndarray:
    return np.float32({8: 0.05408, 4: 0.37755}[bits]) * np.sqrt((x**2).mean(axis=1))


@needs
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize(
    ("algorithm", "formula"), [("OCTAV", their_octav), ("MSE", their_mse)], ids=["OCTAV", "MSE"]
)
def test_its_octav_and_mse_are_what_we_say_and_not_ours(algorithm, formula, bits) -> None:
    """The reasons of `qcore.litert_recipe.DIFFERENT`. Weights are whole numbers of 2^-8 and few, so
    that sums of them and of their squares are exact in float32, in whatever order."""
    rng = np.random.default_rng(3)
    weights = np.clip(np.rint(rng.standard_normal((8, 64)) * 40), -127, 127)
    weights = (weights / 256).astype(np.float32)
    assert (weights == 0).any()
    b = Builder()
    y = b.op(
        "FULLY_CONNECTED", [b.input((1, 64), "x"), b.const(weights, "w"), None], (1, 8), names=["y"]
    )
    model = b.model(outputs=[y])
    scheme = qcore.schemes.Octav() if algorithm == "OCTAV" else qcore.schemes.Mse()
    for granularity, groups in (("CHANNELWISE", weights), ("TENSORWISE", weights.reshape(1, -1))):
        recipe = theirs("dynamic", bits)
        recipe[0] |= {"operation": "FULLY_CONNECTED", "algorithm_key": algorithm}
        recipe[0]["op_config"]["weight_tensor_config"]["granularity"] = granularity
        scale = scale_of(litert.make(model, recipe=recipe).model, bits)
        assert (scale == formula(groups, bits)).all() and scale.size == len(groups)
        named = "per_channel" if granularity == "CHANNELWISE" else "per_tensor"
        ours = qcore.recipe("dynamic").with_rule(
            operand="weight", dtype=f"int{bits}", scheme=scheme, granularity=named, min_elements=0
        )
        made = scale_of(ts.read(qcore.quantize(model, ours).to_bytes()), bits)
        assert made.shape == scale.shape and not (made == scale).any()
        with pytest.raises(BadRecipe, match=f"{algorithm!r}, which gives other scales than ours"):
            Recipe.from_json(recipe)


def scale_of(model: ts.Model, bits: int) -> np.ndarray:
    """Of the only tensor of so many bits."""
    (found,) = (t for t in model.subgraphs[0].tensors if t.type.name == f"INT{bits}")
    return np.asarray(found.quantization.scale)


def samples(model: ts.Model) -> Iterator[np.ndarray]:
    shape = model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]].shape
    return (np.random.default_rng(k).random(shape, np.float32) for k in range(3))


@needs
def test_static_int8_from_samples(example_model: Path) -> None:
    model = ts.read(example_model)
    made = litert(model, samples(model))
    assert made.subgraphs[0].tensors[made.subgraphs[0].inputs[0]].type == ts.TensorType.INT8


@needs
def test_every_recipe_of_ours_and_of_the_package(
    example_model: Path, monkeypatch, tmp_path
) -> None:
    """One process for all: names of ours, of its module, a file, and what it has no list for."""
    model = ts.read(example_model)
    with child.Child("qcore.peers.litert:_command", what=litert.WHO) as shared:
        monkeypatch.setattr(child, "Child", lambda *_, **__: nullcontext(shared))
        types = {}
        for recipe in (*litert.RECIPES, "dynamic_wi4b32_afp32", "dynamic_wi8c_afp32"):
            needed = samples(model) if recipe.startswith(("int8", "int16")) else unread()
            made = litert.make(model, needed, recipe)
            types[recipe] = {t.type.name for t in made.model.subgraphs[0].tensors}
        assert "INT16" in types["int16x8"] and "FLOAT16" in types["float16"]
        assert "INT4" in types["int4"] and "INT4" in types["dynamic_wi4b32_afp32"]
        assert "FLOAT32" in types["int8_float_io"] and "FLOAT32" not in types["int8"]
        assert types["dynamic"] == types["dynamic_wi8c_afp32"]
        file = tmp_path / "mine.json"
        file.write_text(json.dumps(theirs("dynamic", 4)))
        made = litert.make(model, recipe=str(file))
        assert made.data == litert.make(model, recipe=theirs("dynamic", 4)).data
        for recipe, says in (
            ("int7", "no counterpart of recipe 'int7'.*weight_only.*dynamic_wi2b64_afp32.*json"),
            ("gemma4_mixed48", "one of them: tf_lite_embedder"),
            ([{"regex": ".*"}], "does not take this recipe .*; mend it"),
            ("int16x8", "needs samples for recipe 'int16x8'; give some"),
        ):
            with pytest.raises((BadRecipe, NotCalibrated), match=says):
                litert.make(model, None, recipe)


def unread() -> Iterator[np.ndarray]:
    raise AssertionError("samples were read that the recipe does not need")
    yield


@pytest.mark.parametrize(
    ("text", "says"),
    [("{", "is not JSON"), ("[]", "is a list that is empty"), ("{}", "is a dict that is empty")],
)
def test_a_file_that_is_no_recipe(text, says, example_model, tmp_path) -> None:
    file = tmp_path / "bad.json"
    file.write_text(text)
    with pytest.raises(BadRecipe, match=says):
        litert.make(example_model, recipe=file)
    with pytest.raises(BadRecipe, match=r"nowhere\.json: No such file"):
        litert.make(example_model, recipe=tmp_path / "nowhere.json")


def test_a_missing_package_is_named(example_model: Path, tmp_path, monkeypatch) -> None:
    (tmp_path / "litert_quantizer.py").write_text("raise ImportError('not here')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingExtra, match=r"pip install 'tflite-qcore\[peers\]'"):
        qcore.peers.make("litert", example_model, recipe="dynamic")


def test_an_unknown_peer(example_model: Path) -> None:
    with pytest.raises(BadInput, match="'tflight' is unknown; known are tflite, litert, converter"):
        qcore.peers.make("tflight", example_model)


def test_kept_samples_come_back() -> None:
    given = [
        ("a", {"x": np.arange(6.0).reshape(2, 3), "n": np.zeros((0, 2), np.int8)}),
        ("b", {"s": np.array([b"text"], object)}),
        ("a", {"x": np.ones((), np.float32)}),
    ]
    kept = Kept(iter(given))
    assert len(kept) == 3 and kept.signatures() == ["a", "b"]
    for _ in range(2):
        for (name, arrays), (key, found) in zip(given, kept, strict=True):
            assert name == key and arrays.keys() == found.keys()
            for one, two in zip(arrays.values(), found.values()):
                assert one.dtype == two.dtype and one.shape == two.shape
                assert (one == two).all()
    assert [len(part) for part in map(kept.of, ("a", "b"))] == [2, 1]


@needs
def test_the_example_of_the_page_runs(tmp_path) -> None:
    root = Path(__file__).resolve().parents[2]
    (code,) = re.findall(r"(?ms)^```python\n(.*?)^```", (root / "docs" / "peers.md").read_text())
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    by, counts = done.stdout.splitlines()
    assert by in code and "'scale'" in counts
