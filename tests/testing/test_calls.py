"""Strategies of calls, their models and profiles: what they promise, and that a breach is seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, find, given, settings

import tflite_schema as ts
from kernels import ops
from kernels.call import Call, Tensor
from kernels.errors import KernelError
from kernels.profile import PATHS, RUNTIMES, Profile
from qcore.errors import BadInput
from qcore.testing import models
from qcore.testing import strategies as qs
from qcore.testing.cases import generators

ANY = [HealthCheck.too_slow, HealthCheck.data_too_large]
SEARCH = settings(max_examples=50, derandomize=True, database=None, suppress_health_check=ANY)


def whole(call: Call) -> None:
    """Every operand is there as it is said to be, and the call can be computed or is refused."""
    assert ops.find(call.name) is not None and call.outputs
    for tensor in (*call.inputs, *call.outputs, *call.intermediates):
        if tensor is None:
            continue
        assert isinstance(tensor, Tensor)
        if tensor.scale is not None:
            assert tensor.scale.dtype == np.float32 and (tensor.scale > 0).all()
            assert np.isfinite(tensor.scale).all()
            assert np.size(tensor.zero_point) in (1, tensor.scale.size)
        if tensor.data is not None:
            assert tensor.data.dtype == tensor.held and tensor.shape == tensor.data.shape
    assert all(t is None or t.data is not None for t in call.inputs)
    try:
        found = ops.compute(call, "reference")
    except KernelError:
        return
    assert len(found) == len(call.outputs) + len(models.states(call))


def file_of(data: bytes, arrays: list) -> None:
    """One operator, and an array for each input, of its type and shape."""
    (graph,) = ts.read(data).subgraphs
    assert len(graph.operators) == 1 and len(graph.inputs) == len(arrays)
    for tensor, array in zip(graph.inputs, arrays):
        assert tuple(graph.tensors[tensor].shape or ()) == array.shape


@settings(max_examples=150, suppress_health_check=ANY)
@given(qs.calls(size=24))
def test_calls_are_whole(call):
    whole(call)


@settings(max_examples=60, suppress_health_check=ANY)
@given(qs.single_operator_models(size=24))
def test_models_are_one_operator_with_its_inputs(made):
    file_of(*made)


@pytest.mark.parametrize(("operator", "form"), [("ADD", "int8"), ("CONV_2D", "hybrid")])
def test_what_is_asked_for_is_drawn(operator, form):
    @settings(max_examples=20, suppress_health_check=ANY)
    @given(qs.calls(operator, form, size=12))
    def holds(call: Call) -> None:
        assert call.name == operator and call.form == form

    holds()


def test_a_call_that_is_not_whole_is_seen():
    call = find(qs.calls("ADD", "int8", size=4), lambda c: True, settings=SEARCH)
    x = call.inputs[0]
    wrong = [
        replace(x, data=x.data.astype(np.int16)),
        replace(x, data=None),
        replace(x, scale=np.zeros(1, np.float32)),
        replace(x, scale=np.full(1, np.inf, np.float32)),
        replace(x, zero_point=np.zeros(3, np.int64)),
    ]
    whole(call)
    for tensor in wrong:
        with pytest.raises(AssertionError):
            whole(call.on(inputs=(tensor, *call.inputs[1:])))
    data, arrays = models.to_bytes(call), models.arrays(call)
    file_of(data, arrays)
    for other in (arrays[:-1], [a[None] for a in arrays]):
        with pytest.raises(AssertionError):
            file_of(data, other)


def test_every_operator_and_form_is_listed():
    listed = [(name, form) for name in qs.operators() for form in qs.forms(name)]
    assert sorted(listed) == sorted(generators()) and len(set(listed)) == len(listed) > 400
    with pytest.raises(BadInput, match="there are no calls of ADD as int3"):
        qs.calls("ADD", "int3")


def test_profiles_are_those_named():
    seen: set[Profile] = set()

    @settings(max_examples=80)
    @given(qs.profiles("reference", "xnnpack"))
    def look(profile: Profile) -> None:
        seen.add(profile)

    look()
    assert seen == {Profile(p, r) for p in ("reference", "xnnpack") for r in RUNTIMES}
    every = {find(qs.profiles(), lambda p, w=path: p.path == w).path for path in PATHS}
    assert every == set(PATHS)


def test_the_smallest_call_is_small():
    call = find(qs.calls("ADD", "int8"), lambda c: True, settings=SEARCH)
    assert [t.data.size for t in call.inputs] == [1, 1]
    call = find(qs.calls("ADD", "int8"), lambda c: c.x(0).size > 5, settings=SEARCH)
    assert call.x(0).size == 6 and np.count_nonzero(call.x(0)) == 0
