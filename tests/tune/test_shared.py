"""Constants that several operators read, that are odd, or that nothing is known of: tuned where it
harms nobody, told where not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import tflite_schema as ts
from qcore.calibrate import Calibration
from qcore.errors import NotCalibrated
from qcore.graph import graphs
from qcore.params import TensorKey
from qcore.quantize import Quantized, apply_plan, quantize
from qcore.rounding import Gptq
from qcore.testing import graphs as random_graphs
from qcore.testing.build import Builder
from qcore.tune.moments import Moments
from qcore.tune.operators import linears
from tests.tune import direct
from tests.tune.models import base, chosen, constant, corrected, place

SIZE, UNITS = 32, 4
WEIGHTS = np.random.default_rng(2).normal(0, 1, (UNITS, SIZE)).astype(np.float32)
BIAS = np.arange(UNITS, dtype=np.float32) / 7


def columns(seed: int, count: int = 50, groups: int = 1, size: int = SIZE) -> np.ndarray:
    """(G, N, K): integers, not about zero, that go together."""
    rng = np.random.default_rng(seed)
    x = 3 + rng.normal(0, 2, (groups, count, 1)) + rng.normal(0, 1, (groups, count, size))
    return np.rint(x).astype(np.float32)


def known(model: ts.Model, seed: int = 0, level: str = "covariance") -> Calibration:
    """Ranges as the file has them, and moments of `columns` for each linear operator."""
    moments: dict[TensorKey, Moments] = {}
    for graph in graphs(model):
        for one in linears(graph):
            moments[one.key] = Moments.start(one.groups, one.size, level)
            count = 20 + 8 * one.key.tensor
            seen = columns(seed + one.key.tensor, count, one.groups, one.size)
            moments[one.key].update([seen])
    return replace(Calibration.from_model(model), moments=moments)


def known_columns(seed: int) -> Moments:
    """Moments of one dense layer's columns."""
    made = Moments.start(1, SIZE, "covariance")
    made.update([columns(seed)])
    return made


class Dense:
    """FULLY_CONNECTED operators on one input of the graph."""

    def __init__(self) -> None:
        self.b = Builder()
        self.x = self.b.input((1, SIZE), "x", range=(-9, 9))
        self.outputs: list[int] = []

    def add(self, w: int, bias: int | None, name: str, **fields: Any) -> int:
        y = self.b.op(
            "FULLY_CONNECTED", [self.x, w, bias], (1, UNITS), names=[name], range=(-9, 9), **fields
        )
        self.outputs.append(y)
        return y

    def const(self, values: np.ndarray, name: str) -> int:
        return self.b.const(values, name)

    def model(self) -> ts.Model:
        return self.b.model(self.outputs)


def both(name: str = "int8") -> Any:
    return chosen(corrected(base(name)))


def changed(made: Quantized, model: ts.Model) -> set[str]:
    """Names of the constants that tuning has changed."""
    names = [t.name or "" for t in model.subgraphs[0].tensors]
    graph, found = graphs(model)[0], set()
    for t, name in enumerate(names):
        if graph.is_constant(t) and (ts.array(made.source, 0, t) != graph.constant(t)).any():
            found.add(name)
    return found


def integers(made: Quantized, name: str) -> np.ndarray:
    return constant(ts.read(made.to_bytes()), name)


@pytest.mark.parametrize("name", ["int8", "int16x8", "dynamic"])
def test_weights_of_two_operators_are_chosen_on_what_both_read(name: str) -> None:
    d = Dense()
    w = d.const(WEIGHTS, "w")
    for i in range(2):
        d.add(w, d.const(BIAS * (i + 1), f"b{i}"), f"y{i}")
    model, calibration = d.model(), known(d.model())
    made = quantize(model, chosen(base(name)), calibration)
    assert not made.plan.notes and changed(made, model) == {"w"}
    first, second = (calibration.moments[k] for k in sorted(calibration.moments))
    assert (first.total != second.total).any()
    alone = Dense()
    alone.add(alone.const(WEIGHTS, "w"), alone.const(BIAS, "b0"), "y0")
    merged = first.merge(second)
    one = replace(known(alone.model()), moments={TensorKey(0, alone.outputs[0]): merged})
    want = quantize(alone.model(), chosen(base(name)), one)
    assert (integers(made, "w") == integers(want, "w")).all()
    for part in (first, second):
        other = replace(one, moments={TensorKey(0, alone.outputs[0]): part})
        single = quantize(alone.model(), chosen(base(name)), other)
        assert (integers(single, "w") != integers(want, "w")).any()


def test_both_operators_have_their_own_mean_error_corrected() -> None:
    d = Dense()
    w = d.const(WEIGHTS, "w")
    for i in range(2):
        d.add(w, d.const(BIAS, f"b{i}"), f"y{i}")
    model, calibration = d.model(), known(d.model())
    made = quantize(model, both(), calibration)
    assert not made.plan.notes and changed(made, model) == {"w", "b0", "b1"}
    file = ts.read(made.to_bytes())
    left = WEIGHTS - direct.real(file, place(file, "w"))
    for i, key in enumerate(sorted(calibration.moments)):
        mean = left @ calibration.moments[key].mean[0]
        bias = direct.real(file, place(file, f"b{i}"))
        scale = file.subgraphs[0].tensors[place(file, f"b{i}")].quantization.scale
        assert (np.abs(bias - BIAS - mean) <= scale * 0.501).all() and np.abs(mean).max() > 0.01


def notes(made: Quantized) -> list[str]:
    return list(made.plan.notes)


def operands(made: Quantized) -> list[list[np.ndarray | None]]:
    """Stored weights and biases of the dense layers, in order."""
    file = ts.read(made.to_bytes())
    layers = [op for op in file.subgraphs[0].operators if op.name == "FULLY_CONNECTED"]
    return [[ts.array(file, 0, t) for t in op.inputs[1:]] for op in layers]


@pytest.mark.parametrize("name", ["int8", "int8_legacy", "dynamic"])
def test_a_bias_of_two_operators_is_changed_for_each(name: str) -> None:
    """As if each had had its own."""
    found = []
    for shared in (True, False):
        d = Dense()
        bias = [d.const(BIAS, "b")] * 2 if shared else [d.const(BIAS, f"b{i}") for i in range(2)]
        ys = [d.add(d.const(WEIGHTS * (i + 1), f"w{i}"), bias[i], f"y{i}") for i in range(2)]
        model = d.model()
        seen = {TensorKey(0, y): known_columns(i) for i, y in enumerate(ys)}
        calibration = replace(Calibration.from_model(model), moments=seen)
        made = quantize(model, both(name), calibration)
        assert not notes(made)
        found.append(operands(made))
    for one, two in zip(*found, strict=True):
        assert all((a == b).all() for a, b in zip(one, two, strict=True))
    assert (found[0][0][1] != found[0][1][1]).any()


@pytest.mark.parametrize("reader", ["operator", "output"])
def test_a_bias_that_is_shown_elsewhere_stays_there(reader: str) -> None:
    d = Dense()
    bias = d.const(BIAS, "b")
    y = d.add(d.const(WEIGHTS, "w"), bias, "y")
    if reader == "operator":
        d.outputs.append(d.b.op("ADD", [y, bias], (1, UNITS), names=["sum"], range=(-9, 9)))
    else:
        d.outputs.append(bias)
    model = d.model()
    made = quantize(model, both("int8_float_io"), known(model))
    assert not notes(made) and changed(made, model) == {"w"}
    dense = next(op for op in made.source.subgraphs[0].operators if op.name == "FULLY_CONNECTED")
    assert dense.inputs[2] >= len(model.subgraphs[0].tensors)
    assert (ts.array(made.source, 0, dense.inputs[2]) != BIAS).any()


@pytest.mark.parametrize("name", ["int8", "dynamic", "weight_only"])
@pytest.mark.parametrize("other", ["float", "float16"])
def test_weights_that_are_read_as_float_as_well_are_left(name: str, other: str) -> None:
    d = Dense()
    w = d.const(WEIGHTS, "w")
    for i in range(2):
        d.add(w, d.const(BIAS, f"b{i}"), f"y{i}")
    model = d.model()
    made = quantize(model, both(name).with_rule(name="y1", mode=other), known(model))
    assert notes(made) == [
        "FULLY_CONNECTED 0 (y0): its weights stand in the file in several forms, so that it was "
        "not tuned"
    ]  # fmt: skip
    assert not changed(made, model)


@pytest.mark.parametrize("name", ["dynamic", "int8_legacy"])
def test_weights_that_are_an_output_are_left(name: str) -> None:
    d = Dense()
    w = d.const(WEIGHTS, "w")
    d.add(w, d.const(BIAS, "b"), "y")
    d.outputs.append(w)
    made = quantize(d.model(), both(name), known(d.model()))
    assert "several forms" in notes(made)[0] and not changed(made, d.model())


def test_weights_with_two_roundings_are_left() -> None:
    d = Dense()
    w = d.const(WEIGHTS, "w")
    for i in range(2):
        d.add(w, d.const(BIAS, f"b{i}"), f"y{i}")
    recipe = base("dynamic").with_rule(operand="weight", name="y0", rounding="gptq")
    made = quantize(d.model(), recipe, known(d.model()))
    assert "several forms" in notes(made)[0] and not changed(made, d.model())


@pytest.mark.parametrize("name", ["int8", "int8_legacy", "int16x8", "dynamic", "weight_only"])
@pytest.mark.parametrize("absent", ["-1", "left out"])
def test_without_a_bias(name: str, absent: str) -> None:
    d = Dense()
    operands = [d.x, d.const(WEIGHTS, "w"), None][: 3 if absent == "-1" else 2]
    d.outputs.append(
        d.b.op("FULLY_CONNECTED", operands, (1, UNITS), names=["y"], range=(-9, 9), version=6)
    )
    model = d.model()
    made = quantize(model, both(name), known(model))
    assert not notes(made) and changed(made, model) == {"w"}
    assert not changed(quantize(model, corrected(base(name)), known(model)), model)


def test_a_computed_bias_is_left() -> None:
    d = Dense()
    bias = d.b.input((UNITS,), "b", range=(-1, 1))
    d.add(d.const(WEIGHTS, "w"), bias, "y")
    made = quantize(d.model(), both("dynamic"), known(d.model()))
    assert notes(made) == [
        "FULLY_CONNECTED 0 (y): its bias is computed, so that the bias was not tuned"
    ]
    assert changed(made, d.model()) == {"w"}


def test_weights_left_float_need_no_word() -> None:
    d = Dense()
    d.add(d.const(WEIGHTS, "w"), d.const(BIAS, "b"), "y")
    recipe = both("dynamic").with_rule(operand="weight", min_elements=10**6)
    made = quantize(d.model(), recipe, known(d.model()))
    assert not notes(made) and not changed(made, d.model())


def test_operators_that_were_not_seen_are_told() -> None:
    d = Dense()
    for i in range(2):
        d.add(d.const(WEIGHTS, f"w{i}"), d.const(BIAS, f"b{i}"), f"y{i}")
    model, calibration = d.model(), known(d.model())
    kept = dict(list(calibration.moments.items())[:1])
    made = quantize(model, both(), replace(calibration, moments=kept))
    assert notes(made) == [
        "FULLY_CONNECTED 1 (y1): what it reads was not observed, so that it was not tuned"
    ]
    assert changed(made, model) == {"w0", "b0"}
    empty = {k: Moments.start(1, SIZE, "covariance") for k in calibration.moments}
    made = quantize(model, both(), replace(calibration, moments=empty))
    assert len(notes(made)) == 2 and not changed(made, model)


def test_operators_of_which_means_alone_are_known() -> None:
    d = Dense()
    for i in range(2):
        d.add(d.const(WEIGHTS, f"w{i}"), d.const(BIAS, f"b{i}"), f"y{i}")
    model = d.model()
    full, mean = known(model).moments, known(model, level="mean").moments
    first, second = sorted(full)
    calibration = replace(known(model), moments={first: full[first], second: mean[second]})
    made = quantize(model, both(), calibration)
    assert notes(made) == [
        "FULLY_CONNECTED 1 (y1): only means of what it reads were observed, so that its weight was "
        "not tuned"
    ]  # fmt: skip
    assert changed(made, model) == {"w0", "b0", "b1"}


def test_moments_of_other_weights_are_refused() -> None:
    d = Dense()
    d.add(d.const(WEIGHTS, "w"), d.const(BIAS, "b"), "y")
    wrong = {k: Moments.start(1, 5, "covariance") for k in known(d.model()).moments}
    for m in wrong.values():
        m.update([columns(0, size=5)])
    with pytest.raises(NotCalibrated, match=r"1 x 5 inputs of FULLY_CONNECTED 0 \(y\).* 1 x 32"):
        quantize(d.model(), both(), replace(known(d.model()), moments=wrong))


def test_weights_in_groups_of_different_number_are_left() -> None:
    b = Builder()
    w = b.const(np.random.default_rng(0).normal(0, 1, (4, 1, 1, 2)).astype(np.float32), "w")
    ys = []
    for i, channels in enumerate((2, 4)):
        x = b.input((1, 3, 3, channels), f"x{i}", range=(-9, 9))
        ys.append(b.op("CONV_2D", [x, w, b.const(BIAS, f"b{i}")], (1, 3, 3, 4), names=[f"y{i}"],
                       range=(-9, 9), padding="SAME", stride_w=1, stride_h=1))  # fmt: skip
    model = b.model(ys)
    made = quantize(model, both(), known(model))
    assert notes(made) == [
        "CONV_2D 0 (y0): another operator reads its weights in other groups, so that it was not "
        "tuned"
    ]  # fmt: skip
    assert not changed(made, model)


@pytest.mark.parametrize(
    "name", ["int8", "int8_legacy", "int16x8", "dynamic", "blocks", "per tensor"]
)
@pytest.mark.parametrize("kind", [*random_graphs.WEIGHT_KINDS, "huge", "denormal", "one_huge"])
def test_odd_weights(name: str, kind: str) -> None:
    """No scale is so odd that integers are not what the source stands for, NaN or out of range."""
    units, size = 4, 64
    rng = np.random.RandomState(3)
    scaled = {"huge": 1e38, "denormal": 1e-41, "one_huge": 1.0}.get(kind)
    w = random_graphs.weights(rng, (units, size), "normal" if scaled else kind)
    if scaled:
        w = (w / np.abs(w).max() * scaled).astype(np.float32)
    if kind == "one_huge":
        w[0, 0] = 3e38
    b = Builder()
    x = b.input((1, size), "x", range=(-9, 9))
    y = b.op("FULLY_CONNECTED", [x, b.const(w, "w"), b.const(BIAS, "b")], (1, units), names=["y"],
             range=(-9, 9))  # fmt: skip
    model, calibration = b.model([y]), known(b.model([y]))
    with np.errstate(invalid="raise", divide="raise"):
        made = quantize(model, both(name), calibration)
        plain = quantize(model, base(name), calibration)
        data = made.to_bytes()
    assert np.isfinite(constant(made.source, "w")).all()
    assert np.isfinite(constant(made.source, "b")).all()
    file = ts.read(data)
    params = [q.plan.subgraphs[0].forms[1].params for q in (made, plain)]
    assert params[0] == params[1]
    if file.subgraphs[0].tensors[place(file, "w")].type == ts.TensorType.FLOAT32:
        assert "huge" in kind and not changed(made, model)  # left float: no scale can stand for it
        return
    real = direct.real(file, place(file, "w")).astype(np.float32)
    assert np.isfinite(real).all() and (real == constant(made.source, "w")).all()


@pytest.mark.parametrize("name", ["int8", "int8_legacy"])
@pytest.mark.parametrize("granularity", ["per_tensor", "per_channel"])
def test_a_scale_raised_for_the_bias_keeps_its_rounding(name: str, granularity: str) -> None:
    """The weight's integers are chosen on the raised scale."""
    bias = np.full(UNITS, 9e3, np.float32)
    d = Dense()
    d.add(d.const(WEIGHTS / 500, "w"), d.const(bias, "b"), "y")
    model = d.model()
    recipe = base(name).with_rule(operand="weight", granularity=granularity)
    recipe = recipe.replace(input_type="float32", output_type="float32")
    made = quantize(model, chosen(recipe), known(model))
    plain = quantize(model, recipe, known(model))
    forms = [
        next(f for f in q.plan.subgraphs[0].forms if f.tensor == place(model, "w"))
        for q in (made, plain)
    ]
    scale = np.abs(WEIGHTS / 500).max(-1 if granularity == "per_channel" else None) / 127
    assert (forms[0].params.scale > scale * 1.5).all() and forms[0].params == forms[1].params
    assert forms[0].rounding == Gptq() != forms[1].rounding and not notes(made)
    assert (integers(made, "w") != integers(plain, "w")).any()
    second = known(model).moments[TensorKey(0, place(model, "y"))].second(False)[0]
    noise = []
    for q in (made, plain):
        error = WEIGHTS.astype(np.float64) / 500 - direct.real(
            ts.read(q.to_bytes()), place(model, "w")
        )
        noise.append(np.einsum("rk,kl,rl->", error, second, error))
    assert noise[0] < noise[1]
    assert apply_plan(made.source, made.plan).to_bytes() == made.to_bytes()


@pytest.mark.parametrize("name", ["int8_legacy", "int16x8"])
def test_scales_that_are_infinite(name: str) -> None:
    """As the older quantizer makes them for a bias that no scale can stand for: nothing is tuned
    that would be NaN."""
    b = Builder()
    x = b.input((1, SIZE), "x", range=(-1e-6, 1e-6))
    bias = b.const(np.array([3e38, 1, 2, 3], np.float32), "b")
    y = b.op("FULLY_CONNECTED", [x, b.const(WEIGHTS, "w"), bias], (1, UNITS), names=["y"],
             range=(-9, 9))  # fmt: skip
    model = b.model([y])
    made = quantize(model, both(name).like_converter(), known(model))
    (scale,) = (f.params.scale for f in made.plan.subgraphs[0].forms if f.tensor == 1 and f.params)
    assert np.isinf(scale).tolist() == [True, False, False, False]
    tuned = constant(made.source, "w")
    assert (tuned[0] == WEIGHTS[0]).all() and (tuned[1:] != WEIGHTS[1:]).any(1).all()
    assert np.isfinite(constant(made.source, "b")).all() and made.to_bytes()
