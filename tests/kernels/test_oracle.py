"""The oracle against things it does not share a line with: IEEE hardware, ctypes, hand values."""

from __future__ import annotations

import ast
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import oracle
from tests.kernels.same import assert_same

SOURCE = Path(oracle.__file__)


def imported(source: str) -> set[str]:
    nodes = ast.walk(ast.parse(source))
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[0])
    return names


def test_oracle_imports_only_the_standard_library():
    assert imported(SOURCE.read_text()) == {"__future__", "dataclasses", "fractions", "math"}


def test_the_import_check_can_fail():
    assert "kernels" in imported("from kernels.rounding import half_away")
    assert "numpy" in imported("import numpy.linalg")


@given(st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=True))
def test_formats_agree_with_hardware(x):
    with np.errstate(over="ignore", under="ignore"):
        assert_same(np.array([x]).astype(np.float32), [oracle.f32(oracle.exact(x))])
        assert_same(np.array([x]).astype(np.float16), [oracle.f16(oracle.exact(x))])
    assert oracle.f64(oracle.exact(x)) == oracle.exact(x)


@given(st.floats(width=32), st.floats(width=32))
def test_operations_agree_with_hardware(a, b):
    pairs = (
        (np.multiply, oracle.mul),
        (np.add, oracle.add),
        (np.subtract, oracle.sub),
        (np.divide, oracle.div),
    )
    b = b or 0.0  # the oracle's zero divisor is +0
    if math.copysign(1.0, b) < 0 and b == 0:
        b = 0.0
    one, two = np.array([a], np.float32), np.array([b], np.float32)
    with np.errstate(all="ignore"):
        for hardware, ours in pairs:
            expected = oracle.f32(ours(oracle.exact(a), oracle.exact(b)))
            assert_same(hardware(one, two), [expected], hardware.__name__)


def test_format_check_can_fail():
    with pytest.raises(AssertionError):
        assert_same(np.array([0.1], np.float32), [oracle.f16(oracle.exact(0.1))])


@given(st.integers(-(2**31), 2**31 - 1), st.integers(-(2**31), 2**31 - 1))
def test_high_product_by_meaning_is_gemmlowp_by_steps(a, b):
    assert oracle.rdhm(a, b) == oracle.rdhm_by_steps(a, b)


@pytest.mark.parametrize("n", range(-9, 10))
def test_high_product_ties(n):
    """Half-integers: the product form and the stepwise form both send them up (E23)."""
    a, b = (2 * n + 1), 2**30
    assert oracle.rdhm(a, b) == oracle.rdhm_by_steps(a, b) == n + 1


def test_hand_values():
    assert oracle.half_away(Fraction(-3, 2)) == -2
    assert oracle.half_up(Fraction(-3, 2)) == -1
    assert oracle.half_even(Fraction(-5, 2)) == -2
    assert oracle.toward_zero(Fraction(-5, 2)) == -2
    assert oracle.quantize_multiplier(Fraction(1)) == (2**30, 1)
    assert oracle.pack([1, 2, 3], 4) == [0x21, 0x03]
    assert oracle.wrap(2**31, 32) == -(2**31)
