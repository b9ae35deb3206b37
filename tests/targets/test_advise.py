"""`qcore.advise`: the rule on what was measured, and that it was measured."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import qcore
import tflite_schema as ts
from qcore.advise import FLOAT, ISLANDS, TUNED, Bar, Counted, Option, advise, digest, rank
from qcore.check import check
from qcore.cli import invoke
from qcore.compare.make import Samples
from qcore.errors import BadInput, BadRecipe
from qcore.targets import find
from qcore.testing.build import Builder

qcore_advise = sys.modules["qcore.advise"]  # `qcore.advise` is the function


@pytest.fixture(scope="module")
def samples(example_data: Path) -> list[np.ndarray]:
    return list(qcore.data.open(example_data, std=255, limit=12))


def option(**changes) -> Option:
    usual = {"bytes": 100, "SQNR_dB": 30.0, "accuracy": None, "ms": None, "share": 1.0, "left": 0}
    return Option("x", verdict="", **{**usual, **changes})


def test_the_order() -> None:
    fast, small = option(ms=1.0, bytes=200), option(ms=2.0)
    assert rank(fast, True) < rank(small, True)
    assert rank(option(share=1.0, bytes=200), False) < rank(option(share=0.9), False)
    assert rank(option(share=0.999), False) == rank(option(), False)  # within a per cent
    assert rank(option(left=0, bytes=200), False) < rank(option(left=2), False)
    assert rank(option(bytes=99), False) < rank(option(), False)


def test_a_microcontroller_gets_the_smallest_that_runs(example_model: Path, samples) -> None:
    found = advise(example_model, "tflm", samples)
    assert found.chosen == "int8" and found.recipe == qcore.recipe("int8")
    assert check(found.model, "tflm").whole
    assert found["int8"].ms is None and found["int8"].SQNR_dB > 20
    assert "does not run there" in found["dynamic"].against
    assert found[FLOAT].against == "" and found[FLOAT].bytes > found["int8"].bytes
    assert json.loads(json.dumps(found.to_json()))["chosen"] == "int8"


def test_a_cpu_gets_the_fastest(example_model: Path, samples) -> None:
    found = advise(example_model, "xnnpack", samples, strategies=("int8", "float16"))
    timed = {o.name: o.ms for o in found.options}
    assert None not in timed.values()
    assert found.chosen == min(timed, key=timed.__getitem__)


def test_what_does_not_run_is_not_advised(example_model: Path, samples) -> None:
    """The example's batch is left open, which the Edge TPU's compiler does not take."""
    found = advise(example_model, "edgetpu", samples, strategies=("int8",))
    assert found.chosen is None and found.model is None
    assert "shapes are known to the compiler" in found["int8"].against
    assert found.reasons == ("nothing that runs there is good enough (at least 20 dB)",)


@pytest.fixture
def no_islands(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a target that has no float kernels: the search takes its time."""
    monkeypatch.setattr(qcore_advise, "_floats", lambda *of: set())


@pytest.mark.usefixtures("no_islands")
def test_what_is_not_good_enough_is_not_advised(example_model: Path, samples) -> None:
    found = advise(example_model, "tflm", samples, strategies=("int8",), least=80)
    assert found["int8"].against.endswith("dB is less than 80")
    assert found.chosen == FLOAT


def convolutions(classes: bool = False) -> ts.Model:
    """Four convolutions; one channel between the second and the third is a thousand times as large
    as the others, and counts for nothing behind it: eight bits leave nothing of the others.
    classes: the values that come out are one row of scores."""
    rng = np.random.default_rng(5)
    b = Builder()
    x = b.input((1, 6, 6, 3), "x")
    depth = 3
    for i, units in enumerate((4, 5, 4, 3)):
        w = rng.normal(0, 0.3, (units, 3, 3, depth)).astype(np.float32)
        if i == 1:
            w[0] *= 1000
        if i == 2:
            w[..., 0] /= 1000**1.5
        bias = b.const(rng.normal(0, 0.1, units).astype(np.float32))
        x = b.op(
            "CONV_2D", [x, b.const(w), bias], (1, 6, 6, units), names=[f"conv{i}"],
            padding="SAME", stride_w=1, stride_h=1,
        )  # fmt: skip
        depth = units
    if classes:
        x = b.op("RESHAPE", [x, b.const(np.array([1, 108], np.int32))], (1, 108), names=["row"])
    return b.model(outputs=[x])


@pytest.fixture(scope="module")
def outlier() -> ts.Model:
    return convolutions()


def draws(seed: int, count: int = 6) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).normal(0, 1, (count, 1, 6, 6, 3)).astype(np.float32))


@pytest.mark.parametrize(
    ("target", "there", "advised"),
    [("ethos-u", 2, ISLANDS), ("edgetpu", 1, ISLANDS), ("tflm", 6, FLOAT)],
)
def test_operators_are_left_float_until_it_is(outlier, target, there, advised) -> None:
    """Ethos-U leaves the island to the CPU, the Edge TPU what follows it too; TFLite Micro runs
    it, and float itself as well, in fewer bytes."""
    found = advise(outlier, target, draws(6), evaluation=draws(7), strategies=("int8",))
    assert found["int8"].SQNR_dB < 1 and "is less than 20" in found["int8"].against
    islands = found[ISLANDS]
    assert islands.SQNR_dB >= 20 and not islands.against
    fit = check(found.model, target)[target] if advised == ISLANDS else None
    assert fit is None or (fit.running, len(fit.operators)) == (there, 6)
    assert found.chosen == advised
    if advised == ISLANDS:
        made = qcore.quantize(outlier, found.recipe, draws(6))
        assert made.to_bytes() == ts.to_bytes(found.model)
        kept = [s.name for s in made.plan.subgraphs[0].steps if s.mode == "float32"]
        assert kept == ["CONV_2D", "CONV_2D"]


def test_tuned_constants_come_before_islands() -> None:
    """Asked for a little more than int8 has, its constants do, where inputs go together."""
    rng = np.random.default_rng(3)
    b = Builder()
    weights, bias = rng.normal(0, 1, (8, 64)).astype(np.float32), np.zeros(8, np.float32)
    x = [b.input((1, 64), "x"), b.const(weights), b.const(bias)]
    model = b.model(outputs=[b.op("FULLY_CONNECTED", x, (1, 8), names=["y"])])
    basis = rng.normal(0, 1, (2, 64))
    samples = list((3 + rng.normal(0, 1, (16, 1, 2)) @ basis).astype(np.float32))
    given = model, "edgetpu", samples
    both = advise(*given, strategies=("int8", TUNED), least=1)
    assert both[TUNED].SQNR_dB > both["int8"].SQNR_dB + 2
    least = both["int8"].SQNR_dB + 1
    found = advise(*given, strategies=("int8",), least=least)
    assert [o.name for o in found.options] == [FLOAT, "int8", TUNED]
    assert found.chosen == TUNED and found[TUNED].share == found["int8"].share == 1
    assert found.recipe == qcore.recipe(TUNED)
    again = advise(*given, strategies=("int8", TUNED), least=least)
    assert [o.name for o in again.options] == [FLOAT, "int8", TUNED]


def test_labels_ask_for_islands_too() -> None:
    """The bar is accuracy, the search goes by SQNR: it goes on until the bar is met."""
    model, evaluation = convolutions(classes=True), draws(7, 40)
    rows = [qcore.run(model, x, mode="real") for x in evaluation]
    labels = [int(np.argmax(next(iter(row.values())))) for row in rows]
    found = advise(
        model, "ethos-u", draws(6), labels, evaluation=evaluation, strategies=("int8",), lost=0.1
    )
    assert found[FLOAT].accuracy == 1 and found["int8"].accuracy < 0.9
    assert found.chosen == ISLANDS and found[ISLANDS].accuracy >= 0.9


def test_labels_that_give_no_accuracy_are_told(outlier) -> None:
    """What is asked for then is the SQNR: nothing would be judged by labels alone."""
    given = outlier, "tflm", draws(6), [0] * 6
    found = advise(*given, strategies=("int16x8",))
    assert not found.labelled and "at least 20 dB" in found.reasons[0]
    assert "; accuracy was not measured: the first output is not one row" in found.measured
    with pytest.raises(BadInput, match="lost is about accuracy, and accuracy was not measured"):
        advise(*given, strategies=("int16x8",), lost=0.1)


def test_the_search_goes_on_while_it_gets_better(outlier, monkeypatch) -> None:
    """Each time for more, until what is measured is good enough or nothing more is to be had."""
    goals: list[float] = []
    search = sys.modules["qcore.mixed.search"].Search

    class Noted(search):
        def __init__(self, trials, target, *more) -> None:
            goals.append(target)
            super().__init__(trials, target, *more)

    monkeypatch.setattr(sys.modules["qcore.mixed.search"], "Search", Noted)
    bar = Bar(None, 0.01, 20.0)
    tries = qcore_advise._islands(outlier, Samples(draws(6)), find("ethos-u"), bar, None)
    next(tries), next(tries)
    assert goals == [20.0, 23.0]
    list(tries)
    assert 3 <= len(goals) <= 5 and goals[2] == 29.0


def test_only_what_may_be_float_is_left_float(outlier, monkeypatch) -> None:
    floats = qcore_advise._floats
    assert floats(outlier, find("ethos-u")) is None and floats(outlier, find("edgetpu")) is None
    assert floats(outlier, find("reference")) == floats(outlier, find("tflm")) == {
        (0, k) for k in range(4)
    }  # fmt: skip
    assert floats(outlier, find("cmsis-nn")) == floats(outlier, find("tflm"))
    half = ts.read(qcore.quantize(outlier, "float16").to_bytes())
    assert floats(half, find("tflm")) < {(0, k) for k in range(len(half.subgraphs[0].operators))}
    made = []
    monkeypatch.setattr(qcore_advise, "_floats", lambda *of: made.append(of) or set())
    found = advise(outlier, "tflm", draws(6), strategies=("int8",))
    assert [o.name for o in found.options] == [FLOAT, "int8", TUNED] and len(made) == 1


@pytest.mark.usefixtures("no_islands")
def test_labels_decide_by_accuracy(example_model: Path, example_data: Path, samples) -> None:
    with np.load(example_data) as arrays:
        images, labels = arrays["x_test"][:60].astype(np.float32) / 255, arrays["y_test"][:60]
    found = advise(
        example_model, "tflm", samples, labels, evaluation=list(images), strategies=("int8",)
    )
    assert found["int8"].accuracy is not None and found.chosen == "int8"
    assert "at most 1 % lost" in found.reasons[0] and "dB" not in found.reasons[0].split(":")[0]
    assert (found.samples, found.labelled, found.seen, found.warning) == (60, True, 0, "")
    both = advise(
        example_model, "tflm", samples, labels, evaluation=list(images), strategies=("int8",),
        least=80.0,
    )  # fmt: skip
    assert both["int8"].against.endswith("dB is less than 80") and both.chosen != "int8"
    wrong = advise(
        example_model, "tflm", samples, labels, evaluation=list(images), strategies=("int8",),
        lost=-1.0,
    )  # fmt: skip
    assert wrong.chosen is None and "% right is less than" in wrong["int8"].against


def test_what_it_was_measured_on_is_told(example_model: Path, samples) -> None:
    itself = advise(example_model, "tflm", iter(samples), strategies=("int8",))
    assert (itself.samples, itself.labelled, itself.seen) == (12, False, 12)
    assert "measured on 12 samples\nwarning: the calibration samples themselves:" in str(itself)
    mixed = advise(
        example_model, "tflm", samples[:6], evaluation=iter(samples[4:]), strategies=("int8",)
    )
    assert (mixed.samples, mixed.seen) == (8, 2)
    assert "warning: 2 of these 8 are calibration samples" in str(mixed)
    apart = advise(example_model, "tflm", samples[:6], evaluation=samples[6:], strategies=("int8",))
    assert apart.seen == 0 and "warning" not in str(apart)
    assert apart.measured == "measured on 6 samples, none of them a calibration sample"
    assert apart.to_json()["calibration_samples"] == 0


def test_the_same_samples_are_known_again() -> None:
    a = np.arange(6, dtype=np.float32)
    assert digest(a) == digest(a[None]) == digest([a]) == digest((a.copy(),))
    assert digest({"x": a, "y": a + 1}) == digest({"y": a + 1, "x": a})
    different = [
        a, a + 1, a.astype(np.float64), {"x": a}, ("one", {"x": a}), ("two", {"x": a}), a[:5],
        np.array([b"text", b"more"], object),
    ]  # fmt: skip
    assert len(set(map(digest, different))) == len(different)
    counted = Counted(Samples([a, a + 1]), Samples([a + 1, a + 2, a + 3]))
    for _ in range(2):
        assert len(list(counted)) == len(counted) == counted.samples == 3 and counted.seen == 1


def test_a_signature_is_one_of_the_model(example_model: Path, samples) -> None:
    key = ts.read(example_model).signature_defs
    if not key:
        pytest.skip("the example has no signature")
    name = key[0].signature_key
    found = advise(example_model, "tflm", samples[:3], strategies=("int8",), signature=name)
    assert found["int8"] == advise(example_model, "tflm", samples[:3], strategies=("int8",))["int8"]
    with pytest.raises(BadInput, match="nowhere"):
        advise(example_model, "tflm", samples[:3], strategies=("int8",), signature="nowhere")


def test_no_samples(example_model: Path) -> None:
    with pytest.raises(BadInput, match="give at least one"):
        advise(example_model, "tflm", [])
    with pytest.raises(BadInput, match="there are no labels"):
        advise(example_model, "tflm", [], lost=0.1)
    with pytest.raises(BadRecipe, match="'int7'"):
        advise(example_model, "tflm", [], strategies=("int7",))


@pytest.mark.usefixtures("no_islands")
def test_the_command(example_model: Path, example_data: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out.tflite"
    words = ["advise", str(example_model), "--target", "tflm", "-o", str(out)]
    data = ["--data", str(example_data), "--std", "255", "--limit", "6", "--eval-limit", "50"]
    assert invoke([*words, *data]) == 0  # x_test and y_test of the archive
    told = capsys.readouterr().out
    assert "tflm: int8" in told and "accuracy" in told
    assert "measured on 50 labelled samples, none of them a calibration sample" in told
    assert check(out, "tflm").whole
    assert invoke(words) == 2
    few = ["--strategy", "int8", "--strategy", "weight_only", "--json"]
    assert invoke([*words, *data, *few, "--least", "500"]) == 0  # float is what it is
    found = json.loads(capsys.readouterr().out)
    assert found["chosen"] == FLOAT and (found["samples"], found["labelled"]) == (50, True)
    assert [o["name"] for o in found["options"] if o["name"] != ISLANDS] == [
        FLOAT, "int8", "weight_only", TUNED,
    ]  # fmt: skip
    assert invoke([*words, *data, *few[:2], "--lost", "-1"]) == 1


def test_the_command_without_labels(
    example_model: Path, example_data: Path, tmp_path: Path, capsys
) -> None:
    with np.load(example_data) as arrays:
        images = arrays["x_calib"][:6].astype(np.float32) / 255
    np.save(tmp_path / "some.npy", images)
    words = ["advise", str(example_model), "--target", "tflm", "--strategy", "int8"]
    words += ["--data", str(tmp_path / "some.npy")]
    assert invoke(words) == 0
    told = capsys.readouterr().out
    assert "measured on 6 samples\nwarning: the calibration samples themselves" in told
    assert "accuracy" not in told
    assert invoke([*words, "--lost", "0.1"]) == 2
    assert "there are no labels" in capsys.readouterr().err
    assert invoke([*words, "--eval", str(example_data), "--eval-x", "x_test", "--y", "y_test",
                   "--eval-limit", "5"]) in (0, 1)  # fmt: skip
    assert "measured on 5 labelled samples" in capsys.readouterr().out
