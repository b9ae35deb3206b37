"""Tuned constants: other integers on the same scales, in files that run, with smaller errors."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import qcore
import tflite_schema as ts
from qcore.calibrate import Calibration
from qcore.plan import Plan
from qcore.quantize import Quantized, apply_plan, quantize
from tests.tune import direct
from tests.tune.models import (
    LONE,
    SHAPES,
    Lone,
    base,
    chosen,
    constant,
    corrected,
    network,
    place,
    samples,
)

RECIPES = (
    "int8",
    "int8_float_io",
    "int8_legacy",
    "int16x8",
    "dynamic",
    "weight_only",
    "int4",
    "blocks",
    "per tensor",
)


@pytest.fixture(scope="module")
def model() -> ts.Model:
    return network()


@pytest.fixture(scope="module")
def calibration(model: ts.Model) -> Calibration:
    return qcore.calibrate(model, samples(), moments="covariance")


def outputs(model: ts.Model, one: Lone, read: Any, given: list[Any]) -> np.ndarray:
    """What an operator makes of the samples, (samples x positions, units); read: of constants."""
    at = list(SHAPES).index(one.input)
    x = np.concatenate([sample[at] for sample in given])
    w, b = read(model, one.weight), read(model, one.bias)
    return direct.linear(one.name, x, w, b, **one.window).reshape(-1, b.size)


def stored(model: ts.Model, name: str) -> np.ndarray:
    return direct.real(model, place(model, name))


def step_of(written: ts.Model, one: Lone) -> Any:
    """Scales of a bias; 0 where it is float."""
    found = written.subgraphs[0].tensors[place(written, one.bias)].quantization
    return 0.0 if found is None or found.scale is None else found.scale.astype(np.float64)


def mean_errors(model: ts.Model, made: Quantized) -> list[np.ndarray]:
    """By operator: the mean error that its stored constants make on the samples, over its bound.

    A bias that makes up for the mean exactly is rounded to float32, multiplied with a float32
    1 / scale in float32, and rounded to whole steps: half a step and 2^-22 of its terms.
    """
    written = ts.read(made.to_bytes())
    found = []
    for one in LONE:
        want = outputs(model, one, constant, samples())
        error = (outputs(written, one, stored, samples()) - want).mean(0)
        bias = constant(model, one.bias).astype(np.float64)
        terms = np.abs(bias) + np.abs(stored(written, one.bias) - bias)
        found.append(np.abs(error) / (step_of(written, one) / 2 + terms * 2.0**-22))
    return found


@pytest.mark.parametrize("name", RECIPES)
def test_corrected_biases_leave_no_mean_error(model, calibration, name: str) -> None:
    plain = quantize(model, base(name), calibration)
    for recipe in (corrected(base(name)), chosen(corrected(base(name)))):
        made = quantize(model, recipe, calibration)
        assert not made.plan.notes
        for before, after in zip(mean_errors(model, plain), mean_errors(model, made), strict=True):
            assert (after <= 1).all() and before.max() > 8 and after.size >= 5


@pytest.mark.parametrize("name", RECIPES)
def test_chosen_weights_have_less_error(model, calibration, name: str) -> None:
    """On samples like those they were chosen on."""
    plain, made = (quantize(model, r, calibration) for r in (base(name), chosen(base(name))))
    files = [ts.read(q.to_bytes()) for q in (plain, made)]
    for one in LONE:
        want = outputs(model, one, constant, samples(40, 5))
        noise = [((outputs(f, one, stored, samples(40, 5)) - want) ** 2).mean() for f in files]
        assert noise[1] < 0.8 * noise[0]
        biases = [stored(f, one.bias) for f in files]
        assert (biases[0] == biases[1]).all()


def integers(written: ts.Model, name: str) -> np.ndarray:
    found = ts.array(written, 0, place(written, name))
    assert found is not None and found.dtype != np.float32
    return found


@pytest.mark.parametrize("name", RECIPES)
def test_only_integers_differ(model, calibration, name: str) -> None:
    """Scales and everything else are those of the plan without tuning, and the integers stand for
    what the source now holds."""
    plain = quantize(model, base(name), calibration)
    made = quantize(model, chosen(corrected(base(name))), calibration)
    (before,), (after,) = plain.plan.subgraphs, made.plan.subgraphs
    assert before.steps == after.steps and before.inputs == after.inputs
    assert [f.replace(rounding=None) for f in before.forms] == [
        f.replace(rounding=None) for f in after.forms
    ]
    one, two = (ts.read(q.to_bytes()) for q in (plain, made))
    for op in LONE:
        assert (integers(one, op.weight) != integers(two, op.weight)).any()
        real = stored(two, op.weight).astype(np.float32)
        assert (real == constant(made.source, op.weight)).all()
        assert (real != constant(model, op.weight)).any()
        for a, b in ((plain.source, model), (made.source, model)):
            assert a.subgraphs[0].operators == b.subgraphs[0].operators


@pytest.mark.parametrize("name", sorted({*RECIPES} - {"int8_float_io", "per tensor"}))
def test_files_run_to_the_same_integers_everywhere(model, calibration, name: str) -> None:
    made = quantize(model, chosen(corrected(base(name))), calibration)
    paths = ("xnnpack",) if name == "blocks" else ("reference", "xnnpack")
    check = qcore.verify(made.to_bytes(), samples(2, 3), paths=paths)
    assert check.ok and check.compared > 100


@pytest.mark.parametrize("name", RECIPES)
def test_plans_are_applied_again(model, calibration, name: str) -> None:
    recipe = chosen(corrected(base(name)))
    made = quantize(model, recipe, calibration)
    data = made.to_bytes()
    assert apply_plan(made.source, made.plan).to_bytes() == data
    read = Plan.from_json(json.loads(json.dumps(made.plan.to_json())))
    assert apply_plan(made.source, read).to_bytes() == data
    assert quantize(model, recipe, calibration).to_bytes() == data
    fresh = Calibration.from_json(json.loads(json.dumps(calibration.to_json())))
    assert quantize(model, recipe, fresh).to_bytes() == data
    assert apply_plan(model, made.plan).to_bytes() != data


def test_a_retrained_model_has_integers_of_its_own(model, calibration) -> None:
    """What was found for other weights on the same samples is not taken again."""
    recipe, file = chosen(base("int8")), network()
    changed = constant(file, "wf").copy()
    at = np.argsort(np.abs(changed), axis=1)[:, :32]  # none that decides a scale
    np.put_along_axis(changed, at, -np.take_along_axis(changed, at, 1), 1)
    editor = ts.Editor(file)
    record = file.subgraphs[0].tensors[place(file, "wf")]
    buffer = editor.add_buffer(changed.reshape(-1))
    editor.set_tensor(0, place(file, "wf"), record.replace(buffer=buffer))
    retrained = editor.apply()
    first = quantize(model, recipe, calibration)
    fresh = Calibration.from_json(json.loads(json.dumps(calibration.to_json())))
    want = quantize(retrained, recipe, fresh)
    made = quantize(retrained, recipe, calibration)
    assert first.plan.subgraphs[0].forms == made.plan.subgraphs[0].forms
    assert made.to_bytes() == want.to_bytes() != first.to_bytes()


def test_what_is_kept_of_solutions_is_by_rounding_and_has_an_end(model, calibration) -> None:
    made = set()
    for damp in (1e-3, 0.01, 0.1, 1.0, 10.0, 100.0):
        rule = {"key": "gptq", "damp": damp}
        recipe = base("int4").with_rule(operand="weight", rounding=rule)
        data = quantize(model, recipe, calibration).to_bytes()
        fresh = Calibration.from_json(json.loads(json.dumps(calibration.to_json())))
        assert quantize(model, recipe, fresh).to_bytes() == data
        made.add(data)
    assert len(made) == 6 and all(1 <= len(m.solved) <= 4 for m in calibration.moments.values())


def test_each_rounding_takes_its_share_of_the_noise(model, calibration) -> None:
    """Where a bias makes up for the mean, weights are chosen for the spread alone."""
    plain = base("int4")
    recipes = plain, corrected(plain), chosen(plain), chosen(corrected(plain))
    files = [ts.read(quantize(model, recipe, calibration).to_bytes()) for recipe in recipes]
    for one in LONE:
        want = outputs(model, one, constant, samples())
        errors = [outputs(file, one, stored, samples()) - want for file in files]
        none, mean, both_moments, all_of_it = ((error**2).mean() for error in errors)
        assert all_of_it < both_moments < mean < none
        spread = [error.var(0).sum() for error in errors]
    assert spread[3] < 0.8 * spread[2] < 0.8 * spread[1]  # of the last one, the dense layer


def test_nothing_asked_nothing_done(model, calibration) -> None:
    made = quantize(model, "int8", calibration)
    assert made.source is model and quantize(model, "dynamic", calibration).source is model


def test_the_recipe_that_ships(model, calibration) -> None:
    made = quantize(model, "int8_tuned", calibration)
    want = quantize(model, chosen(corrected(qcore.recipe("int8"))), calibration)
    assert made.to_bytes() == want.to_bytes() != quantize(model, "int8", calibration).to_bytes()


def test_tuned_by_name(model, calibration) -> None:
    """Rules by the operator's output reach its weight and its bias."""
    recipe = base("int8").with_rule(operand="weight", name="dense", rounding="gptq")
    made, plain = quantize(model, recipe, calibration), quantize(model, base("int8"), calibration)
    files = [ts.read(q.to_bytes()) for q in (made, plain)]
    different = [(integers(files[0], o.weight) != integers(files[1], o.weight)).any() for o in LONE]
    assert different == [False, False, True]
    assert constant(made.source, "wa") is not None
    assert (constant(made.source, "wa") == constant(model, "wa")).all()


def test_operators_of_mode_int16x8(model, calibration) -> None:
    """An island in an int8 model is tuned as well."""
    recipe = chosen(corrected(base("int8_float_io"))).with_rule(operator="CONV_2D", mode="int16x8")
    made = quantize(model, recipe, calibration)
    assert {s.mode for s in made.plan.subgraphs[0].steps if s.source == 0} == {"int16x8"}
    assert all((error <= 1).all() for error in mean_errors(model, made))
    assert (constant(made.source, "wa") != constant(model, "wa")).any()
