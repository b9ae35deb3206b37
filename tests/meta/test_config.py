"""Every fact about the project stands in one file."""

from __future__ import annotations

import ast
import configparser
import re
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from tests.meta.imports import STDLIB, imported, sources

ROOT = Path(__file__).resolve().parents[2]
# What only an extra brings.
EXTRAS = {
    "tensorflow", "ai_edge_quantizer", "litert_quantizer", "llvmlite", "hypothesis", "pytest",
    "altair", "jinja2", "markupsafe", "vl_convert", "distributed", "pyarrow",
}  # fmt: skip
# What says something about the distribution, and so has no place among tool settings.
DISTRIBUTION = {"metadata", "options", "files", "global", "bdist_wheel", "egg_info", "build_ext"}


def problems(pyproject: str, setup_cfg: str, ruff: str) -> list[str]:
    """Sentences about what stands twice or in the wrong file."""
    project = tomllib.loads(pyproject)
    tools = configparser.ConfigParser()
    tools.read_string(setup_cfg)
    found = []
    for section in tools.sections():
        if section.split(".")[0] in DISTRIBUTION:
            found.append(
                f"setup.cfg [{section}] is about the distribution; pyproject.toml has that"
            )
    for tool in sorted(set(project.get("tool", {})) - {"setuptools"}):
        found.append(f"pyproject.toml [tool.{tool}] is a tool setting; setup.cfg has those")
    for text, name in ((setup_cfg, "setup.cfg"), (ruff, "ruff.toml")):
        if re.search(r"(?m)^(target-version|python_version|python_requires)\b", text):
            found.append(f"{name} repeats requires-python of pyproject.toml")
        if project["project"].get("version", "\0") in text:
            found.append(f"{name} repeats the version of pyproject.toml")
        for requirement in _requirements(project):
            if requirement in text:
                found.append(f"{name} repeats the requirement {requirement!r}")
    return found


def _requirements(project: dict) -> list[str]:
    table = project["project"]
    return [
        *table["dependencies"],
        *(r for group in table["optional-dependencies"].values() for r in group),
    ]


def read(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def test_no_fact_stands_twice():
    assert problems(read("pyproject.toml"), read("setup.cfg"), read("ruff.toml")) == []


@pytest.mark.parametrize(
    ("file", "more"),
    [
        ("setup.cfg", "\n[metadata]\nname = x\n"),
        ("setup.cfg", "\n[options.extras_require]\ntest = pytest\n"),
        ("pyproject.toml", "\n[tool.pytest.ini_options]\naddopts = '-q'\n"),
        ("setup.cfg", "\n[mypy-x]\npython_version = 3.10\n"),
        ("ruff.toml", "\ntarget-version = 'py310'\n"),
        ("setup.cfg", "\n[tox:tox]\ndeps = numpy>=1.26\n"),
    ],
)
def test_a_fact_that_stands_twice_is_seen(file, more):
    texts = {name: read(name) for name in ("pyproject.toml", "setup.cfg", "ruff.toml")}
    texts[file] += more
    assert len(problems(*texts.values())) == 1


def test_run_time_dependencies_are_what_the_packages_import():
    distribution = {"PIL": "pillow", "ai_edge_litert": "ai-edge-litert"}
    project = tomllib.loads(read("pyproject.toml"))["project"]
    declared = {re.split(r"[<>=;\s]", r)[0] for r in project["dependencies"]}
    texts = sources(ROOT)
    imports = {p for path, s in texts.items() for p, _, _ in imported(ast.parse(s, path))}
    ours = {"qcore", "kernels", "tflite_schema", "."}
    used = imports - STDLIB - ours - EXTRAS
    assert {distribution.get(p, p) for p in used} <= declared
    # The runtimes are imported by a name that stands in a table.
    used |= {p for p in ("ai_edge_litert",) if any(f'"{p}.' in s for s in texts.values())}
    assert declared == {distribution.get(p, p) for p in used} & declared


def test_ci_runs_the_test_command_of_the_readme():
    assert "make test" in read(".ci/run")
    assert "make test" in read("README.md")
