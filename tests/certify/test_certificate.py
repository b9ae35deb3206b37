"""What `certify` takes and gives: values, text, JSON, the command, and what it refuses."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import tflite_schema as ts
from qcore.certify import certify, started
from qcore.certify.values import UNKNOWN
from qcore.cli import invoke
from qcore.errors import BadInput
from qcore.testing import models
from qcore.testing.build import Builder
from qcore.testing.cases import make
from qcore.testing.strategies.graphs import together
from tests.certify import built

MOST = 2**31 - 1


@pytest.fixture
def file(tmp_path):
    """Writes a model, returns its path."""

    def write(model, name="model.tflite"):
        path = tmp_path / name
        path.write_bytes(ts.to_bytes(model))
        return str(path)

    return write


def test_the_certificate_of_a_model():
    found = certify(built.dense(100, before="QUANTIZE"))
    assert found.proved and found.unknown == found.overflowing == ()
    assert found.inputs == {"x": (-np.inf, np.inf)}
    quantize, dense = found.operators
    assert quantize.rule == "type: floats beyond 2^30 steps"
    assert (quantize.lo, quantize.hi, quantize.status) == (-128, 127, "")
    (acc,) = dense.accumulators
    assert acc.fits and acc.attained and acc.any_order and acc.raw
    assert acc.spare == pytest.approx(np.log2(2**31 / acc.largest))
    assert "proved: none of 2 accumulator channels overflows" in found.verdict
    assert str(found).endswith(found.verdict) and "FULLY_CONNECTED 1" in str(found)


def test_exact_ends_by_hand():
    """Weights 90, 90, -100 ..., x in [-125, 130] less the zero point: the sums by arithmetic."""
    (operator,) = certify(built.dense(7)).operators
    w = np.where(np.arange(16).reshape(2, 8) % 3 == 0, -100, 90)
    up, down = np.maximum(w, 0).sum(1), np.minimum(w, 0).sum(1)
    bias = np.array([5, 7])
    (acc,) = operator.accumulators
    assert acc.hi == tuple(130 * up - 125 * down + bias)
    assert acc.lo == tuple(-125 * up + 130 * down + bias)


def test_saturation_by_hand():
    """Factor 1/8, zero point 0: what lies beyond [-128, 127] is clipped, in both channels."""
    (operator,) = certify(built.dense(0, out=1.0)).operators
    (acc,) = operator.accumulators
    lo, hi = np.rint(np.array(acc.lo) / 8), np.rint(np.array(acc.hi) / 8)
    found = operator.saturation
    assert (found.channels, found.of) == (2, 2)
    assert (found.below, found.above) == (max(-128 - lo), max(hi - 127))
    assert found.share == max((-128 - lo + hi - 127) / (hi - lo))
    assert not certify(built.dense(0)).operators[0].saturation.possible


@pytest.mark.parametrize(
    ("inputs", "codes"),
    [
        ((-3, 5), (-3, 5)),
        ((0.0, 2.0), (-3, 5)),
        ({"x": (-1e9, 0.1)}, (-128, -3)),
        (None, (-128, 127)),
    ],
)
def test_ranges_of_inputs(inputs, codes):
    """Codes or real units (scale 0.25, zero point -3), for all inputs or by name."""
    assert certify(built.dense(0), inputs=inputs).inputs == {"x": codes}


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ((5, 3), "no range"),
        ((0, 300), "not codes of int8"),
        ({"y": (0, 1)}, "'y' is no input"),
        ((float("nan"), 1.0), "no range"),
    ],
)
def test_ranges_that_are_none(inputs, said):
    with pytest.raises(BadInput, match=said):
        certify(built.dense(0), inputs=inputs)


def test_no_proof_without_a_rule():
    """Weights that are computed: the certificate says so, and is no proof."""
    call = make("CONV_2D", "int8", 3, 40)
    w = call[1]
    b = Builder()
    x = b.input(
        call[0].shape, "x", dtype="INT8", scale=call[0].scale, zero_point=call[0].zero_point
    )
    at = b.input(w.shape, "w", dtype="INT8", scale=w.scale[:1], zero_point=[0])
    bias = b.const(np.zeros(w.shape[0], np.int32), scale=[1.0], zero_point=[0])
    y = b.op("CONV_2D", [x, at, bias], (1, 1, 1, 1), dtype="INT8", version=3, padding="SAME",
             stride_w=1, stride_h=1, dilation_w_factor=1, dilation_h_factor=1)  # fmt: skip
    found = certify(b.model([built.output(b, y, 1.0)]), profile="reference")
    assert [o.status for o in found.operators] == [UNKNOWN]
    assert not found.proved and "not proved: CONV_2D 0" in found.verdict


def branches() -> ts.Model:
    """IF on an int8 tensor: RELU, or a product with weights of 1."""
    codes: Any = {"dtype": "INT8", "scale": 0.25, "zero_point": -3}
    main, relu, dense = Builder(), Builder(), Builder()
    condition, x = main.input((), "condition", dtype="BOOL"), main.input((1, 4), "x", **codes)
    y = main.op("IF", [condition, x], (1, 4), dtype="INT8", then_subgraph_index=1,
                else_subgraph_index=2)  # fmt: skip
    built.output(main, y, 0.25, -3)
    a = relu.input((1, 4), "a", **codes)
    b = relu.op("RELU", [a], (1, 4), dtype="INT8", version=2)
    c = dense.input((1, 4), "c", **codes)
    operands = built.weights(dense, np.ones((4, 4)), np.zeros(4, np.int32), 0.25)
    d = dense.op("FULLY_CONNECTED", [c, *operands], (1, 4), dtype="INT8", version=4)
    parts = (
        main.model([y]), relu.model([built.output(relu, b, 0.25, -3)]),
        dense.model([built.output(dense, d, 1.0)]),
    )  # fmt: skip
    return together(*parts)


def test_branches_are_certified_on_what_they_are_given():
    found = certify(branches(), inputs={"x": (-3, 10)}, profile="reference")
    assert [(o.subgraph, o.name) for o in found.operators] == [
        (0, "IF"), (1, "RELU"), (2, "FULLY_CONNECTED"),
    ]  # fmt: skip
    whole, relu, dense = found.operators
    assert (whole.lo, whole.hi) == (-128, 127)  # what comes out of a branch is not followed
    assert (relu.lo, relu.hi, relu.rule) == (-3, 10, "codes")
    assert (dense.accumulators[0].lo, dense.accumulators[0].hi) == ((0,) * 4, (52,) * 4)
    assert found.proved


def test_recurrent_sums():
    """Every gate's sums with input and state, whatever the state is."""
    for seed in range(20):
        call = make("UNIDIRECTIONAL_SEQUENCE_LSTM", "int8", seed, 30)
        walk, boxes, _ = started(models.to_bytes(call), profile="reference")
        walk.subgraph(0, boxes)
        names = [s.name for s in walk.sums[0, 0]]
        if names:
            assert names[-3:-1] in (["output gate, input", "output gate, state"],
                                    ["cell gate, state", "output gate, input"])  # fmt: skip
            return
    pytest.fail("no seed made an LSTM with 16-bit gates")


def test_json_has_everything(file, capsys):
    path = file(built.dense(MOST))
    assert invoke(["certify", path, "--json"]) == 1
    made = json.loads(capsys.readouterr().out)
    assert made["proved"] is False and made["verdict"].startswith("can overflow")
    (operator,) = made["operators"]
    assert operator["witness"]["reaches"] == "model input"
    values = operator["witness"]["inputs"]["0"]
    assert sum(n for _, n in values["value, times"]) == np.prod(values["shape"])
    assert len(operator["accumulators"][0]["hi"]) == 2


def test_the_command(file, capsys):
    good, bad = file(built.dense(5)), file(built.dense(MOST), "bad.tflite")
    options = ["--channels", "--input", "x=0.0,1.0", "--path", "optimized"]
    assert invoke(["certify", good, *options]) == 0
    said = capsys.readouterr().out
    assert "FULLY_CONNECTED 0" in said and "proved: none of 2" in said and "any order" in said
    assert invoke(["certify", bad]) == 1
    said = capsys.readouterr().out
    assert "overflows: channel 1" in said and "held as -" in said
    for given, answer in (
        (["--input", "1"], "is no range"),
        (["--input", "1,2", "--input", "x=1,2"], "for all inputs and one by name"),
        (["--input", "z=1,2"], "'z' is no input"),
        (["--float", bad + "x"], "no such file"),
        (["--path", "none"], "unknown"),
    ):
        assert invoke(["certify", good, *given]) == 2
        assert answer in capsys.readouterr().err


def test_every_int8_model_of_the_corpus(corpus):
    """Each is certified, on every path."""
    for entry in corpus.entries("int8"):
        if entry.path.stat().st_size > 400_000:
            continue  # bench/certify.py has them all
        for profile in ("reference", "optimized", "xnnpack"):
            found = certify(entry.path, profile=profile, errors=False)
            assert found.proved, (entry.name, profile, found.verdict)
