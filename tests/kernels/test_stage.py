"""The output stage: whole arrays, jitted rows and jitted single numbers are the same integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.jit import jit
from kernels.ranges import NAMED
from kernels.stage import Rule, Stage, requantize, requantize_rows


@jit
def _each(acc, p, out):
    for row in range(acc.shape[0]):
        for c in range(acc.shape[1]):
            out[row, c] = requantize(np.int64(acc[row, c]), c, p)


@pytest.mark.parametrize("rule", list(Rule))
@given(
    seed=st.integers(0, 2**32 - 1), channels=st.integers(1, 40), per_channel=st.booleans(),
    power=st.integers(-20, 4), name=st.sampled_from(["int8", "uint8", "int16"]),
)  # fmt: skip
def test_three_ways(rule: Rule, seed: int, channels: int, per_channel: bool, power: int, name: str):
    random, q = np.random.default_rng(seed), NAMED[name]
    factor = 2.0**power * random.choice([1, 1.5, 0.75, 1 / 3], channels if per_channel else 1)
    z = int(random.integers(q.qmin, q.qmax + 1)) if q.bits == 8 else 0
    out = Stage.of(rule, factor, z, (q.qmin, q.qmax), q)
    spread = 2.0 ** random.integers(4, 38 if rule is Rule.M64 else 30)
    acc = np.clip(random.normal(0, spread, (5, channels)), -(2.0**46), 2.0**46).astype(np.int64)
    if rule is not Rule.M64:
        acc = np.clip(acc, -(2**31), 2**31 - 1)
    want = out(acc)
    kind = np.int64 if rule is Rule.M64 else np.int32
    for loops in (_each, requantize_rows):
        got = np.empty(acc.shape, q.dtype)
        loops(acc.astype(kind), out.parameters(channels), got)
        assert (got == want).all(), loops
