"""LiteRT's quantizer in a child process, and our reading of its recipes against what it does."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import qcore
import tflite_schema as ts
from qcore.errors import BadRecipe, NotCalibrated
from qcore.peers import litert
from qcore.recipe import Recipe

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
    data = example_model.read_bytes()
    made = litert.quantize(data, theirs(mode, bits))
    assert made.version
    ours = qcore.quantize(ts.read(data), Recipe.from_json(theirs(mode, bits)))
    expected = stored(ts.read(made.data))
    assert f"INT{bits}" in expected.values()
    assert stored(ts.read(ours.to_bytes())) == expected


@needs
def test_static_int8_from_samples(example_model: Path) -> None:
    model = ts.read(example_model)
    shape = model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]].shape
    samples = (np.random.default_rng(k).random(shape, np.float32) for k in range(3))
    made = litert(model, samples)
    assert made.subgraphs[0].tensors[made.subgraphs[0].inputs[0]].type == ts.TensorType.INT8


def test_what_it_has_no_counterpart_of_is_said() -> None:
    with pytest.raises(BadRecipe, match="no counterpart of recipe 'float16'; use one of int8"):
        litert.quantize(b"", "float16")
    with pytest.raises(NotCalibrated, match="needs samples for recipe 'int8'"):
        litert.quantize(b"", "int8")
