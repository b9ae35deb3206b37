"""`dynamic` and `float16` against TFLiteConverter: one Keras model converted three times.

Our recipe on the float file and the converter's own file must be the same graph: operators in
order, versions, options, types, scales bit for bit, zero points, axes and every constant.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import qcore
import tflite_schema as ts
from qcore.recipe import recipe
from tests.twin import keras_models
from tests.twin.compare import compare

if importlib.util.find_spec("tensorflow") is None:
    pytest.skip("TensorFlow is not installed (extra `tensorflow`)", allow_module_level=True)


@pytest.fixture(scope="session")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every Keras model as float, dynamic and float16 .tflite."""
    folder = tmp_path_factory.mktemp("keras")
    run = subprocess.run(
        [sys.executable, keras_models.__file__, str(folder)],
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert run.returncode == 0, f"the converter failed: {run.stderr[-3000:]}"
    return folder


def _ours(folder: Path, name: str, mode: str, **changes: object) -> ts.Model:
    wanted = dataclasses.replace(recipe(mode), **changes)
    return ts.read(qcore.quantize(ts.read(folder / f"{name}.float.tflite"), wanted).to_bytes())


def _theirs(folder: Path, name: str, mode: str) -> ts.Model:
    return ts.read(folder / f"{name}.{mode}.tflite")


@pytest.mark.parametrize("mode", ["dynamic", "float16"])
@pytest.mark.parametrize("name", keras_models.NAMES)
def test_same_graph_as_the_converter(converted: Path, name: str, mode: str) -> None:
    found = compare(_ours(converted, name, mode), _theirs(converted, name, mode), rewrites=False)
    assert found.tensors and found.integers, "nothing was compared"
    assert found.same, "\n".join(found.differences)


def test_the_models_cover_the_rules(converted: Path) -> None:
    """Every special case of the converter is in what it wrote, so that the twin is tested on it."""
    hybrid: set[tuple[str, int]] = set()
    pushed = in_body = front = 0
    for name in keras_models.NAMES:
        model = _theirs(converted, name, "dynamic")
        for number, graph in enumerate(model.subgraphs):
            for op in graph.operators:
                types = [graph.tensors[t].type for t in op.inputs if t >= 0]
                if ts.TensorType.INT8 in types and ts.TensorType.FLOAT32 in types:
                    hybrid.add((op.name, op.code.version))
                    in_body += number > 0
                if op.name == "DEQUANTIZE":
                    constant = ts.array(model, number, op.inputs[0]) is not None
                    front, pushed = front + constant, pushed + (not constant)
    assert hybrid == {
        ("FULLY_CONNECTED", 12), ("CONV_2D", 5), ("CONV_2D", 6), ("DEPTHWISE_CONV_2D", 6),
        ("TRANSPOSE_CONV", 2), ("TRANSPOSE_CONV", 4), ("BATCH_MATMUL", 4),
    }  # fmt: skip
    assert in_body and front and pushed


@pytest.mark.parametrize(
    "what", ["weight", "scale", "version", "option", "order", "wiring", "shape"]
)
def test_the_comparison_sees(converted: Path, what: str) -> None:
    """A nudge in any part of a file is a difference."""
    model = _theirs(converted, "cnn", "dynamic")
    assert compare(model, model, rewrites=False).same
    changed = compare(_nudged(model, what), model, rewrites=False)
    assert not changed.same
    assert len(changed.differences) <= 3


def _nudged(model: ts.Model, what: str) -> ts.Model:
    graph = model.subgraphs[0]
    operators, tensors = list(graph.operators), list(graph.tensors)
    first = operators[0]
    weight = first.inputs[1]
    if what == "weight":
        data = np.array(model.buffers[tensors[weight].buffer].data)
        data[5] ^= 1
        buffers = list(model.buffers)
        buffers[tensors[weight].buffer] = ts.Buffer(data)
        return model.replace(buffers=tuple(buffers))
    if what == "scale":
        q = tensors[weight].quantization
        scale = np.array(q.scale)
        scale[3] = np.nextafter(scale[3], np.float32(1))
        tensors[weight] = tensors[weight].replace(quantization=q.replace(scale=scale))
    elif what == "shape":
        tensors[first.outputs[0]] = tensors[first.outputs[0]].replace(shape=(1, 16, 16, 15))
    elif what == "version":
        operators[0] = first.replace(code=first.code.replace(version=4))
    elif what == "option":
        operators[0] = first.replace(options=first.options.replace(stride_w=3))
    elif what == "order":
        operators[0], operators[3] = operators[3], operators[0]
    elif what == "wiring":
        # The second depthwise convolution reads what the first one reads.
        operators[2] = operators[2].replace(inputs=(first.outputs[0], *operators[2].inputs[1:]))
    changed = graph.replace(operators=tuple(operators), tensors=tuple(tensors))
    return model.replace(subgraphs=(changed, *model.subgraphs[1:]))


def test_a_wrong_rounding_is_seen(converted: Path) -> None:
    """Float32 arithmetic, as static recipes use it, gives other integers on the forced ties."""
    rules = tuple(
        dataclasses.replace(r, scheme="symmetric") if r.scheme is not None else r
        for r in recipe("dynamic").rules
    )
    ours = _ours(converted, "numbers", "dynamic", rules=rules)
    found = compare(ours, _theirs(converted, "numbers", "dynamic"), rewrites=False)
    assert any("values differ" in d for d in found.differences), found.differences
