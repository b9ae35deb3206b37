"""`qcore advise`: which recipe to deploy on a device, measured on the model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qcore.cli import shared
from qcore.cli.groups import Data, Evaluation, takes

if TYPE_CHECKING:
    from qcore.advise import Advice

EXAMPLE = (
    "Example: qcore advise model.tflite --target edgetpu --data train.npz --std 255 "
    "--eval test.npz --lost 0.02 -o out.tflite"
)


@takes(Data, Evaluation)
def command(
    model: shared.ModelPath,
    target: Annotated[
        str,
        shared.option(
            "--target", metavar="NAME", show_default=False,
            help=f"One of {shared.TARGETS}.",
        ),
    ],
    least: Annotated[
        float | None,
        shared.option(
            "--least", metavar="DB", help="SQNR that every output has to have (20 without labels)."
        ),
    ] = None,
    lost: Annotated[
        float | None,
        shared.option(
            "--lost", metavar="SHARE", max=1.0,
            help="With labels: share of all samples by which accuracy may fall (0.01).",
        ),
    ] = None,
    strategy: Annotated[
        list[str] | None,
        shared.option(
            "--strategy", metavar="NAME|FILE",
            help="A recipe to try, ours or your own; repeat it "
            "(float16, dynamic, int8, int16x8).",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        shared.option("--output", "-o", metavar="FILE", help="Write the recommended model."),
    ] = None,
    json: shared.Json = False,
    *,
    samples: Data,
    judged: Evaluation,
) -> None:  # fmt: skip
    """Try what a device can run, measure size, error and time, and recommend one with reasons.

    Labels make accuracy count, of samples that calibration has not seen. Exits with 1 where nothing
    that runs there is good enough.
    """
    import tflite_schema as ts
    from qcore.advise import STRATEGIES, advise
    from tflite_schema import files

    if samples.data is None:
        raise typer.BadParameter("there is nothing to measure on; give --data")
    if output is not None:
        shared.check_output(output)
    loaded = shared.load(model)
    data = samples.open(loaded)
    evaluation = judged.open(samples, loaded)
    found = advise(
        loaded, target, data, None if evaluation is None else evaluation.labels,
        evaluation=evaluation, least=least, lost=lost, strategies=strategy or STRATEGIES,
        signature=samples.signature,
    )  # fmt: skip
    if output is not None and found.model is not None:
        given = found.model
        made = ts.to_bytes(given) if isinstance(given, ts.Model) else given.to_bytes()
        files.replace(output, (made,))
    if json:
        shared.print_json(found.to_json())
    else:
        show(found)
    raise typer.Exit(0 if found.chosen else 1)


def show(found: Advice) -> None:
    """The options as a table, then the answer and its reasons."""
    from rich.text import Text

    right = ("accuracy",) if found.labelled else ()
    numbers = ("size", "SQNR_dB", *right, "ms", "products %")
    made = shared.table("option", *numbers, f"on {found.target}", right=numbers)
    for o in found.options:
        accuracy = ("" if o.accuracy is None else f"{o.accuracy:.2%}",) if right else ()
        made.add_row(
            o.name, shared.bytes_text(o.bytes),
            "" if o.SQNR_dB is None else f"{o.SQNR_dB:.1f}", *accuracy,
            "" if o.ms is None else f"{o.ms:.3g}",
            "" if o.share is None else f"{100 * o.share:.1f}", Text(o.against or o.verdict),
        )  # fmt: skip
    answer = f"{found.target}: {found.chosen or 'none of them'}"
    style = "green" if found.chosen else "bold red"
    measured = Text(found.measured)
    if found.warning:
        measured.append(f"\n{found.warning}", style="yellow")
    shared.show(
        shared.console(), made, measured, Text(answer, style=style), *map(Text, found.reasons)
    )
