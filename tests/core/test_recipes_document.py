"""docs/recipes.md: its examples load and quantize, and it names every recipe that ships."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import qcore
import tflite_schema as ts
from qcore.plan import needs_calibration
from qcore.recipe import names, recipe

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "recipes.md").read_text("utf-8")
EXAMPLES = re.findall(r"```toml\n(.*?)```", TEXT, re.S)


def test_every_recipe_is_described() -> None:
    described = set(re.findall(r"^\| `(\w+)` \|", TEXT, re.M))
    assert set(names()) <= described


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_is_a_recipe(number: int, tmp_path: Path, example_model: Path) -> None:
    path = tmp_path / "example.toml"
    path.write_text(EXAMPLES[number])
    made = recipe(path)
    model = ts.read(example_model)
    if not needs_calibration(model, made):
        assert ts.read(qcore.quantize(model, made).to_bytes()).subgraphs


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 3
