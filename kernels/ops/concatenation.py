"""CONCATENATION: inputs joined along axis.

Only the uint8 kernel rescales its inputs; all others copy integers.

Sources: LiteRT tfl_ops.td, operator_property.cc, op_version.cc, kernels/concatenation.cc.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from kernels.call import Call, Tensor
from kernels.errors import RuntimeRefuses
from kernels.numerics import Row
from kernels.ops import _move
from kernels.ops._move import moves
from kernels.opspec import Operand, OpSpec, Tie
from kernels.rounding import half_away

if TYPE_CHECKING:
    from kernels.simd.program import Lowering

SPEC = OpSpec(
    name="CONCATENATION",
    inputs=(Operand("input", variadic=True),),
    outputs=(Operand("output"),),
    tie=Tie.SAME,
    legacy_tie=Tie.OUTPUT,
    mlir=True,
    legacy=frozenset({"int8", "int16"}),
    kernels=frozenset({"int8", "int16", "uint8"}),
    versions={"float32": 1, "int8": 2, "int16": 3, "uint8": 1},
    legacy_version=2,
)

NUMERICS = (
    *_move.rows(
        "copies (E65); scales that differ are refused",
        "concatenation.cc; XNNPACK subgraph/concatenate.c",
        forms=("int8", "int16", "int4"),
        xnnpack=("int8", "plain"),
        note="int16: scales are not looked at, only zero points, which must be 0",
    ),
    Row(
        "uint8",
        "copies where scale and zero point are the output's, else requantizes in float32 (E67)",
        "as reference",
        "copies; falls back where parameters differ",
        "reference/concatenation.h, optimized_ops.h ConcatenationWithScaling",
    ),
)


@moves(forms=_move.PACKED)
def real(call: Call) -> tuple[np.ndarray, ...]:
    """The inputs one after another along axis."""
    return (_join(call, [t.x for t in _inputs(call)]),)


@moves(forms=_move.PACKED)
def reference(call: Call) -> tuple[np.ndarray, ...]:
    """As `real`; uint8 inputs with other parameters go through float32 first (E67)."""
    _check(call)
    return (_join(call, [_steps(t, call.output) for t in _inputs(call)]),)


@moves(forms=_move.PACKED)
def fast(call: Call) -> tuple[np.ndarray, ...]:
    """`reference`, which for uint8 looks 256 results up."""
    _check(call)
    codes = np.arange(256, dtype=np.uint8)
    parts = []
    for t in _inputs(call):
        if t.dtype == "uint8" and not _move.all_same(t, call.output):
            parts.append(_steps(replace(t, data=codes), call.output)[t.x])
        else:
            parts.append(t.x)
    return (_join(call, parts),)


def lower(call: Call, to: Lowering) -> None:
    """Compiled: a list of copies."""
    from kernels.simd import movement
    from kernels.simd.program import NotLowered

    if call.output.dtype == "uint8" and not _move.all_same(call.output, *call.inputs):
        raise NotLowered("CONCATENATION: uint8 inputs that are requantized")
    movement.lower(to, reference)


def delegated(call: Call) -> bool:
    """Whether XNNPACK takes the call: 2 to 5 inputs with the parameters of the output."""
    return (
        2 <= len(call.inputs) <= 5
        and int(call.option("axis", 0)) < len(call[0].shape)
        and _move.movable(call.output, *_inputs(call))
        and (call.output.dtype != "uint8" or _move.all_same(call.output, *call.inputs))
    )


def _inputs(call: Call) -> list[Tensor]:
    return [call[p] for p in range(len(call.inputs))]


def _check(call: Call) -> None:
    if call.output.dtype == "int8":
        _move.check_tied(call)
    elif call.output.dtype == "int16" and any(t.z for t in (*_inputs(call), call.output)):
        raise RuntimeRefuses("CONCATENATION: int16 zero points must be 0; the runtime stops")


def _steps(t: Tensor, y: Tensor) -> np.ndarray:
    """An input in the output's steps: clip(half_away(f32(f32(q s) - f32(z s))) + z_y), where s is
    f32(s_x f32(1 / s_y)) (E67)."""
    if t.dtype != "uint8" or not t.quantized or _move.all_same(t, y):
        return t.x
    scale = t.s * (np.float32(1) / y.s)
    bias = np.float32(-t.z) * scale
    steps = half_away(t.x.astype(np.float32) * scale + bias).astype(np.int64) + y.z
    return np.clip(steps, 0, 255).astype(np.uint8)


def _join(call: Call, parts: list[np.ndarray]) -> np.ndarray:
    if all(part.ndim == 0 for part in parts):  # constant scalars: the runtime makes a vector
        return np.stack(parts)
    return np.concatenate(parts, _move.axis_of(int(call.option("axis", 0)), parts[0].ndim))
