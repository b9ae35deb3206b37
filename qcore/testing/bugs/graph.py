"""Defects of the interpreter itself, and of how it reads files."""

from __future__ import annotations

import numpy as np

from qcore.testing.bugs.common import Call, const, options, out, q
from qcore.testing.bugs.record import (
    Case,
    Either,
    Family,
    Refusal,
    Unlike,
    at,
    crash,
    gives,
)
from qcore.testing.build import Builder

BUGS = Family("graph")


@BUGS(
    "arena-overwrites",
    "The memory plan lets an operator overwrite a tensor that is still to be read.",
    "ADD RESHAPE SOFTMAX MUL",
    "float zeros: a = exp(x); b = a + 1; c = softmax(reshape(b)); y = c b",
    correct="all [0.5, ...]",
    ours="",
    seen=at("*", "reference optimized", gives([0.0625] * 4)),
    right=gives([0.5] * 4),
    note="b is computed in the memory of a, and c in that of b through its view, before y reads "
    "b. Any operators that may run in place will do. `preserve_all_tensors` prevents it; "
    "calibration avoids it and says so.",
)
def arena_overwrites() -> Case:
    b = Builder()
    shape = (1, 4)
    x = b.input(shape)
    a = b.op("EXP", [x], shape)
    more = b.op("ADD", [a, np.ones(shape, np.float32)], shape, fused_activation_function=0)
    view = b.op("RESHAPE", [more], shape, new_shape=shape)
    soft = b.op("SOFTMAX", [view], shape, beta=1.0)
    y = b.op("MUL", [soft, more], shape, fused_activation_function=0)
    return Case(b.model([y]), [np.zeros(shape, np.float32)])


@BUGS(
    "bias-quantized-dimension",
    "Files whose bias has quantized_dimension 3 were valid once, and are refused.",
    "DEPTHWISE_CONV_2D CONV_2D",
    "DEPTHWISE_CONV_2D int8, bias of shape (2,) with quantized_dimension 3",
    correct="[1, 1]: nothing depends on the dimension of a single scale",
    ours="",
    seen=at("*", "*", Refusal("quantized_dimension must be in range [0, 1). Was 3.")),
    note="person_detect.tflite is such a file; with 0 in place of 3 it loads. `kernels` computes "
    "it.",
)
def bias_quantized_dimension() -> Call:
    x = q("int8", np.ones((1, 1, 1, 2)), 1.0)
    w = const("int8", np.ones((1, 1, 1, 2)), [1.0, 1.0], axis=3)
    fields = options(
        stride_h=1, stride_w=1, dilation_h_factor=1, dilation_w_factor=1, depth_multiplier=1,
        padding=0, fused_activation_function=0,
    )  # fmt: skip
    bias = const("int32", [0, 0], 1.0, axis=3)
    return Call("DEPTHWISE_CONV_2D", (x, w, bias), (out("int8", (1, 1, 1, 2), 1.0),), fields)


@BUGS(
    "get-resource",
    "get_tensor on the handle of a resource takes its bytes for strings.",
    "VAR_HANDLE",
    "two VAR_HANDLEs, the second one an output of the model",
    correct="an error that names the type",
    ours="",
    seen=at(
        "*",
        "*",
        Either(
            (
                crash("SIGSEGV", "SIGABRT"),
                Refusal("Could not create PyBytes"),
                Unlike([], "arbitrary bytes"),
            )
        ),
    ),
    note="Our own tools never read a handle.",
)
def get_resource() -> Case:
    b = Builder()
    for name in ("u", "v"):
        handle = b.op("VAR_HANDLE", [], (), dtype="RESOURCE", container="", shared_name=name)
    return Case(b.model([handle]), [])


@BUGS(
    "set-constant-input",
    "set_tensor writes to an input that has a value in the file, into the file's read-only memory.",
    "ABS",
    "float ABS of an input whose buffer holds four values, read from a file",
    correct="an error that says that the tensor is a constant",
    ours="",
    seen=at("*", "*", crash("SIGSEGV", "SIGBUS")),
    note="Of a model that is given as bytes, these bytes are changed. `quantize` refuses such a "
    "model.",
)
def set_constant_input() -> Case:
    b = Builder()
    x = b.tensor((1, 4), "x", data=np.ones((1, 4), np.float32))
    y = b.op("ABS", [x], (1, 4))
    fed = np.full((1, 4), -3, np.float32)
    return Case(b.model([y], inputs=[x]), [fed], mapped=True)
