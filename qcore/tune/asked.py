"""What the roundings of a recipe must know of the inputs of linear operators."""

from __future__ import annotations

from typing import NamedTuple

import tflite_schema as ts
from qcore.graph import Graph, graphs
from qcore.plan import common
from qcore.recipe import INTEGER, Recipe
from qcore.rounding import Rounding
from qcore.tune.moments import LEVELS
from qcore.tune.operators import BIAS, WEIGHT, linear

MODES = (*INTEGER, "dynamic", "weight_only")  # modes with integer weights


class Needed(NamedTuple):
    """level: "mean" or "covariance".  key: of the first rounding that asks for it."""

    level: str
    key: str


class Asked(NamedTuple):
    """The roundings of an operator's weight and bias, where they look at moments."""

    weight: Rounding | None = None
    bias: Rounding | None = None


def needs_moments(model: ts.Model, recipe: Recipe) -> Needed | None:
    """What the recipe's roundings must know; None: nothing."""
    found = [
        rounding
        for graph in graphs(model)
        for number in range(len(graph.operators))
        for rounding in asked(graph, recipe, number)
        if rounding is not None
    ]
    first = max(found, key=lambda rounding: LEVELS.index(rounding.needs), default=None)
    return None if first is None else Needed(first.needs, first.key)


def asked(graph: Graph, recipe: Recipe, number: int) -> Asked:
    """What is asked of a linear operator with float weights that are to become integers."""
    roundings = (rule.rounding for rule in recipe.rules if isinstance(rule.rounding, Rounding))
    if all(rounding.needs not in LEVELS for rounding in roundings):
        return Asked()  # as of most recipes, without a look at the model
    op = graph.operators[number]
    found = linear(graph, number)
    if found is None or recipe.mode(op.name, graph.output_names(number)) not in MODES:
        return Asked()
    weight = op.inputs[WEIGHT]
    dense = graph.is_float(weight) and graph.tensors[weight].sparsity is None
    if not (dense and graph.is_constant(weight)):
        return Asked()

    def rounding(position: int) -> Rounding | None:
        if position >= len(op.inputs) or op.inputs[position] < 0:
            return None
        made = common.setting(graph, recipe, number, position).rounding
        return made if made is not None and made.needs in LEVELS else None

    return Asked(rounding(WEIGHT), rounding(BIAS))
