"""check_operator: silent about our own kernels, and a small case for each kind of wrong one."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import strategies as st

from kernels import ops
from kernels.errors import KernelError
from kernels.rounding import half_away
from qcore.errors import BadInput
from qcore.testing.checks import search
from qcore.testing.checks.failure import CheckFailed
from qcore.testing.checks.operator import check_operator
from tests.testing.test_failure import pasted


def ours(call):
    return ops.compute(call, "fast")


def quantize(rounding):
    """A user's QUANTIZE of float32 to int8, with a rounding to choose."""

    def kernel(call):
        y = call.output
        with np.errstate(over="ignore"):
            steps = call.x(0) / y.s
        if not (np.abs(steps) < 2**31).all():
            raise NotImplementedError  # NaN and what leaves int32
        return np.clip(rounding(steps) + y.z, -128, 127).astype(np.int8)

    return kernel


def spoiled(change):
    """Our kernel, its first output changed."""

    def kernel(call):
        y, *rest = ours(call)
        return (change(y.copy()), *rest)

    return kernel


def one_off(y):
    y.flat[-1] ^= 1
    return y


def raising(call):
    return 1 // (call.x(0).size - call.x(0).size)


@pytest.mark.parametrize("profile", ["reference", "optimized", "xnnpack"])
@pytest.mark.parametrize("op", ["MINIMUM", "SVDF", "SPLIT"])
def test_ours_pass(op, profile, depth, tmp_path):
    done = check_operator(ours, op, profile, examples=8 * depth, folder=tmp_path)
    assert set(done.forms) and all(done.forms.values()) and done.examples > 8 * depth
    assert done.compared == sum(done.forms.values()) > done.examples and not done.skipped
    assert list(tmp_path.iterdir()) == []
    assert f"{done.compared:,} outputs equal" in str(done)


def test_a_user_s_right_kernel_passes():
    done = check_operator(quantize(half_away), "QUANTIZE", form="float32 to int8")
    assert done.forms.keys() == {"float32 to int8"} and done.compared > 1000
    assert done.skipped > 0 and done.examples + done.skipped == 200


def test_half_up_is_found_with_one_value(tmp_path):
    began = time.monotonic()
    with pytest.raises(CheckFailed) as caught:
        check_operator(
            quantize(lambda x: np.floor(x + np.float32(0.5))), "QUANTIZE", form="float32 to int8",
            folder=tmp_path,
        )  # fmt: skip
    assert time.monotonic() - began < 60
    call = caught.value.call
    assert call is not None and call.x(0).size == 1
    steps = float(call.x(0).item()) / float(call.output.s)
    assert steps < 0 and steps % 1 == 0.5  # the tie that the two roundings treat differently
    again = pasted(caught.value.python)
    (want,) = ops.compute(again, "reference")
    assert quantize(half_away)(again) == want != quantize(lambda x: np.floor(x + 0.5))(again)
    assert caught.value.folder is not None and (caught.value.folder / "model.tflite").is_file()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (one_off, "should be"),
        (lambda y: np.clip(y, -127, 127), "is -127, should be -128"),
        (lambda y: y.reshape(-1, 1, 1, 1, 1, 1, 1), "has shape"),
        (lambda y: y.astype(np.int16), "is int16, should be int8"),
        (lambda y: y.astype(np.float32), "is float32, should be int8"),
    ],
)
def test_wrong_kernels_are_found(change, says, tmp_path):
    with pytest.raises(CheckFailed, match=says) as caught:
        check_operator(spoiled(change), "RELU", form="int8", folder=tmp_path)
    assert caught.value.call is not None
    assert ours(caught.value.call)[0].size <= 4


@pytest.mark.parametrize(
    ("kernel", "says"),
    [
        (raising, "raised ZeroDivisionError"),
        (lambda call: ours(call) * 2, "2 outputs, should be 1"),
        (lambda call: (), "0 outputs, should be 1"),
    ],
)
def test_kernels_that_give_no_output_are_found(kernel, says, tmp_path):
    with pytest.raises(CheckFailed, match=says):
        check_operator(kernel, "RELU", form="int8", folder=tmp_path)


def test_only_large_cases_fail(tmp_path):
    """What shows beyond a size is found by the later rounds, and made as small as it can be."""
    with pytest.raises(CheckFailed) as caught:
        check_operator(
            spoiled(lambda y: one_off(y) if y.size > 20 else y),
            "RELU",
            form="int8",
            folder=tmp_path,
        )
    assert 20 < ours(caught.value.call)[0].size < 64


def test_a_kernel_that_writes_to_its_input_harms_nothing():
    def kernel(call):
        (y,) = ours(call)
        call.x(0)[...] = 0
        return y

    assert check_operator(kernel, "RELU", form="int8", examples=20).compared


def test_an_answer_that_changes_is_said_to(tmp_path):
    count = iter(range(10**6))

    def kernel(call):
        return one_off(ours(call)[0].copy()) if next(count) == 30 else ours(call)

    with pytest.raises(CheckFailed, match="the answer changes between calls"):
        check_operator(kernel, "RELU", form="int8", folder=tmp_path)


def test_states_may_be_left_out():
    assert check_operator(lambda c: ours(c)[:1], "SVDF", form="int8", examples=20).compared


def test_nothing_compared_is_a_failure():
    def none(call):
        raise NotImplementedError

    with pytest.raises(CheckFailed, match=r"nothing was compared .* 20 skipped"):
        check_operator(none, "RELU", form="int8", examples=20)


def test_what_ours_refuses_is_counted(monkeypatch):
    def refuse(call):
        raise KernelError("no")

    monkeypatch.setattr(ops.module("RELU"), "reference", refuse)
    with pytest.raises(CheckFailed, match="20 calls refused"):
        check_operator(lambda call: 1 / 0, "RELU", form="int8", examples=20)


def test_names_that_are_not_known():
    for wrong in (
        {"op": "NOPE"}, {"op": "ADD", "form": "int3"}, {"op": "ADD", "profile": "fastest"},
    ):  # fmt: skip
        with pytest.raises(BadInput):
            check_operator(ours, **wrong)


def test_the_same_seed_tries_the_same_calls():
    def tried(seed):
        found = []
        check_operator(
            lambda c: found.append(c.x(0).tobytes()) or ours(c), "ADD", form="int8", examples=12,
            seed=seed,
        )  # fmt: skip
        return found

    assert tried(1) == tried(1) != tried(2)
    assert tried(None) != tried(None)


def test_sizes_go_up_and_add_up():
    assert search.shares(200) == [(1, 50), (4, 50), (16, 50), (64, 50)]
    assert search.shares(14) == [(1, 4), (4, 4), (16, 3), (64, 3)]
    assert search.shares(3) == [(16, 3)] and search.shares(5, [7]) == [(7, 5)]


def test_shrinking_ends_in_time(monkeypatch):
    monkeypatch.setattr(search, "SHRINKING", 0.2)

    def test(values):
        time.sleep(0.02)
        if len(values) > 3:
            raise search.Found("long", values)

    began = time.monotonic()
    found = search.search(lambda size: st.lists(st.integers(), max_size=size), test, 200, 0, [200])
    assert found is not None and len(found.more[0]) > 3
    assert time.monotonic() - began < 20


def test_what_is_no_finding_is_not_swallowed():
    def test(value):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        search.search(lambda size: st.integers(), test, 5)


def test_examples_do_not_depend_on_what_is_imported(monkeypatch):
    """Hypothesis would draw the numbers of loaded modules as well."""
    from hypothesis.internal.conjecture import providers
    from sortedcontainers import SortedList

    def tried():
        found = []
        search.search(lambda size: st.integers(), found.append, 200, seed=5, sizes=[1])
        return found

    class Odd:
        """Constants of somebody's module."""

        def set_for_type(self, kind):
            return {123456789} if kind == "integer" else SortedList()

    before = tried()
    monkeypatch.setattr(providers, "_get_local_constants", lambda: Odd())
    providers.CONSTANTS_CACHE.cache.clear()
    assert tried() == before and 123456789 not in before
