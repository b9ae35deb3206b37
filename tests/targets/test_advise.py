"""`qcore.advise`: the rule on what was measured, and that it was measured."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import qcore
from qcore.advise import FLOAT, ISLANDS, Option, advise, rank
from qcore.check import check
from qcore.cli import invoke
from qcore.errors import BadInput

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


def test_what_is_not_good_enough_is_not_advised(example_model: Path, samples) -> None:
    found = advise(example_model, "tflm", samples, strategies=("int8",), least=80)
    assert found["int8"].against.endswith("dB is less than 80")
    assert found.chosen == FLOAT


def test_operators_are_left_float_until_it_is(
    example_model: Path, samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The search has tests of its own; here it finds the dense layer."""
    given = qcore.recipe("int8").with_rule(operator="FULLY_CONNECTED", mode="float")
    asked = []
    monkeypatch.setattr(qcore_advise, "_islands", lambda *of: asked.append(of) or given)
    before = advise(example_model, "ethos-u", samples, strategies=("int8",))
    assert before.chosen == "int8" and not asked
    least = before["int8"].SQNR_dB + 1e-3
    found = advise(example_model, "ethos-u", samples, strategies=("int8",), least=least)
    assert [of[2] for of in asked] == [least]
    assert found["int8"].SQNR_dB < least and 0 < found[ISLANDS].share < 1
    good = found[ISLANDS].SQNR_dB >= least
    assert (found.chosen, found.recipe) == ((ISLANDS, given) if good else (None, None))


def test_the_search_is_asked(example_model: Path, samples) -> None:
    """What int8 reaches already needs no operator in float."""
    made = qcore_advise._islands(str(example_model), samples[:2], 1.0)
    assert qcore.quantize(example_model, made, samples[:2]).to_bytes()


def test_labels_decide_by_accuracy(example_model: Path, example_data: Path, samples) -> None:
    with np.load(example_data) as arrays:
        images, labels = arrays["x_test"][:60].astype(np.float32) / 255, arrays["y_test"][:60]
    found = advise(
        example_model, "tflm", samples, labels, evaluation=list(images), strategies=("int8",)
    )
    assert found["int8"].accuracy is not None and found.chosen == "int8"
    assert "at most 1 % lost" in found.reasons[0]
    wrong = advise(
        example_model, "tflm", samples, labels, evaluation=list(images), strategies=("int8",),
        lost=-1.0,
    )  # fmt: skip
    assert wrong.chosen is None and "% right is less than" in wrong["int8"].against


def test_no_samples(example_model: Path) -> None:
    with pytest.raises(BadInput, match="give at least one"):
        advise(example_model, "tflm", [])


def test_the_command(example_model: Path, example_data: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out.tflite"
    words = ["advise", str(example_model), "--target", "tflm", "-o", str(out)]
    data = ["--data", str(example_data), "--std", "255", "--limit", "6"]
    assert invoke([*words, *data]) == 0
    assert "tflm: int8" in capsys.readouterr().out
    assert check(out, "tflm").whole
    assert invoke(words) == 2
    assert invoke([*words, *data, "--least", "500", "--json"]) == 0  # float is what it is
    assert json.loads(capsys.readouterr().out)["chosen"] == FLOAT
