"""The compiled kernels by themselves: matrix products, depthwise, elementwise, rows."""

from __future__ import annotations

import pytest

from bench import single
from kernels.profile import PATHS
from kernels.simd.program import Foreign

GEMM = ((12544, 96, 16), (3136, 144, 24), (196, 480, 80), (196, 80, 480), (49, 192, 1152),
        (512, 512, 512), (1, 1000, 1280))  # fmt: skip
DEPTHWISE = ((112, 32, 3, 1), (112, 96, 3, 2), (56, 144, 3, 1), (28, 240, 5, 1), (14, 672, 5, 2),
             (7, 1152, 5, 1))  # fmt: skip
CONVOLUTION = ((224, 3, 32, 3, 2), (32, 16, 16, 3, 1), (8, 64, 64, 3, 1), (56, 64, 64, 3, 1))
ELEMENTWISE = (("ADD", 2), ("SUB", 2), ("MUL", 2), ("LOGISTIC", 1))


def time(benchmark, call, macs: int = 0) -> None:
    """The call's program, from its kernels' table; GMAC/s beside the time."""
    segment = single.program(call).instance(0).segments[0]
    assert not isinstance(segment, Foreign)
    benchmark(single.rows(segment[0]))
    if macs and benchmark.stats:
        benchmark.extra_info["GMAC/s"] = macs / benchmark.stats.stats.min / 1e9


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("m, n, k", GEMM)
def test_gemm(benchmark, m, n, k, path):
    time(benchmark, single.dense(m, n, k, path), m * n * k)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("size, channels, kernel, stride", DEPTHWISE)
def test_depthwise(benchmark, size, channels, kernel, stride, path):
    call = single.convolution("DEPTHWISE_CONV_2D", size, channels, 0, kernel, stride, path)
    time(benchmark, call, (-(-size // stride)) ** 2 * channels * kernel**2)


@pytest.mark.parametrize("size, channels, units, kernel, stride", CONVOLUTION)
def test_convolution(benchmark, size, channels, units, kernel, stride):
    call = single.convolution("CONV_2D", size, channels, units, kernel, stride)
    time(benchmark, call, (-(-size // stride)) ** 2 * channels * units * kernel**2)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name, count", ELEMENTWISE)
def test_elementwise(benchmark, name, count, path):
    time(benchmark, single.elementwise(name, (1, 56, 56, 24), count, path))


@pytest.mark.parametrize("shape", [(1, 10), (1, 1000), (196, 49)], ids=str)
def test_softmax(benchmark, shape):
    time(benchmark, single.softmax(shape))


def test_dot_instruction(benchmark):
    """The peak that the products above are measured against."""
    benchmark.extra_info["GMAC/s"] = benchmark.pedantic(single.peak_rate, rounds=3) / 1e9
