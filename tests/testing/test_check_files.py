"""check_roundtrip and check_quantized: what is right passes, each thing that is wrong is seen."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

import tflite_schema as ts
from qcore.calibrate import Calibration
from qcore.quantize import quantize
from qcore.testing import checks
from qcore.testing.build import Builder
from qcore.testing.checks import CheckFailed, check_quantized, check_roundtrip, roundtrip
from qcore.testing.checks.quantized import Grids

f32 = np.float32


def layer() -> ts.Model:
    """CONV_2D, CONCATENATION with its input, SOFTMAX."""
    b = Builder()
    x = b.input((1, 4, 4, 2), "x", range=(-1, 1))
    w = b.const(np.linspace(-1, 1, 36).reshape(2, 3, 3, 2).astype(f32), "w")
    operands = [x, w, b.const(np.array([1, -2], f32), "b")]
    y = b.op("CONV_2D", operands, (1, 4, 4, 2), padding="SAME", stride_w=1, stride_h=1,
             range=(-3, 3), names=["conv"])  # fmt: skip
    z = b.op("CONCATENATION", [x, y], (1, 4, 4, 4), axis=3, range=(-3, 3), names=["joined"])
    return b.model([b.op("SOFTMAX", [z], (1, 4, 4, 4), beta=1.0, range=(0, 1), names=["out"])])


@pytest.fixture(scope="module")
def good() -> ts.Model:
    model = layer()
    return ts.read(quantize(model, "int8", Calibration.from_model(model)).to_bytes())


def at(model: ts.Model, name: str) -> int:
    return next(i for i, t in enumerate(model.subgraphs[0].tensors) if t.name == name)


def with_tensor(model: ts.Model, name: str, **changes: object) -> ts.Model:
    """The model with other fields of a tensor, or of its quantization."""
    graph = model.subgraphs[0]
    tensors, i = list(graph.tensors), at(model, name)
    own = {k: v for k, v in changes.items() if k in ("type", "buffer", "shape")}
    grid = {k: v for k, v in changes.items() if k not in own}
    q = tensors[i].quantization
    tensors[i] = tensors[i].replace(**own, quantization=q.replace(**grid) if grid else q)
    return model.replace(subgraphs=(graph.replace(tensors=tuple(tensors)),))


def with_integers(model: ts.Model, name: str, dtype: type, value: int) -> ts.Model:
    number = model.subgraphs[0].tensors[at(model, name)].buffer
    values = np.frombuffer(model.buffers[number].data.tobytes(), dtype).copy()
    values[0] = value
    buffers = list(model.buffers)
    buffers[number] = ts.Buffer(values)
    return model.replace(buffers=tuple(buffers))


def grid(model: ts.Model, name: str) -> ts.Quantization:
    found = model.subgraphs[0].tensors[at(model, name)].quantization
    assert found is not None
    return found


def test_a_good_file_passes_and_is_counted(good):
    found = check_quantized(good)
    assert (found.operators, found.biases, found.weights) == (3, 1, 1)
    assert found.tied == 3 and found.values == 36 + 2
    assert "3 integer operators" in str(found)
    assert check_roundtrip(good).tensors == len(good.subgraphs[0].tensors)


def up(scale: np.ndarray) -> np.ndarray:
    """The next float32."""
    return np.nextafter(scale, f32(np.inf))


MUTATIONS: dict[str, tuple[Callable[[ts.Model], ts.Model], str]] = {
    "tie": (
        lambda m: with_tensor(m, "joined", scale=up(grid(m, "joined").scale)),
        r"CONCATENATION \d \(joined\): output \(int8 .* is tied to input",
    ),
    "zero point of a tie": (
        lambda m: with_tensor(m, "joined", zero_point=grid(m, "joined").zero_point + 1),
        "is tied to",
    ),
    "bias scale": (
        lambda m: with_tensor(m, "b", scale=up(grid(m, "b").scale)),
        "bias has the scale .* the product is",
    ),
    "bias scales": (
        lambda m: with_tensor(m, "b", scale=grid(m, "b").scale[:1], zero_point=[0]),
        "bias has 1 scales for 2",
    ),
    "bias zero point": (lambda m: with_tensor(m, "b", zero_point=[0, 1]), "bias has the zero"),
    "bias at -2^31": (lambda m: with_integers(m, "b", np.int32, -(2**31)), "bias holds integers"),
    "fixed grid": (
        lambda m: with_tensor(m, "out", zero_point=[-127]),
        "output has the grid int8 0.00390625 -127, its kernel takes",
    ),
    "weight at -128": (
        lambda m: with_integers(m, "w", np.int8, -128),
        r"filter holds integers in \[-128, 127\]",
    ),
    "weight zero point": (lambda m: with_tensor(m, "w", zero_point=[0, 3]), "filter has the zero"),
    "weight axis": (
        lambda m: with_tensor(m, "w", quantized_dimension=3),
        "filter has its channels along axis 3, not 0",
    ),
    "zero scale": (lambda m: with_tensor(m, "conv", scale=[0.0]), "a scale is 0.0"),
    "infinite scale": (lambda m: with_tensor(m, "conv", scale=[np.inf]), "a scale is inf"),
    "nan scale": (lambda m: with_tensor(m, "conv", scale=[np.nan]), "a scale is nan"),
    "zero point out of range": (
        lambda m: with_tensor(m, "conv", zero_point=[128]),
        "zero point 128 is not in",
    ),
    "type": (lambda m: with_tensor(m, "out", type=ts.TensorType.UINT8), "output is uint8 beside"),
    "float": (
        lambda m: with_tensor(m, "conv", type=ts.TensorType.FLOAT32, scale=None, zero_point=None),
        "output is float32 beside int8",
    ),
    "no scale": (lambda m: with_tensor(m, "conv", scale=None), "output is int8 without a scale"),
}


@pytest.mark.parametrize("what", MUTATIONS)
def test_what_is_wrong_is_seen(what, good, tmp_path):
    change, sentence = MUTATIONS[what]
    with pytest.raises(CheckFailed, match=sentence) as caught:
        check_quantized(change(good), tmp_path)
    assert caught.value.folder is not None and caught.value.folder.parent == tmp_path
    assert ts.read(caught.value.folder / "model.tflite") == ts.read(ts.to_bytes(change(good)))


def test_a_file_without_grids_was_not_checked(tmp_path):
    with pytest.raises(CheckFailed, match="nothing to check"):
        check_quantized(layer(), tmp_path)


def test_a_raised_scale_is_no_lie():
    """A large bias raises scales (E14), each rounded by itself; any other bias must be exact."""
    b = Builder()
    x = b.input((1, 2), "x", range=(0, 0.3))
    w = b.const(np.array([[1e-6, -3e-7], [1, 2]], f32), "w")
    y = b.op("FULLY_CONNECTED", [x, w, b.const(np.array([7.7, 1], f32), "b")], (1, 2),
             range=(0, 8), names=["y"])  # fmt: skip
    model = b.model([y])
    made = ts.read(quantize(model, "int8", Calibration.from_model(model)).to_bytes())
    product = grid(made, "x").scale * grid(made, "w").scale
    assert isinstance(check_quantized(made), Grids)
    wrong = grid(made, "b").scale * np.array([1, 1 + 2.0**-20], f32)
    assert product[1] == grid(made, "b").scale[1] != wrong[1]
    for scale in (wrong, grid(made, "b").scale * f32(1 + 2.0**-18)):
        with pytest.raises(CheckFailed, match="the product is"):
            check_quantized(with_tensor(made, "b", scale=scale))


def test_what_is_pasted_fails_again(good, tmp_path):
    with pytest.raises(CheckFailed) as caught:
        check_quantized(MUTATIONS["zero scale"][0](good), tmp_path / "with a blank")
    done = subprocess.run(
        [sys.executable, "-c", caught.value.python], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "a scale is 0.0" in done.stderr


BROKEN: dict[str, tuple[str, Callable[[Callable], Callable], str]] = {
    "a reader that loses names": (
        "read",
        lambda read: lambda data: unnamed(read(data)),
        r"reading what was written gives another model: .*name",
    ),
    "a writer that is not the same twice": (
        "to_bytes",
        lambda write: Growing(write),
        "different bytes",
    ),
    "edits in order": (
        "apply",
        lambda apply: lambda model, edits: apply(model, list(edits)[:1]),
        "in another order",
    ),
    "edits that do nothing": (
        "apply",
        lambda apply: lambda model, edits: model,
        "sees no difference",
    ),
    "pruning that never ends": (
        "prune",
        lambda prune: lambda model: prune(model).replace(
            description=f"{model.description or ''}."
        ),
        "pruning twice",
    ),
}  # fmt: skip


def unnamed(model: ts.Model) -> ts.Model:
    first, *rest = model.subgraphs
    tensors = (first.tensors[0].replace(name="lost"), *first.tensors[1:])
    return model.replace(subgraphs=(first.replace(tensors=tensors), *rest))


class Growing:
    """A writer whose files grow, as they do that append at each round trip."""

    def __init__(self, write: Callable):
        self.write, self.calls = write, 0

    def __call__(self, model: ts.Model, edits: tuple = ()) -> bytes:
        self.calls += 1
        more = "x" * (self.calls - 1)
        return self.write(model.replace(description=f"{model.description}{more}"), edits)


class Schema:
    """tflite_schema with one function replaced."""

    def __init__(self, name: str, function: Callable):
        setattr(self, name, function)

    def __getattr__(self, name: str) -> object:
        return getattr(ts, name)


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_reader_or_writer_is_seen(what, monkeypatch, tmp_path):
    name, broken, sentence = BROKEN[what]
    assert check_roundtrip(layer()).edits > 5
    monkeypatch.setattr(roundtrip, "ts", Schema(name, broken(getattr(ts, name))))
    with pytest.raises(CheckFailed, match=sentence):
        check_roundtrip(layer().replace(description="one"), tmp_path)


def test_the_first_difference_is_named():
    one = layer()
    assert checks.roundtrip.difference(one, one) == "no difference"
    other = unnamed(one)
    assert re.search(r"subgraphs\[0\]\.tensors\[0\]\.name is", roundtrip.difference(one, other))


def test_a_model_without_subgraphs_was_not_checked(tmp_path):
    with pytest.raises(CheckFailed, match="nothing to compare"):
        check_roundtrip(ts.Model(subgraphs=(), buffers=(ts.Buffer(),)), tmp_path)
