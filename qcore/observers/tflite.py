"""What TFLite's own Calibrator records, quirks included.

It wraps every operator of an ordinary interpreter and logs its float32 inputs, runs it, logs the
inputs again, then the outputs. From that follow, beside the plain range of each tensor:

1. Kernels and threads: the optimized builtin kernels without XNNPACK and with Eigen's default of
   four threads; sums are split by thread, so another number gives other last bits.
2. Start values: max starts at FLT_MIN (2**-126), the smallest normal number, not at -infinity: the
   max of a tensor without a positive value is 2**-126. NaN is skipped.
3. In-place operators: the interpreter may let ADD, SUB, MUL, DIV, SOFTMAX and DYNAMIC_UPDATE_SLICE
   write over an input. When that input is logged again it holds the output, so that its recorded
   range is the union of both.

Sources (LiteRT): tools/optimize/calibration/{calibrator,calibration_logger}.{cc,h} for the log,
arena_planner.cc and the `inplace_operator` of each kernel's registration for rule 3.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

from qcore.observers.base import Observer, State
from qcore.observers.minmax import MinMaxState
from qcore.params import TensorKey

FLT_MIN = 2.0**-126

# Operator -> the input positions whose memory its first output may take over.
OVERWRITES = {
    "ADD": (0, 1), "SUB": (0, 1), "MUL": (0, 1), "DIV": (0, 1),
    "SOFTMAX": (0,), "DYNAMIC_UPDATE_SLICE": (0,),
}  # fmt: skip
# The same without changing a value: the output is another view of input 0.
VIEWS = {"RESHAPE", "SQUEEZE", "EXPAND_DIMS", "BITCAST"}
SCALAR_BYTES = 4  # so small a tensor may not have its final size yet, and is never shared


@dataclass(frozen=True)
class Sharing:
    """What the interpreter's memory plan does to the values of one subgraph.

    overwritten: input of an operator -> the output of the same operator, written over it.
    spoiled: (operator, tensor): the operator, by its number, overwrites memory that also holds
    `tensor`, which a later operator still reads. The plan counts the readers of the tensor it
    reuses and of the first tensor in that memory, not of those between (a view of a result that was
    itself computed in place); the interpreter then computes with wrong values.
    """

    overwritten: dict[int, int]
    spoiled: tuple[tuple[int, int], ...]


def sharing(graph: Any, constant: Callable[[int], bool], nbytes: dict[int, int]) -> Sharing:
    """The in-place decisions for a tflite_schema SubGraph.

    constant(index): whether the file holds the tensor's data.  nbytes: size of each tensor as it
    ran; a tensor that is missing is not shared.
    """
    uses: Counter[int] = Counter(t for op in graph.operators for t in op.inputs if t >= 0)
    last_read = {t: i for i, op in enumerate(graph.operators) for t in op.inputs if t >= 0}
    last_read.update((t, len(graph.operators)) for t in graph.outputs)
    uses.update(t for t in (*graph.inputs, *graph.outputs) if t >= 0)
    uses.update(i for i, t in enumerate(graph.tensors) if t.is_variable)
    root: dict[int, int] = {}
    members: dict[int, list[int]] = {}
    overwritten: dict[int, int] = {}
    spoiled: list[tuple[int, int]] = []
    for number, op in enumerate(graph.operators):
        changes = op.name not in VIEWS
        positions = OVERWRITES.get(op.name, ()) if changes else (0,)
        if not op.outputs or op.outputs[0] in graph.outputs:
            continue
        output = op.outputs[0]
        for position in positions:
            tensor = op.inputs[position] if position < len(op.inputs) else -1
            if tensor < 0 or tensor in graph.inputs or constant(tensor):
                continue
            if graph.tensors[tensor].is_variable:
                continue
            size = nbytes.get(tensor, 0)
            if changes and (
                size != nbytes.get(output, -1) or size <= SCALAR_BYTES or uses[tensor] > 1
            ):
                continue
            origin = root.get(tensor, tensor)
            if not changes or uses[origin] <= 1:
                held = members.setdefault(origin, [origin])
                if changes:
                    # Another input may be a view of the same memory: it is logged again as well.
                    overwritten |= {t: output for t in op.inputs if t in held}
                    spoiled += [(number, t) for t in held if last_read.get(t, -1) > number]
                root[output] = origin
                held.append(output)
            break  # the first input that can be shared decides, even if its origin cannot
    return Sharing(overwritten, tuple(spoiled))


class TFLiteState(MinMaxState):
    """Min-max with the Calibrator's start value for the max."""

    __slots__ = ()

    def __init__(self, lo: float = 3.4028234663852886e38, hi: float = FLT_MIN, count: int = 0):
        super().__init__(lo, hi, count)


@dataclass(frozen=True)
class TFLite(Observer):
    """Bit for bit TFLite's Calibrator when the runtime is tensorflow; an ulp off with another."""

    key: ClassVar[str] = "tflite"
    state: ClassVar[type[State]] = TFLiteState
    nonfinite: ClassVar[str] = "tflite"
    runtime: ClassVar[str | None] = "tensorflow"
    path: ClassVar[str | None] = "optimized"
    kernel_threads: ClassVar[int | None] = 4

    def _sharing(
        self, model: Any, shapes: dict[Any, tuple[int, ...]]
    ) -> Iterator[tuple[int, Sharing]]:
        for number, graph in enumerate(model.subgraphs):
            nbytes = {k.tensor: 4 * prod(s) for k, s in shapes.items() if k.subgraph == number}

            def constant(index: int, graph: Any = graph) -> bool:
                return model.buffers[graph.tensors[index].buffer].nbytes > 0

            yield number, sharing(graph, constant, nbytes)

    def finish(
        self, states: dict[Any, Any], model: Any, shapes: dict[Any, tuple[int, ...]]
    ) -> dict[Any, Any]:
        out = dict(states)
        for number, graph in enumerate(model.subgraphs):
            used = {
                t for op in graph.operators for t in (*op.inputs, *op.outputs, *op.intermediates)
            }
            for key in [k for k in out if k.subgraph == number and k.tensor not in used]:
                del out[key]
        for number, found in self._sharing(model, shapes):
            for tensor, output in found.overwritten.items():
                key, made = TensorKey(number, tensor), TensorKey(number, output)
                if key in out and made in states:
                    out[key] = states[key].merge(states[made])
                    out[key].count = states[key].count
        return out

    def notes(self, model: Any, shapes: dict[Any, tuple[int, ...]]) -> list[str]:
        return [
            f"TFLite's interpreter overwrites tensor {graph.tensors[tensor].name!r} of subgraph "
            f"{number} in {graph.operators[op].name} {op} while it is still read, so that its "
            "calibrator records wrong values from there on; these are the right ones"
            for number, found in self._sharing(model, shapes)
            for graph in (model.subgraphs[number],)
            for op, tensor in found.spoiled
        ]
