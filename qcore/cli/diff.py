"""`qcore diff`: what differs between two .tflite files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qcore.cli import shared

if TYPE_CHECKING:
    from qcore.diff import Change, Diff

EXAMPLE = "Example: qcore diff mine.tflite theirs.tflite --ignore name --ignore metadata"


def command(
    a: Annotated[Path, typer.Argument(metavar="A", help="One .tflite file.", show_default=False)],
    b: Annotated[Path, typer.Argument(metavar="B", help="The other.", show_default=False)],
    ignore: Annotated[
        list[str] | None,
        shared.option(
            "--ignore", metavar="KIND", help="A kind of difference to leave out; repeat it."
        ),
    ] = None,
    limit: Annotated[
        int, shared.option("--limit", metavar="N", min=0, help="Show at most this many; 0 for all.")
    ] = 50,
    json: shared.Json = False,
) -> None:
    """Compare two .tflite files: structure, types, scales (in ULP), integers (in steps).

    Exits with 1 when they differ. Kinds: subgraphs, operators, version, options, operands, dtype,
    shape, scale, zero_point, axis, range, values, flags, name, signatures, metadata, description.
    """
    from qcore.diff import KINDS, diff

    for kind in ignore or ():
        if kind not in KINDS:
            raise typer.BadParameter(
                f"{kind!r} is no kind of difference; known are: {', '.join(KINDS)}"
            )
    models = shared.load(a), shared.load(b)
    found = diff(*models).without(*(ignore or ()))
    sizes = shared.size(a, models[0]), shared.size(b, models[1])
    if json:
        shared.print_json({"a": str(a), "b": str(b), "file_bytes": sizes, **found.to_json()})
    else:
        _print(found, a, b, sizes, limit)
    raise typer.Exit(0 if found.same else 1)


def _print(found: Diff, a: Path, b: Path, sizes: tuple[int, int], limit: int) -> None:
    files = shared.table("", "file", "size", "operators", right=("size", "operators"))
    for label, path, size, operators in zip("ab", (a, b), sizes, found.operators):
        files.add_row(label, shared.cut(str(path)), f"{size:,} B", str(operators))
    shown = found.changes[: limit or None]
    left = len(found.changes) - len(shown)
    counts = ", ".join(f"{n} {kind}" for kind, n in found.counts().items())
    closing = f"{len(found.changes)} differences in {found.compared} tensors compared: {counts}"
    if found.same:
        closing = f"no differences in {found.compared} tensors compared"
    shared.show(
        shared.console(),
        files,
        _listed(shown) if shown else None,
        f"{left} more; --limit 0 shows all" if left else None,
        closing,
    )


def _listed(changes: Sequence[Change]) -> Any:
    """The place, then what differs there, a line each."""
    from rich.text import Text

    text, place = Text(), None
    for change in changes:
        if change.where != place:
            place = change.where
            text.append(("\n" if text else "") + place, style="bold")
        text.append(f"\n  {change.kind:<11} {_words(change)}")
    return text


def _words(change: Change) -> str:
    between = f"{change.a or 'nothing'} | {change.b or 'nothing'}"
    if change.count is None:
        return between
    number = change.largest
    step = f"{number:.4g}" if isinstance(number, float) else f"{number:,}"
    unit = {
        "scale": " ULP",
        "range": "",
        "values": "" if isinstance(number, float) else " steps",
        "zero_point": " steps",
    }.get(change.kind, "")
    return f"{change.count:,} of {change.of:,} differ, by up to {step}{unit}: {between}"
