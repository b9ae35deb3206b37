"""Which operators of a graph are linear, with constant weights."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from qcore.graph import Graph
from qcore.tune.linear import Linear

NAMES = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
INPUT, WEIGHT, BIAS = 0, 1, 2  # positions of their operands
_UNPACK = ("DEQUANTIZE", "DENSIFY")
_OPTIONS = ("padding", "stride_h", "stride_w", "dilation_h_factor", "dilation_w_factor")


def linears(graph: Graph) -> Iterator[Linear]:
    """The linear operators of a subgraph."""
    for number in range(len(graph.operators)):
        found = linear(graph, number)
        if found is not None:
            yield found


def linear(graph: Graph, number: int) -> Linear | None:
    """A linear operator; None where its input is not computed in float, or its weights are not in
    the file: as float32, or as what becomes of it before a model is quantized (`qcore.prepare`)."""
    op = graph.operators[number]
    if op.name not in NAMES or len(op.inputs) <= WEIGHT:
        return None
    x, w = op.inputs[INPUT], op.inputs[WEIGHT]
    if not graph.is_float(x) or graph.is_constant(x) or not _in_file(graph, w):
        return None
    shape, read = graph.tensors[w].shape or (), graph.tensors[x].shape or ()
    ends = graph.key(op.outputs[0]), graph.key(x)
    if not prod(shape) or len(shape) != (2 if op.name == "FULLY_CONNECTED" else 4):
        return None
    if op.name == "FULLY_CONNECTED":
        return Linear(*ends, op.name, shape, shape[-1])
    if len(read) != 4 or read[3] < 1:
        return None
    depthwise = op.name == "DEPTHWISE_CONV_2D"
    depth, units = (shape[0], shape[3]) if depthwise else (shape[3], shape[0])
    if read[3] % depth or units % (read[3] // depth) or (depthwise and depth != 1):
        return None
    options = tuple((n, int(getattr(op.options, n))) for n in _OPTIONS if hasattr(op.options, n))
    return Linear(*ends, op.name, shape, read[3], options)


def _in_file(graph: Graph, tensor: int) -> bool:
    """Whether a tensor is a constant, stored as it is or behind operators that unpack it."""
    while (producer := graph.producer.get(tensor)) is not None:
        op = graph.operators[producer]
        if op.name not in _UNPACK:
            return False
        tensor = op.inputs[0]
    return graph.is_constant(tensor)
