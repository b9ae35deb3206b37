"""`qcore advise`: which recipe to deploy on a device, measured on the model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qcore.cli import shared
from qcore.cli.groups import Data, takes

if TYPE_CHECKING:
    from qcore.advise import Advice

EXAMPLE = "Example: qcore advise model.tflite --target edgetpu --data train.npz --std 255"


@takes(Data)
def command(
    model: shared.ModelPath,
    target: Annotated[
        str,
        shared.option(
            "--target", metavar="NAME", show_default=False,
            help="reference, xnnpack, gpu, edgetpu, tflm, cmsis-nn or ethos-u.",
        ),
    ],
    least: Annotated[
        float, shared.option("--least", metavar="DB", help="SQNR that is good enough.")
    ] = 20.0,
    output: Annotated[
        Path | None,
        shared.option("--output", "-o", metavar="FILE", help="Write the recommended model."),
    ] = None,
    json: shared.Json = False,
    *,
    samples: Data,
) -> None:  # fmt: skip
    """Try what a device can run, measure size, error and time, and recommend one with reasons.

    Exits with 1 where nothing that runs there is good enough.
    """
    import tflite_schema as ts
    from qcore.advise import advise
    from tflite_schema import files

    if samples.data is None:
        raise typer.BadParameter("there is nothing to measure on; give --data")
    if output is not None:
        shared.check_output(output)
    loaded = shared.load(model)
    found = advise(loaded, target, samples.open(loaded), least=least)
    if output is not None and found.model is not None:
        given = found.model
        data = ts.to_bytes(given) if isinstance(given, ts.Model) else given.to_bytes()
        files.replace(output, (data,))
    if json:
        shared.print_json(found.to_json())
    else:
        show(found)
    raise typer.Exit(0 if found.chosen else 1)


def show(found: Advice) -> None:
    """The options as a table, then the answer and its reasons."""
    from rich.text import Text

    numbers = ("size", "SQNR_dB", "ms", "products %")
    made = shared.table("option", *numbers, f"on {found.target}", right=numbers)
    for o in found.options:
        made.add_row(
            o.name, shared.bytes_text(o.bytes),
            "" if o.SQNR_dB is None else f"{o.SQNR_dB:.1f}", "" if o.ms is None else f"{o.ms:.3g}",
            "" if o.share is None else f"{100 * o.share:.1f}", Text(o.against or o.verdict),
        )  # fmt: skip
    answer = f"{found.target}: {found.chosen or 'none of them'}"
    style = "green" if found.chosen else "bold red"
    shared.show(shared.console(), made, Text(answer, style=style), *map(Text, found.reasons))
