"""Every operator with `lower`: the compiled program of one operator is `reference`, bit for bit.

The calls are those of the conformance run; each on every target that the machine has, every path of
both runtimes, by one thread and by a team of two. What `lower` refuses runs in Python and is not
looked at here, but every operator has to lower something.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest

from kernels import ops
from kernels.call import Call
from kernels.errors import KernelError
from kernels.profile import PATHS, RUNTIMES, Profile
from kernels.simd import target
from kernels.simd.program import Plan
from qcore.testing import lowered as single
from qcore.testing.cases import generators, make
from qcore.testing.conformance import same

SEEDS = 6
MORE_SEEDS = 60  # for an operator that lowers none of the first
SIZES = (30, 400, 3000)
FORMS = tuple(key for key in generators() if hasattr(ops.module(key[0]), "lower"))
OPERATORS = tuple(dict.fromkeys(operator for operator, _ in FORMS))
PROFILES = tuple(Profile(path, runtime) for path in PATHS for runtime in RUNTIMES)


def calls(operator: str, seeds: range = range(SEEDS)) -> Iterator[tuple[str, Call]]:
    """Calls of an operator on all profiles, with the words that make them again."""
    for form in (form for name, form in FORMS if name == operator):
        for seed in seeds:
            size = SIZES[seed % len(SIZES)]
            for profile in PROFILES[seed % 2 :: 2]:
                call = make(operator, form, seed, size).on(profile=profile)
                yield f"make({operator!r}, {form!r}, {seed}, {size}) on {profile}", call


@cache
def lowered(name: str, operator: str) -> tuple[tuple[str, Call, Plan, tuple[np.ndarray, ...]], ...]:
    """Calls of an operator that are lowered for a target, their plans, and what should come out."""
    found = []
    with target.use(name):
        for seeds in (range(SEEDS), range(SEEDS, MORE_SEEDS)):
            for words, call in calls(operator, seeds):
                try:
                    want = ops.compute(call, "reference")
                    plan = single.plan(call, want)
                except KernelError:
                    continue
                found.append((words, call, plan, want))
            if found:
                break
    return tuple(found)


@pytest.fixture(scope="session", autouse=True)
def compiled() -> None:
    """All kernels compiled at once, which takes far fewer children than one at a time."""
    for name in target.available():
        plans = [plan for op in OPERATORS for _, _, plan, _ in lowered(name, op)]
        with target.use(name):
            single.compile_all(plans)


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("name", target.available())
def test_the_program_is_the_reference(name: str, operator: str):
    found = lowered(name, operator)
    paths = Counter(call.profile.path for _, call, _, _ in found)
    for words, call, plan, want in found:
        with target.use(name):
            program = single.finish(call, plan)
        for threads in (1, 2):
            for i, (got, y) in enumerate(zip(single.run(call, program, threads), want)):
                wrong = np.argwhere(~same(got, y))
                assert not len(wrong), (
                    f"{words}, {threads} threads, output {i}: {len(wrong)} of {y.size} "
                    f"differ, first at {wrong[0]}: {got[tuple(wrong[0])]}, should be "
                    f"{y[tuple(wrong[0])]}"
                )
    assert paths, f"{operator}: nothing was lowered"


def test_a_wrong_integer_is_seen(monkeypatch: pytest.MonkeyPatch):
    from kernels.simd import operands

    right = operands.look_up

    def wrong(to, table, *rest):
        right(to, table ^ 1, *rest)

    monkeypatch.setattr(operands, "look_up", wrong)
    lowered.cache_clear()
    with pytest.raises(AssertionError, match="differ"):
        test_the_program_is_the_reference(target.available()[0], "LOGISTIC")
    lowered.cache_clear()
