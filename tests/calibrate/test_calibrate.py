"""The stage as a user sees it: exact ranges from any iterable, clear refusals, bounded memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import tflite_schema as ts
from qcore.calibrate import Calibration, calibrate
from qcore.errors import BadInput, BadRecipe, BadSample, RuntimeFailed
from qcore.observers import HistogramObserver, MovingAverage
from qcore.params import TensorKey
from qcore.peers import interpreter
from qcore.peers.child import call
from tests.calibrate import graphs
from tests.calibrate.test_child import gone

ROOT = Path(__file__).resolve().parents[2]


def draw(rng: np.random.Generator, count: int, shape=(1, 4)) -> list[np.ndarray]:
    return [rng.standard_normal(shape).astype(np.float32) for _ in range(count)]


def ranges(calibration: Calibration) -> dict[str, tuple[float, float]]:
    return {calibration.names[k]: (s.lo[0], s.hi[0]) for k, s in calibration.items()}


def extent(arrays) -> tuple[float, float]:
    return float(min(a.min() for a in arrays)), float(max(a.max() for a in arrays))


@pytest.mark.parametrize("path", ["xnnpack", "optimized", "reference"])
@pytest.mark.parametrize("threads", [1, 3])
def test_exact_ranges(rng: np.random.Generator, path: str, threads: int) -> None:
    samples = draw(rng, 9)
    taken = []

    def once():
        for i, s in enumerate(samples):
            taken.append(i)
            yield s

    found = calibrate(graphs.chain(), once(), path=path, threads=threads)
    a = [s + np.float32(1) for s in samples]
    assert ranges(found) == {"x": extent(samples), "a": extent(a), "y": extent([v * v for v in a])}
    assert taken == list(range(9)) and found.samples == 9
    assert all(s.count == 36 for s in found.values())
    assert found.runtime["path"] == path and found.runtime["runtime"] == "litert"


def test_files_bytes_and_models_are_the_same(tmp_path: Path, rng: np.random.Generator) -> None:
    samples = draw(rng, 3)
    model = graphs.chain()
    ts.write(model, tmp_path / "m.tflite")
    from_path = calibrate(tmp_path / "m.tflite", samples)
    assert from_path == calibrate((tmp_path / "m.tflite").read_bytes(), samples)
    assert from_path == calibrate(ts.read(tmp_path / "m.tflite"), samples)


@pytest.mark.parametrize("observer", ["minmax", "histogram", "moving_average"])
def test_neither_workers_nor_runs_change_the_result(
    rng: np.random.Generator, observer: str
) -> None:
    samples = draw(rng, 40)
    one = calibrate(graphs.chain(), samples, observer, threads=1)
    assert one == calibrate(graphs.chain(), samples, observer, threads=1)
    assert one == calibrate(graphs.chain(), samples, observer, threads=4)
    other = calibrate(graphs.chain(), samples[1:], observer, threads=4)
    assert one.to_json()["tensors"] != other.to_json()["tensors"]


def test_two_runs_merge_into_one(rng: np.random.Generator) -> None:
    samples = draw(rng, 12)
    for observer in ("minmax", HistogramObserver(32), MovingAverage(0.5)):
        whole = calibrate(graphs.chain(), samples, observer)
        parts = [calibrate(graphs.chain(), p, observer) for p in (samples[:5], samples[5:])]
        assert parts[0].merge(parts[1]) == whole


def test_samples_by_name_and_signature(rng: np.random.Generator) -> None:
    left, right = draw(rng, 4, (1, 3)), draw(rng, 4, (1, 3))
    expected = {
        "left": extent(left),
        "right": extent(right),
        "y": extent([a + b for a, b in zip(left, right)]),
    }
    pairs = list(zip(left, right))
    named = [{"r": b, "l": a} for a, b in pairs]
    for samples in (pairs, named, {"sum": iter(named)}, [("sum", n) for n in named]):
        assert ranges(calibrate(graphs.two_inputs(), samples)) == expected
    assert ranges(calibrate(graphs.two_inputs(False), pairs)) == expected
    assert ranges(calibrate(graphs.two_inputs(), pairs, signature="sum")) == expected


def test_batches_of_any_size(rng: np.random.Generator) -> None:
    samples = [rng.standard_normal((n, 4)) for n in (1, 7, 3, 7)]
    found = calibrate(graphs.dynamic(), samples)
    stored = [s.astype(np.float32) for s in samples]
    assert ranges(found) == {"x": extent(stored), "y": extent([s + np.float32(1) for s in stored])}
    assert found[TensorKey(0, 0)].count == 4 * 18
    assert ranges(calibrate(graphs.chain(), samples))["x"] == extent(stored)


@pytest.mark.parametrize("bad, kind", [(-1.0, "NaN"), (0.0, "infinity")])
@pytest.mark.parametrize("threads", [1, 4])
def test_not_finite(bad: float, kind: str, threads: int) -> None:
    samples = [np.full((1, 4), 1.0 + i, np.float32) for i in range(8)]
    samples[5][0, 2] = bad
    samples[6][0, 2] = bad
    with pytest.raises(BadSample) as caught:
        calibrate(graphs.logarithm(), samples, threads=threads)
    assert str(caught.value).startswith(
        f"sample 5: tensor 'a' (written by LOG 0) holds {kind} in 1 of 4 values; "
    )
    found = calibrate(graphs.logarithm(), samples, nonfinite="skip", threads=threads)
    assert ranges(found)["a"] == (0.0, float(np.log(np.float32(8))))
    assert any("2 values of tensor 'a'" in note for note in found.notes)
    samples[5][0, 2] = np.nan
    with pytest.raises(BadSample, match=r"tensor 'x' \(an input\) holds NaN"):
        calibrate(graphs.logarithm(), samples)


def test_refusals(rng: np.random.Generator) -> None:
    good = draw(rng, 2)
    model = graphs.chain()
    with pytest.raises(BadInput, match="not a single sample"):
        calibrate(model, iter([]))
    with pytest.raises(BadSample, match="sample 2: input 'x' takes shape"):
        calibrate(model, [*good, np.zeros((1, 5))])
    with pytest.raises(RuntimeFailed, match="custom operator 'NobodyKnowsThis' is unknown"):
        calibrate(graphs.custom(), good)
    with pytest.raises(RuntimeFailed, match=r"'FlexErfinv' is one of TensorFlow's own, .*SELECT"):
        calibrate(graphs.custom("FlexErfinv"), good)
    with pytest.raises(BadRecipe):
        calibrate(model, good, observer="guess")
    for how in ({"runtime": "torch"}, {"path": "fast"}, {"threads": 0}, {"limit": 0},
                {"state": "forget"}, {"nonfinite": "hide"}, {"signature": "none"}):  # fmt: skip
        with pytest.raises(BadInput):
            calibrate(model, good, **how)

    def broken():
        yield good[0]
        raise ZeroDivisionError("the user's own")

    with pytest.raises(ZeroDivisionError, match="the user's own"):
        calibrate(model, broken())


def test_other_floats_are_reported(rng: np.random.Generator) -> None:
    model = graphs.model(
        {"x": (1, 4), "h": (1, 4), "y": (1, 4)},
        [("CAST", ["x"], ["h"]), ("CAST", ["h"], ["y"])],
        ["x"],
        ["y"],
    )
    graph = model.subgraphs[0]
    x, h, y = graph.tensors
    half = (x, h.replace(type=ts.TensorType.FLOAT16), y)
    model = model.replace(subgraphs=(graph.replace(tensors=half),))
    found = calibrate(model, draw(rng, 2))
    assert set(found.names.values()) == {"x", "y"}
    assert any("1 tensors hold floats" in n and "'h'" in n for n in found.notes)


def test_a_limit_is_not_overstepped(rng: np.random.Generator) -> None:
    samples = iter(draw(rng, 5))
    assert calibrate(graphs.chain(), samples, limit=3).samples == 3
    assert len(list(samples)) == 2


def test_progress(rng: np.random.Generator, capfd) -> None:
    seen: list[int] = []
    calibrate(graphs.chain(), draw(rng, 7), progress=seen.append)
    assert seen[-1] == 7 and seen == sorted(seen)
    calibrate(graphs.chain(), draw(rng, 7))
    out, err = capfd.readouterr()
    assert (out, err) == ("", ""), "quiet in a pipe"


def test_a_bar_on_a_terminal(tmp_path: Path) -> None:
    import pty

    path = tmp_path / "script.py"
    path.write_text(
        "import numpy as np\nfrom qcore.calibrate import calibrate\n"
        "from tests.calibrate import graphs\n"
        "calibrate(graphs.chain(), [np.ones((1, 4), np.float32)] * 50)\n"
    )
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "100"}
    subprocess.run([sys.executable, str(path)], stderr=theirs, env=environment, check=True)
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 1 << 16):
            shown += chunk
    except OSError:
        pass  # Linux says EIO when the other side is closed
    os.close(ours)
    assert b"Calibrating" in shown and b"/50" in shown


def test_states_of_an_lstm(rng: np.random.Generator) -> None:
    samples = draw(rng, 6, (1, 4, 2))
    model = graphs.lstm()
    key = {t.name: TensorKey(0, i) for i, t in enumerate(model.subgraphs[0].tensors)}
    kept = calibrate(model, samples)
    reset = calibrate(model, samples, state="reset")
    for found, order in ((kept, False), (reset, True)):
        again = calibrate(model, samples[::-1], state="reset" if order else "keep")
        assert (again[key["y"]] == found[key["y"]]) is order
        # the state starts at zero, and ends at the last output of the sequence
        assert found[key["h"]].lo[0] <= 0 <= found[key["h"]].hi[0]
        assert found[key["h"]].lo[0] >= min(found[key["y"]].lo[0], 0)
        # without a projection, intermediate 4 is the output; 0..3 do not exist in this kind
        assert found[key["t4"]] == found[key["y"]] and key["t0"] not in found
    single = [calibrate(model, [s]) for s in samples]
    assert reset[key["c"]] == single[0].merge(single[1]).merge(single[2]).merge(single[3]).merge(
        single[4]).merge(single[5])[key["c"]]  # fmt: skip


def test_a_tensor_that_the_runtime_leaves_alone_is_noticed(monkeypatch, rng) -> None:
    from qcore.calibrate.collect import NotWritten, Setting, Worker
    from qcore.calibrate.program import build
    from qcore.observers import MinMax

    monkeypatch.setattr("qcore.peers.interpreter.Session.invoke", lambda self, subgraph: None)
    model = graphs.chain()
    programs = build(model, {0})
    with interpreter.as_file(model) as file:
        setting = Setting(
            file, "litert", "optimized", 1, 1, MinMax(), programs.by_subgraph, (), "",
            ((0, (0,)),), "error", "keep", False,
        )  # fmt: skip
        with pytest.raises(NotWritten, match="does not write tensor 'a' of ADD 0"):
            Worker(setting, MinMax()).run(0, 0, (draw(rng, 1)[0],))


def test_memory_does_not_grow_with_the_samples() -> None:
    few, many = (call("tests.calibrate.targets:peak_memory", n, False) for n in (50, 500))
    assert many - few < 24e6, f"{few / 1e6:.0f} MB after 50 samples, {many / 1e6:.0f} MB after 500"


def test_the_measure_of_memory_sees_growth() -> None:
    few, many = (call("tests.calibrate.targets:peak_memory", n, True) for n in (50, 150))
    assert many - few > 80e6


SCRIPT = """
import numpy as np
from qcore.calibrate import calibrate
from tests.calibrate import graphs
def endless():
    while True:
        yield np.ones((1, 4), np.float32)
print(list(calibrate(graphs.chain(), endless(), limit=2)), flush=True)
calibrate(graphs.chain(), endless())
"""


def test_ctrl_c_while_calibrating(tmp_path: Path) -> None:
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdout is not None and "TensorKey" in process.stdout.readline()
    time.sleep(1.0)
    tasks = Path(f"/proc/{process.pid}/task")
    children = [c for t in tasks.iterdir() for c in (t / "children").read_text().split()]
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert errors.strip().endswith("KeyboardInterrupt")
    assert children and all(gone(int(c)) for c in children)


def test_run_gives_what_the_model_computes(rng: np.random.Generator) -> None:
    samples = draw(rng, 3)
    for runtime_path in ("reference", "optimized", "xnnpack"):
        made = list(interpreter.run(graphs.chain(), iter(samples), path=runtime_path))
        for s, outputs in zip(samples, made, strict=True):
            assert np.array_equal(outputs["y"], (s + 1) * (s + 1))
    (outputs, tensors) = next(
        interpreter.run(graphs.chain(), samples, path="optimized", tensors=True)
    )
    assert np.array_equal(tensors[2], samples[0] + 1) and np.array_equal(tensors[0], samples[0])
    named = next(interpreter.run(graphs.two_inputs(), [(samples[0][:, :3], samples[1][:, :3])]))
    assert list(named) == ["out"]
    with pytest.raises(RuntimeFailed, match="litert"):
        list(interpreter.run(graphs.custom(), samples))
    with pytest.raises(BadInput, match="there is no such file"):
        list(interpreter.run("absent.tflite", samples))


def test_corpus_models(corpus, depth: int) -> None:
    """XNNPACK (the default) against the plain kernels: the same tensors, ranges near."""
    from tests import corpus as module

    compared = 0
    for entry in module.entries()[:: 1 if depth > 1 else 3]:
        if entry.name == "mlperf_kws_dscnn_f32":
            continue  # its hybrid kernels quantize activations, each path in its own way
        samples = list(entry.samples(1))
        ours = calibrate(entry.path, samples)
        reference = calibrate(entry.path, samples, path="optimized")
        assert ours.keys() == reference.keys() and not ours.notes, entry.name
        for key, stats in reference.items():
            scale = max(abs(stats.lo[0]), abs(stats.hi[0]), 1e-30)
            error = (
                max(abs(ours[key].lo[0] - stats.lo[0]), abs(ours[key].hi[0] - stats.hi[0])) / scale
            )
            assert error < 1e-3, f"{entry.name}: {ours.names[key]} differs by {error:.1e}"
            compared += 1
    assert compared > 400
