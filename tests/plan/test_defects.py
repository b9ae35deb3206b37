"""The smallest cases of what random models found wrong with plans."""

from __future__ import annotations

import numpy as np
import pytest

import tflite_schema as ts
from qcore.calibrate import Calibration
from qcore.errors import CannotQuantize
from qcore.execute import Executor
from qcore.quantize import Quantized, quantize
from qcore.recipe import Recipe, names, recipe
from qcore.testing.build import Builder
from qcore.testing.checks import CheckFailed, check_model, check_quantized
from qcore.testing.strategies.graphs import remembering

i32, f32 = np.int32, np.float32
SHAPE = (2, 4)


def _moved(name: str) -> tuple[ts.Model, tuple[np.ndarray, ...]]:
    """One operator that moves values, its result's range another than its operand's."""
    b = Builder()
    x = b.input((8,) if name == "SPARSE_TO_DENSE" else SHAPE, "x", range=(-4, 4))
    fed = [np.linspace(-4, 4, 8).astype(f32).reshape(b.tensors[x].shape)]
    if name == "REVERSE_V2":
        y = b.op(name, [x, np.array([1], i32)], SHAPE, range=(-2, 2))
    elif name == "SPARSE_TO_DENSE":
        operands = [np.arange(8, dtype=i32), np.array([9], i32), x, np.array(1, f32)]
        y = b.op(name, operands, (9,), range=(-2, 2))
    elif name == "MATRIX_SET_DIAG":
        z = b.input((2,), "z", range=(-1, 1))
        fed.append(np.array([-1, 1], f32))
        y = b.op(name, [x, z], SHAPE, range=(-2, 2))
    else:
        ones = [np.array([0, 2], i32), np.array(4, i32), np.array(1, f32), np.array(-1, f32)]
        made = b.op("ONE_HOT", ones, SHAPE, range=(-2, 2), axis=-1)
        y = b.op("ADD", [x, made], SHAPE, range=(-5, 5))
    return b.model([y]), tuple(fed)


def made(model: ts.Model, found: Recipe) -> Quantized:
    return quantize(model, found, Calibration.from_model(model))


def outputs(model: object, fed: tuple[np.ndarray, ...]) -> np.ndarray:
    (result,) = Executor(model, "reference", "reference").run([fed])
    return next(iter(result.values()))


FLOAT_ENDS = recipe("int8_float_io")


@pytest.mark.parametrize("name", ["REVERSE_V2", "SPARSE_TO_DENSE", "MATRIX_SET_DIAG", "ONE_HOT"])
def test_what_moves_integers_keeps_their_scale(name, tmp_path):
    model, fed = _moved(name)
    real = outputs(model, fed)
    kept = made(model, FLOAT_ENDS)
    assert check_quantized(kept).tied > 0
    # The narrower range of the result holds where it is handed to the operands.
    inside = real if name in ("ONE_HOT", "REVERSE_V2") else np.clip(real, -2, 2)
    assert np.abs(outputs(kept, fed) - inside).max() <= 5 / 127

    like = made(model, FLOAT_ENDS.replace(deviations={"untied_moves": False}))
    with pytest.raises(CheckFailed, match=f"{name} .* is tied to"):
        check_quantized(like, tmp_path)
    assert np.abs(outputs(like, fed) - inside).max() > 0.5


def test_no_operator_is_int8_that_no_runtime_prepares():
    b = Builder()
    x = b.input(SHAPE, "x", range=(-1, 1))
    lengths = np.array([2, 3], i32)
    y = b.op("REVERSE_SEQUENCE", [x, lengths], SHAPE, range=(-1, 1), seq_dim=1, batch_dim=0)
    model = b.model([y])

    def mode(**deviations: bool) -> tuple[str, str | None]:
        steps = made(model, recipe("int8").replace(deviations=deviations)).plan.subgraphs[0].steps
        return next((s.mode, s.note) for s in steps if s.name == "REVERSE_SEQUENCE")

    assert mode() == ("float32", "no runtime has an int8 kernel")
    assert mode(missing_kernels=False) == ("int8", None)


def test_a_channel_of_zeros_has_a_scale_whatever_its_scheme_and_mode():
    """Weights of a dynamic operator by a scheme that gives zeros the scale 0."""
    b = Builder()
    x = b.input((1, 2), "x", range=(-1, 1))
    w = b.const(np.array([[1, -2], [0, 0]], f32), "w")
    model = b.model([b.op("FULLY_CONNECTED", [x, w], (1, 2), range=(-3, 3))])
    found = recipe("int16x8").with_rule(operator="FULLY_CONNECTED", mode="dynamic")

    def scales(chosen: Recipe) -> np.ndarray:
        tensors = ts.read(made(model, chosen).to_bytes()).subgraphs[0].tensors
        return next(t.quantization.scale for t in tensors if t.name == "w")

    assert (scales(found) == f32(2 / 127)).all()
    assert scales(found.replace(deviations={"zero_scale": False})).tolist() == [f32(2 / 127), 0]
    assert check_quantized(made(model, found)).values == 4


@pytest.mark.parametrize("name", ["int8", "int16x8", "dynamic", "float16"])
def test_an_input_that_is_a_constant_is_refused(name):
    """The int8 recipe once planned int8 for it and kept its float32 bytes."""
    b = Builder()
    x = b.tensor((1, 4), "x", data=np.ones((1, 4), f32), range=(-1, 1))
    y = b.op("ABS", [x], (1, 4), range=(0, 1))
    with pytest.raises(CannotQuantize, match="input 'x' of subgraph 0 has a value in the file"):
        quantize(b.model([y], inputs=[x]), name, Calibration.from_model(b.model([y])))


@pytest.mark.parametrize(("name", "ends"), [("int16x8", "int16"), ("int8_legacy", "uint8")])
def test_a_weight_that_is_an_output_has_no_other_integer_type(name, ends):
    """Its scales, one a channel, once went to an output without an axis."""
    b = Builder()
    x = b.input((1, 2), "x", range=(-1, 1))
    w = b.const(np.array([[1, -2], [3, 1]], f32), "w")
    model = b.model([b.op("FULLY_CONNECTED", [x, w], (1, 2), range=(-3, 3)), w])
    found = recipe(name).replace(output_type=ends)
    with pytest.raises(CannotQuantize, match="output 'w' is a weight with 2 scales"):
        made(model, found)
    assert check_quantized(made(model, found.replace(output_type="float32"))).weights == 1


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("mode", [None, "float"])
def test_an_operator_without_outputs_is_planned(name, mode):
    """CALL_ONCE has neither inputs nor outputs, ASSIGN_VARIABLE no outputs."""
    b = Builder()
    x = b.input(SHAPE, "x", range=(-4, 4))
    model = remembering(b.model([b.op("ABS", [x], SHAPE, range=(0, 4))]))
    found = recipe(name)
    if mode is not None and any(rule.mode == "static" for rule in found.rules):
        found = found.with_rule(operator="*VARIABLE", mode=mode)
    file = ts.read(made(model, found).to_bytes())
    assert file.subgraphs[1].operators[-1].name == "ASSIGN_VARIABLE"
    samples = [np.full(SHAPE, value, f32) for value in (1, 2, 3)]
    assert check_model(file, samples, "reference", mode="reference").samples == 3
