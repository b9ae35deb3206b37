"""Sums that leave their range: caught, with an input that the integer kernels confirm."""

from __future__ import annotations

import numpy as np
import pytest

import qcore
from kernels import ops
from kernels.fixedpoint import wrap32
from kernels.trace import tracing
from qcore.certify import certify, started
from qcore.certify.values import OVERFLOWS, PROVED
from tests.certify import built

MOST = 2**31 - 1


def held(model, number, inputs, index, profile="reference"):
    """The accumulator that the reference kernel has for the operands of a witness."""
    walk, given, _ = started(model, profile=profile)
    node = walk.executor.blocks[0].nodes[number]
    tensors = walk.executor.blocks[0].tensors
    values = {t: b.lo for t, b in given.items()} | {node.inputs[p]: a for p, a in inputs.items()}
    call = walk.executor.call(
        0, node, {t: values[t] for t in node.inputs if not tensors[t].constant}
    )
    with tracing() as noted:
        ops.apply(call, "reference")
    return int(next(n.value for n in noted if n.name == "accumulator")[index])


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("before", ["", "QUANTIZE", "RELU"])
def test_a_bias_too_far(before, sign):
    """int32 biases one step beyond what the weights leave, and exactly at it."""
    reach = certify(built.dense(0, before=before)).accumulators[-1][1]
    edge = MOST - reach.hi[1] if sign > 0 else -MOST - 1 - reach.lo[1]
    assert certify(built.dense(edge, before=before)).proved
    model = built.dense(edge + sign, before=before)
    found = certify(model)
    assert not found.proved
    (operator,) = found.overflowing
    assert operator.name == "FULLY_CONNECTED"
    witness = operator.witness
    assert (witness.channel, witness.value) == (1, MOST + 1 if sign > 0 else -MOST - 2)
    assert (
        witness.held
        == wrap32(witness.value)
        == held(model, operator.number, witness.inputs, witness.index)
    )
    # A RELU passes these codes on as well, but nothing here looks for that.
    assert witness.reaches == ("operator input" if before == "RELU" else "model input")
    if before != "RELU":
        _, tensors = qcore.run(model, witness.sample, "reference", mode="reference", tensors=True)
        (tensor,) = {t for t, a in tensors.items() if a.dtype == np.int8 and a.shape == (1, 8)}
        assert np.array_equal(tensors[tensor], witness.inputs[0])


def test_the_interpreter_wraps_alike():
    """The official kernels hold the same wrapped sum: all outputs are equal to ours."""
    model = built.convolution(MOST - 9)
    witness = certify(model).overflowing[0].witness
    found = qcore.verify(model, [witness.sample], ("reference", "optimized"))
    assert found.ok and found.compared
    # What is left of the sum is at the other end of the range.
    y = qcore.run(model, witness.sample, "reference")
    assert witness.value > MOST and next(iter(y.values()))[witness.index] < 0


def test_a_window_at_the_edge_sees_less():
    """The worst window of a padded image is one inside; the witness is held against the kernel."""
    model = built.convolution(MOST - 9)
    (operator,) = certify(model).overflowing
    witness = operator.witness
    assert 0 < witness.index[1] < 4 and 0 < witness.index[2] < 3
    assert witness.held == held(model, 0, witness.inputs, witness.index)
    # With the zero point alone nothing is added, and the other channel is as before.
    assert certify(model, inputs=(-3, -3)).proved
    first = operator.accumulators[0]
    assert -(2**31) <= first.lo[0] and first.hi[0] < 2**31 <= first.hi[1]


def test_int16_sums_have_48_bits():
    """Beside 64-bit biases the multiplication takes 48 bits (E26)."""
    reach = certify(built.convolution(0, "INT16")).accumulators[0][1]
    assert (reach.limit, reach.fits) == (2**47, True)
    edge = 2**47 - 1 - reach.hi[1]
    assert certify(built.convolution(edge, "INT16")).proved
    (operator,) = certify(built.convolution(edge + 1, "INT16")).overflowing
    assert operator.witness.value == operator.witness.held == 2**47


def test_int16_rows_have_64_bits():
    """FULLY_CONNECTED multiplies in float64 and then converts to int32 (E27)."""
    found = certify(built.dense(2**46, dtype="INT16"))
    assert found.accumulators[0][1].limit == 2**63 and not found.operators[0].wraps
    found = certify(built.dense(2**60, dtype="INT16"))
    assert found.operators[0].status == PROVED
    assert "leaves int32" in found.operators[0].wraps


def test_where_the_left_shift_wraps():
    """A sum in range, times a factor above 1: the shift comes before the multiplication."""
    model = built.dense(2**30)
    graph = model.subgraphs[0]
    tensors = [
        t.replace(quantization=built.quantization(scale=0.01, zero_point=0))
        if t.type.name == "INT8" and not t.buffer and i not in graph.inputs
        else t
        for i, t in enumerate(graph.tensors)
    ]
    model = model.replace(subgraphs=(graph.replace(tensors=tuple(tensors)),))
    (optimized,) = certify(model, profile="optimized").operators
    assert (optimized.status, optimized.lo, optimized.hi) == (PROVED, -128, 127)
    assert "left shift by 4" in optimized.wraps
    (xnnpack,) = certify(model, profile="xnnpack").operators
    assert xnnpack.wraps == "" and xnnpack.saturation.above > 0


def test_an_operator_behind_an_overflow_is_still_bounded():
    found = certify(built.dense(MOST, before="QUANTIZE"))
    assert found.operators[-1].status == OVERFLOWS
    assert (found.operators[-1].lo, found.operators[-1].hi) == (-128, 127)
    assert "can overflow: FULLY_CONNECTED 1" in found.verdict
