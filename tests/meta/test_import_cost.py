"""`import qcore` loads nothing heavy (bench/test_import.py times it); what is public is there."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import qcore

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"numba", "llvmlite", "tensorflow", "ai_edge_litert", "rich", "typer", "PIL", "scipy"}


def loaded_by(code: str) -> set[str]:
    """Top-level modules that running `code` in a fresh interpreter loads."""
    program = (
        f"import sys, json\nbefore = set(sys.modules)\n{code}\n"
        "print(json.dumps(sorted({m.split('.')[0] for m in set(sys.modules) - before})))"
    )
    out = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(json.loads(out.stdout.splitlines()[-1]))


def test_import_loads_nothing_heavy():
    assert loaded_by("import qcore") & HEAVY == set()


def test_loading_and_looking_needs_no_runtime(example_model):
    code = f"import qcore; qcore.inspect(qcore.load({str(example_model)!r}))"
    assert loaded_by(code) & HEAVY == set()


def test_the_calibrating_child_loads_no_model():
    assert "tflite_schema" not in loaded_by("import qcore.calibrate.collect")
    assert "tflite_schema" in loaded_by("import qcore; qcore.calibrate")


def test_what_is_heavy_would_be_seen():
    assert "rich" in loaded_by("import qcore; import rich.table")


@pytest.mark.parametrize("name", qcore.__all__)
def test_every_public_name_is_there(name):
    assert getattr(qcore, name) is not None
    assert name in dir(qcore)


def test_type_checkers_see_the_same_names():
    tree = ast.parse((ROOT / "qcore" / "__init__.py").read_text("utf-8"))
    (block,) = [
        n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"
    ]
    seen = {a.asname or a.name for n in block.body for a in n.names}  # type: ignore[attr-defined]
    assert seen == set(qcore.__all__)


@pytest.mark.parametrize(
    "first",
    [
        "import qcore.quantize",
        "from qcore.quantize import quantize",
        "from qcore import quantize",
        "import qcore.diff",
    ],
)
def test_a_function_wins_over_the_module_of_its_name(first):
    code = (
        f"{first}\nimport qcore\nassert callable(qcore.quantize) and callable(qcore.diff)\n"
        "import sys; assert sys.modules['qcore.quantize'] is not qcore.quantize"
    )
    loaded_by(code)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'quantise'"):
        qcore.quantise  # noqa: B018


@pytest.mark.parametrize("name", ["kernels", "tflite_schema"])
def test_a_package_that_hides_ours_is_named(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("")
    program = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]; import qcore"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1
    assert (
        f"the package '{name}' at {tmp_path / name} belongs to another distribution" in done.stderr
    )
