#!/usr/bin/env python3
"""Quantize the example model to int8, run it in the official interpreter, show what it cost.

    make demo        or        python examples/demo.py

The first table has the size and the accuracy of both files, the int8 one on each execution path of
the interpreter. The second has, for each layer, how far the int8 values are from the float model's:
SQNR_dB, 10 log10 of the energy of the values over that of their error.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

import qcore
from kernels import affine, ranges
from qcore.inspect import SubgraphInfo, TensorInfo
from qcore.metrics import Difference, top1
from qcore.peers import interpreter

HERE = Path(__file__).resolve().parent
MODEL, DATA = HERE / "symbols.tflite", HERE / "symbols.npz"
OUT = HERE.parent / "out" / "symbols_int8.tflite"
PATHS = ("reference", "optimized", "xnnpack")
BATCH = 100


def graph(file: Path) -> SubgraphInfo:
    return qcore.inspect(qcore.load(file)).subgraphs[0]


def stored(real: np.ndarray, tensor: TensorInfo) -> np.ndarray:
    """float32 values as the tensor stores them."""
    if not tensor.quantized:
        return real
    return affine.quantize(real, np.float32(tensor.scale[0]), tensor.zero_point[0], ranges.INT8)


def real(values: np.ndarray, tensor: TensorInfo) -> np.ndarray:
    """The real numbers that a tensor's stored values stand for."""
    if not tensor.quantized:
        return values
    return affine.dequantize(values, np.float32(tensor.scale[0]), tensor.zero_point[0])


def run(file: Path, pictures: np.ndarray, path: str) -> Iterator[dict[int, np.ndarray]]:
    """Every tensor of each batch, as the interpreter computed it: tensor index -> array."""
    port = graph(file).tensors[graph(file).inputs[0]]
    batches = (stored(pictures[i : i + BATCH], port) for i in range(0, len(pictures), BATCH))
    for _, tensors in interpreter.run(file, batches, path=path, tensors=True):
        yield tensors


def accuracy(file: Path, pictures: np.ndarray, labels: np.ndarray, path: str) -> float:
    (output,) = graph(file).outputs
    return top1(np.concatenate([t[output] for t in run(file, pictures, path)]), labels)


def layers(pictures: np.ndarray) -> dict[int, Difference]:
    """Operator of the int8 file -> how far its output is from the float model's, over all pictures.

    A tensor keeps its name when it is quantized; that is how the two files are matched.
    """
    theirs, ours = graph(MODEL), graph(OUT)
    by_name = {t.name: t for t in theirs.tensors}
    found = {}
    pairs = zip(run(MODEL, pictures, "optimized"), run(OUT, pictures, "optimized"), strict=True)
    for expected, got in pairs:
        for op in ours.operators:
            tensor = ours.tensors[op.outputs[0]]
            if tensor.name in by_name:
                want = expected[by_name[tensor.name].index]
                more = Difference.of(want, real(got[tensor.index], tensor))
                found[op.index] = found.get(op.index, Difference()) + more
    return found


def main() -> int:
    console = Console()
    OUT.parent.mkdir(exist_ok=True)

    started = time.perf_counter()
    model = qcore.load(MODEL)
    samples = qcore.data.open(DATA, std=255)
    quantized = qcore.quantize(model, recipe="int8", calibration=samples)
    quantized.save(OUT)
    console.print(
        f"quantized in {time.perf_counter() - started:.1f} s: {OUT.relative_to(HERE.parent)}"
    )

    with np.load(DATA) as arrays:
        pictures, labels = arrays["x_test"].astype(np.float32) / np.float32(255), arrays["y_test"]
    files = Table("file", "size", "path of the interpreter", "accuracy", box=box.SIMPLE_HEAD,
                  title=f"{len(labels):,} labelled pictures in LiteRT {version('ai-edge-litert')}",
                  title_justify="left")  # fmt: skip
    for file, paths in ((MODEL, ("xnnpack",)), (OUT, PATHS)):
        for path in paths:
            share = accuracy(file, pictures, labels, path)
            files.add_row(file.name, f"{file.stat().st_size / 1000:.1f} kB", path, f"{share:.1%}")
    console.print(files)

    ours = graph(OUT)
    table = Table(box=box.SIMPLE_HEAD, title="layers of the int8 file", title_justify="left")
    for name in ("#", "operator", "output", "scale", "zero point", "SQNR_dB"):
        table.add_column(name, justify="left" if name in ("operator", "output") else "right")
    for index, difference in layers(pictures).items():
        op = ours.operators[index]
        tensor = ours.tensors[op.outputs[0]]
        table.add_row(str(index), op.name, "x".join(map(str, tensor.shape or ())),
                      f"{tensor.scale[0]:.6f}", str(tensor.zero_point[0]),
                      f"{difference.SQNR_dB:.1f}")  # fmt: skip
    console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
