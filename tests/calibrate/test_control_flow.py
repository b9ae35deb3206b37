"""WHILE, IF, CALL_ONCE and resource variables: every iteration of every body is observed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import tflite_schema as ts
from qcore.calibrate import Calibration, calibrate
from qcore.calibrate.program import build
from qcore.params import TensorKey
from qcore.peers import interpreter
from qcore.peers.child import Child, call
from tests.calibrate import graphs

pytestmark = pytest.mark.skipif(
    not interpreter.installed("tensorflow"), reason="extra `tensorflow` is missing"
)


@pytest.fixture(scope="module")
def models() -> dict[str, bytes]:
    return call("tests.calibrate.builders:control_flow", what="TensorFlow's converter")


def samples(name: str, count: int = 6) -> list[tuple[np.ndarray, ...]]:
    rng = np.random.default_rng(1)
    shape = (1, 6, 3) if "lstm" in name else (1, 4)
    made = [rng.standard_normal(shape).astype(np.float32) for _ in range(count)]
    if name == "scalar":
        return [(s, np.float32(i)) for i, s in enumerate(made)]
    if name == "two":
        return [(s, 2 * s) for s in made]
    return [(s,) for s in made]


NAMES = ("loop", "branch", "nested", "lstm_fused", "lstm_loop", "counter", "counter_loop", "two",
         "dynamic", "scalar")  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_what_the_runtime_computes(models: dict[str, bytes], name: str) -> None:
    """The child's own control flow, against the same model run as a whole."""
    model = ts.read(models[name])
    for path in ("reference", "optimized"):
        ours = calibrate(model, samples(name), path=path)
        made = list(interpreter.run(models[name], samples(name), path=path))
        key = TensorKey(0, model.subgraphs[0].outputs[0])
        values = [v for outputs in made for v in outputs.values()]
        assert ours[key].lo[0] == min(v.min() for v in values)
        assert ours[key].hi[0] == max(v.max() for v in values)


def test_bodies_are_observed_in_every_iteration(models: dict[str, bytes]) -> None:
    """The loop of "loop", written out in NumPy: y -> relu(y @ w) * 1.5 - 0.25, five times."""
    model = ts.read(models["loop"])
    body = next(
        i for i, g in enumerate(model.subgraphs) if any(o.name == "SUB" for o in g.operators)
    )
    graph = model.subgraphs[body]
    found = calibrate(model, samples("loop"), path="reference")
    dense = next(op for op in graph.operators if op.name == "FULLY_CONNECTED")
    w = ts.array(model, body, dense.inputs[1])
    seen: dict[str, list[np.ndarray]] = {"in": [], "dense": [], "out": []}
    for (x,) in samples("loop"):
        y = x + np.float32(1)
        for _ in range(5):
            seen["in"].append(y)
            d = np.maximum(y @ w.T, 0)
            y = d * np.float32(1.5) - np.float32(0.25)
            seen["dense"].append(d)
            seen["out"].append(y)
    places = {"in": dense.inputs[0], "dense": dense.outputs[0], "out": graph.outputs[1]}
    for name, tensor in places.items():
        stats = found[TensorKey(body, tensor)]
        assert stats.count == 6 * 5 * 4
        # NumPy and the kernel sum in different order
        np.testing.assert_allclose(stats.lo[0], min(v.min() for v in seen[name]), atol=1e-5)
        np.testing.assert_allclose(stats.hi[0], max(v.max() for v in seen[name]), rtol=1e-5)


def test_nothing_is_left_out_but_branches_not_taken(models: dict[str, bytes]) -> None:
    for name in NAMES:
        model = ts.read(models[name])
        roots = {s.subgraph_index for s in model.signature_defs} or {0}
        expected = {
            TensorKey(n, t)
            for n, program in build(model, roots if name != "two" else {0}).by_subgraph.items()
            for t in {t for op in model.subgraphs[n].operators for t in op.outputs}
            | set(program.inputs)
            if model.subgraphs[n].tensors[t].type == ts.TensorType.FLOAT32
            and not model.buffers[model.subgraphs[n].tensors[t].buffer].nbytes
        }
        found = set(calibrate(model, samples(name)))
        missing = {model.subgraphs[k.subgraph].tensors[k.tensor].name for k in expected - found}
        # "unused" pass-through arguments are the caller's tensor under another name
        assert not missing, f"{name}: {missing}"


def test_a_branch_never_taken_is_absent(models: dict[str, bytes]) -> None:
    positive = [(np.abs(s[0]) + 1,) for s in samples("branch")]
    both, one = (
        calibrate(models["branch"], samples("branch")),
        calibrate(models["branch"], positive),
    )
    subgraphs = {k.subgraph for k in both}
    assert len(subgraphs) == 3 and len({k.subgraph for k in one}) == 2


@pytest.fixture(scope="module")
def tflite(models: dict[str, bytes], tmp_path_factory: Any) -> Iterator[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("models")
    found = {}
    with Child("tests.calibrate.targets:tflite_ranges", what="TFLite's calibrator") as child:
        for name in NAMES:
            if name in ("nested", "counter"):
                path = folder / f"{name}.tflite"
                path.write_bytes(models[name])
                found[name] = child.call(str(path), [list(s) for s in samples(name)])
    yield found


def agreement(ours: Calibration, theirs: dict[Any, Any]) -> tuple[int, int]:
    """How many of their ranges we have bit for bit, and how many there are."""
    same = sum(
        key in ours and (ours[key].lo[0], ours[key].hi[0]) == (lo, hi)
        for key, (_, lo, hi) in theirs.items()
    )
    return same, len(theirs)


@pytest.mark.parametrize("name", ["nested", "counter"])
def test_tflite_observer_is_tflites_calibrator(models, tflite, name: str) -> None:
    ours = calibrate(models[name], samples(name), "tflite")
    same, total = agreement(ours, tflite[name])
    assert same == total > 4 and not set(ours) - set(tflite[name])
    # the comparison can fail: fewer samples
    fewer = calibrate(models[name], samples(name, 2), path="optimized")
    assert agreement(fewer, tflite[name])[0] < total


def test_resources_follow_the_state_policy(models: dict[str, bytes]) -> None:
    for name in ("counter", "counter_loop"):
        model = ts.read(models[name])
        key = TensorKey(0, model.subgraphs[0].outputs[0])
        xs = [x for (x,) in samples(name)]
        share = np.float32(1.0 if name == "counter" else 1.5)
        kept, reset = (calibrate(model, samples(name), state=s) for s in ("keep", "reset"))
        sums = 2 * share * np.cumsum(np.stack(xs), 0)
        np.testing.assert_allclose(kept[key].lo[0], sums.min(), rtol=1e-5)
        np.testing.assert_allclose(kept[key].hi[0], sums.max(), rtol=1e-5)
        np.testing.assert_allclose(reset[key].hi[0], (2 * share * np.stack(xs)).max(), rtol=1e-5)


def test_each_sample_may_name_its_signature(models: dict[str, bytes]) -> None:
    model = ts.read(models["two"])
    x = np.float32([[1, -2, 3, -4]])
    number = {s.signature_key: s.subgraph_index for s in model.signature_defs}
    mixed = [("double", {"x": x}), ("add", {"x": x, "b": x}), ("double", {"x": 2 * x})]
    found = calibrate(model, mixed)
    outputs = {n: model.subgraphs[g].outputs[0] for n, g in number.items()}
    doubled = found[TensorKey(number["double"], outputs["double"])]
    added = found[TensorKey(number["add"], outputs["add"])]
    assert (doubled.lo[0], doubled.hi[0]) == (-16, 12) and (added.lo[0], added.hi[0]) == (0, 6)
    grouped = {"double": iter([{"x": x}, {"x": 2 * x}]), "add": [{"x": x, "b": x}]}
    assert dict(calibrate(model, grouped)) == dict(found)
    only = calibrate(model, [{"x": x}], signature="double")
    assert {k.subgraph for k in only} == {number["double"]}


def test_ordered_observers_see_one_range_a_sample(models: dict[str, bytes]) -> None:
    """A moving average over samples, not over iterations."""
    found = calibrate(models["loop"], samples("loop"), "moving_average")
    each = [calibrate(models["loop"], [s]) for s in samples("loop")]
    for key in found:
        lo, hi = (np.float32(getattr(each[0][key], n)[0]) for n in ("lo", "hi"))
        for one in each[1:]:
            lo = np.float32(0.95) * lo + np.float32(1 - 0.95) * np.float32(one[key].lo[0])
            hi = np.float32(0.95) * hi + np.float32(1 - 0.95) * np.float32(one[key].hi[0])
        assert (found[key].lo[0], found[key].hi[0]) == (lo, hi)


def test_models_without_control_flow_run_as_they_are() -> None:
    model = graphs.chain()
    programs = build(model, {0})
    assert programs.model is model and not programs.split
