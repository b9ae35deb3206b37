"""Weights that no integer kernel takes are refused in one sentence, before a file is written."""

from __future__ import annotations

import numpy as np
import pytest

import qcore
from qcore.errors import BadRecipe
from tests.build import Builder


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
        ("int8", {"dtype": "int2"}, "is to be int2, which no int8 kernel takes"),
        ("int8", {"dtype": "int16"}, "is to be int16, which no int8 kernel takes"),
        ("int8", {"scheme": "minmax", "granularity": "per_tensor"}, "zero points other than 0"),
        ("int16x8", {"dtype": "int4"}, "is to be int4, which no int16x8 kernel takes; use int8"),
        ("int8_legacy", {"dtype": "int16"}, "is to be int16"),
    ],
)
def test_what_no_kernel_takes_is_refused(recipe, rule, says):
    with pytest.raises(BadRecipe) as caught:
        made(recipe, **rule)
    assert says in str(caught.value) and "FULLY_CONNECTED" in str(caught.value)


def test_what_a_kernel_takes_passes():
    (step,) = made("int8", dtype="int4").plan.subgraphs[0].steps
    assert step.mode == "int8"
