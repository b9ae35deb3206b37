"""`schema.py` against the generated bindings that ai-edge-litert and tensorflow ship.

Both are read as text: importing tensorflow for this would take seconds.
"""

from __future__ import annotations

import importlib.util
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tflite_schema import schema

WHERE = {
    "litert": ("ai_edge_litert", "schema_py_generated.py"),
    "tensorflow": ("tensorflow", "lite/python/schema_py_generated.py"),
}
SCALAR_NAMES = {
    "bool": "Bool",
    "i8": "Int8",
    "u8": "Uint8",
    "i16": "Int16",
    "u16": "Uint16",
    "i32": "Int32",
    "u32": "Uint32",
    "i64": "Int64",
    "u64": "Uint64",
    "f32": "Float32",
    "f64": "Float64",
}

# What the newest schema.fbs declares and the bindings of a release do not have yet, and the other
# way round. A new release shortens the lists, or this test says what to add to schema.py.
ONLY_DECLARED: dict[str, set[str]] = {
    "litert": set(),
    # tensorflow 2.21.0
    "tensorflow": {
        "enum TensorType.FLOAT8_E4M3FN",
        "enum TensorType.FLOAT8_E5M2",
        "union QuantizationDetails.MultiAxisQuantization",
        "field MultiAxisQuantization.Scales",
        "field MultiAxisQuantization.ZeroPoints",
        "field MultiAxisQuantization.BlockSize",
        "field MultiAxisQuantization.QuantizedDimensions",
        "field BlockwiseQuantization.BlockShape",
        "field FullyConnectedOptions.QuantSpec",
        "slot MultiAxisQuantization 0",
        "slot MultiAxisQuantization 1",
        "slot MultiAxisQuantization 2",
        "slot MultiAxisQuantization 3",
        "slot BlockwiseQuantization 3",
        "slot FullyConnectedOptions 5",
    },
}
ONLY_BOUND: dict[str, set[str]] = {"litert": set(), "tensorflow": set()}


def camel(name: str) -> str:
    """flatc's accessor name of a field."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def declared() -> dict[str, Any]:
    """Our declaration as {name: fact}, in the form in which the bindings can be read too."""
    facts: dict[str, Any] = {}
    for name, enum in schema.ENUMS.items():
        facts |= {f"enum {name}.{m}": int(v) for m, v in enum.__members__.items()}
    for name, members in schema.UNIONS.items():
        facts |= {f"union {name}.{m}": i for i, m in enumerate(("NONE", *members))}
    for table in schema.TABLES_BY_NAME.values():
        facts |= {f"slot {table.name} {i}": True for i in range(len(table.by_slot))}
        for field in table.fields:
            if not field.deprecated:
                key = f"field {table.name}.{camel(field.name)}"
                if field.kind == schema.UNION:
                    facts[key + "Type"] = (field.slot - 1, "Uint8", 0)
                facts[key] = (field.slot, *_field_fact(field))
    return facts


def _field_fact(field: schema.Field) -> tuple[Any, ...]:
    scalar = SCALAR_NAMES.get(schema.ENUM_STORAGE.get(field.type, field.type))
    if field.kind == schema.SCALAR:
        return scalar, field.default
    kinds = {
        schema.STRING: ("string",),
        schema.UNION: ("union",),
        schema.TABLE: ("table", field.type),
        schema.TABLES: ("tables", field.type),
        schema.SCALARS: ("scalars", scalar),
    }
    return kinds[field.kind]


@cache
def bound(text: str) -> dict[str, Any]:
    """The same facts from the text of a flatc-generated Python module."""
    facts: dict[str, Any] = {}
    starts = dict(
        re.findall(r"^def (\w+)Start\(builder\):\n    builder.StartObject\((\d+)\)", text, re.M)
    )
    slots = re.findall(
        r"^def (\w+)\(builder, \w+\):\n    builder.Prepend(\w+)Slot\((\d+), .*, (\S+)\)$",
        text,
        re.M,
    )
    for block in re.split(r"^class ", text, flags=re.M)[1:]:
        name = re.match(r"\w+", block)[0]
        body = block.split("\ndef ")[0]
        constants = re.findall(r"^    (\w+) = (-?\d+)$", body, re.M)
        kind = "union" if f"def {name}Creator" in block else "enum"
        facts |= {f"{kind} {name}.{member}": int(value) for member, value in constants}
        if name not in starts:
            continue
        facts |= {f"slot {name} {i}": True for i in range(int(starts[name]))}
        accessors = dict(re.findall(r"    def (\w+)\((.*(?:\n        .*)*)", body))
        for adder, how, slot, default in slots:
            table, _, field = adder.partition("Add")
            if adder.startswith(f"{name}Add") and adder[len(name) + 3 :] in accessors:
                field = adder[len(name) + 3 :]
            elif table != name:
                continue
            if how != "UOffsetTRelative":
                value = default in ("True", "1") if how == "Bool" else float(default)
                facts[f"field {name}.{field}"] = (int(slot), how, value)
            else:
                facts[f"field {name}.{field}"] = (int(slot), *_offset_fact(field, accessors))
    return facts


def _offset_fact(field: str, accessors: dict[str, str]) -> tuple[Any, ...]:
    body = accessors[field]
    if "self._tab.String" in body:
        return ("string",)
    if "Table(bytearray(), 0)" in body:
        return ("union",)
    made = re.search(r"obj = (\w+)\(\)", body)
    if made:
        return ("tables" if body.startswith("self, j") else "table", made[1])
    element = re.search(r"number_types\.(\w+)Flags, o\)", accessors[f"{field}AsNumpy"])
    assert element, f"{field}: what its vector holds is not to be seen"
    return ("scalars", element[1])


def differences(
    ours: dict[str, Any], theirs: dict[str, Any]
) -> tuple[set[str], set[str], list[str]]:
    """(only ours, only theirs, a sentence for each fact on which the two disagree)."""
    wrong = [
        f"{k}: {ours[k]} and {theirs[k]}" for k in sorted(ours) if ours[k] != theirs.get(k, ours[k])
    ]
    return ours.keys() - theirs.keys(), theirs.keys() - ours.keys(), wrong


def text_of(source: str) -> str:
    package, path = WHERE[source]
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        pytest.skip(f"{package} is not installed")
    return (Path(spec.origin).parent / path).read_text("utf-8")


@pytest.mark.parametrize("source", WHERE)
def test_the_declaration_is_the_generated_bindings(source: str) -> None:
    ours, theirs = declared(), bound(text_of(source))
    assert len([k for k in theirs if k.startswith("field ")]) > 300, (
        "the bindings were not understood"
    )
    only_ours, only_theirs, wrong = differences(ours, theirs)
    assert not wrong
    assert only_ours == ONLY_DECLARED[source]
    assert only_theirs == ONLY_BOUND[source]


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        ({"field Tensor.Buffer": (3, "Uint32", 0)}, "field Tensor.Buffer"),
        ({"field OperatorCode.Version": (2, "Int32", 0)}, "field OperatorCode.Version"),
        ({"field Tensor.Shape": (0, "scalars", "Int64")}, "field Tensor.Shape"),
        ({"enum TensorType.INT4": 18}, "enum TensorType.INT4"),
        ({"union BuiltinOptions.AddOptions": 12}, "union BuiltinOptions.AddOptions"),
    ],
)
def test_the_comparison_sees_a_wrong_fact(change: dict[str, Any], seen: str) -> None:
    theirs = bound(text_of("litert"))
    assert seen in theirs
    _, _, wrong = differences(declared() | change, theirs)
    assert len(wrong) == 1
    assert wrong[0].startswith(seen + ":")


def test_the_comparison_sees_what_only_one_has() -> None:
    ours, theirs = declared(), dict(bound(text_of("litert")))
    before = differences(ours, theirs)
    del ours["field Tensor.HasRank"], ours["slot Buffer 2"], theirs["enum Padding.VALID"]
    only_ours, only_theirs, _ = differences(ours, theirs)
    assert only_ours - before[0] == {"enum Padding.VALID"}
    assert only_theirs - before[1] == {"field Tensor.HasRank", "slot Buffer 2"}


def test_every_table_can_be_reached_from_the_root() -> None:
    found: set[str] = set()
    todo = ["Model"]
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            for field in schema.TABLES_BY_NAME[name].fields:
                if field.kind in (schema.TABLE, schema.TABLES):
                    todo.append(field.type)
                elif field.kind == schema.UNION:
                    todo += schema.UNIONS[field.type]
    assert found == set(schema.TABLES_BY_NAME)
