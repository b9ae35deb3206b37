"""The mutation check itself, and that its page is what was measured and explained."""

from __future__ import annotations

import types

import pytest

from tests.mutation import document
from tests.mutation.__main__ import ROOT, TABLE
from tests.mutation.mutants import meaning, mutants
from tests.mutation.server import exchange

SOURCE = '''"""Text."""
from __future__ import annotations

LIMIT = 3


def larger(a: int | None, b: int = 2) -> bool:
    """Text."""
    return a + 1 > b
'''


def test_what_does_not_run_has_no_meaning():
    for old, new in (("int | None", "int & None"), ('"Text."', '"Other."'), (" -> bool", "")):
        assert meaning(SOURCE.replace(old, new)) == meaning(SOURCE)
    for old, new in (("= 3", "= 4"), ("= 2", "= 3"), ("+ 1", "+ 2")):
        assert meaning(SOURCE.replace(old, new)) != meaning(SOURCE)


@pytest.mark.parametrize(
    ("old", "new", "inside"), [("+ 1", "- 1", True), ("= 3", "= 4", False), ("= 2", "= 3", False)]
)
def test_bodies_of_plain_functions_are_told_apart(old, new, inside):
    same = meaning(SOURCE.replace(old, new), hollow=True) == meaning(SOURCE, hollow=True)
    assert same == inside
    wrapped = SOURCE.replace("def larger", "@staticmethod\ndef larger")
    assert meaning(wrapped, True) != meaning(wrapped.replace("+ 1", "- 1"), True)


def test_mutants_are_different_programs():
    pytest.importorskip("cosmic_ray")
    found = list(mutants(SOURCE))
    assert len({m.source for m in found}) == len(found) > 15
    lines = {(m.line, m.inside) for m in found}
    assert (4, False) in lines and (9, True) in lines
    assert any(m.after == "return a - 1 > b" for m in found)
    assert not any("|" not in m.source for m in found)  # the annotation


def test_functions_take_the_code_of_a_mutant():
    module = types.ModuleType("made_up")
    module.__file__ = "made_up.py"
    exec(compile(SOURCE, "made_up.py", "exec"), vars(module))
    kept = module.larger  # as another module has imported it
    assert kept(2)
    exchange(module, SOURCE.replace("+ 1", "- 1"))
    assert not kept(2)


def test_every_survivor_is_explained():
    results = document.results()
    assert results and set(results) <= set(TABLE)
    assert document.unexplained(results) == []


def test_every_explanation_is_of_a_line_that_is_there():
    """After a change to a line: `python -m tests.mutation FILE`, then what survives."""
    for entry in document.reasons():
        text = (ROOT / entry["file"]).read_text("utf-8").splitlines()
        lines = {line.strip() for line in text}
        for before, after in entry["change"]:
            assert before in lines and before != after, f"{entry['file']}: {before}"


def test_the_page_is_made():
    made = document.text(document.results())
    assert document.DOCUMENT.read_text("utf-8") == made, "python -m tests.mutation --document"


def test_a_survivor_without_a_reason_is_seen():
    row = {"operator": "x", "line": 1, "before": "a = 1", "after": "a = 2"}
    one = {"mutants": 1, "tried": 1, "killed": 0, "timeouts": 0, "tests": [], "survivors": [row]}
    results = {"kernels/rounding.py": one}
    assert document.unexplained(results) == [("kernels/rounding.py", row)]
    assert "**not explained**" in document.text(results)
