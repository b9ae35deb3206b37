"""The table of who may import whom holds, and its checker sees what breaks it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.meta.imports import sources, violations

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sources(ROOT)


def test_all_three_packages_are_looked_at():
    assert {path.split("/")[0] for path in SOURCES} == {"tflite_schema", "kernels", "qcore"}


@pytest.mark.parametrize("path", SOURCES)
def test_imports_follow_the_table(path):
    assert violations(path, SOURCES[path]) == []


@pytest.mark.parametrize(
    ("path", "source", "package"),
    [
        ("tflite_schema/x.py", "import qcore", "qcore"),
        ("tflite_schema/x.py", "def f():\n    from kernels import affine", "kernels"),
        ("kernels/x.py", "import tflite_schema", "tflite_schema"),
        ("kernels/ops/add.py", "import numba", "numba"),
        ("kernels/x.py", "def f():\n    from numba import njit", "numba"),
        ("qcore/x.py", "import numba", "numba"),
        ("qcore/x.py", "def f():\n    import numba.core", "numba"),
        ("qcore/x.py", "from importlib import import_module\nimport_module('numba')", "numba"),
        ("qcore/x.py", "import rich", "rich"),
        ("qcore/x.py", "def f():\n    import tensorflow", "tensorflow"),
        ("qcore/peers/x.py", "import tensorflow as tf", "tensorflow"),
        (
            "qcore/peers/x.py",
            "if True:\n    from ai_edge_litert import interpreter",
            "ai_edge_litert",
        ),
        ("qcore/peers/x.py", "class A:\n    import tensorflow", "tensorflow"),
        ("elsewhere/x.py", "", "no rule"),
    ],
)
def test_the_checker_sees(path, source, package):
    (sentence,) = violations(path, source)
    assert package in sentence


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("qcore/peers/x.py", "def f():\n    import tensorflow"),
        ("qcore/x.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import rich"),
        ("qcore/x.py", "import json, numpy\nfrom qcore import errors\nfrom . import errors as e"),
        ("kernels/jit.py", "import numba"),
    ],
)
def test_the_checker_lets_through(path, source):
    assert [s for s in violations(path, source) if "'.'" not in s] == []
