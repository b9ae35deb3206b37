"""Errors of layers add up, stand where they arise, and the headline says so."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

import qcore
from kernels import ops
from kernels.errors import NoKernel
from qcore.compare import compare, layers, whole
from qcore.compare.alone import Alone
from qcore.compare.layers import Followed, Truth, follow
from qcore.compare.match import match
from qcore.compare.sums import Split
from qcore.compare.whole import MANY, Whole, float_products
from qcore.errors import RuntimeFailed
from qcore.execute import as_profile
from qcore.metrics import Difference
from qcore.params import TensorKey
from qcore.testing.build import Builder
from tests.compare.models import (
    operator,
    quantized,
    rescaled,
    samples,
    tensor,
    with_constant,
)

ORDER = ("stem", "left", "right", "sum", "mean", "scores")
UNIT = 2.0**-53


def seen(found, name: str, candidate: str = "c"):
    (key,) = [layer.key for layer in found.layers if layer.name == name]
    return found.candidate(candidate).seen[key]


def run(model, candidate, data=None, **options):
    return compare(model, {"c": candidate}, data or samples(), latency=False, **options)


def off(s) -> float:
    """By how much the sums miss the identity, in parts of what rounding may do.

    With t, o, r the rounded differences of an element, |t - o - r| <= u (|t| + |o| + |r|), since
    the exact ones add up; so |t^2 - (o + r)^2| <= 3 u (t^2 + o^2 + r^2). A float64 sum of n
    products misses by at most (n + 1) u of the sum of their magnitudes, and 2 |o r| <= o^2 + r^2.
    Together with the last additions: (2 n + 8) u (sum t^2 + sum o^2 + sum r^2).
    """
    noise = s.total.noise, s.own.noise, s.inherited.noise
    missed = abs(noise[0] - (noise[1] + noise[2] + 2 * s.cross))
    return missed / ((2 * s.total.count + 8) * UNIT * sum(noise))


RECIPES = {
    "int8": "int8",
    "int16x8": "int16x8",
    "dynamic": qcore.recipe("dynamic").with_rule(min_elements=0),
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_parts_add_up(model, recipe):
    found = run(model, quantized(model, RECIPES[recipe]))
    assert [layer.name for layer in found.layers] == list(ORDER)
    checked = 0
    for s in found.candidates[0].seen.values():
        if s.total.noise:
            assert off(s) <= 1
            checked += 1
    assert checked >= 5


def test_parts_that_do_not_add_up_are_seen(model, int8):
    s = seen(run(model, int8), "mean")
    assert off(replace(s, own=replace(s.own, noise=s.own.noise * 1.0001))) > 1


def test_sums_are_those_of_numpy(rng):
    y, a, b = (rng.normal(0, 1, (3, 1000)).astype(np.float32) for _ in range(3))
    split = Split()
    for i in range(3):
        split.add(y[i], a[i], b[i])
    want = Difference.of(y, a)
    for field in ("noise", "signal", "dot", "other", "absolute"):
        assert getattr(split.total, field) == pytest.approx(getattr(want, field), rel=1e-12)
    assert split.total.largest == want.largest and split.total.differing == want.differing
    rest = y.astype(np.float64) + (a.astype(np.float64) - b)
    assert split.inherited.noise == pytest.approx(Difference.of(y, rest).noise, rel=1e-9)
    cross = ((b.astype(np.float64) - y) * (a.astype(np.float64) - b)).sum()
    assert split.cross == pytest.approx(cross, abs=1e-9)


def test_what_is_not_finite_is_counted():
    y = np.array([1, np.nan, np.inf], np.float32)
    split = Split()
    split.add(y, y, y)
    assert split.total.noise == 0 and split.total.count == 3
    split.add(y, np.zeros(3, np.float32), y)
    assert split.total.noise == math.inf


def test_the_first_operator_inherits_nothing_and_the_parts_are_what_they_say(model, int8):
    found = run(model, int8)
    first = seen(found, "stem")
    assert first.inherited.noise == 0 and first.own == first.total
    # One operator by hand: the sum of the float branches, rounded to the candidate's parameters.
    data = samples()
    own = Difference()
    graph = int8.subgraphs[0]
    executor = qcore.Executor(int8)
    block = executor.blocks[0]
    node = block.nodes[operator(int8, "sum")]
    for x in data:
        _, floats = qcore.run(model, x, tensors=True)
        given = {
            t: block.encode(t, floats[tensor(model, graph.tensors[t].name)]) for t in node.inputs
        }
        (y,) = ops.compute(executor.call(0, node, given))
        real = replace(block.tensors[node.outputs[0]], data=y).real()
        own += Difference.of(floats[tensor(model, "sum")], real)
    s = seen(found, "sum").own
    assert (s.count, s.largest, s.differing) == (own.count, own.largest, own.differing)
    assert s.noise == pytest.approx(own.noise, rel=1e-12)


@pytest.mark.parametrize("name", ORDER)
@pytest.mark.parametrize("factor", [8.0, 0.125])
def test_a_scale_that_was_broken_is_named(model, int8, name, factor):
    found = run(model, rescaled(int8, name, factor))
    assert f"{name!r}" in found.headline, found.headline
    good, bad = run(model, int8), seen(found, name)
    assert bad.own.SQNR_dB < seen(good, name).own.SQNR_dB - 6
    if factor < 1:
        assert any("saturate" in r for r in bad.reasons)
    else:
        assert any("times as wide as the values" in r for r in bad.reasons)


@pytest.mark.parametrize("name", ["left", "right", "scores"])
def test_weights_of_zero_are_named_and_inherited_behind(model, int8, name):
    found = run(model, with_constant(int8, operator(int8, name), 1, np.zeros_like))
    assert found.headline.startswith(f"c breaks at {name!r}"), found.headline
    assert "its weights are all 0" in found.headline
    bad = seen(found, name)
    assert bad.own.SQNR_dB < 3 and bad.reasons[0] == "its weights are all 0"
    if name != "scores":
        behind = seen(found, "sum")
        assert behind.own.SQNR_dB > 25  # by itself it is as good as before
        assert behind.inherited.SQNR_dB < 10 and behind.total.SQNR_dB < 10
        assert any(r.startswith("inherited: 1") for r in behind.reasons)
    assert seen(found, "stem").total.SQNR_dB > 25


def test_a_wrong_pair_is_noticed(model, int8, monkeypatch):
    """Were the branches paired crosswise, both would stand out at once."""
    right = layers.match

    def wrong(a, b):
        found = right(a, b)
        x, y = (TensorKey(0, tensor(a, name)) for name in ("left", "right"))
        found.layers[x], found.layers[y] = found.layers[y], found.layers[x]
        return found

    monkeypatch.setattr(layers, "match", wrong)
    found = run(model, int8)
    assert "breaks at" in found.headline
    assert any("far from the float ones" in r for r in seen(found, "left").reasons)
    assert seen(found, "left").own.SQNR_dB < 5


@pytest.fixture
def without_mean(monkeypatch):
    """MEAN has no kernel."""

    def none(call):
        raise NoKernel("MEAN has no kernel here")

    module = ops.module("MEAN")
    for name in ("fast", "real"):
        monkeypatch.setattr(module, name, none)
    monkeypatch.delattr(module, "lower")


@pytest.fixture
def refusing(monkeypatch):
    """The interpreter refuses every sample."""

    def refused(*_, **__):
        raise RuntimeFailed("it refused")

    monkeypatch.setattr("qcore.peers.steps.Stepper.run", refused)


def test_an_operator_without_a_kernel_runs_in_the_interpreter(model, int8, without_mean):
    found = run(model, int8)
    (note,) = found.candidates[0].notes
    assert note.startswith("run by the official interpreter, since MEAN 4 (mean): MEAN has no")
    assert all(seen(found, name).own.SQNR_dB > 25 for name in ORDER)


def test_what_neither_can_run_is_told_and_the_others_are_computed(
    model, int8, without_mean, refusing
):
    """One by one, where the whole cannot be run: what reads float tensors needs nothing before."""
    found = match(model, int8)
    fed = {k.tensor: t.tensor for k, t in found.fed.items()}
    wanted = [t.tensor for t in found.layers.values()]
    alone = Alone(int8, 0, fed, wanted, as_profile("xnnpack"))
    floats = {tensor(model, "x"): samples(1)[0]}
    rng = np.random.default_rng(0)
    for k in found.layers:
        shape = model.subgraphs[0].tensors[k.tensor].shape
        floats[k.tensor] = rng.normal(0, 1, shape).astype(np.float32)
    made = alone.run(floats)
    mean = tensor(int8, "mean")
    assert set(made) == set(wanted) - {mean} and "MEAN has no kernel" in alone.why[mean]


def test_an_operator_whose_input_has_no_counterpart_is_not_fed(model, int8):
    fed = {tensor(int8, name): tensor(model, name) for name in ("stem", "left", "right")}
    wanted = [tensor(int8, name) for name in ("stem", "sum")]
    alone = Alone(int8, 0, fed, wanted, as_profile("xnnpack"))
    assert alone.wanted == [tensor(int8, "sum")]
    assert alone.why[tensor(int8, "stem")].endswith("has no float counterpart")


def test_a_model_that_the_interpreter_refuses_is_run_by_our_kernels(
    model, int8, refusing, monkeypatch
):
    monkeypatch.setattr(whole, "MANY", 1)
    found = run(model, int8)
    assert found.truth.notes == ("run by our kernels, since it refused",)
    assert seen(found, "stem").own.SQNR_dB > 25


def test_many_floats_are_the_interpreters(model):
    assert float_products(model) == 64 * 6 * (27 + 54 + 54) + 10 * 6 < MANY
    assert not Whole(model, as_profile("xnnpack")).official
    b = Builder()
    w = b.const(np.zeros((1000, 1000), np.float32), "w")
    x = b.input((1, 1000), "x")
    large = b.model([b.op("FULLY_CONNECTED", [x, w, None], (1, 1000))])
    one = Whole(large, as_profile("xnnpack"))
    assert float_products(large) == MANY and one.official
    given = {x: np.ones((1, 1000), np.float32)}
    (y,) = (one.run(0, given)[t] for t in large.subgraphs[0].outputs)
    one.close()
    assert y.shape == (1, 1000) and one.notes == []


def test_memory_does_not_grow_with_the_samples(model, int8):
    """Nothing is kept of a sample but sums."""
    alive = []

    def stream(count):
        import weakref

        for x in samples(count):
            alive.append(weakref.ref(x))
            yield x
            del x

    truth = Truth(model, as_profile("xnnpack"))
    one = Followed("c", int8, truth, as_profile("xnnpack"))
    data = iter(stream(12))
    del stream
    count, _ = follow(truth, [one], data)
    assert count == 12 and one.error == ""
    assert sum(x.nbytes for t in one._tallies.values() for x in [t.codes.counts]) < 20_000


def test_histograms_and_codes(model, int8):
    found = run(model, int8)
    for layer in found.layers:
        values = layer.values
        assert values.counts.sum() == np.prod(layer.shape) * 6
        assert values.edges.size == values.counts.size + 1 <= 129
        s = seen(found, layer.name)
        assert s.codes.counts.sum() == values.counts.sum()
        assert s.codes.edges[0] == -128 and s.codes.edges[-1] == 128
        assert 0 < s.codes_used <= 1 and s.dtype == "int8"
