"""Models for the tests of the format, made from the declaration: one for each of its fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import tflite_schema as ts
from tflite_schema.schema import (
    SCALAR,
    SCALARS,
    STRING,
    TABLE,
    TABLES,
    TABLES_BY_NAME,
    UNION,
    UNIONS,
    Field,
)

RECORDS: dict[str, type] = {
    "Model": ts.Model,
    "SubGraph": ts.SubGraph,
    "Tensor": ts.Tensor,
    "QuantizationParameters": ts.Quantization,
    "Operator": ts.Operator,
    "OperatorCode": ts.OperatorCode,
    "Buffer": ts.Buffer,
    "Metadata": ts.Metadata,
    "SignatureDef": ts.SignatureDef,
    "TensorMap": ts.TensorMap,
    "SparsityParameters": ts.SparsityParameters,
    "DimensionMetadata": ts.DimensionMetadata,
    "VariantSubType": ts.VariantSubType,
    "ExternalBufferGroup": ts.ExternalBufferGroup,
    "ExternalBuffer": ts.ExternalBuffer,
}
RENAMED = {"builtin_options": "options", "builtin_options_2": "options_2"}
# Set by the writer from other values, or free of choice: tested by themselves.
DERIVED = {
    ("Model", "version"),
    ("Operator", "opcode_index"),
    ("Operator", "large_custom_options_offset"),
    ("Operator", "large_custom_options_size"),
    ("Buffer", "offset"),
    ("Buffer", "size"),
}
ADD = ts.OperatorCode.of("ADD")


def base(**changes: Any) -> ts.Model:
    """A small valid model: every index up to 3 exists."""
    tensors = tuple(ts.Tensor(shape=(2,), name=f"t{i}") for i in range(4))
    graph = ts.SubGraph(tensors, (0,), (1,), (ts.Operator(ADD, (0, 2), (1,)),), "main")
    model = ts.Model(
        operator_codes=(ADD,),
        subgraphs=(graph,) * 4,
        buffers=(ts.Buffer(None),) * 4,
        description="base",
    )
    return model.replace(**changes)


def with_tensor(tensor: ts.Tensor) -> ts.Model:
    model = base()
    graph = model.subgraphs[0]
    graph = graph.replace(tensors=(tensor, *graph.tensors[1:]))
    return model.replace(subgraphs=(graph, *model.subgraphs[1:]))


def with_operator(operator: ts.Operator) -> ts.Model:
    model = base()
    graph = model.subgraphs[0].replace(operators=(operator,))
    return model.replace(subgraphs=(graph, *model.subgraphs[1:]))


@dataclass(frozen=True)
class Place:
    """Where a table can stand in a model. path: how to get to it from the generated ModelT."""

    make: Any
    path: str


def _quantized(value: ts.Quantization) -> ts.Model:
    return with_tensor(ts.Tensor(quantization=value))


def _sparse(value: ts.SparsityParameters) -> ts.Model:
    return with_tensor(ts.Tensor(sparsity=value))


_TENSOR, _OPERATOR = "subgraphs.0.tensors.0", "subgraphs.0.operators.0"
PLACES: dict[str, Place] = {
    "Model": Place(lambda v: v, ""),
    "SubGraph": Place(lambda v: base(subgraphs=(v,) * 4), "subgraphs.0"),
    "Tensor": Place(with_tensor, _TENSOR),
    "Operator": Place(with_operator, _OPERATOR),
    "OperatorCode": Place(lambda v: base(operator_codes=(v,), subgraphs=()), "operatorCodes.0"),
    "Buffer": Place(
        lambda v: base(buffers=(ts.Buffer(), ts.Buffer(), ts.Buffer(), v)), "buffers.3"
    ),
    "Metadata": Place(lambda v: base(metadata=(v,)), "metadata.0"),
    "SignatureDef": Place(lambda v: base(signature_defs=(v,)), "signatureDefs.0"),
    "TensorMap": Place(
        lambda v: base(signature_defs=(ts.SignatureDef(inputs=(v,)),)), "signatureDefs.0.inputs.0"
    ),
    "ExternalBufferGroup": Place(
        lambda v: base(external_buffer_groups=(v,)), "externalBufferGroups.0"
    ),
    "ExternalBuffer": Place(lambda v: base(external_buffers=(v,)), "externalBuffers.0"),
    "QuantizationParameters": Place(_quantized, f"{_TENSOR}.quantization"),
    "VariantSubType": Place(
        lambda v: with_tensor(ts.Tensor(variant_tensors=(v,))), f"{_TENSOR}.variantTensors.0"
    ),
    "SparsityParameters": Place(_sparse, f"{_TENSOR}.sparsity"),
    "DimensionMetadata": Place(
        lambda v: _sparse(ts.SparsityParameters(dim_metadata=(v,))),
        f"{_TENSOR}.sparsity.dimMetadata.0",
    ),
}
for _name in UNIONS["BuiltinOptions"]:
    PLACES[_name] = Place(
        lambda v: with_operator(ts.Operator(ADD, options=v)), f"{_OPERATOR}.builtinOptions"
    )
for _name in UNIONS["BuiltinOptions2"]:
    PLACES[_name] = Place(
        lambda v: with_operator(ts.Operator(ADD, options_2=v)), f"{_OPERATOR}.builtinOptions2"
    )
for _name in UNIONS["QuantizationDetails"]:
    PLACES[_name] = Place(
        lambda v: _quantized(ts.Quantization(details=v)), f"{_TENSOR}.quantization.details"
    )
for _name in UNIONS["SparseIndexVector"]:
    PLACES[_name] = Place(
        lambda v: _sparse(
            ts.SparsityParameters(dim_metadata=(ts.DimensionMetadata(array_segments=v),))
        ),
        f"{_TENSOR}.sparsity.dimMetadata.0.arraySegments",
    )


def empty(table: str) -> Any:
    """A value of the table with every field at its default."""
    if table == "Model":
        return base()
    if table == "SubGraph":
        return base().subgraphs[0]
    if table == "Operator":
        return ts.Operator(ADD)
    return RECORDS[table]() if table in RECORDS else ts.Options(table)


def value_of(field: Field) -> Any:
    """A value that is not the default of the field and valid in `base`."""
    if field.kind == SCALAR:
        if field.enum is not None:
            return next((m for m in reversed(field.enum) if m != field.default), 3)
        return (not field.default) if field.code == "?" else 2.5 if field.code == "f" else 3
    if field.kind == STRING:
        return "naïve ☃"
    if field.kind == SCALARS:
        values = [True, False, True] if field.code == "?" else [3, 1, 2]
        return values if field.code not in "i?" else tuple(values)
    if field.kind == TABLE:
        return empty(field.type)
    if field.kind == UNION:
        return ts.Options(UNIONS[field.type][-1])
    assert field.kind == TABLES
    return (empty(field.type),) * (5 if field.type in ("SubGraph", "Tensor", "Buffer") else 2)


def with_value(table: str, field: Field, value: Any) -> Any:
    """A value of the table with one field set."""
    if field.kind == SCALARS and field.code not in "i?" and not isinstance(value, np.ndarray):
        value = np.asarray(value, field.dtype)
    return empty(table).replace(**{RENAMED.get(field.name, field.name): value})


def fields(*kinds: int) -> list[Any]:
    """(table name, field) of each declared field of these kinds, those of DERIVED left out."""
    return [
        (table.name, field)
        for table in TABLES_BY_NAME.values()
        for field in table.fields
        if (table.name, field.name) not in DERIVED and (not kinds or field.kind in kinds)
    ]
