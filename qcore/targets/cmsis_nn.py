"""CMSIS-NN: Arm's kernels in the place of TFLite Micro's, for Cortex-M.

What it takes not runs on TFLite Micro's reference kernels, so the model has to run on those.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from qcore.targets import conditions as c
from qcore.targets import tflm
from qcore.targets.rule import Placement, Rule, Target, takes
from qcore.targets.site import Site

README = "CMSIS-NN README.md, Current Operator Support"
GLUE = "tflite-micro tensorflow/lite/micro/kernels/cmsis_nn"
OPERATORS = takes(
    """
int8 int16:
    ADD AVERAGE_POOL_2D BATCH_MATMUL CONV_2D DEPTHWISE_CONV_2D FULLY_CONNECTED MAX_POOL_2D MUL
    SOFTMAX UNIDIRECTIONAL_SEQUENCE_LSTM
int8: MAXIMUM MINIMUM PAD PADV2 SVDF TRANSPOSE TRANSPOSE_CONV
"""
)


def _broadcast(site: Site) -> str:
    if not c.broadcast(site):
        return ""
    return f"{c.size(site.call[0].shape)} and {c.size(site.call[1].shape)}"


def _scales16(site: Site) -> str:
    data = site.data
    return c.per_tensor_weights(site) if data is not None and data.tensor.dtype == "int16" else ""


def _bias16(site: Site) -> str:
    data, bias = site.data, site.bias
    if data is None or data.tensor.dtype != "int16" or bias is None:
        return ""
    return "" if bias.tensor.dtype == "int64" else bias.says(bias.tensor.dtype)


def _beneath() -> Iterator[Rule]:
    """Rules of TFLite Micro that these operators can break."""
    for rule in tflm.RULES:
        about = rule.operators & OPERATORS.keys()
        if about or not rule.operators:
            yield replace(rule, operators=frozenset(about))


TARGET = Target(
    key="cmsis-nn",
    title="CMSIS-NN",
    about="CMSIS-NN of July 2026 beneath TFLite Micro.",
    placement=Placement.EACH,
    beneath="tflm",
    rest="reference kernels of TFLite Micro",
    operators=OPERATORS,
    rules=(
        Rule("there is an integer kernel for Cortex-M", README, c.listed(OPERATORS), final=True),
        Rule(
            "the kernel for Cortex-M takes data of the type", README, c.data_types(OPERATORS),
            mend="quantize with --recipe int8 or int16x8", final=True,
        ),
        Rule("both operands have one shape", f"{GLUE}/add.cc, mul.cc", _broadcast,
             frozenset({"ADD", "MUL"})),
        Rule("at most 4 axes are permuted", f"{GLUE}/transpose.cc", c.ranks(*range(5)),
             frozenset({"TRANSPOSE"})),
        Rule("operands have 2 to 4 axes", f"{GLUE}/batch_matmul.cc", c.ranks(2, 3, 4),
             frozenset({"BATCH_MATMUL"})),
        Rule("weights beside int16 data have one scale", f"{GLUE}/fully_connected.cc", _scales16,
             frozenset({"FULLY_CONNECTED"}),
             mend="give the weights granularity per_tensor"),
        Rule("biases beside int16 data are int64", f"{GLUE}/depthwise_conv.cc, fully_connected.cc",
             _bias16, frozenset({"DEPTHWISE_CONV_2D", "FULLY_CONNECTED"})),
        *_beneath(),
    ),
)  # fmt: skip
