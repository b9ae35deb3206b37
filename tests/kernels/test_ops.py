"""Every operator: `reference` is the exact oracle's answer, `fast` is `reference`, bit for bit.

The calls are those of the conformance run (qcore/testing/cases), small for the oracle, and on
every path of both runtimes; `python -m qcore.testing.conformance` asks the runtimes themselves.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import ops
from kernels.call import Call, Tensor, options
from kernels.errors import KernelError
from kernels.profile import PATHS, RUNTIMES, Profile
from qcore.testing.cases import generators, make
from qcore.testing.conformance import follow, same
from tests.oracle.task import Operand, Task, oracles

FORMS = list(generators())
IDS = [f"{operator}-{form}" for operator, form in FORMS]
ORACLES = oracles()
PROFILES = [Profile(path, runtime) for path in PATHS for runtime in RUNTIMES]
seeds = st.integers(0, 2**32 - 1)
profiles = st.sampled_from(PROFILES)


def number(value: Any) -> Any:
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    value = float(value)
    return Fraction(value) if math.isfinite(value) else value


def operand(t: Tensor) -> Operand:
    plain = t.data is not None and t.data.dtype.kind in "biuf"
    return Operand(
        t.dtype,
        t.shape,
        [number(v) for v in t.data.ravel()] if plain else None,
        None if t.scale is None else [Fraction(float(s)) for s in t.scale.ravel()],
        [0] if t.zero_point is None else [int(z) for z in t.zero_point.ravel()],
        t.axis,
        t.constant,
    )


def task(call: Call) -> Task:
    call = ops.resolve(call)
    return Task(
        call.name,
        [None if t is None else operand(t) for t in call.inputs],
        [operand(t) for t in call.outputs],
        {k: number(v) if isinstance(v, (int, float)) else v for k, v in vars(call.options).items()},
        call.profile.path,
        call.profile.runtime,
        [operand(t) for t in call.intermediates],
    )


def differences(call: Call) -> list[str]:
    """Sentences about where `reference` is not what the oracle says."""
    ours = ops.compute(call, "reference")
    found = []
    for i, (array, (shape, values)) in enumerate(
        zip(ours, ORACLES[call.name](task(call)), strict=True)
    ):
        if array.shape != shape:
            found.append(f"output {i} has shape {array.shape}, should be {shape}")
            continue
        for j, (got, want) in enumerate(zip(array.ravel().tolist(), values, strict=True)):
            got = number(got)
            if got != want and not (got != got and want != want):
                found.append(f"output {i}[{j}] is {got}, should be {want}")
    return found


def attempt(call: Call, mode: str) -> Any:
    """The answer, or the name of the refusal: both ways to compute refuse alike."""
    try:
        return follow(call, 1, mode)
    except KernelError as error:
        return type(error).__name__


@pytest.mark.parametrize(("operator", "form"), FORMS, ids=IDS)
@given(seed=seeds, profile=profiles)
def test_reference_is_the_oracle(operator: str, form: str, seed: int, profile: Profile):
    call = make(operator, form, seed, 24).on(profile=profile)
    if isinstance(attempt(call, "reference"), str):
        return  # the runtime stops here: nothing to compute; counted by the conformance run
    wrong = differences(call)
    assert not wrong, f"make({operator!r}, {form!r}, {seed}, 24) on {profile}: {wrong[:3]}"


@pytest.mark.parametrize(("operator", "form"), FORMS, ids=IDS)
@given(seed=seeds, profile=profiles)
def test_fast_is_reference(operator: str, form: str, seed: int, profile: Profile):
    call = make(operator, form, seed, 400).on(profile=profile)
    want, got = attempt(call, "reference"), attempt(call, "fast")
    where = f"make({operator!r}, {form!r}, {seed}, 400) on {profile}"
    assert isinstance(want, str) == isinstance(got, str), f"{where}: {want} and {got}"
    if isinstance(want, str):
        assert want == got, where
        return
    for i, (a, b) in enumerate(zip(want, got, strict=True)):
        assert a.dtype == b.dtype and a.shape == b.shape, f"{where}: output {i}"
        assert same(a, b).all(), f"{where}: output {i} differs at {np.argwhere(~same(a, b))[0]}"


def floats(*values: Any) -> Tensor:
    return Tensor("float32", np.array(values, np.float32))


BY_HAND = {
    "ADD": (
        (floats(1.5, -4, 3), floats(2, 1, 4)), options(fused_activation_function=3),  # RELU6
        [3.5, 0, 6],
    ),
    "AVERAGE_POOL_2D": (
        (floats([[[1], [2], [4]], [[8], [16], [32]]]),),
        options(padding=0, stride_h=1, stride_w=1, filter_height=2, filter_width=2),  # SAME
        [[[[6.75], [13.5], [18]], [[12], [24], [32]]]],
    ),
    "FULLY_CONNECTED": (
        (floats([1, 2], [3, -4]), floats([0.5, 4], [-1, 8], [2, 0]), floats(1, 2, 0.25)),
        options(), [[9.5, 17, 2.25], [-13.5, -33, 6.25]],
    ),
}  # fmt: skip


@pytest.mark.parametrize("operator", BY_HAND)
def test_real_by_hand(operator: str):
    inputs, given, want = BY_HAND[operator]
    (got,) = ops.module(operator).real(
        Call(operator, inputs, (Tensor("float32", declared=np.shape(want)),), given)
    )
    assert got.dtype == np.float32 and got.tolist() == want


def test_every_generator_has_an_oracle():
    assert {operator for operator, _ in FORMS} <= set(ORACLES)


def test_a_wrong_integer_is_seen(monkeypatch: pytest.MonkeyPatch):
    call = make("FULLY_CONNECTED", "int8", 1, 24)
    assert differences(call) == []
    right = ops.module("FULLY_CONNECTED").reference

    def wrong(call: Call) -> tuple[np.ndarray, ...]:
        (y,) = right(call)
        y = y.copy()
        y.flat[0] ^= 1
        return (y,)

    monkeypatch.setattr(ops.module("FULLY_CONNECTED"), "reference", wrong)
    assert len(differences(call)) == 1
