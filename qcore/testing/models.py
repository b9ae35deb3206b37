"""A call as a .tflite of one operator: constants in the file, the other operands as its inputs."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

import tflite_schema as ts
from kernels import ops, packing
from kernels.call import Call, Tensor
from kernels.opversion import Use
from qcore.testing.build import Builder, options


def states(call: Call) -> tuple[int, ...]:
    """Positions of the operands that the operator keeps between invocations."""
    spec = ops.find(call.name)
    kept = spec.states(len(call.inputs)) if spec is not None else ()
    return tuple(p for p in kept if call.has(p))


def fed(call: Call) -> tuple[int, ...]:
    """Positions of the operands that are inputs of the model."""
    kept = states(call)
    return tuple(
        p for p in range(len(call.inputs))
        if call.has(p) and p not in kept and not call[p].constant
    )  # fmt: skip


def version(call: Call) -> int:
    """The call's own version, else the one the converter writes."""
    if call.version:
        return call.version
    spec = ops.find(call.name)
    assert spec is not None, call.name

    def scale(t: Tensor | None) -> float | None:
        return None if t is None or t.scale is None else float(t.scale.flat[0])

    at = spec.weight_and_bias
    weight = call.inputs[at[0]] if at and call.has(at[0]) else None
    return spec.version(
        Use(
            tuple(None if t is None else t.dtype for t in call.inputs),
            tuple(t.dtype for t in call.outputs),
            tuple(None if t is None else t.shape for t in call.inputs),
            (*map(scale, call.inputs), *map(scale, call.outputs)),
            call.options,
            weight is not None and weight.per_channel,
        )
    )


def to_model(call: Call) -> ts.Model:
    """The model; its inputs are `fed(call)`, its outputs those of the call."""
    b = Builder()
    kept = states(call)
    operands: list[int | None] = []
    for position, t in enumerate(call.inputs):
        if t is None:
            operands.append(None)
            continue
        tensor = _tensor(b, t, f"input{position}", variable=position in kept)
        if not t.constant and position not in kept:
            b.inputs.append(tensor)
        operands.append(tensor)
    middle = [_tensor(b, t, f"intermediate{i}") for i, t in enumerate(call.intermediates)]
    outputs = [_tensor(b, t, f"output{i}") for i, t in enumerate(call.outputs)]
    given = call.options if isinstance(call.options, dict) else vars(call.options)
    b.operators.append(
        ts.Operator(
            code=ts.OperatorCode.of(call.name, version=version(call)),
            inputs=tuple(-1 if t is None else t for t in operands),
            outputs=tuple(outputs),
            options=options(call.name, **given),
            intermediates=tuple(middle),
        )
    )
    return b.model(outputs)


def _tensor(b: Builder, t: Tensor, name: str, variable: bool = False) -> int:
    data = None
    if t.constant:
        data = t.x
        if t.dtype in ("int4", "int2"):
            data = {"int4": packing.pack4, "int2": packing.pack2}[t.dtype](t.x)
    elif t.data is not None:
        assert t.x.dtype == t.held, f"{name}: {t.x.dtype} data for a {t.dtype} tensor"
    blocks = t.scale if t.scale is not None and t.scale.ndim > 1 else None
    index = b.tensor(
        t.shape, name, dtype=t.dtype.upper(), data=data, scale=t.scale if blocks is None else None,
        zero_point=t.zero_point, axis=t.axis, is_variable=variable,
    )  # fmt: skip
    if blocks is not None:
        _blockwise(b, index, blocks, t.shape[-1] // blocks.shape[-1])
    return index


def _blockwise(b: Builder, tensor: int, scale: np.ndarray, block: int) -> None:
    """Give a tensor one float16 scale for each block of a row: a constant of their own."""
    scales = b.const(scale.astype(np.float16), f"{b.tensors[tensor].name}_scales")
    details = ts.Options("BlockwiseQuantization", scales=scales, zero_points=-1, block_size=block)
    b.tensors[tensor] = b.tensors[tensor].replace(quantization=ts.Quantization(details=details))


def empty() -> SimpleNamespace:
    """No options."""
    return SimpleNamespace()


def to_bytes(call: Call) -> bytes:
    return ts.to_bytes(to_model(call))


def arrays(call: Call) -> list[np.ndarray]:
    """What to feed the model, in the order of its inputs."""
    return [call.x(p) for p in fed(call)]
