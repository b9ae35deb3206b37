"""The output stage: whole arrays, jitted rows and jitted single numbers are the same integers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import ops
from kernels.jit import jit
from kernels.profile import PATHS, Profile
from kernels.ranges import NAMED
from kernels.stage import Rule, Stage, requantize, requantize_rows
from qcore.testing.cases import make
from qcore.testing.checks.runtime import Asked


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


@pytest.mark.parametrize("rule", [r for r in Rule if r is not Rule.SGL])
@pytest.mark.parametrize("power", [31, 32, 33, 45, 63, 64, 80])
def test_three_ways_where_c_defines_no_shift(rule: Rule, power: int):
    """Factors of 2^31 and more (E25, E26); F64 and XF saturate."""
    q, random = NAMED["int16"], np.random.default_rng(power)
    out = Stage.of(rule, 1.25 * 2.0**power, 0, (q.qmin, q.qmax), q)
    acc = random.integers(-(2**31), 2**31, (7, 21))
    acc[0] = np.arange(21) - 10
    want = out(acc)
    assert want.any() or rule in (Rule.UP, Rule.M64)
    for loops in (_each, requantize_rows):
        got = np.empty(acc.shape, q.dtype)
        loops(acc, out.parameters(21), got)
        assert (got == want).all(), loops


PRODUCTS = [
    ("CONV_2D", "int8"), ("CONV_2D", "int16, int64 bias"), ("DEPTHWISE_CONV_2D", "int8"),
    ("TRANSPOSE_CONV", "int8"), ("FULLY_CONNECTED", "int8"), ("BATCH_MATMUL", "int16"),
]  # fmt: skip


@pytest.mark.parametrize("path", [p for p in PATHS if p != "xnnpack"])
def test_output_scales_that_are_far_too_small(path: str):
    """Factors of 2^31 and more, beyond what C defines: the integers of the runtime, still."""
    compared = 0
    with Asked(Profile(path), 60, None) as ask:
        for operator, form in PRODUCTS:
            for seed, power in enumerate((-34, -40, -62, -90)):
                call = make(operator, form, seed, 40).on(profile=Profile(path))
                (y,) = call.outputs
                small = replace(y, scale=y.scale * np.float32(2.0**power))
                call = call.on(outputs=(small,))
                answer = ask(call)
                if isinstance(answer, str):  # some want a smaller factor than 1
                    continue
                for mode in ("reference", "fast"):
                    (ours,) = ops.compute(call, mode)
                    assert (ours == answer[0][0]).all(), (operator, form, power, mode)
                compared += ours.size
    assert compared > 200
