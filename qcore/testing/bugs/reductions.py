"""Defects of reductions, pools and searches."""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.call import Tensor
from qcore.testing.bugs.common import Call, index, of, options, out, plain, q
from qcore.testing.bugs.record import (
    BOTH,
    REFUSED,
    REPRODUCED,
    Either,
    Family,
    Threads,
    Unlike,
    Unwritten,
    at,
    crash,
    gives,
    stops,
)

BUGS = Family("reductions")


def reduce(name: str, x: Tensor, axes: tuple[int, ...], y: Tensor, keep: bool = False) -> Call:
    return Call(name, (x, index(*axes)), (y,), options(keep_dims=keep))


@BUGS(
    "sum-int8-bytes",
    "SUM int8 reads and writes its integers as uint8.",
    "SUM",
    "int8 [-1, -2], scale 1 on both sides",
    correct="[-3]",
    ours=REPRODUCED,
    seen=at("*", "reference", gives(-1)),
    right=gives(-3),
    note="255 + 254, clipped to 255, read as -1. Some 97 % of random outputs are wrong.",
)
def sum_int8_bytes() -> Call:
    return reduce("SUM", q("int8", [-1, -2], 1.0), (0,), out("int8", (), 1.0))


@BUGS(
    "sum-int16-bytes",
    "SUM int16 reads and writes bytes: half of the output is wrong, half is not written.",
    "SUM",
    "int16 four rows of [1, 2], scale 1 on both sides",
    correct="[3, 3, 3, 3]",
    ours=REFUSED,
    seen=at("*", "reference", Unwritten(2)),
    right=gives([3] * 4),
    note="The first two are 513.",
)
def sum_int16_bytes() -> Call:
    return reduce("SUM", q("int16", [[1, 2]] * 4, 1.0), (1,), out("int16", (4,), 1.0))


HALVES = np.broadcast_to(np.array([[-1], [-1], [0], [0]]).reshape(1, 2, 2, 1), (1, 2, 2, 40))


@BUGS(
    "mean-threads",
    "MEAN over height and width gives other integers for another number of threads.",
    "MEAN",
    "int8 (1, 2, 2, 40), each channel -1, -1, 0, 0, axes 1 and 2, keep_dims; 1 and 4 threads",
    correct="the same integers for every number of threads",
    ours="",
    seen=at("*", "optimized", Threads()),
    threads=(1, 4),
    note="The channels are split between the threads; blocks of 16 round another way than the "
    "rest. `kernels` computes what one thread gives.",
)
def mean_threads() -> Call:
    return reduce("MEAN", q("int8", HALVES), (1, 2), out("int8", (1, 1, 1, 40)), keep=True)


@BUGS(
    "mean-listed-twice",
    "MEAN: XNNPACK fails where an axis is listed twice.",
    "MEAN",
    "int8 [[1, 3]], axes [1, 1]",
    correct="[2]",
    **stops("XNNPack delegate failed to reshape runtime", gives([2]), "tensorflow"),
)
def mean_listed_twice() -> Call:
    return reduce("MEAN", q("int8", [[1, 3]]), (1, 1), out("int8", (1,)))


@BUGS(
    "mean-rank-7",
    "MEAN and REDUCE_MAX: XNNPACK fails on seven axes.",
    "MEAN REDUCE_MAX",
    "int8 (1, 1, 1, 1, 1, 1, 2), axis 6",
    correct="[1]",
    **stops("failed to delegate MEAN", gives([1])),
)
def mean_rank_7() -> Call:
    return reduce("MEAN", q("int8", np.ones((1,) * 6 + (2,))), (6,), out("int8", (1,) * 6))


@BUGS(
    "mean-rank-0",
    "MEAN: XNNPACK fails on a scalar.",
    "MEAN",
    "int8 5 of shape (), axis 0",
    correct="5, or an error on every path",
    **stops("XNNPack delegate failed to reshape runtime", gives(5), "tensorflow"),
)
def mean_rank_0() -> Call:
    return reduce("MEAN", q("int8", 5), (0,), out("int8", ()))


@BUGS(
    "mean-subnormal-scale",
    "MEAN: XNNPACK fails on a subnormal scale.",
    "MEAN",
    "int8 [1, 3], scale 1e-40 on both sides",
    correct="[2]",
    **stops("unsupported scale value", gives(2)),
)
def mean_subnormal_scale() -> Call:
    return reduce("MEAN", q("int8", [1, 3], 1e-40), (0,), out("int8", (), 1e-40))


@BUGS(
    "prod-long-axis-of-1",
    "REDUCE_PROD over an axis of length 1 copies its integers and does not rescale.",
    "REDUCE_PROD",
    "int8 [[3], [5], [7]] of scale 0.1, axis 1, to scale 0.3 and zero point 3",
    correct="[4, 5, 5]",
    ours=REPRODUCED,
    seen=at("litert", "optimized xnnpack", gives([3, 5, 7])),
)
def prod_long_axis_of_1() -> Call:
    x = q("int8", [[3], [5], [7]], 0.1)
    return reduce("REDUCE_PROD", x, (1,), out("int8", (3,), 0.3, 3))


@BUGS(
    "prod-no-axis",
    "REDUCE_PROD over no axis reads outside of its list of axes.",
    "REDUCE_PROD",
    "int8 [0, 1, 2] of scale 0.1, no axes, to scale 0.3 and zero point 3",
    correct="[3, 3, 4]",
    ours=BOTH,
    seen=at(
        "tensorflow", "optimized xnnpack",
        Either((crash("SIGSEGV"), Unlike([3, 3, 4], "arbitrary values"))),
    ) | at("litert", "optimized xnnpack", gives([0, 1, 2])),
    right=gives([3, 3, 4]),
    note="litert copies, as in prod-long-axis-of-1.",
)  # fmt: skip
def prod_no_axis() -> Call:
    x, axes = q("int8", [0, 1, 2], 0.1), of([], "int32", True)
    return Call("REDUCE_PROD", (x, axes), (out("int8", (3,), 0.3, 3),), options(keep_dims=False))


@BUGS(
    "topk-0",
    "TOPK_V2 with k of 0 frees memory twice.",
    "TOPK_V2",
    "int8 [[1, 2, 3]], k = 0",
    correct="outputs of shape (1, 0)",
    ours=REFUSED,
    seen=at("tensorflow", "*", crash("SIGABRT")),
    right=gives(np.zeros((1, 0)), np.zeros((1, 0))),
)
def topk_0() -> Call:
    outputs = (out("int8", (1, 0)), plain("int32", (1, 0)))
    return Call("TOPK_V2", (q("int8", [[1, 2, 3]]), of(0, "int32", True)), outputs)


def pool(name: str, x: Tensor, y: Tensor, height: int, width: int, activation: int = 0) -> Call:
    fields: dict[str, Any] = {"padding": 1, "stride_h": 1, "stride_w": 1}
    fields |= {"filter_height": height, "filter_width": width}
    return Call(name, (x,), (y,), options(fused_activation_function=activation, **fields))


@BUGS(
    "max-pool-large-window",
    "MAX_POOL_2D VALID with a window larger than the image: XNNPACK answers.",
    "MAX_POOL_2D",
    "int8 (1, 3, 3, 2) of 0 to 17, window 5 x 2, stride 1, VALID",
    correct="an output without rows, or an error",
    ours=REFUSED,
    seen=at("*", "xnnpack", gives([[[[14, 15], [16, 17]]]])),
)
def max_pool_large_window() -> Call:
    x = q("int8", np.arange(18).reshape(1, 3, 3, 2))
    return pool("MAX_POOL_2D", x, out("int8", (1, 0, 2, 2)), 5, 2)


@BUGS(
    "max-pool-scales",
    "MAX_POOL_2D: XNNPACK fails where input and output have different scales.",
    "MAX_POOL_2D",
    "int8 (1, 2, 2, 1) of scale 0.5 to scale 0.25, window 2 x 2",
    correct="[3], as on the other paths, or an error on every path",
    **stops("failed to delegate MAX_POOL_2D", gives([3])),
)
def max_pool_scales() -> Call:
    x = q("int8", np.arange(4).reshape(1, 2, 2, 1))
    return pool("MAX_POOL_2D", x, out("int8", (1, 1, 1, 1), 0.25), 2, 2)


TANH = {
    "correct": "[2]: tanh cannot exceed 1, or an error",
    "ours": REFUSED,
    "seen": at("*", "*", gives([100])),
}


@BUGS(
    "average-pool-tanh",
    "AVERAGE_POOL_2D int8 takes a fused TANH and leaves it out.",
    "AVERAGE_POOL_2D",
    "int8 [100] of scale 0.5, window 1 x 1, fused TANH",
    **TANH,
)
def average_pool_tanh() -> Call:
    x = q("int8", [[[[100]]]])
    return pool("AVERAGE_POOL_2D", x, out("int8", (1, 1, 1, 1)), 1, 1, activation=4)


@BUGS(
    "max-pool-tanh",
    "MAX_POOL_2D int8 takes a fused TANH and leaves it out.",
    "MAX_POOL_2D",
    "int8 (1, 2, 2, 1) of 100, scale 0.5, window 2 x 2, fused TANH",
    **TANH,
)
def max_pool_tanh() -> Call:
    x = q("int8", np.full((1, 2, 2, 1), 100))
    return pool("MAX_POOL_2D", x, out("int8", (1, 1, 1, 1)), 2, 2, activation=4)
