"""A synthetic float model of any size, for what memory a quantizer needs.

    python -m bench.make_large out.tflite [--gigabytes 3] [--width 8192]

A chain of FULLY_CONNECTED layers whose weights are made block by block while the file is written
(never a whole layer in memory), each block from its own seed, so that the file is always the same.
Past 2 GB the constants lie after the flatbuffer, as LiteRT's converter writes them.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import tflite_schema as ts

ROWS = 64  # of a layer's weights made at a time


@dataclass(frozen=True)
class Weights:
    """(out, into) float32 weights of layer `layer`, uniform in +-1/sqrt(into)."""

    layer: int
    out: int
    into: int

    def chunks(self) -> Iterator[np.ndarray]:
        """Blocks of ROWS rows; may be called again."""
        bound = np.float32(1 / np.sqrt(self.into))
        for row in range(0, self.out, ROWS):
            rng = np.random.Generator(np.random.SFC64([self.layer, row]))
            block = rng.random((min(ROWS, self.out - row), self.into), np.float32)
            block *= 2 * bound
            block -= bound
            yield block

    @property
    def nbytes(self) -> int:
        return 4 * self.out * self.into


def large(nbytes: int, width: int = 8192) -> ts.Model:
    """A model with at least `nbytes` of weights in layers of (width, width)."""
    layers = max(1, -(-nbytes // (4 * width * width)))
    buffers = [ts.Buffer()]
    tensors = [ts.Tensor(shape=(1, width), name="x")]
    operators = []
    options = ts.Options("FullyConnectedOptions", fused_activation_function="RELU")
    for layer in range(layers):
        weights = Weights(layer, width, width)
        buffers.append(ts.Buffer(ts.Deferred(weights.nbytes, weights.chunks)))
        tensors.append(ts.Tensor(shape=(width, width), buffer=layer + 1, name=f"layer_{layer}/w"))
        tensors.append(ts.Tensor(shape=(1, width), name=f"layer_{layer}/y"))
        source = 0 if layer == 0 else 2 * layer
        operators.append(
            ts.Operator(
                code=ts.OperatorCode.of("FULLY_CONNECTED"),
                inputs=(source, 2 * layer + 1, -1),
                outputs=(2 * layer + 2,),
                options=options,
            )
        )
    graph = ts.SubGraph(
        tensors=tuple(tensors), inputs=(0,), outputs=(2 * layers,), operators=tuple(operators),
        name="main",
    )  # fmt: skip
    return ts.Model(subgraphs=(graph,), buffers=tuple(buffers), description="synthetic")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out")
    parser.add_argument("--gigabytes", type=float, default=3.0)
    parser.add_argument("--width", type=int, default=8192)
    options = parser.parse_args(argv)
    ts.write(large(int(options.gigabytes * 1e9), options.width), options.out)
    print(f"{options.out}: {Path(options.out).stat().st_size / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
