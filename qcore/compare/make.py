"""Candidates: whatever stands for a quantized model, made into one, with who made it and how long
that took.

As text a candidate is a spec:

    int8                      one of our recipes, or a .toml or .json file with one
    int8+octav                a recipe with a scheme for activations, and for weights where it can
                              be symmetric
    int8+weight=mse           ... for one operand
    int8+percentile:share=99.9     ... with fields of the scheme
    tflite:int8               TFLite's quantizer, litert:... LiteRT's, converter:... TFLiteConverter
    mine.tflite               a finished file
    module:function           function(model, samples) of a module, which gives any of the above
"""

from __future__ import annotations

import inspect
import os
import pickle
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tflite_schema as ts
from kernels.errors import KernelError
from qcore import modules, peers
from qcore.binding import check_iterable
from qcore.errors import BadInput, BadRecipe, QcoreError, failure
from qcore.load import load
from qcore.prepare import prepare
from qcore.quantize import Quantized, calibrated_with, quantize
from qcore.recipe import Recipe, recipe
from qcore.schemes.base import Scheme
from tflite_schema.errors import SchemaError

_NAMED = re.compile(r"^([^+:/=]+)=(.+)$")
_FUNCTION = re.compile(r"^\w+(\.\w+)*:\w+$")


class Samples:
    """Samples that can be read as often as asked, one at a time.

    What is an iterator is written to a temporary file while it is read for the first time.
    """

    def __init__(self, samples: Any) -> None:
        if isinstance(samples, Mapping):
            for name, part in samples.items():
                if isinstance(part, (str, bytes)) or not isinstance(part, Iterable):
                    raise BadInput(
                        f"the samples of signature {name!r} are a {type(part).__name__}; give an "
                        "iterable"
                    )
            signed = _Signed(samples)
            once = any(iter(part) is part for part in samples.values())
            samples = iter(signed) if once else signed
        check_iterable(samples)
        self._samples = samples
        self._file: Any = None
        if iter(samples) is samples:
            self._file = tempfile.TemporaryFile(prefix="qcore-")
            for sample in samples:
                pickle.dump(sample, self._file, protocol=5)

    def __iter__(self) -> Iterator[Any]:
        if self._file is None:
            yield from self._samples
            return
        at = 0
        while True:
            self._file.seek(at)  # several readers may take turns
            try:
                sample = pickle.load(self._file)
            except EOFError:
                return
            at = self._file.tell()
            yield sample

    def __len__(self) -> int:
        """Raises TypeError where it is not known before reading them."""
        if not isinstance(self._samples, Sized):
            raise TypeError("the number of samples is not known before reading them")
        return len(self._samples)

    def first(self, count: int | None) -> Iterator[Any]:
        """At most so many."""
        for number, sample in enumerate(self):
            if count is not None and number >= count:
                return
            yield sample


@dataclass(frozen=True)
class _Signed:
    """Samples by signature, as pairs of it and a sample."""

    parts: Mapping[str, Any]

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return ((name, sample) for name, part in self.parts.items() for sample in part)

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts.values())


@dataclass(frozen=True)
class Made:
    """A candidate as a model. bytes: of the file.  seconds: to make it, None where it was there."""

    model: ts.Model
    made_by: str
    bytes: int
    seconds: float | None = None
    notes: tuple[str, ...] = ()


class Maker:
    """Makes candidates of one float model from the same samples; ranges are observed once."""

    def __init__(self, source: Any, samples: Samples, **calibration: Any) -> None:
        """source: the model as it was given.  calibration: options of `qcore.calibrate`."""
        self.source = source
        self.model = load(source)
        self.samples = samples
        self.options = {k: v for k, v in calibration.items() if v is not None}
        self._ranges: dict[str, tuple[Any, float]] = {}  # by observer and moments

    def make(self, given: Any) -> Made:
        """given: a spec, Model, path, bytes, quantized result, Recipe, Scheme, or a function of
        nothing or of (model, samples) that gives one. Raises whatever making it raises."""
        start = time.perf_counter()
        if isinstance(given, str) and not is_file(given):
            return self._of_spec(given)
        if isinstance(given, Scheme):
            given = with_scheme(recipe("int8"), given)
        if isinstance(given, Recipe):
            return self._ours(given)
        if callable(given) and not hasattr(given, "to_bytes"):
            made = self.make(self._called(given))
            seconds = made.seconds
            if seconds is None:
                seconds = time.perf_counter() - start
            return Made(made.model, made.made_by, made.bytes, seconds, made.notes)
        return _finished(given)

    def _called(self, function: Callable[..., Any]) -> Any:
        """What a user's function gives. Raises BadInput with what it raised."""
        arguments = self._arguments(function)
        try:
            return function(*arguments)
        except (QcoreError, KernelError, SchemaError, OSError, MemoryError):
            raise
        except Exception as error:
            name = getattr(function, "__name__", "the function")
            raise BadInput(f"{name} failed with {failure(error)}; mend it") from error

    def _arguments(self, function: Callable[..., Any]) -> tuple[Any, ...]:
        """() or (model, samples), as the function asks."""
        try:
            parameters = inspect.signature(function).parameters.values()
        except (TypeError, ValueError):
            return ()
        needed = [p for p in parameters if p.default is p.empty
                  and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]  # fmt: skip
        if len(needed) not in (0, 2):
            raise BadInput(
                f"{getattr(function, '__name__', 'the function')} takes {len(needed)} arguments; "
                "a candidate's function takes none, or the model and the samples"
            )
        return (self.model, self.samples) if needed else ()

    def _of_spec(self, spec: str) -> Made:
        head, _, rest = spec.partition(":")
        if head in peers.QUANTIZERS:
            return self._peer(head, rest or "int8")
        if is_function(spec):
            return self.make(function(spec))
        return self._ours(parse(spec), spec)

    def _peer(self, name: str, asked: str) -> Made:
        start = time.perf_counter()
        source = self.source if name == "converter" else self.model
        made = peers.make(name, source, self.samples, asked)
        seconds = time.perf_counter() - start
        return Made(made.model, made.by, len(made.data), seconds)

    def _ours(self, wanted: Recipe, name: str = "") -> Made:
        import qcore

        ranges, before = None, 0.0
        prepared = prepare(self.model, wanted)
        options = calibrated_with(prepared, wanted, self.options)
        if options is not None:
            ranges, before = self._calibrated(options)
        start = time.perf_counter()
        quantized = quantize(self.model, wanted, ranges)
        data = quantized.to_bytes()
        seconds = before + time.perf_counter() - start
        by = f"qcore {qcore.__version__}, recipe {name or wanted.name}"
        return Made(ts.read(data), by, len(data), seconds, quantized.plan.notes)

    def _calibrated(self, options: dict[str, Any]) -> tuple[Any, float]:
        """The ranges, and how long it took to observe them; every candidate is charged with it."""
        from qcore.calibrate import calibrate

        key = str((options["observer"].to_json(), options["moments"]))
        if key not in self._ranges:
            start = time.perf_counter()
            found = calibrate(self.model, self.samples, **options)
            self._ranges[key] = found, time.perf_counter() - start
        return self._ranges[key]


def _finished(given: Any) -> Made:
    """A model that is there already."""
    by = ""
    if isinstance(given, Quantized):
        import qcore

        by = f"qcore {qcore.__version__}, recipe {given.plan.recipe}"
    elif isinstance(getattr(given, "by", None), str):
        by = given.by
    if isinstance(given, (str, os.PathLike)) and Path(given).is_file():
        model, size = load(given), Path(given).stat().st_size
    else:
        data = given if isinstance(given, (bytes, bytearray)) else None
        if data is None:
            source = load(given)
            data = ts.to_bytes(source)
        model, size = ts.read(bytes(data)), len(data)
    if not by:
        said = (model.description or "").strip().rstrip(".")
        by = f"{given}" if isinstance(given, (str, os.PathLike)) else "given as a model"
        by += f" ({said})" if said else ""
    return Made(model, by, size)


def is_file(text: str) -> bool:
    """Whether a spec is a finished model's file."""
    path = Path(text)
    return path.suffix == ".tflite" or (path.suffix not in (".toml", ".json") and path.is_file())


def is_function(spec: str) -> bool:
    """Whether a spec is module:function, and no quantizer's."""
    return spec.partition(":")[0] not in peers.QUANTIZERS and _FUNCTION.match(spec) is not None


def split_name(text: str) -> tuple[str, str]:
    """NAME=SPEC as (NAME, SPEC); a spec without a name is its own, a file is called by its stem."""
    found = _NAMED.match(text)
    if found:
        return found[1].strip(), found[2].strip()
    return (Path(text).stem if is_file(text) else text), text


def parse(spec: str) -> Recipe:
    """RECIPE[+[OPERAND=]SCHEME[:FIELD=VALUE ...]]... as a recipe. Raises BadRecipe."""
    base, *more = spec.split("+")
    try:
        made = recipe(base)
    except BadRecipe as error:
        if Path(base).suffix in (".toml", ".json"):
            raise
        raise BadRecipe(
            f"candidate {spec!r}: {error}; or give a .tflite file, or "
            f"{', '.join(f'{name}:RECIPE' for name in peers.QUANTIZERS)}, or module:function"
        ) from None
    for part in more:
        made = with_part(made, part)
    return made.replace(name=spec) if more else made


def with_part(made: Recipe, part: str) -> Recipe:
    """The recipe with [OPERAND=]SCHEME[:FIELD=VALUE ...]. Raises BadRecipe."""
    head, *fields = part.split(":")
    operand, equals, key = head.rpartition("=")
    scheme = Scheme.from_json({"key": key, **dict(_field(part, text) for text in fields)})
    try:
        return with_scheme(made, scheme, (operand,) if equals else None)
    except BadRecipe as error:
        raise BadRecipe(f"candidate part {part!r}: {error}") from None


def with_scheme(made: Recipe, scheme: Scheme, operands: Iterable[str] | None = None) -> Recipe:
    """The recipe with a scheme for some operands.

    None: for activations, and for weights unless the scheme is never symmetric, since no kernel
    takes weights with zero points.
    """
    if operands is None:
        operands = ("activation",) if scheme.symmetric is False else ("activation", "weight")
    for operand in operands:
        made = made.with_rule(operand=operand, scheme=scheme)
    return made.replace(name=f"{made.name}+{scheme.key}")


def _field(spec: str, text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise BadRecipe(f"candidate {spec!r}: write {text!r} as FIELD=VALUE")
    for kind in (int, float):
        try:
            return name, kind(value)
        except ValueError:
            continue
    return name, {"true": True, "false": False}.get(value, value)


def function(spec: str) -> Any:
    """What "module:name" names. Raises BadInput, also with what was raised in the module."""
    try:
        return modules.function(spec)
    except BadInput:
        raise
    except Exception as error:
        raise BadInput(f"{spec} failed with {failure(error)}; mend it") from error
