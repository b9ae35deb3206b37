"""What XNNPACK takes is known before there are values: by types, shapes, parameters, constants."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kernels import ops
from kernels.call import Call, Tensor, options
from kernels.errors import KernelError, RuntimeRefuses
from kernels.profile import PATHS, RUNTIMES, Profile
from qcore.testing.cases import generators, make

PROFILES = [Profile("xnnpack", runtime) for runtime in RUNTIMES]
SEEDS = range(8)


def empty(call: Call) -> Call:
    """The call before its first inference: inputs that are not constants have a shape only."""
    return call.on(
        inputs=tuple(
            t if t is None or t.constant else replace(t, data=None, declared=t.shape)
            for t in call.inputs
        )
    )


def resolved(call: Call) -> str:
    """The path that computes a call, or the refusal."""
    try:
        return ops.resolve(call).profile.path
    except RuntimeRefuses as error:
        return str(error)


@pytest.mark.parametrize("operator", sorted({operator for operator, _ in generators()}))
def test_values_do_not_matter(operator: str):
    forms = [form for name, form in generators() if name == operator]
    compared = 0
    for form in forms:
        for seed in SEEDS:
            for profile in PROFILES:
                call = make(operator, form, seed, 40).on(profile=profile)
                assert resolved(empty(call)) == resolved(call), f"{form}, seed {seed}, {profile}"
                compared += 1
    assert compared > 0


def test_a_function_that_looks_at_values_is_seen(monkeypatch: pytest.MonkeyPatch):
    call = make("ADD", "int8", 1, 40).on(profile=PROFILES[0])
    monkeypatch.setattr(ops.module("ADD"), "delegated", lambda call: call.x(0).size > 0)
    with pytest.raises(KernelError, match="no values"):
        resolved(empty(call))


def changed(call: Call, **fields: object) -> Call:
    """Other fields for every 8-bit activation of more than one axis."""

    def change(t: Tensor | None) -> Tensor | None:
        eight = t is not None and t.dtype in ("int8", "uint8") and not t.constant
        return replace(t, **fields) if eight and len(t.shape) > 1 else t

    return call.on(inputs=tuple(map(change, call.inputs)), outputs=tuple(map(change, call.outputs)))


def taken(operator: str) -> Call:
    """A call that XNNPACK takes, with an input of several axes."""
    for seed in range(200):
        call = make(operator, "int8", seed, 40).on(profile=PROFILES[0])
        if resolved(call) == "xnnpack" and len(call[0].shape) > 1 and len(call.output.shape) > 1:
            return call
    raise AssertionError(f"{operator}: XNNPACK took none of 200 calls")


EIGHT = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "LOGISTIC", "MEAN", "PAD", "RESHAPE")


@pytest.mark.parametrize("operator", EIGHT)
def test_another_quantized_dimension_is_not_taken(operator: str):
    assert resolved(changed(taken(operator), axis=1)) == PATHS[1]


@pytest.mark.parametrize("operator", ("CONV_2D", "LOGISTIC", "PAD", "RESHAPE", "MEAN"))
def test_a_subnormal_scale_stops_the_runtime(operator: str):
    tiny = changed(taken(operator), scale=np.array([1e-40], np.float32))
    assert "stops at scale" in resolved(tiny)


@pytest.mark.parametrize(
    ("operator", "scales", "taken"),
    [
        ("MUL", (0.01, 0.01, 1.0), True),  # 1e-4; as a sum neither ratio would do
        ("MUL", (0.001, 0.01, 1.0), False),  # below 2^-16
        ("MUL", (16.0, 16.0, 1.0), False),  # just 256
        ("ADD", (0.5, 2.0**-10, 1.0), True),
        ("ADD", (0.5, 2.0**-11, 1.0), False),
        ("SUB", (256.0, 1.0, 1.0), False),
    ],
)
def test_ratios_of_scales(operator, scales, taken):
    """XNNPACK takes products from 2^-16 to 256, sums with both ratios from 2^-10 to 256."""
    a, b, y = (
        Tensor("int8", scale=np.float32([s]), zero_point=np.int64([0]), declared=(2, 3))
        for s in scales
    )
    call = Call(operator, (a, b), (y,), options(), Profile("xnnpack", "litert"))
    assert ops.module(operator).delegated(call) is taken
