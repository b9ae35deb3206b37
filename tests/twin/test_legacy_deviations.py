"""Where rules B depart from TFLite's older quantizer: each point in the smallest model for it.

Every case has a model in which B's answer fails, loses or does not run, and states what each side
makes of it. Switched off, ours is B's file or stops where B stops; switched on, the file runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import tflite_schema as ts
from qcore import deviations
from qcore.calibrate import Calibration
from qcore.errors import CannotQuantize, RuntimeFailed
from qcore.plan import legacy
from qcore.quantize import Quantized, quantize
from qcore.recipe import Recipe, recipe
from qcore.testing.build import Builder
from tests.twin.oracle import Quantizer, theirs_legacy
from tests.twin.runs import Runner
from tests.twin.test_legacy import differences

pytestmark = pytest.mark.skipif(
    find_spec("tensorflow") is None, reason="TFLite's quantizers are in the tensorflow package"
)


@pytest.fixture(scope="module")
def quantizer() -> Iterator[Quantizer]:
    with Quantizer() as made:
        yield made


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    with Runner() as made:
        yield made


def values(*shape: int, low: float = -1.0, seed: int = 0) -> np.ndarray:
    return np.random.RandomState(seed).uniform(low, 1, shape).astype(np.float32)


@dataclass(frozen=True)
class Case:
    """key: the deviation.  build: the model.  holds: what is true of the default plan.

    without: what B's way is: "stops", "runs" (to a result that is wrong or that other tools refuse)
    or "broken" (no interpreter runs it, or B crashes).
    """

    key: str
    build: Callable[[], ts.Model]
    without: str
    holds: Callable[[Quantized], bool]
    name: str = "int16x8"
    ends: str = "float32"
    also_off: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return f"{self.key}-{self.build.__name__}"


CASES: list[Case] = []


def case(key: str, without: str, holds: Callable[[Quantized], bool], **more: object):
    def register(build: Callable[[], ts.Model]) -> Callable[[], ts.Model]:
        CASES.append(Case(key, build, without, holds, **more))  # type: ignore[arg-type]
        return build

    return register


def step(made: Quantized, name: str):
    return next(s for s in made.plan.subgraphs[0].steps if s.name == name and not s.inserted)


def left_float(name: str) -> Callable[[Quantized], bool]:
    """The operator is float and says why."""
    return lambda made: step(made, name).mode == "float32" and bool(step(made, name).note)


def integer(name: str) -> Callable[[Quantized], bool]:
    return lambda made: step(made, name).mode in ("int8", "int16x8")


@case("float_operators", "stops", left_float("NEG"))
def one_float_operator() -> ts.Model:
    b = Builder()
    x = b.input((1, 4), range=(-1, 1))
    y = b.op("RELU", [x], (1, 4), range=(0, 1))
    return b.model([b.op("NEG", [y], (1, 4), range=(-1, 0))])


@case("more_operators", "stops", integer("PRELU"), also_off=("float_operators",))
def prelu() -> ts.Model:
    b = Builder()
    x = b.input((1, 2, 2, 3), range=(-1, 1))
    return b.model([b.op("PRELU", [x, values(1, 1, 3)], (1, 2, 2, 3), range=(-1, 1))])


@case("missing_kernels", "broken", left_float("SCATTER_ND"))
def scatter() -> ts.Model:
    b = Builder()
    x = b.input((2, 4), range=(-1, 1))
    at, shape = np.array([[0], [2]], np.int32), np.array([3, 4], np.int32)
    return b.model([b.op("SCATTER_ND", [at, x, shape], (3, 4), range=(-1, 1))])


@case("missing_kernels", "broken", left_float("SQUARED_DIFFERENCE"))
def squared_difference() -> ts.Model:
    b = Builder()
    x = b.input((1, 4), range=(-1, 1))
    return b.model([b.op("SQUARED_DIFFERENCE", [x, values(1, 4)], (1, 4), range=(0, 4))])


@case("missing_kernels", "broken", integer("PADV2"), name="int8_legacy")
def pad_value() -> ts.Model:
    b = Builder()
    x = b.input((1, 4), range=(-1, 1))
    pads = np.array([[0, 0], [1, 1]], np.int32)
    return b.model([b.op("PADV2", [x, pads, np.array(0.5, np.float32)], (1, 6), range=(-1, 1))])


@case("uncalibrated", "stops", left_float("ADD"))
def no_range() -> ts.Model:
    b = Builder()
    x, y = b.input((1, 4), range=(-1, 1)), b.input((1, 4))
    z = b.op("RELU", [x], (1, 4), range=(0, 1))
    return b.model([b.op("ADD", [z, y], (1, 4), range=(-2, 2))])


@case(
    "float_readers",
    "broken",
    lambda made: (
        [s.name for s in made.plan.subgraphs[0].steps]
        == ["QUANTIZE", "DEQUANTIZE", "SIN", "ADD", "DEQUANTIZE"]
    ),
)
def float_reader_first() -> ts.Model:
    b = Builder()
    x = b.input((1, 4), range=(-1, 1))
    sine = b.op("SIN", [x], (1, 4), range=(-1, 1))
    return b.model([sine, b.op("ADD", [x, values(1, 4)], (1, 4), range=(-2, 2))])


@case("constant_per_use", "runs", lambda made: len(_biases(made)) == 2, name="int8_legacy")
def bias_of_two_layers() -> ts.Model:
    b = Builder()
    x = b.input((1, 4), range=(-1, 1))
    bias = b.const(values(3), "bias")
    y = b.op("FULLY_CONNECTED", [x, values(3, 4), bias], (1, 3), range=(-9, 9))
    z = b.op("FULLY_CONNECTED", [y, values(3, 3, seed=1), bias], (1, 3), range=(-9, 9))
    return b.model([z])


def _biases(made: Quantized) -> set[float]:
    part = made.plan.subgraphs[0]
    forms = [part.forms[s.inputs[2]] for s in part.steps if s.name == "FULLY_CONNECTED"]
    return {float(f.params.scale[0]) for f in forms if f.params is not None}


@case("constant_per_use", "stops", integer("CONV_2D"), name="int8_legacy")
def table_and_weights() -> ts.Model:
    b = Builder()
    x = b.input((1, 4, 4, 2), range=(-1, 1))
    w = b.const(values(4, 4, 4, 2), "table")
    y = b.op("ADD", [x, w], (4, 4, 4, 2), range=(-2, 2))
    z = b.op("CONV_2D", [x, w, values(4)], (1, 1, 1, 4), range=(-9, 9), padding="VALID",
             stride_w=1, stride_h=1)  # fmt: skip
    return b.model([y, z])


@case(
    "select_scale",
    "runs",
    lambda made: [s.name for s in made.plan.subgraphs[0].steps].count("QUANTIZE") == 3,
)
def select() -> ts.Model:
    b = Builder()
    x, y = b.input((1, 4), range=(-1, 1)), b.input((1, 4), range=(-8, 8))
    mask = b.tensor((1, 4), "mask", dtype="BOOL", data=np.array([[1, 0, 1, 0]], np.bool_))
    return b.model([b.op("SELECT", [mask, x, y], (1, 4), range=(-4, 8))])


@case("dynamic_weights", "runs", left_float("DEPTHWISE_CONV_2D"), name="int8_legacy")
def computed_filter() -> ts.Model:
    b = Builder()
    x, w = b.input((1, 4, 4, 3), range=(-1, 1)), b.input((1, 2, 2, 3), range=(-0.5, 1))
    y = b.op("DEPTHWISE_CONV_2D", [x, w, values(3)], (1, 4, 4, 3), range=(-4, 4), padding="SAME",
             stride_w=1, stride_h=1, depth_multiplier=1)  # fmt: skip
    return b.model([y])


@case("dynamic_weights", "broken", left_float("FULLY_CONNECTED"), name="int8_legacy")
def computed_bias() -> ts.Model:
    b = Builder()
    x, bias = b.input((1, 4), range=(-1, 1)), b.input((3,), range=(-1, 1))
    return b.model([b.op("FULLY_CONNECTED", [x, values(3, 4), bias], (1, 3), range=(-4, 4))])


@case("constant_operands", "runs", integer("MEAN"))
def constant_data() -> ts.Model:
    b = Builder()
    x = b.input((1, 4), range=(-1, 1))
    mean = b.op("MEAN", [values(1, 4), np.array([1], np.int32)], (1,), range=(-1, 1))
    return b.model([b.op("ADD", [x, mean], (1, 4), range=(-2, 2))])


def _positive(made: Quantized) -> bool:
    forms = [f.params for f in made.plan.subgraphs[0].forms if f.params is not None]
    return all((p.scale >= np.finfo(np.float32).tiny).all() for p in forms)


@case("zero_scale", "runs", _positive)
def dead_channel() -> ts.Model:
    b = Builder()
    x = b.input((1, 4), range=(-1, 1))
    w = values(3, 4)
    w[1] = 0
    return b.model(
        [b.op("FULLY_CONNECTED", [x, w, np.zeros(3, np.float32)], (1, 3), range=(-4, 4))]
    )


@case("zero_scale", "broken", _positive)
def dead_tensor() -> ts.Model:
    b = Builder()
    x = b.input((1, 4), range=(-1, 1))
    return b.model([b.op("ADD", [x, values(1, 4)], (1, 4), range=(0, 1.1754944e-38))])


@case("integer_ends", "stops", lambda made: _types(made) == ("int16", "int16"), ends="int16")
def float_ends() -> ts.Model:
    b = Builder()
    x = b.input((1, 4), range=(-1, 1))
    y = b.op("RELU", [b.op("SIN", [x], (1, 4), range=(-1, 1))], (1, 4), range=(0, 1))
    return b.model([b.op("COS", [y], (1, 4), range=(0, 1))])


def _types(made: Quantized) -> tuple[str, str]:
    part = made.plan.subgraphs[0]
    return part.forms[part.inputs[0]].dtype, part.forms[part.outputs[0]].dtype


@case("runtime_limits", "broken", left_float("ADD"))
def output_far_below_its_operands() -> ts.Model:
    b = Builder()
    x = b.input((1, 4), range=(-1e6, 1e6))
    return b.model([b.op("ADD", [x, values(1, 4)], (1, 4), range=(-1e-3, 1e-3))])


@case("negative_roots", "broken", left_float("RSQRT"))
def root_of_what_may_be_negative() -> ts.Model:
    b = Builder()
    x = b.input((1, 4), range=(-1, 1))
    y = b.op("SUB", [x, np.array([[1, 1, 1, 1]], np.float32)], (1, 4), range=(0.1, 1))
    return b.model([b.op("RSQRT", [y], (1, 4), range=(0, 4))])


@case("sum_range", "runs", lambda made: _scale(made, "SUM") != _scale(made, "RELU"))
def sum_of_many() -> ts.Model:
    b = Builder()
    x = b.op("RELU", [b.input((1, 64), range=(-1, 1))], (1, 64), range=(0, 1))
    return b.model([b.op("SUM", [x, np.array([1], np.int32)], (1,), range=(0, 64))])


def _scale(made: Quantized, name: str) -> float:
    form = made.plan.subgraphs[0].forms[step(made, name).outputs[0]]
    assert form.params is not None
    return float(form.params.scale[0])


# --- the checks -----------------------------------------------------------------------------------


def _recipe(c: Case, on: bool) -> Recipe:
    """As the converter, or with the one deviation that the case is about, beside its companions."""
    found = recipe(c.name).like_converter()
    off = {c.key, *c.also_off}
    switches = dict.fromkeys(found.deviations, False) | {"float_operators": True}
    switches |= dict.fromkeys(off, on)
    return found.replace(input_type=c.ends, output_type=c.ends, deviations=switches)


def _ours(model: ts.Model, found: Recipe) -> Quantized:
    return quantize(model, found, Calibration.from_model(model))


@pytest.mark.parametrize("c", CASES, ids=lambda c: c.id)
def test_switched_off_it_is_the_older_quantizer(c, quantizer, runner):
    model, found = c.build(), _recipe(c, on=False)
    try:
        other = theirs_legacy(quantizer, model, found, allow_float="float_operators" not in _off(c))
    except RuntimeFailed as refused:
        assert c.without in ("stops", "broken"), refused
        if c.without == "stops":
            with pytest.raises(CannotQuantize):
                _ours(model, found)
        return
    assert c.without != "stops"
    differ, _ = differences(ts.read(_ours(model, found).to_bytes()), other)
    assert not differ, differ
    refusal = runner.refusal(other)
    assert (refusal is not None) == (c.without == "broken"), refusal


def _off(c: Case) -> tuple[str, ...]:
    return (c.key, *c.also_off)


@pytest.mark.parametrize("c", CASES, ids=lambda c: c.id)
def test_switched_on_the_file_runs(c, runner):
    model = c.build()
    for found in (
        _recipe(c, on=True),
        recipe(c.name).replace(input_type=c.ends, output_type=c.ends),
    ):
        made = _ours(model, found)
        assert c.holds(made), made.plan
        assert (refusal := runner.refusal(made.to_bytes())) is None, refusal


def test_every_deviation_of_rules_b_has_a_case():
    folder = Path(legacy.__file__).parent
    sources = [*folder.glob("*.py"), folder.parent / "limits.py"]
    asked = {
        key
        for path in sources
        for key in re.findall(r"deviates\(\"(\w+)\"\)", path.read_text("utf-8"))
    }
    listed = {c.key for c in CASES}
    assert listed == asked, listed ^ asked


def test_like_converter_switches_all_off():
    for name in ("int16x8", "int8_legacy"):
        found = recipe(name).like_converter()
        assert not any(found.deviates(key) for key in deviations.DEVIATIONS)
