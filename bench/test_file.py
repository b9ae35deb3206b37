"""Reading, editing and writing model files."""

from __future__ import annotations

import pytest

import tflite_schema as ts
from tests import corpus

ENTRIES = corpus.entries("float")


@pytest.fixture(params=[e.path for e in ENTRIES] or ["none"], ids=[e.name for e in ENTRIES] or None)
def path(request):
    if request.param == "none":
        pytest.skip(corpus.MISSING)
    return request.param


def test_read(benchmark, path):
    assert benchmark(ts.read, path).subgraphs


def test_write(benchmark, path):
    model = ts.read(path)
    assert benchmark(ts.to_bytes, model)
