"""Arguments, loading and output that several commands share."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qcore.recipe import names

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    import tflite_schema as ts


_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def option(*names: str, metavar: str = "", **more: Any) -> Any:
    """A typer option whose help says what stands in its place, and nothing for a flag."""
    return typer.Option(*names, metavar=metavar, **more)


def observer(**more: Any) -> Any:
    """--observer; more: for typer, such as the panel it stands in."""
    return option(
        "--observer",
        metavar="NAME",
        help="minmax, tflite, moving_average, histogram (default: the recipe's, or minmax).",
        **more,
    )


def threads(**more: Any) -> Any:
    """--threads, likewise."""
    return option("--threads", metavar="N", min=1, help="Cores to use (default: all).", **more)


ModelPath = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL",
        help="A .tflite file; with the extra tensorflow also .keras, .h5 or a SavedModel folder.",
        show_default=False,
    ),
]
Json = Annotated[bool, option("--json", help="Print JSON instead of text.")]
Recipe = Annotated[
    str,
    option(
        "--recipe",
        "-r",
        metavar="NAME|FILE",
        help=f"What quantizes: one of {', '.join(names())}, or a .toml or .json file.",
    ),
]
Plugin = Annotated[
    list[str] | None,
    option(
        "--plugin",
        metavar="MODULE|FILE.py",
        help="Import it first: the schemes, observers and roundings in it are then known by their "
        "keys. Repeat it.",
    ),
]
TARGETS = "reference, xnnpack, gpu, edgetpu, tflm, cmsis-nn, ethos-u"  # of `qcore.targets`


def console() -> Console:
    """Standard output: as wide as the terminal; in a pipe so wide that nothing is cut."""
    from rich.console import Console
    from rich.segment import Segment

    class Ours(Console):
        def render(self, *args: Any, **more: Any) -> Any:
            for segment in super().render(*args, **more):
                text = segment.text if segment.control else printable(segment.text)
                yield Segment(text, segment.style, segment.control)

        def on_broken_pipe(self) -> None:
            raise  # the BrokenPipeError that is being handled; rich would exit with 1

    return Ours(width=None if sys.stdout.isatty() else 1000, highlight=False)


def table(*columns: str, right: tuple[str, ...] = (), title: str | None = None) -> Table:
    """An empty table in the one style that all commands print; right: columns of numbers."""
    from rich import box
    from rich.table import Table

    made = Table(
        box=box.SIMPLE_HEAD,
        title=title,
        title_justify="left",
        title_style="bold",
        pad_edge=False,
        show_edge=False,
        collapse_padding=True,
    )
    for name in columns:
        made.add_column(
            name,
            justify="right" if name in right else "left",
            no_wrap=name in right,
            overflow="fold",
        )
    return made


def cut(text: str) -> Text:
    """A name or a place in a table: taken literally, and shortened where the terminal is narrow."""
    from rich.text import Text

    return Text(text, no_wrap=True, overflow="ellipsis")


def show(console: Console, *parts: Any) -> None:
    """Tables and texts one below the other, an empty line between; empty tables are left out."""
    from rich.table import Table
    from rich.text import Text

    first = True
    for part in parts:
        if part is None or (isinstance(part, Table) and not part.row_count):
            continue
        if not first:
            console.print()
        first = False
        part = Text(part) if isinstance(part, str) else part
        console.print(part, soft_wrap=not isinstance(part, Table))


def printable(text: str) -> str:
    """Text from a file for a terminal, which is not to obey what is in it."""
    return _CONTROLS.sub(lambda found: repr(found[0])[1:-1], text)


def print_json(value: Any) -> None:
    """One JSON document; NaN and infinities, which JSON has not, as strings."""
    json.dump(_finite(value), sys.stdout, indent=1, allow_nan=False, ensure_ascii=False)
    sys.stdout.write("\n")


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not -float("inf") < value < float("inf"):
        return repr(value)
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return value


def bytes_text(count: int) -> str:
    """A size as people say it: 155 kB, 18.6 MB (powers of ten)."""
    size, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while size >= 999.5 and len(units) > 1:
        size /= 1000
        units.pop(0)
    return (
        f"{size:.0f} {units[0]}" if units[0] == "B" or size >= 99.95 else f"{size:.1f} {units[0]}"
    )


def check_output(path: Path) -> None:
    """Raises BadInput, before any work is done, where no file can be written at `path`."""
    from qcore.errors import BadInput

    if path.is_dir():
        raise BadInput(f"{path} is a folder; give the name of a file to write")
    if not path.parent.is_dir():
        raise BadInput(f"{path}: there is no folder {path.parent} to write it to; make it first")
    place = path if path.exists() and not path.is_file() else path.parent
    if not os.access(place, os.W_OK):
        raise BadInput(f"{path}: {place} may not be written to; give another place")


def load(path: Path) -> ts.Model:
    """The model in a file or folder; errors name it."""
    import qcore
    from qcore.errors import BadInput
    from tflite_schema.errors import SchemaError

    try:
        return qcore.load(path)
    except SchemaError as error:
        raise BadInput(f"{path} is not a readable .tflite file: {error}") from error


def size(path: Path, model: ts.Model) -> int:
    """Bytes of a .tflite file, or of the .tflite that a model of another format was turned into."""
    import tflite_schema as ts
    from qcore.peers import converter

    return len(ts.to_bytes(model)) if converter.takes(path) else path.stat().st_size
