"""Planning and writing, without calibration: from ranges that are already known."""

from __future__ import annotations

import pytest

import qcore
from qcore.recipe import names
from tests import corpus


@pytest.fixture(scope="module")
def effnet():
    if not corpus.available():
        pytest.skip(corpus.MISSING)
    entry = corpus.entry("effnet_lite0_f32")
    model = qcore.load(entry.path)
    return model, qcore.calibrate(model, entry.samples(4))


@pytest.mark.parametrize("recipe", names())
def test_plan(benchmark, effnet, recipe):
    assert benchmark(qcore.quantize, effnet[0], recipe, effnet[1]).plan.subgraphs


@pytest.mark.parametrize("recipe", names())
def test_encode_and_write(benchmark, effnet, recipe):
    quantized = qcore.quantize(effnet[0], recipe, effnet[1])
    assert benchmark(quantized.to_bytes)
