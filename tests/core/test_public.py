"""What a person does with the public names: plans edited and applied, plugs of one's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import qcore
from qcore.observers import MinMaxState, Observer


@dataclass(frozen=True)
class Halved(qcore.schemes.MinMax):  # without a key of its own
    def choose(self, stats, q):
        found = super().choose(stats, q)
        return qcore.Affine(found.scale / 2, found.zero_point)


@dataclass(frozen=True)
class Nothing(qcore.schemes.Scheme):
    def choose(self, stats, q):
        return qcore.Affine(np.zeros(stats.groups), np.zeros(stats.groups))


@pytest.fixture(scope="module")
def calibration(example_model: Path) -> qcore.Calibration:
    return qcore.calibrate(example_model, np.zeros((2, 1, 32, 32, 1), np.float32), progress=False)


def test_a_plan_is_saved_edited_and_applied(example_model, calibration, tmp_path) -> None:
    quantized = qcore.quantize(example_model, "int8", calibration)
    quantized.plan.save(tmp_path / "plan.json")
    plan = qcore.Plan.load(tmp_path / "plan.json")
    assert qcore.apply_plan(quantized.source, plan).to_bytes() == quantized.to_bytes()
    part = plan.subgraphs[0]
    number = part.inputs[0]
    form = part.forms[number].replace(params=qcore.Affine.of(0.5, 3))
    forms = (*part.forms[:number], form, *part.forms[number + 1 :])
    edited = qcore.apply_plan(
        quantized.source, plan.replace(subgraphs=(part.replace(forms=forms),))
    )
    assert qcore.diff(quantized, edited).counts() == {"scale": 1, "zero_point": 1}


@pytest.mark.parametrize(
    "spoil, says",
    [
        (lambda plan, part: plan.replace(subgraphs=()), "0 subgraphs"),
        (lambda plan, part: plan.replace(names=(("x",),)), "other tensors"),
        (lambda plan, part: plan.replace(subgraphs=(part.replace(inputs=(999,)),)), "form 999"),
        (
            lambda plan, part: plan.replace(
                subgraphs=(part.replace(steps=(part.steps[0].replace(source=99),)),)
            ),
            "operator 99",
        ),
        (
            lambda plan, part: plan.replace(
                subgraphs=(part.replace(forms=(part.forms[0].replace(tensor=-5), *part.forms[1:])),)
            ),
            "tensor -5",
        ),
    ],
)
def test_a_plan_that_does_not_fit_is_refused(example_model, spoil, says) -> None:
    quantized = qcore.quantize(example_model, "dynamic")
    with pytest.raises(qcore.errors.BadInput, match=says):
        qcore.apply_plan(quantized.source, spoil(quantized.plan, quantized.plan.subgraphs[0]))


def test_a_scheme_without_a_key_goes_by_its_class(example_model, calibration) -> None:
    recipe = qcore.recipe("int8").with_rule(operand="activation", scheme=Halved())
    assert qcore.Recipe.from_json(recipe.to_json()) == recipe
    forms = qcore.quantize(example_model, recipe, calibration).plan.subgraphs[0].forms
    assert "Halved" in {form.rule for form in forms}


def test_a_scale_of_zero_is_refused(example_model, calibration) -> None:
    recipe = qcore.recipe("int8").with_rule(operand="weight", scheme=Nothing())
    with pytest.raises(qcore.errors.BadStatistics, match="scale 0"):
        qcore.quantize(example_model, recipe, calibration)


def test_blocks_that_no_integer_kernel_takes_are_remarked_on(example_model, calibration) -> None:
    recipe = qcore.recipe("int8").with_rule(operand="weight", granularity="blockwise:32")
    forms = qcore.quantize(example_model, recipe, calibration).plan.subgraphs[0].forms
    assert any("no blocks" in (form.note or "") for form in forms)


def test_options_of_calibrate_beside_a_calibration_are_refused(example_model, calibration) -> None:
    with pytest.raises(qcore.errors.BadInput, match="observer"):
        qcore.quantize(example_model, "int8", calibration, observer="tflite")


def test_an_observer_that_the_child_cannot_import_is_refused(example_model) -> None:
    @dataclass(frozen=True)
    class Mine(Observer):
        state = MinMaxState

    with pytest.raises(qcore.errors.BadInput, match="module that can be imported"):
        qcore.calibrate(example_model, [], observer=Mine())
