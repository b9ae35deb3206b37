"""Every operator with `lower`: the compiled program of one operator is `reference`, bit for bit.

The calls are those of the conformance run; each on every target that the machine has, every path of
both runtimes, by one thread and by a team of two. What `lower` refuses runs in Python and is not
looked at here, but every operator has to lower something.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from kernels import ops
from kernels.call import Call
from kernels.errors import KernelError
from kernels.profile import PATHS, RUNTIMES, Profile
from kernels.simd import build, target
from kernels.simd.program import Form, Plan, Program
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


def planned(call: Call, want: tuple[np.ndarray, ...]) -> Plan:
    """The plan of one operator whose inputs are known at run time unless they are constants.

    Raises KernelError where it is not lowered.
    """
    plan = Plan()
    numbers: list[int | None] = []
    for position, t in enumerate(call.inputs):
        given = t is not None and not t.constant
        numbers.append(position if given else None)
        if given:
            plan.input(position, Form(t.x.shape, t.x.dtype))
    unknown = tuple(
        t if number is None else replace(t, data=None, declared=t.shape)
        for t, number in zip(call.inputs, numbers)
    )
    outputs = range(len(numbers), len(numbers) + len(want))
    blind = ops.resolve(call.on(inputs=unknown))
    assert blind.profile == ops.resolve(call).profile, "who computes it depends on the values"
    to = plan.operator(blind, numbers, outputs, [Form(y.shape, y.dtype) for y in want])
    ops.module(call.name).lower(blind, to)
    to.done()
    return plan


def finished(call: Call, plan: Plan, count: int) -> Program:
    fed = [p for p, t in enumerate(call.inputs) if t is not None and not t.constant]
    first = len(call.inputs)
    return plan.finish(fed, range(first, first + count))


@cache
def lowered(name: str, operator: str) -> tuple[tuple[str, Call, Plan, tuple[np.ndarray, ...]], ...]:
    """Calls of an operator that are lowered for a target, their plans, and what should come out."""
    found = []
    with target.use(name):
        for seeds in (range(SEEDS), range(SEEDS, MORE_SEEDS)):
            for words, call in calls(operator, seeds):
                try:
                    want = ops.compute(call, "reference")
                    plan = planned(call, want)
                except KernelError:
                    continue
                if any(t is not None and not t.constant for t in call.inputs):
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
            build.addresses(sorted({step.kernel for plan in plans for step in plan.steps}))


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("name", target.available())
def test_the_program_is_the_reference(name: str, operator: str):
    found = lowered(name, operator)
    paths = Counter(call.profile.path for _, call, _, _ in found)
    for words, call, plan, want in found:
        with target.use(name):
            program = finished(call, plan, len(want))
        arrays = [t.x for t in call.inputs if t is not None and not t.constant]
        for threads in (1, 2):
            for i, (got, y) in enumerate(zip(program.run(1, arrays, threads=threads), want)):
                wrong = np.argwhere(~same(got[0], y))
                assert not len(wrong), (
                    f"{words}, {threads} threads, output {i}: {len(wrong)} of {y.size} "
                    f"differ, first at {wrong[0]}: {got[0][tuple(wrong[0])]}, should be "
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
