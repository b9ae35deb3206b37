"""What is in a .tflite file, as frozen values and as JSON: graph, tensors, quantization, sizes."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np

import tflite_schema as ts
from qcore.graph import Graph, graphs


@dataclass(frozen=True)
class TensorInfo:
    """kind: input, output, constant, variable, or activation (computed and read inside).

    dtype: schema name in lower case.  shape: as stored; signature: the shape with -1 where the
    file leaves a dimension open, None where it leaves none.  scale, zero_point: as stored, empty
    when not quantized.  bytes: what the constant takes in the file, 0 for others.
    shared: how many tensors use the same buffer.  producer: operator that writes it, or None.
    """

    index: int
    name: str
    kind: str
    dtype: str
    shape: tuple[int, ...] | None
    signature: tuple[int, ...] | None
    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    quantized_dimension: int | None
    block: int
    min: tuple[float, ...]
    max: tuple[float, ...]
    sparse: bool
    bytes: int
    shared: int
    producer: int | None

    @property
    def quantized(self) -> bool:
        return bool(self.scale) or self.block > 0


@dataclass(frozen=True)
class OperatorInfo:
    """dtypes: of inputs and outputs, "-" for an absent input.  options: those not at a default."""

    index: int
    name: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    input_dtypes: tuple[str, ...]
    output_dtypes: tuple[str, ...]
    options: dict[str, Any]
    custom_options_bytes: int


@dataclass(frozen=True)
class SubgraphInfo:
    index: int
    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    tensors: tuple[TensorInfo, ...]
    operators: tuple[OperatorInfo, ...]


@dataclass(frozen=True)
class SignatureInfo:
    """inputs, outputs: (name, tensor index in `subgraph`)."""

    key: str
    subgraph: int
    inputs: tuple[tuple[str, int], ...]
    outputs: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Inspection:
    """Everything `qcore inspect` shows. constants: bytes by dtype, each buffer counted once."""

    version: int
    description: str
    subgraphs: tuple[SubgraphInfo, ...]
    signatures: tuple[SignatureInfo, ...]
    metadata: tuple[tuple[str, int], ...]
    appended_bytes: int
    constants: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """Plain values for json.dumps; scales are float32 written as exact doubles."""
        return dataclasses.asdict(self)

    def operator_counts(self) -> Counter[tuple[str, int, str]]:
        """How often each (operator, version, dtypes) occurs; dtypes like "int8 x int8 -> int8"."""
        return Counter(
            (op.name, op.version, signature(op)) for sub in self.subgraphs for op in sub.operators
        )


def inspect(model: Any) -> Inspection:
    """Look at a Model, path, bytes or quantized result.

    Reads no constant, so it is quick for a file of any size.
    """
    from qcore.load import load

    model = load(model)
    users = Counter(t.buffer for sub in model.subgraphs for t in sub.tensors)
    constants: Counter[str] = Counter()
    seen: set[int] = set()
    for sub in model.subgraphs:
        for tensor in sub.tensors:
            size = _stored_bytes(model, tensor.buffer)
            if size and tensor.buffer not in seen:
                seen.add(tensor.buffer)
                constants[dtype_name(tensor)] += size
    return Inspection(
        version=model.version,
        description=model.description or "",
        subgraphs=tuple(_subgraph(model, graph, users) for graph in graphs(model)),
        signatures=tuple(_signature(model, s) for s in model.signature_defs),
        metadata=tuple(
            (entry.name or "", _stored_bytes(model, entry.buffer)) for entry in model.metadata
        ),
        appended_bytes=0 if model.appended is None else int(model.appended.nbytes),
        constants=dict(constants.most_common()),
    )


def signature(op: OperatorInfo) -> str:
    """Operand types in a few words: "float32, int8, int32 -> float32"; repeats are counted."""

    def words(dtypes: tuple[str, ...]) -> str:
        runs: list[list[Any]] = []
        for dtype in dtypes:
            if runs and runs[-1][0] == dtype:
                runs[-1][1] += 1
            else:
                runs.append([dtype, 1])
        return ", ".join(dtype if n < 4 and dtype == "-" else dtype if n == 1 else f"{dtype} x{n}"
                         for dtype, n in runs) or "nothing"  # fmt: skip

    return f"{words(op.input_dtypes)} -> {words(op.output_dtypes)}"


def _stored_bytes(model: ts.Model, buffer: int) -> int:
    return model.buffers[buffer].nbytes if buffer < len(model.buffers) else 0


def dtype_name(tensor: ts.Tensor) -> str:
    """The element type in lower case; "type 99" for one that the schema does not know."""
    return getattr(tensor.type, "name", f"type {int(tensor.type)}").lower()


def _subgraph(model: ts.Model, graph: Graph, users: Counter[int]) -> SubgraphInfo:
    sub = graph.source
    return SubgraphInfo(
        index=graph.subgraph,
        name=sub.name or "",
        inputs=tuple(sub.inputs),
        outputs=tuple(sub.outputs),
        tensors=tuple(_tensor(model, graph, i, users) for i in range(len(sub.tensors))),
        operators=tuple(_operator(graph, i, op) for i, op in enumerate(sub.operators)),
    )


def _tensor(model: ts.Model, graph: Graph, index: int, users: Counter[int]) -> TensorInfo:
    tensor = graph.tensors[index]
    size = _stored_bytes(model, tensor.buffer)
    if index in graph.inputs:
        kind = "input"
    elif size:
        kind = "constant"
    elif tensor.is_variable:
        kind = "variable"
    else:
        kind = "output" if index in graph.outputs else "activation"
    quantization = tensor.quantization
    scale = _values(quantization, "scale")
    details = quantization.details if quantization else None
    blockwise = details is not None and details.table == "BlockwiseQuantization"
    block = int(details.block_size) if details is not None and blockwise else 0
    return TensorInfo(
        index=index,
        name=tensor.name or "",
        kind=kind,
        dtype=dtype_name(tensor),
        shape=None if tensor.shape is None else tuple(int(n) for n in tensor.shape),
        signature=tuple(int(n) for n in tensor.shape_signature) if tensor.shape_signature else None,
        scale=scale,
        zero_point=tuple(int(z) for z in _values(quantization, "zero_point")),
        quantized_dimension=quantization.quantized_dimension
        if quantization and (len(scale) > 1 or block)
        else None,
        block=block,
        min=_values(quantization, "min"),
        max=_values(quantization, "max"),
        sparse=tensor.sparsity is not None,
        bytes=size,
        shared=users[tensor.buffer] if size else 1,
        producer=graph.producer.get(index),
    )


def _values(quantization: ts.Quantization | None, field: str) -> tuple[Any, ...]:
    array = None if quantization is None else getattr(quantization, field)
    return () if array is None else tuple(array.tolist())


def _operator(graph: Graph, index: int, op: ts.Operator) -> OperatorInfo:
    def dtypes(tensors: tuple[int, ...]) -> tuple[str, ...]:
        return tuple("-" if t < 0 else dtype_name(graph.tensors[t]) for t in tensors)

    options: dict[str, Any] = {}
    for table in (op.options, op.options_2):
        if table is not None:
            options.update(plain(table.fields))
    return OperatorInfo(
        index=index,
        name=op.name,
        version=op.code.version,
        inputs=tuple(op.inputs),
        outputs=tuple(op.outputs),
        input_dtypes=dtypes(op.inputs),
        output_dtypes=dtypes(op.outputs),
        options=options,
        custom_options_bytes=0 if op.custom_options is None else len(op.custom_options),
    )


def plain(value: Any) -> Any:
    """A value of a model as JSON has it: enums by name, arrays as lists, tables as dicts."""
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, (tuple, list)):
        return [plain(v) for v in value]
    if isinstance(value, ts.Options):
        return {"table": value.table, **plain(value.fields)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return value


def _signature(model: ts.Model, definition: ts.SignatureDef) -> SignatureInfo:
    """Inputs in the order in which a sample gives them: that of the subgraph's inputs."""
    order = {t: i for i, t in enumerate(model.subgraphs[definition.subgraph_index].inputs)}
    inputs = sorted(definition.inputs, key=lambda m: order.get(m.tensor_index, len(order)))
    return SignatureInfo(
        key=definition.signature_key or "",
        subgraph=int(definition.subgraph_index),
        inputs=tuple((m.name or "", int(m.tensor_index)) for m in inputs),
        outputs=tuple((m.name or "", int(m.tensor_index)) for m in definition.outputs),
    )
