"""The two sides of a measurement in one process: our program and the official interpreter."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import qcore
from bench import make_resnet50
from kernels.simd.program import Program
from qcore.peers.interpreter import PATHS
from tests import corpus

RESNET50 = "resnet50_int8"


def pin(threads: int) -> None:
    """This process on as many cores as it has threads."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])


def path_of(model: str) -> Path:
    """A model of the corpus by its name in the manifest, the made ResNet50, or a file."""
    if model == RESNET50:
        return make_resnet50.path()
    return Path(model) if model.endswith(".tflite") else corpus.entry(model).path


@dataclass(frozen=True)
class Ours:
    """A model's program, and its inputs for `count` images."""

    program: Program
    inputs: list[np.ndarray]

    @classmethod
    def of(cls, model: str, profile: str, count: int) -> Ours:
        """Inputs: the corpus's own, else noise over all integers; repeated up to `count`."""
        executor = qcore.Executor(path_of(model), profile)
        program = executor.program(0)
        if program is None:
            raise SystemExit(f"{model} has no compiled program")
        block = executor.blocks[0]
        tensors = block.graph.inputs
        given: list[np.ndarray] = []
        if model != RESNET50 and not model.endswith(".tflite") and len(tensors) == 1:
            entry = corpus.entry(model)
            given = [block.encode(tensors[0], x) for x in entry.samples(count)]
        if given:
            return cls(program, [np.stack([given[i % len(given)] for i in range(count)])])
        rng = np.random.default_rng(0)
        forms = [program.tensors[t][1] for t in tensors]
        return cls(program, [noise(rng, (count, *f.shape), f.dtype) for f in forms])

    def run(self, count: int, threads: int) -> list[np.ndarray]:
        return self.program.run(count, [x[:count] for x in self.inputs], threads)


def noise(rng: np.random.Generator, shape: Sequence[int], dtype: np.dtype) -> np.ndarray:
    """Every value of an integer type equally often; standard normal floats."""
    if dtype.kind == "f":
        return rng.standard_normal(shape).astype(dtype)
    ends = np.iinfo(dtype)
    return rng.integers(ends.min, ends.max + 1, shape).astype(dtype)


class Theirs:
    """ai-edge-litert's interpreter on one of its paths. Inputs: images on the first axis."""

    def __init__(self, file: str | Path | bytes, path: str, threads: int, batch: int | None = None):
        """batch: images of one invocation; raises RuntimeError where the model has another."""
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        given = {"model_content": file} if isinstance(file, bytes) else {"model_path": str(file)}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.it = Interpreter(
                **given, num_threads=threads,
                experimental_op_resolver_type=getattr(OpResolverType, PATHS[path]),
            )  # fmt: skip
        self.ins = [d["index"] for d in self.it.get_input_details()]
        self.outs = [d["index"] for d in self.it.get_output_details()]
        if batch is not None:
            for detail in self.it.get_input_details():
                shape = (batch * detail["shape"][0], *detail["shape"][1:])
                self.it.resize_tensor_input(detail["index"], shape)
        self.it.allocate_tensors()

    def one(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Set the inputs, invoke, take a copy of the outputs."""
        for index, array in zip(self.ins, inputs):
            self.it.set_tensor(index, array)
        self.it.invoke()
        return [self.it.get_tensor(index) for index in self.outs]


def batched(model: str, path: str, threads: int, ours: Ours, count: int) -> Theirs | None:
    """An interpreter that takes `count` images in one invocation; None where it does not, or
    does not compute the same for them."""
    try:
        found = Theirs(path_of(model), path, threads, count)
        made = found.one([x.reshape(-1, *x.shape[2:]) for x in ours.inputs])
    except (RuntimeError, ValueError):
        return None
    expected = ours.run(count, threads)
    same = all(a.size == b.size and (a.ravel() == b.ravel()).all() for a, b in zip(made, expected))
    return found if same else None


def in_turn(
    sides: dict[str, Callable[[], object]], seconds: float, blocks: int = 15
) -> dict[str, float]:
    """Median seconds of one call of each side: every side for a block of calls, again and again.

    The median is over the blocks' medians, so noise of a while hits all sides. A side whose one
    call takes long gets fewer blocks, but three at least.
    """
    calls, found = {}, {name: [] for name in sides}
    for name, side in sides.items():
        start = time.perf_counter()
        side()
        once = time.perf_counter() - start
        if once < seconds / blocks:  # the first call warms up
            start = time.perf_counter()
            side()
            once = time.perf_counter() - start
        calls[name] = max(1, min(2000, int(seconds / blocks / len(sides) / max(once, 1e-7))))
    begun = time.perf_counter()
    for block in range(blocks):
        for name, side in sides.items():
            times = []
            for _ in range(calls[name]):
                start = time.perf_counter()
                side()
                times.append(time.perf_counter() - start)
            found[name].append(float(np.median(times)))
        if block >= 2 and time.perf_counter() - begun > 2 * seconds:
            break
    return {name: float(np.median(times)) for name, times in found.items()}
