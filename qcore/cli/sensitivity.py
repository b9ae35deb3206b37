"""`qcore sensitivity`: what each operator costs when it is quantized."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from qcore.cli import shared
from qcore.cli.groups import Samples, takes

if TYPE_CHECKING:
    from qcore.mixed import Sensitivity

EXAMPLE = "Example: qcore sensitivity model.tflite --data train.npz --std 255 --limit 50"


@takes(Samples)
def command(
    model: shared.ModelPath,
    recipe: shared.Recipe = "int8",
    json: shared.Json = False,
    *,
    samples: Samples,
) -> None:
    """Quantize a float model with one operator quantized, and with all but one, for each operator.

    The outputs' SQNR against float, on the samples that were also calibrated on.
    """
    import qcore

    if samples.data is None:
        raise typer.BadParameter("there is nothing to measure on; give --data")
    loaded = shared.load(model)
    options = samples.options()
    found = qcore.sensitivity(
        loaded, recipe, None, samples.open(loaded), threads=options.pop("threads", None), **options
    )
    if json:
        shared.print_json(found.to_json())
    else:
        show(found)


def show(found: Sensitivity) -> None:
    """The result as a table on standard output, what gains most first."""
    from rich.text import Text

    numbers = ("products %", f"{found.what}:\nit alone", "all but it", "loss less %")
    rows = shared.table("operator", *numbers, right=numbers)
    for cost in found.worst():
        rows.add_row(
            shared.cut(f"{cost.unit.op} {cost.unit.number} {cost.unit.name}"),
            f"{100 * cost.unit.macs / found.macs:.1f}" if found.macs else "",
            f"{cost.alone.value:.2f}",
            f"{cost.without.value:.2f}",
            f"{100 * cost.gain / found.all.loss:.1f}" if found.all.loss else "",
        )
    said = (
        f"{found.recipe}: {found.what} {found.all.value:.2f}, with no operator quantized "
        f"{found.none.value:.2f}; {found.samples} samples, {found.evaluations} models"
    )
    shared.show(shared.console(), Text(said), rows)
