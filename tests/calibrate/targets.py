"""What the tests of this folder run in child processes: oracles and ways to die."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np


def tflite_ranges(file: str, samples: list[list[np.ndarray]]) -> dict[tuple[int, int], Any]:
    """What TensorFlow's own Calibrator records: (subgraph, tensor) -> (name, min, max)."""
    from tensorflow.lite.python import schema_py_generated as schema
    from tensorflow.lite.python.optimize.calibrator import Calibrator

    with open(file, "rb") as stream:
        content = stream.read()
    made = Calibrator(content).calibrate(lambda: iter(samples))
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(bytes(made), 0))
    found = {}
    for s, graph in enumerate(model.subgraphs):
        for i, tensor in enumerate(graph.tensors):
            q = tensor.quantization
            if q is not None and q.min is not None and len(q.min):
                found[s, i] = (
                    tensor.name.decode(), float(np.float32(q.min[0])), float(np.float32(q.max[0]))
                )  # fmt: skip
    return found


def add(a: Any, b: Any) -> Any:
    print("chatter that is not the answer")
    return a + b


def each(items: Iterable[np.ndarray]) -> Iterator[float]:
    for item in items:
        yield float(item.sum())


def first_only(items: Iterable[np.ndarray]) -> float:
    return float(next(iter(items)).sum())


def abort() -> None:
    print("the runtime says: no such kernel", file=sys.stderr)
    os.abort()


def segfault() -> None:
    ctypes.string_at(0)


def leave() -> None:
    print("leaving")
    sys.stdout.flush()
    os._exit(3)


def hang(seconds: float = 60.0) -> None:
    print("going to sleep", flush=True)
    time.sleep(seconds)


def hang_in_native_code(seconds: int = 60) -> None:
    """Sleeps with Python's lock held, as a native library may."""
    ctypes.PyDLL(None).sleep(seconds)


def grow() -> None:
    kept = []
    while True:
        kept.append(np.ones(1 << 20))
        time.sleep(0.002)


def refuse() -> None:
    raise ValueError("this is no model")


def our_error() -> None:
    from qcore.errors import BadSample

    raise BadSample("sample 3 is bad")


def chatter(lines: int) -> int:
    for i in range(lines):
        print(f"line {i} " + "x" * 100)
    return lines


def peak_memory(samples: int, keep: bool) -> int:
    """Bytes: our own peak plus that of the calibrating child, after so many 1 MB samples.

    keep: hold all of them in a list, as a calibrator that collects its samples would.
    """
    import resource

    from qcore.calibrate import calibrate
    from tests.calibrate import graphs

    shape = (1, 512, 512)
    model = graphs.model(
        {"x": shape, "one": np.ones((1, 1, 1), np.float32), "y": shape},
        [("ADD", ["x", "one"], ["y"], graphs.ADD)],
        ["x"],
        ["y"],
    )
    stream: Any = (np.full(shape, i, np.float32) for i in range(samples))
    calibrate(model, list(stream) if keep else stream, threads=2)
    return 1024 * sum(
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
