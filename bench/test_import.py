"""How long the first import takes, in a fresh interpreter; `python -c pass` is the floor."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("code", ["pass", "import numpy", "import tflite_schema", "import qcore"])
def test_first_import(benchmark, code):
    benchmark.pedantic(
        subprocess.run, ([sys.executable, "-c", code],), {"check": True}, rounds=7, warmup_rounds=1
    )
