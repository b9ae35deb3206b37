"""LiteRT quantizer recipes: what each entry becomes, and that what we do not have is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import qcore
import tflite_schema as ts
from qcore.errors import BadRecipe
from qcore.litert_recipe import ALLOWED, NAMES
from qcore.recipe import Recipe


def weight(bits: int = 8, **fields):
    made = {"num_bits": bits, "symmetric": True, "granularity": "CHANNELWISE", "dtype": "INT"}
    return {**made, **fields}


def entry(operation: str = "*", regex: str = ".*", algorithm="min_max_uniform_quantize", **config):
    made = {"regex": regex, "operation": operation, "algorithm_key": algorithm}
    return {**made, "op_config": config} if config else made


DYNAMIC = {"weight_tensor_config": weight(), "compute_precision": "INTEGER"}
WEIGHT_ONLY = {
    "weight_tensor_config": weight(), "compute_precision": "FLOAT", "explicit_dequantize": True,
}  # fmt: skip


def modes(data: list, operator: str, output: str = "y") -> str:
    return Recipe.from_json(data, "theirs").mode(operator, [output])


def dtype(data: list, operator: str, output: str = "y") -> str | None:
    made = Recipe.from_json(data, "theirs")
    return made.setting(operator, "weight", "weights", "w", outputs=[output]).dtype


def test_an_entry_for_all_operations_covers_what_the_policy_allows() -> None:
    for config, mode, bits in ((DYNAMIC, "dynamic", "int8"), (WEIGHT_ONLY, "weight_only", "int8")):
        data = [entry(**config)]
        for operation in ALLOWED[mode, bits]:
            assert modes(data, NAMES.get(operation, operation)) == mode
        assert modes(data, "GATHER") == "float"
        assert dtype(data, "CONV_2D") == "int8"


def test_the_last_valid_entry_wins_and_an_invalid_one_is_passed_over() -> None:
    """int4 for everything does not reach DEPTHWISE_CONV_2D, which keeps the int8 of before."""
    four = {**DYNAMIC, "weight_tensor_config": weight(4)}
    data = [entry(**DYNAMIC), entry(**four)]
    assert dtype(data, "FULLY_CONNECTED") == "int4"
    assert dtype(data, "DEPTHWISE_CONV_2D") == "int8"


def test_patterns_are_on_outputs_and_layers_differ() -> None:
    four = {**DYNAMIC, "weight_tensor_config": weight(4)}
    data = [
        entry(**DYNAMIC),
        entry("FULLY_CONNECTED", regex="layer_[12]/", **four),
        entry("FULLY_CONNECTED", regex="head", algorithm="no_quantize"),
    ]
    assert dtype(data, "FULLY_CONNECTED", "model/layer_1/y") == "int4"
    assert dtype(data, "FULLY_CONNECTED", "model/layer_3/y") == "int8"
    assert modes(data, "FULLY_CONNECTED", "the_head/y") == "float"
    assert modes(data, "CONV_2D", "the_head/y") == "dynamic"


def test_static_recipes_and_their_dialects() -> None:
    eight = {"activation_tensor_config": {"num_bits": 8, "symmetric": False}, **DYNAMIC}
    made = Recipe.from_json([entry(**eight)], "a8")
    assert (made.dialect, made.input_type, made.output_type) == ("mlir", "int8", "int8")
    assert made.setting("ADD", "activation", "x", "t").scheme.key == "minmax"
    sixteen = {"activation_tensor_config": {"num_bits": 16, "symmetric": True}, **DYNAMIC}
    made = Recipe.from_json([entry(**sixteen), entry("INPUT", algorithm="no_quantize")], "a16")
    assert (made.dialect, made.input_type, made.output_type) == ("legacy", "float32", "int16")
    assert made.setting("CONV_2D", "bias", "bias", "b").dtype == "int64"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ([entry(algorithm="OSCAR", **DYNAMIC)], "entry 0 .*'OSCAR', which we do not have"),
        ([entry(algorithm="GPTQ", **DYNAMIC)],
         "entry 0 .*'GPTQ', which gives other integers .* name rounding 'gptq'"),
        ([entry(algorithm="OCTAV", **DYNAMIC)],
         "entry 0 .*'OCTAV', which gives other scales than ours .* 4\\^-bits / 3 .*litert:FILE"),
        ([entry(algorithm="MSE", **WEIGHT_ONLY)],
         "entry 0 .*'MSE', which gives other scales than ours .* 0.05408 .* name scheme 'mse'"),
        ([{"regex": ".*"}], "entry 0 .*lacks one of regex, operation and algorithm_key"),
        ([entry("GATHER", **DYNAMIC)], "dynamic with int8 weights .* for GATHER; that takes BATCH"),
        ([entry(weight_tensor_config=weight(3))], "weights of type INT with 3 bits"),
        ([entry(weight_tensor_config=weight())], "computes in FLOAT without explicit_dequantize"),
        ([entry(weight_tensor_config=weight(granularity="ROWS"), compute_precision="INTEGER")],
         "granularity 'ROWS'"),
        ([entry(activation_tensor_config={"num_bits": 8}, **DYNAMIC),
          entry(activation_tensor_config={"num_bits": 16}, **DYNAMIC)], "both int8 and int16"),
        ([entry(activation_tensor_config={"num_bits": 8}, weight_tensor_config=weight(4),
                compute_precision="INTEGER")], "8 bit activations with int4 weights"),
    ],
)  # fmt: skip
def test_what_we_do_not_have_is_one_sentence(data: list, says: str) -> None:
    with pytest.raises(BadRecipe, match=says) as caught:
        Recipe.from_json(data, "theirs")
    assert "\n" not in str(caught.value)


def test_a_json_file_quantizes_a_model(tmp_path: Path, example_model: Path) -> None:
    path = tmp_path / "theirs.json"
    path.write_text(json.dumps([entry(**DYNAMIC)]))
    made = ts.read(qcore.quantize(ts.read(example_model), path).to_bytes())
    assert any(t.type == ts.TensorType.INT8 for t in made.subgraphs[0].tensors)


def test_blockwise_and_old_block_size() -> None:
    for fields in ({"granularity": "BLOCKWISE_32"}, {"block_size": 32}):
        data = [entry("FULLY_CONNECTED", weight_tensor_config=weight(4, **fields),
                      compute_precision="INTEGER")]  # fmt: skip
        made = Recipe.from_json(data, "b")
        found = made.setting("FULLY_CONNECTED", "weight", "weights", "w", outputs=["y"])
        assert str(found.granularity) == "blockwise:32"
