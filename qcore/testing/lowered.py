"""One operator's call as a compiled program of its own, as a whole model's program computes it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from kernels import ops
from kernels.call import Call
from kernels.simd import build
from kernels.simd.program import Form, NotLowered, Plan, Program, Step
from qcore.testing import models

TOGETHER = 96  # kernels of one compilation: its children have a time limit


def plan(call: Call, outputs: Sequence[np.ndarray]) -> Plan:
    """The plan for the target in use; inputs are known at run time unless they are constants.

    outputs: arrays of the outputs' shapes and types. Raises KernelError where a program would
    compute the call in Python.
    """
    fed = models.fed(call)
    if models.states(call) or not fed:
        raise NotLowered("it keeps a state or has only constants")
    made = Plan()
    for position in fed:
        made.input(position, Form(call.x(position).shape, call.x(position).dtype))
    unknown = [
        replace(t, data=None, declared=t.shape) if p in fed and t is not None else t
        for p, t in enumerate(call.inputs)
    ]
    blind = call.on(inputs=tuple(unknown))
    if call.form:  # what is not quantized is `real` on every path
        blind = ops.resolve(blind)
        assert blind.profile == ops.resolve(call).profile, "who computes it depends on the values"
    module = ops.module(call.name)
    if module is None or not hasattr(module, "lower"):
        raise NotLowered(f"{call.name} has no compiled form")
    numbers = [p if p in fed else None for p in range(len(call.inputs))]
    to = made.operator(
        blind, numbers, _numbers(call), [Form(y.shape, y.dtype) for y in outputs]
    )  # fmt: skip
    module.lower(blind, to)
    to.done()
    return made


def compile_all(plans: Iterable[Plan]) -> None:
    """The kernels of many plans for the target in use: far fewer children than one plan at a time.

    Raises CompilerFailed.
    """
    names = sorted({s.kernel for plan in plans for s in plan.steps if isinstance(s, Step)})
    for i in range(0, len(names), TOGETHER):
        build.addresses(names[i : i + TOGETHER])


def finish(call: Call, plan: Plan) -> Program:
    """The program of the call's plan; its target has to be in use. Raises CompilerFailed."""
    return plan.finish(models.fed(call), _numbers(call))


def run(call: Call, program: Program, threads: int = 1) -> list[np.ndarray]:
    """The outputs for the call's own inputs."""
    return [y[0] for y in program.run(1, models.arrays(call), threads)]


def _numbers(call: Call) -> range:
    return range(len(call.inputs), len(call.inputs) + len(call.outputs))
