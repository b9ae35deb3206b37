"""Bounds on the error against float: held against float runs, and where there are none."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.errors import UnsatisfiedAssumption

import qcore
from kernels import ops
from kernels.errors import KernelError
from qcore.certify import certify, rules, started
from qcore.errors import BadInput, CannotRun
from qcore.execute import Executor
from qcore.recipe import recipe
from qcore.testing import strategies as qs
from tests.certify import built, checking

# Float values at the end of their range, which the file's range does not hold: no hypothesis.
OPEN = ("SOFTMAX", "LOGISTIC", "TANH")


def ends(t):
    q = t.range
    return float(t.s) * (q.qmin - t.z), float(t.s) * (q.qmax - t.z)


def real(t, codes):
    return float(t.s) * (codes.astype(np.float64) - t.z)


def error_held(call, profile, rng):
    """Hold an operator's error against floats up to half a step from its codes, through its float
    kernel; how many elements were compared."""
    walk = checking.walk_of(call, profile)
    boxes, inputs = checking.between(rng, call, walk)
    block = walk.executor.blocks[0]
    node = block.nodes[0]
    for tensor in boxes:
        walk.errors.given(tensor, block.tensors[tensor])
    walk.subgraph(0, boxes)
    error = walk.found[0].error
    if node.states or error is None or error.trivial or not call.output.quantized:
        return 0
    count = 0
    for values in inputs:
        resolved, made, _ = checking.computed(walk, values)
        floats = {}
        for p, tensor in enumerate(node.inputs):
            if tensor not in values:
                continue
            t, x = block.tensors[tensor], values[tensor]
            if t.quantized and not t.per_channel:
                moved = real(t, x) + rng.uniform(-0.5, 0.5, x.shape) * float(t.s)
                x = np.clip(moved, *ends(t)).astype(np.float32)
            elif t.quantized:
                x = replace(t, data=x).real()
            if t.quantized or x.dtype.kind == "f":
                floats[p] = x
        with np.errstate(all="ignore"):
            meant = ops.module(call.name).real(rules.plain(resolved, floats))[0]
        y = resolved.output
        e = walk.errors.e[node.outputs[0]]
        compared, wrong = checking.too_far(real(y, made[0]), meant.astype(np.float64), e, ends(y))
        assert not wrong, wrong
        count += compared
    return count


def test_every_operator(depth):
    counts: Counter[str] = Counter()
    for call, profile, rng in checking.every(2 * depth):
        try:
            counts[call.name] += error_held(call, profile, rng)
        except UnsatisfiedAssumption:
            continue
    assert sum(n > 0 for n in counts.values()) > 40, counts


def test_one_operator(depth):
    @settings(max_examples=60 * depth)
    @given(call=checking.integer_calls(), profile=qs.profiles(), rng=checking.numbers())
    def check(call, profile, rng):
        error_held(call, profile, rng)

    check()


def test_whole_graphs(depth):
    """The file's own meaning in real numbers, tensor by tensor, as far as nothing saturates."""
    counts: Counter[str] = Counter()

    @settings(max_examples=20 * depth)
    @given(data=st.data(), profile=qs.profiles())
    def check(data, profile):
        name = data.draw(st.sampled_from(("int8", "int8_legacy", "int16x8")))
        floats = qs.float_models(most=5, several=False)
        made = data.draw(qs.quantized_models(floats, st.just(recipe(name))))
        walk, boxes, _ = started(made.model, profile=profile)
        walk.subgraph(0, boxes)
        rng = data.draw(checking.numbers())
        block = walk.executor.blocks[0]
        sample, given = {}, {}
        for tensor in boxes:
            t = block.tensors[tensor]
            if t.quantized:
                sample[tensor] = rng.uniform(*ends(t), t.shape).astype(np.float32)
            else:
                sample[tensor] = rng.normal(0, 1, t.shape).astype(t.held)
            given[tensor] = block.encode(tensor, sample[tensor])
        try:
            codes = walk.executor.invoke(0, given, keep=True)
            meant = Executor(made.model, mode="real").invoke(0, sample, keep=True)
        except (KernelError, CannotRun):
            assume(False)
        for node in block.nodes:
            for tensor in node.outputs:
                t = block.tensors[tensor]
                if not t.quantized or tensor not in walk.errors.e:
                    continue
                value = meant[tensor].astype(np.float64)
                inside = (value >= ends(t)[0]) & (value <= ends(t)[1])
                e = walk.errors.e[tensor]
                compared, wrong = checking.too_far(real(t, codes[tensor]), value, e, ends(t))
                assert not wrong, f"{node.name}: {wrong}"
                counts[node.name] += compared
                if not inside.all() and node.name not in OPEN:
                    return  # the hypothesis does not hold for what follows

    check()
    assert counts.total() > 100 and len(counts) > 5, counts


def test_a_bound_that_is_too_small_is_seen():
    values = np.array([1.0, 2.0])
    close = checking.too_far(values, values + 0.1, np.array([0.2, 0.2]), (0.0, 9.0))
    assert close == (2, "")
    count, wrong = checking.too_far(values, values + 0.1, np.array([0.2, 0.05]), (0.0, 9.0))
    assert (count, wrong[:10]) == (2, "1 elements")
    assert checking.too_far(values, values + 0.1, np.array([0.2, 0.05]), (0.0, 2.0)) == (1, "")


@pytest.fixture(scope="module")
def quantized(example_model, example_data):
    """The example model as int8, beside its samples."""
    with np.load(example_data) as arrays:
        samples = arrays["x_calib"][:32].astype(np.float32) / 255
        test = arrays["x_test"][:40].astype(np.float32) / 255
    model = qcore.load(example_model)
    ranges = qcore.calibrate(model, [s[None] for s in samples])
    return model, qcore.quantize(model, "int8", ranges).model, [s[None] for s in test]


def test_against_the_float_model(quantized):
    """Every tensor that both models have by name, on real samples."""
    model, made, samples = quantized
    walk, boxes, against = started(made, float_model=model)
    assert against == "the float model"
    walk.subgraph(0, boxes)
    block = walk.executor.blocks[0]
    names = {model.subgraphs[0].tensors[t].name: t for t in range(len(model.subgraphs[0].tensors))}
    count = 0
    for sample in samples:
        _, floats = qcore.run(model, sample, mode="real", tensors=True)
        _, codes = qcore.run(made, sample, tensors=True)
        for node in block.nodes:
            (tensor,) = node.outputs
            t, name = block.tensors[tensor], block.graph.name(tensor)
            if not t.quantized or names.get(name) not in floats:
                continue
            value = floats[names[name]].astype(np.float64)
            e = walk.errors.e[tensor]
            compared, wrong = checking.too_far(real(t, codes[tensor]), value, e, ends(t))
            assert not wrong, f"{name}: {wrong}"
            count += compared
            if node.name not in OPEN and not ((value >= ends(t)[0]) & (value <= ends(t)[1])).all():
                break
    assert count > 10_000
    errors = [o.error for o in walk.found if o.error is not None]
    assert any(not e.trivial and e.steps < 20 for e in errors)
    # The weights' rounding counts: against the file's own weights the bound is smaller.
    own = certify(made)
    pairs = [
        (a.error.bound, b.error.bound) for a, b in zip(own.operators, walk.found, strict=True)
        if a.name == "CONV_2D"
    ]  # fmt: skip
    assert pairs and all(a <= b for a, b in pairs) and pairs[0][0] < pairs[0][1]


def test_a_wider_output_needs_no_hypothesis():
    """The output's range holds everything: the bound is for every input. Else it is not."""
    (free,) = certify(built.dense(0), inputs=(-100, 100)).operators
    assert free.error.unconditional and not free.error.trivial and free.error.why == ""
    assert 0.5 < free.error.steps < 0.51
    (tight,) = certify(built.dense(0, out=1.0)).operators
    assert not tight.error.unconditional and "can leave its range" in tight.error.why
    assert tight.saturation.possible and tight.saturation.channels == tight.saturation.of == 2


def test_floats_without_a_rule_have_no_bound(quantized):
    model, _, _ = quantized
    made = qcore.quantize(model, "dynamic").model
    found = certify(made)
    assert found.proved and found.accumulators
    assert not any(math.isfinite(o.error.bound) for o in found.operators if o.accumulators)


def test_another_float_model_is_refused(quantized):
    model, made, _ = quantized
    with pytest.raises(BadInput, match="the float model"):
        certify(built.dense(0), float_model=model)
    short = model.subgraphs[0]
    cut = model.replace(subgraphs=(short.replace(operators=short.operators[:-1]),))
    with pytest.raises(BadInput, match="operators that compute"):
        certify(made, float_model=cut)
