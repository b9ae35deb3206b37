"""A plan in a few numbers and remarks: what a person wants to see after quantizing."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from qcore.plan.values import Plan


@dataclass(frozen=True)
class Remark:
    """what: an operator's name or a tensor's type.  note: the plan's own words.

    places: where it holds, in graph order.
    """

    what: str
    note: str
    places: tuple[str, ...]


@dataclass(frozen=True)
class Summary:
    """recipe: name.  modes: source operators by how they will be computed.  inserted: new operators
    by name.  tensors: stored tensors by type, those that the steps and the graph's ends use.

    left_float, folded: operators, with the reason.  remarks: on tensors.  saturated: (tensor, how
    many of its integers were clipped).  notes: on the model as a whole.
    """

    recipe: str
    modes: dict[str, int]
    inserted: dict[str, int]
    tensors: dict[str, int]
    left_float: tuple[Remark, ...]
    folded: tuple[Remark, ...]
    remarks: tuple[Remark, ...]
    saturated: tuple[tuple[str, int], ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def summarize(plan: Plan) -> Summary:
    """What the plan comes to."""
    modes: Counter[str] = Counter()
    inserted: Counter[str] = Counter()
    tensors: Counter[str] = Counter()
    floats: list[tuple[str, str, str]] = []
    folded: list[tuple[str, str, str]] = []
    remarks: list[tuple[str, str, str]] = []
    saturated: list[tuple[str, int]] = []
    for number, part in enumerate(plan.subgraphs):
        used = {*part.inputs, *part.outputs}
        for step in part.steps:
            used |= {*step.inputs, *step.outputs, *step.intermediates}
            if step.source is None:
                inserted[step.name] += 1
                continue
            modes[step.mode] += 1
            first = next((o for o in step.outputs if o >= 0), None)
            place = f"operator {step.source}" if first is None else plan.name(number, first)
            if step.mode == "float32":
                floats.append((step.name, step.note or "", place))
            elif step.note:
                remarks.append((step.name, step.note, place))
        for operator, reason in part.folded:
            folded.append(("operator", reason, str(operator)))
        for index in sorted(used - {-1}):
            form, name = part.forms[index], plan.name(number, index)
            tensors[form.dtype] += 1
            if form.note:
                remarks.append((form.dtype, form.note, name))
            if form.saturated:
                saturated.append((name, form.saturated))
    return Summary(
        recipe=plan.recipe,
        modes=dict(modes.most_common()),
        inserted=dict(inserted.most_common()),
        tensors=dict(tensors.most_common()),
        left_float=_grouped(floats),
        folded=_grouped(folded),
        remarks=_grouped(remarks),
        saturated=tuple(saturated),
        notes=plan.notes,
    )


def _grouped(rows: Iterable[tuple[str, str, str]]) -> tuple[Remark, ...]:
    """One Remark for each (what, note), in the order of first appearance."""
    groups: dict[tuple[str, str], list[str]] = {}
    for what, note, place in rows:
        groups.setdefault((what, note), []).append(place)
    return tuple(Remark(what, note, tuple(places)) for (what, note), places in groups.items())
