"""Rows of floats as int8: NumPy and jitted against the exact oracle, by every rule."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import hybrid, ops
from kernels.call import Call, Tensor, options
from kernels.profile import Profile
from qcore.testing.checks.runtime import Asked
from tests.oracle.hybrid import ROWS

NAMES = ("asymmetric", "symmetric", "qd8")
RULES = {name: getattr(hybrid, name.upper()) for name in NAMES}

usual = st.floats(-1e3, 1e3, width=32)
halves = st.integers(-255, 255).map(lambda n: np.float32(n / 2))  # ties, where the range is 255
small = st.floats(-1.0000000031710769e-30, 1.0000000031710769e-30, width=32)
rows = st.one_of(
    *(st.lists(kind, min_size=1, max_size=20) for kind in (usual, small)),
    st.lists(halves, min_size=1, max_size=20).map(
        lambda r: [*r, np.float32(127), np.float32(-128)]
    ),
)


@pytest.mark.parametrize("name", NAMES)
@given(row=rows)
def test_rows(name: str, row: list[float]):
    x = np.array([row], np.float32)
    q, scale, zero_point = ROWS[name]([Fraction(float(v)) for v in x[0]])
    for got in (hybrid.RULES[RULES[name]](x), hybrid.quantize(RULES[name], x)):
        assert got[0][0].tolist() == q
        assert float(got[1][0]) == float(scale)
        assert int(got[2][0]) == zero_point


def test_the_place_decides():
    """A value just below half a step: 1 in a whole group of 8, 0 in the tail."""
    below = float(np.nextafter(np.float32(0.5), np.float32(0)))
    row = [below] * 8 + [below, 127.0, -128.0]
    q, scale, _ = hybrid.asymmetric(np.array([row], np.float32))
    assert scale[0] == 1 and q[0, 0] == 1 and q[0, 8] == 0


def test_a_row_of_zeros():
    x = np.zeros((2, 9), np.float32)
    x[1, 0] = 1
    for rule in hybrid.RULES:
        q, scale, zero_point = rule(x)
        assert scale[0] == 1 and (q[0] == zero_point[0]).all()


def test_ranges_that_overflow_their_inverse():
    """Below 1e-38 the inverse scale is infinite; both forms go the same way."""
    x = (np.random.default_rng(0).normal(0, 1, (4, 19)) * 1e-40).astype(np.float32)
    for name in NAMES:
        for a, b in zip(hybrid.RULES[RULES[name]](x), hybrid.quantize(RULES[name], x), strict=True):
            assert (a == b).all()


ZEROS = {
    "one row": ([0.0], 0, "int8", True),
    "every row, -0.0 as well": ([0.0, -0.0], 0, "int8", True),
    "not every row": ([0.0, 1.0], 0, "int8", False),
    "a RELU": ([0.0, 0.0], 1, "int8", False),
    "few int4": ([0.0, 0.0], 0, "int4", True),
}


@pytest.mark.parametrize("path", ["reference", "optimized", "xnnpack"])
def test_a_bias_of_minus_zero_stays_beside_an_input_of_zeros(path: str):
    """LiteRT then leaves the products out; any sum makes +0.0 of it. The sign as the runtime's."""
    profile = Profile(path)
    with Asked(profile, 60, None) as ask:
        for what, (values, act, dtype, kept) in ZEROS.items():
            x = np.repeat(np.float32(values)[:, None], 8, 1)
            w = Tensor(dtype, np.ones((3, 8), np.int8), np.float32([0.5]), constant=True)
            bias = Tensor("float32", np.full(3, -0.0, np.float32), constant=True)
            y = Tensor("float32", declared=(len(x), 3))
            fields = options(fused_activation_function=act, keep_num_dims=False, weights_format=0)
            call = Call("FULLY_CONNECTED", (Tensor("float32", x), w, bias), (y,), fields, profile)
            (theirs,), _ = ask(call)
            signs = np.signbit(theirs[x.any(1) == 0])
            assert (signs == (kept and path != "xnnpack")).all(), what
            for mode in ("reference", "fast"):
                (ours,) = ops.compute(call, mode)
                assert (ours == theirs).all() and (np.signbit(ours) == np.signbit(theirs)).all()
