"""SOFTMAX and L2_NORMALIZATION as steps of a program."""

from __future__ import annotations

import math

import numpy as np

from kernels.ops import _softmax
from kernels.simd.operands import bits32, eight, filled
from kernels.simd.program import Lowering, NotLowered
from kernels.simd.rows import BELOW_HALF

CERTAIN = 512  # values a row: with fewer the reference kernel of SOFTMAX cannot abort


def _rows(to: Lowering) -> tuple[int, int]:
    """Rows and their length; the output has the shape of the input."""
    shape = to.call[0].shape
    to.check(0, shape)
    if not shape or 0 in shape:
        raise NotLowered(f"{to.call.name}: nothing to compute")
    return math.prod(shape[:-1]), shape[-1]


def _sign(to: Lowering) -> str:
    return "u" if to.call[0].dtype == "uint8" else "s"


def softmax(to: Lowering) -> None:
    """SOFTMAX of 8 bits to 8 bits."""
    from kernels.ops.softmax import _check

    call = filled(to.call)
    eight(call)
    _check(call)
    rows, length = _rows(to)
    q, beta = call.output.range, call.option("beta", 1.0)
    if not call.profile.is_reference:
        if call[0].dtype != call.output.dtype or length > 1 << 20:
            raise NotLowered("SOFTMAX: of different types, or too long a row")
        plain = call.output.dtype == "uint8"
        table = _softmax.table(call, beta)
        if not np.isfinite(table).all():
            raise NotLowered("SOFTMAX: exponentials that are not finite")
        to.run(
            f"rows_table_{_sign(to)}", rows, to.x(0), to.y(), length, to.constant(table),
            bits32(call.output.s), bits32(0.5 if plain else BELOW_HALF),
            0 if plain else call.output.z, q.qmin, q.qmax,
            to.scratch(4 * rows * length),
        )  # fmt: skip
        return
    if length >= CERTAIN:
        raise NotLowered(f"SOFTMAX: whether {length} values overflow is known at run time only")
    scaling = _softmax.scaling(call, beta)
    distance = -np.arange(256)[:, None]
    _, powers = _softmax.exponentials(distance, scaling)
    to.run(
        f"rows_fixed_{_sign(to)}", rows, to.x(0), to.y(), length,
        to.constant(powers.astype(np.int32)), q.qmin, q.qmax, to.scratch(4 * rows * length),
    )  # fmt: skip


def l2(to: Lowering) -> None:
    """L2_NORMALIZATION."""
    from kernels.ops.l2_normalization import _check

    call = to.call
    _check(call)
    rows, length = _rows(to)
    if length * 255 * 255 >= 2**31:
        raise NotLowered(f"L2_NORMALIZATION: a sum of {length} squares may leave int32")
    q = call.output.range
    middle = 0 if call.output.dtype == "int8" else 128
    to.run(
        f"rows_norm_{_sign(to)}", rows, to.x(0), to.y(), length, call[0].z, 7, middle,
        q.qmin, q.qmax,
    )  # fmt: skip
