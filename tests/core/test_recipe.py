"""Recipes: rules win in order, files read back as they were written, mistakes are one sentence."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import ops
from kernels.opspec import Role
from qcore.compare import make
from qcore.deviations import DEVIATIONS
from qcore.errors import BadRecipe
from qcore.granularity import Granularity
from qcore.recipe import MODES, OPERANDS, Recipe, Rule, names, recipe
from qcore.schemes import MinMax, Symmetric

rules = st.builds(
    Rule,
    operator=st.sampled_from(["*", "CONV_2D", "*POOL*"]),
    name=st.sampled_from(["*", "head/*", "re:^conv[0-9]+$"]),
    mode=st.sampled_from(MODES),
    min_elements=st.none() | st.integers(0, 4096),
) | st.builds(
    Rule,
    operand=st.sampled_from(["activation", "weight", "bias", "filter"]),
    dtype=st.sampled_from(["int8", "int16", "int4"]),
    scheme=st.none() | st.builds(MinMax, st.sampled_from(["mlir", "legacy"])),
    granularity=st.none()
    | st.sampled_from(["per_tensor", "per_channel", "blockwise:32", "per_channel(1)"]).map(
        Granularity.parse
    ),
)


@pytest.mark.parametrize("name", names())
def test_shipped_recipes_load_and_set_a_mode(name):
    made = recipe(name)
    assert made.name == name
    assert made.mode("CONV_2D", ("x",)) in MODES[:-1]


def test_a_later_rule_wins_field_by_field():
    made = recipe("int8").with_rule(operator="CONV_2D", operand="weight", granularity="per_tensor")
    found = made.setting("CONV_2D", "weight", "filter", "w")
    assert str(found.granularity) == "per_tensor"
    assert found.dtype == "int8" and isinstance(found.scheme, Symmetric)
    assert (
        str(made.setting("FULLY_CONNECTED", "weight", "filter", "w").granularity) == "per_channel"
    )


def test_a_mode_is_chosen_by_the_names_of_the_outputs():
    made = recipe("int8").with_rule(name="head/*", mode="float")
    assert made.mode("CONV_2D", ("head/conv",)) == "float"
    assert made.mode("CONV_2D", ("body/conv",)) == "static"
    assert (
        made.with_rule(name="re:conv$", mode="dynamic").mode("CONV_2D", ("head/conv",)) == "dynamic"
    )


@given(
    st.lists(rules, max_size=5), st.dictionaries(st.sampled_from(sorted(DEVIATIONS)), st.booleans())
)
def test_json_reads_back_as_it_was(chosen, deviations):
    made = Recipe("r", tuple(chosen), deviations=deviations)
    assert Recipe.from_json(json.loads(json.dumps(made.to_json()))) == made


def test_a_saved_recipe_is_loaded_again_and_has_a_line_for_each_rule(tmp_path):
    made = recipe("int8").with_rule(name="head/*", mode="float").with_rule(mode="dynamic")
    made.save(tmp_path / "mine.json")
    assert Recipe.load(tmp_path / "mine.json") == made
    text = (tmp_path / "mine.json").read_text()
    assert all(text.count(f'"mode": "{mode}"') == 1 for mode in ("float", "dynamic"))
    assert not any('"float"' in line and '"dynamic"' in line for line in text.splitlines())
    with pytest.raises(BadRecipe, match=r"name it \.json"):
        made.save(tmp_path / "mine.toml")


def test_like_converter_switches_every_deviation_off():
    made = recipe("int8").like_converter()
    assert not any(made.deviates(key) for key in DEVIATIONS)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: recipe("int9"), "recipe 'int9' is unknown"),
        (lambda: Rule(mode="integer"), "mode 'integer' is unknown"),
        (lambda: Rule(mode="static", operand="weight"), "belongs to the whole operator"),
        (lambda: Rule(operand="weigh", dtype="int8"), "no operator has an operand 'weigh'"),
        (lambda: Rule(operator="CONV_2D"), "sets nothing"),
        (lambda: Rule(name="re:(", mode="float"), "not a regular expression"),
        (lambda: Rule(scheme="mean"), "scheme 'mean' is unknown"),
        (lambda: Rule(scheme={"key": "minmax", "colour": 1}), "was given colour"),
        (lambda: Rule(granularity="per_row"), "granularity 'per_row' is unknown"),
        (lambda: Rule(granularity="blockwise"), "block size"),
        (lambda: Recipe("r", (), dialect="toco"), "dialect 'toco' is unknown"),
        (lambda: Recipe("r", (), input_type="int3"), "input_type 'int3' is unknown"),
        (lambda: Recipe("r", (), deviations={"x": True}), "deviation 'x' is unknown"),
        (lambda: Recipe.from_json({"rules": []}), "unknown field 'rules'"),
        (lambda: Recipe.from_json({"rule": [{"typ": 1}]}), "rule 0 of recipe"),
        (lambda: Recipe.from_json(3), "is a int"),
    ],
)
def test_mistakes_are_one_sentence(make, says):
    with pytest.raises(BadRecipe) as caught:
        make()
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_a_rule_may_be_for_every_operand_of_every_operator():
    roles = {role.value for role in Role if role is not Role.INDEX}
    assert {*OPERANDS} == roles | {"constant"}
    found = {o.name for s in ops.all().values() for o in (*s.inputs, *s.outputs, *s.intermediates)}
    assert {"filter", "cell_state", "effective_hidden", "output"} < found
    for operand in (*OPERANDS, *found, "*", "fil*", "[wb]*", "weight?"):
        assert Rule(operand=operand, dtype="int8").operand == operand


@pytest.mark.parametrize("operand", ["weigh", "Filter", "filter ", "index", "", "w?", "kernel*"])
def test_an_operand_that_no_operator_has_is_refused_by_every_way_in(tmp_path, operand):
    rule = {"operand": operand, "dtype": "int8"}
    (tmp_path / "r.toml").write_text(f'[[rule]]\noperand = "{operand}"\ndtype = "int8"\n')
    (tmp_path / "r.json").write_text(json.dumps({"rule": [rule]}))
    ways = {
        "": lambda: recipe("int8").with_rule(**rule),
        "rule 0 of recipe": lambda: Recipe.from_json({"rule": [rule]}),
        "r.toml: rule 0": lambda: recipe(tmp_path / "r.toml"),
        "r.json: rule 0": lambda: recipe(tmp_path / "r.json"),
        f"candidate part '{operand}=mse'": lambda: make.parse(f"int8+{operand}=mse"),
    }
    for place, way in ways.items():
        with pytest.raises(BadRecipe) as caught:
            way()
        said = str(caught.value)
        assert place in said and f"no operator has an operand {operand!r}; use one of" in said
        assert all(role in said for role in OPERANDS)


@pytest.mark.parametrize(("suffix", "text"), [(".json", "{"), (".toml", "a = ")])
def test_a_file_that_does_not_parse_is_named(tmp_path, suffix, text):
    path = tmp_path / f"mine{suffix}"
    path.write_text(text)
    with pytest.raises(BadRecipe, match="mine"):
        recipe(path)


def test_a_toml_file_is_a_recipe(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'input_type = "int8"\n'
        '[[rule]]\nmode = "static"\n'
        '[[rule]]\noperand = "weight"\ndtype = "int4"\n'
    )
    made = recipe(str(path))
    assert made.name == "mine" and made.setting("CONV_2D", "weight", "filter", "w").dtype == "int4"
