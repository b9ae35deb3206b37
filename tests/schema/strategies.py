"""Hypothesis strategies: any valid model that the schema can express, and edits of one."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

import tflite_schema as ts
from tflite_schema.checks import SUBGRAPH_FIELDS
from tflite_schema.schema import SCALAR, SCALARS, STRING, TABLES_BY_NAME, UNIONS, Field

_BITS = {"b": 8, "B": 8, "h": 16, "H": 16, "i": 32, "I": 32, "q": 64, "Q": 64}
texts = st.none() | st.text(max_size=6)


def numbers(field: Field) -> st.SearchStrategy[Any]:
    """Any value of a scalar field or element; unknown numbers of enums too."""
    if field.code == "?":
        return st.booleans()
    if field.code in "fd":
        return st.floats(width=32)
    bits = _BITS[field.code]
    if field.code.isupper():
        return st.integers(0, 2**bits - 1)
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


@st.composite
def options(draw: Any, union: str, subgraphs: int, tensors: int) -> ts.Options | None:
    """Any member of a union with any values, None, or a member without a table."""
    name = draw(st.none() | st.sampled_from(UNIONS[union]))
    if name is None:
        return None
    if draw(st.integers(0, 9)) == 0:
        return ts.Options(name, stored=False)
    values: dict[str, Any] = {}
    for field in TABLES_BY_NAME[name].fields:
        if draw(st.booleans()):
            continue
        if field.name in SUBGRAPH_FIELDS.get(name, ()):
            element = st.integers(0, subgraphs - 1)
        elif union == "QuantizationDetails" and field.name in ("scales", "zero_points"):
            element = st.integers(0, tensors - 1)
        elif field.kind == STRING:
            element = st.text(max_size=4)
        else:
            element = numbers(field)
        if field.kind == SCALARS:
            listed = draw(st.lists(element, max_size=3))
            values[field.name] = np.array(listed, field.dtype)
        else:
            assert field.kind in (SCALAR, STRING)
            values[field.name] = draw(element)
    return ts.Options(name, **values)


def optional(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A tuple of values, empty or ABSENT."""
    return st.just(ts.ABSENT) | st.lists(strategy, max_size=3).map(tuple)


@st.composite
def quantizations(draw: Any, shape: tuple[int, ...], tensors: int) -> ts.Quantization | None:
    if draw(st.booleans()):
        return None
    vectors = {
        name: np.array(draw(st.lists(st.floats(width=32), max_size=3)), np.float32)
        for name in ("min", "max")
        if draw(st.booleans())
    }
    axis = draw(st.integers(0, len(shape) - 1)) if shape else 0
    count = draw(st.sampled_from((0, 1, shape[axis] if shape else 1)))
    details = draw(options("QuantizationDetails", 1, tensors))
    return ts.Quantization(
        **vectors,
        scale=np.linspace(0.5, 2, count, dtype=np.float32),
        zero_point=np.arange(count) if draw(st.booleans()) else None,
        details=details,
        quantized_dimension=axis,
    )


@st.composite
def sparsities(draw: Any) -> ts.SparsityParameters | None:
    if draw(st.integers(0, 4)):
        return None
    indices = options("SparseIndexVector", 1, 1)
    dimension = st.builds(
        ts.DimensionMetadata,
        format=st.sampled_from(list(ts.DimensionType)),
        dense_size=st.integers(0, 9),
        array_segments=indices,
        array_indices=indices,
    )
    small = optional(st.integers(0, 3))
    return ts.SparsityParameters(draw(small), draw(small), draw(optional(dimension)))


@st.composite
def tensors(draw: Any, count: int, buffers: list[ts.Buffer]) -> ts.Tensor:
    """A tensor; a constant one brings its buffer, or shares one of the right size."""
    shape = draw(st.none() | st.lists(st.integers(0, 3), max_size=3).map(tuple))
    tensor = ts.Tensor(
        shape=shape,
        type=draw(st.sampled_from(list(ts.TensorType))),
        name=draw(texts),
        quantization=draw(quantizations(shape or (), count)),
        is_variable=draw(st.booleans()),
        sparsity=draw(sparsities()),
        shape_signature=draw(st.none() | st.just((-1, 2)) | st.just(())),
        has_rank=draw(st.booleans()),
        variant_tensors=draw(
            optional(
                st.builds(
                    ts.VariantSubType,
                    shape=st.none() | st.just((1, 2)),
                    type=st.sampled_from(list(ts.TensorType)),
                    has_rank=st.booleans(),
                )
            )
        ),
        external_buffer=draw(st.sampled_from((0, 0, 7))),
    )
    if draw(st.booleans()):
        size = ts.stored_bytes(tensor)
        size = draw(st.integers(0, 40)) if size is None or tensor.sparsity else size
        fitting = [i for i, b in enumerate(buffers) if i and b.nbytes == size]
        if fitting and draw(st.booleans()):
            return tensor.replace(buffer=draw(st.sampled_from(fitting)))
        data = np.frombuffer(draw(st.binary(min_size=size, max_size=size)), np.uint8)
        buffers.append(ts.Buffer(draw(st.sampled_from((data, data, None))), draw(st.booleans())))
        return tensor.replace(buffer=len(buffers) - 1)
    return tensor


@st.composite
def codes(draw: Any) -> ts.OperatorCode:
    if draw(st.integers(0, 3)) == 0:
        return ts.OperatorCode.of("Custom" + draw(st.text(max_size=3)), draw(st.integers(1, 3)))
    return ts.OperatorCode.of(
        draw(st.sampled_from(list(ts.BuiltinOperator))).name, draw(st.integers(1, 9))
    )


@st.composite
def operators(draw: Any, count: int, subgraphs: int) -> ts.Operator:
    indices = optional(st.integers(-1, count - 1))
    data = draw(st.none() | st.binary(max_size=20))
    return ts.Operator(
        code=draw(codes()),
        inputs=draw(indices),
        outputs=draw(indices),
        options=draw(options("BuiltinOptions", subgraphs, count)),
        custom_options=data,
        custom_options_format=draw(st.sampled_from((0, 3))),
        mutating_variable_inputs=draw(optional(st.booleans())),
        intermediates=draw(indices),
        options_2=draw(options("BuiltinOptions2", subgraphs, count)),
        debug_metadata_index=draw(st.integers(-1, 5)),
        custom_options_outside=draw(st.booleans()),
    )


@st.composite
def models(draw: Any) -> ts.Model:
    """Any model that can be written: every table, absent and empty vectors, data in and outside."""
    buffers = [ts.Buffer(None)]
    sizes = draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))
    subgraphs = []
    for count in sizes:
        indices = optional(st.integers(-1, count - 1))
        subgraphs.append(
            ts.SubGraph(
                tensors=tuple(draw(tensors(count, buffers)) for _ in range(count)),
                inputs=draw(indices),
                outputs=draw(indices),
                operators=draw(optional(operators(count, len(sizes)))),
                name=draw(texts),
                debug_metadata_index=draw(st.integers(-1, 3)),
            )
        )
    buffers += [ts.Buffer(draw(st.binary(max_size=9)))] * draw(st.integers(0, 2))
    index = st.integers(0, len(buffers) - 1)

    def maps(number: int) -> st.SearchStrategy[Any]:
        tensor_index = st.integers(0, sizes[number] - 1)
        return optional(st.builds(ts.TensorMap, name=texts, tensor_index=tensor_index))

    signatures = st.integers(0, len(sizes) - 1).flatmap(
        lambda number: st.builds(
            ts.SignatureDef,
            inputs=maps(number),
            outputs=maps(number),
            signature_key=texts,
            deprecated_tag=texts,
            subgraph_index=st.just(number),
        )
    )
    group = st.builds(ts.ExternalBufferGroup, name=texts)
    external = st.builds(
        ts.ExternalBuffer,
        id=st.integers(0, 9),
        group=st.integers(0, 3),
        offset=st.integers(0, 2**64 - 1),
        length=st.integers(0, 2**64 - 1),
        packing=texts,
    )
    # What is appended starts with a byte that is not zero: leading zeros may be padding.
    appended = draw(st.none() | st.binary(max_size=40).map(lambda tail: b"\x01" + tail))
    return ts.Model(
        operator_codes=draw(optional(codes())),
        subgraphs=tuple(subgraphs),
        description=draw(texts),
        buffers=tuple(buffers),
        metadata_buffer=draw(optional(index)),
        metadata=draw(optional(st.builds(ts.Metadata, name=texts, buffer=index))),
        signature_defs=draw(optional(signatures)),
        external_buffer_groups=draw(optional(group)),
        external_buffers=draw(optional(external)),
        appended=None if appended is None else np.frombuffer(appended, np.uint8),
    )
