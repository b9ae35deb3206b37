"""observer="tflite" against TFLite's own Calibrator, every range bit for bit."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

import tflite_schema as ts
from qcore.calibrate import calibrate
from qcore.peers import interpreter
from qcore.peers.child import Child
from tests import corpus as module
from tests.calibrate import graphs
from tests.calibrate.test_control_flow import agreement

pytestmark = pytest.mark.skipif(
    not interpreter.installed("tensorflow"), reason="extra `tensorflow` is missing"
)
FEW = ("fmnist_vit_f32", "face_detection_full_range_f16", "basic_pitch_nmp_f32")
# It asks for five intermediates in each LSTM and this file has none; see the LSTM test below.
REFUSED = {"dtln1_lstm_f32"}


def test_corpus(corpus, depth: int) -> None:
    same = total = plain = 0
    with Child("tests.calibrate.targets:tflite_ranges", what="TFLite's calibrator") as child:
        for entry in module.entries():
            if entry.name in REFUSED or (depth == 1 and entry.name not in FEW):
                continue
            samples = list(entry.samples(3))
            theirs = child.call(str(entry.path), [[s] for s in samples])
            ours = calibrate(entry.path, samples, "tflite")
            found = agreement(ours, theirs)
            assert found[0] == found[1], f"{entry.name}: {found[0]} of {found[1]} ranges"
            assert set(ours) == set(theirs) and not ours.notes
            assert ours.runtime["runtime"] == "tensorflow" and ours.runtime["kernel_threads"] == 4
            same, total = same + found[0], total + found[1]
            if entry.name == FEW[0]:
                exact = calibrate(entry.path, samples, runtime="tensorflow", path="optimized")
                plain = found[1] - agreement(exact, theirs)[0]
    assert same == total > 600
    assert plain > 0, "without unions and start values some ranges must differ"


def random_graph(rng: np.random.Generator, operators: int) -> ts.Model:
    """Operators that may and may not run in place, with views, constants, several readers and
    several outputs; values are kept small by TANH now and then."""
    shapes = ((2, 6), (1, 12), (3, 4), (1, 1))
    tensors: dict = {"x": (2, 6), "x2": (2, 6), "s": np.float32([[0.3]])}
    tensors |= {
        f"c{i}": rng.standard_normal(s).astype(np.float32) for i, s in enumerate(shapes[:3])
    }
    pool: dict[tuple, list[str]] = {(2, 6): ["x", "x2"]}
    made = []
    for number in range(operators):
        shape = list(pool)[rng.integers(len(pool))]
        recent = pool[shape][-3:]
        a = recent[rng.integers(len(recent))]
        out, out_shape = f"t{number}", shape
        kind = rng.choice(
            ["ADD", "SUB", "MUL", "DIV", "SOFTMAX", "RESHAPE", "TANH", "EXPAND", "SUM"]
        )
        if kind in ("ADD", "SUB", "MUL", "DIV"):
            others = [
                *pool[shape][-4:],
                "s",
                *(c for c in ("c0", "c1", "c2") if tensors[c].shape == shape),
            ]
            b = others[rng.integers(len(others))]
            if kind == "DIV":
                b = "s"
            pair = [a, b] if kind == "DIV" or rng.random() < 0.7 else [b, a]
            if pair[0] != pair[1] or pair[0] not in ("s",):
                made.append((kind, pair, [out], ts.Options(f"{kind.title()}Options")))
        elif kind == "SOFTMAX":
            made.append(("SOFTMAX", [a], [out], graphs.SOFTMAX))
        elif kind == "RESHAPE":
            out_shape = shapes[rng.integers(3)] if np.prod(shape) == 12 else shape
            target = f"shape{number}"
            tensors[target] = np.array(out_shape, np.int32)
            made.append(("RESHAPE", [a, target], [out], graphs.RESHAPE))
        elif kind == "SUM":
            axes = f"axes{number}"
            tensors[axes] = np.array([0, 1], np.int32)
            out_shape = (1, 1)
            made.append(("SUM", [a, axes], [out], ts.Options("ReducerOptions", keep_dims=True)))
        else:
            made.append(("TANH", [a], [out]))
        if made and made[-1][2] == [out]:
            tensors[out] = out_shape
            pool.setdefault(out_shape, []).append(out)
    names = [op[2][0] for op in made]
    outputs = sorted({names[-1], *rng.choice(names, 4)})
    return graphs.model(tensors, made, ["x", "x2"], outputs)


def test_random_graphs(rng: np.random.Generator, depth: int, tmp_path) -> None:
    compared = in_place = 0
    with Child("tests.calibrate.targets:tflite_ranges", what="TFLite's calibrator") as child:
        for number in range(depth):
            model = random_graph(rng, 250)
            ts.write(model, tmp_path / "random.tflite")
            samples = [tuple(rng.standard_normal((2, 2, 6)).astype(np.float32)) for _ in range(2)]
            theirs = child.call(str(tmp_path / "random.tflite"), [list(s) for s in samples])
            ours = calibrate(model, samples, "tflite")
            same, total = agreement(ours, theirs)
            if ours.notes:
                # the interpreter's own mistake: see Sharing.spoiled
                assert all("overwrites tensor" in note for note in ours.notes)
                continue
            assert same == total, f"graph {number}: {same} of {total}"
            compared += total
            plain = calibrate(model, samples, runtime="tensorflow", path="optimized")
            in_place += sum(plain[k].hi[0] != ours[k].hi[0] > 1e-30 for k in ours)
    assert compared > 100 * depth and in_place > 4 * depth


def test_a_mistake_of_the_interpreter_is_told_and_not_copied(tmp_path) -> None:
    shape = (1, 4)
    model = graphs.model(
        {"x": shape, "c": np.ones(shape, np.float32), "a": shape, "b": shape, "w": shape,
         "z": shape, "y": shape},
        [
            ("EXP", ["x"], ["a"]),
            ("ADD", ["a", "c"], ["b"], graphs.ADD),
            ("RESHAPE", ["b"], ["w"], ts.Options("ReshapeOptions", new_shape=np.int32(shape))),
            ("SOFTMAX", ["w"], ["z"], graphs.SOFTMAX),
            ("MUL", ["z", "b"], ["y"], graphs.MUL),
        ],
        ["x"], ["y"],
    )  # fmt: skip
    x = np.float32([[0, 1, 2, 3]])
    ours = calibrate(model, [x], "tflite")
    assert len(ours.notes) == 1 and "tensor 'b' of subgraph 0 in SOFTMAX 3" in ours.notes[0]
    b = np.exp(x) + 1
    z = np.exp(b - b.max()) / np.exp(b - b.max()).sum()
    right = (z * b).max()
    (plain,) = interpreter.run(model, [x], path="optimized")
    ((kept, _),) = interpreter.run(model, [x], path="optimized", tensors=True)
    assert abs(kept["y"].max() - right) < 1e-4 and abs(ours.by_name("y").hi[0] - right) < 1e-4
    # if this fails, the runtime has been mended and the note can go
    assert abs(plain["y"].max() - (z * z).max()) < 1e-4


def test_lstm_with_intermediates(tmp_path) -> None:
    model = graphs.lstm()
    ts.write(model, tmp_path / "lstm.tflite")
    rng = np.random.default_rng(5)
    samples = [rng.standard_normal((1, 4, 2)).astype(np.float32) for _ in range(5)]
    with Child("tests.calibrate.targets:tflite_ranges", what="TFLite's calibrator") as child:
        theirs = child.call(str(tmp_path / "lstm.tflite"), [[s] for s in samples])
    ours = calibrate(model, samples, "tflite")
    names = {ours.names[k] for k in ours}
    assert {"x", "y", "h", "c", "t4"} <= names
    differing = {
        name: (lo, hi, ours[key].lo[0], ours[key].hi[0])
        for key, (name, lo, hi) in theirs.items()
        if key not in ours or (ours[key].lo[0], ours[key].hi[0]) != (lo, hi)
    }
    assert not differing and theirs


def test_without_tensorflow_it_says_so(monkeypatch) -> None:
    run = importlib.import_module("qcore.calibrate.run")
    monkeypatch.setattr(run, "installed", lambda runtime: runtime != "tensorflow")
    found = calibrate(graphs.chain(), [np.ones((1, 4), np.float32)], "tflite")
    assert found.runtime["runtime"] == "litert"
    assert any("exact with the tensorflow runtime" in note for note in found.notes)
