"""The matrix and depthwise kernels against NumPy sums and the stages of kernels/stage.py.

On every kind of vector code that this machine runs, by every rule, on shapes with tails everywhere.
"""

from __future__ import annotations

import numpy as np
import pytest

from kernels.ranges import INT8
from kernels.simd import build, depthwise, epilogue, gemm, target
from kernels.simd.runner import ENTRY
from kernels.stage import Rule, Stage

TARGETS = target.available()
GUARDED = slice(3, None, 4)  # channels whose sums come near 2^31
RULES = (Rule.XF, Rule.UP, Rule.DBL, Rule.MIX8, Rule.F64)


def stage_of(rng: np.random.Generator, rule: Rule, channels: int) -> Stage:
    """Some factors above 1, some powers of two, which make ties, and some small enough for guarded
    biases (`GUARDED`)."""
    factor = rng.uniform(0.5, 1, channels) * 2e-4
    factor[::3] = 2.0 ** -rng.integers(9, 14, len(factor[::3]))
    factor[1::5] = 1.7
    factor[GUARDED] = 2.0 ** -rng.uniform(20, 29, len(factor[GUARDED]))
    clamp = (-128, 127) if rng.random() < 0.5 else (-20, 90)
    return Stage.of(rule, factor, int(rng.integers(-128, 128)), clamp, INT8)


def call(name: str, parameters: list[int], units: int) -> None:
    values = np.array(parameters, np.int64)
    ENTRY(build.addresses([name])[name])(values.ctypes.data, 0, units)


def flip() -> np.ndarray:
    found = gemm.aligned(64)
    found[:] = 0x80
    return found


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.name)
@pytest.mark.parametrize("name", TARGETS)
def test_gemm(name: str, rule: Rule, rng: np.random.Generator, depth: int):
    with target.use(name):
        here = target.host()
        cases = [(1, 17, 1, 40), (23, 80, 1, 7), (50, 37, 3, 13), (29, 6, 2, 13), (1, 5, 1, 9)]
        for rows, units, segments, k in cases * depth:
            x = rng.integers(-128, 128, (rows, segments, k)).astype(np.int8)
            w = rng.integers(-128, 128, (units, segments, k)).astype(np.int8)
            bias = rng.integers(-(2**20), 2**20, units)
            bias[GUARDED] = rng.choice([-(2**30), 2**30, -1_900_000_000], len(bias[GUARDED]))
            zero_point = int(rng.integers(-128, 128))
            stage = stage_of(rng, rule, units)
            assert epilogue.fits(stage, 255 * 128 * segments * k + abs(bias))
            held = gemm.aligned(x.size).view(np.int8)
            held[:] = x.ravel()
            out = gemm.aligned(rows * units).view(np.int8)
            out[:] = 77
            fence = out.base[out.ctypes.data - out.base.ctypes.data + out.size :].copy()
            row_offsets = np.arange(rows, dtype=np.int64) * segments * k
            segment_offsets = np.arange(segments, dtype=np.int64) * k
            mask = flip()
            for p in gemm.pack(here, w, bias, zero_point, stage, rows):
                unpacked = gemm.unpack(here, p, segments)[:, :, :k]
                assert (unpacked == w[p.first : p.first + p.channels]).all()
                call(
                    p.kernel,
                    [
                        held.ctypes.data, out.ctypes.data + p.first, p.panels.ctypes.data,
                        row_offsets.ctypes.data, segment_offsets.ctypes.data, segments, p.steps,
                        p.panel_bytes, p.count, rows, units, p.channels, 2, mask.ctypes.data,
                        *epilogue.limits(stage),
                    ],
                    -(-rows // p.height),
                )  # fmt: skip
            sums = np.tensordot(
                x.astype(np.int64) - zero_point, w.astype(np.int64), ((1, 2), (1, 2))
            )
            assert (out.reshape(rows, units) == stage(sums + bias)).all()
            assert (out.base[-fence.size :] == fence).all()  # nothing is written behind the end


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.name)
@pytest.mark.parametrize("name", TARGETS)
def test_depthwise(name: str, rule: Rule, rng: np.random.Generator, depth: int):
    cases = [(9, 70, 3, 1), (8, 130, 3, 2), (9, 24, 3, 1), (7, 20, 3, 2), (9, 5, 5, 1),
             (8, 96, 5, 2), (6, 64, 1, 1), (7, 33, 4, 3)]  # fmt: skip
    with target.use(name):
        here = target.host()
        for size, channels, k, stride in cases * depth:
            x = rng.integers(-128, 128, (size, size, channels)).astype(np.int8)
            w = rng.integers(-128, 128, (k, k, channels)).astype(np.int8)
            bias = rng.integers(-(2**16), 2**16, channels)
            zero_point = int(rng.integers(-128, 128))
            stage = stage_of(rng, rule, channels)
            p = depthwise.pack(here, w, bias, zero_point, stage, stride)
            assert (depthwise.unpack(here, p, channels) == w.reshape(-1, channels)).all()
            n = (size - k) // stride + 1
            held = gemm.aligned(x.size).view(np.int8)
            held[:] = x.ravel()
            out = gemm.aligned(n * n * channels).view(np.int8)
            lines = np.arange(n, dtype=np.int64) * stride * size * channels
            ky, kx = np.divmod(np.maximum(p.taps.ravel(), 0), k)
            taps = ((ky * size + kx) * channels).astype(np.int64)
            mask = flip()
            call(
                p.kernel,
                [
                    held.ctypes.data, out.ctypes.data, p.blocks.ctypes.data, lines.ctypes.data,
                    taps.ctypes.data, p.groups, p.block_bytes, p.count, n, stride * channels,
                    channels, mask.ctypes.data, *epilogue.limits(stage),
                ],
                n,
            )  # fmt: skip
            sums = np.zeros((n, n, channels), np.int64) + bias
            for i in range(k):
                for j in range(k):
                    seen = x[i : i + n * stride : stride, j : j + n * stride : stride][:n, :n]
                    sums += (seen.astype(np.int64) - zero_point) * w[i, j]
            assert (out.reshape(n, n, channels) == stage(sums)).all(), (size, channels, k, stride)


def test_what_leaves_32_bits_is_not_lowered():
    cases = (
        (Rule.UP, 0.99 * 2**-31, 2**30), (Rule.DBL, 2.0, 2**29 - 1), (Rule.XF, 2.0, 2**30 - 300),
    )  # fmt: skip
    for rule, factor, largest in cases:
        stage = Stage.of(rule, [factor], 0, (-128, 127), INT8)
        assert epilogue.fits(stage, largest) and not epilogue.fits(stage, 2**31 - 1), rule
    single = Stage.of(Rule.SGL, [0.5], 0, (-128, 127), INT8)
    assert epilogue.kind_of(single) is None
