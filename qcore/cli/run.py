"""`qcore run`: a model computed by our own kernels."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Annotated, Any

import typer

from qcore.cli import shared
from qcore.cli.groups import Data, takes

EXAMPLE = "Example: qcore run int8.tflite --data test.npz --std 255 --limit 4 -o outputs.npz"
_SHOWN = 20  # samples in the text; --output saves all

Profile = Annotated[
    str,
    shared.option(
        "--profile",
        metavar="PATH",
        help="Whose integers: reference, optimized or xnnpack, the paths of the interpreter.",
    ),
]
Runtime = Annotated[
    str,
    shared.option(
        "--runtime", metavar="NAME", help="litert or tensorflow, for the rules that differ."
    ),
]


@takes(Data)
def command(
    model: shared.ModelPath,
    profile: Profile = "xnnpack",
    runtime: Runtime = "litert",
    mode: Annotated[
        str,
        shared.option(
            "--mode",
            metavar="MODE",
            help="fast (compiled), reference (NumPy, the same integers) or real (no rounding).",
        ),
    ] = "fast",
    output: Annotated[
        Path | None,
        shared.option(
            "--output", "-o", metavar="FILE", help="Save the outputs of all samples as .npz."
        ),
    ] = None,
    tensors: Annotated[
        bool, shared.option("--tensors", help="Every tensor, not only the outputs.")
    ] = False,
    json: shared.Json = False,
    *,
    samples: Data,
) -> None:
    """Run a model on samples, with the integers of one path of the official interpreter.

    Real-valued samples are quantized to the inputs' scales. Outputs are as the model stores them.
    """
    from qcore.execute import Executor
    from qcore.progress import track

    if samples.data is None:
        raise typer.BadParameter("there is nothing to run on; give --data")
    if output is not None:
        shared.check_output(output)
    loaded = shared.load(model)
    executor = Executor(loaded, profile, mode, runtime=runtime, signature=samples.signature)
    kept: dict[str, list[Any]] = {}
    rows: list[dict[str, Any]] = []
    for number, found in enumerate(
        track(executor.run(samples.open(loaded), tensors=tensors), "running")
    ):
        made = found
        if tensors:
            made, every = found
            names = loaded.subgraphs[executor.binder.entries[executor.binder.default].subgraph]
            made = made | {
                f"{t}:{names.tensors[t].name or ''}": a for t, a in sorted(every.items())
            }
        for name, array in made.items():
            if output is not None:
                kept.setdefault(name, []).append(array)
            rows.append({"sample": number, "output": name, **_summary(array)})
    if output is not None:
        _save(output, kept)
    if json:
        shared.print_json({"profile": str(executor.profile), "mode": mode, "outputs": rows})
        return
    shown = shared.table(
        "sample", "output", "type", "shape", "min", "max", "largest at",
        right=("sample", "min", "max", "largest at"),
    )  # fmt: skip
    limit = len(rows) if tensors else _SHOWN
    for row in rows[:limit]:
        shown.add_row(
            str(row["sample"]), shared.cut(row["output"]), row["dtype"],
            "x".join(map(str, row["shape"])), _number(row["min"]), _number(row["max"]),
            "" if row["argmax"] is None else str(row["argmax"]),
        )  # fmt: skip
    left = len(rows) - limit
    shared.show(
        shared.console(),
        shown,
        f"{left} more; --json prints all" if left > 0 else None,
        f"{output}: {len(rows)} arrays" if output is not None else None,
    )


def _summary(array: Any) -> dict[str, Any]:
    numbers = array.size and array.dtype.kind in "biuf"
    return {
        "dtype": str(array.dtype),
        "shape": list(array.shape),
        "min": array.min().item() if numbers else None,
        "max": array.max().item() if numbers else None,
        "argmax": int(array.argmax()) if numbers else None,
    }


def _number(value: Any) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _save(path: Path, arrays: dict[str, list[Any]]) -> None:
    """One array a name: samples along a new first axis where they are alike, else one each."""
    import numpy as np

    from tflite_schema.files import replace

    stacked: dict[str, Any] = {}
    for name, found in arrays.items():
        if len({a.shape for a in found}) == 1:
            stacked[name] = np.stack(found)
        else:
            stacked |= {f"{name}.{i}": a for i, a in enumerate(found)}
    stream = BytesIO()
    np.savez(stream, **stacked)
    replace(path, [stream.getbuffer()])
