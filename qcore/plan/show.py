"""A plan for a person: one row an operator, and below it everything that is out of the ordinary."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from qcore.params import Affine
from qcore.plan.summary import summarize
from qcore.plan.values import Form, Plan, Step

WIDTH = 120  # columns where there is no terminal to ask


def table(plan: Plan) -> Any:
    """A rich renderable of the whole plan."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    parts: list[Any] = []
    for number, part in enumerate(plan.subgraphs):
        where = f", subgraph {number}" if len(plan.subgraphs) > 1 else ""
        title = Text(f"plan {plan.recipe}{where}")
        rows = Table(title=title, title_justify="left", box=None, pad_edge=False)
        rows.add_column("#", justify="right", style="dim")
        rows.add_column("operator", no_wrap=True)
        rows.add_column("mode")
        rows.add_column("output", overflow="ellipsis", no_wrap=True, max_width=40)
        rows.add_column("type")
        rows.add_column("scale", justify="right")
        rows.add_column("zero", justify="right")
        rows.add_column("rule, note", overflow="fold")
        for position, step in enumerate(part.steps):
            style = "yellow" if step.mode == "float32" else "dim" if step.inserted else ""
            for i, output in enumerate(step.outputs):
                form = part.forms[output] if output >= 0 else None
                first = (str(position), step.name, step.mode) if i == 0 else ("", "", "")
                row = (
                    *first,
                    plan.name(number, output) if form else "-",
                    form.dtype if form else "-",
                    *(shown(form.params) if form else ("", "")),
                    "; ".join(_says(step, form)),
                )
                # Text, since brackets and colons in names are no markup.
                rows.add_row(*map(Text, row), style=style)
        parts.append(rows)
    parts.append(Text(summary(plan)))
    parts += [Text(f"  {line}") for line in remarks(plan)]
    return Group(*parts)


def _says(step: Step, form: Form | None) -> Iterator[str]:
    if form is not None and form.rule != "kept":
        yield form.rule
    if step.note:
        yield step.note
    if form is not None and form.note:
        yield form.note


def shown(params: Affine | None) -> tuple[str, str]:
    """Scale and zero point in a few characters."""
    if params is None:
        return "", ""
    if params.groups == 1:
        return f"{params.scale[0]:.6g}", str(params.zero_point[0])
    return f"{params.scale.min():.3g}..{params.scale.max():.3g}", f"x{params.groups}"


def summary(plan: Plan) -> str:
    """How many operators of each mode, how many were inserted or folded."""
    found = summarize(plan)
    said = [f"{count} {mode}" for mode, count in found.modes.items()]
    said += [f"{count} {name} inserted" for name, count in found.inserted.items()]
    if found.folded:
        said.append(f"{sum(len(r.places) for r in found.folded)} folded")
    return "operators: " + (", ".join(said) or "none")


def remarks(plan: Plan) -> Iterator[str]:
    """One line for each thing that a person should know: left float, folded, saturated ..."""
    found = summarize(plan)
    yield from found.notes
    for remark in (*found.left_float, *found.folded, *found.remarks):
        if remark.note:
            more = f" and {len(remark.places) - 1} more" if len(remark.places) > 1 else ""
            yield f"{remark.what} {remark.places[0]}{more}: {remark.note}"
    for name, count in found.saturated:
        yield f"{name}: {count} integers saturated"


def text(plan: Plan) -> str:
    """The table as plain text."""
    from rich.console import Console

    out = io.StringIO()
    Console(file=out, width=WIDTH, color_system=None).print(table(plan))
    return out.getvalue().rstrip()


def html(plan: Plan) -> str:
    """The table for a notebook."""
    from rich.console import Console

    console = Console(file=io.StringIO(), width=WIDTH, record=True)
    console.print(table(plan))
    return console.export_html(inline_styles=True, code_format="<pre>{code}</pre>")
