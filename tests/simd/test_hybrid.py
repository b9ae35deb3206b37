"""Hybrid operators compiled: rows against kernels/hybrid.py, and that every rule and order is met.

That whole operators are `reference` is shown by test_lower.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from kernels import hybrid, ops
from kernels.call import Call
from kernels.errors import KernelError
from kernels.profile import PATHS, RUNTIMES, Profile
from kernels.simd import build, gemm, target
from kernels.simd import hybrid as lowering
from kernels.simd.program import Plan, Step
from kernels.simd.quantize import PIECE, RECORD
from kernels.simd.runner import ENTRY
from qcore.testing import lowered as single
from qcore.testing.cases import make

OPERATORS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
SEEDS = 12
TARGETS = target.available()
SHAPES = [(1, 1), (1, 7), (1, 16), (1, 37), (5, 9), (3, 1000), (4, 4099)]


def calls(operator: str, form: str = "hybrid") -> Iterator[Call]:
    for seed in range(SEEDS):
        for path in PATHS:
            for runtime in RUNTIMES:
                yield make(operator, form, seed, 300).on(profile=Profile(path, runtime))


def plans(operator: str, form: str = "hybrid") -> Iterator[tuple[Call, Plan, np.ndarray]]:
    """Calls that are lowered, with what should come out."""
    for call in calls(operator, form):
        try:
            (want,) = ops.compute(call, "reference")
            yield call, single.plan(call, (want,)), want
        except KernelError:
            continue


def inputs(rng: np.random.Generator, rows: int, length: int) -> np.ndarray:
    """Rows with ties, of one sign, of zeros, of ranges so small that the factor is infinite."""
    x = rng.normal(0, 3, (rows, length)).astype(np.float32)
    x[1::4] = rng.integers(-20, 21, x[1::4].shape) / np.float32(2)
    x[1::4, 0] = np.float32(63.5)
    x[2::4] = np.abs(x[2::4])
    x[3::8] = 0
    x[7::8] *= np.float32(1e-41)
    return x


def held(x: np.ndarray) -> np.ndarray:
    """A copy that may be read beyond its end."""
    made = gemm.aligned(x.nbytes).view(x.dtype).reshape(x.shape)
    made[...] = x
    return made


def run(name: str, units: int, *parameters: int | np.ndarray) -> None:
    values = np.array([p if isinstance(p, int) else p.ctypes.data for p in parameters], np.int64)
    ENTRY(build.addresses([name])[name])(values.ctypes.data, 0, units)


@pytest.mark.parametrize("rule", lowering.RULES, ids=lowering.RULES.get)
@pytest.mark.parametrize("name", TARGETS)
def test_rows_and_images(name: str, rule: int, rng: np.random.Generator, depth: int):
    """Both ways to quantize: a row at once, and an image in pieces with a border around it."""
    kind = lowering.RULES[rule]
    with target.use(name):
        for height, size in SHAPES * depth:
            rows, length = 17, height * size
            x = held(inputs(rng, rows, length))
            q, scale, zero_point = hybrid.RULES[rule](x)
            records = gemm.aligned(rows * RECORD)
            found = records.reshape(rows, RECORD)
            y = gemm.aligned(rows * length).view(np.int8).reshape(rows, length)
            run(f"quantize_rows_{kind}", rows, x, y, records, length)
            assert (y == q).all(), (kind, length)
            assert (found[:, :4].copy().view(np.float32)[:, 0] == scale).all()
            assert (found[:, 4:8].copy().view(np.int32)[:, 0] == zero_point).all()
            record = found.copy()

            pieces = -(-length // PIECE)
            ranges = gemm.aligned(rows * pieces * 8)
            records[:] = 0
            run("quantize_range", rows * pieces, x, ranges, length, pieces)
            run(f"quantize_scale_{kind}", rows, ranges, records, pieces)
            assert (found == record).all()
            above, left, right, tall = 2, 3, 5, height + 3
            shape = rows, tall, left + size + right
            image = gemm.aligned(int(np.prod(shape))).view(np.int8).reshape(shape)
            run(
                f"quantize_lines_{kind}", rows * tall, x, image, records, height, size, above,
                left, right, tall,
            )  # fmt: skip
            want = np.broadcast_to(zero_point.astype(np.int8)[:, None, None], shape).copy()
            want[:, above : above + height, left : left + size] = q.reshape(rows, height, size)
            assert (image == want).all(), (kind, length)


def test_minus(rng: np.random.Generator):
    q = held(rng.integers(-128, 128, PIECE + 21).astype(np.int8))
    y = held(np.zeros_like(q))
    run("quantize_minus", 2, q, y, q.size)
    assert (y == -np.abs(q.astype(np.int64))).all()


def test_every_rule_and_order_is_met():
    kernels = {
        step.kernel
        for operator in OPERATORS
        for form in ("hybrid", *["hybrid x int2"] * (operator == "FULLY_CONNECTED"))
        for _, plan, _ in plans(operator, form)
        for step in plan.steps
        if isinstance(step, Step)
    }
    for rule in lowering.RULES.values():
        assert any(k.endswith(rule) for k in kernels), rule
    for order in set(lowering.ORDERS.values()) | set(lowering.LAST.values()):
        assert any(order in k.split("_") for k in kernels), order


@pytest.mark.parametrize("name", TARGETS)
def test_weights_of_minus_128(name: str, rng: np.random.Generator):
    """They count as 128 beside negative values in whole groups of 16, not in XNNPACK; and sums of
    long rows of weights wrap (E35, E44)."""
    compared = 0
    with target.use(name):
        for depth in (9, 37, 5000):
            for call in calls("FULLY_CONNECTED"):
                if not call[1].constant or not 0 < call[1].shape[0] or call[1].per_channel:
                    continue
                w = rng.choice([-128, -127, -3, 127], (call[1].shape[0], depth)).astype(np.int8)
                x = rng.normal(0, 1, (3, depth)).astype(np.float32)
                given = (replace(call[0], data=x), replace(call[1], data=w), *call.inputs[2:])
                changed = call.on(inputs=given)
                try:
                    (want,) = ops.compute(changed, "reference")
                    plan = single.plan(changed, (want,))
                except KernelError:
                    continue
                minus = any(getattr(s, "kernel", "") == "quantize_minus" for s in plan.steps)
                assert minus == (depth >= 16 and not changed.profile.is_xnnpack)
                (got,) = single.run(changed, single.finish(changed, plan))
                assert (got == want).all()
                compared += want.size
    assert compared


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("path", PATHS)
def test_hybrid_calls_are_lowered(operator: str, path: str):
    assert any(call.profile.path == path for call, *_ in plans(operator))


@pytest.mark.parametrize(
    "right, wrong", [("product", "channel"), ("channel", "row"), ("fused", "row")]
)
def test_a_wrong_order_is_seen(monkeypatch: pytest.MonkeyPatch, right: str, wrong: str):
    orders = {k: wrong if v == right else v for k, v in lowering.ORDERS.items()}
    monkeypatch.setattr(lowering, "ORDERS", orders)
    differ = compared = 0
    for call, plan, want in plans("CONV_2D"):
        (got,) = single.run(call, single.finish(call, plan))
        differ, compared = differ + int((got != want).sum()), compared + want.size
    assert 0 < differ < compared
