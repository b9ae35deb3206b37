"""Rules A against TFLite's MLIR quantizer: same ranges in, the same file out.

Both get a float model that carries min and max, so that no calibration noise enters. Identical
means: operators in order with versions, wiring, types, scale bits, zero points, axes, every
integer. What the converter merely writes differently is in `tests.twin.compare`; what it computes
beforehand, so that a graph is not comparable, is in `computed_before`.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

import numpy as np
import pytest

import tflite_schema as ts
from qcore.calibrate import Calibration, calibrate
from qcore.errors import CannotQuantize, RuntimeFailed
from qcore.peers import tflite
from qcore.prepare import prepare
from qcore.quantize import quantize
from qcore.recipe import Recipe, recipe
from qcore.testing import graphs
from qcore.testing.build import Builder
from tests import corpus as the_corpus
from tests.twin.compare import Comparison, compare
from tests.twin.oracle import NEEDED, Quantizer, carrying, ours, theirs_mlir

pytestmark = pytest.mark.skipif(
    find_spec("tensorflow") is None, reason="TFLite's quantizers are in the tensorflow package"
)
i32, f32 = np.int32, np.float32
APART = ("SHAPE", "CUMSUM", "GATHER", "GATHER_ND", "TRANSPOSE")  # see `computed_before`


@pytest.fixture(scope="module")
def quantizer() -> Iterator[Quantizer]:
    with Quantizer() as made:
        yield made


def like(name: str = "int8", **changes: object) -> Recipe:
    """The recipe as the converter applies it, but with what it needs to accept a model at all."""
    return recipe(name).like_converter(NEEDED).replace(**changes)


def both(quantizer: Quantizer, model: ts.Model, found: Recipe, **options: object) -> Comparison:
    return compare(ours(model, found), theirs_mlir(quantizer, model, found, **options))


def computed_before(model: ts.Model) -> str | None:
    """Why the converter's graph is another one, where it is.

    It computes operators on constants, the shape of a static tensor and products with zero, drops
    CUMSUM along one value, and merges or drops TRANSPOSE; what only fed them goes as well.
    """
    graph = model.subgraphs[0]
    transposed = {op.outputs[0] for op in graph.operators if op.name == "TRANSPOSE"}
    for op in graph.operators:
        data = [t for t in op.inputs if t >= 0 and graph.tensors[t].type == ts.TensorType.FLOAT32]
        constants = [ts.array(model, 0, t) for t in data]
        if data and all(c is not None for c in constants):
            return f"{op.name} of constants"
        if op.name in ("SHAPE", "CUMSUM"):
            return op.name
        if op.name == "TRANSPOSE":
            order = ts.array(model, 0, op.inputs[1])
            shapes = {graph.tensors[t].shape for t in (op.inputs[0], op.outputs[0])}
            moved = [a for a in order if graph.tensors[op.inputs[0]].shape[a] != 1]
            if op.inputs[0] in transposed or (len(shapes) == 1 and moved == sorted(moved)):
                return "TRANSPOSE"
        if op.name == "MUL" and any(c is not None and not c.any() for c in constants):
            return "MUL with zero"
    return None


# --- random graphs --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["int8", "int8_float_io"])
def test_random_graphs_are_identical(name, quantizer, depth):
    found, total, seen, refused, apart = like(name), Comparison(), 0, [], 0
    for seed in range(150 * depth):
        model = graphs.random_graph(seed)
        if computed_before(model):
            apart += 1
            continue
        try:
            theirs = theirs_mlir(quantizer, model, found)
        except RuntimeFailed as refusal:
            assert "same scale constraint" in str(refusal), f"random_graph({seed}): {refusal}"
            refused.append(seed)
            continue
        result = compare(ours(model, found), theirs)
        assert result.same, f"{name}, random_graph({seed}): {result.differences[:5]}"
        total.add(result)
        seen += 1
    assert seen >= 100 * depth and total.tensors > 1200 * depth, (seen, total.tensors, apart)
    assert len(refused) <= 5 * depth, refused


@pytest.mark.parametrize("ends", ["int8", "uint8", "float32"])
@pytest.mark.parametrize("starts", ["int8", "uint8", "float32"])
def test_inputs_and_outputs_of_every_type(starts, ends, quantizer, depth):
    found = like(input_type=starts, output_type=ends)
    seen = 0
    for seed in range(1000, 1000 + 12 * depth):
        model = graphs.random_graph(seed, without=APART)
        try:
            result = both(quantizer, model, found)
        except RuntimeFailed:
            continue
        assert result.same, f"{starts}, {ends}, random_graph({seed}): {result.differences[:5]}"
        seen += 1
    assert seen >= 8 * depth


MOVED = ("SLICE", "STRIDED_SLICE", "SPLIT", "SPLIT_V", "UNPACK", "TRANSPOSE_CONV", "MAXIMUM",
         "FULLY_CONNECTED")  # fmt: skip


def test_operators_that_a_rule_leaves_float(quantizer, depth):
    """As the converter's denied operators, but for three: it moves a denied operator that shrinks
    its input in front of the DEQUANTIZE, stores the weights of TRANSPOSE_CONV as int8, and
    simplifies what is left in float (MAXIMUM with 0 becomes RELU)."""
    seen = 0
    for seed in range(2000, 2000 + 25 * depth):
        model = graphs.random_graph(seed, without=APART)
        names = sorted({op.name for op in model.subgraphs[0].operators})
        denied = names[seed % len(names)]
        if denied in MOVED or "POOL" in denied or denied.startswith("REDUCE_M"):
            continue
        found = like().with_rule(operator=denied, mode="float")
        try:
            theirs = theirs_mlir(quantizer, model, like(), denied_operators=[denied])
        except RuntimeFailed:
            continue
        result = compare(ours(model, found), theirs)
        assert result.same, f"without {denied}, random_graph({seed}): {result.differences[:5]}"
        seen += 1
    assert seen >= 10 * depth


# --- arithmetic -----------------------------------------------------------------------------------


def test_weights_and_biases_of_every_kind(quantizer, depth):
    total = Comparison()
    for operator, weight, bias, seed in graphs.weight_cases(range(depth)):
        if bias == "none" and operator in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            pass  # the converter accepts it, only its calibrator does not
        model = graphs.weight_model(operator, weight, bias, seed)
        result = both(quantizer, model, like())
        case = f"weight_model({operator!r}, {weight!r}, {bias!r}, {seed})"
        assert result.same, f"{case}: {result.differences[:5]}"
        total.add(result)
    assert total.constants > 200 and total.integers > 2000, total


def test_activation_ranges(quantizer, depth):
    total = Comparison()
    for seed in range(4 * depth):
        result = both(quantizer, graphs.range_model(seed), like())
        assert result.same, f"range_model({seed}): {result.differences[:5]}"
        total.add(result)
    assert total.tensors > 350 * depth


# --- single rules ---------------------------------------------------------------------------------


def unary(b: Builder, x: int, name: str, high: float = 2.0, **fields: object) -> int:
    shape = b.tensors[x].shape
    return b.op(name, [x], shape, range=(0, high), **fields)


def between(name: str, *extra: np.ndarray, first: bool = False, **fields: object) -> ts.Model:
    """ABS, the operator, EXP, each with a range of its own."""
    b = Builder()
    x = unary(b, b.input((1, 4, 4, 2), range=(-1, 2)), "ABS")
    operands = [*extra, x] if first else [x, *extra]
    y = b.op(name, operands, (1, 4, 4, 2), range=(0, 3.0), **fields)
    return b.model([unary(b, y, "EXP", 9.0)])


IDENTITIES = {
    "x + 0": between("ADD", np.zeros(2, f32)),
    "0 + x": between("ADD", np.zeros(2, f32), first=True),
    "x - 0": between("SUB", np.array(0, f32)),
    "x * 1": between("MUL", np.ones((1, 4, 4, 2), f32)),
    "x / 1": between("DIV", np.ones(2, f32)),
    "reshape": between("RESHAPE", np.array([1, 4, 4, 2], i32)),
    "slice": between("SLICE", np.zeros(4, i32), np.array([1, 4, 4, 2], i32)),
    "strided": between(
        "STRIDED_SLICE", np.zeros(4, i32), np.array([1, 4, 4, 2], i32), np.ones(4, i32)
    ),
    "strided, masks": between(
        "STRIDED_SLICE", np.zeros(4, i32), np.array([1, 4, 4, 2], i32), np.ones(4, i32), end_mask=15
    ),
    "pad": between("PAD", np.zeros((4, 2), i32)),
    "padv2": between("PADV2", np.zeros((4, 2), i32), np.array(1, f32)),
    "squeeze": between("SQUEEZE"),
    "-0 and 0": between("ADD", np.array([0.0, -0.0], f32)),
    "mirror_pad": between("MIRROR_PAD", np.zeros((4, 2), i32)),
    "concatenation of one": between("CONCATENATION", axis=1),
    "sum of one": between("SUM", np.array([0], i32), keep_dims=True),
}


@pytest.mark.parametrize("case", IDENTITIES)
def test_operators_that_change_nothing(case, quantizer):
    result = both(quantizer, IDENTITIES[case], like())
    assert result.same, result.differences


READERS = (
    ("arg", "neg"), ("neg", "arg"), ("exp", "arg"), ("neg", "exp", "arg"), ("eq", "neg"),
    ("less", "neg"), ("neg", "less"), ("arg", "arg"), ("concat", "arg", "neg"),
    ("neg", "arg", "concat"),
)  # fmt: skip


@pytest.mark.parametrize("readers", READERS, ids="-".join)
@pytest.mark.parametrize("shown", [False, True], ids=["inside", "output"])
def test_which_reader_the_converter_reaches(readers, shown, quantizer):
    b = Builder()
    y = unary(b, b.input((1, 6), range=(-1, 2)), "ABS")
    outputs = [y] if shown else []
    for reader in readers:
        if reader == "arg":
            axis = np.array(1, i32)
            fields = {"dtype": "INT64", "output_type": "INT64"}
            outputs.append(b.op("ARG_MAX", [y, axis], (1,), **fields))
        elif reader == "eq":
            outputs.append(b.op("EQUAL", [y, np.zeros((1, 6), f32)], (1, 6), dtype="BOOL"))
        elif reader == "less":
            outputs.append(b.op("LESS", [y, y], (1, 6), dtype="BOOL"))
        elif reader == "concat":
            outputs.append(b.op("CONCATENATION", [y, y], (2, 6), range=(-3, 3), axis=0))
        else:
            outputs.append(unary(b, y, reader.upper(), 8.0))
    result = both(quantizer, b.model(outputs), like())
    assert result.same, result.differences


@pytest.mark.parametrize("name", ["RELU", "RELU6", "RELU_N1_TO_1"])
@pytest.mark.parametrize("before", ["ADD", "FULLY_CONNECTED", "DIV", "SQUARED_DIFFERENCE"])
@pytest.mark.parametrize("others", [0, 1])
def test_activations_are_merged(name, before, others, quantizer):
    b = Builder()
    x = b.input((2, 4), range=(-3, 3))
    w = np.linspace(-1, 1, 16).reshape(4, 4).astype(f32)
    operands = [x, w, np.ones(4, f32)] if before == "FULLY_CONNECTED" else [x, w[:1]]
    y = b.op(before, operands, (2, 4), range=(-4, 5))
    outputs = [unary(b, y, name)] + [unary(b, y, "EXP")] * others
    result = both(quantizer, b.model(outputs), like())
    assert result.same, result.differences


def test_operators_nobody_reads_are_gone(quantizer):
    b = Builder()
    x = b.input((1, 4), range=(-1, 1))
    unary(b, unary(b, x, "EXP"), "ABS")
    result = both(quantizer, b.model([unary(b, x, "GELU")]), like())
    assert result.same, result.differences
    made = ours(b.model([unary(b, x, "GELU")]), "int8")
    assert [op.name for op in made.subgraphs[0].operators] == ["GELU"]


def test_uncalibrated_tensors_leave_their_operators_float(quantizer):
    b = Builder()
    x = b.input((1, 4), range=(-1, 1))
    y = b.op("EXP", [x], (1, 4))  # without a range
    z = b.op("ADD", [y, x], (1, 4), range=(0, 4))
    result = both(quantizer, b.model([unary(b, z, "ABS")]), like())
    assert result.same, result.differences


LSTMS: dict[str, dict[str, bool]] = {
    "plain": {},
    "cifg": {"cifg": True},
    "peephole": {"peephole": True},
    "projection": {"projection": True},
    "layer norm": {"norm": True},
    "layer norm, cifg": {"norm": True, "cifg": True},
    "all": {"peephole": True, "projection": True, "norm": True},
    "tiny input": {"tiny": True},
}


def lstm(
    cifg: bool = False,
    peephole: bool = False,
    projection: bool = False,
    norm: bool = False,
    tiny: bool = False,
) -> ts.Model:
    """ABS, UNIDIRECTIONAL_SEQUENCE_LSTM, EXP."""
    rng = np.random.RandomState(len(LSTMS))
    b, cells, width = Builder(), 6, 5
    out = 3 if projection else cells

    def gates(*shape: int, gate: int = 4, used: bool = True) -> list[np.ndarray | None]:
        absent = [not used or (cifg and g == 0) for g in range(gate)]
        return [None if gone else rng.normal(0, 0.3, shape).astype(f32) for gone in absent]

    x = b.input((2, 7, width), range=(-1.3, 2.1))
    x = b.op("ABS", [x], (2, 7, width), range=(0, 1e-38 if tiny else 2.1))
    operands = [x, *gates(cells, width), *gates(cells, out), *gates(cells, gate=3, used=peephole)]
    operands += gates(cells)
    operands += [
        rng.normal(0, 0.3, s).astype(f32) if projection else None for s in ((out, cells), out)
    ]
    operands += [
        b.tensor((2, out), is_variable=True, range=(-0.7, 0.9)),
        b.tensor((2, cells), is_variable=True, range=(-1.9, 1.2)),
        *gates(cells, used=norm),
    ]
    inner = [
        b.tensor((), range=(-3, 2 + g) if norm and not (cifg and g == 0) else None)
        for g in range(4)
    ]
    y = b.op(
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        operands,
        (2, 7, out),
        range=(-0.5, 1.0),
        intermediates=[*inner, b.tensor((), range=(-0.8, 0.5))],
        fused_activation_function="TANH",
    )
    return b.model([unary(b, y, "EXP", 3.0)])


@pytest.mark.parametrize("case", LSTMS)
def test_lstm(case, quantizer):
    result = both(quantizer, lstm(**LSTMS[case]), like())
    assert result.same and result.tensors >= 20, result.differences


@pytest.mark.parametrize("name", ["int8", "int8_legacy"])
@pytest.mark.parametrize("case", ["projection", "layer norm", "layer norm, cifg"])
def test_an_lstm_without_ranges_of_its_inner_values_stays_float(name, case):
    """An integer LSTM without them is refused by the runtime or computes noise."""
    from tests.twin.runs import Runner

    model = lstm(**LSTMS[case])
    (graph,) = model.subgraphs
    inner = next(op.intermediates for op in graph.operators if "LSTM" in op.name)
    tensors = [
        t.replace(quantization=None) if i in inner else t for i, t in enumerate(graph.tensors)
    ]
    bare = model.replace(subgraphs=(graph.replace(tensors=tuple(tensors)),))

    def made(source: ts.Model, **deviations: bool):
        found = recipe(name).replace(deviations=deviations)
        result = quantize(source, found, Calibration.from_model(source))
        steps = result.plan.subgraphs[0].steps
        return result, next(s for s in steps if "LSTM" in s.name)

    assert made(model)[1].mode == "int8"
    if case != "projection":
        assert made(bare, uncalibrated=False)[1].mode == "int8"
    elif name == "int8_legacy":
        with pytest.raises(CannotQuantize, match=r"effective_hidden.*'uncalibrated'"):
            made(bare, uncalibrated=False)
    result, step = made(bare)
    assert step.mode == "float32" and "which the calibration does not have" in step.note
    with Runner() as runner:
        assert runner.refusal(result.to_bytes()) is None


def test_svdf(quantizer):
    rng = np.random.RandomState(0)
    b = Builder()
    x = unary(b, b.input((2, 3), range=(-1, 2)), "ABS")
    w, t, bias = (rng.normal(0, 0.3, s).astype(f32) for s in ((4, 3), (4, 5), (2,)))
    state = b.tensor((2, 20), is_variable=True, range=(-1, 3))
    operands = [x, w, t, bias, state]
    fields = {"rank": 2, "fused_activation_function": "RELU"}
    y = b.op("SVDF", operands, (2, 2), range=(-1, 2), **fields)
    result = both(quantizer, b.model([unary(b, y, "EXP")]), like())
    assert result.same and result.integers == 34, result.differences


def together(*models: ts.Model) -> ts.Model:
    """One model with the subgraphs of all."""
    buffers, subgraphs = [ts.Buffer(data=None)], []
    for model in models:
        (graph,) = model.subgraphs
        shift = len(buffers) - 1
        tensors = (t.replace(buffer=t.buffer + shift if t.buffer else 0) for t in graph.tensors)
        subgraphs.append(graph.replace(tensors=tuple(tensors), name=f"g{len(subgraphs)}"))
        buffers += model.buffers[1:]
    return models[0].replace(subgraphs=tuple(subgraphs), buffers=tuple(buffers))


@pytest.mark.parametrize("name", ["int8", "int8_float_io"])
def test_control_flow_keeps_float_ends(name, quantizer):
    """Bodies are integer inside and float where they are entered and left, as are WHILE and IF."""
    shape, w = (1, 4), np.eye(4, dtype=f32) * f32(0.5)
    test, body, main = Builder(), Builder(), Builder()
    x = test.input(shape, range=(0, 2))
    total = test.op("SUM", [x, np.array([0, 1], i32)], (), range=(0, 8))
    condition = test.model([test.op("LESS", [total, np.array(3, f32)], (), dtype="BOOL")])
    x = body.input(shape, range=(0, 2))
    y = body.op("FULLY_CONNECTED", [x, w, np.ones(4, f32)], shape, range=(0, 3))
    step = body.model([unary(body, y, "ABS", 3.0)])
    x = unary(main, main.input(shape, range=(-1, 1)), "ABS", 1.0)
    y = main.op("WHILE", [x], shape, range=(0, 4), cond_subgraph_index=1, body_subgraph_index=2)
    model = together(main.model([unary(main, y, "EXP", 9.0)]), condition, step)
    result = both(quantizer, model, like(name))
    assert result.same and result.sequence, result.differences
    made = ours(model, name)
    assert {made.subgraphs[2].tensors[t].type for t in made.subgraphs[2].inputs} == {
        ts.TensorType.FLOAT32
    }


# --- where we depart on purpose -------------------------------------------------------------------


def test_the_raised_weights_deviation():
    """One channel, a huge bias: by default integers and scale belong together."""
    b = Builder()
    x = b.input((1, 4), range=(0, 1))
    w = np.array([[1e-6, -5e-7, 2e-7, 1e-7]], f32)
    y = b.op("FULLY_CONNECTED", [x, w, np.array([1], f32)], (1, 1), range=(0, 1))
    model = b.model([y])

    def weight(found: Recipe) -> tuple[np.ndarray, float]:
        made = ours(model, found)
        index = made.subgraphs[0].operators[0].inputs[1]
        return ts.array(made, 0, index), float(
            made.subgraphs[0].tensors[index].quantization.scale[0]
        )

    mine, scale = weight(recipe("int8"))
    theirs, same_scale = weight(recipe("int8").replace(deviations={"raised_weights": False}))
    assert scale == same_scale
    assert abs(mine * scale - w).max() <= scale / 2
    assert abs(theirs * scale - w).max() > scale


def test_the_integer_readers_deviation():
    b = Builder()
    y = unary(b, b.input((1, 6), range=(-1, 2)), "ABS")
    arg = b.op("ARG_MAX", [y, np.array(1, i32)], (1,), dtype="INT64", output_type="INT64")
    model = b.model([arg, y])
    names = [op.name for op in ours(model, "int8").subgraphs[0].operators]
    assert names == ["ABS", "ARG_MAX"]
    found = recipe("int8").replace(deviations={"integer_readers": False})
    assert "DEQUANTIZE" in [op.name for op in ours(model, found).subgraphs[0].operators]


# --- the checker ----------------------------------------------------------------------------------


def _changed(model: ts.Model, change: str) -> ts.Model:
    graph = model.subgraphs[0]
    tensors, operators, buffers = list(graph.tensors), list(graph.operators), list(model.buffers)
    at = graph.operators[0].outputs[0]
    q = tensors[at].quantization
    weight = graph.operators[0].inputs[1]
    if change == "scale":
        up = np.nextafter(q.scale, np.float32(1e9)).astype(np.float32)
        tensors[at] = tensors[at].replace(quantization=q.replace(scale=up))
    elif change == "zero point":
        tensors[at] = tensors[at].replace(quantization=q.replace(zero_point=q.zero_point + 1))
    elif change == "type":
        tensors[at] = tensors[at].replace(type=ts.TensorType.UINT8)
    elif change == "axis":
        wq = tensors[weight].quantization.replace(quantized_dimension=1)
        tensors[weight] = tensors[weight].replace(quantization=wq)
    elif change == "integer":
        data = np.array(buffers[tensors[weight].buffer].data)
        data[0] ^= 1
        buffers[tensors[weight].buffer] = ts.Buffer(data=data)
    elif change == "operator":
        operators = operators[:-1]
    elif change == "version":
        code = operators[0].code
        operators[0] = operators[0].replace(code=code.replace(version=code.version + 1))
    elif change == "wiring":
        last = operators[-1]
        operators[-1] = last.replace(inputs=(graph.inputs[0], *last.inputs[1:]))
    graph = graph.replace(tensors=tuple(tensors), operators=tuple(operators))
    return model.replace(subgraphs=(graph,), buffers=tuple(buffers))


@pytest.mark.parametrize(
    "change", ["scale", "zero point", "type", "axis", "integer", "operator", "version", "wiring"]
)
def test_the_comparison_sees(change):
    b = Builder()
    x = b.input((1, 4), range=(-1, 1))
    w = np.linspace(-1, 1, 16).reshape(4, 4).astype(f32)
    y = b.op("FULLY_CONNECTED", [x, w, np.ones(4, f32)], (1, 4), range=(-2, 2))
    made = ours(b.model([unary(b, y, "EXP")]), "int8")
    assert compare(made, made).same
    assert not compare(made, _changed(made, change)).same
    assert not Comparison().same  # nothing compared is not identical


# --- the corpus -----------------------------------------------------------------------------------


QUICK = ("fmnist_dscnn_f32", "basic_pitch_nmp_f32", "dtln1_lstm_f32", "mlperf_kws_dscnn_f32",
         "face_detection_full_range_f16", "fmnist_vit_f32")  # fmt: skip


@pytest.mark.skipif(not the_corpus.available(), reason=the_corpus.MISSING)
@pytest.mark.parametrize("name", [e.name for e in the_corpus.entries("float")])
def test_corpus_is_identical(name, quantizer, depth):
    if depth == 1 and name not in QUICK:
        pytest.skip("the larger models are compared with --depth deep")
    entry = the_corpus.entry(name)
    model = prepare(ts.read(entry.path), recipe("int8"))
    model = carrying(model, calibrate(model, entry.samples(1)))
    for found in (like("int8"), like("int8_float_io")):
        result = both(quantizer, model, found)
        assert result.same and result.sequence, f"{found.name}: {result.differences[:5]}"
        assert result.integers > 5000


@pytest.mark.skipif(not the_corpus.available(), reason=the_corpus.MISSING)
def test_from_the_same_samples_too():
    """What TFLiteConverter makes, calibration included, by the observer that works like its own."""
    entry = the_corpus.entry("fmnist_dscnn_f32")
    model = ts.read(entry.path)
    mine = quantize(
        model, "int8", entry.samples(4), observer="tflite", runtime="tensorflow"
    ).to_bytes()
    result = compare(ts.read(mine), tflite(model, entry.samples(4)))
    assert result.same and result.sequence, result.differences
