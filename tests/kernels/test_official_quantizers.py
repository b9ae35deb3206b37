"""E5-E16 against TFLite's own two quantizers: one FULLY_CONNECTED for each kind of weight and bias.

The models carry their ranges, so no calibration enters. The official code runs in a child process.
"""

from __future__ import annotations

import importlib.util
from typing import NamedTuple

import numpy as np
import pytest

import tflite_schema as ts
from kernels import affine, reductions, scales
from kernels.ranges import INT8, INT8_NARROW
from qcore.peers import tflite as peer
from qcore.testing.build import Builder
from tests.kernels.same import assert_identical

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None,
    reason="tensorflow, which holds the official quantizers, is not installed",
)

ROWS, COLUMNS = 8, 16
WEIGHTS = ("normal", "zero channels", "zeros", "one value", "tiny", "ties", "large")
BIASES = ("normal", "zeros", "huge")


class Layer(NamedTuple):
    weight: np.ndarray  # (ROWS, COLUMNS) float32
    bias: np.ndarray  # (ROWS,) float32
    range: tuple[float, float]  # of the output


class Parameters(NamedTuple):
    """What one layer must be written with."""

    weight_scale: np.ndarray
    bias_scale: np.ndarray
    weight: np.ndarray
    bias: np.ndarray


def weights(kind: str, rng: np.random.Generator) -> np.ndarray:
    w = rng.standard_normal((ROWS, COLUMNS)) * 10 ** rng.uniform(-3, 1)
    if kind == "zero channels":
        w[::2] = 0
    elif kind == "zeros":
        w[:] = 0
    elif kind == "one value":
        w[:] = rng.normal()
    elif kind == "tiny":
        w *= 1e-8
    elif kind == "ties":
        w = (rng.integers(-127, 127, w.shape) + 0.5) * 10 ** rng.uniform(-3, 0) / 127
    elif kind == "large":
        w *= 1e6
    return w.astype(np.float32)


def biases(kind: str, rng: np.random.Generator) -> np.ndarray:
    b = rng.standard_normal(ROWS)
    if kind == "huge":
        b *= 10 ** rng.uniform(3, 12, ROWS)
    return (b * (kind != "zeros")).astype(np.float32)


def model(rng: np.random.Generator) -> tuple[bytes, tuple[float, float], dict[str, Layer]]:
    """Layers side by side on one input, named by what they hold."""
    builder, layers = Builder(), {}
    ends = np.sort(rng.normal(size=2) * 10 ** rng.uniform(-4, 2)).astype(np.float32)
    range_ = (float(ends[0]), float(ends[1]))
    x = builder.input((1, COLUMNS), "x", range=range_)
    outputs = []
    for weight in WEIGHTS:
        for bias in BIASES:
            name = f"{weight}, bias {bias}"
            ends = np.sort(rng.normal(size=2) * 10 ** rng.uniform(-8, 3)).astype(np.float32)
            layer = Layer(weights(weight, rng), biases(bias, rng), (float(ends[0]), float(ends[1])))
            operands = [x, builder.const(layer.weight), builder.const(layer.bias)]
            outputs.append(
                builder.op("FULLY_CONNECTED", operands, (1, ROWS), range=layer.range, names=[name])
            )
            layers[name] = layer
    return ts.to_bytes(builder.model(outputs)), range_, layers


def mlir(layer: Layer, input_scale: np.ndarray, per_tensor: bool) -> Parameters:
    m = reductions.max_abs(layer.weight, None if per_tensor else 0)
    scale = scales.symmetric_mlir(m, INT8_NARROW)
    guard = scales.bias_guard_mlir(layer.bias, float(input_scale[0]), scale, per_tensor)
    if per_tensor:
        exact = float(guard.exact_weight_scale[0])
        integers = affine.encode_tensor_mlir(layer.weight, float(m[0]), exact, INT8_NARROW)
    else:
        integers = affine.encode_inverse32(layer.weight, guard.weight_scale[:, None], INT8_NARROW)
    bias = affine.encode_bias(layer.bias, guard.bias_scale)
    return Parameters(guard.weight_scale, guard.bias_scale, integers, bias)


def legacy(layer: Layer, input_scale: np.ndarray, per_tensor: bool) -> Parameters:
    m = reductions.max_abs(layer.weight, None if per_tensor else 0)
    m = scales.bias_guard_legacy(layer.bias, float(input_scale[0]), m, per_tensor).max_abs
    choose = scales.symmetric_legacy_tensor if per_tensor else scales.symmetric_legacy
    scale = choose(m, INT8_NARROW)
    integers = affine.encode_max32(layer.weight, m[:, None], INT8_NARROW)
    both = scales.bias_scale(input_scale, scale)
    return Parameters(scale, both, integers, affine.encode_bias(layer.bias, both))


RULES = {
    "mlir": (scales.asymmetric_mlir, mlir),
    "legacy": (scales.asymmetric_legacy, legacy),
}


def compare(written: bytes, range_: tuple[float, float], layers: dict, rules, per_tensor) -> int:
    """Everything the file holds about each layer, bit for bit; returns how many layers."""
    asymmetric, layer_rules = rules
    quantized = ts.read(written)
    graph = quantized.subgraphs[0]
    input_scale, zero_point = asymmetric(*range_, INT8)
    x = next(t for t in graph.tensors if t.name == "x").quantization
    assert_identical(x.scale, input_scale, "x")
    assert_identical(x.zero_point, zero_point, "x")
    seen = 0
    for operator in graph.operators:
        assert operator.name == "FULLY_CONNECTED"
        _, w, b = operator.inputs
        y = graph.tensors[operator.outputs[0]]
        layer = layers[y.name]
        scale, zero_point = asymmetric(*layer.range, INT8)
        assert_identical(y.quantization.scale, scale, y.name)
        assert_identical(y.quantization.zero_point, zero_point, y.name)
        want = layer_rules(layer, input_scale, per_tensor)
        stored = [graph.tensors[i].quantization.scale for i in (w, b)]
        stored += [ts.array(quantized, 0, i) for i in (w, b)]
        for got, expected, field in zip(stored, want, Parameters._fields, strict=True):
            assert_identical(got.reshape(expected.shape), expected, f"{y.name}: {field}")
        seen += 1
    return seen


@pytest.fixture(scope="module")
def official():
    with peer.Quantizer() as quantizer:
        yield {
            "mlir": lambda data, per_channel: quantizer.mlir(
                data, "int8", "int8", (), (), per_channel
            ),
            "legacy": lambda data, per_channel: quantizer.legacy(
                data, None, "int8", "int8", "int8", None, True, per_channel
            ),
        }


@pytest.mark.parametrize("per_tensor", [False, True], ids=["channel", "tensor"])
@pytest.mark.parametrize("rules", RULES)
def test_every_kind_of_weight_and_bias(rules, per_tensor, official, rng, depth):
    for _ in range(2 * depth):
        data, range_, layers = model(rng)
        written = official[rules](data, not per_tensor)
        assert compare(written, range_, layers, RULES[rules], per_tensor) == len(layers)


def test_the_comparison_can_fail(official, rng):
    """One quantizer's file is not what the other's rules give."""
    data, range_, layers = model(rng)
    written = official["mlir"](data, True)
    with pytest.raises(AssertionError, match="differ"):
        compare(written, range_, layers, RULES["legacy"], False)
