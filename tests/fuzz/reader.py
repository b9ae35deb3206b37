"""The reader of .tflite files: a `Model` that can be walked, written and read again, or an error.

Whatever the bytes are, `read` gives a model or raises SchemaError. Of a model that was read every
constant, table and option can be looked at, `inspect` shows it, and it is written, pruned or not,
with constants inside or outside, to bytes that read back equal; the writer may refuse with
SchemaError, the reader not.
"""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

import tflite_schema as ts
from qcore.errors import QcoreError
from qcore.inspect import inspect
from qcore.testing import models
from qcore.testing.cases import generators, make
from tests.fuzz import damage
from tests.fuzz.target import MAX_BYTES, Broken, Target, said
from tests.schema import samples
from tflite_schema.schema import TABLES_BY_NAME


def attempt(data: bytes, parts: tuple[str, ...] = ("copy", "pruned", "outside", "twice")) -> str:
    try:
        model = ts.read(data)
    except ts.SchemaError as error:
        said(error)
        return "refused"
    _walk(model)
    for number, subgraph in enumerate(model.subgraphs):
        for index in range(len(subgraph.tensors)):
            ts.array(model, number, index)
        for operator in subgraph.operators:
            if not isinstance(operator.name, str):
                raise Broken(f"an operator's name is {operator.name!r}")
    _shown(model)
    ways = {"copy": (model, None), "pruned": (ts.prune(model), None), "outside": (model, True)}
    for what, (written, outside) in ways.items():
        if what in parts and not _again(what, written, outside, "twice" in parts):
            return f"read, {what} not written"
    return "read"


def quick(data: bytes) -> str:
    """Every input is written in one of the ways, every eighth twice: writing takes the time."""
    number = zlib.crc32(data)
    part = ("copy", "copy", "pruned", "outside")[number % 4]
    return attempt(data, (part, "twice") if number % 32 < 4 else (part,))


def _walk(value: Any) -> None:
    """Look at everything in it."""
    if isinstance(value, np.ndarray):
        value.sum()
    elif isinstance(value, ts.Options):
        for name in TABLES_BY_NAME[value.table].by_name:
            _walk(value.get(name))
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            _walk(getattr(value, field.name))
    elif isinstance(value, tuple) and not isinstance(next(iter(value), None), int):
        for item in value:
            _walk(item)


def _shown(model: ts.Model) -> None:
    try:
        seen = inspect(model)
    except (QcoreError, ts.SchemaError) as error:
        said(error)
        return
    json.dumps(seen.to_json())
    seen.operator_counts()


def _again(what: str, model: ts.Model, outside: bool | None, twice: bool) -> bool:
    """Whether the writer takes the model. Raises Broken if what it wrote is another one."""
    stream = io.BytesIO()
    try:
        ts.write(model, stream, outside=outside)
    except ts.SchemaError as error:
        said(error)
        return False
    written = stream.getvalue()
    try:
        back = ts.read(written)
    except ts.SchemaError as error:
        raise Broken(f"{what}: what was written is refused: {error}") from error
    if back != model:
        raise Broken(f"{what}: read again it is another model")
    if twice:
        stream = io.BytesIO()
        ts.write(back, stream, outside=outside)
        if stream.getvalue() != written:
            raise Broken(f"{what}: written twice it is not the same bytes")
    return True


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    if not rng.integers(32):
        made = _made(rng)
        if made is not None:
            return made
    return damage.damaged(data, rng)


def _made(rng: np.random.Generator) -> bytes | None:
    """A small model around one table, some of its fields set; None if that is no valid model."""
    names = list(samples.PLACES)
    table = names[int(rng.integers(len(names)))]
    try:
        return ts.to_bytes(_around(table, lambda: bool(rng.integers(2))))
    except ts.SchemaError:
        return None


def _around(table: str, chosen: Any) -> ts.Model:
    value = samples.empty(table)
    for field in TABLES_BY_NAME[table].fields:
        if (table, field.name) not in samples.DERIVED and chosen():
            given = samples.value_of(field)
            name = samples.RENAMED.get(field.name, field.name)
            if isinstance(given, list):
                given = np.asarray(given, field.dtype)
            value = value.replace(**{name: given})
    model: ts.Model = samples.PLACES[table].make(value)
    return model


def archive(wide: bool = False, comment: bytes = b"") -> bytes:
    """A zip archive of two files; wide: with the records of zip64."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as made:
        made.comment = comment
        for name in ("labels.txt", "more/vocab.txt"):
            with made.open(name, "w", force_zip64=wide) as member:
                member.write(b"one\ntwo\n")
    data = stream.getvalue()
    if not wide:
        return data
    at = data.rindex(b"PK\5\6")
    count = int.from_bytes(data[at + 10 : at + 12], "little")
    size, start = (int.from_bytes(data[at + i : at + i + 4], "little") for i in (12, 16))
    numbers = b"".join(n.to_bytes(8, "little") for n in (count, count, size, start))
    record = b"PK\6\6" + (44).to_bytes(8, "little") + bytes(12) + numbers
    locator = b"PK\6\7" + bytes(4) + at.to_bytes(8, "little") + (1).to_bytes(4, "little")
    return data[:at] + record + locator + data[at:]


def seeds() -> Iterator[bytes]:
    """A model for each table of the schema, one for each operator, and other layouts of one."""
    for table in samples.PLACES:
        try:
            yield ts.to_bytes(_around(table, lambda: True))
        except ts.SchemaError:
            yield ts.to_bytes(samples.PLACES[table].make(samples.empty(table)))
    seen: set[str] = set()
    for operator, form in generators():
        if operator in seen:
            continue
        data = models.to_bytes(make(operator, form, 1, 24))
        if len(data) <= MAX_BYTES:
            seen.add(operator)
            yield data
    model = models.to_model(make("FULLY_CONNECTED", "int8", 1, 24))
    stream = io.BytesIO()
    ts.write(model, stream, outside=True)
    yield stream.getvalue()
    for appended in (archive(), archive(wide=True), archive(comment=b"note"), b"\1text\0\0"):
        yield ts.to_bytes(model.replace(appended=np.frombuffer(appended, np.uint8)))


WORDS = (
    b"TFL3", b"PK\3\4", b"PK\1\2", b"PK\5\6", b"PK\6\6", b"PK\6\7",
    b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\xff\xff\xff\xff", b"\xff\xff", b"\0\x80",
    b"\xfc\xff\xff\xff", b"\4\0\4\0", b"\x10\0\0\0",
)  # fmt: skip
TARGET = Target(attempt, seeds, mutate, WORDS, quick)
