"""Drop what nobody uses: tensors, buffers and operator codes, with all indices renumbered."""

from __future__ import annotations

from collections.abc import Iterable

from tflite_schema.checks import quantization_tensors
from tflite_schema.model import (
    Model,
    Operator,
    Options,
    Quantization,
    SubGraph,
    Tensor,
    TensorMap,
)


def prune(model: Model) -> Model:
    """The model without unused tensors, buffers and operator codes; the order of the rest is kept.

    A tensor is used by operators (inputs, outputs, intermediates), graph inputs and outputs,
    signatures, and the quantization details of a used tensor; a buffer by a used tensor, by
    metadata and by the old metadata_buffer. Buffer 0, the empty one, stays. Operators and subgraphs
    all stay, so that indices of subgraphs and of operators keep their meaning.
    """
    subgraphs: list[SubGraph] = []
    maps: list[dict[int, int]] = []  # old index -> new one; empty where nothing goes
    for number, subgraph in enumerate(model.subgraphs):
        kept = _used_tensors(model, subgraph, number)
        if len(kept) == len(subgraph.tensors):
            subgraphs.append(subgraph)
            maps.append({})
            continue
        new = {old: at for at, old in enumerate(kept)}
        new[-1] = -1
        maps.append(new)
        subgraphs.append(_renumbered(subgraph, kept, new))
    changes: dict[str, object] = {}
    if any(maps):
        changes["subgraphs"] = tuple(subgraphs)
        if model.signature_defs:
            changes["signature_defs"] = tuple(
                signature.replace(
                    inputs=_mapped(signature.inputs, maps[signature.subgraph_index]),
                    outputs=_mapped(signature.outputs, maps[signature.subgraph_index]),
                )
                if maps[signature.subgraph_index]
                else signature
                for signature in model.signature_defs
            )
        model = model.replace(**changes)
    return _without_codes(_without_buffers(model))


def _used_tensors(model: Model, subgraph: SubGraph, number: int) -> list[int]:
    used = {*subgraph.inputs, *subgraph.outputs}
    for operator in subgraph.operators:
        used.update(operator.inputs, operator.outputs, operator.intermediates)
    for signature in model.signature_defs:
        if signature.subgraph_index == number:
            used.update(m.tensor_index for m in (*signature.inputs, *signature.outputs))
    used.discard(-1)
    todo = list(used)
    while todo:
        for index in quantization_tensors(subgraph.tensors[todo.pop()].quantization):
            if index not in used:
                used.add(index)
                todo.append(index)
    return sorted(used)


def _each(indices: tuple[int, ...], new: dict[int, int]) -> tuple[int, ...]:
    return tuple([new[i] for i in indices]) if indices else indices


def _renumbered(subgraph: SubGraph, kept: Iterable[int], new: dict[int, int]) -> SubGraph:
    return subgraph.replace(
        tensors=tuple(_tensor(subgraph.tensors[i], new) for i in kept),
        inputs=_each(subgraph.inputs, new),
        outputs=_each(subgraph.outputs, new),
        operators=tuple(_operator(o, new) for o in subgraph.operators)
        if subgraph.operators
        else subgraph.operators,
    )


def _operator(operator: Operator, new: dict[int, int]) -> Operator:
    return operator.replace(
        inputs=_each(operator.inputs, new),
        outputs=_each(operator.outputs, new),
        intermediates=_each(operator.intermediates, new),
    )


def _tensor(tensor: Tensor, new: dict[int, int]) -> Tensor:
    quantization = tensor.quantization
    if quantization is None or not quantization_tensors(quantization):
        return tensor
    return tensor.replace(quantization=_quantization(quantization, new))


def _quantization(quantization: Quantization, new: dict[int, int]) -> Quantization:
    details = quantization.details
    assert isinstance(details, Options)
    return quantization.replace(
        details=details.replace(scales=new[details.scales], zero_points=new[details.zero_points])
    )


def _mapped(entries: tuple[TensorMap, ...], new: dict[int, int]) -> tuple[TensorMap, ...]:
    if not entries:
        return entries
    return tuple(e.replace(tensor_index=new[e.tensor_index]) for e in entries)


def _without_buffers(model: Model) -> Model:
    used = {0, *model.metadata_buffer, *(entry.buffer for entry in model.metadata)}
    used.update(tensor.buffer for subgraph in model.subgraphs for tensor in subgraph.tensors)
    kept = [i for i in range(len(model.buffers)) if i in used]
    if len(kept) == len(model.buffers):
        return model
    new = {old: at for at, old in enumerate(kept)}
    new.setdefault(0, 0)
    changes: dict[str, object] = {"buffers": tuple(model.buffers[i] for i in kept)}
    changes["subgraphs"] = tuple(
        subgraph.replace(tensors=tuple(t.replace(buffer=new[t.buffer]) for t in subgraph.tensors))
        if subgraph.tensors
        else subgraph
        for subgraph in model.subgraphs
    )
    if model.metadata:
        changes["metadata"] = tuple(e.replace(buffer=new[e.buffer]) for e in model.metadata)
    if model.metadata_buffer:
        changes["metadata_buffer"] = tuple(new[i] for i in model.metadata_buffer)
    return model.replace(**changes)


def _without_codes(model: Model) -> Model:
    used = {operator.code for subgraph in model.subgraphs for operator in subgraph.operators}
    kept = tuple(dict.fromkeys(code for code in model.operator_codes if code in used))
    if len(kept) == len(model.operator_codes):
        return model
    return model.replace(operator_codes=kept)
