"""Rules B against TFLite's older quantizer: same ranges in, the same file out.

Both get a float model that carries min and max, so that no calibration noise enters. Identical
means: operators in order with versions and options, wiring, types, scale bits, zero points, axes,
every integer. What is not compared, and why, is in `undefined`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec

import numpy as np
import pytest

import tflite_schema as ts
from qcore.errors import CannotQuantize, RuntimeFailed
from qcore.recipe import Recipe, recipe
from qcore.testing import graphs
from qcore.testing.build import Builder
from tests.twin.compare import Comparison, compare
from tests.twin.oracle import Quantizer, ours, theirs_legacy, unshared

pytestmark = pytest.mark.skipif(
    find_spec("tensorflow") is None, reason="TFLite's quantizers are in the tensorflow package"
)
RECIPES = ("int16x8", "int8_legacy")


@pytest.fixture(scope="module")
def quantizer() -> Iterator[Quantizer]:
    with Quantizer() as made:
        yield made


def like(name: str, ends: str = "float32", **deviations: bool) -> Recipe:
    """The recipe as the converter applies it; float operators are allowed unless said otherwise."""
    found = recipe(name).like_converter()
    switches = {**found.deviations, "float_operators": True, **deviations}
    return found.replace(input_type=ends, output_type=ends, deviations=switches)


def differences(mine: ts.Model, other: ts.Model) -> tuple[list[str], Comparison]:
    """What differs between two files, and how much was compared."""
    found = compare(_plain(mine), _plain(other), rewrites=False)
    assert found.tensors > 0, "nothing was compared"
    return found.differences, found


def _plain(model: ts.Model) -> ts.Model:
    """Without the bias type, which B writes into float operators as well, and the inserted
    operators' empty options, which only we write."""

    def plain(op: ts.Operator) -> ts.Operator:
        if op.name in ("QUANTIZE", "DEQUANTIZE"):
            return op.replace(options=None)
        if op.options is not None and hasattr(op.options, "quantized_bias_type"):
            return op.replace(options=op.options.replace(quantized_bias_type=None))
        if op.options is not None and hasattr(op.options, "pot_scale_int16"):
            return op.replace(options=op.options.replace(pot_scale_int16=None))
        return op

    return model.replace(
        subgraphs=tuple(
            g.replace(operators=tuple(map(plain, g.operators))) for g in model.subgraphs
        )
    )


def undefined(source: ts.Model, theirs: ts.Model) -> bool:
    """Whether B turned a float beyond int32, or NaN, into an integer, which C++ leaves undefined.

    NaN is the scale of weights without bias beside an input with a denormal one. The other happens
    where a constant must share the scale of an output with a tiny range: B wraps, we saturate. Only
    a constant whose value in steps of its stored scale is beyond int32 counts; B keeps the numbers
    of the source's tensors.
    """
    for number, graph in enumerate(source.subgraphs):
        for i, tensor in enumerate(graph.tensors):
            values, made = ts.array(source, number, i), theirs.subgraphs[number].tensors[i]
            q = made.quantization
            if values is None or q is None or q.scale is None:
                continue
            with np.errstate(all="ignore"):
                steps = np.abs(values).max(initial=0) * (1.0 / q.scale.astype(np.float64))
            narrow = made.type in (ts.TensorType.INT8, ts.TensorType.INT16)
            if narrow and tensor.type == ts.TensorType.FLOAT32 and not (steps < 2.0**31).all():
                return True
    return False


# --- random graphs --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RECIPES)
def test_random_graphs_are_identical(name, quantizer, depth):
    found, tensors, excused = like(name), 0, 0
    outcome: Counter[str] = Counter()
    for seed in range(300 * depth):
        model = graphs.random_graph(seed)
        try:
            other = theirs_legacy(quantizer, model, found)
        except RuntimeFailed as refused:
            outcome["refused"] += 1
            with pytest.raises(CannotQuantize):
                ours(model, found)
                pytest.fail(f"{name}, random_graph({seed}): only B stops: {refused}")
            continue
        differ, counted = differences(ours(model, found), other)
        if differ and undefined(model, other):
            excused += 1
            continue
        assert not differ, f"{name}, random_graph({seed}): {differ[:5]}"
        outcome["identical"] += 1
        tensors += counted.tensors
    assert outcome["identical"] >= 290 * depth and tensors > 5000 * depth, (
        outcome,
        tensors,
        excused,
    )
    assert excused <= 9 * depth, excused


@pytest.mark.parametrize("name", RECIPES)
def test_calm_random_graphs_are_identical_without_exception(name, quantizer, depth):
    found = like(name)
    for seed in range(10_000, 10_000 + 60 * depth):
        model = graphs.random_graph(seed, odd=0.0)
        try:
            other = theirs_legacy(quantizer, model, found)
        except RuntimeFailed:
            continue
        differ, _ = differences(ours(model, found), other)
        assert not differ, f"{name}, random_graph({seed}, odd=0.0): {differ[:5]}"


@pytest.mark.parametrize("name", RECIPES)
def test_both_stop_or_neither(name, quantizer, depth):
    """Strictly: B refuses a model with an operator that it does not know, and so do we."""
    found, outcome = like(name, float_operators=False), Counter()
    for seed in range(20_000, 20_000 + 60 * depth):
        model = graphs.random_graph(seed)
        try:
            theirs_legacy(quantizer, model, found, allow_float=False)
            refused = False
        except RuntimeFailed:
            refused = True
        try:
            ours(model, found)
            stopped = False
        except CannotQuantize:
            stopped = True
        assert refused == stopped, f"{name}, random_graph({seed}): B stops {refused}, we {stopped}"
        outcome[refused] += 1
    assert outcome[True] > 5 and outcome[False] > 5, outcome


@pytest.mark.parametrize(("name", "ends"), [("int16x8", "int16"), ("int8_legacy", "int8")])
def test_integer_ends(name, ends, quantizer, depth):
    """Integer inputs and outputs; where an end stays float, both stop."""
    found, outcome = like(name, ends), Counter()
    for seed in range(30_000, 30_000 + 60 * depth):
        model = graphs.random_graph(seed)
        try:
            other = theirs_legacy(quantizer, model, found)
        except RuntimeFailed:
            with pytest.raises(CannotQuantize):
                ours(model, found)
                pytest.fail(f"{name}, random_graph({seed}): only B stops")
            outcome["refused"] += 1
            continue
        differ, _ = differences(ours(model, found), other)
        assert not differ or undefined(model, other), f"{name}, random_graph({seed}): {differ[:5]}"
        outcome["identical"] += 1
    assert outcome["identical"] > 15 and outcome["refused"] > 5, outcome


# --- weights and ranges ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", RECIPES)
def test_weights_and_biases_of_every_kind(name, quantizer, depth):
    found, integers, cases = like(name), 0, 0
    for case in graphs.weight_cases(range(2 * depth)):
        model = graphs.weight_model(*case)
        differ, counted = differences(ours(model, found), theirs_legacy(quantizer, model, found))
        assert not differ, f"{name}, weight_model{case}: {differ[:5]}"
        integers, cases = integers + counted.integers, cases + 1
    assert cases == 280 * depth and integers > 5000 * depth


@pytest.mark.parametrize("name", RECIPES)
def test_weights_per_tensor(name, quantizer, depth):
    """Not DEPTHWISE_CONV_2D: B itself refuses that without channels."""
    found = like(name).with_rule(operand="weight", granularity="per_tensor")
    compared = 0
    for case in graphs.weight_cases(range(depth)):
        model = graphs.weight_model(*case)
        if case[0] == "DEPTHWISE_CONV_2D":
            continue
        other = theirs_legacy(quantizer, model, found, per_channel=False)
        differ, _ = differences(ours(model, found), other)
        assert not differ, f"{name}, per tensor, weight_model{case}: {differ[:5]}"
        compared += 1
    assert compared == 105 * depth


@pytest.mark.parametrize("name", RECIPES)
def test_activation_ranges(name, quantizer, depth):
    """Wild ones too: all zero, denormal, symmetric, up to the end of float32."""
    found = like(name)
    for seed in range(5 * depth):
        model = graphs.range_model(seed)
        differ, counted = differences(ours(model, found), theirs_legacy(quantizer, model, found))
        assert not differ, f"{name}, range_model({seed}): {differ[:5]}"
        assert counted.tensors >= 400


# --- states ---------------------------------------------------------------------------------------


def with_states(depth: int) -> Iterator[tuple[str, ts.Model]]:
    for seed in range(2 * depth):
        for variant in graphs.LSTM_VARIANTS:
            for operator in ("UNIDIRECTIONAL_SEQUENCE_LSTM", "LSTM"):
                model = graphs.lstm_model(*variant, seed, operator)
                yield f"lstm_model{(*variant, seed, operator)}", model
        yield f"svdf_model({seed})", graphs.svdf_model(seed)


def test_lstm_and_svdf(quantizer, depth):
    found, compared = like("int8_legacy", "int8"), 0
    for what, model in with_states(depth):
        differ, counted = differences(ours(model, found), theirs_legacy(quantizer, model, found))
        assert not differ, f"{what}: {differ[:5]}"
        compared += counted.integers
    assert compared > 5000 * depth


def test_lstm_and_svdf_run_by_default(depth):
    from tests.twin.runs import Runner

    with Runner() as runner:
        for what, model in with_states(depth):
            for name in RECIPES:
                refusal = runner.refusal(ours(model, name))
                assert refusal is None, f"{what} as {name}: {refusal}"


# --- the corpus -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def calibrated(corpus, quantizer) -> dict[str, ts.Model]:
    """The float models of the corpus, folded, with the ranges of one sample each."""
    from qcore.prepare import prepare

    found = {}
    for entry in corpus.entries("float"):
        model = ts.prune(prepare(ts.read(str(entry.path)), recipe("int16x8")))
        data = quantizer.calibrated(ts.to_bytes(model), entry.samples(1))
        found[entry.name] = unshared(ts.read(data))
    return found


@pytest.mark.parametrize("name", RECIPES)
def test_corpus_is_identical(name, calibrated, quantizer):
    refused = []
    for model_name, model in calibrated.items():
        try:
            other = theirs_legacy(quantizer, model, like(name))
        except RuntimeFailed as e:
            refused.append((model_name, str(e)))
            continue
        differ, counted = differences(ours(model, like(name)), other)
        assert not differ, f"{name}, {model_name}: {differ[:5]}"
        assert counted.integers > 1000 and counted.sequence
    expected = ["dtln1_lstm_f32"] if name == "int16x8" else []  # 16x8 has no LSTM
    assert [n for n, _ in refused] == expected, refused


@pytest.mark.parametrize("ends", ["int16", "float32"])
def test_every_corpus_model_takes_int16x8(ends, calibrated):
    """By default, and the official interpreter runs it."""
    from tests.twin.runs import Runner

    assert len(calibrated) >= 15
    with Runner() as runner:
        for model_name, model in calibrated.items():
            made = ours(model, recipe("int16x8").replace(input_type=ends, output_type=ends))
            graph = made.subgraphs[0]
            for t in (*graph.inputs, *graph.outputs):
                assert graph.tensors[t].type.name == ends.upper(), model_name
            refusal = runner.refusal(made)
            assert refusal is None, f"{model_name} as int16x8: {refusal}"


def test_what_is_inserted_has_one_version_in_the_file(quantizer):
    """A QUANTIZE at the front of a branch has version 1 unless the main graph inserts one."""
    main, branch = Builder(), Builder()
    x = main.input((1, 4), range=(-2, 2))
    y = main.op("TANH", [x], (1, 4), range=(-1, 1))
    low = main.op("LESS", [main.op("SUM", [y, np.array([0, 1], np.int32)], (), range=(-4, 4)),
                           np.array(0, np.float32)], (), dtype="BOOL")  # fmt: skip
    z = main.op("IF", [low, y], (1, 4), range=(-1, 1), then_subgraph_index=1, else_subgraph_index=1)
    model = main.model([main.op("TANH", [z], (1, 4), range=(-1, 1))])
    x = branch.input((1, 4), range=(-1, 1))
    (called,) = branch.model([branch.op("TANH", [x], (1, 4), range=(-1, 1))]).subgraphs
    model = model.replace(subgraphs=(*model.subgraphs, called))
    found = like("int8_legacy")
    mine = ours(model, found)
    assert differences(mine, theirs_legacy(quantizer, model, found))[0] == []
    versions = [
        {op.code.version for op in g.operators if op.name == "QUANTIZE"} for g in mine.subgraphs
    ]
    assert versions == [{2}, {2}]


# --- the checker ----------------------------------------------------------------------------------


def test_a_nudge_is_seen(quantizer):
    """A scale by its last bit, an integer by one, an operator's version: each is a difference."""
    model = graphs.weight_model("CONV_2D", "normal", "normal", 1)
    found = like("int16x8")
    mine, other = ours(model, found), theirs_legacy(quantizer, model, found)
    assert differences(mine, other)[0] == []
    graph = mine.subgraphs[0]
    at = next(i for i, t in enumerate(graph.tensors) if ts.array(mine, 0, i) is not None)

    def with_tensor(i: int, tensor: ts.Tensor) -> ts.Model:
        tensors = (*graph.tensors[:i], tensor, *graph.tensors[i + 1 :])
        return mine.replace(subgraphs=(graph.replace(tensors=tensors),))

    q = graph.tensors[at].quantization
    scale = np.nextafter(q.scale, np.float32(1))
    nudged = with_tensor(at, graph.tensors[at].replace(quantization=q.replace(scale=scale)))
    assert differences(nudged, other)[0]
    data = np.array(mine.buffers[graph.tensors[at].buffer].data)
    data[0] ^= 1
    buffers = list(mine.buffers)
    buffers[graph.tensors[at].buffer] = ts.Buffer(data=data)
    assert differences(mine.replace(buffers=tuple(buffers)), other)[0]
    first = graph.operators[0]
    version = first.replace(code=first.code.replace(version=9))
    operators = (version, *graph.operators[1:])
    assert differences(mine.replace(subgraphs=(graph.replace(operators=operators),)), other)[0]


def test_undefined_excuses_only_values_beyond_int32(quantizer):
    def concatenation(high: float) -> ts.Model:
        b = Builder()
        x = b.input((1, 2), range=(0, 1))
        both = [x, np.full((1, 2), 5, np.float32)]
        return b.model([b.op("CONCATENATION", both, (1, 4), axis=1, range=(0, high))])

    found = like("int16x8")
    calm, tiny = concatenation(1.0), concatenation(1e-6)
    assert not undefined(calm, theirs_legacy(quantizer, calm, found))
    assert undefined(tiny, theirs_legacy(quantizer, tiny, found))
    assert differences(ours(calm, found), theirs_legacy(quantizer, calm, found))[0] == []
