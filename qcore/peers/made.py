"""What every peer gives: a file, and who made it in which version."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from qcore.errors import BadRecipe

TENSORFLOW = ("tensorflow", "tensorflow-cpu", "tensorflow-macos", "tf-nightly", "tf-nightly-cpu")


@dataclass(frozen=True)
class Made:
    """data: the .tflite.  who: "LiteRT's quantizer".  package, version: what it came in.

    Goes wherever a model goes.
    """

    data: bytes
    who: str
    package: str
    version: str

    def __repr__(self) -> str:
        return f"Made({len(self.data):,} bytes by {self.by})"

    @property
    def by(self) -> str:
        """Who made it, as one text: "LiteRT's quantizer, litert-quantizer 0.11.0"."""
        return f"{self.who}, {self.package} {self.version}"

    @cached_property
    def model(self) -> Any:
        """The file as a frozen Model."""
        import tflite_schema as ts

        return ts.read(self.data)

    def to_bytes(self) -> bytes:
        return self.data

    def save(self, path: str | Path) -> None:
        """Writes the .tflite; an existing file is replaced only once the new one is whole."""
        from tflite_schema import files

        files.replace(path, [self.data])


def made(data: bytes, who: str, *packages: str) -> Made:
    """`data` with the version of the first of `packages` that is installed."""
    from importlib.metadata import PackageNotFoundError, version

    for package in packages:
        try:
            return Made(data, who, package, version(package))
        except PackageNotFoundError:
            continue
    return Made(data, who, packages[0], "of unknown version")


def no_counterpart(who: str, recipe: Any, known: Iterable[str]) -> NoReturn:
    """Raises BadRecipe for a recipe that a peer has nothing for."""
    raise BadRecipe(f"{who} has no counterpart of recipe {recipe!r}; use one of {', '.join(known)}")


def named(model: Any, samples: Iterable[Any]) -> Iterator[tuple[str | None, dict[str, np.ndarray]]]:
    """Each sample as its signature and its arrays by input name.

    The signature is None in a model that has one at most. The names are in the order of the
    subgraph's inputs. samples: as `qcore.binding` takes them.
    """
    from qcore.binding import Binder

    binder = Binder(model)
    for bound in binder.all(samples):
        entry = binder.entries[bound.entry]
        signature = entry.name if len(binder.entries) > 1 else None
        yield signature, {i.name: a for i, a in zip(entry.inputs, bound.arrays, strict=True)}
