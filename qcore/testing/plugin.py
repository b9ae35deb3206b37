"""The pytest plugin: depth as one option, and the checks with that depth.

    def test_my_kernel(qcore_check):
        qcore_check.operator(my_add, "ADD", form="int8")

`--qcore-depth ci` (or `qcore_depth = ci` among pytest's settings) tries the same cases every time;
`deep` twenty times as many, new ones each time; a number so many times as many, new ones as well.
`--qcore-folder` is where cases that fail are written; else it is a folder of the test's own.
Nothing is loaded until a test asks for one of the fixtures, and no setting of pytest's or
Hypothesis's own is touched.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

DEPTHS = {"ci": 1, "deep": 20}
# Method of `qcore_check` -> its module: `rounding` is check_rounding of checks/scheme.py.
CHECKS = {
    "operator": "operator",
    "runtime": "runtime",
    "model": "model",
    "scheme": "scheme",
    "rounding": "scheme",
    "observer": "observer",
    "roundtrip": "roundtrip",
    "quantized": "quantized",
}


@dataclass(frozen=True)
class Depth:
    """times: as many examples as a checker has by default.  seed: None for new ones each time."""

    times: int
    seed: int | None

    @classmethod
    def parse(cls, text: str) -> Depth:
        """Of "ci", "deep" or a number. Raises pytest.UsageError."""
        if text in DEPTHS:
            return cls(DEPTHS[text], 0 if text == "ci" else None)
        if not text.isdecimal() or int(text) < 1:
            raise pytest.UsageError(f"qcore depth {text!r}: should be ci, deep or a number from 1")
        return cls(int(text), None)


class Checks:
    """The checkers of qcore.testing.checks with depth and folder filled in; any argument that is
    given goes before them."""

    def __init__(self, depth: Depth, folder: Path):
        self.depth, self.folder = depth, folder

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in CHECKS:
            raise AttributeError(f"qcore_check.{name}: there are {', '.join(CHECKS)}")
        check = getattr(import_module(f"qcore.testing.checks.{CHECKS[name]}"), f"check_{name}")
        parameters = inspect.signature(check).parameters
        bound: dict[str, Any] = {"seed": self.depth.seed, "folder": self.folder}
        if "examples" in parameters:
            bound["examples"] = parameters["examples"].default * self.depth.times
        return partial(check, **{key: bound[key] for key in bound if key in parameters})


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("qcore", "numerical checks of tflite-qcore")
    group.addoption(
        "--qcore-depth", metavar="ci|deep|N",
        help="ci: the same cases every time; deep: 20 times as many new ones; N: N times as many",
    )  # fmt: skip
    group.addoption("--qcore-folder", type=Path, help="where cases that fail are written")
    parser.addini("qcore_depth", "depth of qcore's checks: ci, deep or a number", default="ci")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--qcore-depth") is not None:
        Depth.parse(config.getoption("--qcore-depth"))  # wrong use is said before any test runs


def _depth(config: pytest.Config) -> Depth:
    given = config.getoption("--qcore-depth")
    return Depth.parse(config.getini("qcore_depth") if given is None else given)


@pytest.fixture(scope="session")
def qcore_depth(request: pytest.FixtureRequest) -> int:
    """By how much loops over random cases are to be longer than in `ci`."""
    return _depth(request.config).times


@pytest.fixture
def qcore_folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where the files of a failing case go: --qcore-folder, or a temporary one of this test."""
    return request.config.getoption("--qcore-folder") or tmp_path / "qcore"


@pytest.fixture
def qcore_check(request: pytest.FixtureRequest, qcore_folder: Path) -> Checks:
    """`qcore_check.operator(fn, "ADD")`, `.runtime("xnnpack")`, `.scheme(scheme)`,
    `.roundtrip(model)`...: the checkers of qcore.testing.checks, as deep as --qcore-depth says."""
    return Checks(_depth(request.config), qcore_folder)
