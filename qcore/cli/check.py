"""`qcore check`: which operators of a model a device takes, which stay on the CPU, and why."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qcore.cli import shared

if TYPE_CHECKING:
    from qcore.check import Check, TargetFit
    from qcore.targets.rule import Target

EXAMPLE = "Example: qcore check int8.tflite --target edgetpu --target gpu"


def command(
    model: Annotated[
        Path | None,
        typer.Argument(metavar="MODEL", help="The .tflite file.", show_default=False),
    ] = None,
    target: Annotated[
        list[str] | None,
        shared.option(
            "--target", metavar="NAME",
            help=f"{shared.TARGETS}; repeat it (all).",
        ),
    ] = None,
    operators: Annotated[
        bool, shared.option("--operators", help="Show every operator, not kinds of them.")
    ] = False,
    strict: Annotated[
        bool, shared.option("--strict", help="Exit with 1 where anything stays on the CPU.")
    ] = False,
    listed: Annotated[
        bool, shared.option("--list", help="Show what each target takes, with sources.")
    ] = False,
    json: shared.Json = False,
) -> None:  # fmt: skip
    """Say which operators of a model run on a device, and what keeps the others from it.

    Runs nothing: the answer is by tables (docs/targets.md). Exits with 1 where a target runs
    nothing of the model, with --strict where it does not run all of it.
    """
    from qcore import targets
    from qcore.check import check

    if listed:
        wanted = [targets.find(key) for key in target or targets.names()]
        if json:
            shared.print_json({t.key: described(t) for t in wanted})
        else:
            shared.show(shared.console(), *(part for t in wanted for part in rules(t)))
        return
    if model is None:
        raise typer.BadParameter("there is nothing to check; give a .tflite file, or --list")
    found = check(shared.load(model), target or None)
    if json:
        shared.print_json(found.to_json())
    else:
        show(found, operators)
    raise typer.Exit(0 if (found.whole if strict else found.runs) else 1)


def show(found: Check, operators: bool = False) -> None:
    """The result as tables on standard output."""
    numbers = ("operators", "products %")
    sums = shared.table("target", *numbers, "runs there", right=numbers)
    for t in found.targets:
        share = "" if t.share is None else f"{100 * t.share:.1f}"
        sums.add_row(t.target, f"{t.running} of {len(t.operators)}", share, t.verdict)
    shared.show(
        shared.console(),
        sums,
        *(reasons(t, operators) for t in found.targets),
        *(order(t) for t in found.targets),
    )


def reasons(t: TargetFit, operators: bool) -> Any:
    """A row for each kind of operator and reason, or for each operator."""
    from rich.text import Text

    made = shared.table("operator", "has to be so that", "found", "count", right=("count",),
                        title=f"{t.target}: not taken")  # fmt: skip
    kinds: Counter[tuple[str, str]] = Counter()
    first: dict[tuple[str, str], tuple[str, str]] = {}
    for o in t.operators:
        for r in o.reasons:
            key = (o.where if operators else o.name), r.rule
            kinds[key] += 1
            place = "" if operators else f"{o.number}: "
            first.setdefault(key, (place + r.found, r.mend))
    for key, count in kinds.items():
        said, mend = first[key]
        made.add_row(
            shared.cut(key[0]), Text(key[1] + (f"; {mend}" if mend else "")), Text(said), str(count)
        )
    return made


def order(t: TargetFit) -> str | None:
    """What is taken by itself, but does not run there for its place."""
    left = sum(o.taken and not o.runs for o in t.operators)
    if not left or t.beneath or t.placement == "all or none":
        return None
    what = (
        "operators that it would take stand" if left > 1 else "operator that it would take stands"
    )
    place = "behind the first that it does not" if "first" in t.placement else (
        "outside of the largest part that it takes"
    )  # fmt: skip
    return f"{t.target}: {left} {what} {place}"


def rules(target: Target) -> tuple[Any, ...]:
    """Title, operators and rules of a target."""
    from rich.text import Text

    made = shared.table("rule", "of", "source", title=f"{target.key}: {target.title}")
    for r in target.rules:
        made.add_row(Text(r.name), Text(" ".join(sorted(r.operators)) or "all"), Text(r.source))
    return made, Text(f"{target.about} {tried(target)}")


def tried(target: Target) -> str:
    """How the rules were tried out, as a sentence."""
    return f"Tried: {target.checked}." if target.checked else "By its sources alone; not run."


def described(target: Target) -> dict[str, Any]:
    """A target's table as JSON has it."""
    return {
        "title": target.title,
        "about": target.about,
        "placement": target.placement.value,
        "rest": target.rest,
        "tried": target.checked,
        "operators": {
            name: {"dtypes": list(t.dtypes), "version": t.version or None}
            for name, t in sorted(target.operators.items())
        },
        "rules": [
            {
                "name": r.name, "operators": sorted(r.operators), "mend": r.mend,
                "source": r.source, "urls": list(r.urls),
            }
            for r in target.rules
        ],
    }  # fmt: skip
