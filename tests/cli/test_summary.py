"""The summary of a plan: everything counted once, equal remarks together."""

from __future__ import annotations

from qcore.params import Affine
from qcore.plan.summary import summarize
from qcore.plan.values import Form, Plan, Step, SubgraphPlan


def test_a_plan_with_one_of_everything():
    params = Affine.of(0.5, 3)
    forms = (
        Form(0, "float32"),
        Form(0, "int8", params, rule="minmax"),
        Form(1, "int8", params, note="all zero"),
        Form(2, "int32", params, saturated=4),
        Form(3, "int8", params, note="all zero"),
        Form(4, "float32"),
        Form(5, "int8", params, note="nobody uses this form"),
    )
    steps = (
        Step(None, "QUANTIZE", 1, (0,), (1,), mode="int8"),
        Step(0, "CONV_2D", 3, (1, 2, 3), (4,), mode="int8"),
        Step(1, "ADD", 1, (4, -1), (5,), mode="float32", note="no kernel"),
        Step(2, "ADD", 1, (4,), (5,), mode="float32", note="no kernel"),
        Step(4, "SHAPE", 1, (5,), (5,), mode="kept"),
    )
    part = SubgraphPlan(forms, steps, (0,), (5,), folded=((3, "RELU folded into CONV_2D"),))
    names = (("in", "filter", "bias", "mid", "out", "spare"),)
    found = summarize(Plan("mine", (part,), notes=("a note",), names=names))
    assert found.modes == {"float32": 2, "int8": 1, "kept": 1}
    assert found.inserted == {"QUANTIZE": 1}
    assert found.tensors == {"int8": 3, "float32": 2, "int32": 1}
    (left,) = found.left_float
    assert (left.what, left.note, left.places) == ("ADD", "no kernel", ("out", "out"))
    (folded,) = found.folded
    assert (folded.note, folded.places) == ("RELU folded into CONV_2D", ("3",))
    (remark,) = found.remarks
    assert (remark.what, remark.note, remark.places) == ("int8", "all zero", ("filter", "mid"))
    assert found.saturated == (("bias", 4),)
    assert found.notes == ("a note",)
    assert found.to_json()["recipe"] == "mine"


def test_names_are_no_markup_and_a_saved_plan_is_the_same(tmp_path):
    """Brackets and colons in names: rich would take them for styles and pictures, or stop."""
    names = (("[/x]", ":heart:[bold]y"),)
    forms = (Form(0, "float32"), Form(1, "int8", Affine.of(0.5, 3), note="[red]note"))
    step = Step(0, "RELU", 2, (0,), (1,), mode="int8", note="[/b]")
    plan = Plan("[i]mine", (SubgraphPlan(forms, (step,), (0,), (1,)),), names=names)
    for text in (str(plan), plan._repr_html_()):
        assert all(s in text for s in ("plan [i]mine", ":heart:[bold]y", "[red]note", "[/b]"))
    plan.save(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json") == plan
    lines = (tmp_path / "plan.json").read_text().splitlines()
    assert sum('"tensor": ' in line for line in lines) == len(forms), "not a line for each form"
