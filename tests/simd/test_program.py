"""Programs: arenas do not overlap, batches and threads change nothing, Python fills the gaps."""

from __future__ import annotations

import numpy as np
import pytest

import qcore
from kernels import ops
from kernels.profile import PATHS
from kernels.simd import target
from kernels.simd.program import Block, Form, Instance, NotLowered, Plan, Program, Step
from qcore.errors import BadInput, BadSample
from tests.execute.models import counter, dense


@pytest.fixture
def images(rng):
    return rng.integers(-128, 128, (37, 7)).astype(np.int8)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_batch_is_its_images(images, path, threads):
    whole = qcore.Executor(dense(), path).batch(images, threads)["y1"]
    slow = qcore.Executor(dense(), path, "reference")
    want = np.concatenate([next(slow.run([x[None]]))["y1"] for x in images])
    assert whole.shape == (37, 5) and (whole == want).all()


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr("qcore.execute.HELD", 1)
    monkeypatch.setattr("qcore.execute.LEAST", 3)


@pytest.mark.parametrize("dtype", [np.int8, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(7,), (1, 7)])
def test_stacked_samples_are_run_as_each_alone(images, small_blocks, dtype, shape):
    samples = images.reshape(-1, *shape).astype(dtype)
    samples = samples if dtype == np.int8 else samples * 0.05 + 0.013
    executor = qcore.Executor(dense(), "optimized")
    want = list(qcore.Executor(dense(), "optimized", "reference").run(list(samples)))
    found = list(executor.run(samples))
    assert len(found) == len(want) == 37
    assert all(a["y1"].shape == b["y1"].shape for a, b in zip(found, want))
    assert all((a["y1"] == b["y1"]).all() for a, b in zip(found, want))
    assert all((a["y1"] == b["y1"]).all() for a, b in zip(executor.run(list(samples)), want))
    rows = np.concatenate([one["y1"] for one in want])
    for threads in (1, 2, 3):
        assert (executor.batch(samples, threads)["y1"] == rows).all()
        made = qcore.run(dense(), samples, "optimized", each=True, threads=threads)
        assert (made["y1"] == rows).all()


def test_stacked_samples_are_taken_as_they_are_asked_for(images, small_blocks, monkeypatch):
    seen = []
    right = Program.run
    monkeypatch.setattr(
        Program, "run", lambda self, n, *rest: seen.append(n) or right(self, n, *rest)
    )
    monkeypatch.setattr("kernels.simd.build.cores", lambda: 2)
    found = qcore.Executor(dense(), "xnnpack").run(images)
    next(found)
    assert seen == [6]
    assert len(list(found)) == 36 and seen == [6] * 6 + [1]


def test_samples_that_differ_are_run_one_by_one(images):
    executor = qcore.Executor(dense())
    assert executor.batch([images[0], images[:1]])["y1"].shape == (2, 5)
    for samples in ([images[0], images[:1]], [images[0], images[1].tolist()], [images[0] * 0.1]):
        assert len(list(executor.run(samples))) == len(samples)
    with pytest.raises(BadSample, match=r"sample 1: .* takes shape"):
        list(executor.run([images[0], images[1, :3]]))


def test_a_bad_sample_of_many_is_named(images, small_blocks):
    wide = images.astype(np.int64)
    wide[29, 4] = 300
    with pytest.raises(BadSample, match=r"sample 29: .* holds -128 to 127"):
        qcore.Executor(dense()).batch(wide)


def test_samples_that_are_batches_themselves(images):
    """Python computes what the program does not take."""
    pairs = images[:36].reshape(18, 2, 7)
    made = qcore.Executor(dense(), "optimized").batch(pairs)["y1"]
    want = qcore.Executor(dense(), "optimized", "reference").batch(pairs)["y1"]
    assert made.shape == (18, 2, 5) and (made == want).all()


def test_a_team_computes_the_same(images):
    executor = qcore.Executor(dense(), "xnnpack")
    program = executor.program(0)
    assert program is not None and program.native
    one = program.run(1, [images[:1, None]], 1)[0]
    assert (program.run(1, [images[:1, None]], 2)[0] == one).all()


def test_without_a_program(images):
    executor = qcore.Executor(counter(read=(1, 2)), "reference")
    assert executor.program(0) is None
    made = executor.batch(np.ones((4, 2), np.float32))
    (array,) = made.values()
    assert array.tolist() == [[1, 1], [2, 2], [3, 3], [4, 4]]


def test_python_fills_the_gaps(images, monkeypatch):
    """An operator that cannot be lowered stands between two that can."""

    def refuse(call, to):
        raise NotLowered("not this one")

    lowered = qcore.Executor(dense(), "xnnpack").batch(images)["y1"]
    monkeypatch.setattr(ops.module("FULLY_CONNECTED"), "lower", refuse)
    executor = qcore.Executor(dense(), "xnnpack")
    program = executor.program(0)
    assert program is not None and not any(isinstance(s, Step) for s in program.steps)
    assert (executor.batch(images)["y1"] == lowered).all()


def test_a_team_computes_what_stands_around_python(images, monkeypatch):
    """One image by two threads, where Python computes the second of two operators."""
    lower = ops.module("FULLY_CONNECTED").lower

    def first(call, to):
        if call.inputs[1].shape == (5, 5):
            raise NotLowered("not this one")
        lower(call, to)

    want = qcore.Executor(dense(), "reference").batch(images[:1])["y1"]
    monkeypatch.setattr(ops.module("FULLY_CONNECTED"), "lower", first)
    program = qcore.Executor(dense(), "reference").program(0)
    assert program is not None and not program.native
    shared: list[object] = []
    inner = Instance.shared

    def share(self, table, together, members):
        shared.append(table)
        inner(self, table, together, members)

    monkeypatch.setattr(Instance, "shared", share)
    for _ in range(3):  # the first finds out how long it takes
        assert (program.run(1, [images[:1, None]], 2)[0] == want).all()
    assert len(shared) == 2


@pytest.mark.parametrize("name", target.available())
def test_every_target_gives_the_same(images, name):
    want = qcore.Executor(dense(), "optimized", "reference")
    with target.use(name):
        made = qcore.Executor(dense(), "optimized").batch(images[:5])["y1"]
    assert (made == np.concatenate([next(want.run([x[None]]))["y1"] for x in images[:5]])).all()


def test_blocks_in_use_together_do_not_overlap(rng):
    plan = Plan()
    for i in range(60):
        first = int(rng.integers(0, 20))
        last = first + int(rng.integers(0, 6))
        plan.blocks.append(Block(int(rng.integers(1, 5000)), first, last))
        plan.tensors[i] = (len(plan.blocks) - 1, Form((1,), np.dtype(np.int8)))
    offsets, size = plan._arena()
    used = [(o, o + b.size, b) for o, b in zip(offsets, plan.blocks)]
    for i, (start, stop, a) in enumerate(used):
        assert start % 64 == 0 and stop <= size
        for other_start, other_stop, b in used[:i]:
            together = a.first <= b.last and b.first <= a.last
            assert not together or stop <= other_start or other_stop <= start
    assert size < sum(b.size for b in plan.blocks)  # memory is used again


def test_tensors_can_be_kept(images):
    executor = qcore.Executor(dense(), "xnnpack")
    slow = qcore.Executor(dense(), "xnnpack", "reference")
    _, fast_tensors = next(executor.run([images[:1]], tensors=True))
    _, slow_tensors = next(slow.run([images[:1]], tensors=True))
    assert fast_tensors.keys() == slow_tensors.keys()
    assert all((fast_tensors[t] == slow_tensors[t]).all() for t in slow_tensors)


def test_wrong_batches(images):
    executor = qcore.Executor(dense(), "xnnpack")
    with pytest.raises(BadSample, match="takes 'x'"):
        executor.batch({"z": images})
    with pytest.raises(BadSample, match="takes shape"):
        executor.batch(images[:, :3])
    with pytest.raises(BadSample, match="no samples"):
        executor.batch(images[:0])
    with pytest.raises(BadInput, match="each=True"):
        qcore.run(dense(), images, tensors=True, each=True)


def test_small_programs_stay_with_one_thread(images, monkeypatch):
    monkeypatch.setattr("kernels.simd.program.MEETING", 10.0)
    program = qcore.Executor(dense(), "xnnpack").program(0)
    want = program.run(1, [images[:1, None]])[0]
    monkeypatch.setattr("kernels.simd.program.Instance.shared", None)
    assert (program.run(1, [images[:1, None]], 2)[0] == want).all()
