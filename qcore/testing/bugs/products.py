"""Defects of FULLY_CONNECTED, BATCH_MATMUL and EMBEDDING_LOOKUP."""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.call import Tensor
from qcore.testing.bugs.common import Call, const, floats, of, options, out, plain, q
from qcore.testing.bugs.record import (
    BOTH,
    MEANT,
    NO_FALLBACK,
    REFUSED,
    REPRODUCED,
    Case,
    Family,
    Refusal,
    Unlike,
    Unwritten,
    at,
    crash,
    gives,
    stops,
)

BUGS = Family("products")
HIDDEN = "memory beyond the bias is read"


def fully_connected(x: Tensor, w: Tensor, bias: Tensor | None, y: Tensor, **fields: Any) -> Call:
    fields = {"fused_activation_function": 0} | fields
    return Call("FULLY_CONNECTED", (x, w, bias), (y,), options(**fields))


def batch_matmul(x: Tensor, w: Tensor, y: Tensor, **fields: Any) -> Call:
    return Call("BATCH_MATMUL", (x, w), (y,), options(**{"adj_x": False, "adj_y": False} | fields))


def blocks(dtype: str = "int4") -> Tensor:
    """(4, 32) weights of 1 in one block a row, with scale 1."""
    return Tensor(
        dtype, np.ones((4, 32), np.int8), np.ones((4, 1), np.float32), None, constant=True
    )


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape)


@BUGS(
    "fc-int16-bias-type",
    "FULLY_CONNECTED int16 reads an int32 bias as int64 where quantized_bias_type is not set.",
    "FULLY_CONNECTED",
    "int16 [1], weights [[1], [1]], int32 bias [3, 4], scales 1",
    correct="[4, 5]",
    ours=REFUSED,
    seen=at("*", "reference", Unlike([4, 5], "two biases become one, then " + HIDDEN)),
    right=gives([4, 5]),
)
def fc_int16_bias_type() -> Call:
    x, bias = q("int16", ones(1, 1), 1.0), const("int32", [3, 4], 1.0)
    return fully_connected(x, const("int8", ones(2, 1), 1.0), bias, out("int16", (1, 2), 1.0))


@BUGS(
    "fc-int64-bias",
    "FULLY_CONNECTED int8 takes an int64 bias and reads it as int32.",
    "FULLY_CONNECTED",
    "int8 [1], weights [[1], [1]], int64 bias [3, 4], scales 1",
    correct="[4, 5], or an error",
    ours=REFUSED,
    seen=at("*", "*", gives([4, 1])),
    note="The second bias is the upper half of the first.",
)
def fc_int64_bias() -> Call:
    x, bias = q("int8", ones(1, 1), 1.0), const("int64", [3, 4], 1.0)
    return fully_connected(x, const("int8", ones(2, 1), 1.0), bias, out("int8", (1, 2), 1.0))


@BUGS(
    "fc-uint8-int16-no-bias",
    "FULLY_CONNECTED of uint8 with an int16 output and no bias crashes.",
    "FULLY_CONNECTED",
    "uint8 [1], weights [[1], [1]], scales 1, int16 output",
    correct="[1, 1]: the bias is optional",
    ours=REFUSED,
    seen=at("*", "reference", crash("SIGSEGV")),
    right=gives([1, 1]),
    note="Refused on the other paths as well.",
)
def fc_uint8_int16_no_bias() -> Call:
    x, w = q("uint8", ones(1, 1), 1.0), const("uint8", ones(2, 1), 1.0)
    return fully_connected(x, w, None, out("int16", (1, 2), 1.0))


@BUGS(
    "fc-beyond-int32",
    "FULLY_CONNECTED gives qmax for a large negative sum where the product leaves int32.",
    "FULLY_CONNECTED",
    "int8 64 x 127 x -127 of scale 1 to scale 1e-4 and zero point -5",
    correct="[-128]: saturation",
    ours=BOTH,
    seen=at("*", "reference optimized", gives([127]))
    | at("*", "xnnpack", Refusal("failed to create XNNPACK runtime")),
    note="The product becomes -2^31, and adding the zero point wraps. XNNPACK: requantize-256.",
)
def fc_beyond_int32() -> Call:
    x, w = q("int8", np.full((1, 64), 127), 1.0), const("int8", np.full((1, 64), -127), 1.0)
    return fully_connected(x, w, None, out("int8", (1, 1), 1e-4, -5))


@BUGS(
    "fc-filter-zero-point",
    "FULLY_CONNECTED: XNNPACK ignores a non-zero zero point of the weights.",
    "FULLY_CONNECTED",
    "int8 [1], weights [5] of zero point 3, scales 1",
    correct="[2]",
    ours=REPRODUCED,
    seen=at("tensorflow", "xnnpack", gives([5])),
    right=gives([2]),
)
def fc_filter_zero_point() -> Call:
    x, w = q("int8", ones(1, 1), 1.0), const("int8", 5 * ones(1, 1), 1.0, 3)
    return fully_connected(x, w, None, out("int8", (1, 1), 1.0))


@BUGS(
    "bmm-zero-point",
    "BATCH_MATMUL: XNNPACK ignores a non-zero zero point of the right side.",
    "BATCH_MATMUL",
    "int8 [[1]] x [[5]] of zero point 3, scales 1",
    correct="[2]",
    ours=REPRODUCED,
    seen=at("tensorflow", "xnnpack", gives([5])),
    right=gives([2]),
)
def bmm_zero_point() -> Call:
    x, w = q("int8", ones(1, 1), 1.0), const("int8", 5 * ones(1, 1), 1.0, 3)
    return batch_matmul(x, w, out("int8", (1, 1), 1.0))


@BUGS(
    "fc-hybrid-minus-128",
    "FULLY_CONNECTED hybrid: a weight of -128 beside a negative input has the wrong sign.",
    "FULLY_CONNECTED",
    "float 16 x -1, 16 weights of -128, scale 1",
    correct="[2048]",
    ours=REPRODUCED,
    seen=at("*", "reference optimized", gives([-2048])),
    right=gives([2048]),
    note="In whole groups of 16 values, x86: the sign is moved to the weight, where it wraps.",
)
def fc_hybrid_minus_128() -> Call:
    x, w = floats(-ones(1, 16)), const("int8", np.full((1, 16), -128), 1.0)
    return fully_connected(x, w, None, plain("float32", (1, 1)))


@BUGS(
    "fc-hybrid-wide",
    "FULLY_CONNECTED hybrid, asymmetric: the sums of wide rows of weights wrap at 16 bits.",
    "FULLY_CONNECTED",
    "float 4096 x 1, 4096 weights of 127, scale 1, asymmetric_quantize_inputs",
    correct="[520192]",
    ours=REPRODUCED,
    seen=at("*", "reference optimized", gives([257020])),
    note="From about 2064 columns of weights near 127 on.",
)
def fc_hybrid_wide() -> Call:
    x, w = floats(ones(1, 4096)), const("int8", np.full((1, 4096), 127), 1.0)
    return fully_connected(x, w, None, plain("float32", (1, 1)), asymmetric_quantize_inputs=True)


@BUGS(
    "fc-hybrid-computed",
    "FULLY_CONNECTED hybrid, asymmetric, with computed weights keeps the first ones' sums.",
    "FULLY_CONNECTED",
    "float [2, 1, 1, 1] with weights all 1, then again with weights all 2",
    correct="about [10]",
    ours=MEANT,
    seen=at("*", "*", gives(np.array([5.960784435272217], np.float32))),
)
def fc_hybrid_computed() -> Case:
    from qcore.testing import models

    x = np.array([[2, 1, 1, 1]], np.float32)
    first, second = (np.full((1, 4), k, np.int8) for k in (1, 2))
    y = plain("float32", (1, 1))
    call = fully_connected(
        floats(x), q("int8", second, 1.0), None, y, asymmetric_quantize_inputs=True
    )
    return Case(models.to_model(call), [x, second], before=([x, first],), call=call)


@BUGS(
    "fc-hybrid-int4-minus-8",
    "FULLY_CONNECTED hybrid int4: a weight of -8 counts as +8 and spoils another column.",
    "FULLY_CONNECTED",
    "float 32 x 1, int4 weights (4, 32): -8 in column 16, 0 elsewhere",
    correct="all [-8, ...]",
    ours=REPRODUCED,
    seen=at("*", "optimized", gives([16] * 4)) | at("tensorflow", "xnnpack", gives([16] * 4)),
    right=gives([-8] * 4),
    note="In the packed kernel: an even number of columns, 32 or more, and 4 rows or more.",
)
def fc_hybrid_int4_minus_8() -> Call:
    w = np.zeros((4, 32))
    w[:, 16] = -8
    x = floats(ones(1, 32))
    return fully_connected(x, const("int4", w, 1.0), None, plain("float32", (1, 4)))


@BUGS(
    "fc-blocks-reference",
    "FULLY_CONNECTED with blockwise int4 weights gives zeros: the scales are not read.",
    "FULLY_CONNECTED",
    "float 32 x 1, int4 weights (4, 32) of 1, one block of scale 1 a row",
    correct="all [32, ...]",
    ours=REPRODUCED,
    seen=at("*", "reference", gives([0] * 4)),
    right=gives([32] * 4),
    note="With a bias: the bias. The optimized path does the same below 4 rows or 32 columns.",
)
def fc_blocks_reference() -> Call:
    return fully_connected(floats(ones(1, 32)), blocks(), None, plain("float32", (1, 4)))


@BUGS(
    "fc-blocks-activation",
    "FULLY_CONNECTED with blockwise int4 weights does not apply the fused activation.",
    "FULLY_CONNECTED",
    "float 32 x -1, int4 weights (4, 32) of 1 in blocks of scale 1, RELU",
    correct="all [0, ...]",
    ours=REPRODUCED,
    seen=at("*", "optimized", gives([-32] * 4)),
    right=gives([0] * 4),
)
def fc_blocks_activation() -> Call:
    x, y = floats(-ones(1, 32)), plain("float32", (1, 4))
    return fully_connected(x, blocks(), None, y, fused_activation_function=1)


@BUGS(
    "fc-blocks-int2",
    "FULLY_CONNECTED with blockwise int2 weights: zeros, or XNNPACK fails.",
    "FULLY_CONNECTED",
    "float 32 x 1, int2 weights (4, 32) of 1, one block of scale 1 a row",
    correct="all [32, ...]",
    ours=BOTH,
    seen=at("*", "reference optimized", gives([0] * 4))
    | at("*", "xnnpack", Refusal("unsupported tensor type 20 for blockwise quantized tensor")),
    note=NO_FALLBACK,
)
def fc_blocks_int2() -> Call:
    return fully_connected(floats(ones(1, 32)), blocks("int2"), None, plain("float32", (1, 4)))


@BUGS(
    "fc-subnormal-scale",
    "FULLY_CONNECTED: XNNPACK fails on weights with a subnormal scale.",
    "FULLY_CONNECTED",
    "int8 [1], weights [1] of scale 1e-42",
    correct="[0]",
    **stops("unsupported scale value", gives([0])),
)
def fc_subnormal_scale() -> Call:
    x, w = q("int8", ones(1, 1), 1.0), const("int8", ones(1, 1), 1e-42)
    return fully_connected(x, w, None, out("int8", (1, 1), 1.0))


@BUGS(
    "fc-channel-zero-points",
    "FULLY_CONNECTED: non-zero zero points of channels are ignored, or XNNPACK fails.",
    "FULLY_CONNECTED",
    "int8 [1], weights [[5], [5]] of zero point 3, scales 1 and 2",
    correct="[2, 4], or an error",
    ours=BOTH,
    seen=at("*", "reference optimized", gives([5, 10]))
    | at("*", "xnnpack", Refusal("unsupported zero-point value (3) in channel 0")),
    note=NO_FALLBACK,
)
def fc_channel_zero_points() -> Call:
    x, w = q("int8", ones(1, 1), 1.0), const("int8", 5 * ones(2, 1), [1.0, 2.0], 3)
    return fully_connected(x, w, None, out("int8", (1, 2), 1.0))


@BUGS(
    "fc-partial-row",
    "FULLY_CONNECTED: values beyond the last whole row are dropped, or XNNPACK fails.",
    "FULLY_CONNECTED",
    "int8 (1, 5) of 1, weights (1, 2) of 1",
    correct="an error on every path",
    ours=BOTH,
    seen=at("*", "reference optimized", gives([[2], [2]]))
    | at("*", "xnnpack", Refusal("XNNPack delegate failed to reshape runtime")),
    note=NO_FALLBACK,
)
def fc_partial_row() -> Call:
    x, w = q("int8", ones(1, 5), 1.0), const("int8", ones(1, 2), 1.0)
    return fully_connected(x, w, None, out("int8", (2, 1), 1.0))


@BUGS(
    "fc-bias-scales",
    "FULLY_CONNECTED: XNNPACK fails where bias and weights differ in one or many scales.",
    "FULLY_CONNECTED",
    "int8 [1], weights [[1], [1]] of two scales, bias [1, 1] of one",
    correct="[2, 2]",
    **stops("failed to delegate FULLY_CONNECTED", gives([2, 2]), "tensorflow"),
)
def fc_bias_scales() -> Call:
    x, w = q("int8", ones(1, 1), 1.0), const("int8", ones(2, 1), [1.0, 1.0])
    return fully_connected(x, w, const("int32", [1, 1], 1.0), out("int8", (1, 2), 1.0))


@BUGS(
    "fc-shuffled-activation",
    "FULLY_CONNECTED with shuffled weights does not apply the fused activation.",
    "FULLY_CONNECTED",
    "uint8 16 x -128, weights (4, 16) of 1, RELU6, int16 output of scale 1",
    correct="all [0, ...]",
    ours=REPRODUCED,
    seen=at("*", "optimized xnnpack", gives([-2048] * 4)),
    right=gives([0] * 4),
)
def fc_shuffled_activation() -> Call:
    x, w = q("uint8", np.zeros((1, 16)), 1.0, 128), const("uint8", ones(4, 16), 1.0, 128)
    outputs = (out("int16", (1, 4), 1.0), plain("uint8", (1, 16)))
    fields = options(fused_activation_function=3, weights_format=1)
    return Call("FULLY_CONNECTED", (x, w, const("int32", np.zeros(4), 1.0)), outputs, fields)


@BUGS(
    "requantize-256",
    "XNNPACK fails where the requantization scale is 256 or more.",
    "FULLY_CONNECTED CONV_2D DEPTHWISE_CONV_2D TRANSPOSE_CONV BATCH_MATMUL",
    "FULLY_CONNECTED of int8 [1] and weights [1], scales 16 and 16 to 1",
    correct="[127]: saturation",
    **stops("failed to create XNNPACK runtime", gives([127])),
)
def requantize_256() -> Call:
    x, w = q("int8", ones(1, 1), 16.0), const("int8", ones(1, 1), 16.0)
    return fully_connected(x, w, None, out("int8", (1, 1), 1.0))


@BUGS(
    "bmm-hybrid-row-scales",
    "BATCH_MATMUL hybrid takes the row scales of another matrix of the batch.",
    "BATCH_MATMUL",
    "float (2, 2, 1, 1) of 1, 2, 3, 4, right side [[127]] of scale 1",
    correct="[127, 254, 381, 508]",
    ours=BOTH,
    seen=at("litert", "reference", gives([127, 254, 254, 381]))
    | at("*", "optimized", gives([127, 254, 254, 381])),
    note="Matrix (i, j) takes those of number i + j. TensorFlow has no such reference kernel.",
)
def bmm_hybrid_row_scales() -> Call:
    x = floats(np.arange(1, 5).reshape(2, 2, 1, 1))
    return batch_matmul(x, const("int8", [[127]], 1.0), plain("float32", (2, 2, 1, 1)))


@BUGS(
    "bmm-hybrid-sums",
    "BATCH_MATMUL hybrid, asymmetric, with five axes reads weight sums that it never computed.",
    "BATCH_MATMUL",
    "float (1, 4) of 1, right side int8 (3, 2, 1, 4, 1) of 1, asymmetric_quantize_inputs",
    correct="all [4, ...]",
    ours=REFUSED,
    seen=at("litert", "reference", Unlike([4] * 6, "uninitialised memory is read"))
    | at("*", "optimized", Unlike([4] * 6, "uninitialised memory is read")),
)
def bmm_hybrid_sums() -> Call:
    x, w = floats(ones(1, 4)), const("int8", ones(3, 2, 1, 4, 1), 1.0)
    y = plain("float32", (3, 2, 1, 1, 1))
    return batch_matmul(x, w, y, asymmetric_quantize_inputs=True)


@BUGS(
    "bmm-adj-x-batch",
    "BATCH_MATMUL with adj_x and one right matrix for several left ones computes the first only.",
    "BATCH_MATMUL",
    "int8 (2, 2, 1) of 1, adj_x, times (1, 2, 1) of 1, scales 1",
    correct="[2, 2]",
    ours=REFUSED,
    seen=at("tensorflow", "reference optimized", Unwritten(1)),
    right=gives([2, 2]),
)
def bmm_adj_x_batch() -> Call:
    x, w = q("int8", ones(2, 2, 1), 1.0), const("int8", ones(1, 2, 1), 1.0)
    return batch_matmul(x, w, out("int8", (2, 1, 1), 1.0), adj_x=True)


@BUGS(
    "bmm-hybrid-computed",
    "BATCH_MATMUL hybrid with a computed right side: XNNPACK gives zeros, or fails.",
    "BATCH_MATMUL",
    "float [[1]] x int8 [[1]] of scale 1, both inputs of the model",
    correct="[1]",
    ours=REFUSED,
    seen=at("litert", "xnnpack", gives([0]))
    | at("tensorflow", "xnnpack", Refusal("failed to delegate BATCH_MATMUL")),
)
def bmm_hybrid_computed() -> Call:
    return batch_matmul(floats(ones(1, 1)), q("int8", ones(1, 1), 1.0), plain("float32", (1, 1)))


def lookup(dtype: str, table: Any) -> Call:
    y = plain("float32", (1, 3))
    return Call("EMBEDDING_LOOKUP", (of([1], "int32"), const(dtype, table, 1.0)), (y,))


@BUGS(
    "embedding-int4-odd",
    "EMBEDDING_LOOKUP int4: a row that begins amid a byte is read from the byte's start.",
    "EMBEDDING_LOOKUP",
    "row 1 of int4 [[1, 2, 3], [4, 5, 6]], scale 1",
    correct="[4, 5, 6]",
    ours=REPRODUCED,
    seen=at("*", "*", gives([3, 4, 5])),
)
def embedding_int4_odd() -> Call:
    return lookup("int4", [[1, 2, 3], [4, 5, 6]])


@BUGS(
    "embedding-int2-odd",
    "EMBEDDING_LOOKUP int2: a row that begins amid a byte is read from the byte's start.",
    "EMBEDDING_LOOKUP",
    "row 1 of int2 [[1, 0, -1], [-2, 1, 1]], scale 1",
    correct="[-2, 1, 1]",
    ours=REPRODUCED,
    seen=at("*", "*", gives([1, 0, -1])),
)
def embedding_int2_odd() -> Call:
    return lookup("int2", [[1, 0, -1], [-2, 1, 1]])
