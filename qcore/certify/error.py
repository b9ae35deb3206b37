"""How far real(integers) can be from the float model: a bound for every tensor (E91 to E95).

e bounds |real(q) - f| elementwise; f is what a float32 runtime has at the same place. An operator
passes on the errors of its operands, adds what its constants are off, what float32 may be off
(E75), and its own rounding. Clipping moves nothing apart (E92), as long as f itself lies in the
range that the codes stand for: hypothesis H. Where f is shown to lie there for every input, H costs
nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kernels import activation, ops, ranges
from kernels.bounds import U, Unfused, gamma
from kernels.call import Call, Tensor
from kernels.errors import KernelError
from kernels.fixedpoint import quantize_multiplier
from kernels.ops import _binary, fully_connected, resize_bilinear
from qcore.certify import linear, rules, stages
from qcore.certify.boxes import Box
from qcore.certify.linear import Sums
from qcore.certify.rules import Outcome
from qcore.certify.values import Error

UP = 1 + 2.0**-20  # float32 arithmetic on errors is rounded up by this
MOVES = frozenset(
    """BATCH_TO_SPACE_ND BROADCAST_TO CONCATENATION DEPTH_TO_SPACE DYNAMIC_UPDATE_SLICE EXPAND_DIMS
    GATHER GATHER_ND MAX_POOL_2D MIRROR_PAD PACK PAD PADV2 REDUCE_MAX RESHAPE
    RESIZE_NEAREST_NEIGHBOR REVERSE_SEQUENCE REVERSE_V2 SELECT SELECT_V2 SLICE SPACE_TO_BATCH_ND
    SPACE_TO_DEPTH SPLIT SPLIT_V SQUEEZE STRIDED_SLICE TILE TRANSPOSE UNPACK""".split()
)
# |g(a) - g(b)| <= L |a - b|, everywhere.
LIPSCHITZ = {
    "ABS": 1.0, "ELU": 1.0, "GELU": 1.13, "HARD_SWISH": 1.5, "LOGISTIC": 0.25, "RELU": 1.0,
    "RELU6": 1.0, "RELU_0_TO_1": 1.0, "RELU_N1_TO_1": 1.0, "TANH": 1.0,
}  # fmt: skip
VALUES = {"SOFTMAX": (0.0, 1.0), "LOGISTIC": (0.0, 1.0), "TANH": (-1.0, 1.0),
          "L2_NORMALIZATION": (-1.0, 1.0)}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Operand:
    """lo, hi: real(q).  e: error.  most: largest |f|. All float64, of the operand's shape."""

    lo: np.ndarray
    hi: np.ndarray
    e: np.ndarray

    @property
    def most(self) -> np.ndarray:
        return np.maximum(np.abs(self.lo - self.e), np.abs(self.hi + self.e))

    @property
    def size(self) -> np.ndarray:
        """Largest |real(q)|."""
        return np.maximum(np.abs(self.lo), np.abs(self.hi))


@dataclass(frozen=True, eq=False)
class Found:
    """e: of the first output, before the cap.  lo, hi: where the exact result lies before anything
    is rounded or clipped to the output's type, None where H follows from the inputs' H.
    free: e holds without H for this output."""

    e: np.ndarray
    lo: np.ndarray | None = None
    hi: np.ndarray | None = None
    free: bool = False


class NoRule(Exception):
    """There is no bound for the operator; the argument says why."""


class Errors:
    """Goes through a graph beside the boxes.

    constants: float values of constant operands, by (operator, position); None: the float model is
    what the file's own integers mean.
    """

    def __init__(self, constants: dict[tuple[int, int], np.ndarray] | None):
        self.constants = constants
        self.e: dict[int, np.ndarray] = {}
        self.assumed = ""  # why H is a hypothesis, from some operator on

    def given(self, tensor: int, t: Tensor) -> None:
        """A model input: floats become its integers, at most half a step and the rounding of the
        quotient away (E3)."""
        half = 0.0
        if t.quantized and t.dtype in ranges.NAMED:
            half = float(t.scales.max()) * (0.5 + 2 * U * (t.range.steps + 1))
        self.e[tensor] = np.full(t.shape, half)

    def unknown(self, tensor: int, shape: tuple[int, ...]) -> None:
        self.e[tensor] = np.full(shape, np.inf)

    def operator(
        self, number: int, call: Call, inputs: tuple[int, ...], outputs: tuple[int, ...],
        boxes: dict[int, Box], outcome: Outcome, sums: Sums | None,
    ) -> Error | None:  # fmt: skip
        """The error of the first output; those of all outputs are kept. None for what is no
        quantized or float tensor."""
        made = outcome.boxes
        for tensor, box in zip(outputs, made):
            if tensor >= 0 and box is not None:
                self.unknown(tensor, box.shape)
        y = call.outputs[0] if call.outputs else None
        known_type = y is not None and (
            y.dtype in ranges.NAMED if y.quantized else y.dtype == "float32"
        )
        if y is None or made[0] is None or not known_type:
            return None
        why, found = "", None
        operands = self._operands(number, call, inputs, boxes)
        try:
            with np.errstate(all="ignore"):
                found = _rule(call, operands, boxes, outcome, sums)
        except NoRule as reason:
            why = str(reason)
        except KernelError as reason:
            why = f"no rule: {reason}"
        e = np.full(made[0].shape, np.inf) if found is None else found.e
        e = np.where(np.isnan(e), np.inf, np.broadcast_to(e, made[0].shape))
        error, kept = self._capped(number, call, made[0], e, found, why)
        self.e[outputs[0]] = kept
        if call.name in MOVES and found is not None:  # parts of one tensor: its largest error
            most = max((o.e.max(initial=0) for o in operands.values()), default=0.0)
            for number, (tensor, box) in enumerate(zip(outputs, made)):
                if number and box is not None:
                    self.e[tensor] = np.full(
                        box.shape, most * UP + _relabelled(call, outcome, number)
                    )
        return error

    def _operands(
        self, number: int, call: Call, inputs: tuple[int, ...], boxes: dict[int, Box]
    ) -> dict[int, Operand]:
        found = {}
        for p, tensor in enumerate(inputs):
            if not call.has(p) or p not in boxes:
                continue
            t, box = call[p], boxes[p]
            if not (t.quantized or t.dtype == "float32"):
                continue
            lo, hi = (_real(t, end) for end in (box.lo, box.hi))
            if t.constant:
                e = U * np.abs(lo)  # real numbers of the file in float32
                if self.constants is not None and (number, p) in self.constants:
                    e = np.abs(lo - self.constants[number, p].astype(np.float64).reshape(lo.shape))
            else:
                e = np.broadcast_to(self.e.get(tensor, np.inf), box.shape)
            found[p] = Operand(lo, hi, e)
        return found

    def _capped(
        self, number: int, call: Call, box: Box, e: np.ndarray, found: Found | None, why: str
    ) -> tuple[Error, np.ndarray]:
        """The error, no larger than two values of the range can be apart."""
        y = call.outputs[0]
        lo, hi = _real(y, box.lo), _real(y, box.hi)
        least, most = VALUES.get(call.name, _range(y))
        if found is not None and not found.free and y.quantized:
            self._assume(number, call, found)
        cap = np.maximum(hi - least, most - lo)
        trivial = found is None or bool((e >= cap).any())
        held = call.name in VALUES or found is None or not found.free
        kept = np.minimum(e, cap) if held else e
        if found is None and y.quantized and call.name not in VALUES:
            self.assumed = self.assumed or f"{call.name} {number}: {why}"
        bound = float(kept.max(initial=0.0))
        if not math.isfinite(bound):
            why = why or "an operand has no bound"
        step = float(y.scales.min()) if y.quantized else math.nan
        unconditional = not self.assumed and math.isfinite(bound)
        return Error(bound, bound / step, trivial, unconditional, why or self.assumed), kept

    def _assume(self, number: int, call: Call, found: Found) -> None:
        """Whether f can leave the output's range: from there on H is a hypothesis."""
        if self.assumed or found.lo is None or found.hi is None:
            return
        least, most = _range(call.outputs[0])
        low, high = activation.BOUNDS.get(activation.fused(call), activation.BOUNDS[0])
        lo = np.clip(found.lo - found.e, low, high).min(initial=np.inf)
        hi = np.clip(found.hi + found.e, low, high).max(initial=-np.inf)
        if not (lo >= least and hi <= most):
            self.assumed = (
                f"{call.name} {number}: float values in [{lo:.4g}, {hi:.4g}] can leave its range "
                f"[{least:.4g}, {most:.4g}]"
            )


def _real(t: Tensor, values: np.ndarray) -> np.ndarray:
    """Values of a tensor in real units, float64."""
    if not t.quantized:
        return values.astype(np.float64)
    if t.per_channel or t.scales.ndim > 1:
        return replace(t, data=values).real().astype(np.float64)
    return float(t.s) * (values.astype(np.int64) - t.z)


def _range(t: Tensor) -> tuple[float, float]:
    """What the codes of a tensor stand for."""
    if not t.quantized:
        return -math.inf, math.inf
    q = t.range
    return float(t.s) * (q.qmin - t.z), float(t.s) * (q.qmax - t.z)


# --- operators ------------------------------------------------------------------------------------


def _rule(
    call: Call, operands: dict[int, Operand], boxes: dict[int, Box], outcome: Outcome,
    sums: Sums | None,
) -> Found:  # fmt: skip
    if outcome.rule.startswith("type:"):
        raise NoRule(outcome.rule.removeprefix("type: "))
    if sums is not None and sums.stage is not None:
        return _sums(call, operands, sums)
    made = _RULES.get(call.name)
    if made is not None and (call.form or call.name in ("DEQUANTIZE",)):
        return made(call, operands, boxes)
    if call.name in LIPSCHITZ and call.form:
        return _codes(call, operands, boxes)
    if call.name in MOVES and outcome.rule in ("ends", "known"):
        e = _moved(call, operands) + _relabelled(call, outcome)
        if activation.fused(call):
            e = e + _clamped(call)
        if not call.form or _same_parameters(call):
            return Found(e, free=True)
        parts = [o for p, o in operands.items() if call[p].quantized]
        lo = np.array(min(o.lo.min(initial=0.0) for o in parts))
        return Found(e, lo, np.array(max(o.hi.max(initial=0.0) for o in parts)))
    raise NoRule(f"no rule for {call.name}{'' if call.form else ' of floats'}")


def _sums(call: Call, operands: dict[int, Operand], sums: Sums) -> Found:
    """E91: sum |w| e + sum |dw| |f| + |db|, and the rounding of the stage."""
    stage = sums.stage
    assert stage is not None
    y, scale = call.output, float(call.output.s)
    factor: Any
    if _zero_point_ignored(call):
        raise NoRule("this path ignores the zero point of the weights")
    rows = call.name == "FULLY_CONNECTED" and not call[1].constant
    if call.name == "BATCH_MATMUL" or rows:
        e, factor = _of_products(call, operands)
    else:
        form = linear.of(call)
        if not form.weights.any() and call.x(1).any():
            raise NoRule("this path sees padding only (E33)")
        x, w = operands[form.position], operands[1]
        factor = float(call[form.position].s) * call[1].scales.astype(np.float64).reshape(-1)
        size = np.abs(form.weights * (factor / float(call[form.position].s)))
        off = _like(call, w.e, form.weights)
        terms = form.weights.size // max(form.weights.shape[-1], 1)
        e = form.sums(np.broadcast_to(x.e, x.lo.shape), size)
        if off.any():
            e = e + form.sums(x.most, off)
        total = form.sums(x.most, size + off)
        at = {"TRANSPOSE_CONV": 3}.get(call.name, 2)
        if at in operands:
            bias = operands[at]
            meant = form.bias * factor
            true = np.abs(bias.lo.reshape(-1) - meant) + bias.e.reshape(-1)
            e = e + true
            total = total + np.abs(meant) + true
        elif call.has(at):
            raise NoRule("the bias has no scale")
        e = e + gamma(terms + 4) * total
    exact = sums.lo * factor, sums.hi * factor
    e = e * UP + _ends_apart(call, stage.qmin, stage.qmax) + scale * stages.rounding(stage)
    if y.quantized and stages.wraps(stage, sums.lo, sums.hi):
        raise NoRule("the requantization can wrap")
    shape = exact[0].shape
    lo, hi = (_output_shaped(call, v, shape) for v in exact)
    return Found(_output_shaped(call, e, shape), lo, hi)


def _zero_point_ignored(call: Call) -> bool:
    w = call[1]
    if w.per_channel or call.name != "FULLY_CONNECTED":
        unseen = w.dtype != "uint8" and (call.name != "BATCH_MATMUL" or call.profile.is_xnnpack)
        return unseen and bool(w.zero_points.any())
    return w.z != fully_connected.weight_zero_point(call)


def _output_shaped(call: Call, a: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Sums of rows in the shape of the output (FULLY_CONNECTED with keep_num_dims)."""
    found = np.broadcast_to(a, shape)
    if call.name == "FULLY_CONNECTED" and call.option("keep_num_dims", False):
        return found.reshape(*call[0].shape[:-1], -1)
    return found


def _like(call: Call, stored: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weights as the file has them, in the layout of the linear form (channels last)."""
    if call.name == "DEPTHWISE_CONV_2D":
        return stored[0]
    return np.moveaxis(stored, 0, -1).reshape(weights.shape)


def _of_products(call: Call, operands: dict[int, Operand]) -> tuple[np.ndarray, float]:
    """|a b - f g| <= |a| e_b + |g| e_a, summed over the inner axis."""
    x, w = operands[0], operands[1]
    matrices = call.name == "BATCH_MATMUL"

    def left(v: np.ndarray) -> np.ndarray:
        if not matrices:
            return v.reshape(-1, call[1].shape[1])
        return v.swapaxes(-1, -2) if call.option("adj_x", False) else v

    def right(v: np.ndarray) -> np.ndarray:
        turned = not matrices or call.option("adj_y", False)
        return v.swapaxes(-1, -2) if turned else v

    if call[1].per_channel:
        raise NoRule("scales of channels beside an operand that varies")
    size, most = left(x.size), left(x.most)
    e = size @ right(w.e) + left(x.e) @ right(w.most)
    e = e + gamma(size.shape[-1] + 3) * (most @ right(w.most))
    factor = float(call[0].s) * float(call[1].s)
    if not matrices and call.has(2):
        bias = operands[2]
        e = e + np.abs(bias.lo.reshape(-1) - call.x(2).reshape(-1) * factor) + bias.e.reshape(-1)
    return e, factor


def _ends_apart(call: Call, qmin: int, qmax: int) -> float:
    """How far the clamp in codes is from that in real units, within the output's range (E92)."""
    y = call.output
    low, high = activation.BOUNDS.get(activation.fused(call), activation.BOUNDS[0])
    least, most = _range(y)
    if max(low, least) > min(high, most):
        return math.inf
    ends = float(y.s) * (qmin - y.z), float(y.s) * (qmax - y.z)
    return max(abs(ends[0] - max(low, least)), abs(ends[1] - min(high, most))) * UP


def _clamped(call: Call) -> float:
    return _ends_apart(call, *activation.clamp(call))


def _width(call: Call) -> float:
    return call.output.range.steps + 2


def _sum_of_two(call: Call, operands: dict[int, Operand], boxes: dict[int, Box]) -> Found:
    """ADD and SUB (E93)."""
    a, b, y = operands[0], operands[1], call.output
    sign = -1 if call.name == "SUB" else 1
    scale, larger = float(y.s), max(float(call[0].s), float(call[1].s))
    if call.profile.is_xnnpack:
        own = 0.5 + 255 * 2.0**-13
    elif (shifts := _binary.shifted_parameters(call, sign)) is not None:
        own = 1.0  # and the scales are powers of two nearly only (E45)
        for o, t, shift in ((a, call[0], shifts.a_shift), (b, call[1], shifts.b_shift)):
            own += abs(float(t.s) / scale - 2.0**-shift) * float(o.size.max(initial=0)) / float(t.s)
    elif y.dtype == "int16":
        own = 0.75 + 6 * larger / (2.0**15 * scale)
    else:
        own = 0.75 + 6 * larger / (2.0**20 * scale)
    lo, hi = (a.lo + b.lo, a.hi + b.hi) if sign > 0 else (a.lo - b.hi, a.hi - b.lo)
    most = np.maximum(np.abs(lo), np.abs(hi)) + a.e + b.e
    e = a.e + b.e + 2 * U * most + scale * (own + 2.0**-21 * _width(call)) + _clamped(call)
    return Found(e, lo, hi)


def _product(call: Call, operands: dict[int, Operand], boxes: dict[int, Box]) -> Found:
    """MUL (E93)."""
    a, b, y = operands[0], operands[1], call.output
    corners = [v * w for v in (a.lo, a.hi) for w in (b.lo, b.hi)]
    lo, hi = np.minimum.reduce(corners), np.maximum.reduce(corners)
    factor = float(call[0].s) * float(call[1].s) / float(y.s)
    right = max(-int(quantize_multiplier(factor)[1]), 0)
    own = 0.5 if call.profile.is_xnnpack else stages.twice(right) + 2.0**-20
    e = np.minimum(a.size * b.e + b.most * a.e, b.size * a.e + a.most * b.e)
    e = e + 2 * U * a.most * b.most + float(y.s) * (own + 2.0**-21 * _width(call))
    return Found(e + _clamped(call), lo, hi)


def _mean(call: Call, operands: dict[int, Operand], boxes: dict[int, Box]) -> Found:
    """MEAN and SUM: the sum of errors, the rounding of the path (E93)."""
    x, y = operands[0], call.output
    lo, hi, e = (_real_kernel(call, {0: v}) for v in (x.lo, x.hi, np.broadcast_to(x.e, x.lo.shape)))
    most = _real_kernel(call, {0: x.most})
    count = max(x.lo.size // max(lo.size, 1), 1)
    ratio = float(call[0].s) / float(y.s) * (count if call.name == "SUM" else 1)
    # E61 rounds the zero point on its own; E62 has float32 throughout.
    own = 1.25 + 2.0**-20 * (1024 * ratio + 512)
    e = e * UP + gamma(count + 4) * most + float(y.s) * own
    return Found(e, lo, hi)


def _average(call: Call, operands: dict[int, Operand], boxes: dict[int, Box]) -> Found:
    """AVERAGE_POOL_2D: half a step, of the input as of the output."""
    x = operands[0]
    if not _same_parameters(call):
        raise NoRule("codes are averaged although input and output have other parameters")
    e = _real_kernel(call, {0: np.broadcast_to(x.e, x.lo.shape)})
    most = _real_kernel(call, {0: x.most})
    count = int(call.option("filter_height")) * int(call.option("filter_width"))
    e = e * UP + gamma(count + 4) * most + 0.5 * float(call.output.s) + _clamped(call)
    return Found(e, free=True)


def _extreme(call: Call, operands: dict[int, Operand], boxes: dict[int, Box]) -> Found:
    """MAXIMUM, MINIMUM."""
    if not _same_parameters(call):
        raise NoRule("codes are compared although their parameters differ")
    return Found(np.maximum(operands[0].e, operands[1].e), free=True)


def _least(call: Call, operands: dict[int, Operand], boxes: dict[int, Box]) -> Found:
    """REDUCE_MIN: the largest error of all that meet."""
    if not _same_parameters(call):
        raise NoRule("codes are copied although input and output have other parameters")
    return Found(np.asarray(operands[0].e.max(initial=0.0)), free=True)


def _quantized(call: Call, operands: dict[int, Operand], boxes: dict[int, Box]) -> Found:
    """QUANTIZE: of floats half a step, of integers the rounding of their rule (E93)."""
    x, y = operands[0], call.output
    if y.per_channel or call[0].per_channel:
        raise NoRule("a scale for each channel")
    own = 0.5
    if call[0].quantized and call.profile.is_xnnpack:
        own += (call[0].range.steps + 1) / 512
    elif call[0].quantized:
        own = 0.75
    most = max(abs(y.range.qmin), abs(y.range.qmax)) + abs(y.z) + _width(call)
    return Found(x.e + float(y.s) * (own + 2.0**-21 * most), x.lo, x.hi)


def _dequantized(call: Call, operands: dict[int, Operand], boxes: dict[int, Box]) -> Found:
    """DEQUANTIZE: three roundings of float32, relative to z as well (E56)."""
    if 0 not in operands:
        raise NoRule(f"no rule for DEQUANTIZE of {call[0].dtype}")
    x, t = operands[0], call[0]
    zero = np.abs(t.zero_points).max() * float(t.scales.max()) if t.quantized else 0.0
    return Found(x.e + 4 * U * (x.size + zero), free=True)


def _codes(call: Call, operands: dict[int, Operand], boxes: dict[int, Box]) -> Found:
    """A function of one code (E94): the worst entry of its table, and L e."""
    x, y, box = operands[0], call.output, boxes[0]
    slope = LIPSCHITZ[call.name]
    if call.name == "LEAKY_RELU":
        slope = max(1.0, abs(float(call.option("alpha", 0.0))))
    q = call[0].range
    made = _real(y, rules.table(call))
    codes = np.arange(q.qmin, q.qmax + 1)
    exact = _real_kernel(call, {0: _real(call[0], codes)})
    least, most = _range(y)
    inside = slice(int(box.lo.min()) - q.qmin, int(box.hi.max()) - q.qmin + 1)
    slack = 32 * U * (1 + np.abs(exact[inside]).max(initial=0))
    open_ = np.abs(made - exact)[inside].max(initial=0) + slack
    clipped = np.abs(made - np.clip(exact, least, most))[inside].max(initial=0) + slack
    e = slope * x.e * UP
    if open_ <= clipped + 1.01 * float(y.s):
        return Found(e + open_, free=True)
    values = exact[inside]
    lo, hi = np.full(x.lo.shape, values.min()), np.full(x.lo.shape, values.max())
    return Found(e + clipped, lo, hi)


def _softmax(call: Call, operands: dict[int, Operand], boxes: dict[int, Box]) -> Found:
    """SOFTMAX by the float table (E71, E95); half of the largest error of a row."""
    x, y = operands[0], call.output
    if call.profile.is_reference or call[0].dtype == "int16" or y.dtype == "int16":
        raise NoRule("no rule for SOFTMAX in fixed point")
    if y.dtype == "uint8" and y.z:
        raise NoRule("the kernel does not add the zero point (E71)")
    beta = float(call.option("beta", 1.0))
    reach = beta * float(call[0].s) * 255
    own = 2 * U * (x.lo.shape[-1] + 8 + 4 * reach)
    row = 0.5 * beta * x.e.max(-1, keepdims=True)
    # The output's range ends one step below 1.
    e = row * UP + 1.5 * float(y.s) + 2 * own
    return Found(np.broadcast_to(e, x.lo.shape), free=True)


def _bilinear(call: Call, operands: dict[int, Operand], boxes: dict[int, Box]) -> Found:
    """RESIZE_BILINEAR: weights are rounded, positions may be (E93)."""
    x = operands[0]
    if not _same_parameters(call) or call[0].dtype == "uint8":
        raise NoRule("no rule for this RESIZE_BILINEAR")
    align = bool(call.option("align_corners", False))
    half = bool(call.option("half_pixel_centers", False))
    rule, one = (
        (resize_bilinear.eleventh_axis, 2048)
        if call.profile.is_xnnpack
        else (resize_bilinear.tenth_axis, 1024)
    )
    apart = 0.0
    for size, wanted in zip(call[0].shape[1:3], call.x(1).ravel().tolist(), strict=True):
        own = rule(size, wanted, align, half)
        if max(own.low.max(), own.high.max()) >= size:
            raise NoRule("the kernel reads beyond a row (E73)")
        true = resize_bilinear.float_axis(size, wanted, align, half)
        places = [
            np.clip(a.low + a.weight.astype(np.float64) / scale, 0, size - 1)
            for a, scale in ((own, one), (true, 1))
        ]
        apart += float(np.abs(places[0] - places[1]).max()) + 16 * U * (size + 1)
    spread = float((x.hi + x.e).max(initial=0) - (x.lo - x.e).min(initial=0))
    e = x.e.max((1, 2), keepdims=True) + apart * spread + 0.5 * float(call.output.s)
    shape = (x.lo.shape[0], *(int(n) for n in call.x(1).ravel()), x.lo.shape[3])
    return Found(np.broadcast_to(e * UP + 16 * U * spread, shape), free=True)


def _prelu(call: Call, operands: dict[int, Operand], boxes: dict[int, Box]) -> Found:
    """PRELU: a line on either side (E94)."""
    x, alpha, y = operands[0], operands[1], call.output
    slope = np.maximum(1.0, alpha.most)
    own = 0.75 + 2.0**-20 + 2.0**-21 * _width(call)
    e = slope * x.e + x.size * alpha.e + 2 * U * slope * x.most + float(y.s) * own
    corners = [np.where(v >= 0, v, v * a) for v in (x.lo, x.hi) for a in (alpha.lo, alpha.hi)]
    corners.append(np.where((x.lo <= 0) & (x.hi >= 0), 0.0, corners[0]))
    return Found(e, np.minimum.reduce(corners), np.maximum.reduce(corners))


_RULES: dict[str, Callable[[Call, dict[int, Operand], dict[int, Box]], Found]] = {
    "ADD": _sum_of_two, "SUB": _sum_of_two, "MUL": _product, "MEAN": _mean, "SUM": _mean,
    "AVERAGE_POOL_2D": _average, "MAXIMUM": _extreme, "MINIMUM": _extreme, "REDUCE_MIN": _least,
    "QUANTIZE": _quantized, "DEQUANTIZE": _dequantized, "SOFTMAX": _softmax,
    "RESIZE_BILINEAR": _bilinear, "PRELU": _prelu,
}  # fmt: skip
LIPSCHITZ["LEAKY_RELU"] = 1.0  # or alpha


# --- the operator's own float kernel on errors ----------------------------------------------------


def _real_kernel(call: Call, arrays: dict[int, np.ndarray]) -> np.ndarray:
    """The first output of the operator in real units, without its activation, float64."""
    module = ops.module(call.name)
    assert module is not None
    given = {p: a.astype(np.float32) for p, a in arrays.items()}
    made = module.real(rules.plain(call, given).on(options=Unfused(call.options)))
    return np.asarray(made[0], np.float64)


def _moved(call: Call, operands: dict[int, Operand]) -> np.ndarray:
    """Errors go where the elements go; padding with zero has none."""
    if call.name == "RESIZE_NEAREST_NEIGHBOR" and call[0].dtype in rules.EIGHT:
        flags = (call.option(n, False) for n in ("align_corners", "half_pixel_centers"))
        if not call.profile.is_reference and not any(flags):
            raise NoRule("positions are made of 16 fraction bits, those of floats are not (E59)")
    arrays = {p: np.broadcast_to(o.e, o.lo.shape) for p, o in operands.items()}
    return _real_kernel(call, arrays) * UP


def _relabelled(call: Call, outcome: Outcome, output: int = 0) -> float:
    """What copied codes mean less or more where the parameters of input and output differ (E65)."""
    if not call.form or _same_parameters(call):
        return 0.0
    y, box = call.outputs[output], outcome.boxes[output]
    assert box is not None
    if call.name == "CONCATENATION" and y.dtype == "uint8":  # rescaled (E67)
        return float(y.s) * (0.5 + 2.0**-20 * _width(call))
    apart = [0.0]
    for t in call.inputs:
        if t is not None and t.quantized:
            apart += [
                float(np.abs(_real(y, end) - _real(t, end)).max(initial=0))
                for end in (box.lo, box.hi)
            ]
    return max(apart)


def _same_parameters(call: Call) -> bool:
    found = [t for t in (*call.inputs, *call.outputs) if t is not None and t.quantized]
    return all(t.s == found[0].s and t.z == found[0].z for t in found)
