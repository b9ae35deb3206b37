"""Columns times rows is the operator, however it is strided, padded, grouped or cut into blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcore.graph import Graph
from qcore.params import TensorKey
from qcore.testing.build import Builder
from qcore.tune import linear as module
from qcore.tune.linear import Linear
from qcore.tune.operators import linear, linears
from tests.tune import direct

PADDING = {"SAME": 0, "VALID": 1}


@st.composite
def windows(draw: st.DrawFn) -> tuple[str, np.ndarray, np.ndarray, dict[str, Any]]:
    """A convolution on integers: (operator, input, weights, padding, stride and dilation)."""
    small = st.integers(1, 3)
    name = draw(st.sampled_from(("CONV_2D", "DEPTHWISE_CONV_2D")))
    kernel, groups, units, depth = (draw(small), draw(small)), draw(small), draw(small), draw(small)
    shape = (groups * units, *kernel, depth)
    if name == "DEPTHWISE_CONV_2D":
        depth, shape = 1, (1, *kernel, groups * units)
    image = (draw(st.integers(1, 2)), draw(st.integers(1, 7)), draw(st.integers(1, 7)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = rng.integers(-9, 10, (*image, groups * depth)).astype(np.float32)
    window = {
        "padding": draw(st.sampled_from(("SAME", "VALID"))),
        "stride": (draw(small), draw(small)),
        "dilation": (draw(st.integers(1, 2)), draw(st.integers(1, 2))),
    }
    return name, x, rng.integers(-9, 10, shape).astype(np.float32), window


def of(name: str, x: np.ndarray, w: np.ndarray, window: dict[str, Any]) -> Linear:
    """The operator as it is found in a graph."""
    b = Builder()
    (sh, sw), (dh, dw) = window["stride"], window["dilation"]
    fields = {"padding": window["padding"], "stride_h": sh, "stride_w": sw}
    fields |= {"dilation_h_factor": dh, "dilation_w_factor": dw}
    b.op(name, [b.input(x.shape, "x"), b.const(w, "w"), None], (1, 1, 1, 1), names=["y"], **fields)
    found = linear(Graph(b.model([2])), 0)
    assert found is not None
    return found


def test_convolutions(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {"positions": 0, "none": 0, "grouped": 0, "cut": 0}

    @given(windows())
    @settings(max_examples=120)
    def equal(case: tuple[str, np.ndarray, np.ndarray, dict[str, Any]]) -> None:
        name, x, w, window = case
        found = of(name, x, w, window)
        want = direct.linear(name, x, w, **window)
        rows = found.rows(w)
        assert rows.shape == (found.groups, found.units // found.groups, found.size)
        assert (found.weights(rows) == w).all() and found.weights(rows).shape == w.shape
        blocks = list(found.columns(x))
        if not want.size:
            assert not blocks
            seen["none"] += 1
            return
        (columns,) = blocks
        made = np.einsum("gnk,grk->ngr", columns, rows).reshape(want.shape)
        assert columns.dtype == np.float32 and (made == want).all()
        seen["positions"] += columns.shape[1]
        seen["grouped"] += found.groups > 1 and name == "CONV_2D"
        with monkeypatch.context() as patch:
            patch.setattr(module, "_BLOCK", 1)
            parts = list(found.columns(x))
        seen["cut"] += len(parts) > 1
        assert len(parts) in (1, want.shape[1])
        whole = np.concatenate(parts, 1)
        if len(x) == 1:
            assert (whole == columns).all()
        assert (whole.sum(1) == columns.sum(1)).all()
        assert (np.einsum("gnk,gnl->gkl", whole, whole) ==
                np.einsum("gnk,gnl->gkl", columns, columns)).all()  # fmt: skip

    equal()
    assert seen["positions"] > 500 and min(seen.values()) > 5, seen


@given(st.integers(0, 3), st.integers(1, 4), st.integers(1, 5), st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_fully_connected(rank: int, units: int, size: int, seed: int) -> None:
    """Inputs of any rank are rows of as many values as the weights have."""
    rng = np.random.default_rng(seed)
    x = rng.integers(-9, 10, (*rng.integers(1, 4, rank), 2 * size)).astype(np.float32)
    w = rng.integers(-9, 10, (units, size)).astype(np.float32)
    found = Linear(TensorKey(0, 2), TensorKey(0, 0), "FULLY_CONNECTED", w.shape, size)
    (columns,) = found.columns(x)
    made = columns[0] @ found.rows(w)[0].T
    assert (made == direct.linear("FULLY_CONNECTED", x, w)).all() and columns.shape[1] >= 2
    assert (found.weights(found.rows(w)) == w).all()
    assert size == 1 or not list(found.columns(np.zeros(2 * size + 1, np.float32)))


def test_a_wrong_window_is_noticed() -> None:
    """The comparison can fail."""
    rng = np.random.default_rng(0)
    x = rng.integers(1, 9, (1, 5, 5, 2)).astype(np.float32)
    w = rng.integers(1, 9, (3, 3, 3, 2)).astype(np.float32)
    right = {"padding": "SAME", "stride": (2, 2), "dilation": (1, 1)}
    want = direct.linear("CONV_2D", x, w, **right)
    for wrong in ({"dilation": (2, 1)}, {"stride": (2, 1)}, {"padding": "VALID"}):
        found = of("CONV_2D", x, w, right | wrong)
        (columns,) = found.columns(x)
        made = np.einsum("gnk,grk->ngr", columns, found.rows(w))
        assert made.size != want.size or (made.reshape(want.shape) != want).any()


def test_inputs_that_do_not_fit_have_no_columns() -> None:
    found = of(
        "CONV_2D", np.zeros((1, 4, 4, 2), np.float32), np.zeros((3, 2, 2, 2), np.float32),
        {"padding": "SAME", "stride": (1, 1), "dilation": (1, 1)},
    )  # fmt: skip
    assert len(list(found.columns(np.zeros((1, 4, 4, 2), np.float32)))) == 1
    for shape in ((1, 4, 4, 4), (4, 4, 2), (1, 1, 4, 4, 2)):
        assert not list(found.columns(np.zeros(shape, np.float32)))
    still = of(
        "CONV_2D", np.zeros((1, 4, 4, 2), np.float32), np.zeros((3, 2, 2, 2), np.float32),
        {"padding": "SAME", "stride": (0, 1), "dilation": (1, 1)},
    )  # fmt: skip
    assert not list(still.columns(np.zeros((1, 4, 4, 2), np.float32)))


def test_which_operators_are_linear() -> None:
    """Weights from the file, plain or unpacked by an operator; an input that is computed."""
    b = Builder()
    x, w = b.input((2, 4), "x"), b.const(np.ones((3, 4), np.float32), "w")
    half = b.const(np.ones((3, 4), np.float16), "half")
    unpacked = b.op("DEQUANTIZE", [half], (3, 4))
    computed = b.op("ABS", [w], (3, 4))
    table = b.const(np.ones((2, 4), np.float32), "table")
    for operands in ([x, w, None], [x, unpacked], [x, computed, None], [table, w, None], [x]):
        b.op("FULLY_CONNECTED", operands, (2, 3))
    image, wide = b.input((1, 4, 4, 3), "image"), np.ones((2, 1, 1, 2), np.float32)
    b.op("CONV_2D", [image, b.const(wide), None], (1, 4, 4, 2))  # 2 of 3 channels
    b.op("CONV_2D", [x, b.const(wide), None], (1, 4, 4, 2))
    b.op("DEPTHWISE_CONV_2D", [image, b.const(wide), None], (1, 4, 4, 2))
    b.op("DEPTHWISE_CONV_2D", [image, b.const(np.ones((2, 1, 1, 3), np.float32))], (1, 4, 4, 3))
    b.op("FULLY_CONNECTED", [x, b.const(wide)], (2, 2))
    b.op("FULLY_CONNECTED", [x, b.const(np.ones((0, 4), np.float32))], (2, 0))
    graph = Graph(b.model([]))
    found = [number for number in range(len(graph.operators)) if linear(graph, number) is not None]
    assert found == [2, 3] and len(list(linears(graph))) == 2
    assert linear(graph, 2) == Linear(
        TensorKey(0, graph.operators[2].outputs[0]), TensorKey(0, x), "FULLY_CONNECTED", (3, 4), 4
    )
