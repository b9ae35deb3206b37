"""`qcore quantize`: a quantized .tflite from a float one."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qcore.cli import shared
from qcore.cli.groups import Samples, takes

if TYPE_CHECKING:
    from qcore.plan.summary import Remark, Summary
    from qcore.recipe import Recipe

EXAMPLE = (
    "Example: qcore quantize model.tflite --recipe int8 --data train.npz --std 255 -o int8.tflite"
)
_SHOWN = 12  # remarks in the text; the plan file has them all


@takes(Samples)
def command(
    model: shared.ModelPath,
    output: Annotated[
        Path,
        shared.option(
            "--output", "-o", metavar="FILE", help="The .tflite to write.", show_default=False
        ),
    ],
    recipe: shared.Recipe = "int8",
    calibration: Annotated[
        Path | None,
        shared.option(
            "--calibration",
            metavar="FILE",
            help="Ranges from `qcore calibrate`, instead of --data.",
            rich_help_panel="Data",
        ),
    ] = None,
    rule: Annotated[
        list[str] | None,
        shared.option(
            "--rule",
            metavar="FIELD=VALUE,...",
            help="One more rule, which wins: name=*logits*,mode=float. Repeat it.",
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        shared.option(
            "--set",
            metavar="FIELD=VALUE",
            help="A field of the recipe: input_type=float32. Repeat it.",
        ),
    ] = None,
    activation_scheme: Annotated[
        str | None,
        shared.option(
            "--activation-scheme",
            metavar="NAME[:FIELD=VALUE]",
            help="Scheme of activations: mse, octav, percentile:share=99.9 ...",
        ),
    ] = None,
    weight_scheme: Annotated[
        str | None,
        shared.option(
            "--weight-scheme", metavar="NAME[:FIELD=VALUE]", help="Scheme of weights, likewise."
        ),
    ] = None,
    plugin: shared.Plugin = None,
    plan: Annotated[
        Path | None,
        shared.option("--plan", metavar="FILE", help="Also save the plan, all of it, as JSON."),
    ] = None,
    verify: Annotated[
        bool,
        shared.option(
            "--verify", help="Compare our integers with the interpreter's, on --data, all paths."
        ),
    ] = False,
    json: shared.Json = False,
    *,
    samples: Samples,
) -> None:
    """Quantize a float model, and say what stayed float and why, and what was clipped.

    With --verify, exits with 1 when an integer differs from the official interpreter's.
    """
    import qcore
    from qcore import modules
    from qcore.errors import BadInput
    from qcore.plan import needs_calibration
    from qcore.plan.summary import summarize
    from qcore.quantize import calibrated_with

    if samples.data is not None and calibration is not None:
        raise typer.BadParameter("--data and --calibration both give ranges; leave one out")
    if calibration is not None and samples.given():
        raise typer.BadParameter(f"--{samples.given()[0]} is about --data, not about --calibration")
    if verify and samples.data is None:
        raise typer.BadParameter("--verify runs the result on samples; give --data")
    for text in plugin or ():
        modules.plugin(text)
    named = {"activation": activation_scheme, "weight": weight_scheme}
    wanted = _adjusted(qcore.recipe(recipe), rule or (), set_ or (), named)
    for path in (output, plan):
        if path is not None:
            shared.check_output(path)
    loaded = shared.load(model)
    if output.exists() and output.samefile(model):
        raise BadInput(f"{output} is the model itself; give another name with -o")
    ranges = samples.open(loaded) if calibration is None else qcore.Calibration.load(calibration)
    quantized = qcore.quantize(loaded, wanted, ranges, **samples.options())
    if activation_scheme is not None and not needs_calibration(quantized.source, wanted):
        raise typer.BadParameter(
            f"recipe {wanted.name} leaves activations float; leave --activation-scheme out"
        )
    if plan is not None:
        quantized.plan.save(plan)
    quantized.save(output)
    summary = summarize(quantized.plan)
    if ranges is not None and calibrated_with(quantized.source, wanted, {}) is None:
        unread = f"recipe {wanted.name} needs no ranges, so none were read or made"
        summary = dataclasses.replace(summary, notes=(*summary.notes, unread))
    sizes = shared.size(model, loaded), output.stat().st_size
    checked = qcore.verify(
        output, samples.open(loaded), runtime=samples.runtime or "litert",
        signature=samples.signature, **samples.limits(),
    ) if verify else None  # fmt: skip
    if json:
        told = {"file": str(output), "bytes": sizes[1], "source_bytes": sizes[0]}
        more = {} if checked is None else {"verified": checked.to_json()}
        shared.print_json(told | summary.to_json() | more)
    else:
        _print(summary, output, sizes)
        if checked is not None:
            from qcore.cli.verify import show

            show(checked)
    if checked is not None and not checked.ok:
        raise typer.Exit(1)


def _adjusted(recipe: Recipe, rules: Any, fields: Any, schemes: dict[str, str | None]) -> Recipe:
    """The recipe with --set, the schemes by operand, and --rule applied, in this order."""
    from qcore.recipe import Recipe

    data = recipe.to_json()
    for text in fields:
        name, value = _assignment("--set", text)
        table = data
        *path, last = name.split(".")
        for part in path:
            table = table.setdefault(part, {})
        if not isinstance(table, dict) or last == "rule":
            raise typer.BadParameter(f"--set {text}: {name} is not a field of a recipe")
        table[last] = value
    made = Recipe.from_json(data, recipe.name) if fields else recipe
    for operand, named in schemes.items():
        if named is not None:
            made = made.with_rule(operand=operand, scheme=_scheme(f"--{operand}-scheme", named))
    for text in rules:
        table = dict(_assignment("--rule", part) for part in text.split(","))
        data = made.to_json()
        made = Recipe.from_json({**data, "rule": [*data["rule"], table]}, made.name)
    return made


def _scheme(option: str, text: str) -> dict[str, Any]:
    """KEY:FIELD=VALUE:FIELD=VALUE as a recipe has it."""
    key, *fields = text.split(":")
    found = dict(_assignment(option, field) for field in fields)
    for name, value in found.items():
        if isinstance(value, str) and value.replace(".", "", 1).isdigit():
            found[name] = float(value)
    return {"key": key, **found}


def _assignment(option: str, text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise typer.BadParameter(f"{option} {text}: write it as FIELD=VALUE")
    value = value.strip()
    if value.lower() in ("true", "false"):
        return name.strip(), value.lower() == "true"
    return name.strip(), int(value) if value.isdigit() else value


def _print(summary: Summary, output: Path, sizes: tuple[int, int]) -> None:
    from rich.text import Text

    before, after = sizes
    head = Text(str(output), style="bold")
    head.append(
        f"\n{shared.bytes_text(before)} -> {shared.bytes_text(after)} "
        f"({100 * after / before:.1f} %), recipe {summary.recipe}",
        style="not bold",
    )
    counts = shared.table("operators", "count", right=("count",))
    for mode, count in summary.modes.items():
        words = {"float32": "left float", "kept": "kept (no arithmetic)"}
        counts.add_row(words.get(mode, mode), str(count))
    for name, count in summary.inserted.items():
        counts.add_row(f"inserted {name}", str(count))
    if summary.folded:
        counts.add_row("folded away", str(sum(len(r.places) for r in summary.folded)))
    clipped = shared.table("saturated constant", "integers clipped", right=("integers clipped",))
    for name, count in summary.saturated[:_SHOWN]:
        clipped.add_row(shared.cut(name), f"{count:,}")
    lists = [
        ("left float", summary.left_float),
        ("folded away", summary.folded),
        ("remarks", summary.remarks),
    ]
    hidden = sum(max(0, len(rows) - _SHOWN) for rows in (*(r for _, r in lists), summary.saturated))
    shared.show(
        shared.console(),
        head,
        counts,
        *(_remarks(title, rows) for title, rows in lists),
        clipped,
        *map(Text, summary.notes),
        f"{hidden} more; --plan FILE saves all of them" if hidden else None,
    )


def _remarks(title: str, remarks: tuple[Remark, ...]) -> Any:
    from rich.text import Text

    made = shared.table(title, "count", "first", "why", right=("count",))
    for r in remarks[:_SHOWN]:
        # Beside weights alone, an operator without any is left as it is, with no remark of its own.
        why = r.note or "it has no weights"
        made.add_row(Text(r.what), str(len(r.places)), shared.cut(r.places[0]), Text(why))
    return made
