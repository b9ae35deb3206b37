"""What the side-by-side programs in bench/ check and add up, without timing anything."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from bench import evaluate, speed, targets

LABELS = np.array([0, 1, 1, 0])


def scores(x: np.ndarray) -> np.ndarray:
    """Right for the first three of four images."""
    return np.array([[5, 1], [1, 5], [1, 5], [1, 5]], np.int8)[: len(x)]


def wrong(x: np.ndarray) -> np.ndarray:
    made = scores(x)
    made[2, 0] ^= 1
    return made


def test_every_way_is_compared():
    x = np.zeros((4, 2, 2, 1), np.float32)
    theirs = {"one image at a time": scores, "batches of 2": scores, "batches of 4": wrong}
    rows = evaluate.timed(x, {"qcore.run, each": scores, "b": wrong}, theirs, LABELS, 0.001)
    by_name = {r["how"]: r for r in rows}
    assert len(rows) == 4  # of the batches one
    assert by_name["qcore.run, each"]["differ"] == 0 and by_name["b"]["differ"] == 1
    assert all(r["outputs"] == 8 and r["top-1 %"] == 75 and r["images/s"] > 0 for r in rows)
    (line,) = evaluate.summary([{"profile": "xnnpack", "threads": 1, **r} for r in rows])
    assert line["x, one image at a time"] > 0


@pytest.mark.parametrize("flip", [0, 1])
def test_an_output_that_differs_ends_the_measurement(flip):
    ours = SimpleNamespace(
        inputs=[np.zeros((4, 1))], run=lambda count, threads: [scores(np.zeros(count))]
    )
    answers = iter(scores(np.zeros(4)) ^ np.array([[0, 0], [0, 0], [flip, 0], [0, 0]], np.int8))
    theirs = SimpleNamespace(one=lambda inputs: [next(answers)])
    if flip:
        with pytest.raises(SystemExit, match="image 2: 1 of 2 outputs differ"):
            speed.same(ours, theirs, 4, 1)
    else:
        assert speed.same(ours, theirs, 4, 1) == 8


def test_rates_of_operators_are_of_their_sums():
    def row(model, name, kinds):
        times = {"outputs": 3, "single": 1.0, "batch": 0.5}
        return {"model": model, "target": name, "kinds": kinds, **times}

    rows = [
        row("a", "avx2", {"CONV_2D": [10.0, 30.0]}),
        row("a", "portable", {"CONV_2D": [100.0, 3.0]}),
        row("b", "avx2", {"CONV_2D": [30.0, 10.0]}),
    ]
    found = {(r["model"], r["operator"]): r for r in targets.by_operator(rows)}
    assert found["all", "CONV_2D"]["avx2 GMAC/s"] == pytest.approx(15)
    assert found["all", "CONV_2D"]["portable GMAC/s"] == pytest.approx(3)
    assert found["b", "CONV_2D"]["portable GMAC/s"] is None
    assert next(reversed(found)) == ("all", "CONV_2D")
    first, second = targets.by_model(rows)
    assert first["outputs"] == 6 and first["portable batch"] == 0.5
    assert second["portable single"] is None and list(second) == list(first)
