"""What is written is what was there: generated models, the corpus, and the official interpreter."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from hypothesis import assume, given

import tflite_schema as ts
from tests import corpus
from tests.schema import strategies
from tests.schema.samples import ADD, base
from tflite_schema.schema import TABLES_BY_NAME

ENTRIES = corpus.entries("float") + corpus.entries("int8")
needs_corpus = pytest.mark.skipif(not ENTRIES, reason=corpus.MISSING)

# Loads each pair of files in the official interpreter and compares all outputs for one input.
WORKER = """
import json, sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter

def outputs(path):
    interpreter = Interpreter(path)
    interpreter.allocate_tensors()
    rng = np.random.default_rng(5)
    for detail in interpreter.get_input_details():
        shape, dtype = detail["shape"], detail["dtype"]
        if dtype == np.int32:  # indices
            value = rng.integers(0, 8, shape, dtype)
        elif np.issubdtype(dtype, np.integer):
            value = rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, shape, dtype, True)
        else:
            value = rng.random(shape, np.float32).astype(dtype)
        interpreter.set_tensor(detail["index"], value)
    interpreter.invoke()
    return [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]

for one, other in json.loads(sys.stdin.read()):
    print(json.dumps([one, "started"]), flush=True)
    a, b = outputs(one), outputs(other)
    same = len(a) == len(b) > 0 and all(
        x.dtype == y.dtype and x.size and x.tobytes() == y.tobytes() for x, y in zip(a, b)
    )
    print(json.dumps([one, "same" if same else "different"]), flush=True)
"""


def compared(pairs: list[tuple[Path, Path]]) -> dict[str, str]:
    """For each pair, "same", "different" or "started" (it ended the process), from a child."""
    pytest.importorskip("ai_edge_litert")
    done = subprocess.run(
        [sys.executable, "-c", WORKER],
        input=json.dumps([[str(a), str(b)] for a, b in pairs]),
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    assert lines, done.stderr
    return dict(lines)


def bindings_differ(a: Any, b: Any, path: str = "model") -> str:
    """The first place where two generated objects differ, "" if none."""
    if type(a) is not type(b):
        return f"{path}: {a!r} and {b!r}"
    if isinstance(a, np.ndarray):
        return "" if a.dtype == b.dtype and a.tobytes() == b.tobytes() else path
    if isinstance(a, list):
        if len(a) != len(b):
            return f"{path}: {len(a)} and {len(b)} entries"
        return next(
            (
                d
                for i, (x, y) in enumerate(zip(a, b, strict=True))
                if (d := bindings_differ(x, y, f"{path}.{i}"))
            ),
            "",
        )
    if hasattr(a, "__dict__"):
        return next(
            (d for n in vars(a) if (d := bindings_differ(vars(a)[n], vars(b)[n], f"{path}.{n}"))),
            "",
        )
    same = a == b or (a != a and b != b)
    return "" if same else f"{path}: {a!r} and {b!r}"


def by_bindings(data: bytes) -> Any:
    bindings = pytest.importorskip("ai_edge_litert.schema_py_generated")
    return bindings.ModelT.InitFromObj(bindings.Model.GetRootAs(data))


def addresses(data: bytes) -> list[int]:
    """Where in the file each constant starts."""
    origin = np.frombuffer(data, np.uint8).__array_interface__["data"][0]
    model = ts.read(data)
    return [
        b.data.__array_interface__["data"][0] - origin  # type: ignore[union-attr]
        for b in model.buffers
        if b.nbytes
    ]


@given(strategies.models())
def test_any_model_survives(model: ts.Model) -> None:
    data = ts.to_bytes(model)
    again = ts.read(data)
    # Writing adds operator codes that operators use to the table; all else is as it was.
    codes = tuple(again.operator_codes)
    assert codes[: len(model.operator_codes)] == tuple(model.operator_codes)
    assert again.replace(operator_codes=()) == model.replace(operator_codes=())
    assert ts.to_bytes(again) == data
    assert [b.outside for b in again.buffers] == [
        b.outside and b.nbytes > 0 and i not in inside(model) for i, b in enumerate(model.buffers)
    ]
    assert all(address % 16 == 0 for address in addresses(data))


def inside(model: ts.Model) -> set[int]:
    return {e.buffer for e in model.metadata} | set(model.metadata_buffer)


@given(strategies.models())
def test_the_generated_bindings_read_any_model(model: ts.Model) -> None:
    """And what they write from it, in their own layout, is the same model to us."""
    model = model.replace(
        appended=None,
        buffers=tuple(b.replace(outside=False) for b in model.buffers),
        subgraphs=tuple(
            s.replace(
                operators=tuple(_plain(o) for o in s.operators) if s.operators else s.operators
            )
            for s in model.subgraphs
        ),
        # The bindings have no accessor for it.
        signature_defs=tuple(s.replace(deprecated_tag=None) for s in model.signature_defs),
    )
    data = ts.to_bytes(model)
    theirs = by_bindings(data)
    # Their writer cannot express a type without a table, and has no accessors for these two fields.
    assume(all(o is None or o.stored for o in _unions(model)))
    # It also takes -0.0 for the default 0.0.
    assume(not any(text in repr(model) for text in ("new_height", "new_width", "=-0.0")))
    builder = flatbuffers.Builder(1024)
    builder.Finish(theirs.Pack(builder), b"TFL3")
    again = ts.read(bytes(builder.Output()))
    assert again == ts.read(data)


def _plain(operator: ts.Operator) -> ts.Operator:
    return operator.replace(custom_options_outside=False)


def _unions(model: ts.Model) -> list[Any]:
    found: list[Any] = []
    for subgraph in model.subgraphs:
        for operator in subgraph.operators:
            found += [operator.options, operator.options_2]
        for tensor in subgraph.tensors:
            if tensor.quantization is not None:
                found.append(tensor.quantization.details)
            for dimension in tensor.sparsity.dim_metadata if tensor.sparsity else ():
                found += [dimension.array_segments, dimension.array_indices]
    return found


@needs_corpus
@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_a_real_model_survives(entry: Any) -> None:
    original = entry.path.read_bytes()
    model = ts.read(entry.path)
    assert model == ts.read(original) == ts.read(io.BytesIO(original))
    data = ts.to_bytes(model)
    assert ts.read(data) == model
    assert ts.to_bytes(model) == data == ts.to_bytes(ts.read(data))
    assert all(address % 16 == 0 for address in addresses(data))
    assert ts.read(ts.to_bytes(ts.prune(model))) == ts.prune(model)


@needs_corpus
@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_the_bindings_see_the_same_in_a_rewritten_model(entry: Any) -> None:
    before = by_bindings(entry.path.read_bytes())
    after = by_bindings(ts.to_bytes(ts.read(entry.path)))
    assert bindings_differ(before, after) == ""
    after.subgraphs[0].tensors[0].name += b"x"
    assert bindings_differ(before, after).startswith("model.subgraphs.0.tensors.0.name")


@needs_corpus
def test_the_official_interpreter_computes_the_same(tmp_path: Path) -> None:
    """From rewritten files: as they are, pruned, and with all constants outside the flatbuffer."""
    pairs = []
    for entry in ENTRIES:
        model = ts.read(entry.path)
        for kind, write in {
            "same": lambda path, m=model: ts.write(m, path),
            "pruned": lambda path, m=model: ts.write(ts.prune(m), path),
            "outside": lambda path, m=model: ts.write(m, path, outside=True),
        }.items():
            path = tmp_path / f"{entry.name}.{kind}.tflite"
            write(path)
            pairs.append((path, entry.path))
    assert len(pairs) == 3 * len(ENTRIES)
    results = compared(pairs)
    assert {n: r for n, r in results.items() if r != "same"} == {}
    assert len(results) == len(pairs)


@needs_corpus
def test_the_comparison_of_interpreters_sees_a_changed_weight(tmp_path: Path) -> None:
    entry = corpus.entry("fmnist_dscnn_f32")
    model = ts.read(entry.path)
    index = next(i for i, b in enumerate(model.buffers) if b.nbytes > 1000)
    changed = model.buffers[index].data.copy()
    changed[: changed.size // 2] = 0
    path = tmp_path / "changed.tflite"
    ts.write(model, path, [ts.SetBuffer(index, changed)])
    assert compared([(path, entry.path)]) == {str(path): "different"}


@needs_corpus
@pytest.mark.parametrize("entry", ENTRIES[:3], ids=lambda entry: entry.name)
def test_constants_outside_are_the_same_model(entry: Any) -> None:
    model = ts.read(entry.path)
    stream = io.BytesIO()
    ts.write(model, stream, outside=True)
    data = stream.getvalue()
    again = ts.read(data)
    assert again == model
    metadata = inside(model)
    assert all(
        b.outside == (b.nbytes > 0 and i not in metadata) for i, b in enumerate(again.buffers)
    )
    assert ts.to_bytes(again) == data
    stream = io.BytesIO()
    ts.write(again, stream, outside=False)
    assert stream.getvalue() == ts.to_bytes(model)


def test_equal_memory_is_written_once() -> None:
    data = np.arange(4000, dtype=np.uint8)
    one = base(buffers=(ts.Buffer(), ts.Buffer(data), ts.Buffer(data), ts.Buffer(data)))
    other = one.replace(buffers=(ts.Buffer(), *(ts.Buffer(data.copy()) for _ in range(3))))
    for outside in (False, True):
        sizes = []
        for model in (one, other):
            stream = io.BytesIO()
            ts.write(model, stream, outside=outside)
            sizes.append(len(stream.getvalue()))
            assert ts.read(stream.getvalue()) == one == other
        assert sizes[0] + 7000 < sizes[1]


@pytest.mark.parametrize("count", [3, 40_000])
def test_vectors_of_any_length_and_width_stand_aligned(count: int) -> None:
    """Short ones stand among the tables, long ones after them; the same memory may be both bytes
    and 16-bit values, and custom options need no alignment."""
    scale = np.arange(1, count + 1, dtype=np.float32)
    zeros = np.arange(count, dtype=np.int64)
    raw = np.arange(2 * count, dtype=np.uint8)
    dimensions = (
        ts.DimensionMetadata(array_segments=ts.Options("Uint8Vector", values=raw)),
        ts.DimensionMetadata(array_segments=ts.Options("Uint16Vector", values=raw.view("<u2"))),
        ts.DimensionMetadata(array_segments=ts.Options("Uint16Vector", values=raw.view("<u2"))),
    )
    tensor = ts.Tensor(
        shape=(count,),
        quantization=ts.Quantization(scale=scale, zero_point=zeros),
        sparsity=ts.SparsityParameters(dim_metadata=dimensions),
    )
    operator = ts.Operator(
        ts.OperatorCode.of("Mine"), (0,), (0,), custom_options=np.arange(count, dtype=np.uint8)
    )
    graph = ts.SubGraph((tensor,), (0,), (0,), (operator,), "main")
    code = operator.code
    model = ts.Model(operator_codes=(code,), subgraphs=(graph,), buffers=(ts.Buffer(),))
    data = ts.to_bytes(model)
    again = ts.read(data)
    assert again == model
    assert ts.to_bytes(again) == data
    theirs = by_bindings(data).subgraphs[0]
    (theirs_of,) = theirs.tensors
    assert theirs_of.quantization.scale.tolist() == scale.tolist()
    assert theirs_of.quantization.zeroPoint.tolist() == zeros.tolist()
    assert [d.arraySegments.values.tolist() for d in theirs_of.sparsity.dimMetadata] == [
        raw.tolist(),
        *[raw.view("<u2").tolist()] * 2,
    ]
    assert bytes(theirs.operators[0].customOptions) == operator.custom_options.tobytes()
    origin = np.frombuffer(data, np.uint8).__array_interface__["data"][0]
    found = again.subgraphs[0].tensors[0].quantization
    for vector in (found.scale, found.zero_point):
        assert (vector.__array_interface__["data"][0] - origin) % vector.itemsize == 0
    if count > 3:  # the three that are the same memory are two: bytes and 16-bit values
        assert len(data) < 4 * count + 8 * count + 2 * (2 * count) + count + 2000


def test_tables_of_different_types_with_the_same_offsets_keep_their_sizes() -> None:
    """A table of an i32 and one of an i64, in one place, differ in their vtables' size alone.

    flatbuffers before 25.12.19 does not see that (its issue 8653)."""
    options = (
        ts.Options("SplitOptions", num_splits=7),
        ts.Options("StablehloConcatenateOptions", dimension=1 << 40),
        ts.Options("PackOptions", values_count=5),
        ts.Options("StablehloSortOptions", dimension=1 << 41),
    )
    for order in (options, options[::-1]):
        operators = tuple(
            ts.Operator(ADD, **{"options_2" if "Stablehlo" in o.table else "options": o})
            for o in order
        )
        model = base()
        graph = model.subgraphs[0].replace(operators=operators)
        model = model.replace(subgraphs=(graph, *model.subgraphs[1:]))
        assert ts.read(ts.to_bytes(model)) == model


def test_arrays_are_typed_views() -> None:
    kinds = {
        "FLOAT32": ((2,), np.float32),
        "INT8": ((8,), np.int8),
        "INT64": ((), np.int64),
        "FLOAT16": ((2, 2), np.float16),
        "INT4": ((16,), np.uint8),
        "INT2": ((4, 8), np.uint8),
        "STRING": ((3,), np.uint8),
        "BFLOAT16": ((4,), np.uint16),
    }
    for name, (shape, dtype) in kinds.items():
        tensor = ts.Tensor(shape=shape, type=ts.TensorType[name], buffer=1)
        model = base(buffers=(ts.Buffer(), ts.Buffer(bytes(range(8))), ts.Buffer(), ts.Buffer()))
        graph = model.subgraphs[0].replace(tensors=(tensor,) * 4)
        data = ts.to_bytes(model.replace(subgraphs=(graph,)))
        model = ts.read(data)
        array = ts.array(model, 0, 0)
        assert array.dtype == dtype
        assert array.shape == ((8,) if dtype is np.uint8 else shape)
        assert array.tobytes() == bytes(range(8))
        assert np.shares_memory(array, np.frombuffer(data, np.uint8))
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    assert ts.array(base(), 0, 0) is None


def test_arrays_at_odd_addresses_are_copied_and_deferred_ones_made() -> None:
    whole = np.arange(9, dtype=np.uint8)
    for data in (whole[1:], ts.Deferred(8, lambda: [whole[1:4], whole[4:]])):
        tensor = ts.Tensor(shape=(2,), buffer=1)
        model = ts.Model(
            subgraphs=(ts.SubGraph((tensor,)),), buffers=(ts.Buffer(), ts.Buffer(data))
        )
        array = ts.array(model, 0, 0)
        assert array.flags.aligned
        assert not array.flags.writeable
        assert array.tobytes() == bytes(range(1, 9))


def test_records_compare_by_content() -> None:
    a = ts.Quantization(scale=[1, np.nan], zero_point=[0, 0])
    assert a == ts.Quantization(scale=np.float32([1, np.nan]), zero_point=(0, 0))
    assert a != a.replace(scale=[1, 2])
    assert a != a.replace(scale=None)
    assert ts.Buffer(b"ab") == ts.Buffer(np.array([97, 98], np.uint8), outside=True)
    assert ts.Buffer(np.float32([1])) == ts.Buffer(np.float32([1]).tobytes())
    assert ts.Buffer(np.array([1], ">i4")) == ts.Buffer(np.array([1], "<i4"))
    assert ts.Options("Conv2DOptions", padding="VALID") == ts.Options("Conv2DOptions", padding=1)
    assert ts.Options("Conv2DOptions").dilation_w_factor == 1
    assert ts.Options("AddOptions") != ts.Options("SubOptions")
    assert ts.Options("AddOptions", pot_scale_int16=False) != ts.Options("AddOptions")
    with pytest.raises(
        ts.InvalidModel, match="AddOptions has no field 'stride'; its fields: fused"
    ):
        ts.Options("AddOptions", stride=1)
    with pytest.raises(AttributeError, match="AddOptions has no field 'stride'"):
        _ = ts.Options("AddOptions").stride
    with pytest.raises(AttributeError, match="frozen"):
        ts.Options("AddOptions").pot_scale_int16 = True


def test_records_can_be_pickled_and_copied() -> None:
    import copy
    import pickle

    model = base()
    assert pickle.loads(pickle.dumps(model)) == model
    assert copy.deepcopy(model) == model
    options = ts.Options("Conv2DOptions", stride_w=2)
    assert pickle.loads(pickle.dumps(options)) == options
    assert pickle.loads(pickle.dumps(ts.ABSENT)) is ts.ABSENT
    error = pickle.loads(pickle.dumps(ts.MalformedModel("what", "Tensor", "shape", 7)))
    assert str(error) == "Tensor.shape at byte 7: what."


def test_no_field_is_hidden_by_a_method_of_options() -> None:
    taken = {name for name in dir(ts.Options) if not name.startswith("__")}
    found = {f.name for table in TABLES_BY_NAME.values() for f in table.fields} & taken
    assert found == set()


def test_importing_is_light() -> None:
    """Only what it names is loaded; bench/test_import.py has the time."""
    code = (
        "import sys, numpy; import tflite_schema; print(*sorted(m for m in sys.modules"
        " if m.split('.')[0] in ('kernels', 'qcore', 'numba', 'tensorflow', 'ai_edge_litert')))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == []
