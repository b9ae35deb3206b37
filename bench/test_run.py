"""Whole models of the corpus: one image, and a batch, by one thread and by all."""

from __future__ import annotations

import os
from functools import cache

import pytest

from bench.sides import Ours
from bench.speed import BATCH, MODELS, PROFILES
from tests import corpus

pytestmark = pytest.mark.skipif(not corpus.available(), reason=corpus.MISSING)


@cache
def side(model: str, profile: str) -> Ours:
    return Ours.of(model, profile, BATCH)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("model", MODELS)
def test_single(benchmark, model, profile):
    ours = side(model, profile)
    benchmark(ours.run, 1, 1)


@pytest.mark.parametrize("threads", [1, os.cpu_count()])
@pytest.mark.parametrize("model", MODELS)
def test_batch(benchmark, model, threads):
    ours = side(model, "xnnpack")
    benchmark.extra_info["images"] = BATCH
    benchmark(ours.run, BATCH, threads)
