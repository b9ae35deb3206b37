"""`qcore mixed`: the fewest operators to keep float, or at int16, for a given quality."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qcore.cli import shared
from qcore.cli.groups import Samples, takes

EXAMPLE = (
    "Example: qcore mixed model.tflite --data train.npz --std 255 --limit 50 --gain 6 "
    "--budget 0.1 -o mixed.json"
)


@takes(Samples)
def command(
    model: shared.ModelPath,
    output: Annotated[
        Path,
        shared.option(
            "--output", "-o", metavar="FILE.json", help="Recipe to write.", show_default=False
        ),
    ],
    recipe: shared.Recipe = "int8",
    target: Annotated[
        float | None, shared.option("--target", metavar="DB", help="SQNR that is to be reached.")
    ] = None,
    gain: Annotated[
        float | None,
        shared.option("--gain", metavar="DB", help="The same, above what the recipe has."),
    ] = None,
    budget: Annotated[
        float,
        shared.option(
            "--budget", metavar="SHARE", min=0.0, max=1.0,
            help="At most this share of the products kept (1).",
        ),
    ] = 1.0,
    price: Annotated[
        str,
        shared.option("--price", metavar="WHAT", help="What is to be least: macs or operators."),
    ] = "macs",
    keep: Annotated[
        str,
        shared.option("--keep", metavar="TYPE", help="What operators are kept at: float or int16."),
    ] = "float",
    json: shared.Json = False,
    *,
    samples: Samples,
) -> None:  # fmt: skip
    """Find the cheapest operators to keep float (or at int16), and save the recipe that does.

    Exits with 1 when the target is not reached; the recipe is then the best within the budget.
    """
    from rich.text import Text

    import qcore

    if samples.data is None:
        raise typer.BadParameter("there is nothing to measure on; give --data")
    if output.suffix != ".json":
        raise typer.BadParameter(f"--output {output}: the recipe is JSON; name it .json")
    shared.check_output(output)
    loaded = shared.load(model)
    options = samples.options()
    found = qcore.mixed(
        loaded, recipe, None, samples.open(loaded), target=target, gain=gain, budget=budget,
        price=price, keep=keep, threads=options.pop("threads", None), **options,
    )  # fmt: skip
    found.recipe.save(output)
    if json:
        shared.print_json(found.to_json() | {"file": str(output)})
    else:
        shared.show(shared.console(), Text(str(found)), Text(f"recipe: {output}"))
    raise typer.Exit(0 if found.reached else 1)
