"""Each reason is told of a model built to show it, and of no other."""

from __future__ import annotations

import numpy as np
import pytest

import tflite_schema as ts
from qcore.compare import compare, words
from qcore.testing.build import Builder
from tests.compare.models import (
    conv,
    operator,
    quantized,
    rescaled,
    samples,
    scaled,
    tensor,
    with_constant,
)


def reasons(model, candidate, name: str, data=None) -> tuple[str, ...]:
    found = compare(model, {"c": candidate}, data or samples(), latency=False)
    (key,) = [layer.key for layer in found.layers if layer.name == name]
    return found.candidates[0].seen[key].reasons


def starts(found: tuple[str, ...], words: str) -> bool:
    return any(r.startswith(words) for r in found)


def test_a_good_model_needs_no_words(model, int8):
    found = compare(model, {"c": int8}, samples(), latency=False)
    assert all(s.reasons == () for s in found.candidates[0].seen.values())


def test_every_reason_has_a_test():
    tested = {
        "other_operator", "weights", "empty_channels", "bias", "bias_scale", "dead_channels",
        "saturation", "outlier", "fixed_or_tied", "few_codes", "inherited",
    }  # fmt: skip
    assert {r.__name__ for r in words.REASONS} == tested


def test_weights(model, int8, rng):
    at = operator(int8, "left")
    zero = with_constant(int8, at, 1, np.zeros_like)
    assert reasons(model, zero, "left")[0] == "its weights are all 0"
    other = with_constant(int8, at, 1, lambda w: w[::-1])
    assert starts(reasons(model, other, "left"), "its weights are far from the float ones (-")


def test_channels_without_weights_and_dead(model, int8):
    def drop(w):
        w[[1, 4]] = 0
        return w

    found = reasons(model, with_constant(int8, operator(int8, "left"), 1, drop), "left")
    assert "the weights of 2 of 6 channels became 0" in found
    assert "2 of 6 channels dead" in found


def test_bias_saturated_and_of_another_scale(model, int8):
    def raise_(b):
        b[2] = 2**31 - 1
        return b

    at = operator(int8, "left")
    found = reasons(model, with_constant(int8, at, 2, raise_), "left")
    assert "bias saturated: 1 of 6 at the end of int32" in found
    number = int8.subgraphs[0].operators[at].inputs[2]
    found = reasons(model, scaled(int8, number, 0.25), "left")
    assert "its bias has 0.25 times the scale of input times weights" in found


def test_saturation(model, int8):
    found = reasons(model, rescaled(int8, "right", 0.25), "right")
    assert any(" of the values saturate: the range is [" in r for r in found)


def absolute(**stored) -> ts.Model:
    b = Builder()
    x = b.input((1, 4000), "x", **stored)
    y = b.op("ABS", [x], (1, 4000), names=["y"], dtype=stored.get("dtype", "FLOAT32"))
    b.tensors[y] = b.tensors[y].replace(quantization=b.tensors[x].quantization)
    return b.model([y])


@pytest.mark.parametrize(("count", "said"), [(1, "one outlier"), (3, "3 outliers")])
def test_outliers(count, said, rng):
    """A few values of 100 among values below 1."""
    model, int8 = absolute(), absolute(dtype="INT8", scale=0.8, zero_point=0)
    data = [rng.uniform(-1, 1, (1, 4000)).astype(np.float32) for _ in range(2)]
    even = reasons(model, int8, "y", [100 * data[1]])
    data[0][0, :count] = 100
    found = reasons(model, int8, "y", data)
    assert starts(found, f"range set by {said} of 8,000 values: the others lie in ")
    assert not starts(even, "range set")


def test_tied():
    """CONCATENATION ties a small tensor to a large one."""
    rng = np.random.default_rng(4)
    b = Builder()
    x = b.input((1, 8, 8, 3), "x")
    both = [conv(b, rng, x, 3, "small", gain=0.25), conv(b, rng, x, 3, "large", gain=8)]
    model = b.model([b.op("CONCATENATION", both, (1, 8, 8, 12), names=["joined"], axis=3)])
    found = reasons(model, quantized(model), "small")
    assert starts(found, "scale limited by tied operand 'large': the range is 29"), found


def test_fixed_and_few_codes():
    """A LOGISTIC whose results all are near 0."""
    rng = np.random.default_rng(4)
    b = Builder()
    y = conv(b, rng, b.input((1, 8, 8, 3), "x"), 3, "low", gain=0.1)
    low = b.op("SUB", [y, b.const(np.float32([4.0]), "four")], (1, 8, 8, 6), names=["shifted"])
    model = b.model([b.op("LOGISTIC", [low], (1, 8, 8, 6), names=["gate"])])
    found = reasons(model, quantized(model), "gate", samples(12))
    assert any(r.endswith("times as wide as the values: LOGISTIC fixes it") for r in found), found
    assert starts(found, "codes used ")


def test_inherited(model, int8):
    broken = with_constant(int8, operator(int8, "left"), 1, np.zeros_like)
    assert starts(reasons(model, broken, "scores"), "inherited: ")


def test_another_operator(model, int8):
    part = int8.subgraphs[0]
    at = operator(int8, "sum")
    operators = list(part.operators)
    operators[at] = operators[at].replace(code=ts.OperatorCode.of("SUB", 2), options=None)
    other = int8.replace(subgraphs=(part.replace(operators=tuple(operators)),))
    assert tensor(other, "sum") == tensor(int8, "sum")
    assert reasons(model, other, "sum")[0] == "computed by SUB instead of ADD"
