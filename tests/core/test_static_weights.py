"""Weights that no integer kernel takes are refused in one sentence, before a file is written."""

from __future__ import annotations

import numpy as np
import pytest

import qcore
from qcore.errors import BadRecipe
from qcore.testing.build import Builder


def dense():
    b = Builder()
    x = b.input((1, 8), range=(-1, 1))
    w = np.linspace(-1, 3, 32).reshape(4, 8).astype(np.float32)
    bias = np.zeros(4, np.float32)
    return b.model([b.op("FULLY_CONNECTED", [x, w, bias], (1, 4), range=(-2, 2))])


def made(recipe: str, **rule):
    model = dense()
    found = qcore.recipe(recipe).with_rule(operand="weight", **rule)
    return qcore.quantize(model, found, qcore.Calibration.from_model(model))


@pytest.mark.parametrize(
    ("recipe", "rule", "says"),
    [
        ("int8", {"dtype": "int2"}, "is to be int2, which no int8 kernel of it takes"),
        ("int8", {"dtype": "int16"}, "is to be int16, which no int8 kernel of it takes"),
        ("int8", {"scheme": "minmax", "granularity": "per_tensor"}, "zero points other than 0"),
        ("int16x8", {"dtype": "int16"}, "is to be int16, which no int16x8 kernel of it takes"),
        ("int8_legacy", {"dtype": "int16"}, "is to be int16"),
    ],
)
def test_what_no_kernel_takes_is_refused(recipe, rule, says):
    with pytest.raises(BadRecipe) as caught:
        made(recipe, **rule)
    assert says in str(caught.value) and "FULLY_CONNECTED" in str(caught.value)


@pytest.mark.parametrize("recipe", ["int8", "int16x8"])
def test_what_a_kernel_takes_passes(recipe):
    (step,) = made(recipe, dtype="int4").plan.subgraphs[0].steps
    assert step.mode == recipe


@pytest.mark.parametrize(("recipe", "taken"), [("int8", True), ("int16x8", False)])
def test_int4_depthwise_weights_go_with_int8_activations_only(recipe, taken):
    b = Builder()
    x = b.input((1, 4, 4, 2), range=(-1, 1))
    w = np.linspace(-1, 3, 18).reshape(1, 3, 3, 2).astype(np.float32)
    options = {"padding": "SAME", "stride_w": 1, "stride_h": 1, "depth_multiplier": 1}
    options |= {"dilation_w_factor": 1, "dilation_h_factor": 1}
    y = b.op(
        "DEPTHWISE_CONV_2D", [x, w, np.zeros(2, np.float32)], (1, 4, 4, 2), range=(-9, 9), **options
    )
    model = b.model([y])
    found = qcore.recipe(recipe).with_rule(operand="weight", dtype="int4")
    ranges = qcore.Calibration.from_model(model)
    if taken:
        assert qcore.quantize(model, found, ranges).plan.subgraphs[0].steps[0].mode == "int8"
    else:
        with pytest.raises(BadRecipe, match="no int16x8 kernel of it takes"):
            qcore.quantize(model, found, ranges)
