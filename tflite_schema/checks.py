"""What a model must satisfy beyond the format: indices in range, constants of the right size.

Used on what was read (MalformedModel) and on what will be written (InvalidModel). A model that
passes can be walked without further checks. Left alone on purpose: quantized_dimension out of
range with one scale, which shipped models have (person_detect.tflite) and which harms nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from tflite_schema.model import (
    Model,
    Operator,
    Options,
    Quantization,
    SubGraph,
    Tensor,
    stored_bytes,
)
from tflite_schema.schema import TABLES_BY_NAME


class Problem(NamedTuple):
    """The first thing wrong: the record, its table and field in the schema, and what."""

    record: Any
    table: str
    field: str
    what: str
    where: str


MAX_ELEMENTS_BYTES = 1 << 62  # sizes beyond it overflow the runtime's arithmetic
MAX_RANK = 32  # of an array in NumPy 1; the runtime's operators take eight at most

_SUBGRAPH_FIELDS = (
    "subgraph",
    "then_subgraph_index",
    "else_subgraph_index",
    "init_subgraph_index",
    "cond_subgraph_index",
    "body_subgraph_index",
    "comparator_subgraph_index",
    "update_computation_subgraph_index",
    "decomposition_subgraph_index",
    "branch_subgraph_indices",
    "called_computations",
)
# Table -> its fields that name subgraphs (-1 is "none").
SUBGRAPH_FIELDS: dict[str, tuple[str, ...]] = {
    table.name: found
    for table in TABLES_BY_NAME.values()
    if (found := tuple(f.name for f in table.fields if f.name in _SUBGRAPH_FIELDS))
}


def called_subgraphs(options: Options | None) -> Iterator[tuple[str, int]]:
    """(field, subgraph index) of each subgraph that an operator's options name."""
    if options is None or not options.stored:
        return
    for name in SUBGRAPH_FIELDS.get(options.table, ()):
        value = options.get(name)
        if value is not None:
            for index in [value] if isinstance(value, int) else value.tolist():
                yield name, index


_WITH_SCALE_TENSORS = ("BlockwiseQuantization", "MultiAxisQuantization")


def quantization_tensors(quantization: Quantization | None) -> tuple[int, ...]:
    """Tensor indices that blockwise or multi-axis details refer to (-1 left out)."""
    details = quantization.details if quantization is not None else None
    if details is None or not details.stored or details.table not in _WITH_SCALE_TENSORS:
        return ()
    return tuple(i for i in (details.scales, details.zero_points) if i != -1)


def problem(model: Model) -> Problem | None:
    """The first thing wrong with the model, None if all is well."""
    return next(_problems(model), None)


def _outside(indices: Iterable[int], count: int, lowest: int) -> int | None:
    return next((i for i in indices if not lowest <= i < count), None)


def _problems(model: Model) -> Iterator[Problem]:
    buffers = len(model.buffers)
    for position, entry in enumerate(model.metadata):
        if entry.buffer >= buffers:
            what = f"{entry.buffer} is out of range, there are {buffers} buffers"
            yield Problem(entry, "Metadata", "buffer", what, f"metadata {position}")
    bad = _outside(model.metadata_buffer, buffers, 0)
    if bad is not None:
        what = f"{bad} is out of range, there are {buffers} buffers"
        yield Problem(model, "Model", "metadata_buffer", what, "model")
    for number, subgraph in enumerate(model.subgraphs):
        yield from _subgraph(model, subgraph, number)
    for number, signature in enumerate(model.signature_defs):
        where = f"signature {number}"
        if signature.subgraph_index >= len(model.subgraphs):
            what = f"{signature.subgraph_index} is out of range,"
            what += f" there are {len(model.subgraphs)} subgraphs"
            yield Problem(signature, "SignatureDef", "subgraph_index", what, where)
            continue
        tensors = len(model.subgraphs[signature.subgraph_index].tensors)
        for named in (*signature.inputs, *signature.outputs):
            if named.tensor_index >= tensors:
                what = f"{named.tensor_index} is out of range, there are {tensors} tensors"
                yield Problem(named, "TensorMap", "tensor_index", what, where)


def _subgraph(model: Model, subgraph: SubGraph, number: int) -> Iterator[Problem]:
    tensors = len(subgraph.tensors)
    for name in ("inputs", "outputs"):
        bad = _outside(getattr(subgraph, name), tensors, -1)
        if bad is not None:
            what = f"{bad} is out of range, there are {tensors} tensors"
            yield Problem(subgraph, "SubGraph", name, what, f"subgraph {number}")
    for index, tensor in enumerate(subgraph.tensors):
        yield from _tensor(model, tensors, tensor, f"subgraph {number}, tensor {index}")
    for index, operator in enumerate(subgraph.operators):
        yield from _operator(model, tensors, operator, f"subgraph {number}, operator {index}")


def _operator(model: Model, tensors: int, operator: Operator, where: str) -> Iterator[Problem]:
    for name in ("inputs", "outputs", "intermediates"):
        bad = _outside(getattr(operator, name), tensors, -1)
        if bad is not None:
            what = f"{bad} is out of range, there are {tensors} tensors"
            yield Problem(operator, "Operator", name, what, where)
    subgraphs = len(model.subgraphs)
    for options, field in (
        (operator.options, "builtin_options"),
        (operator.options_2, "builtin_options_2"),
    ):
        for name, index in called_subgraphs(options):
            if not -1 <= index < subgraphs:
                what = f"{name} {index} is out of range, there are {subgraphs} subgraphs"
                yield Problem(operator, "Operator", field, what, where)


def _tensor(model: Model, tensors: int, tensor: Tensor, where: str) -> Iterator[Problem]:
    shape = tensor.shape or ()
    if len(shape) > MAX_RANK:  # before anything walks or shows it
        what = f"{len(shape)} dimensions are too many, there can be {MAX_RANK}"
        yield Problem(tensor, "Tensor", "shape", what, where)
        return
    if any(d < 0 for d in shape):
        what = f"{tensor.shape} has a negative dimension"
        yield Problem(tensor, "Tensor", "shape", what, where)
        return
    needed = largest = stored_bytes(tensor)
    if 0 in shape:  # the others count all the same: an array of that shape could not be made
        largest = stored_bytes(tensor.replace(shape=tuple(d or 1 for d in shape)))
    if largest is not None and largest > MAX_ELEMENTS_BYTES:
        yield Problem(tensor, "Tensor", "shape", f"{tensor.shape} is too large", where)
    if tensor.buffer >= len(model.buffers):
        # Buffer 0 of a file without buffers is the "no data" that every runtime takes it for.
        if tensor.buffer:
            what = f"{tensor.buffer} is out of range, there are {len(model.buffers)} buffers"
            yield Problem(tensor, "Tensor", "buffer", what, where)
    elif tensor.buffer and tensor.sparsity is None and needed is not None:
        size = model.buffers[tensor.buffer].nbytes
        if size and size != needed:
            kind = getattr(tensor.type, "name", tensor.type)
            what = f"buffer {tensor.buffer} has {size} bytes, {kind} {tensor.shape} needs {needed}"
            yield Problem(tensor, "Tensor", "buffer", what, where)
    quantization = tensor.quantization
    if quantization is None:
        return
    bad = _outside(quantization_tensors(quantization), tensors, 0)
    if bad is not None:
        what = f"tensor {bad} is out of range, there are {tensors} tensors"
        yield Problem(quantization, "QuantizationParameters", "details", what, where)
    scales = 0 if quantization.scale is None else quantization.scale.size
    points = 0 if quantization.zero_point is None else quantization.zero_point.size
    if scales and points and scales != points:
        what = f"{points} zero points for {scales} scales"
        yield Problem(quantization, "QuantizationParameters", "zero_point", what, where)
    if scales > 1 and tensor.shape:
        axis = quantization.quantized_dimension
        if not 0 <= axis < len(tensor.shape):
            what = f"{axis} is not an axis of {tensor.shape} and there are {scales} scales"
            yield Problem(
                quantization, "QuantizationParameters", "quantized_dimension", what, where
            )
        elif tensor.shape[axis] != scales:
            what = f"{scales} scales for {tensor.shape[axis]} channels, axis {axis}"
            yield Problem(quantization, "QuantizationParameters", "scale", what, where)
