"""Each way in which a file can be wrong: one small file, the error it must give, and where.

A file is made from a valid one by patching bytes, at positions that `Walk` finds by the
flatbuffers format, on its own; or written by us with the checks of the writer taken away.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import tflite_schema as ts
from tests import corpus
from tests.schema import mutate
from tests.schema.samples import ADD, base, with_operator, with_tensor
from tflite_schema import checks
from tflite_schema.schema import TABLES_BY_NAME

GOOD = ts.to_bytes(
    base(
        buffers=(ts.Buffer(), ts.Buffer(np.arange(2, dtype=np.float32)), ts.Buffer(), ts.Buffer()),
        metadata=(ts.Metadata("m", 1),),
        signature_defs=(ts.SignatureDef((ts.TensorMap("x", 0),), (ts.TensorMap("y", 1),), "s"),),
    )
)


class Walk:
    """A position in a flatbuffer; .field(table, name) and [i] go on from there."""

    def __init__(self, data: bytes | bytearray, at: int) -> None:
        self.data, self.at = data, at

    def slot(self, table: str, name: str) -> int:
        """Where the vtable entry of a field is."""
        vtable = self.at - struct.unpack_from("<i", self.data, self.at)[0]
        return vtable + 4 + 2 * TABLES_BY_NAME[table].by_name[name].slot

    def place(self, table: str, name: str) -> int:
        """Where the field is."""
        return self.at + struct.unpack_from("<H", self.data, self.slot(table, name))[0]

    def field(self, table: str, name: str) -> Walk:
        """What an offset field points to."""
        at = self.place(table, name)
        return Walk(self.data, at + struct.unpack_from("<I", self.data, at)[0])

    def __getitem__(self, index: int) -> Walk:
        at = self.at + 4 + 4 * index
        return Walk(self.data, at + struct.unpack_from("<I", self.data, at)[0])


def root(data: bytes | bytearray) -> Walk:
    return Walk(data, struct.unpack_from("<I", data, 0)[0])


def patched(code: str, where: Callable[[Walk], int], value: int, source: bytes = GOOD) -> bytes:
    data = bytearray(source)
    struct.pack_into("<" + code, data, where(root(data)), value)
    return bytes(data)


def vtable(walk: Walk) -> int:
    return walk.at - struct.unpack_from("<i", walk.data, walk.at)[0]


def tensor(walk: Walk) -> Walk:
    return walk.field("Model", "subgraphs")[0].field("SubGraph", "tensors")[0]


def operator(walk: Walk) -> Walk:
    return walk.field("Model", "subgraphs")[0].field("SubGraph", "operators")[0]


def unchecked(model: ts.Model, **options: Any) -> bytes:
    """What the writer makes of a model that it would refuse."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checks, "problem", lambda model: None)
        import io

        stream = io.BytesIO()
        ts.write(model, stream, **options)
        return stream.getvalue()


def unknown_field() -> bytes:
    """A vtable as long as one field more, copied to the end of the file."""
    data = bytearray(GOOD + bytes(-len(GOOD) % 2))
    walk = tensor(root(data))
    old = vtable(walk)
    length, inline = struct.unpack_from("<HH", data, old)
    slots = len(TABLES_BY_NAME["Tensor"].by_slot)
    body = bytes(data[old + 4 : old + length]).ljust(2 * slots, b"\0")
    struct.pack_into("<i", data, walk.at, walk.at - len(data))
    data += struct.pack("<HH", 6 + 2 * slots, inline) + body + struct.pack("<H", 4)
    return bytes(data)


def overlapping() -> bytes:
    """Every entry of a long vector of subgraphs points at one subgraph with many tensors."""
    graph = base().subgraphs[0].replace(operators=(), tensors=(ts.Tensor(name="t"),) * 400)
    data = bytearray(ts.to_bytes(base(subgraphs=(graph,) + (ts.SubGraph(),) * 399)))
    vector = root(data).field("Model", "subgraphs")
    target = vector[0].at
    for i in range(400):
        at = vector.at + 4 + 4 * i
        struct.pack_into("<I", data, at, target - at)
    return bytes(data)


def one_vector_many_times(table: str, field: str) -> bytes:
    """1000 tensors whose vectors are one of 5000 elements, that of the first."""
    small, long = (np.ones(n, np.int32) for n in (1, 5000))

    def made(values: np.ndarray) -> ts.Tensor:
        if table == "QuantizationParameters":
            return ts.Tensor(quantization=ts.Quantization(**{field: values}))
        return ts.Tensor(**{field: tuple(values.tolist())})

    graph = ts.SubGraph((made(long),) + (made(small),) * 999, (), (), ())
    data = bytearray(unchecked(base(subgraphs=(graph,))))
    tensors = root(data).field("Model", "subgraphs")[0].field("SubGraph", "tensors")
    found = [tensors[i] for i in range(1000)]
    if table == "QuantizationParameters":
        found = [tensor.field("Tensor", "quantization") for tensor in found]
    target = found[0].field(table, field).at  # tables are written from the last byte backwards
    for walk in found[1:]:
        at = walk.place(table, field)
        struct.pack_into("<I", data, at, target - at)
    return bytes(data)


def overlapping_constants(outside: bool) -> bytes:
    """200 buffers, each of them 100 kB of the same 160 kB and each four bytes further on."""
    numbers = np.full(40_000, 100_000, np.uint32)
    buffers = (*(ts.Buffer(bytes([i]) * 4) for i in range(200)), ts.Buffer(numbers))
    data = bytearray(unchecked(base(buffers=buffers), outside=outside))
    found = root(data).field("Model", "buffers")
    target = data.index(numbers[:100].tobytes())
    for i in range(200):
        if outside:
            struct.pack_into("<Q", data, found[i].place("Buffer", "offset"), target + 4 * i)
            struct.pack_into("<Q", data, found[i].place("Buffer", "size"), 100_000)
        else:
            at = found[i].place("Buffer", "data")
            struct.pack_into("<I", data, at, target + 4 * i - at)
    return bytes(data)


OPERATOR_OPTIONS = ts.to_bytes(
    with_operator(ts.Operator(ADD, (0,), (1,), ts.Options("AddOptions"), custom_options=b"ab"))
)
OUTSIDE = unchecked(
    with_operator(ts.Operator(ADD, (0,), (1,), custom_options=b"abcd")).replace(
        buffers=(ts.Buffer(), ts.Buffer(np.zeros(2, np.float32)), ts.Buffer(), ts.Buffer())
    ),
    outside=True,
)


def both_inside_and_outside() -> bytes:
    """A second table for a buffer, at the end of the file, that has data as well as an offset."""
    model = base(buffers=(ts.Buffer(), ts.Buffer(b"abcd" * 4), ts.Buffer(), ts.Buffer()))
    data = bytearray(ts.to_bytes(model))
    data += bytes(-len(data) % 8)
    buffer = root(data).field("Model", "buffers")[1]
    vector = buffer.field("Buffer", "data").at
    table = len(data) + 12
    entry = root(data).field("Model", "buffers").at + 4 + 4
    struct.pack_into("<I", data, entry, table - entry)
    data += struct.pack("<HHHHHxx", 10, 24, 4, 8, 16)
    data += struct.pack("<iiQQ", 12, 0, 2, 4)
    # The data vector must lie ahead of its field, so it is repeated.
    struct.pack_into("<i", data, table + 4, len(data) - table - 4)
    assert vector
    data += struct.pack("<I", 4) + b"abcd"
    return bytes(data)


def given_twice() -> bytes:
    """Custom options inside, and a place for more outside."""
    data = bytearray(OUTSIDE)
    walk = operator(root(data))
    graph = root(data).field("Model", "subgraphs")[0]
    data += bytes(-len(data) % 8)
    new_vtable = len(data)
    slots = [0] * 11
    slots[5], slots[9], slots[10] = 4, 8, 16
    table = new_vtable + 28
    data += struct.pack("<HH11H2x", 26, 24, *slots) + struct.pack("<iIQQ", 28, 20, 2, 4)
    data += struct.pack("<I", 2) + b"ab"
    entry = graph.field("SubGraph", "operators").at + 4
    struct.pack_into("<I", data, entry, table - entry)
    assert walk.at
    return bytes(data)


def one_tensor_many_times() -> bytes:
    """A vector of 100,000 tensors whose entries all point at one empty table."""
    graph = base().subgraphs[0].replace(tensors=(ts.Tensor(),) * 4)
    data = bytearray(ts.to_bytes(base(subgraphs=(graph,))))
    place = root(data).field("Model", "subgraphs")[0].place("SubGraph", "tensors")
    # The table must lie ahead of the vector: an empty vtable, then the vector, then the table.
    start, count = len(data), 100_000
    target = start + 4 + 4 + 4 * count
    struct.pack_into("<I", data, place, start + 4 - place)
    data += struct.pack("<HHI", 4, 4, count)
    data += (target - np.arange(start + 8, target, 4)).astype("<u4").tobytes()
    data += struct.pack("<i", target - start)
    return bytes(data)


@dataclass(frozen=True)
class Bad:
    """A file, and the error it must give: words of the message, table and field."""

    name: str
    make: Callable[[], bytes]
    says: str
    table: str = ""
    field: str = ""
    error: type[ts.MalformedModel] = ts.MalformedModel


def tensor_with(**changes: Any) -> ts.Model:
    return with_tensor(ts.Tensor(**changes))


def graph_with(**changes: Any) -> ts.Model:
    model = base()
    return model.replace(subgraphs=(model.subgraphs[0].replace(**changes), *model.subgraphs[1:]))


LONG = 1 << 20
CASES = (
    Bad("empty file", lambda: b"", "not a .tflite file"),
    Bad("text", lambda: b"this is not a model", "not a .tflite file"),
    Bad("cut in the header", lambda: GOOD[:6], "not a .tflite file"),
    Bad("cut after the header", lambda: GOOD[:12], "outside the file", "Model"),
    Bad("root of 0", lambda: patched("I", lambda w: 0, 0), "points nowhere", "Model"),
    Bad("root too far", lambda: patched("I", lambda w: 0, 1 << 30), "outside the file", "Model"),
    Bad(
        "vtable outside",
        lambda: patched("i", lambda w: w.at, -(1 << 30)),
        "vtable at",
        "Model",
    ),
    Bad("odd vtable", lambda: patched("H", vtable, 7), "cannot have 7 bytes", "Model"),
    Bad("vtable of 2 bytes", lambda: patched("H", vtable, 2), "cannot have 2 bytes", "Model"),
    Bad("table of 2 bytes", lambda: patched("H", lambda w: vtable(w) + 2, 2), "2 bytes", "Model"),
    Bad(
        "field outside its table",
        lambda: patched("H", lambda w: w.slot("Model", "version"), 999),
        "outside its table",
        "Model",
        "version",
    ),
    Bad(
        "table past the end",
        lambda: patched("H", lambda w: vtable(w) + 2, 65535),
        "past the end",
        "Model",
    ),
    Bad(
        "unknown field",
        unknown_field,
        "not in the declared schema",
        "Tensor",
        "#11",
        ts.UnknownField,
    ),
    Bad(
        "unknown union member",
        lambda: patched(
            "B",
            lambda w: (
                operator(w).at
                + struct.unpack_from(
                    "<H", w.data, operator(w).slot("Operator", "builtin_options") - 2
                )[0]
            ),
            250,
            OPERATOR_OPTIONS,
        ),
        "no member number 250",
        "Operator",
        "builtin_options",
        ts.UnknownField,
    ),
    Bad(
        "union without a type",
        lambda: patched(
            "B",
            lambda w: (
                operator(w).at
                + struct.unpack_from(
                    "<H", w.data, operator(w).slot("Operator", "builtin_options") - 2
                )[0]
            ),
            0,
            OPERATOR_OPTIONS,
        ),
        "no type",
        "Operator",
        "builtin_options",
    ),
    Bad(
        "offset of 0",
        lambda: patched("I", lambda w: w.place("Model", "subgraphs"), 0),
        "points nowhere",
        "Model",
        "subgraphs",
    ),
    Bad(
        "vector outside",
        lambda: patched("I", lambda w: w.place("Model", "buffers"), 1 << 29),
        "outside the file",
        "Model",
        "buffers",
    ),
    Bad(
        "vector past the end",
        lambda: patched("I", lambda w: w.field("Model", "buffers").at, 1 << 29),
        "past the end",
        "Model",
        "buffers",
    ),
    Bad(
        "table outside",
        lambda: patched("I", lambda w: w.field("Model", "buffers").at + 4, 1 << 29),
        "outside the file",
        "Model",
        "buffers",
    ),
    Bad(
        "entry of 0",
        lambda: patched("I", lambda w: w.field("Model", "buffers").at + 8, 0),
        "points nowhere",
        "Model",
        "buffers",
    ),
    Bad(
        "constant past the end",
        lambda: patched(
            "I", lambda w: w.field("Model", "buffers")[1].field("Buffer", "data").at, 0xFFFFFFFF
        ),
        "past the end",
        "Buffer",
        "data",
    ),
    Bad(
        "string without an end",
        lambda: patched("I", lambda w: tensor(w).field("Tensor", "name").at, 1),
        "no ending zero",
        "Tensor",
        "name",
    ),
    Bad("objects overlap", overlapping, "objects overlap"),
    Bad("one object many times", one_tensor_many_times, "objects overlap", "Tensor"),
    Bad(
        "one shape many times",
        lambda: one_vector_many_times("Tensor", "shape_signature"),
        "objects overlap",
        "Tensor",
        "shape_signature",
    ),
    Bad(
        "one range many times",
        lambda: one_vector_many_times("QuantizationParameters", "min"),
        "objects overlap",
        "QuantizationParameters",
        "min",
    ),
    Bad(
        "constants overlap",
        lambda: overlapping_constants(False),
        "objects overlap",
        "Buffer",
        "data",
    ),
    Bad(
        "constants outside overlap",
        lambda: overlapping_constants(True),
        "objects overlap",
        "Buffer",
        "offset",
    ),
    Bad(
        "old version",
        lambda: unchecked(base(version=2)),
        "is not 3",
        "Model",
        "version",
    ),
    Bad(
        "endless shape",
        lambda: unchecked(tensor_with(shape=(1,) * (LONG + 1))),
        "not plausible",
        "Tensor",
        "shape",
    ),
    Bad(
        "operator code out of range",
        lambda: patched("I", lambda w: w.field("Model", "operator_codes").at, 0),
        "out of range",
        "Operator",
        "opcode_index",
    ),
    Bad(
        "buffer outside the file",
        lambda: patched(
            "Q",
            lambda w: w.field("Model", "buffers")[1].place("Buffer", "offset"),
            1 << 62,
            OUTSIDE,
        ),
        "outside the file",
        "Buffer",
        "offset",
    ),
    Bad(
        "buffer both inside and outside", both_inside_and_outside, "both inside", "Buffer", "offset"
    ),
    Bad(
        "custom options outside the file",
        lambda: patched(
            "Q",
            lambda w: operator(w).place("Operator", "large_custom_options_size"),
            1 << 62,
            OUTSIDE,
        ),
        "outside the file",
        "Operator",
        "large_custom_options_offset",
    ),
    Bad(
        "custom options twice",
        given_twice,
        "given twice",
        "Operator",
        "large_custom_options_offset",
    ),
    Bad(
        "metadata",
        lambda: unchecked(base(metadata=(ts.Metadata("m", 4),))),
        "4 is",
        "Metadata",
        "buffer",
    ),
    Bad(
        "old metadata",
        lambda: unchecked(base(metadata_buffer=(4,))),
        "out of range",
        "Model",
        "metadata_buffer",
    ),
    Bad(
        "signature's subgraph",
        lambda: unchecked(base(signature_defs=(ts.SignatureDef(subgraph_index=4),))),
        "out of range",
        "SignatureDef",
        "subgraph_index",
    ),
    Bad(
        "signature's tensor",
        lambda: unchecked(base(signature_defs=(ts.SignatureDef(outputs=(ts.TensorMap("y", 4),)),))),
        "out of range",
        "TensorMap",
        "tensor_index",
    ),
    Bad("graph input", lambda: unchecked(graph_with(inputs=(4,))), "4 is", "SubGraph", "inputs"),
    Bad(
        "graph output", lambda: unchecked(graph_with(outputs=(-2,))), "-2 is", "SubGraph", "outputs"
    ),
    Bad(
        "operator input",
        lambda: unchecked(with_operator(ts.Operator(ADD, (0, 4), (1,)))),
        "out of range",
        "Operator",
        "inputs",
    ),
    Bad(
        "operator output",
        lambda: unchecked(with_operator(ts.Operator(ADD, (0,), (9,)))),
        "out of range",
        "Operator",
        "outputs",
    ),
    Bad(
        "intermediate",
        lambda: unchecked(with_operator(ts.Operator(ADD, (0,), (1,), intermediates=(7,)))),
        "out of range",
        "Operator",
        "intermediates",
    ),
    Bad(
        "called subgraph",
        lambda: unchecked(
            with_operator(
                ts.Operator(ADD, options=ts.Options("WhileOptions", body_subgraph_index=4))
            )
        ),
        "body_subgraph_index 4",
        "Operator",
        "builtin_options",
    ),
    Bad(
        "called subgraphs",
        lambda: unchecked(
            with_operator(
                ts.Operator(
                    ADD,
                    options_2=ts.Options("StablehloCaseOptions", branch_subgraph_indices=[0, 4]),
                )
            )
        ),
        "branch_subgraph_indices 4",
        "Operator",
        "builtin_options_2",
    ),
    Bad(
        "negative dimension",
        lambda: unchecked(tensor_with(shape=(2, -1))),
        "negative",
        "Tensor",
        "shape",
    ),
    Bad(
        "huge shape",
        lambda: unchecked(tensor_with(shape=(1 << 30,) * 3)),
        "too large",
        "Tensor",
        "shape",
    ),
    Bad(
        "huge shape beside a zero",
        lambda: unchecked(tensor_with(shape=(0,) + (1 << 30,) * 3)),
        "too large",
        "Tensor",
        "shape",
    ),
    Bad(
        "more dimensions than an array has",
        lambda: unchecked(tensor_with(shape=(1,) * 33)),
        "33 dimensions are too many",
        "Tensor",
        "shape",
    ),
    Bad(
        "dimensions whose product takes hours",
        lambda: unchecked(tensor_with(shape=(1 << 30,) * 200_000)),
        "200000 dimensions are too many",
        "Tensor",
        "shape",
    ),
    Bad(
        "tensor's buffer",
        lambda: unchecked(tensor_with(buffer=4)),
        "out of range",
        "Tensor",
        "buffer",
    ),
    Bad(
        "constant of the wrong size",
        lambda: unchecked(
            tensor_with(shape=(3,), buffer=1).replace(
                buffers=(ts.Buffer(), ts.Buffer(bytes(8)), ts.Buffer(), ts.Buffer())
            )
        ),
        "has 8 bytes",
        "Tensor",
        "buffer",
    ),
    Bad(
        "tensor of scales",
        lambda: unchecked(
            tensor_with(
                quantization=ts.Quantization(details=ts.Options("BlockwiseQuantization", scales=4))
            )
        ),
        "tensor 4 is out of range",
        "QuantizationParameters",
        "details",
    ),
    Bad(
        "zero points without scales of their own",
        lambda: unchecked(tensor_with(quantization=ts.Quantization(scale=[1, 2], zero_point=[0]))),
        "1 zero points for 2 scales",
        "QuantizationParameters",
        "zero_point",
    ),
    Bad(
        "scales along no axis",
        lambda: unchecked(
            tensor_with(
                shape=(2,),
                quantization=ts.Quantization(
                    scale=[1, 2], zero_point=[0, 0], quantized_dimension=3
                ),
            )
        ),
        "not an axis",
        "QuantizationParameters",
        "quantized_dimension",
    ),
    Bad(
        "scales of another number than channels",
        lambda: unchecked(
            tensor_with(shape=(3,), quantization=ts.Quantization(scale=[1, 2], zero_point=[0, 0]))
        ),
        "2 scales for 3 channels",
        "QuantizationParameters",
        "scale",
    ),
)


def test_the_file_that_is_damaged_is_good() -> None:
    for data in (GOOD, OPERATOR_OPTIONS, OUTSIDE):
        assert ts.to_bytes(ts.read(data)) == data


@pytest.mark.parametrize("bad", CASES, ids=lambda bad: bad.name)
def test_a_bad_file_is_named(bad: Bad) -> None:
    data = bad.make()
    with pytest.raises(ts.MalformedModel, match=r" at byte \d+: .*\.$") as caught:
        ts.read(data)
    error = caught.value
    assert type(error) is bad.error
    assert bad.says in str(error)
    if bad.table:
        assert (error.table, error.field) == (bad.table, bad.field)
    assert bool(error.field) <= error.offset <= max(len(data), 4)


def test_every_sentence_of_the_checks_has_a_file() -> None:
    """A check without a bad file would go untested: the list of places is read from the source."""
    import inspect
    import re

    source = inspect.getsource(checks)
    places = set(re.findall(r'Problem\(\s*\w+,\s*"(\w+)",\s*"(\w+)"', source))
    assert len(places) >= 10
    assert places <= {(bad.table, bad.field) for bad in CASES}


def test_what_the_runtime_loads_is_loaded() -> None:
    """One scale and an axis that the shape does not have, as person_detect.tflite has it."""
    quantization = ts.Quantization(scale=[1], zero_point=[0], quantized_dimension=3)
    model = tensor_with(shape=(2,), quantization=quantization)
    assert ts.read(ts.to_bytes(model)) == model


@pytest.mark.parametrize("offset", [0, 1])
def test_an_offset_up_to_1_means_no_data(offset: int) -> None:
    """The converter writes 1 as a place to patch; the runtime takes it for nothing."""

    def place(walk: Walk) -> int:
        return walk.field("Model", "buffers")[1].place("Buffer", "offset")

    assert ts.read(OUTSIDE).buffers[1].nbytes == 8
    assert ts.read(patched("Q", place, offset, OUTSIDE)).buffers[1].data is None


def test_the_writer_refuses_what_the_reader_refuses() -> None:
    with pytest.raises(
        ts.InvalidModel, match=r"Tensor.buffer of subgraph 0, tensor 0: 4 is out of range"
    ):
        ts.to_bytes(tensor_with(buffer=4))


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (base(description=3), "Model.description: 3 is not a string"),
        (
            base(description="\ud800"),
            r"Model.description: '\ud800' is not a string that can be stored",
        ),
        (with_operator(ts.Operator(ADD, debug_metadata_index=1 << 40)), "is not a i32"),
        (
            with_operator(ts.Operator(ADD, options=ts.Options("Int32Vector"))),
            "not one of BuiltinOptions",
        ),
        (
            tensor_with(shape_signature=(1 << 40,)),
            "Tensor.shape_signature: (1099511627776,) is not",
        ),
        (tensor_with(shape_signature=(1.5,)), "is not a vector of i32"),
    ],
)
def test_a_value_that_does_not_fit_is_named(model: ts.Model, says: str) -> None:
    with pytest.raises(ts.InvalidModel) as caught:
        ts.to_bytes(model)
    assert says in str(caught.value)


@pytest.mark.skipif(not corpus.available(), reason=corpus.MISSING)
def test_damaged_models_load_or_are_malformed() -> None:
    """The short form of `python -m tests.schema.mutate --count 100000`."""
    results = mutate.run(600, seed=1_000_000, write=True)
    assert results["loaded"] > 30
    assert len(results) > 50


def test_the_mutations_see_a_reader_that_crashes(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(data: bytes) -> ts.Model:
        raise IndexError("list index out of range")

    monkeypatch.setattr(mutate, "source", lambda name: GOOD)
    monkeypatch.setattr(mutate, "regions_of", lambda data: ((0, len(data)),))
    monkeypatch.setattr(ts, "read", broken)
    with pytest.raises(
        AssertionError, match=r"repeat with python -m tests\.schema\.mutate --only 7"
    ):
        mutate.run(1, seed=7)
