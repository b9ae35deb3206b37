"""Weights alone: which form each recipe gives them, that the runtime takes it, and what is said."""

from __future__ import annotations

import numpy as np
import pytest

import qcore
import tflite_schema as ts
from kernels.packing import unpack4
from qcore.errors import BadStatistics
from qcore.peers import interpreter
from qcore.recipe import Recipe, Rule, recipe
from qcore.testing.build import Builder

RNG = np.random.default_rng(11)
PATHS = ("reference", "optimized", "xnnpack")
CONV = {
    "padding": "SAME", "stride_w": 1, "stride_h": 1, "dilation_w_factor": 1, "dilation_h_factor": 1,
}  # fmt: skip


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def one(operator: str) -> tuple[ts.Model, list[np.ndarray]]:
    """A model of one operator with a weight of at least 1024 values, and inputs for it."""
    b = Builder()
    if operator == "EMBEDDING_LOOKUP":
        x = b.tensor((5,), "x", dtype="INT32")
        b.inputs.append(x)
        y = b.op(operator, [x, normal(40, 64)], (5, 64))
        return b.model(outputs=[y]), [np.array([0, 39, 7, 7, 1], np.int32)]
    if operator == "GATHER":
        x = b.tensor((5,), "x", dtype="INT32")
        b.inputs.append(x)
        y = b.op(operator, [normal(40, 64), x], (5, 64))
        return b.model(outputs=[y]), [np.array([0, 39, 7, 7, 1], np.int32)]
    image = (1, 6, 6, 16)
    x = b.input({"FULLY_CONNECTED": (3, 64), "BATCH_MATMUL": (1, 4, 32)}.get(operator, image), "x")
    if operator == "FULLY_CONNECTED":
        y = b.op(operator, [x, normal(32, 64), normal(32)], (3, 32))
    elif operator == "CONV_2D":
        y = b.op(operator, [x, normal(24, 3, 3, 16), normal(24)], (1, 6, 6, 24), **CONV)
    elif operator == "DEPTHWISE_CONV_2D":
        w = normal(1, 9, 9, 16)
        y = b.op(operator, [x, w, normal(16)], image, depth_multiplier=1, **CONV)
    elif operator == "TRANSPOSE_CONV":
        size = np.array([1, 12, 12, 8], np.int32)
        fields = {"padding": "SAME", "stride_w": 2, "stride_h": 2}
        y = b.op(operator, [size, normal(8, 3, 3, 16), x], (1, 12, 12, 8), **fields)
    else:
        y = b.op(operator, [x, normal(1, 32, 40)], (1, 4, 40))
    shape = b.tensors[x].shape
    return b.model(outputs=[y]), [normal(*shape)]


OPERATORS = (
    "FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "BATCH_MATMUL",
    "EMBEDDING_LOOKUP", "GATHER",
)  # fmt: skip


def run(model: ts.Model, inputs: list[np.ndarray], path: str) -> np.ndarray:
    (outputs,) = interpreter.run(model, [tuple(inputs)], path=path)
    return np.asarray(next(iter(outputs.values())))


def sqnr(real: np.ndarray, made: np.ndarray) -> float:
    noise = np.sum((real.astype(np.float64) - made) ** 2)
    return np.inf if noise == 0 else 10 * np.log10(np.sum(real.astype(np.float64) ** 2) / noise)


def quantized(model: ts.Model, wanted: str | Recipe) -> ts.Model:
    return ts.read(qcore.quantize(model, wanted).to_bytes())


def weights(dtype: str, granularity: str, mode: str) -> Recipe:
    scheme = {"key": "symmetric", "arithmetic": "dynamic"}
    weight = Rule(operand="weight", dtype=dtype, scheme=scheme, granularity=granularity)
    return Recipe(mode, (Rule(mode=mode), weight))


def sequence(model: ts.Model) -> list[tuple[str, int]]:
    return [(op.name, op.code.version) for op in model.subgraphs[0].operators]


def types(model: ts.Model) -> set[str]:
    return {t.type.name for t in model.subgraphs[0].tensors}


# recipe -> least SQNR (dB) of one operator with normal weights and inputs: half a step of 1/127 of
# about three sigma is 1.2 % of sigma, some 43 dB; int4 18 times as coarse; float16 2^-12 relative.
LEAST = {"dynamic": 36.0, "weight_only": 38.0, "float16": 60.0, "int4": 12.0}


@pytest.mark.parametrize("operator", OPERATORS)
def test_the_runtime_takes_every_form(operator: str) -> None:
    model, inputs = one(operator)
    real = run(model, inputs, "reference")
    for name, least in LEAST.items():
        made = quantized(model, name)
        found = {path: sqnr(real, run(made, inputs, path)) for path in PATHS}
        assert min(found.values()) > least, (name, found)


@pytest.mark.parametrize(
    ("operator", "expected"),
    [
        ("FULLY_CONNECTED", [("FULLY_CONNECTED", 12)]),
        ("CONV_2D", [("CONV_2D", 5)]),
        ("DEPTHWISE_CONV_2D", [("DEPTHWISE_CONV_2D", 6)]),
        ("TRANSPOSE_CONV", [("TRANSPOSE_CONV", 2)]),
        ("BATCH_MATMUL", [("BATCH_MATMUL", 4)]),
        ("EMBEDDING_LOOKUP", [("EMBEDDING_LOOKUP", 4)]),
        ("GATHER", [("GATHER", 2), ("DEQUANTIZE", 2)]),
    ],
)
def test_dynamic_is_hybrid_where_a_kernel_is(operator: str, expected: list) -> None:
    assert sequence(quantized(one(operator)[0], "dynamic")) == expected


@pytest.mark.parametrize("dtype", ["int8", "int4", "int2"])
@pytest.mark.parametrize("operator", OPERATORS[:4])
def test_weight_only_computes_with_the_dequantized_weight(operator: str, dtype: str) -> None:
    """The same output, bit for bit, as the float operator with the dequantized constant in it.

    On the reference path: XNNPACK takes another float kernel for a weight that is not constant.
    """
    model, inputs = one(operator)
    made = quantized(model, weights(dtype, "per_channel", "weight_only"))
    assert sequence(made)[0][0] == "DEQUANTIZE" and len(sequence(made)) == 2
    (dequantize, _) = made.subgraphs[0].operators
    from qcore.prepare import prepare

    folded = ts.prune(prepare(made, recipe("dynamic")))
    assert len(folded.subgraphs[0].operators) == 1
    assert made.subgraphs[0].tensors[dequantize.inputs[0]].type.name == dtype.upper()
    assert np.array_equal(run(folded, inputs, "reference"), run(made, inputs, "reference"))


def test_int4_stays_in_the_narrow_range() -> None:
    """An optimized kernel mistakes -8, so it is never written."""
    b = Builder()
    w = normal(32, 64)
    w[:, 0] = -8
    y = b.op("FULLY_CONNECTED", [b.input((1, 64)), w, None], (1, 32))
    made = quantized(b.model(outputs=[y]), "int4")
    op = made.subgraphs[0].operators[0]
    values = unpack4(ts.array(made, 0, op.inputs[1]), w.size)
    assert values.min() == -7 and values.max() <= 7


@pytest.mark.parametrize("operator", ["DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "BATCH_MATMUL"])
def test_int4_behind_dequantize_where_no_kernel_takes_it(operator: str) -> None:
    made = qcore.quantize(one(operator)[0], weights("int4", "per_channel", "dynamic"))
    assert made.plan.subgraphs[0].steps[0].name == "DEQUANTIZE"
    assert made.plan.subgraphs[0].steps[1].note == f"{operator} has no hybrid kernel for int4"


def test_depthwise_per_tensor_goes_behind_dequantize() -> None:
    """The hybrid kernel would read scales that are not there and give noise."""
    model, inputs = one("DEPTHWISE_CONV_2D")
    made = quantized(model, weights("int8", "per_tensor", "dynamic"))
    assert [name for name, _ in sequence(made)] == ["DEQUANTIZE", "DEPTHWISE_CONV_2D"]
    assert sqnr(run(model, inputs, "reference"), run(made, inputs, "optimized")) > 36


def test_an_asymmetric_scheme_goes_behind_dequantize() -> None:
    wanted = Recipe("mine", (
        Rule(mode="dynamic"), Rule(operand="weight", dtype="int8", scheme="minmax"),
    ))  # fmt: skip
    model, inputs = one("FULLY_CONNECTED")
    model = ts.apply(model, [ts.SetBuffer(1, (ts.array(model, 0, 1) + 1).astype(np.float32))])
    made = quantized(model, wanted)
    assert sequence(made) == [("DEQUANTIZE", 2), ("FULLY_CONNECTED", 1)]
    assert sqnr(run(model, inputs, "reference"), run(made, inputs, "optimized")) > 36


@pytest.mark.parametrize("operator", ["FULLY_CONNECTED", "EMBEDDING_LOOKUP"])
def test_blockwise_int4_is_more_exact_and_runs(operator: str) -> None:
    model, inputs = one(operator)
    real = run(model, inputs, "reference")
    found = {}
    for granularity in ("per_channel", "blockwise:32"):
        made = quantized(model, weights("int4", granularity, "dynamic"))
        found[granularity] = [sqnr(real, run(made, inputs, p)) for p in ("optimized", "xnnpack")]
    assert min(found["blockwise:32"]) > max(found["per_channel"]), found
    weight = made.subgraphs[0].operators[0].inputs[1]
    details = made.subgraphs[0].tensors[weight].quantization.details
    assert details.block_size == 32
    scales = ts.array(made, 0, details.scales)
    source = ts.array(model, 0, model.subgraphs[0].operators[0].inputs[1])
    assert scales.dtype == np.float16 and scales.shape == (len(source), source.shape[1] // 32)
    # By hand: nearest multiple of the stored scale of the block, ties away from 0.
    blocks = source.reshape(*scales.shape, 32).astype(np.float64)
    steps = blocks / scales.astype(np.float64)[..., None]
    by_hand = np.clip(np.copysign(np.floor(np.abs(steps) + 0.5), steps), -7, 7)
    stored = unpack4(ts.array(made, 0, weight), source.size)
    assert np.array_equal(stored, by_hand.reshape(-1).astype(np.int8))


def test_blocks_that_do_not_fit_fall_back_and_say_so() -> None:
    b = Builder()
    y = b.op("FULLY_CONNECTED", [b.input((1, 48)), normal(32, 48), None], (1, 32))
    made = qcore.quantize(b.model(outputs=[y]), weights("int4", "blockwise:32", "dynamic"))
    (note,) = [f.note for f in made.plan.subgraphs[0].forms if f.dtype == "int4"]
    assert note == "per channel: blocks of 32 do not fit rows of 48"


def test_small_weights_stay_float_with_their_reason() -> None:
    b = Builder()
    x = b.input((1, 33))
    small = b.op("FULLY_CONNECTED", [x, normal(31, 33), None], (1, 31))
    large = b.op("FULLY_CONNECTED", [x, normal(32, 33), None], (1, 32))
    plan = qcore.quantize(b.model(outputs=[small, large]), "dynamic").plan
    first, second = plan.subgraphs[0].steps
    assert first.mode == "float32" and second.mode == "dynamic"
    assert first.note == "float: weights has 1023 values, fewer than 1024"
    assert first.version == second.version == 12  # one operator code, as the converter writes it
    assert second.options == {"asymmetric_quantize_inputs": True} and not first.options


def test_no_hybrid_kernel_is_said() -> None:
    b = Builder()
    x = b.input((1, 4, 4, 4, 8))
    y = b.op("CONV_3D", [x, normal(3, 3, 3, 8, 8), None], (1, 2, 2, 2, 8),
             stride_d=1, stride_w=1, stride_h=1, padding="VALID", dilation_d_factor=1,
             dilation_w_factor=1, dilation_h_factor=1)  # fmt: skip
    (step,) = qcore.quantize(b.model(outputs=[y]), "dynamic").plan.subgraphs[0].steps
    assert step.mode == "float32" and step.note == "float: no hybrid kernel of CONV_3D"


def test_one_dequantize_serves_all_readers_and_stands_first() -> None:
    b = Builder()
    x = b.input((32, 32))
    w = b.const(normal(32, 32), "w")
    y = b.op("FULLY_CONNECTED", [x, w, None], (32, 32))
    z = b.op("ADD", [y, w], (32, 32))
    z = b.op("FULLY_CONNECTED", [z, w, None], (32, 32))
    made = quantized(b.model(outputs=[z]), "float16")
    names = [n for n, _ in sequence(made)]
    assert names == ["DEQUANTIZE", "FULLY_CONNECTED", "ADD", "FULLY_CONNECTED"]
    assert sum(t.type == ts.TensorType.FLOAT16 for t in made.subgraphs[0].tensors) == 1


def test_a_constant_read_by_both_kinds_is_stored_twice() -> None:
    """An integer form for the kernel, the float one for ADD and for the graph's output."""
    b = Builder()
    x = b.input((32, 32))
    w = b.const(normal(32, 32), "w")
    y = b.op("FULLY_CONNECTED", [x, w, None], (32, 32))
    made = quantized(b.model(outputs=[b.op("ADD", [y, w], (32, 32)), w]), "dynamic")
    hybrid, add = made.subgraphs[0].operators
    assert made.subgraphs[0].tensors[hybrid.inputs[1]].type == ts.TensorType.INT8
    assert made.subgraphs[0].tensors[add.inputs[1]].type == ts.TensorType.FLOAT32
    assert made.subgraphs[0].outputs[1] == add.inputs[1]


def test_subgraphs_that_share_a_constant_still_share_it() -> None:
    model = one("FULLY_CONNECTED")[0]
    (graph,) = model.subgraphs
    twice = model.replace(subgraphs=(graph, graph.replace(name="again")))
    made = quantized(twice, "dynamic")
    buffers = [g.tensors[g.operators[0].inputs[1]].buffer for g in made.subgraphs]
    assert buffers[0] == buffers[1]
    stored = [b.nbytes for b in made.buffers if b.nbytes]
    assert sorted(stored) == [32 * 4, 32 * 64]


def lstm(units: int, inputs: int) -> ts.Model:
    b = Builder()
    x = b.input((1, 3, inputs))
    weights = [normal(units, n) for n in (inputs,) * 4 + (units,) * 4]
    biases = [np.zeros(units, np.float32)] * 4
    states = [b.tensor((1, units), f"state_{k}", is_variable=True) for k in range(2)]
    operands = [x, *weights, None, None, None, *biases, None, None, *states]
    return b.model(outputs=[b.op(
        "UNIDIRECTIONAL_SEQUENCE_LSTM", operands, (1, 3, units), fused_activation_function="TANH"
    )])  # fmt: skip


def test_lstm_weights_are_hybrid_all_or_none() -> None:
    made = quantized(lstm(40, 40), "dynamic")
    (op,) = made.subgraphs[0].operators
    assert op.code.version == 3 and op.options.asymmetric_quantize_inputs
    stored = [made.subgraphs[0].tensors[t].type.name for t in op.inputs[1:9]]
    assert stored == ["INT8"] * 8
    # 40 x 20 = 800 values: below 1024, and then the recurrent ones stay float too.
    plan = qcore.quantize(lstm(40, 20), "dynamic").plan
    (step,) = plan.subgraphs[0].steps
    assert step.mode == "float32" and "800 values, fewer than 1024" in (step.note or "")
    x = [normal(1, 3, 40)]
    real = run(lstm_model := lstm(40, 40), x, "reference")
    assert sqnr(real, run(quantized(lstm_model, "dynamic"), x, "optimized")) > 25


def svdf() -> ts.Model:
    b = Builder()
    x = b.input((1, 32))
    state = b.tensor((1, 64 * 10), "state", is_variable=True)
    operands = [x, normal(64, 32), normal(64, 10), normal(64), state]
    return b.model(outputs=[b.op("SVDF", operands, (1, 64), rank=1)])


def test_whole_cells_are_quantized_or_none_of_them() -> None:
    """The converter leaves the 640 time weights float beside int8 ones, and the kernel errs."""
    model, x = svdf(), [normal(1, 32)]
    real = run(model, x, "reference")
    made = qcore.quantize(model, "dynamic")
    (step,) = made.plan.subgraphs[0].steps
    assert step.note == "float: weights_time has 640 values, fewer than 1024"
    assert np.array_equal(run(ts.read(made.to_bytes()), x, "reference"), real)
    partial = quantized(model, recipe("dynamic").replace(deviations={"whole_cells": False}))
    assert types(partial) == {"FLOAT32", "INT8"}
    assert sqnr(real, run(partial, x, "reference")) < 20


def test_what_float16_cannot_hold_is_counted() -> None:
    b = Builder()
    w = normal(4, 8)
    w[0, :3] = [65520, -1e6, 65519]
    y = b.op("FULLY_CONNECTED", [b.input((1, 8)), w, None], (1, 4))
    made = qcore.quantize(b.model(outputs=[y]), "float16")
    (form,) = [f for f in made.plan.subgraphs[0].forms if f.dtype == "float16"]
    assert form.saturated == 3 and form.note == "3 values beyond 65504"
    values = ts.array(ts.read(made.to_bytes()), 0, 1)
    assert np.isfinite(values).all() and values[0, 0] == 65504 and values[0, 1] == -65504


def test_a_weight_with_a_nan_is_named() -> None:
    b = Builder()
    w = normal(32, 64)
    w[3, 3] = np.nan
    y = b.op("FULLY_CONNECTED", [b.input((1, 64)), b.const(w, "broken/w"), None], (1, 32))
    with pytest.raises(BadStatistics, match="broken/w"):
        qcore.quantize(b.model(outputs=[y]), "dynamic")


def test_rules_choose_by_operator_and_by_layer() -> None:
    """One layer float16, one weight-only, one int4, the rest dynamic: in one file that runs."""
    b = Builder()
    x = b.input((2, 64))
    ys = [
        b.op("FULLY_CONNECTED", [x, normal(32, 64), None], (2, 32), names=[f"layer{k}/y"])
        for k in range(4)
    ]
    model = b.model(outputs=ys)
    wanted = (
        recipe("dynamic")
        .with_rule(name="layer0/*", mode="float16")
        .with_rule(name="layer0/*", operand="weight", dtype="float16")
        .with_rule(name="re:^layer1/", mode="weight_only")
        .with_rule(name="layer2/*", operand="weight", dtype="int4")
    )
    made = quantized(model, wanted)
    kinds = []
    for op in made.subgraphs[0].operators[-4:]:
        kinds.append(made.subgraphs[0].tensors[op.inputs[1]].type.name)
    assert kinds == ["FLOAT32", "FLOAT32", "INT4", "INT8"]
    assert types(made) >= {"FLOAT16", "INT8", "INT4"}
    x = [normal(2, 64)]
    assert sqnr(run(model, x, "reference"), run(made, x, "xnnpack")) > 10


@pytest.mark.parametrize("name", ["dynamic", "weight_only", "float16", "int4"])
def test_writing_twice_gives_the_same_bytes(name: str, example_model) -> None:
    """Blocks are encoded by several threads; their order in the file is fixed."""
    made = qcore.quantize(ts.read(example_model), name)
    assert made.to_bytes() == made.to_bytes()


@pytest.mark.parametrize("name", ["dynamic", "weight_only", "float16"])
def test_empty_buffers_of_activations_are_no_constants(name: str) -> None:
    """Converters give each activation a buffer of its own with a vector of no bytes."""
    model, _ = one("FULLY_CONNECTED")
    (graph,) = model.subgraphs
    empty = len(model.buffers)
    tensors = tuple(
        t.replace(buffer=empty) if i in (*graph.inputs, *graph.outputs) else t
        for i, t in enumerate(graph.tensors)
    )
    model = model.replace(
        buffers=(*model.buffers, ts.Buffer(np.zeros(0, np.uint8))),
        subgraphs=(graph.replace(tensors=tensors),),
    )
    made = quantized(ts.read(ts.to_bytes(model)), name)
    assert made.subgraphs[0].operators[-1].name == "FULLY_CONNECTED"
    assert made.subgraphs[0].operators[-1].inputs[0] == made.subgraphs[0].inputs[0]
