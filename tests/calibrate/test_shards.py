"""Calibration over an executor is one pass over all samples, to the last bit and note."""

from __future__ import annotations

from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor

import numpy as np
import pytest

from qcore.calibrate import calibrate
from qcore.errors import BadInput, BadSample, RuntimeFailed
from tests.calibrate import graphs


def samples(rng: np.random.Generator, count: int = 7) -> list[np.ndarray]:
    return [rng.standard_normal((1, 4)).astype(np.float32) for _ in range(count)]


@pytest.mark.parametrize("observer", ["minmax", "histogram", "moving_average"])
def test_shards_are_one_pass(rng: np.random.Generator, observer: str) -> None:
    given = samples(rng)
    once = calibrate(graphs.chain(), given, observer, progress=False)
    told: list[int] = []
    with ThreadPoolExecutor(2) as executor:
        parts = calibrate(
            graphs.chain(), iter(given), observer, executor=executor, shard=3, progress=told.append
        )
    assert parts == once and parts.samples == 7 and told[-1] == 7
    assert len(once) == 3 and once != calibrate(graphs.chain(), given[:6], observer)


def test_counts_of_values_left_out_add_up(rng: np.random.Generator) -> None:
    given = samples(rng, 4)
    given[0][0, 1] = given[3][0, 2] = np.nan
    once = calibrate(graphs.chain(), given, nonfinite="skip")
    with ThreadPoolExecutor(1) as executor:
        parts = calibrate(graphs.chain(), given, nonfinite="skip", executor=executor, shard=2)
        assert parts == once and any(note.startswith("2 values") for note in parts.notes)
        with pytest.raises(BadSample, match="sample 3"):
            calibrate(graphs.chain(), [given[1], *given[1:]], executor=executor, shard=2)


class Broken(Executor):
    def submit(self, fn, /, *args, **kwargs):
        future: Future = Future()
        future.set_exception(BrokenExecutor("a process died"))
        return future


def test_what_cannot_be() -> None:
    with pytest.raises(BadInput, match="shard is 0"):
        calibrate(graphs.chain(), [np.zeros((1, 4), np.float32)], shard=0)
    with pytest.raises(RuntimeFailed, match="the executor gave up"):
        calibrate(graphs.chain(), [np.zeros((1, 4), np.float32)], executor=Broken())
    with pytest.raises(BadInput, match="not a single sample"):
        calibrate(graphs.chain(), [], executor=Broken())
