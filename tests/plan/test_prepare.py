"""prepare: what is stored in another form becomes float32 constants, and nothing else moves."""

from __future__ import annotations

import numpy as np
import pytest

import qcore
import tflite_schema as ts
from qcore.deviations import DEVIATIONS
from qcore.errors import CannotQuantize
from qcore.peers import interpreter
from qcore.prepare import prepare
from qcore.recipe import Recipe, Rule, recipe
from qcore.sparse import densify
from qcore.testing.build import Builder, quantization

RNG = np.random.default_rng(7)
FOLDS = ("fold_float16", "fold_integer", "fold_sparse", "fold_hybrid")
CONV = {"stride_w": 1, "stride_h": 1, "dilation_w_factor": 1, "dilation_h_factor": 1}


def run(model: ts.Model, x: np.ndarray) -> list[np.ndarray]:
    """The outputs by the official interpreter, in a child process."""
    (outputs,) = interpreter.run(ts.prune(model), [x], path="reference")
    return [np.asarray(y) for y in (outputs.values() if isinstance(outputs, dict) else outputs)]


def scaled(b: Builder, index: int, scale: float) -> int:
    """The tensor with this scale and zero point 0."""
    b.tensors[index] = b.tensors[index].replace(quantization=quantization(None, [scale], [0], 0))
    return index


def names(model: ts.Model) -> list[str]:
    return [op.name for op in model.subgraphs[0].operators]


def behind(stored: np.ndarray, readers: int = 1, output: bool = False, **fields) -> ts.Model:
    """x @ dequantize(stored).T, `readers` times; the dequantized constant may be an output too."""
    b = Builder()
    x = b.input((2, stored.shape[1]))
    w = b.const(stored, "w", **fields)
    real = b.op("DEQUANTIZE", [w], stored.shape, names=["w_real"])
    ys = [b.op("FULLY_CONNECTED", [x, real, None], (2, stored.shape[0])) for _ in range(readers)]
    return b.model(outputs=[*ys, real] if output else ys)


@pytest.mark.parametrize("readers", [1, 3])
@pytest.mark.parametrize("output", [False, True])
def test_float16_behind_dequantize_is_folded(readers: int, output: bool) -> None:
    half = RNG.standard_normal((4, 8)).astype(np.float16)
    half[0, :4] = [np.inf, -0.0, 6e-8, 65504]
    model = behind(half, readers, output)
    made = prepare(model, recipe("dynamic"))
    assert names(made) == ["FULLY_CONNECTED"] * readers
    assert len(made.subgraphs[0].tensors) == len(model.subgraphs[0].tensors)
    folded = next(i for i, t in enumerate(made.subgraphs[0].tensors) if t.name == "w_real")
    value = ts.array(made, 0, folded)
    assert value.dtype == np.float32 and np.array_equal(value, half.astype(np.float32))
    assert np.array_equal(np.signbit(value), np.signbit(half))
    if output:
        assert folded in made.subgraphs[0].outputs
    # Nothing of the float16 constant is left in the file.
    written = ts.read(ts.to_bytes(ts.prune(made)))
    assert all(t.type == ts.TensorType.FLOAT32 for t in written.subgraphs[0].tensors)


@pytest.mark.parametrize(
    ("scale", "zero_point", "axis"),
    [([0.5], [3], 0), ([0.1, 0.2, 0.3, 0.7], [0, 0, 0, 0], 0), ([0.01] * 8, [1] * 8, 1)],
)
def test_integers_behind_dequantize_are_folded_as_the_runtime_computes(scale, zero_point, axis):
    stored = RNG.integers(-128, 128, (4, 8)).astype(np.int8)
    model = behind(stored, scale=scale, zero_point=zero_point, axis=axis, output=True)
    # An official DEQUANTIZE of a zero point per channel does not exist; that one is by hand.
    made = prepare(model, recipe("dynamic"))
    value = next(
        ts.array(made, 0, i) for i, t in enumerate(made.subgraphs[0].tensors) if t.name == "w_real"
    )
    shape = (-1, 1) if axis == 0 else (1, -1)
    s = np.asarray(scale, np.float32).astype(np.float64).reshape(shape)
    by_hand = (s * (stored.astype(np.int64) - np.reshape(zero_point, shape))).astype(np.float32)
    assert np.array_equal(value, by_hand)
    if not any(zero_point) or len(scale) == 1:
        assert np.array_equal(run(model, np.zeros((2, 8), np.float32))[-1], value)


def test_int4_is_unpacked() -> None:
    values = RNG.integers(-7, 8, (3, 5)).astype(np.int8)
    from kernels.packing import pack4

    b = Builder()
    x = b.input((1, 5))
    w = b.tensor((3, 5), "w", dtype="INT4", data=pack4(values).tobytes(), scale=[0.5, 1, 2])
    made = prepare(
        b.model(outputs=[b.op("FULLY_CONNECTED", [x, w, None], (1, 3))]), recipe("dynamic")
    )
    scale = np.array([[0.5], [1], [2]], np.float32)
    assert np.array_equal(ts.array(made, 0, w), values * scale)


def hybrid() -> tuple[ts.Model, int, np.ndarray]:
    stored = RNG.integers(-127, 128, (6, 8)).astype(np.int8)
    b = Builder()
    x = b.input((2, 8))
    w = b.const(stored, "w", scale=[0.25])
    y = b.op("FULLY_CONNECTED", [x, w, None], (2, 6), version=9, asymmetric_quantize_inputs=True)
    return b.model(outputs=[y]), w, stored


def test_hybrid_weights_are_folded_and_the_operator_is_float_again() -> None:
    model, w, stored = hybrid()
    made = prepare(model, recipe("int8"))
    assert np.array_equal(ts.array(made, 0, w), stored.astype(np.float32) * np.float32(0.25))
    (op,) = made.subgraphs[0].operators
    assert op.code.version == 1 and not op.options.asymmetric_quantize_inputs
    assert made.subgraphs[0].tensors[w].quantization is None


def test_a_constant_with_an_integer_reader_keeps_its_integers() -> None:
    """A table read by a hybrid operator and by GATHER: the float form is a new tensor."""
    stored = RNG.integers(-127, 128, (6, 8)).astype(np.int8)
    b = Builder()
    x = b.input((2, 8))
    w = b.const(stored, "w", scale=[0.25], zero_point=[0])
    y = b.op("FULLY_CONNECTED", [x, w, None], (2, 6), version=3)
    at = b.const(np.array([1, 2], np.int32))
    z = scaled(b, b.op("GATHER", [w, at], (2, 8), dtype="INT8"), 0.25)
    model = b.model(outputs=[y, z])
    made = prepare(model, recipe("dynamic"))
    first, second = made.subgraphs[0].operators
    assert second.inputs[0] == w and np.array_equal(ts.array(made, 0, w), stored)
    assert first.inputs[1] == len(model.subgraphs[0].tensors)
    assert np.array_equal(ts.array(made, 0, first.inputs[1]), stored * np.float32(0.25))


def sparse_tensor(b: Builder, dense: np.ndarray) -> int:
    """`dense` (2-D) stored as CSR rows."""
    rows, columns = np.nonzero(dense)
    segments = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(dense)))])
    level = ts.DimensionMetadata(
        format=ts.DimensionType.SPARSE_CSR,
        array_segments=ts.Options("Uint8Vector", values=segments.astype(np.uint8)),
        array_indices=ts.Options("Uint8Vector", values=columns.astype(np.uint8)),
    )
    sparsity = ts.SparsityParameters(
        traversal_order=(0, 1),
        dim_metadata=(ts.DimensionMetadata(dense_size=len(dense)), level),
    )
    index = b.tensor(dense.shape, "w", dtype=str(dense.dtype).upper(), data=dense[rows, columns])
    b.tensors[index] = b.tensors[index].replace(sparsity=sparsity)
    return index


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_densify_then_dequantize_is_one_constant(dtype) -> None:
    """A chain is folded to its end, and the interpreter computes the same as before."""
    dense = (RNG.standard_normal((6, 8)) * (RNG.random((6, 8)) < 0.4)).astype(dtype)
    b = Builder()
    x = b.input((2, 8))
    w = sparse_tensor(b, dense)
    w = b.op("DENSIFY", [w], dense.shape, dtype=str(dense.dtype).upper())
    if dtype == np.float16:
        w = b.op("DEQUANTIZE", [w], dense.shape)
    model = b.model(outputs=[b.op("FULLY_CONNECTED", [x, w, None], (2, 6))])
    made = prepare(model, recipe("dynamic"))
    assert names(made) == ["FULLY_CONNECTED"]
    assert np.array_equal(ts.array(made, 0, w), dense.astype(np.float32))
    x = RNG.standard_normal((2, 8)).astype(np.float32)
    assert np.array_equal(run(model, x)[0], run(made, x)[0])


def test_densify_of_blocks_and_permuted_traversal() -> None:
    """Blocks of 2 x 2 in a 4 x 6 matrix, columns of blocks first; checked entry by entry."""
    dense = np.zeros((4, 6), np.int16)
    kept = [(0, 2), (1, 1), (1, 2)]  # blocks (row, column) that are stored
    for r, c in kept:
        dense[2 * r : 2 * r + 2, 2 * c : 2 * c + 2] = RNG.integers(1, 99, (2, 2))
    stored, segments, indices = [], [0], []
    for column in range(3):
        for row in range(2):
            if (row, column) in kept:
                indices.append(row)
                block = dense[2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
                stored += list(block.reshape(-1))
        segments.append(len(indices))
    vector = lambda v: ts.Options("Int32Vector", values=np.array(v, np.int32))  # noqa: E731
    tensor = ts.Tensor(
        shape=(4, 6),
        sparsity=ts.SparsityParameters(
            traversal_order=(1, 0, 2, 3),
            block_map=(0, 1),
            dim_metadata=(
                ts.DimensionMetadata(dense_size=3),
                ts.DimensionMetadata(
                    format=ts.DimensionType.SPARSE_CSR,
                    array_segments=vector(segments),
                    array_indices=vector(indices),
                ),
                ts.DimensionMetadata(dense_size=2),
                ts.DimensionMetadata(dense_size=2),
            ),
        ),
    )
    assert np.array_equal(densify(np.array(stored, np.int16), tensor, "w"), dense)
    with pytest.raises(CannotQuantize, match=r"'w' cannot be unpacked.*12 values.*11"):
        densify(np.array(stored[:-1], np.int16), tensor, "'w'")


def test_nothing_to_do_returns_the_model_itself() -> None:
    b = Builder()
    x = b.input((2, 8))
    ones = np.ones((4, 8), np.float32)
    model = b.model(outputs=[b.op("FULLY_CONNECTED", [x, ones, None], (2, 4))])
    assert prepare(model, recipe("dynamic")) is model


def test_what_the_recipe_leaves_float_is_not_folded() -> None:
    model = behind(RNG.standard_normal((4, 8)).astype(np.float16))
    assert prepare(model, Recipe("none", ())) is model


def test_each_fold_is_switchable() -> None:
    dense = np.eye(6, 8, dtype=np.float32)
    b = Builder()
    x = b.input((2, 8))
    w = b.op("DENSIFY", [sparse_tensor(b, dense)], dense.shape)
    models = {
        "fold_float16": behind(np.ones((4, 8), np.float16)),
        "fold_integer": behind(np.ones((4, 8), np.int8), scale=[0.5], zero_point=[0]),
        "fold_hybrid": hybrid()[0],
        "fold_sparse": b.model(outputs=[b.op("FULLY_CONNECTED", [x, w, None], (2, 6))]),
    }
    assert set(models) == set(FOLDS) <= set(DEVIATIONS)
    for key, model in models.items():
        off = recipe("dynamic").replace(deviations={key: False})
        assert prepare(model, recipe("dynamic")) is not model, key
        assert prepare(model, off) is model, key


def lstm() -> ts.Model:
    b = Builder()
    x = b.input((1, 3, 4))
    weights = [RNG.standard_normal((5, n)).astype(np.float32) for n in (4,) * 4 + (5,) * 4]
    biases = [np.zeros(5, np.float32)] * 4
    states = [b.tensor((1, 5), f"state_{k}", is_variable=True) for k in range(2)]
    operands = [x, *weights, None, None, None, *biases, None, None, *states]
    y = b.op("UNIDIRECTIONAL_SEQUENCE_LSTM", operands, (1, 3, 5), fused_activation_function="TANH")
    return b.model(outputs=[y])


def test_lstms_get_intermediates_in_static_recipes_only() -> None:
    model = lstm()
    before = len(model.subgraphs[0].tensors)
    made = prepare(model, recipe("int8"))
    (op,) = made.subgraphs[0].operators
    assert op.intermediates == tuple(range(before, before + 5))
    for t in op.intermediates:
        assert made.subgraphs[0].tensors[t].type == ts.TensorType.FLOAT32
        assert ts.array(made, 0, t) is None
    assert prepare(model, recipe("dynamic")) is model
    off = recipe("int8").replace(deviations={"lstm_intermediates": False})
    assert prepare(model, off) is model


def test_an_integer_model_is_refused_in_one_sentence() -> None:
    b = Builder()
    x = b.input((1, 8), dtype="INT8", scale=[0.1], zero_point=[0])
    y = scaled(b, b.op("RELU", [x], (1, 8), dtype="INT8", version=2), 0.1)
    z = b.op("DEQUANTIZE", [y], (1, 8))
    for name in ("int8", "dynamic", "float16"):
        with pytest.raises(CannotQuantize, match="quantized already: none of its operators"):
            prepare(b.model(outputs=[z]), recipe(name))


def test_a_model_without_floats_is_refused_in_one_sentence() -> None:
    b = Builder()
    x = b.input((1, 8), dtype="INT32")
    model = b.model([b.op("ADD", [x, np.ones(8, np.int32)], (1, 8), dtype="INT32")])
    for name in ("int8", "int16x8", "dynamic", "float16"):
        with pytest.raises(CannotQuantize, match="float32 values, so there is nothing to quantize"):
            prepare(model, recipe(name))


def test_float16_of_float16_says_so_and_a_mixture_is_converted() -> None:
    half = RNG.standard_normal((4, 8)).astype(np.float16)
    with pytest.raises(CannotQuantize, match=r"nothing to do: the 1 float constants.*already"):
        prepare(behind(half), recipe("float16"))
    b = Builder()
    x = b.input((2, 8))
    real = b.op("DEQUANTIZE", [b.const(half, "w")], half.shape)
    bias = RNG.standard_normal(4).astype(np.float32)
    model = b.model(outputs=[b.op("FULLY_CONNECTED", [x, real, bias], (2, 4))])
    made = ts.read(qcore.quantize(model, "float16").to_bytes())
    assert names(made) == ["DEQUANTIZE", "DEQUANTIZE", "FULLY_CONNECTED"]
    stored = [ts.array(made, 0, op.inputs[0]) for op in made.subgraphs[0].operators[:2]]
    # float16 -> float32 -> float16 is the identity.
    assert any(np.array_equal(s, half) for s in stored)


def test_a_rule_that_leaves_one_reader_float_still_folds_for_the_other() -> None:
    model = behind(RNG.standard_normal((4, 8)).astype(np.float16), readers=2)
    outputs = [model.subgraphs[0].tensors[t].name for t in model.subgraphs[0].outputs]
    wanted = Recipe("one", (*recipe("dynamic").rules, Rule(name=outputs[0], mode="float")))
    assert names(prepare(model, wanted)) == ["FULLY_CONNECTED"] * 2


def test_corpus_models_compute_the_same_after_folding(corpus) -> None:
    """float16 files: the folded model is the same function, to the last bit (reference kernels)."""
    for name in ("face_detection_full_range_f16", "mlperf_kws_dscnn_f32"):
        entry = next(e for e in corpus.entries() if e.path.stem == name)
        model = ts.read(entry.path)
        made = ts.prune(prepare(model, recipe("int8")))
        assert "DEQUANTIZE" not in names(made)
        tensors = made.subgraphs[0].tensors
        assert not {t.type for t in tensors} & {ts.TensorType.FLOAT16, ts.TensorType.INT8}
        if name.startswith("face"):
            x = next(iter(entry.samples(1)))
            for a, b in zip(run(model, x), run(made, x), strict=True):
                assert np.array_equal(a, b)


@pytest.mark.parametrize("granularity", ["blockwise:32", "per_channel", "per_tensor"])
@pytest.mark.parametrize("dtype", ["int4", "int8", "int2"])
def test_a_file_of_ours_is_read_back_to_its_own_values(granularity: str, dtype: str) -> None:
    """Hybrid weights of every kind, blocks included: scale * q as the file holds them."""
    b = Builder()
    x = b.input((1, 96))
    w = RNG.standard_normal((32, 96)).astype(np.float32)
    y = b.op("FULLY_CONNECTED", [x, b.const(w, "w"), None], (1, 32))
    scheme = {"key": "symmetric", "arithmetic": "dynamic"}
    weight = Rule(operand="weight", dtype=dtype, scheme=scheme, granularity=granularity)
    wanted = Recipe("mine", (Rule(mode="dynamic"), weight))
    made = ts.read(qcore.quantize(b.model(outputs=[y]), wanted).to_bytes())
    folded = prepare(made, recipe("weight_only"))
    values = ts.array(folded, 0, folded.subgraphs[0].operators[0].inputs[1])
    assert values.dtype == np.float32 and values.shape == w.shape
    steps = {"int8": 127, "int4": 7, "int2": 1}[dtype]
    # Half a step of the largest scale that could have been used, and float16's rounding of it.
    assert np.abs(values - w).max() <= np.abs(w).max() / steps * (0.5 + 2**-10) + 1e-6
    # Quantizing what was read back the same way is the identity on per-channel weights.
    if granularity == "per_channel" and dtype == "int8":
        again = ts.read(qcore.quantize(made, wanted).to_bytes())
        pair = [ts.array(m, 0, m.subgraphs[0].operators[0].inputs[1]) for m in (made, again)]
        assert np.array_equal(*pair)
