"""The commands as a user meets them: output, exit codes, one sentence for whatever goes wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import qcore
import tflite_schema as ts
from qcore import targets
from qcore.cli import invoke as run
from qcore.cli import shared
from qcore.recipe import names

ROOT = Path(__file__).resolve().parents[2]
WITHOUT_RANGES = ("dynamic", "weight_only", "float16", "int4")


@pytest.fixture
def cli(capsys, monkeypatch):
    """Run a command in this process: (exit code, stdout, stderr)."""
    monkeypatch.setenv("COLUMNS", "100")

    def call(*arguments) -> tuple[int, str, str]:
        code = run([str(a) for a in arguments])
        out = capsys.readouterr()
        return code, out.out, out.err

    return call


def start(*arguments, cwd=None, **more) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "qcore", *map(str, arguments)],
        cwd=cwd,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **more,
    )


@pytest.fixture
def quantized(cli, example_model, example_data, tmp_path) -> Path:
    target = tmp_path / "int8.tflite"
    code, _, err = cli(
        "quantize", example_model, "--data", example_data, "--std", 255, "--limit", 20, "-o", target
    )
    assert code == 0, err
    return target


# inspect


def test_inspect_shows_the_graph(cli, example_model):
    code, out, err = cli("inspect", example_model)
    assert (code, err) == (0, "")
    for words in ("155 kB", "19 operators", "serving_default", "?x32x32x1", "DEPTHWISE_CONV_2D"):
        assert words in out


def test_inspect_lists_operators_and_tensors_whole_in_a_pipe(cli, example_model):
    tensors = qcore.inspect(qcore.load(example_model)).subgraphs[0].tensors
    _, out, _ = cli("inspect", example_model, "--operators", "--tensors")
    assert "fused_activation_function=RELU" in out
    assert all(t.name in out for t in tensors)


def test_inspect_shows_inputs_in_the_order_of_a_sample(example_model):
    """A signature may list them in another order, by which nobody feeds them."""
    from qcore.binding import entries
    from qcore.inspect import inspect

    model = qcore.load(example_model)
    signature = model.signature_defs[0]
    graph = model.subgraphs[0]
    (fed,) = signature.inputs
    other = next(t for t in range(len(graph.tensors)) if t not in graph.inputs)
    maps = (ts.TensorMap("second", other), fed)
    model = model.replace(
        subgraphs=(graph.replace(inputs=(fed.tensor_index, other)),),
        signature_defs=(signature.replace(inputs=maps),),
    )
    (shown,) = inspect(model).signatures
    assert [name for name, _ in shown.inputs] == [fed.name, "second"]
    assert [i.name for i in entries(model)[0].inputs] == [fed.name, "second"]


def test_inspect_json_is_the_inspection(cli, example_model):
    code, out, _ = cli("inspect", example_model, "--json")
    found = json.loads(out)
    assert code == 0
    assert found["bytes"] == example_model.stat().st_size
    assert len(found["subgraphs"][0]["operators"]) == 19
    assert found["signatures"][0]["inputs"] == [["picture", 0]]


def test_inspect_takes_every_model_of_the_corpus(cli, corpus):
    entries = [*corpus.entries("float"), *corpus.entries("int8")]
    assert len(entries) > 30
    for entry in entries:
        code, out, err = cli("inspect", entry.path)
        assert (code, err) == (0, ""), entry.name
        assert entry.path.name in out
        assert json.loads(cli("inspect", entry.path, "--json")[1])["subgraphs"], entry.name


def test_inspect_shows_scales(cli, quantized):
    _, out, _ = cli("inspect", quantized)
    assert "0.00390625" in out and "-128" in out and "per channel" in out


# diff


def test_diff_of_equal_files(cli, quantized):
    code, out, _ = cli("diff", quantized, quantized)
    assert code == 0 and "no differences" in out


def test_diff_of_different_files(cli, example_model, quantized):
    code, out, _ = cli("diff", example_model, quantized)
    assert code == 1 and "dtype" in out and "float32 | int8" in out
    code, out, _ = cli("diff", example_model, quantized, "--json", "--ignore", "dtype")
    found = json.loads(out)
    assert code == 1 and found["same"] is False and "dtype" not in found["counts"]


def test_diff_limits_what_it_shows(cli, example_model, quantized):
    _, short, _ = cli("diff", example_model, quantized, "--limit", 3)
    _, long, _ = cli("diff", example_model, quantized, "--limit", 0)
    assert "more; --limit 0 shows all" in short and "more;" not in long
    assert len(long) > len(short)


# calibrate and quantize


@pytest.mark.parametrize("recipe", names())
def test_every_recipe(cli, recipe, example_model, example_data, tmp_path):
    target = tmp_path / "out.tflite"
    data = (
        ("--data", example_data, "--std", 255, "--limit", 10)
        if recipe not in WITHOUT_RANGES
        else ()
    )
    code, out, err = cli("quantize", example_model, "-r", recipe, *data, "-o", target, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["recipe"] == recipe
    assert found["bytes"] == target.stat().st_size < found["source_bytes"]
    assert sum(found["modes"].values()) + sum(len(r["places"]) for r in found["folded"]) == 19


def test_calibration_saved_and_read_makes_the_same_file(
    cli, quantized, example_model, example_data, tmp_path
):
    ranges, other = tmp_path / "ranges.json", tmp_path / "other.tflite"
    run = ["calibrate", example_model, "--data", example_data, "--std", 255, "--limit", 20]
    code, out, err = cli(*run, "-o", ranges)
    assert code == 0, err
    assert str(ranges) in out
    code, _, err = cli("quantize", example_model, "--calibration", ranges, "-o", other)
    assert code == 0, err
    assert other.read_bytes() == quantized.read_bytes()
    code, out, _ = cli(*run, "-o", ranges, "--json")
    assert json.loads(out)["tensors"] == len(qcore.Calibration.load(ranges))


@pytest.mark.parametrize("observer", ["minmax", "tflite", "moving_average", "histogram"])
def test_every_observer_of_the_help(cli, observer, example_model, example_data, tmp_path):
    target = tmp_path / "ranges.json"
    data = ("--data", example_data, "--std", 255, "--limit", 5)
    code, _, err = cli("calibrate", example_model, *data, "--observer", observer, "-o", target)
    assert code == 0, err
    assert len(qcore.Calibration.load(target)) > 10


def test_options_of_calibration_arrive(cli, example_model, example_data, tmp_path, monkeypatch):
    seen = {}

    def calibrate(model, samples, **options):
        seen.update(options, count=sum(1 for _ in samples))
        raise qcore.QcoreError("enough seen")

    monkeypatch.setattr(qcore, "calibrate", calibrate)
    code, _, err = cli(
        "calibrate", example_model, "--data", example_data, "--x", "x_test", "--limit", 3,
        "--runtime", "tensorflow", "--signature", "serving_default", "--nonfinite", "skip",
        "--state", "reset", "--threads", 2, "-o", tmp_path / "r.json",
    )  # fmt: skip
    assert (code, err) == (2, "qcore: enough seen\n")
    assert seen == {"runtime": "tensorflow", "signature": "serving_default", "nonfinite": "skip",
                    "state": "reset", "threads": 2, "count": 3}  # fmt: skip


def test_images_take_the_size_of_the_model(cli, corpus, tmp_path):
    model, photos = corpus.entry("mlperf_vww_mnv1_f32").path, corpus.photos()[0].parent
    a, b = tmp_path / "a.tflite", tmp_path / "b.tflite"
    data = ("--data", photos, "--std", 255, "--limit", 2)
    for more, target in (((), a), (("--size", "96x96"), b)):
        code, _, err = cli("quantize", model, *data, *more, "-o", target)
        assert code == 0, err
    assert a.read_bytes() == b.read_bytes()


def test_samples_that_nobody_reads_are_mentioned(cli, example_model, example_data, tmp_path):
    target = tmp_path / "o.tflite"
    code, out, err = cli(
        "quantize", example_model, "-r", "dynamic", "--data", example_data, "-o", target
    )
    assert code == 0, err
    assert "recipe dynamic needs no ranges" in out


def test_a_rule_leaves_an_operator_float_and_says_why(cli, example_model, example_data, tmp_path):
    target = tmp_path / "out.tflite"
    code, out, err = cli(
        "quantize",
        example_model,
        "--data",
        example_data,
        "--std",
        255,
        "--limit",
        5,
        "--rule",
        "operator=FULLY_CONNECTED,mode=float",
        "-o",
        target,
    )
    assert code == 0, err
    assert "left float" in out and "FULLY_CONNECTED" in out
    types = [t.dtype for t in qcore.inspect(qcore.load(target)).subgraphs[0].tensors]
    assert "float32" in types
    rule = ("--rule", "operator=FULLY_CONNECTED,mode=float")
    code, out, err = cli("quantize", example_model, "-r", "dynamic", *rule, "-o", target)
    assert code == 0, err
    assert "the recipe says float" in out and "it has no weights" in out


def test_set_changes_a_field_of_the_recipe(cli, example_model, example_data, tmp_path):
    a, b = tmp_path / "a.tflite", tmp_path / "b.tflite"
    data = ("--data", example_data, "--std", 255, "--limit", 5)
    assert cli("quantize", example_model, *data, "-r", "int8_float_io", "-o", a)[0] == 0
    code, _, err = cli(
        "quantize",
        example_model,
        *data,
        "-r",
        "int8",
        "-o",
        b,
        "--set",
        "input_type=float32",
        "--set",
        "output_type=float32",
    )
    assert code == 0, err
    assert a.read_bytes() == b.read_bytes()


def test_the_plan_can_be_saved(cli, example_model, tmp_path):
    plan = tmp_path / "plan.json"
    code, _, err = cli(
        "quantize", example_model, "-r", "dynamic", "-o", tmp_path / "o.tflite", "--plan", plan
    )
    assert code == 0, err
    assert json.loads(plan.read_text("utf-8"))["recipe"] == "dynamic"


def test_names_with_spaces_and_any_letters(cli, example_model, tmp_path):
    name = tmp_path / "näme mit Läerzeichen [red] 模型.tflite"
    name.write_bytes(example_model.read_bytes())
    target = tmp_path / "où [bold] ça.tflite"
    code, out, err = cli("quantize", name, "-r", "dynamic", "-o", target)
    assert code == 0, err
    assert target.name in out
    assert name.name in cli("inspect", name)[1]


# what goes wrong


def bad_input(model: Path, data: Path, folder: Path):
    """(what, arguments, words of the sentence)"""
    text = folder / "text.tflite"
    text.write_text("not a model, but long enough to be one")
    empty = folder / "empty.tflite"
    empty.write_bytes(b"")
    cut = folder / "cut.tflite"
    cut.write_bytes(model.read_bytes()[:10_000])
    recipe = folder / "recipe.toml"
    recipe.write_text("[[rule]\n")
    out = folder / "out.tflite"
    quantize = ("quantize", model, "-o", out)
    yield "no such command", ("fly",), "No such command 'fly'"
    yield "no such option", ("inspect", model, "--wings"), "No such option"
    yield "no argument", ("inspect",), "Missing argument"
    yield "no output", ("quantize", model), "Missing option"
    yield "no file", ("inspect", folder / "nowhere.tflite"), "nowhere.tflite: there is no such file"
    yield "a folder", ("inspect", folder), "is a folder"
    yield "not a model", ("inspect", text), "text.tflite is not a readable .tflite file"
    yield "an empty file", ("inspect", empty), "empty.tflite is not a readable .tflite file"
    yield "half a model", ("inspect", cut), "cut.tflite is not a readable .tflite file"
    yield "diff with nothing", ("diff", model, folder / "b"), "b: there is no such file"
    yield (
        "diff kind",
        ("diff", model, model, "--ignore", "colour"),
        "'colour' is no kind of difference",
    )
    yield "no ranges", quantize, "needs ranges"
    yield "no recipe", (*quantize, "-r", "int7"), "recipe 'int7' is unknown"
    yield "bad recipe", (*quantize, "-r", recipe), "is not TOML"
    yield "no recipe file", (*quantize, "-r", folder / "x.toml"), "x.toml: there is no such file"
    yield "rule", (*quantize, "-r", "dynamic", "--rule", "mode"), "write it as FIELD=VALUE"
    yield "rule mode", (*quantize, "-r", "dynamic", "--rule", "mode=fast"), "mode 'fast' is unknown"
    operand = (*quantize, "-r", "dynamic", "--rule", "operand=weigh,dtype=int8")
    yield "rule operand", operand, "no operator has an operand 'weigh'"
    yield "rule field", (*quantize, "-r", "dynamic", "--rule", "layer=3"), "unknown field"
    yield "set", (*quantize, "-r", "dynamic", "--set", "colour=red"), "unknown field 'colour'"
    yield "set path", (*quantize, "-r", "dynamic", "--set", "name.x=red"), "not a field"
    yield "set type", (*quantize, "-r", "dynamic", "--set", "deviations=3"), "deviations is 3"
    yield "rule type", (*quantize, "-r", "dynamic", "--rule", "name=3,mode=float"), "name is 3"
    yield (
        "no plan folder",
        (*quantize, "-r", "dynamic", "--plan", folder / "no" / "p"),
        "/no/p: there is",
    )
    yield "size", (*quantize, "--data", data, "--size", "axb"), "give N or HxW"
    yield "mean", (*quantize, "--data", data, "--mean", "grey"), "give a number"
    yield "no data", (*quantize, "--data", folder / "x.npz"), "x.npz"
    yield "data and ranges", (*quantize, "--data", data, "--calibration", out), "both give ranges"
    yield (
        "no calibration",
        (*quantize, "--calibration", folder / "c.json"),
        "c.json: there is no such file",
    )
    yield "not a calibration", (*quantize, "--calibration", recipe), "recipe.toml"
    yield "no samples", ("calibrate", model, "-o", out), "give --data"
    yield "std without data", (*quantize, "--std", "255"), "give --data too"
    yield (
        "observer",
        (*quantize, "--data", data, "--observer", "guess"),
        "observer 'guess' is unknown",
    )
    yield "limit", (*quantize, "--data", data, "--limit", "0"), "--limit"
    yield "over itself", ("quantize", model, "-r", "dynamic", "-o", model), "is the model itself"
    yield "no folder", ("quantize", model, "-r", "dynamic", "-o", folder / "no" / "o.tflite"), "no"


def test_every_kind_of_bad_input_is_one_sentence(cli, example_model, example_data, tmp_path):
    before = example_model.read_bytes()
    for what, arguments, words in bad_input(example_model, example_data, tmp_path):
        code, out, err = cli(*arguments)
        assert code == 2, (what, out, err)
        assert err.startswith("qcore: ") and err.count("\n") == 1, (what, err)
        assert words in err, (what, err)
        assert not (tmp_path / "out.tflite").exists(), what
    assert example_model.read_bytes() == before


def test_a_defect_of_ours_is_not_hidden(cli, example_model, monkeypatch):
    import qcore.cli.shared as shared

    monkeypatch.setattr(shared, "load", lambda path: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cli("inspect", example_model)


def test_ctrl_c_leaves_nothing_behind(example_model, tmp_path):
    (tmp_path / "endless.py").write_text(
        "import time, numpy as np, pathlib\n"
        "def samples():\n"
        "    while True:\n"
        "        yield np.zeros((1, 32, 32, 1), np.float32)\n"
        "        pathlib.Path('started').touch()\n"
        "        time.sleep(0.05)\n"
    )
    target = tmp_path / "ranges.json"
    child = start(
        "calibrate",
        example_model,
        "--data",
        "endless:samples",
        "-o",
        target,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    for _ in range(200):
        if (tmp_path / "started").exists() or child.poll() is not None:
            break
        time.sleep(0.1)
    os.killpg(child.pid, signal.SIGINT)  # what a terminal does: the whole group
    _, err = child.communicate(timeout=20)
    assert child.returncode == 130, err
    assert err == "qcore: interrupted; nothing was left half written\n"
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != "__pycache__") == [
        "endless.py",
        "started",
    ]


def test_a_reader_that_goes_away_is_no_error(example_model):
    child = start("inspect", example_model, "--json")
    child.stdout.close()  # long before it has anything to write
    assert child.stderr.read() == ""
    assert child.wait(20) == 141


def test_help_of_every_command_has_an_example(cli):
    code, out, _ = cli("--help")
    assert code == 0
    for command in ("inspect", "calibrate", "quantize", "diff"):
        assert command in out
        code, shown, _ = cli(command, "--help")
        assert code == 0 and "Example: qcore" in " ".join(shown.split())


@pytest.mark.parametrize("command", ["quantize", "sensitivity", "mixed"])
def test_help_names_every_recipe(cli, command):
    _, out, _ = cli(command, "--help")
    assert all(f"{name}," in out for name in names())


def test_help_names_every_target():
    assert ", ".join(targets.names()) == shared.TARGETS


def test_no_arguments_is_help(cli):
    code, out, err = cli()
    assert code == 0 and "Usage" in out and err == ""


def test_version(cli):
    assert cli("--version") == (0, f"qcore {qcore.__version__}\n", "")
