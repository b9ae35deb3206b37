"""Recipes and calibrations: a value that is shown, saved and read again as it is, or an error."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from qcore import textfiles
from qcore.calibrate.calibration import Calibration
from qcore.errors import QcoreError
from qcore.observers import find
from qcore.params import TensorKey
from qcore.recipe import Recipe, names, recipe
from qcore.tune.moments import LEVELS, Moments
from tests.fuzz import values
from tests.fuzz.target import Broken, Target, said


@cache
def folder() -> Path:
    """Where the files lie that are read; the engine removes it."""
    return Path(tempfile.mkdtemp(prefix="fuzz-"))


def _plain(value: Any) -> str:
    return json.dumps(value.to_json())


def attempt_recipe(data: bytes) -> str:
    outcomes = [_recipe(data, suffix) for suffix in (".toml", ".json")]
    return "read" if "read" in outcomes else "refused"


def _loaded(kind: Any, name: str, data: bytes) -> Any:
    """The Recipe or Calibration in a file of these bytes; None where it is refused."""
    place = folder() / name
    place.write_bytes(data)
    try:
        made = kind.load(place)
    except QcoreError as error:
        said(error)
        return None
    text = _plain(made)
    if _plain(kind.from_json(json.loads(text))) != text:
        raise Broken(f"saved and read again it is another {kind.__name__.lower()}")
    return made


def _recipe(data: bytes, suffix: str) -> str:
    made = _loaded(Recipe, f"r{suffix}", data)
    if made is None:
        return "refused"
    for operator in ("CONV_2D", "ADD"):
        made.mode(operator, ["y"])
        made.min_elements(operator, ["y"])
        for role in ("activation", "weight", "bias"):
            made.setting(operator, role, "filter", "x", constant=role == "activation")
    made.like_converter()
    return "read"


def attempt_calibration(data: bytes) -> str:
    made = _loaded(Calibration, "c.json", data)
    if made is None:
        return "refused"
    try:
        dict(made)
        repr(made)
        made._repr_html_()
        twice = made.merge(made)
        dict(twice)
        twice.save(folder() / "again.json")
        again = Calibration.load(folder() / "again.json")
    except QcoreError as error:
        said(error)
        return "read, of no use"
    if _plain(again) != _plain(twice):  # a NaN is what it was
        raise Broken("merged, saved and read again it is another calibration")
    return "read"


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """Another value inside where the text can be read, else other bytes."""
    if rng.integers(6):
        for suffix in (".json", ".toml"):
            try:
                found = textfiles.parse(data.decode(), suffix)
                made = values.changed(found, rng)
                if suffix == ".json" and not (isinstance(made, dict) and not rng.integers(8)):
                    return json.dumps(made).encode()
                return values.toml(made).encode()
            except (ValueError, TypeError, RecursionError, AttributeError, OverflowError):
                continue
    return values.text(data, rng)


def recipes() -> Iterator[bytes]:
    for name in names():
        shipped = recipe(name).to_json()
        yield values.toml(shipped).encode()
        yield json.dumps(shipped).encode()
    yield (
        b'[[rule]]\noperator = "CONV*"\nname = "re:x.*"\ndtype = "int4"\n'
        b'granularity = "blockwise:32"\nscheme = {key = "symmetric"}\n'
    )
    weight = {"num_bits": 8, "symmetric": True, "granularity": "CHANNELWISE", "dtype": "INT"}
    for bits, compute, more in (
        (8, "INTEGER", {}),
        (4, "FLOAT", {"explicit_dequantize": True}),
        (8, "INTEGER", {"activation_tensor_config": {**weight, "granularity": "TENSORWISE"}}),
    ):
        tensor = {**weight, "num_bits": bits}
        config = {"weight_tensor_config": tensor, "compute_precision": compute}
        entry = {
            "regex": ".*", "operation": "*", "algorithm_key": "min_max_uniform_quantize",
            "op_config": {**config, **more},
        }  # fmt: skip
        yield json.dumps([entry]).encode()


def calibrations() -> Iterator[bytes]:
    samples = np.random.default_rng(1).standard_normal((3, 40)).astype(np.float32)
    for key in ("minmax", "moving_average", "histogram", "tflite"):
        observer = find(key)
        states = {}
        for tensor in range(3):
            state = observer.start()
            for row in samples * np.float32(tensor):
                if observer.ordered:
                    state.append(float(row.min()), float(row.max()), row.size)
                else:
                    state.update(row, float(row.min()), float(row.max()))
            states[TensorKey(0, tensor)] = state
        made = Calibration(
            states, {k: f"t{k.tensor}" for k in states}, observer, 3,
            {"runtime": "litert", "version": "2.3", "path": "reference"}, "f" * 64, ("a note",),
        )  # fmt: skip
        yield _plain(made).encode()
        moments = {k: Moments.start(1, 3, level) for k, level in zip(states, LEVELS)}
        for each in moments.values():
            each.update([samples[None, :, :3]])
        yield _plain(replace(made, moments=moments)).encode()


RECIPE = Target(
    attempt_recipe, recipes, mutate,
    (b"[[rule]]", b'"rule"', b"int8", b"int4", b"mode", b"static", b"blockwise(", b"re:", b"nan"),
)  # fmt: skip
CALIBRATION = Target(
    attempt_calibration, calibrations, mutate,
    (b'"tensors"', b'"counts"', b'"observer"', b"NaN", b"Infinity", b"1e400", b"-0.0", b"null"),
)  # fmt: skip
