"""A constant's range and its integers: 16 MB of float32 in memory."""

from __future__ import annotations

import numpy as np
import pytest

from bench.quantizer_speed import forms
from qcore.patch import Encoder

VALUES = np.random.default_rng(0).standard_normal((1024, 4096), np.float32)
FORMS = forms(VALUES)


@pytest.mark.parametrize("name", FORMS)
def test_range(benchmark, name):
    assert benchmark(FORMS[name])[1].stats.groups


@pytest.mark.parametrize("name", FORMS)
def test_encode(benchmark, name):
    encoder = Encoder(*FORMS[name]())
    assert benchmark(lambda: sum(c.nbytes for c in encoder.chunks())) == encoder.nbytes
