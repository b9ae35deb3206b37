"""Boxes and sums against the integer kernels: nothing lies outside, and the ends are reached."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.errors import UnsatisfiedAssumption

from kernels import ops
from kernels.errors import KernelError
from kernels.trace import tracing
from qcore.certify import linear, started
from qcore.certify.boxes import Box, Extremes
from qcore.errors import CannotRun
from qcore.recipe import recipe
from qcore.testing import strategies as qs
from qcore.testing.cases import make
from tests.certify import checking

LINEAR = (
    "BATCH_MATMUL", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "SVDF", "TRANSPOSE_CONV",
)  # fmt: skip


def outputs_held(call, profile, rng):
    """Hold the outputs of a call against their boxes, for both ends of the inputs and mixtures of
    them; how many elements were compared."""
    walk = checking.walk_of(call, profile)
    boxes, inputs = checking.between(rng, call, walk)
    walk.subgraph(0, boxes)
    count = 0
    for values in inputs:
        _, made, _ = checking.computed(walk, values)
        outputs = dict(zip(walk.executor.blocks[0].nodes[0].outputs, made))
        compared, wrong = checking.outside(walk.boxes[0], outputs)
        assert not wrong, wrong
        count += compared
    return count


def test_outputs_of_every_operator(depth):
    counts: Counter[str] = Counter()
    for call, profile, rng in checking.every(2 * depth):
        try:
            counts[call.name] += outputs_held(call, profile, rng)
        except UnsatisfiedAssumption:
            continue
    assert sum(n > 0 for n in counts.values()) > 80, counts


def test_outputs_lie_in_their_boxes(depth):
    @settings(max_examples=60 * depth)
    @given(call=checking.integer_calls(), profile=qs.profiles(), rng=checking.numbers())
    def check(call, profile, rng):
        outputs_held(call, profile, rng)

    check()


def test_accumulators_lie_in_their_bounds(depth):
    """Of the operators that sum products, as the kernels record them."""
    counts: Counter[str] = Counter()

    @settings(max_examples=60 * depth)
    @given(call=checking.integer_calls(*LINEAR), profile=qs.profiles(), rng=checking.numbers())
    def check(call, profile, rng):
        walk = checking.walk_of(call, profile)
        boxes, inputs = checking.between(rng, call, walk)
        walk.subgraph(0, boxes)
        for values in inputs:
            _, _, noted = checking.computed(walk, values)
            compared, wrong = checking.beyond(walk, noted)
            assert not wrong, wrong
            counts[call.name] += compared

    check()
    assert sum(n > 0 for n in counts.values()) >= 4, counts


def test_the_ends_of_sums_are_reached(depth):
    """For every linear operator a constructed input has exactly the extreme sum."""

    @settings(max_examples=50 * depth)
    @given(data=st.data(), call=checking.integer_calls(*LINEAR[:4], "TRANSPOSE_CONV"))
    def check(data, call):
        assume(not call.form.startswith("hybrid"))
        walk = checking.walk_of(call, data.draw(qs.profiles()))
        boxes, _ = checking.between(data.draw(checking.numbers()), call, walk)
        walk.subgraph(0, boxes)
        sums = walk.sums[0, 0]
        assume(len(sums) == 1 and sums[0].lo.size and sums[0].witness is not None)
        assume(sums[0].fits)
        node = walk.executor.blocks[0].nodes[0]
        place = data.draw(st.integers(0, sums[0].lo.size - 1))
        index = tuple(int(i) for i in np.unravel_index(place, sums[0].lo.shape))
        for upper, ends in ((True, sums[0].hi), (False, sums[0].lo)):
            chosen = {node.inputs[p]: a for p, a in sums[0].witness(index, upper).items()}
            values = {t: boxes[t].lo for t in boxes} | chosen
            assert all(boxes[t].holds(a) for t, a in chosen.items())
            _, _, noted = checking.computed(walk, values)
            acc = next(n.value for n in noted if n.name == "accumulator")
            assert acc.reshape(ends.shape)[index] == ends[index]

    check()


def test_every_tensor_of_a_graph_lies_in_its_box(depth):
    """Several operators behind one another, as the recipes make them."""

    @settings(max_examples=20 * depth)
    @given(data=st.data(), profile=qs.profiles())
    def check(data, profile):
        name = data.draw(st.sampled_from(("int8", "int8_legacy", "int16x8", "dynamic")))
        floats = qs.float_models(most=5, several=False)
        made = data.draw(qs.quantized_models(floats, st.just(recipe(name))))
        walk, boxes, _ = started(made.model, profile=profile)
        walk.subgraph(0, boxes)
        rng = data.draw(checking.numbers())
        values = {t: _drawn(rng, box) for t, box in boxes.items()}
        kept = dict(values)
        for node in walk.executor.blocks[0].nodes:
            try:
                call = walk.executor.call(0, node, kept)
                with np.errstate(all="ignore"):
                    results = ops.compute(call, "reference")
            except (KernelError, CannotRun):
                break
            kept.update(zip(node.outputs, results))
        compared, wrong = checking.outside(walk.boxes[0], kept)
        assert compared and not wrong, wrong

    check()


def _drawn(rng, box):
    if box.lo.dtype.kind == "f":
        return rng.normal(0, 2, box.shape).astype(box.lo.dtype)
    return rng.integers(box.lo, box.hi.astype(np.int64) + 1).astype(box.lo.dtype)


def test_a_box_that_is_too_tight_is_seen():
    call = make("CONV_2D", "int8", 3, 40)
    walk = checking.walk_of(call, "reference")
    (tensor,) = walk.executor.blocks[0].graph.inputs
    walk.subgraph(0, {tensor: Box.of(call.x(0))})
    _, made, noted = checking.computed(walk, {tensor: call.x(0)})
    output = walk.executor.blocks[0].nodes[0].outputs[0]
    assert checking.outside(walk.boxes[0], {output: made[0]}) == (made[0].size, [])
    box = walk.boxes[0][output]
    higher = box.lo.copy()
    higher[(0,) * higher.ndim] += 1
    _, wrong = checking.outside({output: Box(higher, box.hi)}, {output: made[0]})
    assert len(wrong) == 1 and "not in" in wrong[0]

    (sums,) = walk.sums[0, 0]
    lower = sums.hi.copy()
    lower[(0,) * lower.ndim] -= 1
    walk.sums[0, 0] = (linear.Sums(sums.lo, lower, sums.limit, sums.stage),)
    _, wrong = checking.beyond(walk, noted)
    assert wrong == ["1 accumulators"]


def test_extremes_between_two_entries(rng):
    table = rng.integers(-99, 99, 256)
    first = rng.integers(0, 256, 400)
    last = np.minimum(first + rng.integers(0, 256, 400), 255)
    least, most = Extremes(table)(first, last)
    for i, j, low, high in zip(first, last, least, most):
        assert (low, high) == (table[i : j + 1].min(), table[i : j + 1].max())


@pytest.mark.parametrize("zero_point", [-128, 0, 127])
def test_a_partial_sum_counts(zero_point):
    """Inputs on one side of the zero point: sums over a part of them go further than the whole."""
    weights = np.array([[1.0], [-1.0]])
    form = linear.Linear(
        0, zero_point, weights, np.zeros(1, np.int64), lambda x, w: x @ w,
        lambda index: weights[:, 0], 240, None,
    )  # fmt: skip
    box = Box(np.array([[100, 100]], np.int8), np.array([[120, 120]], np.int8))
    sums = form.bounds(box)
    assert (sums.lo.item(), sums.hi.item(), sums.fits) == (-20, 20, True)
    assert sums.any_order == (zero_point != -128)


def test_sums_are_traced_by_the_kernels():
    """`checking.beyond` reads the note "accumulator"."""
    call = make("FULLY_CONNECTED", "int8", 3, 40)
    with tracing() as noted:
        ops.apply(call, "reference")
    assert "accumulator" in {n.name for n in noted}
