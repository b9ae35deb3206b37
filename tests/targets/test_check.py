"""`qcore.check` of whole models: what runs where, as text, as JSON, as exit code."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

import qcore
import tflite_schema as ts
from qcore.check import TargetFit, check, partitions, placed
from qcore.cli import invoke
from qcore.peers import delegation
from qcore.targets import names
from qcore.targets.rule import Placement
from qcore.targets.site import macs, sites
from qcore.testing import models
from qcore.testing.build import Builder
from tests.targets.pool import call, conv, floating, pool, t, weights

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "targets.md").read_text("utf-8")


def chain(*operators: str) -> ts.Model:
    """int8 operators of one operand, one behind the other."""
    b = Builder()
    quantized = {"dtype": "INT8", "scale": 1 / 256, "zero_point": -128}
    x = b.input((1, 4), "x", **quantized)
    for name in operators:
        y = b.tensor((1, 4), f"y{len(b.tensors)}", **quantized)
        code = ts.OperatorCode.of(name, version=1)
        b.operators.append(ts.Operator(code=code, inputs=(x,), outputs=(y,)))
        x = y
    return b.model([x])


def running(fit: TargetFit) -> str:
    """A letter for each operator: runs, taken but out of place, not taken."""
    return "".join("R" if o.runs else "t" if o.taken else "-" for o in fit.operators)


def test_behind_the_first_that_it_does_not_take_nothing_runs() -> None:
    fit = check(chain("RELU", "RELU6", "HARD_SWISH", "RELU", "TANH"), "edgetpu")["edgetpu"]
    assert running(fit) == "RR-tt"
    assert fit.verdict == "2 of 5 operators; 3 on the CPU"


def test_a_quantize_of_float_inputs_is_no_stop() -> None:
    b = Builder()
    x = b.input((1, 4))
    quantized = {"dtype": "INT8", "scale": 0.5}
    y = b.tensor((1, 4), **quantized)
    z = b.tensor((1, 4), **quantized)
    for name, i, o in (("QUANTIZE", x, y), ("RELU", y, z)):
        b.operators.append(ts.Operator(code=ts.OperatorCode.of(name), inputs=(i,), outputs=(o,)))
    assert running(check(b.model([z]), "edgetpu")["edgetpu"]) == "-R"


def test_the_gpu_takes_the_largest_part() -> None:
    model = chain("RELU", "L2_NORMALIZATION", "RELU", "RELU", "TANH", "L2_NORMALIZATION", "RELU")
    assert running(check(model, "gpu")["gpu"]) == "t-RRR-t"


def test_parts_are_put_together_across_branches() -> None:
    """Two branches of taken operators that join: one part, though another kind stands between."""
    b = Builder()
    x = b.input((1, 4))
    left = b.op("RELU", [x], (1, 4))
    other = b.op("L2_NORMALIZATION", [x], (1, 4))
    right = b.op("RELU", [x], (1, 4))
    y = b.op("ADD", [b.op("ADD", [left, right], (1, 4)), other], (1, 4))
    found = sites(b.model([y]))
    kinds = [s.name != "L2_NORMALIZATION" for s in found]
    assert partitions(found, kinds) == [(True, [0, 2, 3]), (False, [1]), (True, [4])]


def test_all_or_none() -> None:
    fit = check(chain("RELU", "GELU", "RELU"), "tflm")["tflm"]
    assert running(fit) == "t-t" and fit.verdict == "does not load: no kernel for 1 of 3"
    assert placed(Placement.ALL, sites(chain("RELU")), [True]) == [True]


def test_a_float_model_is_told_what_to_do(example_model: Path) -> None:
    found = check(example_model, ["edgetpu", "gpu", "xnnpack"])
    assert not found["edgetpu"].runs and found["gpu"].whole and found["xnnpack"].whole
    assert "float in" in str(found) and "quantize with --recipe int8" in str(found)
    assert found["gpu"].share == 1.0


def test_a_reason_names_operator_tensor_and_value() -> None:
    (site,) = sites(models.to_model(conv(weights(4, 1, 1, 8, zero_point=3))))
    fit = check(models.to_model(conv(weights(4, 1, 1, 8, zero_point=3))), "reference")["reference"]
    (operator,) = fit.operators
    assert operator.where == site.where == "CONV_2D 0 (output0)"
    assert str(operator.reasons[0]) == (
        "not so that weights of int8 have zero point 0: zero point 3 in 'input1'"
    )


def test_an_absent_operand_is_a_reason() -> None:
    given = call("GATHER", [t("int8", 1, 4, 4, 8)], t("int8", 1, 8)).on(version=1)
    fit = check(models.to_model(given), "tflm")["tflm"]
    assert "input 1 is absent" in fit.operators[0].reasons[0].found


def test_products() -> None:
    counts = {}
    for site in pool():
        counts.setdefault(site.name, macs(site))
    assert counts["ADD"] == 0 and counts["BATCH_MATMUL"] > 0 and counts["SVDF"] > 0
    (site,) = sites(models.to_model(conv(weights(4, 3, 3, 8))))
    assert macs(site) == 8 * 8 * 4 * 3 * 3 * 8
    assert check(chain("RELU"), "gpu")["gpu"].share is None


def test_json_is_plain_and_whole(example_model: Path) -> None:
    told = json.loads(json.dumps(check(example_model).to_json()))
    assert [x["target"] for x in told["targets"]] == list(names())
    operators = len(ts.read(example_model).subgraphs[0].operators)
    assert all(len(x["operators"]) == operators for x in told["targets"])


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("--target xnnpack --target gpu --strict", 0),
        ("--target edgetpu", 1),  # float: nothing runs there
        ("--target tpu", 2),
    ],
)
def test_exit_codes(arguments: str, code: int, example_model: Path, capsys) -> None:
    assert invoke(["check", str(example_model), *arguments.split()]) == code
    told = capsys.readouterr()
    assert (told.err != "") == (code == 2)


def test_strict_is_stricter(tmp_path: Path, capsys) -> None:
    file = tmp_path / "x.tflite"
    file.write_bytes(ts.to_bytes(chain("RELU", "HARD_SWISH")))
    assert invoke(["check", str(file), "--target", "edgetpu"]) == 0
    assert invoke(["check", str(file), "--target", "edgetpu", "--strict"]) == 1
    assert "HARD_SWISH" in capsys.readouterr().out
    assert invoke(["check"]) == 2


def test_the_list(capsys) -> None:
    assert invoke(["check", "--list", "--target", "ethos-u"]) == 0
    assert "the sum of a channel's absolute weights is at most 8323072" in capsys.readouterr().out
    assert invoke(["check", "--list", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert list(told) == list(names()) and told["edgetpu"]["operators"]["CONV_2D"]["version"] == 5


def variables(dtype: str) -> ts.Model:
    """A variable that is read, changed and assigned."""
    b = Builder()
    b.buffers.append(ts.Buffer(data=None))
    more = {} if dtype == "FLOAT32" else {"scale": 0.5}
    x = b.input((1, 4), dtype=dtype, **more)
    handle = b.op("VAR_HANDLE", [], (), dtype="RESOURCE", container="", shared_name="v")
    old = b.tensor((1, 4), dtype=dtype, **more)
    y = b.tensor((1, 4), dtype=dtype, **more)
    z = b.tensor((1, 4), dtype=dtype, **more)
    for name, inputs, outputs in (
        ("READ_VARIABLE", (handle,), (old,)), ("ADD", (x, old), (y,)),
        ("ASSIGN_VARIABLE", (handle, y), ()), ("RELU", (y,), (z,)),
    ):  # fmt: skip
        b.operators.append(
            ts.Operator(code=ts.OperatorCode.of(name), inputs=inputs, outputs=outputs)
        )
    return b.model([z])


def whole_models(example_model: Path, samples) -> Iterator[ts.Model]:
    yield ts.read(example_model)
    ranges = qcore.calibrate(example_model, samples)
    for recipe in ("int8", "dynamic", "float16"):
        yield qcore.load(qcore.quantize(example_model, recipe, ranges).to_bytes())


def differences(given: Sequence[ts.Model]) -> tuple[int, list[str]]:
    """How many operators were compared with the interpreter; about which of them we are wrong."""
    wrong, compared = [], 0
    for model, loaded in zip(given, delegation.load(given), strict=True):
        assert not loaded.error
        for o in check(model, "xnnpack")["xnnpack"].operators:
            if o.number not in loaded.unread:
                compared += 1
                if o.runs != (o.number in loaded.operators):
                    wrong.append(f"{o.where}: {o.runs}")
    return compared, wrong


def test_xnnpack_takes_what_we_say(example_model: Path, example_data: Path) -> None:
    samples = list(qcore.data.open(example_data, std=255, limit=4))
    given = [*whole_models(example_model, samples), variables("FLOAT32")]
    compared, wrong = differences(given)
    assert wrong == [] and compared > 50


def test_a_wrong_claim_is_seen(example_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from qcore.targets import xnnpack

    monkeypatch.setitem(xnnpack.FLOAT, "CONV_2D", lambda site: False)
    assert differences([ts.read(example_model)])[1]


def test_float_operators_are_delegated_as_we_say() -> None:
    """Alone, in float: those of the pool that our kernels' `delegated` does not decide."""
    given = [s.call for s in pool() if s.call.form == "int8" and s.name not in ("QUANTIZE",)]
    plain = [models.to_model(floating(one.on(options=fields(one)))) for one in given[:400:4]]
    compared = 0
    for model, loaded in zip(plain, delegation.load(plain), strict=True):
        if not loaded.error and 0 not in loaded.unread:
            (o,) = check(model, "xnnpack")["xnnpack"].operators
            assert o.runs == (0 in loaded.operators), o.where
            compared += 1
    assert compared > 20


def fields(one) -> dict:
    return dict(getattr(one.options, "fields", {}))


def test_the_interpreter_loads_what_we_say() -> None:
    good, bad = conv(weights(4, 1, 1, 8)), conv(weights(4, 1, 1, 8, zero_point=3))
    given = [models.to_model(good), models.to_model(bad)]
    loaded = [not x.error for x in delegation.load(given, path="reference")]
    assert loaded == [check(m, "reference")["reference"].whole for m in given] == [True, False]


def test_the_page_runs(tmp_path: Path, example_model: Path) -> None:
    code, _ = re.findall(r"(?ms)^```python\n(.*?)^```", PAGE)  # the other is of `advise`
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / "symbols.tflite").write_bytes(example_model.read_bytes())
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1.0\n") and "quantize with --recipe int8" in done.stdout


def test_nothing_runs_above_a_runtime_that_does_not_load() -> None:
    fit = check(chain("SOFTMAX", "GELU"), "cmsis-nn")["cmsis-nn"]
    assert running(fit) == "t-" and fit.verdict == "does not load: tflm has no kernel for 1 of 2"
    assert running(check(chain("SOFTMAX", "TANH"), "cmsis-nn")["cmsis-nn"]) == "R-"


def test_parts_of_delegates() -> None:
    """Made up: two nodes inside, one beside, one whose output nobody reads."""
    one = {"op_name": "ADD", "inputs": [0], "outputs": [1]}
    two, beside = one | {"inputs": [1], "outputs": [2]}, one | {"outputs": [3]}
    dead = one | {"inputs": [3], "outputs": [4]}
    whole = {"op_name": "DELEGATE", "inputs": [0], "outputs": [2]}
    last = one | {"inputs": [2, 3], "outputs": [5]}
    assert delegation.parts([one, two, beside, dead, last, whole], [5]) == ([0, 1], [3])


def test_parts_that_give_nothing() -> None:
    """Two of three ASSIGN_VARIABLE are nodes of the delegate; nothing tells of CALL_ONCE."""
    once = {"op_name": "CALL_ONCE", "inputs": [], "outputs": []}
    write = {"op_name": "ASSIGN_VARIABLE", "inputs": [7, 0], "outputs": []}
    other = write | {"inputs": [8, 0]}
    one = {"op_name": "ADD", "inputs": [0, -1], "outputs": [5]}
    inside = {"op_name": "DELEGATE", "inputs": [0, 7], "outputs": []}
    given = [once, write, other, write, one, inside, inside]
    assert delegation.parts(given, [5]) == ([1, 3], [0, 2])
    assert delegation.parts([once, other, one, inside], [5]) == ([], [0, 1])


def test_names_do_not_matter() -> None:
    """Tensors of one name are told apart when parts are made."""
    model = chain("RELU", "L2_NORMALIZATION", "RELU", "RELU")
    (graph,) = model.subgraphs
    tensors = tuple(replace(x, name="same") for x in graph.tensors)
    alike = replace(model, subgraphs=(replace(graph, tensors=tensors),))
    assert running(check(alike, "gpu")["gpu"]) == "t-RR"
