"""The folder of a sweep: what was asked, and one file for each trial that is done.

    sweep.json            the trials: what each is called and which file has its result
    trials/DIGEST.json    one result, with everything that decides it
    inputs/DIGEST.*       models and samples that were given as values

Files are written whole or not at all, and the name of a result says what it is of. So a sweep goes
on where it was, and two processes may work on one folder: at worst both make the same file.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import tflite_schema as ts
from qcore import textfiles
from qcore.errors import BadInput
from qcore.sweep.trial import Trial
from tflite_schema import files

FORMAT, RESULT, VERSION = "tflite-qcore sweep", "tflite-qcore trial", 1


class Folder:
    """A folder on disk. Making one makes no file."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if self.path.exists() and not self.path.is_dir():
            raise BadInput(f"{self.path} is a file; give a folder for the results")

    def start(self, trials: Sequence[Trial]) -> None:
        """Write down what is asked. Raises BadInput for a folder that holds something else."""
        known = self.path / "sweep.json"
        if (
            not known.exists()
            and self.path.is_dir()
            and any(
                p.name not in ("inputs", "trials") and not p.name.startswith(".")
                for p in self.path.iterdir()
            )
        ):
            raise BadInput(f"{self.path} holds something else; give a new folder, or a sweep's")
        (self.path / "trials").mkdir(parents=True, exist_ok=True)
        rows = [{**dataclasses.asdict(t), "file": f"trials/{t.digest}.json"} for t in trials]
        _write(known, {"format": FORMAT, "version": VERSION, "trials": rows})

    def trials(self) -> tuple[Trial, ...]:
        """What `start` wrote down. Raises BadInput where there is nothing of the kind."""
        path = self.path / "sweep.json"
        if not path.is_file():
            raise BadInput(f"{self.path} is no folder of a sweep: it has no sweep.json")
        data = _read(path, FORMAT)
        names = {f.name for f in dataclasses.fields(Trial)}
        try:
            rows = [{k: v for k, v in row.items() if k in names} for row in data["trials"]]
            return tuple(Trial(**{**row, "plugins": tuple(row["plugins"])}) for row in rows)
        except (LookupError, TypeError, AttributeError) as error:
            raise BadInput(f"{path} is damaged ({error}); run the sweep again") from None

    def file(self, trial: Trial) -> Path:
        return self.path / "trials" / f"{trial.digest}.json"

    def done(self, trial: Trial) -> bool:
        return self.file(trial).is_file()

    def read(self, trial: Trial) -> dict[str, Any] | None:
        """The comparison as JSON; None where there is none yet. Raises BadInput for damage, and
        for a file that is of another trial."""
        path = self.file(trial)
        if not path.is_file():
            return None
        data = _read(path, RESULT)
        key = json.loads(json.dumps(trial.key()))
        if data.get("key") != key or not isinstance(data.get("comparison"), dict):
            raise BadInput(f"{path} is not the result of this trial; remove it and run again")
        found: dict[str, Any] = data["comparison"]
        return found

    def write(self, trial: Trial, comparison: dict[str, Any]) -> None:
        head = {"format": RESULT, "version": VERSION, "key": trial.key()}
        _write(self.file(trial), {**head, "comparison": comparison})

    def keep_model(self, model: Any) -> str:
        """A model that was given as a value, as a file here; returns its path."""
        from qcore.load import load

        return self._keep(ts.to_bytes(load(model)), ".tflite")

    def keep_samples(self, samples: Any, labels: Any) -> dict[str, Any]:
        """Samples (and labels) that were given as values, as arguments of `qcore.data.open`."""
        columns = _columns(samples)
        names = ["x"] if len(columns) == 1 else [f"x{i}" for i in range(len(columns))]
        arrays: dict[str, Any] = dict(zip(names, columns))
        if labels is not None:
            arrays["y"] = np.asarray(labels)
            if len(arrays["y"]) != len(columns[0]):
                raise BadInput(
                    f"there are {len(arrays['y'])} labels and {len(columns[0])} samples; give one "
                    "label for each"
                )
        stream = io.BytesIO()
        np.savez(stream, **arrays)
        path = self._keep(stream.getvalue(), ".npz", _digest(arrays))
        return {"data": path, "x": ",".join(names)} | ({} if labels is None else {"y": "y"})

    def _keep(self, data: bytes, suffix: str, digest: str = "") -> str:
        digest = digest or hashlib.sha256(data).hexdigest()
        place = self.path.absolute() / "inputs" / f"{digest[:32]}{suffix}"
        if not place.is_file():
            place.parent.mkdir(parents=True, exist_ok=True)
            files.replace(place, (data,))
        return str(place)


def _columns(samples: Any) -> list[np.ndarray]:
    """Samples as arrays whose first axis counts them, one for each input."""
    if isinstance(samples, np.ndarray):
        return [samples]
    if not isinstance(samples, (list, tuple)) or not samples:
        raise BadInput(
            f"samples is a {type(samples).__name__}; every trial reads them again in a process of "
            "its own: give an array, a list, or what qcore.data.open takes"
        )
    rows = [s if isinstance(s, tuple) else (s,) for s in samples]
    try:
        return [np.stack([np.asarray(v) for v in column]) for column in zip(*rows, strict=True)]
    except ValueError as error:
        raise BadInput(
            f"the samples do not form arrays ({error}); give arrays of one shape, or tuples of "
            "them in the order of the inputs"
        ) from None


def _digest(arrays: dict[str, np.ndarray]) -> str:
    """Of the values: an .npz holds the time as well."""
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def identity(path: str | os.PathLike[str]) -> str:
    """sha256 of a file, or of a folder's files with their names."""
    place = Path(path)
    if place.is_file():
        return _of_files([place])
    if not place.is_dir():
        raise BadInput(f"{place}: there is no such file or folder; check the path")
    inside = sorted(p for p in place.rglob("*") if p.is_file())
    names = "\n".join(p.relative_to(place).as_posix() for p in inside)
    return _of_files(inside, names)


def _of_files(paths: Iterable[Path], start: str = "") -> str:
    digest = hashlib.sha256(start.encode(errors="surrogateescape"))
    for path in paths:
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _write(path: Path, data: Any) -> None:
    files.replace(path, (json.dumps(data, indent=1, allow_nan=False).encode(),))


def _read(path: Path, kind: str) -> dict[str, Any]:
    try:
        data = textfiles.read(path, ".json")
        if not isinstance(data, dict) or data.get("format") != kind:
            raise ValueError("its format is another one")
        if data.get("version") != VERSION:
            raise ValueError(f"its version is {data.get('version')!r} and {VERSION} is known")
    except ValueError as error:
        raise BadInput(f"{path} cannot be read ({error}); remove it and run again") from None
    return data
