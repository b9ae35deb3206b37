"""`qcore explain`: how each path comes to one integer."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer

from qcore.cli import shared
from qcore.cli.groups import Data, takes

EXAMPLE = "Example: qcore explain int8.tflite --data test.npz --std 255 --operator 4 --element 0,7"


@takes(Data)
def command(
    model: shared.ModelPath,
    operator: Annotated[
        str,
        shared.option(
            "--operator",
            metavar="N|NAME",
            help="Its number, or the name of its output tensor.",
            show_default=False,
        ),
    ],
    element: Annotated[
        str,
        shared.option(
            "--element", metavar="I,J,...", help="Index in the output, or one flat position."
        ),
    ] = "0",
    sample: Annotated[
        int, shared.option("--sample", metavar="N", min=0, help="Which sample to compute.")
    ] = 0,
    inputs_of: Annotated[
        str,
        shared.option(
            "--inputs-of", metavar="PATH", help="The path whose tensors the operator is given."
        ),
    ] = "reference",
    runtime: Annotated[
        str, shared.option("--runtime", metavar="NAME", help="litert or tensorflow.")
    ] = "litert",
    json: shared.Json = False,
    *,
    samples: Data,
) -> None:
    """Accumulator, multiplier, every rounding with both candidates, clamp: for each path.

    All paths get the same input integers, so that what differs is the operator's own arithmetic.
    """
    from qcore.explain import explain

    if samples.data is None:
        raise typer.BadParameter("the operator needs inputs; give --data")
    try:
        index = [int(part) for part in element.split(",")]
    except ValueError:
        raise typer.BadParameter(f"--element {element}: write it as 0,3,3,7") from None
    loaded = shared.load(model)
    chosen = next(islice(iter(samples.open(loaded)), sample, None), None)
    if chosen is None:
        raise typer.BadParameter(f"--sample {sample}: the data has fewer samples")
    found = explain(
        loaded, chosen, operator, index if len(index) > 1 else index[0], runtime=runtime,
        inputs_of=inputs_of, signature=samples.signature,
    )  # fmt: skip
    if json:
        shared.print_json(found.to_json())
    else:
        from rich.text import Text

        shared.show(shared.console(), Text(str(found)))
