"""Float operators beside the official runtimes: within `bound`, or equal where there is none.

The calls are those of the conformance run with float32 in place of every quantized tensor.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest

from kernels import bounds, ops
from kernels.call import Call, Tensor, options
from kernels.profile import PATHS, Profile
from qcore.peers.child import Child, Items
from qcore.testing import models
from qcore.testing.cases import generators, make
from qcore.verify import bounds as bounds_of
from qcore.verify import compare

# Their generators have no float32 counterpart: integers by meaning, or versions without one.
WITHOUT = {"BITWISE_XOR", "RIGHT_SHIFT", "DEQUANTIZE", "QUANTIZE", "EMBEDDING_LOOKUP"}
SUMS = (
    "AVERAGE_POOL_2D", "BATCH_MATMUL", "CONV_2D", "CONV_3D", "CONV_3D_TRANSPOSE",
    "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "L2_POOL_2D", "MEAN", "SUM", "TRANSPOSE_CONV",
)  # fmt: skip


def form_of(operator: str) -> str | None:
    kept = operator.endswith(("LSTM", "RNN", "SVDF"))
    form = "hybrid" if kept else "int8"
    return form if (operator, form) in generators() and operator not in WITHOUT else None


def as_float(call: Call, random: np.random.Generator) -> Call:
    """The call on float32: real values, moved by up to half a step so that sums are not exact."""

    def convert(t: Tensor | None) -> Tensor | None:
        if t is None or not t.quantized:
            return t
        if t.data is None:
            return Tensor("float32", None, constant=t.constant, declared=t.shape)
        step = float(np.abs(t.scale).max())
        x = t.real() + random.uniform(-0.5, 0.5, t.shape) * step
        return Tensor("float32", np.asarray(x, np.float32), constant=t.constant)

    return call.on(
        inputs=tuple(map(convert, call.inputs)), outputs=tuple(map(convert, call.outputs)),
        intermediates=(), version=0,
    )  # fmt: skip


def runs(call: Call) -> bool:
    """Not what crashes: an LSTM that projects to more outputs than it has cells."""
    return call.name != "LSTM" or not call.has(16) or call[16].shape[0] <= call[16].shape[1]


def drawn(operator: str, form: str) -> list[Call]:
    random = np.random.default_rng(1)
    found = (as_float(make(operator, form, seed, 500), random) for seed in range(6))
    return [call for call in found if runs(call)]


def unary(operator: str, x: np.ndarray, *more: np.ndarray) -> Call:
    inputs = tuple(Tensor("float32", a) for a in (x, *more))
    return Call(operator, inputs, (Tensor("float32", declared=x.shape),), options())


def by_hand() -> Iterator[Call]:
    """Operators of floats only."""
    random = np.random.default_rng(2)
    normal = partial(random.normal, 0, 3)
    line = normal(size=3000).astype(np.float32)
    wide = np.exp(random.uniform(-60, 60, 3000)).astype(np.float32)
    for operator in ("SIN", "COS", "SQUARE", "FLOOR", "ROUND", "CEIL"):
        yield unary(operator, line)
    for operator in ("EXP", "LOGISTIC", "TANH", "ELU", "GELU"):
        yield unary(operator, np.concatenate([line, line * 9, 1 / wide]))
    for operator in ("LOG", "SQRT", "RSQRT"):
        yield unary(operator, wide)
    yield unary("ATAN2", line, line[::-1].copy())
    yield unary("POW", np.abs(line), line[::-1].copy())
    image = normal(size=(1, 9, 10, 5)).astype(np.float32)
    out = (Tensor("float32", declared=image.shape),)
    window = options(padding=0, stride_h=1, stride_w=1, filter_height=3, filter_width=3)
    yield Call("L2_POOL_2D", (Tensor("float32", image),), out, window)
    across = options(radius=2, bias=1.0, alpha=0.3, beta=0.6)
    yield Call("LOCAL_RESPONSE_NORMALIZATION", (Tensor("float32", image),), out, across)
    volume = normal(size=(1, 4, 5, 6, 7)).astype(np.float32)
    strides = options(
        padding=0, stride_d=1, stride_h=1, stride_w=1,
        dilation_d_factor=1, dilation_h_factor=1, dilation_w_factor=1,
    )  # fmt: skip
    taps = Tensor("float32", normal(size=(2, 3, 2, 7, 4)).astype(np.float32), constant=True)
    out = (Tensor("float32", declared=(1, 4, 5, 6, 4)),)
    yield Call("CONV_3D", (Tensor("float32", volume), taps), out, strides)
    taps = Tensor("float32", normal(size=(2, 3, 2, 4, 7)).astype(np.float32), constant=True)
    shape = Tensor("int32", np.array([1, 4, 5, 6, 4], np.int32), constant=True)
    yield Call("CONV_3D_TRANSPOSE", (shape, taps, Tensor("float32", volume)), out, strides)


def calls() -> dict[str, list[Call]]:
    found: dict[str, list[Call]] = {}
    for operator in sorted({operator for operator, _ in generators()}):
        form = form_of(operator)
        drawings = drawn(operator, form) if form else []
        if any(call.output.dtype == "float32" and not call.form for call in drawings):
            found[operator] = drawings
    for call in by_hand():
        found.setdefault(call.name, []).append(call)
    return found


CALLS = calls()


@pytest.fixture(scope="module", params=PATHS)
def asked(request: pytest.FixtureRequest) -> dict[str, list[tuple[Call, object]]]:
    """Every call with the answer of ai-edge-litert on one path, or its message."""
    pytest.importorskip("ai_edge_litert")
    profile = Profile(request.param, "litert")
    every = [call.on(profile=profile) for group in CALLS.values() for call in group]
    items = ((models.to_bytes(c), models.arrays(c), 1) for c in every)
    with Child("qcore.testing.worker:answer", what=str(profile), time_limit=120) as child:
        stream = child.stream(profile.runtime, profile.path, Items(), items=items, ahead=1)
        found: dict[str, list[tuple[Call, object]]] = {}
        for call, answer in zip(every, stream, strict=True):
            found.setdefault(call.name, []).append((call, answer))
    return found


def ours_and_theirs(
    answers: list[tuple[Call, object]],
) -> Iterator[tuple[np.ndarray, np.ndarray, object]]:
    """Ours, theirs and the bound, of every float output and state."""
    for call, answer in answers:
        if isinstance(answer, str):
            continue
        made = ops.compute(call)
        for a, b, bound in zip(made, answer[0], bounds_of(call, made), strict=True):
            if a.dtype.kind == "f":
                yield a, b, bound


@pytest.mark.parametrize("operator", CALLS)
def test_within_the_bound(operator: str, asked: dict[str, list[tuple[Call, object]]]):
    if all(isinstance(answer, str) for _, answer in asked[operator]):
        pytest.skip(f"no kernel on this path: {asked[operator][0][1]}")
    nearest = elements = 0.0
    for ours, theirs, bound in ours_and_theirs(asked[operator]):
        compared, wrong = compare(ours, theirs, bound)
        assert not wrong and not compared.differing, f"{wrong} {compared}"
        elements += compared.elements
        if bound is not None and ours.size:
            with np.errstate(invalid="ignore", divide="ignore"):
                off = np.abs(ours.astype(np.float64) - theirs) / bound
            nearest = max(nearest, float(np.nanmax(off)))
    assert elements > 0
    if operator in SUMS:
        assert nearest > 1 / 1000, "a bound that is never approached says nothing"


@pytest.mark.parametrize("operator", [o for o in CALLS if hasattr(ops.module(o), "bound")])
def test_a_wrong_value_is_beyond_the_bound(operator: str):
    seen = 0
    for call in CALLS[operator]:
        made = ops.compute(call)
        for array, bound in zip(made, bounds_of(call, made), strict=True):
            assert bound is not None
            size = float(np.abs(array[np.isfinite(array)]).max(initial=0.0))
            wrong = array.astype(np.float64) + 0.01 * size + 1
            seen += compare(wrong.astype(np.float32), array, bound)[0].differing
    assert seen > 0


def test_gamma_grows_with_the_terms():
    assert bounds.gamma(1) >= bounds.U
    assert bounds.gamma(2000) > 2000 * bounds.U
    assert bounds.gamma(2**24) == np.inf
