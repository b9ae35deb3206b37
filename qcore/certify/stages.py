"""Output stages on the ends of an accumulator: where they are monotone, and what they clip (E87).

A rule of requantization never decreases with the accumulator as long as nothing in it wraps, so the
outputs between two accumulators lie between their outputs. `wraps` says where that fails; `outside`
what the clip takes away, and `rounding` how far the result is from the exact quotient (E88).
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from kernels import activation
from kernels import fixedpoint as fp
from kernels.call import Call
from kernels.stage import Rule, Stage
from qcore.certify.boxes import Box
from qcore.certify.linear import M64, Sums
from qcore.certify.values import Saturation

INT32_MIN, INT32_MAX = fp.INT32_MIN, fp.INT32_MAX
SHIFTING = (Rule.DBL, Rule.UP, Rule.MIX8, Rule.MIX16)


def wraps(stage: Stage, lo: np.ndarray, hi: np.ndarray) -> str:
    """Why the stage is not monotone between these accumulators (channels last); "" if it is.

    The accumulators themselves fit their type.
    """
    if not lo.size:
        return ""
    if (stage.factor < 0).any():
        return "a factor is negative"
    lo, hi = lo.reshape(-1, lo.shape[-1]).min(0), hi.reshape(-1, hi.shape[-1]).max(0)
    if stage.rule in SHIFTING:
        left = np.maximum(fp.quantize_multiplier(stage.factor)[1], 0)
        if (left > 31).any():
            return f"the left shift by {left.max()} is not defined"
        scaled = lo << left, hi << left
        if (scaled[0] < INT32_MIN).any() or (scaled[1] > INT32_MAX).any():
            return f"the left shift by {left.max()} before the multiplication leaves int32"
    elif stage.rule in (Rule.F64, Rule.M64):
        if stage.rule is Rule.M64 and ((lo < -M64) | (hi >= M64)).any():
            return "the accumulator leaves 48 bits"
        # One more for the rounding; what is beyond is INT32_MIN or wrapped, not clipped.
        most = np.maximum(np.abs(lo.astype(np.float64)), np.abs(hi.astype(np.float64)))
        if (most * stage.factor * (1 + 2.0**-14) + abs(stage.zero_point) + 1 > INT32_MAX).any():
            return "the requantized sum leaves int32 before it is clipped"
    return ""


def outputs(stage: Stage, sums: Sums) -> Box:
    """The stage on both ends."""
    return Box(applied(stage, sums.lo), applied(stage, sums.hi))


def applied(stage: Stage, acc: np.ndarray) -> np.ndarray:
    """The stage on accumulators; groups of 16 run along the flat tensor (TRANSPOSE_CONV, uint8)."""
    return stage(acc.reshape(1, -1)).reshape(acc.shape) if stage.rule is Rule.MIX16 else stage(acc)


def unclipped(stage: Stage, acc: np.ndarray) -> np.ndarray:
    """Steps with the zero point, before the clip, int64."""
    free = replace(stage, qmin=INT32_MIN, qmax=INT32_MAX, dtype=np.dtype(np.int64))
    return applied(free, acc)


def saturation(call: Call, stage: Stage, sums: Sums) -> Saturation:
    """What the clip takes away, by channel."""
    lo, hi = unclipped(stage, sums.lo), unclipped(stage, sums.hi)
    return outside(call, lo.astype(np.float64), hi.astype(np.float64), by_channel=True)


def outside(call: Call, lo: np.ndarray, hi: np.ndarray, by_channel: bool = False) -> Saturation:
    """How far results between lo and hi (output steps, zero point added) lie outside of the type.

    What a fused activation cuts off is no saturation: the float model does the same.
    """
    q, (least, most) = call.output.range, activation_steps(call)
    lo, hi = np.clip(lo, least, most), np.clip(hi, least, most)
    if by_channel and lo.size:
        width = lo.shape[-1]
        lo, hi = lo.reshape(-1, width).min(0), hi.reshape(-1, width).max(0)
    else:
        lo, hi = np.array([lo.min(initial=math.inf)]), np.array([hi.max(initial=-math.inf)])
    below, above = np.maximum(q.qmin - lo, 0), np.maximum(hi - q.qmax, 0)
    can = (below > 0.5) | (above > 0.5)
    length = np.maximum(hi - lo, 1)
    share = np.where(can, np.minimum((below + above) / length, 1), 0)
    return Saturation(
        float(below.max(initial=0, where=can)), float(above.max(initial=0, where=can)),
        int(np.count_nonzero(can)), int(can.size), float(share.max(initial=0)),
    )  # fmt: skip


def activation_steps(call: Call) -> tuple[float, float]:
    """The fused activation in output steps, not clipped to the type."""
    y = call.output
    lo, hi = activation.BOUNDS.get(activation.fused(call), activation.BOUNDS[activation.NONE])
    return lo / float(y.s) + y.z, hi / float(y.s) + y.z


def rounding(stage: Stage) -> float:
    """|requantized - exact quotient| in steps, for results inside of the output's range (E88)."""
    half, relative = 0.5, 2.0**-21
    if stage.rule in SHIFTING:
        right = np.maximum(-fp.quantize_multiplier(stage.factor)[1], 0)
        half = max(map(twice, right.tolist()), default=half)
    elif stage.rule is Rule.M64:
        relative = 2.0**-14
    return half + relative * (stage.qmax - stage.qmin + 2)


def twice(right: int) -> float:
    """DBL and UP: half a unit of 2^-right, and half a unit where anything is shifted (E25, E88)."""
    return 0.5 if right == 0 else 0.5 + 2.0 ** -(right + 1)
