"""Inputs that showed a defect once, and the harness of the fuzzing: what it must see, it sees."""

from __future__ import annotations

import io

import numpy as np
import pytest

import tflite_schema as ts
from qcore.calibrate.calibration import Calibration
from qcore.recipe import Recipe
from tests.fuzz import arrays, damage, reader, texts, values
from tests.fuzz import target as kit
from tests.fuzz.shrink import kind, smaller
from tests.schema.samples import base
from tflite_schema import codec

REGRESSIONS = [(name, file) for name in kit.MODULES for file in kit.regressions(name)]
EXAMPLE = ts.to_bytes(base(metadata=(ts.Metadata("m", 1),)))


@pytest.mark.parametrize(
    ("name", "file"), REGRESSIONS, ids=[f"{name}-{file.stem}" for name, file in REGRESSIONS]
)
def test_regression(name, file):
    kit.check(kit.load(name), file.read_bytes())


def test_there_are_regressions_and_they_are_small():
    assert REGRESSIONS
    assert sum(file.stat().st_size for _, file in REGRESSIONS) < 100_000


@pytest.mark.parametrize("name", kit.MODULES)
def test_seeds_are_read_and_changed_ones_are_tried(name):
    """A few hundred inputs: some are still read, some refused, and no invariant is broken."""
    target, outcomes = kit.load(name), []
    seeds = list(target.seeds())
    rng = np.random.default_rng(1)
    for data in seeds[:: max(1, len(seeds) // 40)]:
        assert 0 < len(data) <= kit.MAX_BYTES
        assert kit.check(target, data)[0].startswith("read")
        for _ in range(5):
            outcomes.append(kit.check(target, target.mutate(data, rng))[0])
    read = sum(outcome.startswith("read") for outcome in outcomes)
    assert 0 < read < len(outcomes)


@pytest.mark.parametrize("module", [reader, texts, arrays])
def test_changes_depend_on_the_seed_alone(module):
    make = module.mutate
    data = next(iter((getattr(module, "TARGET", None) or texts.RECIPE).seeds()))
    one, two = ([make(data, np.random.default_rng(s)) for s in range(20)] for _ in range(2))
    assert one == two and len(set(one)) > 10


def fails(name: str, data: bytes) -> str:
    with pytest.raises(Exception) as caught:
        kit.check(kit.load(name), data)
    return f"{kind(caught.value)}: {caught.value}"


def test_another_error_of_the_reader_is_seen(monkeypatch):
    def broken(self, table):
        raise IndexError("list index out of range")

    monkeypatch.setattr(codec.Decoder, "root", broken)
    assert fails("reader", EXAMPLE).startswith("IndexError at tests/fuzz/test_fuzz.py:")


def test_a_writer_that_loses_something_is_seen(monkeypatch):
    right = ts.write

    def lossy(model, stream, **options):
        right(model.replace(description=None), stream, **options)

    monkeypatch.setattr(ts, "write", lossy)
    assert "another model" in fails("reader", EXAMPLE)


def test_a_file_that_the_reader_then_refuses_is_seen(monkeypatch):
    monkeypatch.setattr(ts, "write", lambda model, stream, **options: stream.write(b"TFL3"))
    assert "what was written is refused" in fails("reader", EXAMPLE)


def test_bytes_that_change_are_seen(monkeypatch):
    right, calls = ts.write, []

    def growing(model, stream, **options):
        calls.append(1)
        extra = np.array([1] * len(calls), np.uint8)
        right(model, stream, **options)
        if len(calls) > 1:
            stream.write(extra.tobytes())

    monkeypatch.setattr(ts, "write", growing)
    assert "not the same bytes" in fails("reader", EXAMPLE)


def test_a_slow_input_is_seen(monkeypatch):
    monkeypatch.setattr(kit, "LIMIT_S", -1.0)
    assert " s" in fails("reader", EXAMPLE)


def test_an_input_that_takes_memory_is_seen(monkeypatch):
    held = []
    target = kit.Target(lambda data: held.append(np.ones(1 << 25)) or "read", list, bytes)
    with pytest.raises(kit.Broken, match="MB"):
        kit.check(target, b"x")


def test_a_message_nobody_can_read_is_seen(monkeypatch):
    def chatty(data):
        raise ts.MalformedModel("x" * 5000)

    monkeypatch.setattr(ts, "read", chatty)
    assert "a message of 50" in fails("reader", EXAMPLE)


@pytest.mark.parametrize(
    ("name", "cls", "method"),
    [("recipe", Recipe, "to_json"), ("calibration", Calibration, "to_json")],
)
def test_a_text_that_changes_when_saved_is_seen(name, cls, method, monkeypatch):
    right, calls = getattr(cls, method), []

    def other(self):
        calls.append(1)
        changed = str(len(calls)) if name == "recipe" else len(calls)
        return {**right(self), "name" if name == "recipe" else "samples": changed}

    monkeypatch.setattr(cls, method, other)
    data = next(iter(kit.load(name).seeds()))
    assert fails(name, data)


def test_samples_that_are_missing_are_seen(monkeypatch):
    monkeypatch.setattr(arrays.sources.Source, "__len__", lambda self: 7)
    assert "samples of 7" in fails("arrays", next(iter(arrays.seeds())))


def test_small_inputs_fail_alike():
    data = bytes(range(200)) * 3
    found = smaller(data, lambda tried: b"\7\x08" in tried and len(tried) > 4)
    assert found == bytes(3) + b"\7\x08"


def test_the_map_knows_the_numbers_of_a_file():
    found = damage.mapped(EXAMPLE)
    tables = {"Model", "SubGraph", "Tensor", "Operator", "OperatorCode", "Buffer", "Metadata"}
    assert tables <= set(found.starts)
    assert set(found.kinds) >= {"offset", "vtable", "size", "entry", "count", "value"}
    assert len(found.starts["Tensor"]) == 4 * len({id(g) for g in ts.read(EXAMPLE).subgraphs})
    assert damage.mapped(bytes(64)).places  # and stops where there is none


def test_values_are_written_as_toml_that_reads_back():
    from qcore import textfiles

    for data in texts.recipes():
        if data[:1] == b"{":
            whole = textfiles.parse(data.decode())
            assert textfiles.parse(values.toml(whole), ".toml") == whole


def test_archives_are_what_zipfile_reads():
    import zipfile

    for wide in (False, True):
        with zipfile.ZipFile(io.BytesIO(reader.archive(wide, b"note"))) as made:
            assert made.read("labels.txt") == b"one\ntwo\n"
