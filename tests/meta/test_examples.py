"""What ships in examples/ is small, is what its script makes, and does what the README says."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def maker(tmp_path, monkeypatch):
    """examples/make_model.py, looking at a copy of the shipped files."""
    spec = importlib.util.spec_from_file_location("make_model", ROOT / "examples" / "make_model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in ("symbols.tflite", "symbols.npz"):
        shutil.copy(ROOT / "examples" / name, tmp_path)
    monkeypatch.setattr(module, "HERE", tmp_path)
    monkeypatch.setattr(sys, "argv", ["make_model.py", "--check", "--data-only"])
    return module


def rewrite(file: Path, **changes) -> None:
    with np.load(file) as arrays:
        np.savez_compressed(file, **{**arrays, **changes})


def test_sizes(example_model, example_data):
    assert example_model.stat().st_size < 300_000
    assert example_data.stat().st_size < 1_000_000


def test_the_data_are_what_the_script_makes(maker, capsys):
    assert maker.main() == 0, capsys.readouterr().out


def test_other_labels_are_seen(maker, capsys):
    with np.load(maker.HERE / "symbols.npz") as arrays:
        labels = arrays["y_test"].copy()
    labels[7] = (labels[7] + 1) % 10
    rewrite(maker.HERE / "symbols.npz", y_test=labels)
    assert maker.main() == 1
    out = capsys.readouterr().out
    assert "y_test differs" in out and "python examples/make_model.py" in out


@pytest.mark.parametrize(
    ("pixels", "levels", "same"), [(1, 1, True), (1, 2, False), (500, 1, False)]
)
def test_other_pictures_are_seen(maker, pixels, levels, same):
    with np.load(maker.HERE / "symbols.npz") as arrays:
        pictures = arrays["x_test"].copy()
    flat = pictures.reshape(-1)
    where = np.flatnonzero(flat <= 255 - levels * maker.GREY)[:pixels]
    flat[where] += levels * maker.GREY
    rewrite(maker.HERE / "symbols.npz", x_test=pictures)
    assert (maker.main() == 0) is same


def test_every_class_is_drawn(example_data):
    with np.load(example_data) as arrays:
        for labels in (arrays["y_calib"], arrays["y_test"]):
            assert np.bincount(labels, minlength=10).min() > 0.05 * len(labels)


def test_the_demo_runs(tmp_path):
    for package in ("examples", "qcore", "kernels", "tflite_schema"):
        shutil.copytree(
            ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    done = subprocess.run(
        [sys.executable, "examples/demo.py"], cwd=tmp_path, capture_output=True, text=True,
        env={"PYTHONPATH": str(tmp_path), "PATH": "", "COLUMNS": "100"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for words in ("symbols_int8.tflite", "reference", "xnnpack", "SQNR_dB", "SOFTMAX"):
        assert words in done.stdout
    assert (tmp_path / "out" / "symbols_int8.tflite").stat().st_size < 80_000
