"""Groups of options that several commands take: samples, and how ranges come from them.

A group is a frozen dataclass; `takes(Group)` gives a command the group's fields as options and the
group as one value; `takes(One, Other)` two of them.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from qcore.cli import shared
from qcore.cli.shared import option

if TYPE_CHECKING:
    import tflite_schema as ts


def takes(*groups: type) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorate a command whose last parameters are values of `groups`, in their order."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        parameters = list(inspect.signature(command, eval_str=True).parameters.values())
        own, last = parameters[: -len(groups)], parameters[-len(groups) :]
        options = [
            inspect.Parameter(
                f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=hints[f.name]
            )
            for group in groups
            for hints in (get_type_hints(group, include_extras=True),)
            for f in dataclasses.fields(group)
        ]
        own = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]

        @functools.wraps(command)
        def call(**given: Any) -> None:
            values = {
                p.name: group(**{f.name: given.pop(f.name) for f in dataclasses.fields(group)})
                for p, group in zip(last, groups, strict=True)
            }
            command(**given, **values)

        del call.__wrapped__  # typer is to see the options, not this
        call.__signature__ = inspect.Signature([*own, *options])  # type: ignore[attr-defined]
        call.__annotations__ = {p.name: p.annotation for p in (*own, *options)}
        return call

    return decorate


def _data(*names: str, **more: Any) -> Any:
    return option(*names, rich_help_panel="Data", **more)


Text = str | None


@dataclass(frozen=True)
class Data:
    """Where samples come from; None where not given."""

    data: Annotated[
        Text,
        _data(
            "--data",
            metavar="DATA",
            help="Samples: .npz, .npy, a folder of images, or module:function that yields them.",
        ),
    ] = None
    x: Annotated[
        Text, _data("--x", metavar="NAME", help="Array of the .npz (default x_calib, else x).")
    ] = None
    mean: Annotated[
        Text, _data("--mean", metavar="M[,M,M]", help="Subtracted from arrays and images.")
    ] = None
    std: Annotated[
        Text, _data("--std", metavar="S[,S,S]", help="What arrays and images are divided by.")
    ] = None
    size: Annotated[
        Text, _data("--size", metavar="N|HxW", help="Images: this size (default: the model's).")
    ] = None
    crop: Annotated[
        float | None,
        _data("--crop", metavar="SHARE", help="Images: central square, share of the short side."),
    ] = None
    resample: Annotated[
        Text, _data("--resample", metavar="NAME", help="Images: bilinear, bicubic, nearest, ...")
    ] = None
    limit: Annotated[
        int | None, _data("--limit", metavar="N", min=1, help="Use at most this many samples.")
    ] = None
    signature: Annotated[
        Text, _data("--signature", metavar="NAME", help="Signature that the samples are for.")
    ] = None

    def open(self, model: ts.Model, **more: Any) -> Any:
        """The samples, read as they are used; None without --data.

        more: further arguments of `qcore.data.open` (part, y). A folder of images without a size
        gets the height and width that the model's input has.
        """
        how = self._given("x", "mean", "std", "size", "crop", "resample", "limit")
        if self.data is None:
            if how:
                raise typer.BadParameter(f"--{next(iter(how))} describes data; give --data too")
            return None
        from qcore import data

        how |= {name: _parsed(name, how[name]) for name in ("size", "mean", "std") if name in how}
        if "size" not in how and Path(self.data).is_dir():
            how["size"] = _input_size(model)
        return data.open(self.data, **how, **more)

    def given(self) -> list[str]:
        """Names of the options that were given."""
        return list(self._given(*(f.name for f in dataclasses.fields(self))))

    def _given(self, *names: str) -> dict[str, Any]:
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


def _evaluation(*names: str, **more: Any) -> Any:
    return option(*names, rich_help_panel="Evaluation", **more)


@dataclass(frozen=True)
class Evaluation:
    """Samples to measure on, with labels where there are any; None where not given."""

    eval: Annotated[
        Text,
        _evaluation(
            "--eval",
            metavar="DATA",
            help="Samples for accuracy and agreement (default: x_test, else x, of the .npz of "
            "--data, else --data).",
        ),
    ] = None
    eval_x: Annotated[
        Text,
        _evaluation("--eval-x", metavar="NAME", help="Array of the .npz (default x_test, else x)."),
    ] = None
    y: Annotated[
        Text,
        _evaluation("--y", metavar="NAME", help="Labels in the .npz (default y_test, else y)."),
    ] = None
    eval_limit: Annotated[
        int | None,
        _evaluation("--eval-limit", metavar="N", min=1, help="Use at most this many of them."),
    ] = None

    def given(self) -> list[str]:
        """The options that were given, as they are written."""
        names = (f.name for f in dataclasses.fields(self) if getattr(self, f.name) is not None)
        return [f"--{name.replace('_', '-')}" for name in names]

    def open(self, samples: Data, model: ts.Model) -> Any:
        """Samples with labels where there are any; None for those of --data, which is given."""
        from qcore.errors import BadInput

        source = samples.data if self.eval is None else self.eval
        assert source is not None
        if not self.given() and Path(source).suffix != ".npz":
            return None
        how = dataclasses.replace(samples, data=source, x=self.eval_x, limit=self.eval_limit)
        try:
            return how.open(model, part="evaluation", y=self.y)
        except BadInput:
            if self.given():
                raise
            return None  # the archive has other arrays only, and nobody named one


@dataclass(frozen=True)
class Interpreted(Data):
    """Samples for the official interpreter, and what its process may take; None where not given."""

    time_limit: Annotated[
        float | None,
        _data(
            "--time-limit",
            metavar="SECONDS",
            min=0.1,
            help="End the interpreter's process if an answer takes longer.",
        ),
    ] = None
    memory_limit: Annotated[
        int | None,
        _data(
            "--memory-limit",
            metavar="MB",
            min=1,
            help="End the interpreter's process if it takes more memory.",
        ),
    ] = None

    def limits(self) -> dict[str, Any]:
        """time_limit, memory_limit in bytes, where given."""
        found = self._given("time_limit", "memory_limit")
        return found | {k: v * 10**6 for k, v in found.items() if k == "memory_limit"}


@dataclass(frozen=True)
class Samples(Interpreted):
    """Samples to calibrate on, and how the interpreter is run on them; None where not given."""

    observer: Annotated[Text, shared.observer(rich_help_panel="Data")] = None
    runtime: Annotated[
        Text, _data("--runtime", metavar="NAME", help="litert (default) or tensorflow.")
    ] = None
    nonfinite: Annotated[
        Text,
        _data("--nonfinite", metavar="WHAT", help="NaN, infinity: error (default) or skip."),
    ] = None
    state: Annotated[
        Text,
        _data("--state", metavar="WHAT", help="State between samples: keep (default) or reset."),
    ] = None
    moments: Annotated[
        Text,
        _data(
            "--moments",
            metavar="LEVEL",
            help="Observe for tuned roundings too: mean or covariance (default: as they need).",
        ),
    ] = None
    threads: Annotated[int | None, shared.threads(rich_help_panel="Data")] = None

    def options(self) -> dict[str, Any]:
        """The options of `qcore.calibrate` that were given."""
        names = ("observer", "runtime", "signature", "nonfinite", "state", "moments", "threads")
        return self._given(*names) | self.limits()


def _parsed(name: str, text: str) -> Any:
    """--size as N or (H, W), --mean and --std as one number or a tuple of them."""
    try:
        if name == "size":
            sides = tuple(int(side) for side in text.lower().split("x"))
            if len(sides) > 2:
                raise ValueError
            return sides if len(sides) == 2 else sides[0]
        values = tuple(float(part) for part in text.split(","))
        return values if len(values) > 1 else values[0]
    except ValueError:
        wanted = "N or HxW" if name == "size" else "a number, or one for each channel: 1,2,3"
        raise typer.BadParameter(f"--{name} {text}: give {wanted}") from None


def _input_size(model: ts.Model) -> tuple[int, int] | None:
    """Height and width of the model's only image input; None where there is no such thing."""
    graph = model.subgraphs[0]
    shapes = [graph.tensors[i].shape_signature or graph.tensors[i].shape for i in graph.inputs]
    images = [s for s in shapes if s is not None and len(s) == 4 and min(s[1:3]) > 0]
    return (int(images[0][1]), int(images[0][2])) if len(images) == 1 else None
