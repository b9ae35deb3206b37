"""From model, recipe and ranges to the plan of the file to be written."""

from __future__ import annotations

import importlib
from typing import Any

import tflite_schema as ts
from kernels.opspec import Role
from qcore.errors import NotCalibrated
from qcore.graph import Graph, graphs
from qcore.plan.values import Form, Plan, Step, SubgraphPlan
from qcore.recipe import INTEGER, Recipe
from qcore.schemes.base import Scheme

__all__ = [
    "Form", "Plan", "Step", "SubgraphPlan", "needs_calibration", "needs_histograms", "plan",
]  # fmt: skip


def needs_calibration(model: ts.Model, recipe: Recipe) -> bool:
    """Whether any operator is to be computed in integers, so that ranges are needed."""
    return any(_has_static(graph, recipe) for graph in graphs(model))


def needs_histograms(model: ts.Model, recipe: Recipe) -> Scheme | None:
    """The first scheme of an activation to be computed in integers that needs histograms."""
    from qcore.plan import common

    for graph in graphs(model):
        found = [common.activation_setting(recipe, graph.name(t)) for t in graph.inputs]
        for i, op in enumerate(graph.operators):
            if recipe.mode(op.name, graph.output_names(i)) not in INTEGER:
                continue
            inputs = [p for p, t in enumerate(op.inputs) if _observed(graph, i, p, t)]
            found += [common.setting(graph, recipe, i, p) for p in inputs]
            found += [common.output_setting(graph, recipe, i, p) for p in range(len(op.outputs))]
        for setting in found:
            if setting.scheme is not None and setting.scheme.needs == "histogram":
                return setting.scheme
    return None


def _observed(graph: Graph, operator: int, position: int, tensor: int) -> bool:
    """Whether an input of an operator is a float tensor that calibration sees."""
    weight = graph.role(operator, position) in (Role.WEIGHT, Role.BIAS)
    return graph.is_float(tensor) and not graph.is_constant(tensor) and not weight


def plan(model: ts.Model, recipe: Recipe, calibration: Any = None) -> Plan:
    """Plans every subgraph of a prepared model: first what is static, then weights alone.

    Raises NotCalibrated where a static operator has no ranges to go by at all, BadRecipe where the
    rules ask for weights that no integer kernel takes.
    """
    from qcore.plan import common, weights

    if calibration is None and needs_calibration(model, recipe):
        raise NotCalibrated(f"recipe {recipe.name!r} needs a calibration; run calibrate first")
    parts = []
    for graph in graphs(model):
        if _has_static(graph, recipe):
            part = _static(recipe.dialect).plan_subgraph(graph, recipe, calibration)
            common.check_activations(graph, part)
            common.check_weights(graph, recipe, part)
        else:
            part = common.float_plan(graph)
        parts.append(weights.plan_weights(graph, part, recipe))
    names = tuple(tuple(t.name or "" for t in graph.tensors) for graph in graphs(model))
    made = Plan(recipe.name, tuple(parts), names=names)
    return weights.unify_versions(made, inserted=recipe.dialect == "legacy")


def _static(dialect: str) -> Any:
    """The planner of a dialect; imported when a static operator asks for it."""
    return importlib.import_module(f"qcore.plan.{dialect}")


def _has_static(graph: Graph, recipe: Recipe) -> bool:
    return any(
        recipe.mode(op.name, graph.output_names(i)) in INTEGER
        for i, op in enumerate(graph.operators)
    )
