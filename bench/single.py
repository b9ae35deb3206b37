"""One operator as a program of its own, made from sizes: what the kernel benchmarks time."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from kernels import ops
from kernels.call import Call, Tensor
from kernels.profile import Profile
from kernels.simd import build, peak
from kernels.simd.gemm import aligned
from kernels.simd.program import Form, Plan, Program
from kernels.simd.runner import ENTRY
from kernels.simd.target import host

SEED = 0


def tensor(shape: Sequence[int], scale: float = 0.05, zero_point: int = -3) -> Tensor:
    """int8 noise."""
    x = np.random.default_rng(SEED).integers(-128, 128, shape).astype(np.int8)
    return Tensor("int8", x, np.array([scale], np.float32), np.array([zero_point]))


def weights(shape: Sequence[int], axis: int) -> tuple[Tensor, Tensor]:
    """int8 noise with a scale for each channel, and an int32 bias."""
    rng = np.random.default_rng(SEED)
    w = rng.integers(-127, 128, shape).astype(np.int8)
    scale = rng.uniform(0.5, 1, shape[axis]).astype(np.float32) * np.float32(1e-2)
    zeros = np.zeros(shape[axis], np.int64)
    bias = rng.integers(-1000, 1000, shape[axis]).astype(np.int32)
    return (
        Tensor("int8", w, scale, zeros, axis, constant=True),
        Tensor("int32", bias, scale * np.float32(0.05), zeros, 0, constant=True),
    )


def output(shape: Sequence[int], scale: float = 0.5, zero_point: int = 4) -> Tensor:
    return replace(tensor((), scale, zero_point), data=None, declared=tuple(shape))


def call(name: str, inputs: Sequence[Tensor], out: Tensor, profile: str, **options: Any) -> Call:
    fields = SimpleNamespace(**{**OPTIONS.get(name, {}), **options})
    return Call(name, tuple(inputs), (out,), fields, Profile(profile))


OPTIONS: dict[str, dict[str, Any]] = {
    "FULLY_CONNECTED": {"fused_activation_function": 0, "keep_num_dims": False},
    "ADD": {"fused_activation_function": 0, "pot_scale_int16": True},
    "MUL": {"fused_activation_function": 0},
    "SOFTMAX": {"beta": 1.0},
}


def dense(m: int, n: int, k: int, profile: str = "xnnpack") -> Call:
    """FULLY_CONNECTED: the matrix kernel alone."""
    return call("FULLY_CONNECTED", (tensor((m, k)), *weights((n, k), 0)), output((m, n)), profile)


def convolution(
    name: str, size: int, channels: int, units: int, kernel: int, stride: int = 1,
    profile: str = "xnnpack",
) -> Call:  # fmt: skip
    """CONV_2D or DEPTHWISE_CONV_2D on a square image, padding SAME."""
    deep = name == "DEPTHWISE_CONV_2D"
    shape = (1, kernel, kernel, channels) if deep else (units, kernel, kernel, channels)
    side = -(-size // stride)
    return call(
        name, (tensor((1, size, size, channels)), *weights(shape, 3 if deep else 0)),
        output((1, side, side, channels if deep else units)), profile, padding=0, stride_h=stride,
        stride_w=stride, dilation_h_factor=1, dilation_w_factor=1, fused_activation_function=0,
        **({"depth_multiplier": 1} if deep else {}),
    )  # fmt: skip


def softmax(shape: Sequence[int], profile: str = "xnnpack") -> Call:
    return call("SOFTMAX", (tensor(shape),), output(shape, 1 / 256, -128), profile)


def elementwise(name: str, shape: Sequence[int], count: int, profile: str = "xnnpack") -> Call:
    """An operator of `count` inputs of one shape."""
    out = output(shape, 1 / 256, -128) if name == "LOGISTIC" else output(shape)
    return call(name, [tensor(shape)] * count, out, profile)


def program(given: Call) -> Program:
    """The call's program, its inputs in the arena of instance 0. Raises NotLowered."""
    plan = Plan()
    numbers = [None if t is None or t.constant else p for p, t in enumerate(given.inputs)]
    for p in numbers:
        if p is not None:
            plan.input(p, Form(given[p].shape, given[p].held))
    unknown = tuple(
        t if t is None or t.constant else replace(t, data=None, declared=t.shape)
        for t in given.inputs
    )
    outputs = [len(numbers) + i for i in range(len(given.outputs))]
    forms = [Form(t.shape, t.held) for t in given.outputs]
    planned = ops.resolve(given.on(inputs=unknown))
    lowering = plan.operator(planned, numbers, outputs, forms)
    ops.module(given.name).lower(planned, lowering)
    lowering.done()
    made = plan.finish([p for p in numbers if p is not None], outputs)
    for p in made.inputs:
        made.instance(0).view(p)[...] = given.x(p)
    return made


def best(function: Callable[[], object], seconds: float = 0.02, least: int = 5) -> float:
    """Least seconds of a call, of as many calls as the time allows."""
    function()
    found, count = float("inf"), 0
    end = time.perf_counter() + seconds
    while count < least or time.perf_counter() < end:
        start = time.perf_counter()
        function()
        found = min(found, time.perf_counter() - start)
        count += 1
    return found


def rows(table: np.ndarray, repeat: int = 1) -> Callable[[], None]:
    """Calls the kernels of a program's table (address, units, parameters), the whole `repeat`
    times in one call."""
    many = np.ascontiguousarray(np.tile(table.reshape(-1, 3), (repeat, 1)))
    empty = np.zeros(1, np.int64)
    given = np.array([len(many), many.ctypes.data, 0, 0, empty.ctypes.data], np.int64)
    run = ENTRY(build.addresses(["runner_images"])["runner_images"])
    kept = (many, empty, given)  # the addresses are theirs

    def go() -> None:
        run(kept[2].ctypes.data, 0, 1)

    return go


def peak_rate(seconds: float = 0.2) -> float:
    """Products a second of the dot instruction, on registers, one thread."""
    target, units = host(), 20000
    run = ENTRY(build.addresses(["peak_dot"])["peak_dot"])
    memory = aligned(128)
    memory[:64] = 1
    address = memory.ctypes.data
    given = (ctypes.c_int64 * 2)(address, address + 64)
    at = ctypes.addressof(given)
    return peak.macs(target) * units / best(lambda: run(at, 0, units), seconds)
