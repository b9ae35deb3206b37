"""Whatever stands for a candidate becomes one, and what does not is told in its row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

import qcore
import tflite_schema as ts
from qcore.compare import compare, make
from qcore.errors import BadInput, BadRecipe
from tests.compare.models import branches, quantized, samples


@pytest.fixture(scope="module")
def model() -> ts.Model:
    return branches()


@dataclass(frozen=True)
class Doubled(qcore.schemes.MinMax):
    """Scales twice as large as needed."""

    key = "doubled for test_make"

    def choose(self, stats, q):
        found = super().choose(stats, q)
        return qcore.Affine(2 * found.scale, found.zero_point)


@dataclass(frozen=True)
class Failing(qcore.schemes.MinMax):
    """A scheme with a bug."""

    key = "failing for test_make"

    def choose(self, stats, q):
        return stats.lo[:, 1]


@dataclass(frozen=True)
class Forgets(qcore.schemes.MinMax):
    """A scheme that returns nothing."""

    key = "forgets for test_make"

    def choose(self, stats, q):
        super().choose(stats, q)


def fails(model, samples):
    return 1 / 0


def test_all_that_stands_for_a_candidate(model, tmp_path):
    int8 = qcore.quantize(model, "int8", samples())
    file = tmp_path / "file.tflite"
    int8.save(file)
    given = {
        "quantized": int8,
        "model": int8.model,
        "path": file,
        "text": str(file),
        "bytes": int8.to_bytes(),
        "recipe": qcore.recipe("int8"),
        "spec": "int8",
        "scheme": Doubled(),
        "function": lambda: int8,
        "function of two": lambda m, s: qcore.quantize(m, "int8", s),
    }
    found = compare(model, given, iter(samples()), latency=False)
    by_name = {c.name: c for c in found.candidates}
    assert [c.name for c in found.candidates] == list(given)
    assert [c.error for c in found.candidates] == [""] * len(given)
    for c in found.candidates:
        if c.name != "scheme":
            assert c.outputs == by_name["quantized"].outputs and c.bytes == len(int8.to_bytes())
    assert by_name["scheme"].outputs != by_name["quantized"].outputs
    assert by_name["scheme"].made_by.endswith("recipe int8+doubled for test_make")
    assert by_name["path"].made_by.startswith(str(file))
    assert by_name["quantized"].seconds is None and by_name["spec"].seconds > 0
    assert by_name["function"].seconds is not None
    assert found.difference("spec", "quantized").same
    with pytest.raises(BadInput, match="no candidate 'x'"):
        found.difference("x", "spec")


def test_what_fails_is_a_row(model, tmp_path):
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(b"no flatbuffer")
    other = branches()
    part = other.subgraphs[0]
    other = other.replace(
        subgraphs=(part.replace(inputs=(*part.inputs, part.operators[0].outputs[0])),)
    )
    given = {
        "good": "int8",
        "missing": "nowhere.tflite",
        "damaged": damaged,
        "unknown": "int9",
        "scheme": "int8+nothing",
        "inputs": other,
        "three": lambda a, b, c: None,
        "nothing": lambda: 5,
        "raises": fails,
        "a bug": Failing(),
        "no return": Forgets(),
        "operand": "int8+weigh=mse",
    }
    found = compare(model, given, samples(), latency=False)
    errors = {c.name: c.error for c in found.candidates}
    assert errors.pop("good") == ""
    assert "no such file" in errors["missing"]
    assert "'int9' is unknown" in errors["unknown"] and "tflite:RECIPE" in errors["unknown"]
    assert errors["scheme"].startswith("scheme 'nothing' is unknown")
    assert "no counterpart of the model" in errors["inputs"]
    assert "takes 3 arguments" in errors["three"]
    assert errors["raises"].startswith(
        "fails failed with ZeroDivisionError: division by zero (test_"
    )
    assert (
        "'failing for test_make' failed on " in errors["a bug"] and "IndexError" in errors["a bug"]
    )
    assert "'forgets for test_make' gave a NoneType" in errors["no return"]
    assert "no operator has an operand 'weigh'" in errors["operand"]
    assert all(errors.values())
    assert found.headline.startswith("good ")
    shown = str(found)
    assert all(name in shown for name in given)


def test_specs():
    made = make.parse("int8+weight=mse+activation=percentile:share=99.9")
    assert made.name == "int8+weight=mse+activation=percentile:share=99.9"
    weight, activation = made.rules[-2:]
    assert (weight.operand, weight.scheme.key) == ("weight", "mse")
    assert (activation.operand, activation.scheme.share) == ("activation", 99.9)
    both = make.parse("int16x8+octav").rules[-2:]
    assert [r.operand for r in both] == ["activation", "weight"]
    for operand in ("filter", "const*", "state"):
        assert make.parse(f"int8+{operand}=mse").rules[-1].operand == operand
    with pytest.raises(BadRecipe, match="FIELD=VALUE"):
        make.parse("int8+mse:steps")


@pytest.mark.parametrize(
    ("text", "name", "spec"),
    [("int8", "int8", "int8"), ("a b=int8+octav", "a b", "int8+octav"),
     ("int8+weight=mse", "int8+weight=mse", "int8+weight=mse"),
     ("mine=tflite:int8", "mine", "tflite:int8"), ("out/x.tflite", "x", "out/x.tflite"),
     ("float8=out/x.tflite", "float8", "out/x.tflite")],
)  # fmt: skip
def test_names(text, name, spec):
    assert make.split_name(text) == (name, spec)


def test_samples_are_read_again_and_again():
    once = make.Samples(x for x in samples(4))
    for _ in range(2):
        for a, b in zip(once, samples(4), strict=True):
            np.testing.assert_array_equal(a, b)
    turns = [zip(once, once)]
    assert all(np.array_equal(a, b) for a, b in turns[0])
    assert len(list(once.first(2))) == 2
    by_signature = make.Samples({"f": [1, 2], "g": [3]})
    assert len(by_signature) == 3
    for given in (by_signature, make.Samples({"f": iter([1, 2]), "g": [3]})):
        for _ in range(2):
            assert list(given) == [("f", 1), ("f", 2), ("g", 3)]
    with pytest.raises(BadInput, match="give an iterable"):
        make.Samples(5)
    with pytest.raises(BadInput, match="of signature 'f' are a int"):
        make.Samples({"f": 5})


def test_candidates_must_be_there_and_named(model):
    for given in ({}, "int8", 5, {"float": "int8"}):
        with pytest.raises(BadInput):
            compare(model, given, samples(), latency=False)
    for wrong in ({"layers": -1}, {"layers": "all"}, {"layers": 1.5}, {"latency": 5}):
        with pytest.raises(BadInput, match="give"):
            compare(model, ["int8"], samples(), **{"latency": False, **wrong})
    found = compare(model, ["int8", "int8"], samples(), latency=False)
    assert [c.name for c in found.candidates] == ["int8", "int8 2"]


def test_latency_on_each_path(model):
    found = compare(model, {"int8": quantized(model)}, samples(), latency=["optimized", "xnnpack"])
    for c in (found.truth, *found.candidates):
        assert [t.path for t in c.latency] == ["optimized", "xnnpack"]
        assert all(t.ms > 0 and t.runs >= 3 for t in c.latency)
        assert 0 < c.delegated <= c.operators
    with pytest.raises(BadInput, match="path 'fast' is unknown"):
        compare(model, ["int8"], samples(), latency=["fast"])
