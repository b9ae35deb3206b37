"""`qcore compare`: a float model against quantized ones, made on the spot or given as files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qcore.cli import shared
from qcore.cli.groups import Data, Evaluation, takes

if TYPE_CHECKING:
    from qcore.compare import Comparison

EXAMPLE = (
    "Example: qcore compare model.tflite --data train.npz --std 255 -c int8 -c int8+octav "
    "-c tflite:int8 -c mine=mine.tflite --report out.html"
)
DEFAULT = ("int8", "int16x8", "dynamic")
LAYERS, LATENCY, PROFILE = "32", "reference,optimized,xnnpack", "xnnpack"


@takes(Data, Evaluation)
def command(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL",
            help="The float model; or a comparison that --save wrote, to show it again.",
            show_default=False,
        ),
    ],
    candidate: Annotated[
        list[str] | None,
        shared.option(
            "--candidate",
            "-c",
            metavar="[NAME=]SPEC",
            help="A recipe (int8, my.toml), with schemes on top (int8+octav, int8+weight=mse, "
            "int8+percentile:share=99.9), a quantizer (tflite:int8, litert:int16x8, "
            "converter:int8), a .tflite file, or module:function(model, samples). Repeat it; "
            f"default: {', '.join(DEFAULT)}.",
        ),
    ] = None,
    plugin: shared.Plugin = None,
    layers: Annotated[
        str,
        shared.option(
            "--layers",
            metavar="N|all",
            help="Compare layers on so many samples; 0: not at all, only outputs.",
        ),
    ] = LAYERS,
    latency: Annotated[
        str,
        shared.option(
            "--latency",
            metavar="PATHS",
            help="Paths of the interpreter to time: some of reference,optimized,xnnpack, or none.",
        ),
    ] = LATENCY,
    profile: Annotated[
        str,
        shared.option(
            "--profile", metavar="PATH", help="Whose integers the candidates' are: one path."
        ),
    ] = PROFILE,
    observer: Annotated[str | None, shared.observer()] = None,
    threads: Annotated[int | None, shared.threads()] = None,
    report: Annotated[
        Path | None, shared.option("--report", metavar="FILE", help="Also write one HTML file.")
    ] = None,
    overlay: Annotated[
        Path | None,
        shared.option(
            "--overlay",
            metavar="FILE",
            help="Also write node data for Model Explorer: FILE, or with several candidates one "
            "beside it for each (out.json: out-int8.json ...).",
        ),
    ] = None,
    save: Annotated[
        Path | None,
        shared.option(
            "--save", metavar="FILE", help="Also save the comparison as JSON, to show it again."
        ),
    ] = None,
    keep: Annotated[
        Path | None,
        shared.option(
            "--keep", metavar="FOLDER", help="Keep the candidates' files there, for `qcore diff`."
        ),
    ] = None,
    markdown: Annotated[
        bool, shared.option("--markdown", help="Print Markdown instead of text.")
    ] = False,
    json: shared.Json = False,
    *,
    samples: Data,
    judged: Evaluation,
) -> None:
    """Compare quantized models with the float one: every layer, accuracy, size, latency.

    A candidate that cannot be made or run is a row with its error. Exits with 1 when none could be
    compared.
    """
    if json and markdown:
        raise typer.BadParameter("--json and --markdown both say what is printed; leave one out")
    for path in (report, overlay, save):
        if path is not None:
            shared.check_output(path)
    _check_folder(keep)
    if report is not None:
        check_extra()
    if model.suffix == ".json":
        given = [name for name, value in (
            ("--candidate", candidate), ("--plugin", plugin), ("--layers", layers != LAYERS),
            ("--latency", latency != LATENCY), ("--profile", profile != PROFILE),
            ("--observer", observer), ("--threads", threads), ("--keep", keep),
            *((name, True) for name in judged.given()),
            *((f"--{name}", True) for name in samples.given()),
        ) if value]  # fmt: skip
        if given:
            raise typer.BadParameter(f"{model} is a comparison that was made; leave out {given[0]}")
        from qcore.compare import Comparison

        found = Comparison.load(model)
    else:
        found = _compared(
            model, candidate or list(DEFAULT), plugin or [], samples, layers, latency, profile,
            observer, threads, judged,
        )  # fmt: skip
    if keep is not None:
        _keep(found, keep)
    if save is not None:
        found.save(save)
    if report is not None:
        found.report(report)
    if overlay is not None:
        found.overlay(overlay)
    if json:
        shared.print_json(found.to_json())
    elif markdown:
        typer.echo(found.to_markdown(), nl=False)
    else:
        files = [p for p in (report, save, keep) if p is not None]
        files += _overlay_files(found, overlay)
        shared.show(shared.console(), found.table(), ", ".join(map(str, files)) or None)
    failed = all(c.error for c in found.candidates)
    raise typer.Exit(1 if failed else 0)


def _compared(
    model: Path, candidates: list[str], plugins: list[str], samples: Data, layers: str,
    latency: str, profile: str, observer: str | None, threads: int | None, judged: Evaluation,
) -> Comparison:  # fmt: skip
    import qcore
    from qcore import modules
    from qcore.compare import make
    from qcore.errors import BadInput

    if samples.data is None:
        raise typer.BadParameter("there is nothing to compare on; give --data")
    for text in plugins:
        modules.plugin(text)
    named: dict[str, str] = {}
    for text in candidates:
        name, spec = make.split_name(text)
        if name in named:
            raise BadInput(f"two candidates are called {name!r}; name one: NAME={spec}")
        named[name] = spec
    loaded = shared.load(model)
    data = samples.open(loaded)
    evaluation = judged.open(samples, loaded)
    paths = () if latency == "none" else tuple(p.strip() for p in latency.split(","))
    return qcore.compare(
        model, named, data, None if evaluation is None else evaluation.labels,
        evaluation=evaluation, layers=_number(layers), latency=paths, profile=profile,
        signature=samples.signature, threads=threads, observer=observer,
    )  # fmt: skip


def check_extra() -> None:
    """Raises MissingExtra, before any work is done, where no report can be written."""
    from importlib import import_module

    from qcore.report.charts import extra

    with extra():
        for package in ("jinja2", "vl_convert"):
            import_module(package)


def _overlay_files(found: Comparison, path: Path | None) -> list[Path]:
    from qcore.report.overlay import overlay_paths

    return [] if path is None else overlay_paths(found, path)


def _number(layers: str) -> int | None:
    """--layers as `qcore.compare` takes it."""
    if layers == "all":
        return None
    if not layers.isdecimal():
        raise typer.BadParameter(f"--layers {layers}: give a whole number, or all")
    return int(layers)


def _check_folder(folder: Path | None) -> None:
    """Raises BadInput, before any work is done, where no folder can be."""
    from qcore.errors import BadInput

    if folder is None:
        return
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"{folder} is a file; give a folder to keep files in")
    if not folder.exists():
        shared.check_output(folder)


def _keep(found: Comparison, folder: Path) -> None:
    import tflite_schema as ts
    from qcore.compare.run import file_name
    from qcore.report.data import unique

    folder.mkdir(exist_ok=True)
    names = unique([file_name(name) for name in found.models])
    for name, model in zip(names, found.models.values(), strict=True):
        ts.write(model, folder / f"{name}.tflite")
