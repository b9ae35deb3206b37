"""Tensors are paired by what they are computed from; names and order are traps here."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

import qcore
import tflite_schema as ts
from qcore.compare.match import match
from qcore.params import TensorKey
from qcore.testing.build import Builder
from qcore.testing.graphs import random_graph
from tests.compare.models import (
    branches,
    conv,
    operator,
    renamed,
    samples,
    swapped,
    tensor,
    with_constant,
    with_tensor,
)

NAMES = {"stem", "left", "right", "sum", "mean", "scores"}


def names(a: ts.Model, b: ts.Model, of: ts.Model | None = None) -> dict[str, str]:
    """What was paired, by name. of: where b's names are looked up (b before it was renamed)."""
    there = (of or b).subgraphs[0].tensors
    here = a.subgraphs[0].tensors
    return {here[k.tensor].name: there[v.tensor].name for k, v in match(a, b).layers.items()}


def test_every_layer_of_a_quantized_file(model, int8):
    assert names(model, int8) == {n: n for n in NAMES}


def test_names_do_not_matter(model, int8):
    assert names(model, renamed(int8), int8) == {n: n for n in NAMES}


def test_branches_in_the_other_order_with_each_others_names(model, int8):
    """Nothing but the weights tells which is which."""
    trap = swapped(int8, operator(int8, "left"), operator(int8, "right"))
    trap = renamed(trap, {"left": "right", "right": "left", "left_w": "right_w"})
    found = names(model, trap)
    assert found["left"] == "right" and found["right"] == "left"
    assert names(model, renamed(trap), int8) == {n: n for n in NAMES}


def test_weights_that_were_broken_leave_the_other_branch_to_decide(model, int8):
    broken = with_constant(int8, operator(int8, "left"), 1, np.zeros_like)
    trap = renamed(swapped(broken, operator(int8, "left"), operator(int8, "right")))
    assert names(model, trap, int8) == {n: n for n in NAMES}


def test_another_shape_is_no_partner(model, int8):
    """The declared shape of one tensor differs: it has a reason, its neighbours are found."""
    other = with_tensor(int8, tensor(int8, "mean"), shape=(1, 7))
    found = match(model, other)
    key = TensorKey(0, tensor(model, "mean"))
    assert key not in found.layers
    assert found.reasons[key] == "its counterpart has shape [1, 7]"
    assert TensorKey(0, tensor(model, "scores")) in found.layers


def test_another_operator_in_the_same_place_is_the_partner(model):
    other = branches()
    at = operator(other, "sum")
    part = other.subgraphs[0]
    operators = list(part.operators)
    operators[at] = operators[at].replace(code=ts.OperatorCode.of("MAXIMUM"), options=None)
    other = other.replace(subgraphs=(part.replace(operators=tuple(operators)),))
    assert names(model, renamed(other), other) == {n: n for n in NAMES}


def chain(logistic: bool) -> ts.Model:
    rng = np.random.default_rng(7)
    b = Builder()
    y = conv(b, rng, b.input((1, 8, 8, 3), "x"), 3, "first")
    if logistic:
        y = b.op("LOGISTIC", [y], (1, 8, 8, 6), names=["gate"])
    return b.model([conv(b, rng, y, 6, "second")])


def test_an_operator_that_is_gone_is_told():
    found = match(chain(True), renamed(chain(False)))
    assert list(found.reasons.values()) == ["the candidate has no LOGISTIC"]
    assert names(chain(True), chain(False)) == {"first": "first", "second": "second"}


def test_behind_a_rewritten_place_weights_lead_on():
    """The last operator is another one in each file, so the outputs are no help."""

    def build(last: str, extra: bool) -> ts.Model:
        rng = np.random.default_rng(8)
        b = Builder()
        y = b.input((1, 8, 8, 3), "x")
        y = b.op("NEG" if extra else "ABS", [y], (1, 8, 8, 3), names=["odd"])
        y = conv(b, rng, y, 3, "kept")
        return b.model([b.op(last, [y], (1, 8, 8, 6), names=["end"])])

    found = match(build("TANH", True), renamed(build("LOGISTIC", False)))
    kept = tensor(build("TANH", True), "kept")
    assert found.how[TensorKey(0, kept)] == "weights"


def activated(fused: bool) -> ts.Model:
    rng = np.random.default_rng(3)
    b = Builder()
    x = b.input((1, 8, 8, 3), "x")
    y = conv(b, rng, x, 3, "out" if fused else "before", activation="RELU" if fused else "NONE")
    if not fused:
        y = b.op("RELU", [y], (1, 8, 8, 6), names=["out"])
    return b.model([y])


def test_an_activation_fused_or_not(model):
    apart, fused = activated(False), activated(True)
    assert names(apart, fused) == {"out": "out"}
    (reason,) = match(apart, fused).reasons.values()
    assert reason == "CONV_2D 0 of the candidate has what follows fused into it"
    assert names(fused, apart) == {"out": "out"}


def test_values_that_are_computed_twice_are_one():
    """Two RESHAPEs of one tensor, each read by one of two branches; the candidate has one."""

    def build(twice: bool) -> ts.Model:
        rng = np.random.default_rng(5)
        b = Builder()
        x = b.input((1, 8, 8, 3), "x")
        shape = b.const(np.array([1, 192], np.int32), "shape")
        flat = [b.op("RESHAPE", [x, shape], (1, 192), names=[f"flat{i}"]) for i in range(1 + twice)]
        ys = []
        for i in range(2):
            w = b.const(rng.normal(0, 1, (4, 192)).astype(np.float32), f"w{i}")
            ys.append(b.op("FULLY_CONNECTED", [flat[-i * twice], w, None], (1, 4), names=[f"y{i}"]))
        return b.model(ys)

    assert names(build(True), build(False)) == {
        "flat0": "flat0", "flat1": "flat0", "y0": "y0", "y1": "y1",
    }  # fmt: skip
    assert names(build(False), renamed(build(True)), build(True))["y1"] == "y1"


def test_operands_of_a_sum_may_change_places(model, int8):
    part = int8.subgraphs[0]
    at = operator(int8, "sum")
    operators = list(part.operators)
    operators[at] = operators[at].replace(inputs=operators[at].inputs[::-1])
    trap = int8.replace(subgraphs=(part.replace(operators=tuple(operators)),))
    assert names(model, trap) == {n: n for n in NAMES}


def test_a_file_of_litert(model):
    """It has a signature of its own, other names for constants, and a QUANTIZE at the end."""
    pytest.importorskip("litert_quantizer")
    theirs = qcore.peers.litert(model, samples())
    assert names(model, renamed(theirs), theirs).keys() == NAMES
    for a, b in names(model, renamed(theirs), theirs).items():
        assert b.startswith(a)


def test_files_of_the_converter(corpus):
    """Whoever made them: names are the truth where both have them."""
    compared = 0
    for name in ("effnet_lite0", "posenet_mnv1", "mlperf_vww_mnv1", "mlperf_resnet8"):
        pair = [e for k in ("float", "int8") for e in corpus.entries(k)
                if e.name in (f"{name}_f32", f"{name}_int8", name)]  # fmt: skip
        if len(pair) != 2:
            continue
        a, b = (qcore.load(e.path) for e in pair)
        here = {t.name for t in a.subgraphs[0].tensors}
        there = Counter(t.name for t in b.subgraphs[0].tensors)
        for x, y in names(a, renamed(b), b).items():
            if there[x] == 1 and y in here:
                assert x == y, name
                compared += 1
    assert compared > 50


@pytest.mark.parametrize("recipe", ["int8", "int16x8", "dynamic"])
def test_random_graphs_by_structure_alone(recipe, depth):
    """Our quantizer keeps names, so they are the truth here; what is matched has none."""
    compared = 0
    for seed in range(12 * depth):
        source = random_graph(seed)
        ranges = qcore.Calibration.from_model(source)
        made = ts.read(qcore.quantize(source, recipe, ranges).to_bytes())
        for name, other in names(source, renamed(made), made).items():
            assert other in (name, f"{name}_float", f"{name}_float32"), seed
            compared += 1
    assert compared > 60
