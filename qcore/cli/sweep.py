"""`qcore sweep`: every combination of a grid on every model, resumable, over processes or Dask."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qcore.cli import shared

if TYPE_CHECKING:
    from qcore.sweep import Row, Sweep

EXAMPLE = "Example: qcore sweep grid.toml -o results --jobs 4 --table results.csv --report out.html"


def command(
    grid: Annotated[
        Path,
        typer.Argument(
            metavar="GRID",
            help="A .toml file with models, data and candidates; or the folder of a sweep, to show "
            "it again.",
            show_default=False,
        ),
    ],
    folder: Annotated[
        Path | None,
        shared.option(
            "--output", "-o", metavar="FOLDER", help="Keep results there, one file a trial."
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        shared.option("--jobs", "-j", metavar="N", min=1, help="Processes (default: a core each)."),
    ] = None,
    scheduler: Annotated[
        str | None,
        shared.option(
            "--scheduler", metavar="ADDRESS", help="Let a Dask cluster work, tcp://host:8786."
        ),
    ] = None,
    layers: Annotated[
        int | None,
        shared.option(
            "--layers", metavar="N", min=0, help="Also compare layers, on so many samples."
        ),
    ] = None,
    retry: Annotated[
        bool, shared.option("--retry", help="Run trials again whose result is an error.")
    ] = False,
    table: Annotated[
        Path | None,
        shared.option("--table", metavar="FILE", help="Also write the table, .csv or .parquet."),
    ] = None,
    report: Annotated[
        Path | None,
        shared.option(
            "--report",
            metavar="FILE",
            help="Also write one HTML file, with several models one for each (out-NAME.html).",
        ),
    ] = None,
    json: shared.Json = False,
) -> None:
    """Quantize and measure every combination of a grid; what is done is not done again.

    A trial that fails is a row with its error. Exits with 1 when all fail.
    """
    from qcore.sweep import load, sweep

    _check_outputs(table, report)
    if grid.is_dir():
        given = {"--output": folder, "--jobs": jobs, "--scheduler": scheduler, "--layers": layers,
                 "--retry": retry or None}  # fmt: skip
        if asked := [name for name, value in given.items() if value is not None]:
            raise typer.BadParameter(f"{grid} is a sweep that was run; leave out {asked[0]}")
        found = load(grid)
    else:
        if folder is None:
            raise typer.BadParameter("there is no place for results; give -o FOLDER")
        measure = {} if layers is None else {"layers": layers}
        found = sweep(
            grid, folder=folder, jobs=jobs, scheduler=scheduler, measure=measure, retry=retry
        )
    if table is not None:
        found.save(table)
    written = [table] if table is not None else []
    if report is not None:
        written += found.report(report)
    if json:
        shared.print_json(found.to_json())
    else:
        show(found, written)
    raise typer.Exit(1 if len(found.failed) == len(found.rows) else 0)


def _check_outputs(table: Path | None, report: Path | None) -> None:
    """Raises BadInput or MissingExtra before any work is done."""
    from qcore.errors import BadInput

    for path in (table, report):
        if path is not None:
            shared.check_output(path)
    if table is not None and table.suffix.lower() not in (".csv", ".parquet"):
        raise BadInput(f"{table}: a table is .csv or .parquet; name it so")
    if table is not None and table.suffix.lower() == ".parquet":
        from qcore.sweep.values import extra_parquet

        extra_parquet()
    if report is not None:
        from qcore.cli.compare import check_extra

        check_extra()


def show(found: Sweep, written: list[Path]) -> None:
    """A table for each model, its front marked, and the errors below."""
    parts: list[Any] = []
    for problem in found.problems:
        parts.append(_table(found, problem))
    errors = shared.table("model", "candidate", "error")
    for row in found.failed:
        errors.add_row(row.trial.problem, shared.cut(row.trial.candidate), row.columns()["error"])
    done = len(found.rows) - len(found.failed)
    parts += [errors, f"{done} of {len(found.rows)} trials, {found.ran} of them run now; results "
              f"in {found.folder}", ", ".join(map(str, written)) or None]  # fmt: skip
    shared.show(shared.console(), *parts)


def _table(found: Sweep, problem: str) -> Any:
    from qcore.errors import BadInput

    rows = found.of(problem)
    try:
        front = found.front(problem)
    except BadInput:
        front = ()
    paths = list(dict.fromkeys(p for r in rows for p in r.trial.measure.get("latency", ())))
    numbers = ("bytes", "SQNR_dB", "accuracy", "agreement", "float", "seconds",
               *(f"{p} ms" for p in paths))  # fmt: skip
    made = shared.table("candidate", *numbers, "front", right=numbers, title=problem)
    for row in rows:
        if row.columns()["error"]:
            continue
        cells = [_number(row, f"latency_ms {p}", ".3g") for p in paths]
        assert row.candidate is not None
        made.add_row(
            shared.cut(row.trial.candidate), _number(row, "bytes", ",.0f"),
            _number(row, "SQNR_dB", ".2f"), _number(row, "accuracy", ".2%"),
            _number(row, "agreement", ".2%"), str(row.candidate.left_float),
            _number(row, "seconds", ".2f"), *cells, "*" if row in front else "",
        )  # fmt: skip
    return made


def _number(row: Row, name: str, form: str) -> str:
    value = row.measured(name)
    return "" if value is None else format(value, form)
