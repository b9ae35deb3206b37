"""`qcore fingerprint`: which rule an installed runtime follows."""

from __future__ import annotations

from typing import Annotated

import typer

from qcore.cli import shared

_WIDE = 120  # columns of a terminal with room for operator and form on one line
EXAMPLE = "Example: qcore fingerprint --runtime litert --operator CONV_2D --operator ADD"


def command(
    runtime: Annotated[
        str, shared.option("--runtime", metavar="NAME", help="litert or tensorflow.")
    ] = "litert",
    operator: Annotated[
        list[str] | None,
        shared.option("--operator", metavar="NAME", help="An operator (all); repeat it."),
    ] = None,
    path: Annotated[
        list[str] | None,
        shared.option("--path", metavar="PATH", help="A path (all); repeat it."),
    ] = None,
    models: Annotated[
        int, shared.option("--models", metavar="N", min=1, help="Random models for each row.")
    ] = 6,
    outputs: Annotated[
        int, shared.option("--outputs", metavar="N", min=1, help="Output elements of each model.")
    ] = 400,
    seed: Annotated[int, shared.option("--seed", metavar="N", help="Of the random models.")] = 0,
    changed: Annotated[
        bool, shared.option("--changed", help="Only rows that are not as documented.")
    ] = False,
    json: shared.Json = False,
) -> None:
    """Probe an installed runtime with models of one operator, and name the rule of each path.

    Exits with 1 when a row is not what docs/numerics.md says.
    """
    from rich.text import Text

    from kernels.profile import PATHS
    from qcore.fingerprint import describe, fingerprint
    from qcore.progress import track

    found = fingerprint(
        runtime, tuple(operator or ()), tuple(path or PATHS), models=models, outputs=outputs,
        seed=seed, progress=lambda items: track(items, "probing"),
    )  # fmt: skip
    if json:
        shared.print_json(found.to_json())
        raise typer.Exit(1 if found.surprises else 0)
    console = shared.console()
    between = "\n" if console.width < _WIDE else " "
    table = shared.table("operator, form", "path", "rule", "decided by", right=("decided by",))
    for t in found.surprises if changed else found.traits:
        style = "bold red" if t.surprising else ""
        refused = f"\n{t.refused} refused" if t.refused else ""
        table.add_row(
            Text(f"{t.operator}{between}{t.form}"), t.path, Text(describe(t), style=style),
            f"{t.decided:,} of {t.compared:,}{refused}",
        )  # fmt: skip
    shared.show(
        console,
        f"{found.runtime} {found.version}",
        table,
        f"{len(found.surprises)} of {len(found.traits)} rows are not as documented",
    )
    raise typer.Exit(1 if found.surprises else 0)
