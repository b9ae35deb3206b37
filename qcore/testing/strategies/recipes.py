"""Recipes: those that ship, with rules of one's own on top."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

import tflite_schema as ts
from qcore import observers as known
from qcore.deviations import DEVIATIONS
from qcore.observers import Observer
from qcore.recipe import IO_TYPES, Recipe, Rule, names, recipe

GRANULARITIES = ("per_channel", "per_tensor")


@st.composite
def recipes(
    draw: st.DrawFn,
    model: ts.Model | None = None,
    base: tuple[str, ...] = (),
    most: int = 3,
    deviations: bool = False,
) -> Recipe:
    """A shipped recipe with up to `most` further rules, and other types at the ends of the graph.

    model: whose operators and tensors the rules name; without one they go by any glob.
    base: the shipped recipes to start from, by default all.  deviations: switch some of them over
    as well; the file is then as wrong as the converter's.
    Shrinks toward the first recipe as it ships.
    """
    found = recipe(draw(st.sampled_from(base or tuple(sorted(names(), key=_order)))))
    static = any(rule.mode == "static" for rule in found.rules)
    for _ in range(draw(st.integers(0, most))):
        found = found.with_rule(draw(_rules(found, static, model)))
    if static and draw(st.booleans()):
        ends = st.sampled_from(_ends(found))
        found = found.replace(input_type=draw(ends), output_type=draw(ends))
    if deviations:
        keys = draw(st.lists(st.sampled_from(tuple(DEVIATIONS)), max_size=4, unique=True))
        found = found.replace(deviations={k: not DEVIATIONS[k].default for k in keys})
    return found


def observers(*keys: str) -> st.SearchStrategy[Observer]:
    """An observer with its fields drawn; all that ship unless some are named."""
    made = {
        "minmax": st.just(known.MinMax()),
        "tflite": st.just(known.TFLite()),
        "moving_average": st.sampled_from([0.95, 0.5]).map(known.MovingAverage),
        "histogram": st.sampled_from([2048, 2, 7]).map(known.HistogramObserver),
    }
    return st.sampled_from(keys or tuple(made)).flatmap(made.__getitem__)


def _order(name: str) -> tuple[bool, str]:
    return name != "int8", name


def _ends(found: Recipe) -> tuple[str, ...]:
    wide = any(r.operand == "activation" and r.dtype == "int16" for r in found.rules)
    return ("float32", "int16") if wide else tuple(t for t in IO_TYPES if t != "int16")


def _rules(found: Recipe, static: bool, model: ts.Model | None) -> st.SearchStrategy[Rule]:
    """A rule that makes sense beside the others: modes, granularity, schemes, sizes, types."""
    where: st.SearchStrategy[dict[str, Any]] = st.one_of(
        st.fixed_dictionaries({"operator": _operators(model)}),
        st.fixed_dictionaries({"name": _tensors(model)}),
    )

    def rule(pair: tuple[dict[str, Any], dict[str, Any]]) -> Rule:
        return Rule(**{**pair[0], **pair[1]})

    what: list[dict[str, Any]] = [{"mode": "float"}, {"mode": "int16x8"}]
    what += [{"operand": "weight", "granularity": g} for g in GRANULARITIES]
    if static:
        what += [{"mode": "dynamic"}, {"mode": "weight_only"}]
        symmetric = {"key": "symmetric", "arithmetic": found.dialect}
        what += [{"operand": "activation", "scheme": symmetric}]
        wide = "int16" in _ends(found)
        if not wide:
            minmax = {"key": "minmax", "arithmetic": found.dialect}
            what += [{"operand": "activation", "scheme": minmax}]
        what += [{"operand": "weight", "rounding": "nearest"}]
    elif not any(rule.mode == "float16" for rule in found.rules):
        what += [{"min_elements": n} for n in (0, 16, 1 << 20)]
        what += [{"mode": m} for m in ("dynamic", "weight_only", "float16")]
        what += [{"operand": "weight", "dtype": t} for t in ("int8", "int4", "float32")]
        what += [{"operand": "weight", "granularity": "blockwise:32"}]
    return st.tuples(where, st.sampled_from(what)).map(rule)


def _operators(model: ts.Model | None) -> st.SearchStrategy[str]:
    found = {op.name for s in model.subgraphs for op in s.operators} if model is not None else set()
    return st.sampled_from([*sorted(found), "*", "*CONV*"])


def _tensors(model: ts.Model | None) -> st.SearchStrategy[str]:
    found = {t.name or "" for s in model.subgraphs for t in s.tensors} if model else set()
    return st.sampled_from([*sorted(found - {""}), "*", "re:[02468]$"])
