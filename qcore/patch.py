"""From a plan to edits of the file: mechanical, every decision has been made.

Constants are encoded while the file is written, a block at a time, so that memory does not grow
with the model.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod

import numpy as np

import tflite_schema as ts
from kernels import packing
from kernels.threads import MOST, cores, in_order
from qcore.errors import BadInput
from qcore.graph import Graph, graphs
from qcore.params import Affine, Stats
from qcore.plan.values import Form, Plan, Step, SubgraphPlan

BLOCK = 1 << 19  # values encoded at a time: 2 MB of float32


@dataclass(frozen=True, eq=False)
class Encoder:
    """Produces the bytes of one constant's form when the writer asks for them."""

    graph: Graph
    form: Form

    @property
    def size(self) -> int:
        return prod(self.graph.tensors[self.form.tensor].shape or ())

    @property
    def nbytes(self) -> int:
        return _stored_bytes(self.form.dtype, self.size)

    def chunks(self) -> Iterator[np.ndarray]:
        """Blocks of the stored bytes, in order; may be called again."""
        values = self.graph.constant(self.form.tensor)
        assert values is not None and self.form.rounding is not None
        threads = min(cores(), MOST, values.size // BLOCK)
        return in_order(self._encode, _blocks(values, self.form), threads)

    def _encode(self, block: Block) -> np.ndarray:
        part, params, stats = block
        assert self.form.rounding is not None
        encoded = self.form.rounding.encode(part, params, stats, self.form.range)
        bits = _SUB_BYTE.get(self.form.dtype)
        if bits:
            encoded = (packing.pack4 if bits == 4 else packing.pack2)(encoded)
        ts.release(part)
        return encoded.reshape(-1).view(np.uint8)


Block = tuple[np.ndarray, Affine, Stats | None]


def _blocks(values: np.ndarray, form: Form) -> Iterator[Block]:
    """Slices of `values` in storage order with the parameters of the groups in them.

    Of a type below eight bits every slice but the last holds a multiple of four values, so that
    packed bytes join. A slice keeps the axis of its parameters, others may be merged.
    """
    params = form.params if form.params is not None else Affine.of(1.0)
    values, params = _merged(values, params)
    rows = values.shape[0]
    step = max(1, BLOCK // max(1, values.size // max(1, rows)))
    if form.dtype in _SUB_BYTE:
        step = -(-step // 4) * 4
    for start in range(0, rows, step):
        span = slice(start, start + step)
        if params.axis != 0 or step >= rows:
            yield values[span], params, form.stats
            continue
        stats = form.stats
        if stats is not None and stats.groups > 1:
            stats = Stats(stats.lo[span], stats.hi[span], stats.count)
        cut = replace(params, scale=params.scale[span], zero_point=params.zero_point[span])
        yield values[span], cut, stats


def _merged(values: np.ndarray, params: Affine) -> tuple[np.ndarray, Affine]:
    """The same values and parameters with as many values as may be along axis 0.

    Blocks of blockwise parameters become the rows, one group each.
    """
    if params.block:
        return values.reshape(-1, params.block), replace(params, axis=0, block=0)
    if params.axis is None:
        return values.reshape(-1), params
    shape, axis = values.shape, params.axis
    if axis == 0:
        return values.reshape(shape[0], -1), params
    merged = (prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :]))
    return values.reshape(merged), replace(params, axis=1)


_SUB_BYTE = {"int4": 4, "int2": 2}


def _stored_bytes(dtype: str, size: int) -> int:
    bits = _SUB_BYTE.get(dtype) or 8 * np.dtype(dtype).itemsize
    return -(-size * bits // 8)


def lower(model: ts.Model, plan: Plan) -> tuple[ts.Edit, ...]:
    """Edits that turn `model` (prepared) into the file that `plan` describes.

    Raises BadInput for a plan that is not of this model, or whose numbers lead nowhere.
    """
    _check(model, plan)
    editor = ts.Editor(model)
    moved: dict[int, tuple[dict[int, int], dict[int, int]]] = {}
    # Equal constants share a buffer, those of different subgraphs too.
    encoded: dict[object, int] = {}
    for graph, part in zip(graphs(model), plan.subgraphs, strict=True):
        moved[graph.subgraph] = _lower_subgraph(editor, graph, part, encoded)
    _lower_signatures(editor, model, moved)
    return editor.edits


def _check(model: ts.Model, plan: Plan) -> None:
    """What an edited plan, or one of another model, can get wrong."""
    if len(plan.subgraphs) != len(model.subgraphs):
        raise BadInput(
            f"the plan has {len(plan.subgraphs)} subgraphs and the model {len(model.subgraphs)}; "
            "give the model that it was made for (`quantized.source`)"
        )
    for graph, part in zip(graphs(model), plan.subgraphs, strict=True):
        names = tuple(t.name or "" for t in graph.tensors)
        if plan.names and plan.names[graph.subgraph] != names:
            raise BadInput(
                f"the plan is of a model with other tensors in subgraph {graph.subgraph}; give the "
                "model that it was made for (`quantized.source`)"
            )
        forms, operators = len(part.forms), len(graph.operators)
        used = [("inputs", part.inputs), ("outputs", part.outputs)]
        for i, step in enumerate(part.steps):
            forms_of = (*step.inputs, *step.outputs, *step.intermediates)
            used.append((f"step {i} ({step.name})", forms_of))
            if step.source is not None and not 0 <= step.source < operators:
                raise BadInput(
                    f"step {i} of the plan stands for operator {step.source} of subgraph "
                    f"{graph.subgraph}, which has {operators}; mend the plan"
                )
        for what, numbers in used:
            if bad := [f for f in numbers if not -1 <= f < forms]:
                raise BadInput(
                    f"{what} of subgraph {graph.subgraph} of the plan names form {bad[0]}, and "
                    f"there are {forms}; mend the plan"
                )
        for number, form in enumerate(part.forms):
            if not 0 <= form.tensor < len(names) or form.dtype.upper() not in _TYPES:
                raise BadInput(
                    f"form {number} of subgraph {graph.subgraph} of the plan is tensor "
                    f"{form.tensor} as {form.dtype!r}, which does not exist; mend the plan"
                )


_TYPES = ts.TensorType.__members__


def _lower_subgraph(
    editor: ts.Editor, graph: Graph, part: SubgraphPlan, encoded: dict[object, int]
) -> tuple[dict[int, int], dict[int, int]]:
    """Adds the edits of one subgraph; returns where its input and output tensors went."""
    numbers: list[int] = []  # form -> tensor in the written subgraph
    taken: set[int] = set()
    # What an inserted operator writes is no constant, even where its source tensor is one.
    computed = {f for step in part.steps if step.inserted for f in step.outputs}
    for number, form in enumerate(part.forms):
        tensor = _tensor(editor, graph, form, encoded)
        if number in computed:
            tensor = tensor.replace(buffer=0, sparsity=None)
        if form.tensor in taken:
            numbers.append(editor.add_tensor(graph.subgraph, tensor))
        else:
            taken.add(form.tensor)
            numbers.append(form.tensor)
            if tensor != graph.tensors[form.tensor]:
                editor.set_tensor(graph.subgraph, form.tensor, tensor)

    def at(forms: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(numbers[f] if f >= 0 else -1 for f in forms)

    operators = tuple(_operator(graph, step, at) for step in part.steps)
    inputs, outputs = at(part.inputs), at(part.outputs)
    editor.set_graph(graph.subgraph, inputs=inputs, outputs=outputs, operators=operators)
    return dict(zip(graph.inputs, inputs)), dict(zip(graph.outputs, outputs))


def _tensor(editor: ts.Editor, graph: Graph, form: Form, encoded: dict[object, int]) -> ts.Tensor:
    """The tensor record of a form."""
    source = graph.tensors[form.tensor]
    stored = ts.TensorType[form.dtype.upper()]
    kept = form.rounding is None and form.params is None and form.name is None
    if kept and stored == source.type:
        return source
    buffer = source.buffer
    if form.rounding is not None:
        key = (source.buffer, source.shape, form.dtype, form.params, form.range, form.rounding)
        if key not in encoded:
            encoder = Encoder(graph, form)
            encoded[key] = editor.add_buffer(ts.Deferred(encoder.nbytes, encoder.chunks))
        buffer = encoded[key]
    return source.replace(
        type=stored,
        buffer=buffer,
        name=source.name if form.name is None else form.name,
        quantization=_quantization(editor, graph, form),
    )


def _quantization(editor: ts.Editor, graph: Graph, form: Form) -> ts.Quantization | None:
    params = form.params
    if params is None:
        return None
    if params.block:
        # Scales of blocks are a tensor of their own; -1 stands for zero points of 0.
        shape = graph.tensors[form.tensor].shape or ()
        scales = ts.Tensor(
            shape=(*shape[:-1], shape[-1] // params.block),
            type=ts.TensorType.FLOAT16,
            buffer=editor.add_buffer(params.scale.astype(np.float16)),
            name=f"{graph.name(form.tensor)}_scales",
        )
        details = ts.Options(
            "BlockwiseQuantization",
            scales=editor.add_tensor(graph.subgraph, scales),
            zero_points=-1,
            block_size=params.block,
        )
        return ts.Quantization(details=details)
    return ts.Quantization(
        scale=params.scale, zero_point=params.zero_point, quantized_dimension=params.axis or 0
    )


def _operator(graph: Graph, step: Step, at) -> ts.Operator:
    """The operator record of a step."""
    if step.source is None:
        return ts.Operator(
            code=ts.OperatorCode.of(step.name, version=step.version),
            inputs=at(step.inputs),
            outputs=at(step.outputs),
        )
    source = graph.operators[step.source]
    code, options = source.code, source.options
    if step.name != source.name:
        code, options = ts.OperatorCode.of(step.name, version=step.version), None
    elif step.version != code.version:
        code = code.replace(version=step.version)
    if step.options and options is not None:
        options = options.replace(**step.options)
    return source.replace(
        code=code,
        inputs=at(step.inputs),
        outputs=at(step.outputs),
        intermediates=at(step.intermediates) if step.intermediates else source.intermediates,
        options=options,
    )


def _lower_signatures(
    editor: ts.Editor, model: ts.Model, moved: dict[int, tuple[dict[int, int], dict[int, int]]]
) -> None:
    """Signatures follow the inputs and outputs of their subgraphs."""
    if not model.signature_defs:
        return

    def follow(maps, to: dict[int, int]):
        return maps and tuple(
            m.replace(tensor_index=to.get(m.tensor_index, m.tensor_index)) for m in maps
        )

    signatures = []
    for signature in model.signature_defs:
        inputs, outputs = moved[signature.subgraph_index]
        signatures.append(
            signature.replace(
                inputs=follow(signature.inputs, inputs), outputs=follow(signature.outputs, outputs)
            )
        )
    if tuple(signatures) != tuple(model.signature_defs):
        editor.set_signatures(tuple(signatures))
