"""Moments as the interpreter's own values make them, through every way a model can be run, and what
is said where they are missing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qcore
import tflite_schema as ts
from qcore.calibrate import Calibration, calibrate
from qcore.calibrate.program import build
from qcore.calibrate.run import How, _workers
from qcore.errors import BadInput, BadSample, NotCalibrated, RuntimeFailed
from qcore.observers import MinMax
from qcore.params import TensorKey
from qcore.quantize import quantize
from qcore.testing.build import Builder
from qcore.testing.strategies.graphs import together
from qcore.tune.moments import Moments
from tests.calibrate import graphs
from tests.tune import direct
from tests.tune.models import base, chosen, corrected, network
from tests.tune.models import samples as random_samples
from tests.tune.test_moments import same

WINDOW = {"padding": "SAME", "stride_w": 1, "stride_h": 1}
NONE = {"dilation_w_factor": 1, "dilation_h_factor": 1}


def whole(rng: np.random.Generator, shape: tuple[int, ...], most: int = 3) -> np.ndarray:
    """Integers, of which every sum here is exact in float32."""
    return rng.integers(-most, most + 1, shape).astype(np.float32)


def chain() -> ts.Model:
    """CONV_2D -> DEPTHWISE_CONV_2D -> RESHAPE -> FULLY_CONNECTED, all of integers."""
    rng, b = np.random.default_rng(0), Builder()
    x = b.input((1, 4, 3, 2), "x")
    y = b.op("CONV_2D", [x, b.const(whole(rng, (4, 2, 2, 2))), b.const(whole(rng, (4,)))],
             (1, 4, 3, 4), names=["conv"], **WINDOW, **NONE)  # fmt: skip
    none = np.zeros(4, np.float32)
    y = b.op("DEPTHWISE_CONV_2D", [y, b.const(whole(rng, (1, 3, 3, 4))), none], (1, 4, 3, 4),
             names=["depthwise"], depth_multiplier=1, **WINDOW, **NONE)  # fmt: skip
    y = b.op("RESHAPE", [y, b.const(np.array([3, 16], np.int32))], (3, 16), names=["flat"])
    y = b.op("FULLY_CONNECTED", [y, b.const(whole(rng, (2, 16))), None], (3, 2), names=["dense"])
    return b.model([y])


def given(count: int = 6, shape: tuple[int, ...] = (1, 4, 3, 2), seed: int = 1) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [whole(rng, shape) for _ in range(count)]


def by_name(model: ts.Model, found: Calibration) -> dict[str, Moments]:
    return {
        model.subgraphs[k.subgraph].tensors[k.tensor].name or "": m
        for k, m in found.moments.items()
    }


def of(rows: list[np.ndarray]) -> Moments:
    """Moments of one group, columns as (..., K)."""
    x = np.concatenate([r.reshape(-1, r.shape[-1]) for r in rows]).astype(np.float64)
    return Moments(len(x), x.sum(0)[None], (x.T @ x)[None])


@pytest.mark.parametrize("path", ["xnnpack", "optimized", "reference"])
def test_each_operator_of_a_chain(path: str) -> None:
    model, samples = chain(), given()
    found = by_name(model, calibrate(model, samples, moments="covariance", path=path))
    assert set(found) == {"conv", "depthwise", "dense"}
    (conv, bias), depthwise = (
        [ts.array(model, 0, t) for t in model.subgraphs[0].operators[0].inputs[1:]],
        ts.array(model, 0, model.subgraphs[0].operators[1].inputs[1]),
    )
    first = [direct.linear("CONV_2D", x, conv, bias, "SAME") for x in samples]
    second = [direct.linear("DEPTHWISE_CONV_2D", x, depthwise, None, "SAME") for x in first]
    assert same(found["dense"], of([x.reshape(3, 16) for x in second]))
    padded = [np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))) for x in first]
    for channel in range(4):
        rows = [
            x[0, i : i + 3, j : j + 3, channel].reshape(1, 9)
            for x in padded for i in range(4) for j in range(3)
        ]  # fmt: skip
        want = of(rows)
        assert found["depthwise"].count == want.count == 72
        assert (found["depthwise"].total[channel] == want.total[0]).all()
        assert (found["depthwise"].products[channel] == want.products[0]).all()
    padded = [np.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0))) for x in samples]
    rows = [
        x[0, i : i + 2, j : j + 2].reshape(1, 8)
        for x in padded for i in range(4) for j in range(3)
    ]  # fmt: skip
    assert same(found["conv"], of(rows))


LEVELS = (None, "mean", "covariance")


@pytest.fixture(scope="module")
def seen() -> dict[str | None, Calibration]:
    """`chain` on `given()`, by level."""
    return {level: calibrate(chain(), given(), moments=level) for level in LEVELS}


@pytest.fixture(scope="module")
def known() -> dict[str | None, Calibration]:
    """`network` on its samples, by level."""
    return {level: calibrate(network(), random_samples(), moments=level) for level in LEVELS}


def test_levels(seen: dict[str | None, Calibration]) -> None:
    model, samples = chain(), given()
    nothing, mean, full = seen.values()
    assert not nothing.moments and dict(nothing) == dict(mean) == dict(full)
    for key, found in full.moments.items():
        assert mean.moments[key].products is None and found.products is not None
        assert (mean.moments[key].total == found.total).all()
    with pytest.raises(BadInput, match="moments is 'x'; it is 'mean' or 'covariance'"):
        calibrate(model, samples, moments="x")
    with pytest.raises(BadInput, match="moments is 'x'"):
        quantize(model, chosen(base("int8")), samples, moments="x")


def test_the_same_bits_each_time(rng: np.random.Generator) -> None:
    """However many cores there are, and through a file; the comparison can fail."""
    model = chain()
    samples = [rng.normal(1, 3, (1, 4, 3, 2)).astype(np.float32) for _ in range(8)]
    once = calibrate(model, samples, moments="covariance")
    again = calibrate(model, iter(samples), moments="covariance", threads=4)
    assert once == again and len(once.moments) == 3
    assert all(same(once.moments[k], again.moments[k]) for k in once.moments)
    programs = build(model, {0})
    how = How(MinMax(), "litert", ("xnnpack",), 4, "error", "keep", None, None, None)
    workers = [_workers(programs, replace(how, moments=m))[0] for m in LEVELS]
    assert workers == [4, 1, 1]  # one after the other
    other = calibrate(model, samples[::-1], moments="covariance")
    assert not all(same(once.moments[k], other.moments[k]) for k in once.moments)


def test_shards_add_up(rng: np.random.Generator) -> None:
    model, samples = chain(), given(7)
    once = calibrate(model, samples, moments="covariance")
    with ThreadPoolExecutor(2) as executor:
        parts = calibrate(model, samples, moments="covariance", executor=executor, shard=3)
        assert parts == once and len(once.moments) == 3
        assert parts != calibrate(model, samples[:6], moments="covariance")
        rough = [rng.normal(0, 1, (1, 4, 3, 2)).astype(np.float32) for _ in range(4)]
        recipe = chosen(corrected(base("int8")))
        made = quantize(model, recipe, rough, executor=executor, shard=2)
    assert made.to_bytes() != quantize(model, "int8", rough).to_bytes()


def dense(x: str, y: str, weights: np.ndarray) -> tuple[Builder, int]:
    """FULLY_CONNECTED in a subgraph of its own, with biases of 1."""
    b, units = Builder(), len(weights)
    bias = b.const(np.ones(units, np.float32), f"{y}_b")
    operands = [b.input((1, weights.shape[1]), x), b.const(weights, f"{y}_w"), bias]
    return b, b.op("FULLY_CONNECTED", operands, (1, units), names=[y])


TURN = np.roll(np.eye(4, dtype=np.float32), 1, 0)


def loop(times: int) -> ts.Model:
    """x (1, 4), `times` times through y = x @ TURN.T + 1."""
    main, test = Builder(), Builder()
    start = main.const(np.zeros(1, np.int32))
    operands = [start, main.input((1, 4), "x")]
    ends = main.op(
        "WHILE", operands, (1,), (1, 4), dtype=["INT32", "FLOAT32"], names=["count", "looped"],
        cond_subgraph_index=1, body_subgraph_index=2,
    )  # fmt: skip
    count = test.input((1,), "i", dtype="INT32")
    test.input((1, 4), "kept")
    again = test.op("LESS", [count, np.array([times], np.int32)], (1,), dtype="BOOL")
    body, y = dense("inside", "turned", TURN)
    count = body.tensor((1,), "j", dtype="INT32")
    body.inputs.insert(0, count)
    more = body.op("ADD", [count, np.array([1], np.int32)], (1,), dtype="INT32")
    return together(main.model([ends[1]]), test.model([again]), body.model([more, y]))


def test_every_iteration_of_a_loop() -> None:
    model, samples = loop(3), given(4, (1, 4))
    found = calibrate(model, samples, moments="covariance")
    rows = []
    for x in samples:
        for _ in range(3):
            rows.append(x)
            x = x @ TURN.T + 1
    assert by_name(model, found).keys() == {"turned"}
    assert same(by_name(model, found)["turned"], of(rows))
    made = quantize(model, chosen(corrected(base("dynamic"))), found)
    assert made.to_bytes() and not [n for n in made.plan.notes if "tuned" in n]


def test_branches_that_were_taken() -> None:
    main = Builder()
    flag, x = main.input((), "flag", dtype="BOOL"), main.input((1, 4), "x")
    y = main.op("IF", [flag, x], (1, 4), names=["chosen"], then_subgraph_index=1,
                else_subgraph_index=2)  # fmt: skip
    rng = np.random.default_rng(0)
    parts = [dense(f"in{i}", f"branch{i}", whole(rng, (4, 4)) / 3) for i in range(2)]
    model = together(main.model([y]), *(b.model([out]) for b, out in parts))
    inputs = given(5, (1, 4))
    samples = [(np.array(i % 2 == 0), x) for i, x in enumerate(inputs)]
    found = by_name(model, calibrate(model, samples, moments="covariance"))
    assert same(found["branch0"], of(inputs[::2])) and same(found["branch1"], of(inputs[1::2]))
    recipe = chosen(corrected(base("dynamic")))
    never = quantize(model, recipe, samples[::2])
    assert [n for n in never.plan.notes if "tuned" in n] == [
        "FULLY_CONNECTED 0 (branch1): what it reads was not observed, so that it was not tuned"
    ]


def test_signatures() -> None:
    parts = [dense("x", f"y{i}", TURN / 3) for i in range(2)]
    model = together(*(b.model([out]) for b, out in parts))
    defs = tuple(
        ts.SignatureDef(
            (ts.TensorMap("x", b.inputs[0]),), (ts.TensorMap("y", out),), f"s{i}", subgraph_index=i
        )
        for i, (b, out) in enumerate(parts)
    )
    model = model.replace(signature_defs=defs)
    inputs = given(4, (1, 4))
    samples = [("s1" if i == 3 else "s0", {"x": x}) for i, x in enumerate(inputs)]
    found = by_name(model, calibrate(model, samples, moments="covariance"))
    assert same(found["y0"], of(inputs[:3])) and same(found["y1"], of(inputs[3:]))


def test_values_that_are_not_finite_count_as_zero() -> None:
    model, samples = chain(), given()
    samples[2][0, 1, 1] = np.nan, np.inf
    zero = [np.where(np.isfinite(x), x, np.float32(0)) for x in samples]
    with pytest.raises(BadSample, match="sample 2"):
        calibrate(model, samples, moments="mean")
    found = by_name(model, calibrate(model, samples, moments="covariance", nonfinite="skip"))
    want = by_name(model, calibrate(model, zero, moments="covariance"))
    assert same(found["conv"], want["conv"])
    assert all(np.isfinite(m.products).all() and np.isfinite(m.total).all() for m in found.values())


def test_inputs_that_no_sample_changes() -> None:
    """A tensor made of constants is observed once."""
    b = Builder()
    table = b.const(-np.arange(8, dtype=np.float32).reshape(2, 4), "table")
    x = b.input((2, 3), "x")
    made = b.op("ABS", [table], (2, 4), names=["made"])
    y = b.op("FULLY_CONNECTED", [made, b.const(whole(np.random.default_rng(0), (3, 4))), None],
             (2, 3), names=["y"])  # fmt: skip
    model = b.model([b.op("ADD", [x, y], (2, 3), names=["sum"])])
    found = calibrate(model, given(3, (2, 3)), moments="covariance")
    assert same(by_name(model, found)["y"], of([np.arange(8).reshape(2, 4)]))
    assert quantize(model, chosen(corrected(base("int8"))), found).to_bytes()


def test_behind_an_lstm() -> None:
    """Whose intermediates the runtime does not keep."""
    model = graphs.lstm()
    part, place = model.subgraphs[0], len(model.subgraphs[0].tensors)
    w = np.arange(6, dtype=np.float32).reshape(2, 3) / 7
    tensors = (
        *part.tensors,
        ts.Tensor((2, 3), ts.TensorType.FLOAT32, len(model.buffers), "w"),
        ts.Tensor((4, 2), ts.TensorType.FLOAT32, 0, "dense"),
    )
    (y,) = part.outputs
    op = ts.Operator(
        ts.OperatorCode.of("FULLY_CONNECTED"), (y, place, -1), (place + 1,),
        ts.Options("FullyConnectedOptions"),
    )  # fmt: skip
    part = part.replace(tensors=tensors, operators=(*part.operators, op), outputs=(place + 1,))
    model = model.replace(subgraphs=(part,), buffers=(*model.buffers, ts.Buffer(w)))
    samples = [
        np.random.default_rng(i).normal(0, 1, (1, 4, 2)).astype(np.float32) for i in range(3)
    ]
    found = calibrate(model, samples, moments="covariance")
    (moments,) = found.moments.values()
    assert moments.count == 12 and found[TensorKey(0, y)].count == 36
    made = quantize(model, chosen(corrected(base("int8"))), found)
    assert (ts.array(made.source, 0, place) != w).any()


def test_weights_that_are_unpacked_before_quantizing() -> None:
    """A calibration of the file as it is serves where float16 weights become float32."""
    plain = network()
    half = quantize(plain, "float16").model
    found = calibrate(half, random_samples(), moments="covariance")
    assert len(found.moments) == 3
    recipe = chosen(corrected(base("int8")))
    made = quantize(half, recipe, found)
    assert not [n for n in made.plan.notes if "tuned" in n]
    assert made.to_bytes() == quantize(half, recipe, random_samples()).to_bytes()
    hybrid = quantize(plain, base("dynamic")).model
    found = calibrate(hybrid, random_samples(), moments="covariance")
    assert len(found.moments) == 3
    assert not [n for n in quantize(hybrid, recipe, found).plan.notes if "tuned" in n]


def test_an_image_smaller_than_the_kernel() -> None:
    """Has no output, or is refused by the runtime."""
    b = Builder()
    x = b.input((1, 3, 3, 1), "x", signature=(1, -1, -1, 1))
    w, bias = np.ones((1, 3, 3, 1), np.float32), np.zeros(1, np.float32)
    fields = {"padding": "VALID", "stride_w": 1, "stride_h": 1, **NONE}
    model = b.model([b.op("CONV_2D", [x, w, bias], (1, 1, 1, 1), names=["y"], **fields)])
    for size, count in ((4, 4), (3, 1), (2, 0)):
        one = [np.ones((1, size, size, 1), np.float32)]
        found = calibrate(model, one, path="optimized", moments="covariance")
        assert next(iter(found.moments.values())).count == count
    with pytest.raises(RuntimeFailed, match="refused sample 0"):
        calibrate(model, [np.ones((1, 1, 1, 1), np.float32)], path="optimized", moments="mean")


# --- what is missing ------------------------------------------------------------------------------


def test_samples_are_needed() -> None:
    with pytest.raises(NotCalibrated, match=r"'dynamic' needs to see .* 'gptq'; give samples or"):
        quantize(network(), chosen(base("dynamic")))
    with pytest.raises(NotCalibrated, match=r"needs to see .* 'corrected'; give samples"):
        quantize(network(), corrected(base("weight_only")))
    with pytest.raises(NotCalibrated, match="'int8_tuned' needs ranges of the activations; give"):
        quantize(network(), "int8_tuned")
    assert quantize(network(), base("dynamic")).to_bytes()


def test_a_recipe_that_tunes_no_operator_of_the_model_needs_none() -> None:
    assert quantize(graphs.chain(), chosen(base("dynamic"))).to_bytes()
    never = base("dynamic").with_rule(operand="weight", name="nobody", rounding="gptq")
    assert quantize(network(), never).to_bytes()


@pytest.mark.parametrize("name", ["int8", "dynamic"])
def test_moments_are_needed(known: dict[str | None, Calibration], name: str) -> None:
    model = network()
    plain, mean, full = known.values()
    for recipe, found, level in (
        (chosen(base(name)), plain, "covariance"),
        (chosen(base(name)), mean, "covariance"),
        (corrected(base(name)), plain, "mean"),
    ):
        said = f"calibrate with moments='{level}' .*--moments {level}"
        with pytest.raises(NotCalibrated, match=said):
            quantize(model, recipe, found)
    made = [quantize(model, corrected(base(name)), c).to_bytes() for c in (mean, full)]
    assert made[0] == made[1]


def test_too_little_asked_for() -> None:
    with pytest.raises(BadInput, match=r"'gptq' needs the covariance .* moments is 'mean'"):
        quantize(network(), chosen(base("int8")), given(), moments="mean")


def test_more_than_is_needed(known: dict[str | None, Calibration]) -> None:
    recipe = corrected(base("int8"))
    made = quantize(network(), recipe, random_samples(), moments="covariance").to_bytes()
    assert made == quantize(network(), recipe, known["mean"]).to_bytes()


def test_from_the_shell(
    tmp_path: Path, seen: dict[str | None, Calibration], capsys: pytest.CaptureFixture[str]
) -> None:
    """--moments of `calibrate`, and the calibration that it writes."""
    from qcore.cli import invoke

    model, data, out = tmp_path / "m.tflite", tmp_path / "x.npy", tmp_path / "r.json"
    ts.write(chain(), model)
    np.save(data, np.concatenate(given()))
    asked = ["calibrate", str(model), "--data", str(data), "-o", str(out)]
    assert invoke([*asked, "--moments", "covariance"]) == 0
    assert "and what 3 operators multiply" in capsys.readouterr().out
    assert Calibration.load(out) == seen["covariance"]
    made = tmp_path / "q.tflite"
    quantized = ["quantize", str(model), "-o", str(made), "--recipe", "int8_tuned"]
    assert invoke([*quantized, "--calibration", str(out)]) == 0
    want = qcore.quantize(model, "int8_tuned", Calibration.load(out)).to_bytes()
    assert made.read_bytes() == want
    assert invoke([*asked, "--moments", "much"]) != 0
