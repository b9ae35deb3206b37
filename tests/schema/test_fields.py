"""Every field of every table survives writing and reading, by us and by the generated bindings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tflite_schema as ts
from tests.schema.samples import PLACES, RENAMED, base, empty, fields, value_of, with_value
from tflite_schema.schema import SCALARS, TABLES, TABLES_BY_NAME, UNIONS, Field

ALL = fields()
IDS = [f"{table}.{field.name}" for table, field in ALL]
VECTORS = fields(SCALARS, TABLES)


def by_bindings(data: bytes, path: str) -> Any:
    """What the bindings of ai-edge-litert find at the path."""
    bindings = pytest.importorskip("ai_edge_litert.schema_py_generated")
    found = bindings.ModelT.InitFromObj(bindings.Model.GetRootAs(data))
    for step in path.split(".") if path else ():
        found = found[int(step)] if step.isdigit() else getattr(found, step)
    return found


def attribute(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() if part[:1].isalpha() else part for part in rest)


def find(model: ts.Model, table: str) -> Any:
    """Our value at the table's place."""
    value: Any = model
    for step in PLACES[table].path.split(".") if PLACES[table].path else ():
        if step.isdigit():
            value = value[int(step)]
        else:
            name = "".join("_" + c.lower() if c.isupper() else c for c in step)
            name = name.replace("options2", "options_2")
            value = getattr(value, RENAMED.get(name, name))
    return value


def test_every_table_has_a_place() -> None:
    assert set(PLACES) == set(TABLES_BY_NAME)
    assert len(ALL) > 300


@pytest.mark.parametrize(("table", "field"), ALL, ids=IDS)
def test_a_field_survives(table: str, field: Field) -> None:
    value = value_of(field)
    model = PLACES[table].make(with_value(table, field, value))
    data = ts.to_bytes(model)
    again = ts.read(data)
    assert again == model
    assert model != PLACES[table].make(empty(table)) or value == empty(table), "nothing was set"
    ours = getattr(find(again, table), RENAMED.get(field.name, field.name))
    assert ts.to_bytes(again) == data
    if field.deprecated:
        return  # the bindings have no accessor for it
    theirs = getattr(by_bindings(data, PLACES[table].path), attribute(field.name))
    if field.kind == TABLES:
        assert len(ours) == len(theirs) == len(value)
    elif isinstance(ours, str):
        assert ours == value
        assert theirs.decode() == value
    elif field.kind == SCALARS:
        assert np.asarray(ours).tolist() == list(value)
        assert theirs.tolist() == list(value)
    elif isinstance(ours, ts.Options):
        assert type(theirs).__name__ == f"{ours.table}T"
    elif isinstance(theirs, (int, float)):
        assert ours == value
        assert theirs == value
    else:
        assert type(theirs).__name__ == f"{field.type}T"


@pytest.mark.parametrize(("table", "field"), VECTORS, ids=[f"{t}.{f.name}" for t, f in VECTORS])
def test_an_absent_and_an_empty_vector_stay_apart(table: str, field: Field) -> None:
    if (table, field.name) in {
        ("SubGraph", "tensors"),
        ("Model", "subgraphs"),
        ("Model", "buffers"),
    }:
        start = ts.SubGraph() if table == "SubGraph" else ts.Model()
        make = (lambda v: base(subgraphs=(v,))) if table == "SubGraph" else (lambda v: v)
    elif table == "SubGraph":
        start, make = ts.SubGraph(), lambda v: base(subgraphs=(v,))
    elif table == "Model":
        start, make = ts.Model(), lambda v: v
    else:
        start, make = empty(table), PLACES[table].make
    name = RENAMED.get(field.name, field.name)
    nothing: Any = () if field.kind == TABLES or field.code in "i?" else np.zeros(0, field.dtype)
    present = ts.to_bytes(make(start.replace(**{name: nothing})))
    absent = ts.to_bytes(make(start))
    assert len(by_bindings(present, PLACES[table].path).__dict__[attribute(field.name)]) == 0
    assert by_bindings(absent, PLACES[table].path).__dict__[attribute(field.name)] is None
    assert ts.to_bytes(ts.read(present)) == present
    assert ts.to_bytes(ts.read(absent)) == absent


@pytest.mark.parametrize("union", UNIONS)
def test_a_union_type_without_a_table_survives(union: str) -> None:
    bare = ts.Options(UNIONS[union][0], stored=False)
    model = {
        "BuiltinOptions": lambda: PLACES["Operator"].make(empty("Operator").replace(options=bare)),
        "BuiltinOptions2": lambda: PLACES["Operator"].make(
            empty("Operator").replace(options_2=bare)
        ),
        "QuantizationDetails": lambda: PLACES["QuantizationParameters"].make(
            ts.Quantization(details=bare)
        ),
        "SparseIndexVector": lambda: PLACES["DimensionMetadata"].make(
            ts.DimensionMetadata(array_indices=bare)
        ),
    }[union]()
    data = ts.to_bytes(model)
    assert ts.read(data) == model
    assert ts.to_bytes(ts.read(data)) == data


@pytest.mark.parametrize("value", [-0.0, float("nan"), float("inf"), 1e-45])
def test_floats_keep_their_bits(value: float) -> None:
    options = ts.Options("SoftmaxOptions", beta=value)
    model = PLACES["SoftmaxOptions"].make(options)
    again = find(ts.read(ts.to_bytes(model)), "SoftmaxOptions")
    assert np.float32(again.beta).tobytes() == np.float32(value).tobytes()
    assert again == options


def test_unknown_enum_values_are_carried() -> None:
    operator = ts.Operator(
        ts.OperatorCode(127, None, 1, 999), options=ts.Options("CastOptions", in_data_type=77)
    )
    model = PLACES["Operator"].make(operator)
    again = find(ts.read(ts.to_bytes(model)), "Operator")
    assert (again.code.builtin, again.name, again.options.in_data_type) == (999, "BUILTIN_999", 77)
    assert again == operator


def test_strings_that_are_not_utf8_keep_their_bytes() -> None:
    model = base(description=b"caf\xe9".decode("utf-8", "surrogateescape"))
    data = ts.to_bytes(model)
    assert b"caf\xe9\0" in data
    assert ts.to_bytes(ts.read(data)) == data


@pytest.mark.parametrize(
    ("name", "deprecated", "builtin"),
    [("ADD", 0, 0), ("CONV_2D", 3, 3), ("BATCH_MATMUL", 126, 126), ("GELU", 127, 150)],
)
def test_operator_codes_are_written_as_the_converter_does(
    name: str, deprecated: int, builtin: int
) -> None:
    code = ts.OperatorCode.of(name, version=2)
    assert (code.deprecated_builtin_code, int(code.builtin_code), code.version) == (
        deprecated,
        builtin,
        2,
    )
    assert code.name == name
    custom = ts.OperatorCode.of("MyOp")
    assert (custom.deprecated_builtin_code, custom.custom_code, custom.name) == (32, "MyOp", "MyOp")
    old = ts.OperatorCode(deprecated_builtin_code=3)
    assert (old.builtin, old.name) == (ts.BuiltinOperator.CONV_2D, "CONV_2D")
