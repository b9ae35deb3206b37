"""Biases that several operators share, given to each of those that are to change theirs."""

from __future__ import annotations

import tflite_schema as ts
from qcore.graph import Graph, graphs
from qcore.recipe import Recipe
from qcore.tune.asked import asked
from qcore.tune.operators import BIAS


def with_own_biases(model: ts.Model, recipe: Recipe) -> ts.Model:
    """The model with a bias of its own for every operator whose bias is to be corrected; converters
    store equal ones, such as all zeros, once. New tensors come last: the others keep their indices.
    """
    editor = ts.Editor(model)
    for graph in graphs(model):
        for number, op in enumerate(graph.operators):
            if not _shared(graph, recipe, number):
                continue
            own = editor.add_tensor(graph.subgraph, graph.tensors[op.inputs[BIAS]])
            inputs = (*op.inputs[:BIAS], own, *op.inputs[BIAS + 1 :])
            editor.replace_operator(graph.subgraph, number, op.replace(inputs=inputs))
    return editor.apply() if editor.edits else model


def _shared(graph: Graph, recipe: Recipe, number: int) -> bool:
    """Whether an operator's bias is a constant that is to be corrected and is used elsewhere."""
    if asked(graph, recipe, number).bias is None:
        return False
    bias = graph.operators[number].inputs[BIAS]
    used = len(graph.readers[bias]) > 1 or bias in graph.outputs
    return used and graph.is_float(bias) and graph.is_constant(bias)
