"""The float model that most tests here compare, and what int8 makes of it."""

from __future__ import annotations

import pytest

import tflite_schema as ts
from tests.compare.models import branches, quantized


@pytest.fixture(scope="module")
def model() -> ts.Model:
    return branches()


@pytest.fixture(scope="module")
def int8(model) -> ts.Model:
    return quantized(model)
