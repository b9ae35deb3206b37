"""How results are compared with the oracle: bit for bit, element by element, never zero of them."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from tests.oracle import Real, exact, is_nan


def assert_same(got: np.ndarray, expected: Sequence[object], what: str = "") -> None:
    """Every element of `got` is the expected int, Fraction, float or bool; says where it is not."""
    flat = np.asarray(got).reshape(-1)
    assert len(expected) > 0, f"{what}: compared nothing"
    assert flat.size == len(expected), f"{what}: {flat.size} results for {len(expected)} expected"
    for i, (ours, true) in enumerate(zip(flat, expected, strict=True)):
        assert _equal(ours, true), f"{what}: out[{i}] = {ours!r}, but should be {_show(true)}"


def assert_identical(got: np.ndarray, expected: np.ndarray, what: str = "") -> None:
    """Two arrays of one dtype and shape hold the same bits (all NaN count as one)."""
    assert got.size > 0, f"{what}: compared nothing"
    assert got.dtype == expected.dtype and got.shape == expected.shape, (
        f"{what}: {got.dtype} {got.shape}, but should be {expected.dtype} {expected.shape}"
    )
    differ = got != expected
    if got.dtype.kind == "f":
        differ &= ~(np.isnan(got) & np.isnan(expected))
        differ |= (np.signbit(got) != np.signbit(expected)) & ~np.isnan(expected)
    where = np.argwhere(differ)
    assert not where.size, (
        f"{what}: {len(where)} of {got.size} differ, first at {tuple(where[0])}: "
        f"{got[tuple(where[0])]!r}, but should be {expected[tuple(where[0])]!r}"
    )


def _equal(ours: object, true: object) -> bool:
    if isinstance(true, bool):
        return bool(ours) is true
    if isinstance(ours, np.floating):
        value: Real = exact(float(ours))
        return is_nan(value) if is_nan(true) else value == true  # type: ignore[arg-type]
    return int(ours) == true  # type: ignore[call-overload]


def _show(true: object) -> str:
    return repr(float(true)) if isinstance(true, Fraction) else repr(true)
