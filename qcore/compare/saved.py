"""A comparison as JSON and back, every number exactly."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from qcore import textfiles
from qcore.compare.values import (
    Bins,
    Candidate,
    Comparison,
    Interval,
    Latency,
    Layer,
    Paired,
    Seen,
)
from qcore.errors import BadInput
from qcore.metrics import Difference
from qcore.params import Affine, TensorKey
from tflite_schema import files

FORMAT, VERSION = "tflite-qcore comparison", 1


def to_json(found: Comparison) -> dict[str, Any]:
    """Plain values; infinities and NaN, which JSON has not, as texts."""
    made = {"format": FORMAT, "version": VERSION}
    for f in dataclasses.fields(Comparison):
        if f.name != "models":
            made[f.name] = _plain(getattr(found, f.name))
    return made


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    if isinstance(value, TensorKey):
        return _key(value)
    if isinstance(value, (Bins, Affine)):
        return value.to_json()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {
            _key(k) if isinstance(k, TensorKey) else str(k): _plain(v) for k, v in value.items()
        }
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    return value


def _key(key: TensorKey) -> str:
    return f"{key.subgraph}:{key.tensor}"


def _keyed(text: Any) -> TensorKey:
    subgraph, _, tensor = text.partition(":")
    return TensorKey(int(subgraph), int(tensor))


def from_json(data: Any) -> Comparison:
    """Raises BadInput for what is no comparison."""
    try:
        if data["format"] != FORMAT:
            raise ValueError(f"its format is {data['format']!r}")
        if data["version"] != VERSION:
            raise ValueError(f"its version is {data['version']!r} and {VERSION} is known")
        return Comparison(
            model=data["model"],
            truth=_candidate(data["truth"]),
            candidates=tuple(map(_candidate, data["candidates"])),
            layers=tuple(
                Layer(
                    **{
                        **layer,
                        "key": _keyed(layer["key"]),
                        "shape": tuple(layer["shape"]),
                        "values": _bins(layer["values"]),
                    }
                )
                for layer in data["layers"]
            ),
            pairs=tuple(Paired(**_numbers(pair)) for pair in data["pairs"]),
            samples=data["samples"],
            labelled=data["labelled"],
            metric=data["metric"],
            headline=data["headline"],
            versions=dict(data["versions"]),
            notes=tuple(data["notes"]),
        )
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        why = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise BadInput(f"this is no comparison ({why}); give what Comparison.save wrote") from None


def _candidate(data: Mapping[str, Any]) -> Candidate:
    return Candidate(
        **{
            **_numbers(data),
            "outputs": tuple(map(_difference, data["outputs"])),
            "accuracy": _interval(data["accuracy"]),
            "agreement": _interval(data["agreement"]),
            "latency": tuple(Latency(**_numbers(x)) for x in data["latency"]),
            "seen": {_keyed(k): _seen(v) for k, v in data["seen"].items()},
            "unmatched": {_keyed(k): v for k, v in data["unmatched"].items()},
            "notes": tuple(data["notes"]),
        }
    )


def _seen(data: Mapping[str, Any]) -> Seen:
    return Seen(
        **{
            **_numbers(data),
            "params": None if data["params"] is None else Affine.from_json(data["params"]),
            "total": _difference(data["total"]),
            "own": _difference(data["own"]),
            "inherited": _difference(data["inherited"]),
            "codes": _bins(data["codes"]),
            "reasons": tuple(data["reasons"]),
        }
    )


_TEXTS = {"made_by", "name", "error", "why", "dtype", "runtime", "path", "a", "b"}


def _numbers(data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields, with numbers that were written as texts as numbers again."""
    return {k: float(v) if isinstance(v, str) and k not in _TEXTS else v for k, v in data.items()}


def _difference(data: Any) -> Any:
    return None if data is None else Difference(**_numbers(data))


def _interval(data: Any) -> Interval | None:
    return None if data is None else Interval(**_numbers(data))


def _bins(data: Any) -> Bins | None:
    if data is None:
        return None
    return Bins(np.array(data["counts"], np.int64), np.array(data["edges"], np.float64))


def save(found: Comparison, path: str | Path) -> None:
    files.replace(path, (json.dumps(to_json(found), allow_nan=False).encode(),))


def load(path: str | Path) -> Comparison:
    try:
        data = textfiles.read(path, ".json")
    except ValueError as error:
        raise BadInput(f"{path} is not JSON: {error}; give what Comparison.save wrote") from None
    try:
        return from_json(data)
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None
