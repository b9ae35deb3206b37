"""Operators without quantization, compiled: `real` bit for bit, in the order in which it sums.

The calls are those of the conformance run with float32 in place of every quantized tensor.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from kernels import libm, ops
from kernels.call import Call, Tensor
from kernels.errors import KernelError
from kernels.ops import _conv, _softmax
from kernels.profile import PATHS, RUNTIMES, Profile
from kernels.simd import target
from kernels.simd.program import Form, Plan, Program
from qcore.testing import models
from qcore.testing.cases import generators, make
from qcore.testing.conformance import same

FORMS = {
    "ADD": "int8", "SUB": "int8", "MUL": "int8", "RELU": "int8", "RELU6": "int8",
    "RELU_0_TO_1": "int8", "RELU_N1_TO_1": "int8", "MAX_POOL_2D": "int8",
    "AVERAGE_POOL_2D": "int8", "CONV_2D": "hybrid", "DEPTHWISE_CONV_2D": "hybrid",
    "FULLY_CONNECTED": "hybrid", "MEAN": "int8", "SOFTMAX": "int8",
}  # fmt: skip
# Any other operator that is lowered at all has to refuse, or be right.
OTHERS = {
    operator: form
    for operator, form in reversed(list(generators()))
    if operator not in FORMS and hasattr(ops.module(operator), "lower")
}
SUMS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
SEEDS = 16
SIZES = (40, 400, 3000)
TARGETS = target.available()
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # infinities are meant


def numbers(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """float32 of many magnitudes, and all that is not usual."""
    x = (rng.normal(0, 1, shape) * 2.0 ** rng.integers(-12, 12, shape)).astype(np.float32)
    special = np.array([np.inf, -np.inf, np.nan, -0.0, 1e-42, 3e38, 6.0, 1.0], np.float32)
    return np.where(rng.random(shape) < 0.02, rng.choice(special, shape), x)


def floating(call: Call, rng: np.random.Generator) -> Call:
    """The call with float32 in place of quantized tensors; constants have finite values."""
    inputs = []
    for t in call.inputs:
        if t is None or not (t.quantized or t.dtype == "float32"):
            inputs.append(t)
            continue
        x = numbers(rng, t.shape)
        if t.constant:
            x = np.where(np.isfinite(x), x, np.float32(2))
        inputs.append(Tensor("float32", x, constant=t.constant))
    outputs = tuple(Tensor("float32", declared=t.declared) for t in call.outputs)
    return call.on(inputs=tuple(inputs), outputs=outputs)


def calls(operator: str) -> Iterator[tuple[Call, np.ndarray]]:
    """Calls without quantization, with what should come out."""
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        for path in PATHS:
            profile = Profile(path, list(RUNTIMES)[seed % 2])
            form = (FORMS | OTHERS)[operator]
            call = make(operator, form, seed, SIZES[seed % 3]).on(profile=profile)
            if len(call.outputs) > 1:
                continue  # they move what they have: test_lower.py
            try:
                call = floating(call, rng)
                (want,) = ops.compute(call)
            except KernelError:
                continue
            if not call.form:
                yield call, want


def planned(call: Call, want: np.ndarray) -> Program:
    """The call's program; inputs that are no constants come at run time."""
    fed = models.fed(call)
    inputs = tuple(
        replace(t, data=None, declared=t.shape) if t is not None and p in fed else t
        for p, t in enumerate(call.inputs)
    )
    blind, plan, number = call.on(inputs=inputs), Plan(), len(inputs)
    for position in fed:
        plan.input(position, Form(call.x(position).shape, call.x(position).dtype))
    known = [p if p in fed else None for p in range(number)]
    to = plan.operator(blind, known, [number], [Form(want.shape, want.dtype)])
    ops.module(call.name).lower(blind, to)  # type: ignore[union-attr]
    to.done()
    return plan.finish(fed, [number])


def result(call: Call, program: Program, threads: int = 1) -> np.ndarray:
    return program.run(1, models.arrays(call), threads)[0][0]


@pytest.mark.parametrize("operator", FORMS | OTHERS)
@pytest.mark.parametrize("name", TARGETS)
def test_the_program_is_real(name: str, operator: str):
    compared = 0
    with target.use(name):
        for call, want in calls(operator):
            try:
                program = planned(call, want)
            except KernelError:
                continue
            for threads in (1, 2):
                got = result(call, program, threads)
                wrong = np.argwhere(~same(got, want))
                assert not len(wrong), (call, got[tuple(wrong[0])], want[tuple(wrong[0])])
            compared += want.size
    assert compared or operator in OTHERS


def cancelling(call: Call, rng: np.random.Generator) -> Call:
    """Large weights and their opposites beside small ones, in any order, on one value."""
    w = rng.normal(0, 1, call[1].shape).astype(np.float32)
    axis = 3 if call.name == "DEPTHWISE_CONV_2D" else 0
    rows = np.moveaxis(w, axis, 0).reshape(w.shape[axis], -1)
    third = rows.shape[1] // 3
    rows[:, :third] *= np.float32(2.0**40)
    rows[:, third : 2 * third] = -rows[:, :third]
    rows = rng.permuted(rows, axis=1)
    w = np.moveaxis(rows.reshape(np.moveaxis(w, axis, 0).shape), 0, axis)
    x = np.full(call[0].shape, np.float32(1.37))
    given = Tensor("float32", x), Tensor("float32", np.ascontiguousarray(w), constant=True)
    return call.on(inputs=(*given, *call.inputs[2:]))


@pytest.mark.parametrize("operator", SUMS)
def test_sums_are_in_order(operator: str):
    """Of these calls another order of the channels has other sums."""
    compared = turned = 0
    for call, _ in calls(operator):
        call = cancelling(call, np.random.default_rng(call[1].shape[0]))
        try:
            (want,) = ops.compute(call)
            program = planned(call, want)
        except KernelError:
            continue
        assert (result(call, program) == want).all()
        compared += want.size
        if operator != "DEPTHWISE_CONV_2D":  # whose sums are of taps, and at a border of fewer
            back = replace(call[1], data=np.ascontiguousarray(call[1].x[..., ::-1]))
            (other,) = ops.compute(call.on(inputs=(call[0], back, *call.inputs[2:])))
            turned += int((other != want).sum())
    assert compared
    assert turned or operator == "DEPTHWISE_CONV_2D"


def test_exponentials(rng: np.random.Generator):
    """Rounded once from a remainder below 2^-46: no further than the next float32."""
    x = np.concatenate([rng.uniform(-110, 95, 5000), [0, -np.inf, np.inf, -300, 300, -103.9]])
    x = x.astype(np.float32)
    found, exact = _softmax.exponential(x), libm.exp64(x)
    nearest = exact.astype(np.float32)
    next_to = (np.nextafter(nearest, np.float32(v)) for v in (-np.inf, np.inf))
    assert np.any([found == v for v in (nearest, *next_to)], axis=0).all()
    assert np.isnan(_softmax.exponential(np.array([np.nan], np.float32))).all()


def test_long_filters_are_numpy_s(rng: np.random.Generator):
    for count, lowered in ((_conv.SHORT, True), (_conv.SHORT + 1, False)):
        x, w = (Tensor("float32", numbers(rng, (n, 1))) for n in (2, count))
        w = replace(w, data=np.nan_to_num(w.x), constant=True)
        call = Call("FULLY_CONNECTED", (x, w), (Tensor("float32"),))
        (want,) = ops.compute(call)
        if lowered:
            assert same(result(call, planned(call, want)), want).all()
        else:
            with pytest.raises(KernelError, match="NumPy"):
                planned(call, want)


def test_a_wrong_activation_is_seen(monkeypatch: pytest.MonkeyPatch):
    from kernels.simd import floats

    right = floats.clamp
    monkeypatch.setattr(floats, "clamp", lambda to, low, high: right(to, low, high + 1.0))
    with pytest.raises(AssertionError):
        test_the_program_is_real(TARGETS[0], "RELU6")
