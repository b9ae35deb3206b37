"""ResNet50 with random weights, quantized by us: a large model of plain convolutions to measure.

    python -m bench.make_resnet50 [OUT]

The float model is built here (He et al. 2015, arXiv:1512.03385, table 1; stride 2 in the 3x3
convolutions; batch norms folded into the biases), calibrated on seeded noise and quantized by the
recipe "int8". Without OUT the file is kept in the cache folder and made once.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from pathlib import Path

import numpy as np

import qcore
import tflite_schema as ts
from kernels.jit import cache_folder
from qcore.testing.build import Builder

SIZE, CLASSES, SEED = 224, 1000, 50
STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))  # channels, blocks, first stride
VERSION = 1  # of the file: part of its name


class Net:
    """A builder that knows the shape of what it last made."""

    def __init__(self, seed: int):
        self.b = Builder()
        self.rng = np.random.default_rng(seed)

    def shape(self, x: int) -> tuple[int, ...]:
        return self.b.tensors[x].shape

    def conv(self, x: int, units: int, size: int, stride: int = 1, relu: bool = True) -> int:
        batch, height, width, channels = self.shape(x)
        spread = math.sqrt((2 if relu else 0.5) / (size * size * channels))
        w = self.rng.standard_normal((units, size, size, channels), np.float32) * spread
        bias = self.rng.standard_normal(units, np.float32) * np.float32(0.05)
        return self.b.op(
            "CONV_2D", [x, w.astype(np.float32), bias],
            (batch, -(-height // stride), -(-width // stride), units),
            padding="SAME", stride_h=stride, stride_w=stride, dilation_h_factor=1,
            dilation_w_factor=1, fused_activation_function="RELU" if relu else "NONE",
        )  # fmt: skip

    def block(self, x: int, middle: int, stride: int) -> int:
        """1x1, 3x3, 1x1 beside the identity or a 1x1 that makes its shape."""
        y = self.conv(x, middle, 1)
        y = self.conv(y, middle, 3, stride)
        y = self.conv(y, 4 * middle, 1, relu=False)
        if self.shape(x) != self.shape(y):
            x = self.conv(x, 4 * middle, 1, stride, relu=False)
        return self.b.op("ADD", [y, x], self.shape(y), fused_activation_function="RELU")


def resnet50(seed: int = SEED) -> ts.Model:
    """The float model."""
    net = Net(seed)
    x = net.conv(net.b.input((1, SIZE, SIZE, 3), "image"), STAGES[0][0], 7, 2)
    batch, height, width, channels = net.shape(x)
    x = net.b.op(
        "MAX_POOL_2D", [x], (batch, height // 2, width // 2, channels), padding="SAME",
        stride_h=2, stride_w=2, filter_height=3, filter_width=3,
    )  # fmt: skip
    for middle, blocks, stride in STAGES:
        for number in range(blocks):
            x = net.block(x, middle, 1 if number else stride)
    channels = net.shape(x)[-1]
    x = net.b.op("MEAN", [x, np.array([1, 2], np.int32)], (1, channels), keep_dims=False)
    w = net.rng.standard_normal((CLASSES, channels), np.float32) / np.float32(math.sqrt(channels))
    x = net.b.op("FULLY_CONNECTED", [x, w, np.zeros(CLASSES, np.float32)], (1, CLASSES))
    return net.b.model([net.b.op("SOFTMAX", [x], (1, CLASSES), beta=1.0)])


def make(out: str | Path) -> Path:
    """Writes the quantized model."""
    model = resnet50()
    rng = np.random.default_rng(SEED)
    samples = [rng.standard_normal((1, SIZE, SIZE, 3), np.float32) for _ in range(4)]
    quantized = qcore.quantize(model, "int8", qcore.calibrate(model, samples))
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=out.parent, delete=False) as part:
        part.write(quantized.to_bytes())
    Path(part.name).replace(out)
    return out


def path() -> Path:
    """The quantized model's file, made when it is not there."""
    found = cache_folder() / f"resnet50_int8-{VERSION}.tflite"
    return found if found.is_file() else make(found)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", nargs="?")
    options = parser.parse_args(argv)
    made = make(options.out) if options.out else path()
    print(f"{made}: {made.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
