"""Defects of operators that only move values."""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.call import Tensor
from qcore.testing.bugs.common import Call, index, of, options, out, plain, q
from qcore.testing.bugs.record import (
    CORRUPTED,
    REFUSED,
    REPRODUCED,
    Case,
    Family,
    Refusal,
    Unlike,
    at,
    crash,
    gives,
    stops,
)

BUGS = Family("movement")
MASKS = ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")


def strided(x: Tensor, begin: Tensor, end: Tensor, step: Tensor, y: Tensor, **fields: Any) -> Call:
    masks = dict.fromkeys(MASKS, 0)
    return Call("STRIDED_SLICE", (x, begin, end, step), (y,), options(**masks | fields))


@BUGS(
    "strided-slice-end-0",
    "STRIDED_SLICE: XNNPACK takes an end of 0 for the end of the axis.",
    "STRIDED_SLICE",
    "int8 (6,), begin [2], end [0], stride [1]",
    correct="an output of shape (0,)",
    ours=REPRODUCED,
    seen=at("*", "xnnpack", gives([2, 3, 4, 5])),
    right=gives([]),
)
def strided_slice_end_0() -> Call:
    return strided(q("int8", range(6)), index(2), index(0), index(1), out("int8", (0,)))


@BUGS(
    "strided-slice-offset-computed",
    "STRIDED_SLICE with `offset` crashes where end is computed.",
    "STRIDED_SLICE",
    "int8 (4,), begin [1], end [2] an input of the model, offset",
    correct="[1, 2]",
    ours=REFUSED,
    seen=at("*", "optimized xnnpack", crash("SIGSEGV")),
)
def strided_slice_offset_computed() -> Call:
    x, end = q("int8", range(4)), index(2, constant=False)
    return strided(x, index(1), end, index(1), out("int8", (2,)), offset=True)


@BUGS(
    "strided-slice-offset-short",
    "STRIDED_SLICE with `offset` crashes where end is shorter than the rank.",
    "STRIDED_SLICE",
    "int8 (2, 3), begin [1], end [1], offset",
    correct="[[3, 4, 5]]",
    ours=REFUSED,
    seen=at("*", "optimized xnnpack", crash("SIGSEGV")),
)
def strided_slice_offset_short() -> Call:
    x, y = q("int8", np.arange(6).reshape(2, 3)), out("int8", (1, 3))
    return strided(x, index(1), index(1), index(1), y, offset=True)


@BUGS(
    "strided-slice-empty-ellipsis",
    "STRIDED_SLICE: an ellipsis that stands for no axis takes one.",
    "STRIDED_SLICE",
    "int8 (2, 3), begin [1, ..., 1], end [2, ..., 2]",
    correct="[[4]]",
    ours=REPRODUCED,
    seen=at("*", "*", gives([[3, 4, 5]])),
)
def strided_slice_empty_ellipsis() -> Call:
    x, y = q("int8", np.arange(6).reshape(2, 3)), out("int8", (1, 1))
    begin, end = index(1, 0, 1), index(2, 0, 2)
    return strided(x, begin, end, index(1, 1, 1), y, ellipsis_mask=2).on(version=2)


@BUGS(
    "strided-slice-shrink-outside",
    "STRIDED_SLICE answers where shrink_axis_mask meets an index outside of the axis.",
    "STRIDED_SLICE",
    "int8 (4,), begin [7], end [8], shrink_axis_mask 1",
    correct="an error",
    ours=REFUSED,
    seen=at("*", "*", Unlike([], "foreign memory")),
)
def strided_slice_shrink_outside() -> Call:
    x = q("int8", range(4))
    return strided(x, index(7), index(8), index(1), out("int8", ()), shrink_axis_mask=1)


GATHERED = [-1, 0, 1, -7, -6, -5]


@BUGS(
    "gather-int4-odd",
    "GATHER int4 is wrong where what is moved is an odd number of values.",
    "GATHER",
    "int4 (5, 3) of -7 to 7, rows 2 and 0",
    correct=f"{GATHERED}",
    ours=REFUSED,
    seen=at("litert", "*", Unlike(GATHERED, "whole bytes are moved"))
    | at("tensorflow", "optimized xnnpack", Unlike(GATHERED, "whole bytes are moved")),
)
def gather_int4_odd() -> Call:
    x = q("int4", np.arange(15).reshape(5, 3) - 7)
    return Call("GATHER", (x, index(2, 0)), (out("int4", (2, 3)),), options(axis=0))


@BUGS(
    "broadcast-to-int4",
    "BROADCAST_TO int4 moves bytes, not values.",
    "BROADCAST_TO",
    "int4 [[1], [2]] to (2, 2)",
    correct="[[1, 1], [2, 2]]",
    ours=REFUSED,
    seen=at("*", "*", Unlike([1, 1, 2, 2], "foreign memory")),
)
def broadcast_to_int4() -> Call:
    return Call("BROADCAST_TO", (q("int4", [[1], [2]]), index(2, 2)), (out("int4", (2, 2)),))


@BUGS(
    "matrix-diag-bool",
    "MATRIX_DIAG has no kernel for bool, and computes all the same as if it were another type.",
    "MATRIX_DIAG",
    "bool, four times True",
    correct="the diagonal, or an error",
    ours=REFUSED,
    seen=at("*", "*", Unlike(np.eye(4), "not a diagonal")),
)
def matrix_diag_bool() -> Call:
    return Call("MATRIX_DIAG", (of([True] * 4, "bool"),), (plain("bool", (4, 4)),))


@BUGS(
    "matrix-set-diag-bool",
    "MATRIX_SET_DIAG has no kernel for bool, and computes all the same as if it were another type.",
    "MATRIX_SET_DIAG",
    "bool (4, 4) of False, diagonal of four times True",
    correct="the diagonal, or an error",
    ours=REFUSED,
    seen=at("*", "*", Unlike(np.eye(4), "not a diagonal")),
)
def matrix_set_diag_bool() -> Call:
    x, diagonal = of(np.zeros((4, 4)), "bool"), of([True] * 4, "bool")
    return Call("MATRIX_SET_DIAG", (x, diagonal), (plain("bool", (4, 4)),))


@BUGS(
    "matrix-diag-int4",
    "MATRIX_DIAG int4 writes beyond its output and corrupts the heap.",
    "MATRIX_DIAG",
    "int4, 4096 values",
    correct="the diagonal, or an error",
    ours=REFUSED,
    seen=at("*", "*", CORRUPTED),
)
def matrix_diag_int4() -> Call:
    return Call("MATRIX_DIAG", (q("int4", [1] * 4096),), (out("int4", (4096, 4096)),))


@BUGS(
    "slice-negative-begin",
    "SLICE with a negative begin reads what lies before the tensor.",
    "SLICE",
    "int8 [1, 2, 3, 4], begin [-1], size [2]",
    correct="an error, as litert has it",
    ours=REFUSED,
    seen=at("tensorflow", "reference optimized", Unlike([], "a foreign byte, then [1]"))
    | at("tensorflow", "xnnpack", gives([])),
    right=Refusal("Invalid begin"),
)
def slice_negative_begin() -> Call:
    x = q("int8", [1, 2, 3, 4])
    return Call("SLICE", (x, index(-1), index(2)), (out("int8", (2,)),))


def apart(name: str, *rest: Tensor, shape: tuple[int, ...] = (2, 3), **fields: Any) -> Call:
    """int8 (2, 3) of scale 0.5 to scale 0.25."""
    x = q("int8", np.arange(6).reshape(2, 3), 0.5)
    return Call(name, (x, *rest), (out("int8", shape, 0.25),), options(**fields))


def scales(name: str, values: list[int], runtimes: str = "*") -> dict[str, Any]:
    correct = f"{values}, as on the other paths: the operator moves integers"
    return {"correct": correct, **stops(f"failed to delegate {name}", gives(values), runtimes)}


WORDS = "XNNPACK fails where input and output have different scales."


@BUGS(
    "transpose-scales",
    f"TRANSPOSE: {WORDS}",
    "TRANSPOSE",
    "int8 (2, 3) of scale 0.5 to scale 0.25",
    **scales("TRANSPOSE", [0, 3, 1, 4, 2, 5]),
)
def transpose_scales() -> Call:
    return apart("TRANSPOSE", index(1, 0), shape=(3, 2))


@BUGS(
    "slice-scales",
    f"SLICE: {WORDS}",
    "SLICE",
    "int8 (2, 3) of scale 0.5 to scale 0.25, all of it",
    **scales("SLICE", [0, 1, 2, 3, 4, 5]),
)
def slice_scales() -> Call:
    return apart("SLICE", index(0, 0), index(2, 3))


@BUGS(
    "pad-scales",
    f"PAD: {WORDS}",
    "PAD",
    "int8 (2, 3) of scale 0.5 to scale 0.25, padded by nothing",
    **scales("PAD", [0, 1, 2, 3, 4, 5]),
)
def pad_scales() -> Call:
    return apart("PAD", of([[0, 0], [0, 0]], "int32", True))


@BUGS(
    "strided-slice-scales",
    f"STRIDED_SLICE: {WORDS}",
    "STRIDED_SLICE",
    "int8 (4,) of scale 0.5, [1:3] to scale 0.25",
    **scales("STRIDED_SLICE", [1, 2]),
)
def strided_slice_scales() -> Call:
    return strided(q("int8", range(4)), index(1), index(3), index(1), out("int8", (2,), 0.25))


@BUGS(
    "split-scales",
    f"SPLIT: {WORDS}",
    "SPLIT",
    "int8 (4,) of scale 0.5 to two of scale 0.25",
    **scales("SPLIT", [0, 1], "litert"),
)
def split_scales() -> Call:
    y = out("int8", (2,), 0.25)
    axis = of(0, "int32", True)
    return Call("SPLIT", (axis, q("int8", range(4))), (y, y), options(num_splits=2))


@BUGS(
    "transpose-subnormal-scale",
    "Operators that move values: XNNPACK fails on a subnormal scale.",
    "TRANSPOSE",
    "int8 [[1, 2]] of scale 1e-40",
    correct="[1, 2]: the operator moves integers",
    **stops("unsupported scale value", gives([1, 2])),
)
def transpose_subnormal_scale() -> Call:
    return Call(
        "TRANSPOSE", (q("int8", [[1, 2]], 1e-40), index(1, 0)), (out("int8", (2, 1), 1e-40),)
    )


@BUGS(
    "transpose-zero-point",
    "Operators that move values: XNNPACK fails on a zero point outside of the type.",
    "TRANSPOSE",
    "int8 [[1, 2]] of zero point 300",
    correct="[1, 2]: the operator moves integers",
    **stops("unsupported zero-point value (300)", gives([1, 2])),
)
def transpose_zero_point() -> Call:
    x, y = q("int8", [[1, 2]], 0.5, 300), out("int8", (2, 1), 0.5, 300)
    return Call("TRANSPOSE", (x, index(1, 0)), (y,))


@BUGS(
    "reshape-absent-shape",
    "RESHAPE crashes where its second input is there and is -1, that is, absent.",
    "RESHAPE",
    "float (4,), inputs [x, -1], new_shape (2, 2)",
    correct="the shape of the option, as with one input",
    ours="",
    seen=at("*", "*", crash("SIGSEGV")),
)
def reshape_absent_shape() -> Case:
    from qcore.testing.build import Builder

    b = Builder()
    x = b.input((4,))
    y = b.op("RESHAPE", [x, None], (2, 2), new_shape=(2, 2))
    return Case(b.model([y]), [np.ones(4, np.float32)])
