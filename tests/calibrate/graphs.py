"""Small models put together by hand, without TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np

import tflite_schema as ts


def model(
    tensors: dict[str, Any],
    operators: list[tuple[Any, ...]],
    inputs: list[str],
    outputs: list[str],
    signatures: dict[str, tuple[dict[str, str], dict[str, str]]] | None = None,
    variables: tuple[str, ...] = (),
) -> ts.Model:
    """tensors: name -> shape (float32, -1 free) or array (constant).  operators: (name, inputs,
    outputs, options or None[, intermediates]).  signatures: key -> (inputs, outputs), each name in
    the signature -> tensor."""
    buffers = [ts.Buffer()]
    made, place = [], {}
    for name, what in tensors.items():
        place[name] = len(made)
        if isinstance(what, np.ndarray):
            buffers.append(ts.Buffer(what))
            kind = {"float32": "FLOAT32", "int32": "INT32"}[what.dtype.name]
            made.append(ts.Tensor(what.shape, ts.TensorType[kind], len(buffers) - 1, name))
        else:
            shape = tuple(max(d, 1) for d in what)
            signature = tuple(what) if -1 in what else None
            made.append(
                ts.Tensor(
                    shape, ts.TensorType.FLOAT32, 0, name, shape_signature=signature,
                    is_variable=name in variables, has_rank=True,
                )
            )  # fmt: skip
    ops = [
        ts.Operator(
            ts.OperatorCode.of(op[0]),
            tuple(-1 if n is None else place[n] for n in op[1]),
            tuple(place[n] for n in op[2]),
            op[3] if len(op) > 3 else None,
            intermediates=tuple(place[n] for n in op[4]) if len(op) > 4 else (),
        )
        for op in operators
    ]
    graph = ts.SubGraph(
        tuple(made), tuple(place[n] for n in inputs), tuple(place[n] for n in outputs), tuple(ops)
    )
    defs = tuple(
        ts.SignatureDef(
            tuple(ts.TensorMap(n, place[t]) for n, t in ins.items()),
            tuple(ts.TensorMap(n, place[t]) for n, t in outs.items()),
            key,
        )
        for key, (ins, outs) in (signatures or {}).items()
    )
    return ts.Model(subgraphs=(graph,), buffers=tuple(buffers), signature_defs=defs)


ADD = ts.Options("AddOptions")
MUL = ts.Options("MulOptions")
SOFTMAX = ts.Options("SoftmaxOptions", beta=1.0)
RESHAPE = ts.Options("ReshapeOptions")


def chain() -> ts.Model:
    """x (1, 4) -> a = x + 1 -> y = a * a."""
    return model(
        {"x": (1, 4), "one": np.ones((1, 4), np.float32), "a": (1, 4), "y": (1, 4)},
        [("ADD", ["x", "one"], ["a"], ADD), ("MUL", ["a", "a"], ["y"], MUL)],
        ["x"], ["y"],
    )  # fmt: skip


def two_inputs(signature: bool = True) -> ts.Model:
    """left, right (1, 3) -> y = left + right, under the names l and r of signature "sum"."""
    return model(
        {"left": (1, 3), "right": (1, 3), "y": (1, 3)},
        [("ADD", ["left", "right"], ["y"], ADD)],
        ["left", "right"], ["y"],
        {"sum": ({"l": "left", "r": "right"}, {"out": "y"})} if signature else None,
    )  # fmt: skip


def logarithm() -> ts.Model:
    """x (1, 4) -> a = log(x) -> y = a + a: NaN for a negative value, -infinity for 0."""
    return model(
        {"x": (1, 4), "a": (1, 4), "y": (1, 4)},
        [("LOG", ["x"], ["a"]), ("ADD", ["a", "a"], ["y"], ADD)],
        ["x"], ["y"],
    )  # fmt: skip


def dynamic() -> ts.Model:
    """x (?, 4) -> y = x + 1."""
    return model(
        {"x": (-1, 4), "one": np.ones((1, 4), np.float32), "y": (-1, 4)},
        [("ADD", ["x", "one"], ["y"], ADD)],
        ["x"], ["y"],
    )  # fmt: skip


def lstm(seed: int = 0, units: int = 3, width: int = 2, steps: int = 4) -> ts.Model:
    """UNIDIRECTIONAL_SEQUENCE_LSTM with variable states, and the five intermediates it may have."""
    rng = np.random.default_rng(seed)

    def weights(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) * 0.7).astype(np.float32)

    gates = "ifco"
    tensors: dict[str, Any] = {"x": (1, steps, width)}
    tensors |= {f"w{g}": weights(units, width) for g in gates}
    tensors |= {f"r{g}": weights(units, units) for g in gates}
    tensors |= {f"b{g}": weights(units) for g in gates}
    tensors |= {"h": (1, units), "c": (1, units), "y": (1, steps, units)}
    tensors |= {f"t{i}": (0,) for i in range(5)}
    options = ts.Options(
        "UnidirectionalSequenceLSTMOptions", fused_activation_function="TANH", time_major=False
    )
    inputs: list[str | None] = ["x", *(f"w{g}" for g in gates), *(f"r{g}" for g in gates)]
    inputs += [None] * 3 + [f"b{g}" for g in gates] + [None, None, "h", "c"] + [None] * 4
    return model(
        tensors,
        [("UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, ["y"], options, [f"t{i}" for i in range(5)])],
        ["x"], ["y"], variables=("h", "c"),
    )  # fmt: skip


def custom(name: str = "NobodyKnowsThis") -> ts.Model:
    """One custom operator that no runtime has."""
    return model({"x": (1, 4), "y": (1, 4)}, [(name, ["x"], ["y"])], ["x"], ["y"])
