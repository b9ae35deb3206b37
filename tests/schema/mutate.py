"""Read damaged copies of real models: each must load or raise MalformedModel, nothing else.

    python -m tests.schema.mutate --count 100000 [--seed 0] [--write]

Damage: bytes changed (at random, to extreme values, or only where the tables are), cut, spliced,
moved, and offsets pointed somewhere else. What loads is walked, and with --write also written and
read again. Each file is read in this process; a watchdog ends it if one takes longer than LIMIT_S,
and the peak memory is checked against LIMIT_MB above what the process had before the first file.
"""

from __future__ import annotations

import argparse
import faulthandler
import io
import resource
import struct
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Callable

import numpy as np

import tflite_schema as ts
from tests import corpus

MODELS = (
    "fmnist_dscnn_f32",
    "dtln1_lstm_int8",
    "hand_recrop_int8",
    "mlperf_kws_dscnn_f32",
    "basic_pitch_nmp_f32",
)
VARIANTS = ("outside", "archive")
"""The first model once more: with its constants after the flatbuffer, and with a zip appended."""
LIMIT_S = 20
LIMIT_MB = 200
EXTREMES = (0, 1, 2, 4, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def _flip(data: bytearray, rng: np.random.Generator, end: int) -> None:
    for _ in range(int(rng.integers(1, 9))):
        data[int(rng.integers(end))] = int(rng.integers(256))


def _bit(data: bytearray, rng: np.random.Generator, end: int) -> None:
    data[int(rng.integers(end))] ^= 1 << int(rng.integers(8))


def _extreme(data: bytearray, rng: np.random.Generator, end: int) -> None:
    at = int(rng.integers(max(1, end - 4))) & ~(3 if rng.integers(4) else 0)
    if at + 4 <= len(data):
        struct.pack_into("<I", data, at, EXTREMES[int(rng.integers(len(EXTREMES)))])


def _point(data: bytearray, rng: np.random.Generator, end: int) -> None:
    at = int(rng.integers(max(1, end - 4))) & ~3
    if at + 4 <= len(data):
        value = int(rng.integers(len(data) + 16)) - (at if rng.integers(2) else 0)
        struct.pack_into("<I", data, at, value & 0xFFFFFFFF)


def _cut(data: bytearray, rng: np.random.Generator, end: int) -> None:
    del data[int(rng.integers(len(data) if rng.integers(2) else end)) :]


def _drop(data: bytearray, rng: np.random.Generator, end: int) -> None:
    at = int(rng.integers(end))
    del data[at : at + int(rng.integers(1, 64))]


def _splice(data: bytearray, rng: np.random.Generator, end: int) -> None:
    start, at = int(rng.integers(end)), int(rng.integers(end))
    length = int(rng.integers(1, 256))
    data[at : at + (length if rng.integers(8) else 0)] = data[start : start + length]


DAMAGE: tuple[Callable[[bytearray, np.random.Generator, int], None], ...] = (
    _flip, _bit, _bit, _bit, _extreme, _extreme, _point, _point, _cut, _drop, _splice, _splice,
)  # fmt: skip


def damaged(data: bytes, regions: tuple[tuple[int, int], ...], seed: int) -> bytes:
    """A copy with the damage that the seed stands for. regions: (start, end) of table bytes."""
    rng = np.random.default_rng(seed)
    copy = bytearray(data)
    for _ in range(int(rng.integers(1, 3))):
        start, end = regions[int(rng.integers(len(regions)))]
        # Damage works on a prefix; a region deep in the file is turned to the front for it.
        tail = copy[:start]
        del copy[:start]
        if len(copy) > 8:
            DAMAGE[int(rng.integers(len(DAMAGE)))](copy, rng, min(len(copy), end - start))
        copy[:0] = tail
    return bytes(copy)


def regions_of(data: bytes) -> tuple[tuple[int, int], ...]:
    """The stretches of a file that hold tables: what lies between its constants."""
    model = ts.read(data)
    origin = np.frombuffer(data, np.uint8).__array_interface__["data"][0]
    spans = sorted(
        (b.data.__array_interface__["data"][0] - origin, b.nbytes)  # type: ignore[union-attr]
        for b in model.buffers
        if b.nbytes > 64
    )
    found, at = [(0, 64)], 0
    for start, size in spans:
        if start - at > 64:
            found.append((at, start))
        at = start + size
    if len(data) - at > 64:
        found.append((at, len(data)))
    return tuple(found)


def source(name: str) -> bytes:
    """The undamaged bytes of one of MODELS or VARIANTS."""
    data = corpus.entry(MODELS[0] if name in VARIANTS else name).path.read_bytes()
    stream = io.BytesIO(data if name == "archive" else b"")
    if name == "archive":
        with zipfile.ZipFile(stream, "a") as archive:
            for number in range(3):
                archive.writestr(f"{number}.txt", "labels" * number)
        data = stream.getvalue()
    elif name == "outside":
        ts.write(ts.read(data), stream, outside=True)
        data = stream.getvalue()
    return data


def attempt(data: bytes, write: bool) -> str:
    """ "loaded", or the first words of the error."""
    try:
        model = ts.read(data)
    except ts.MalformedModel as error:
        return f"{type(error).__name__}: {error.what}"
    for number, subgraph in enumerate(model.subgraphs):
        for index in range(len(subgraph.tensors)):
            ts.array(model, number, index)
        for operator in subgraph.operators:
            assert isinstance(operator.name, str)
    pruned = ts.prune(model)
    if write:
        again = ts.to_bytes(model)
        assert ts.read(again) == model, "written and read again it is another model"
        assert ts.to_bytes(ts.read(again)) == again, "written twice it is not the same bytes"
        ts.to_bytes(pruned)
    return "loaded"


def run(count: int, seed: int = 0, write: bool = False, log: bool = False) -> Counter[str]:
    """How often each result came up; raises for any other error, naming model and seed."""
    sources = []
    for name in (*MODELS, *VARIANTS):
        data = source(name)
        sources.append((name, data, regions_of(data)))
    results: Counter[str] = Counter()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.monotonic()
    for number in range(count):
        name, data, regions = sources[number % len(sources)]
        faulthandler.dump_traceback_later(LIMIT_S, exit=True)
        try:
            result = attempt(damaged(data, regions, seed + number), write)
        except Exception as error:
            raise AssertionError(
                f"{name} with damage {seed + number}: {type(error).__name__}: {error}; repeat with"
                f" python -m tests.schema.mutate --only {seed + number} --model {name}"
            ) from error
        finally:
            faulthandler.cancel_dump_traceback_later()
        used = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        assert used < LIMIT_MB, f"{name} with damage {seed + number}: {used:.0f} MB"
        results[result] += 1
        if log and number % 10000 == 9999:
            rate = (number + 1) / (time.monotonic() - began)
            print(
                f"{number + 1}: {rate:.0f}/s, {results['loaded']} loaded, {used:.0f} MB", flush=True
            )
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="also write and read what loads")
    parser.add_argument("--only", type=int, help="one damage, with --model")
    parser.add_argument("--model", default=MODELS[0])
    arguments = parser.parse_args()
    if not corpus.available():
        sys.exit(corpus.MISSING)
    if arguments.only is not None:
        data = source(arguments.model)
        print(attempt(damaged(data, regions_of(data), arguments.only), True))
        return
    results = run(arguments.count, arguments.seed, arguments.write, log=True)
    classes: Counter[str] = Counter()
    for result, times in results.items():
        classes[" ".join(w for w in result.split() if not any(c.isdigit() for c in w))] += times
    for result, times in classes.most_common():
        print(f"{times:8} {result[:110]}")


if __name__ == "__main__":
    main()
