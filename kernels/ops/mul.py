"""MUL: y = act(a * b), with broadcast.

Constants stand in an activation's place: rules A make them asymmetric, rules B symmetric.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/mul.cc.
"""

from __future__ import annotations

from kernels.opspec import Operand, OpSpec
from kernels.opversion import Special, Use, bare_int16


def _grows(use: Use) -> bool:
    """The product of the input scales is at least the output scale."""
    if use.inputs[:1] == ("int16",) or len(use.scales) < 3 or not all(use.scales):
        return False
    s1, s2, s_out = (float(s) for s in use.scales[:3] if s is not None)
    return s1 * s2 / s_out >= 1.0


SPEC = OpSpec(
    name="MUL",
    inputs=(Operand("input1"), Operand("input2")),
    outputs=(Operand("output"),),
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 2, "int16": 4, "uint8": 1},
    legacy_version=2,
    special=(
        Special(7, "int16 without quantization", bare_int16),
        Special(3, "s1 * s2 / s_out >= 1, 8 bit", _grows),
    ),
)
