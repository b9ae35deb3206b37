"""Rounding that passes errors on: never worse than nearest, and what its definition gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.ranges import NAMED, IntRange
from qcore.errors import BadRecipe
from qcore.rounding import Gptq, Rounding
from qcore.tune import gptq

INT8, INT4 = NAMED["int8_narrow"], NAMED["int4_narrow"]


def nearest(w: np.ndarray, s: np.ndarray, z: np.ndarray, q: IntRange) -> np.ndarray:
    steps = w / s + z
    return np.clip(np.copysign(np.floor(np.abs(steps) + 0.5), steps), q.qmin, q.qmax)


def damped(second: np.ndarray, damp: float) -> np.ndarray:
    power = np.trace(second, axis1=1, axis2=2) / second.shape[1]
    return second + damp * power[:, None, None] * np.eye(second.shape[1])


def costs(w: np.ndarray, s: np.ndarray, z: np.ndarray, made: np.ndarray, h: np.ndarray):
    e = w - s * (made - z)
    return np.array([[r @ h[g] @ r for r in e[g]] for g in range(len(e))])


def slow(w: np.ndarray, s: np.ndarray, z: np.ndarray, q: IntRange, h: np.ndarray) -> np.ndarray:
    """One row: each column in its turn is rounded from where the cost would be least, given the
    errors of those before it and any real values of those behind it."""
    errors: list[float] = []
    made = np.zeros(len(w))
    order = np.argsort(-np.diag(h), kind="stable")
    h = h[np.ix_(order, order)]
    for k, at in enumerate(order):
        error = -np.linalg.solve(h[k:, k:], h[k:, :k] @ np.array(errors))[0] if k else 0.0
        made[at] = nearest(w[at] - error, s[at], z[at], q)
        errors.append(w[at] - s[at] * (made[at] - z[at]))
    return made


@st.composite
def problems(draw: st.DrawFn):
    """w, scale, zero point, range and H of any rank and size, with columns that are always 0."""
    groups, rows, size = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 9))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = rng.normal(
        draw(st.sampled_from((0.0, 0.0, 5.0))), 1, (groups, draw(st.integers(1, 12)), size)
    )
    x *= draw(st.sampled_from((1.0, 1.0, 1e-30, 1e30)))
    if draw(st.booleans()):
        x[:, :, draw(st.integers(0, size - 1))] = 0
    if draw(st.booleans()):
        x[draw(st.integers(0, groups - 1))] = 0
    if draw(st.booleans()):
        x[:, :, -1] = x[:, :, 0]
    q = draw(st.sampled_from((INT8, INT4, NAMED["int8"])))
    scale = rng.uniform(0.5, 2, (groups, rows, 1)) * draw(st.sampled_from((1.0, 1e-38, 1e30)))
    zero = rng.integers(-3, 4, (groups, rows, 1)) if draw(st.booleans()) else 0
    shape = (groups, rows, size)
    w = scale * rng.uniform(-1.2, 1.2, shape) * q.qmax
    if draw(st.booleans()):  # ties
        w = scale * np.rint(2 * w / scale) / 2
    scale, zero = (np.broadcast_to(a, shape).astype(np.float64) for a in (scale, zero))
    return w, scale, zero, q, np.einsum("gnk,gnl->gkl", x, x) / x.shape[1]


def check(solve, case) -> int:
    """How many integers a solver did not round to nearest; each rule that must hold, does."""
    w, s, z, q, h = case
    made = solve(w, s, z, q, h, 0.01)
    plain = nearest(w, s, z, q)
    assert made.shape == w.shape and made.dtype == np.float64 and (made == np.rint(made)).all()
    assert (made >= q.qmin).all() and (made <= q.qmax).all()
    h = damped(h, 0.01)
    # What rounding of the two sums themselves can make.
    assert (costs(w, s, z, made, h) <= costs(w, s, z, plain, h) * (1 + 1e-9)).all()
    return int((made != plain).sum())


def test_never_costs_more_than_nearest() -> None:
    moved = 0

    @given(problems())
    @settings(max_examples=150)
    def holds(case) -> None:
        nonlocal moved
        moved += check(gptq.solve, case)

    holds()
    assert moved > 100


def test_the_check_finds_a_costly_solver() -> None:
    @given(problems())
    @settings(max_examples=150)
    def holds(case) -> None:
        w, s, z, q, _ = case
        check(lambda *_: np.clip(nearest(w, s, z, q) + 1, q.qmin, q.qmax), case)

    with pytest.raises(AssertionError):
        holds()


@pytest.mark.parametrize("size", [1, 2, 7, 70])
def test_is_its_definition(rng: np.random.Generator, size: int) -> None:
    """Blocks of columns too."""
    rows, different = 3, 0
    x = rng.normal(1, 1, (2, 3 * size, size)) @ rng.normal(0, 1, (size, size))
    h = np.einsum("gnk,gnl->gkl", x, x) / x.shape[1]
    s = np.broadcast_to(rng.uniform(0.5, 2, (2, rows, 1)), (2, rows, size))
    z = np.zeros_like(s)
    w = s * rng.uniform(-7.2, 7.2, s.shape)
    made, full = Gptq(0.1).solve(w, s, z, INT4, h), damped(h, 0.1)
    before, plain = costs(w, s, z, nearest(w, s, z, INT4), full), nearest(w, s, z, INT4)
    for g, r in np.ndindex(2, rows):
        want = slow(w[g, r], s[g, r], z[g, r], INT4, full[g])
        better = costs(w[g : g + 1, r : r + 1], s[g : g + 1, r : r + 1], 0, want, full[g : g + 1])
        assert (made[g, r] == (want if better[0, 0] < before[g, r] else plain[g, r])).all()
        different += int((want != plain[g, r]).sum())
    assert different > 0 or size == 1


def test_inputs_that_share_nothing_are_rounded_to_nearest(rng: np.random.Generator) -> None:
    s = np.full((2, 4, 6), 0.5)
    w, z = rng.uniform(-70, 70, s.shape), np.zeros_like(s)
    w[0, 0] = [0.25, -0.25, 0.75, -0.75, 62.75, -100]  # ties away from zero, and saturation
    h = np.stack([np.diag(rng.uniform(0, 5, 6)) for _ in range(2)])
    made = gptq.solve(w, s, z, INT8, h, 0.1)
    assert (made == nearest(w, s, z, INT8)).all()
    assert made[0, 0].tolist() == [1, -1, 2, -2, 126, -127]


def correlated(solve) -> float:
    """Cost by cost of nearest, of rows whose inputs are nearly all the same."""
    rng = np.random.default_rng(7)
    x = rng.normal(0, 1, (1, 200, 1)) + 0.3 * rng.normal(0, 1, (1, 200, 24))
    h = np.einsum("gnk,gnl->gkl", x, x) / 200
    s = np.ones((1, 16, 24))
    w, z = rng.uniform(-7, 7, s.shape), np.zeros_like(s)
    made = solve(w, s, z, INT4, h)
    return float(costs(w, s, z, made, h).sum() / costs(w, s, z, nearest(w, s, z, INT4), h).sum())


def test_gains_where_inputs_go_together() -> None:
    def rounded(w, s, z, q, second):
        return nearest(w, s, z, q)

    gain = correlated(Gptq(damp=0.01).solve)
    assert gain < 0.5 < correlated(rounded) == 1  # 0.5: half of the noise, and 0.12 is measured
    assert gain < correlated(Gptq(damp=10.0).solve) <= 1
    assert correlated(Gptq(damp=1e9).solve) == 1


def test_dead_and_broken_inputs() -> None:
    """No covariance, columns that are always 0, and what rounding leaves of a matrix."""
    rng = np.random.default_rng(3)
    s = np.ones((1, 2, 4))
    w, z = rng.uniform(-7, 7, s.shape), np.zeros_like(s)
    plain = nearest(w, s, z, INT4)
    assert (gptq.solve(w, s, z, INT4, np.zeros((1, 4, 4)), 0.1) == plain).all()
    assert (gptq.solve(w, s, z, INT4, -np.eye(4)[None], 0.1) == plain).all()
    indefinite = np.array([[[1.0, 2.0, 0, 0], [2.0, 1.0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]])
    noise = np.full((1, 4, 4), 1e-3) + np.diag([0, -1e-9, 0, 1e-12])
    for h in (indefinite, noise):
        assert np.linalg.eigvalsh(h).min() < 0
        for damp in (1e-300, 1e-12, 0.1):
            made = gptq.solve(w, s, z, INT4, h, damp)
            assert (made >= -7).all() and (made <= 7).all() and (made == np.rint(made)).all()
    both = np.concatenate([indefinite, np.eye(4)[None], np.zeros((1, 4, 4))])
    three = [np.repeat(a, 3, 0) for a in (w, s, z)]
    assert (gptq.solve(*three, INT4, both, 0.1)[1:] == plain[0]).all()


def test_tiny_damping_of_few_samples(rng: np.random.Generator) -> None:
    """A matrix of rank 2 that only the damping makes definite."""
    x = rng.normal(3, 1, (1, 2, 40)).astype(np.float32).astype(np.float64)
    s = np.ones((1, 5, 40))
    w, z = rng.uniform(-7, 7, s.shape), np.zeros_like(s)
    h = np.matmul(x.transpose(0, 2, 1), x) / 2
    want = costs(w, s, z, nearest(w, s, z, INT4), h).sum()
    for damp in (1e-300, 1e-17, 1e-12, 1e-3):
        made = gptq.solve(w, s, z, INT4, h, damp)
        assert costs(w, s, z, made, h).sum() < want * (1 if damp < 1e-3 else 0.5)


def test_scales_that_stand_for_nothing_give_the_zero_point() -> None:
    s = np.ones((1, 3, 4))
    s[0, 0], s[0, 1] = 0, np.inf
    w, z = np.full_like(s, 3.4), np.full_like(s, 2.0)
    h = np.ones((1, 4, 4))
    with np.errstate(all="raise"):
        made = gptq.solve(w, s, z, INT8, h, 0.1)
    assert (made[0, :2] == 2).all() and (made[0, 2] - 2).sum() == 14  # 4 times 3.4 is 13.6


@pytest.mark.parametrize("damp", [0, -1, np.inf, np.nan, "much", None])
def test_damping_that_is_none(damp) -> None:
    with pytest.raises(BadRecipe, match="give a number above 0"):
        Gptq(damp)


def test_in_a_recipe() -> None:
    assert Rounding.from_json({"key": "gptq", "damp": 0.5}) == Gptq(0.5)
    assert Rounding.from_json(Gptq(0.5).to_json()) == Gptq(0.5) and Gptq().to_json() == "gptq"
