"""`qcore calibrate`: ranges of a model's activations from samples, saved as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qcore.cli import shared
from qcore.cli.groups import Samples, takes

EXAMPLE = "Example: qcore calibrate model.tflite --data train.npz --std 255 -o ranges.json"


@takes(Samples)
def command(
    model: shared.ModelPath,
    output: Annotated[
        Path,
        shared.option(
            "--output", "-o", metavar="FILE", help="JSON file to write.", show_default=False
        ),
    ],
    json: shared.Json = False,
    *,
    samples: Samples,
) -> None:
    """Run a float model over samples and save the range of every activation.

    `qcore quantize --calibration` takes the file. --json also prints a summary as JSON.
    """
    import qcore

    if samples.data is None:
        raise typer.BadParameter("ranges come from samples; give --data")
    shared.check_output(output)
    loaded = shared.load(model)
    found = qcore.calibrate(loaded, samples.open(loaded), **samples.options())
    found.save(output)
    if json:
        shared.print_json(
            {
                "file": str(output),
                "tensors": len(found),
                "samples": found.samples,
                "observer": found.observer.to_json(),
                "runtime": dict(found.runtime),
                "moments": len(found.moments),
                "notes": list(found.notes),
            }
        )
    else:
        from rich.text import Text

        said = f"{output}: {len(found)} ranges from {found.samples} samples"
        if found.moments:
            said += f", and what {len(found.moments)} operators multiply"
        shared.show(shared.console(), Text(said), *map(Text, found.notes))
