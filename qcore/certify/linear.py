"""Sums of products: the smallest and the largest accumulator of every output element (E85, E86).

The operand that varies is a box, the other one constant:

    hi = b + sum_i max(w_i lo_i, w_i hi_i)
       = b + (sum_i w_i (lo_i + hi_i) + sum_i |w_i| (hi_i - lo_i)) / 2

with both ends less the zero point, so two passes of the operator's own sums, one with w and one
with |w|, give both ends exactly; windows that reach over the edge see zeros, as in the kernel. The
ends are attained, each element by an input of its own. Where both operands vary, every product has
its extremes at corners, and an output element meets each pair once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType

import numpy as np

from kernels import ops
from kernels.call import Call
from kernels.ops import _conv, fully_connected
from kernels.stage import Rule, Stage
from qcore.certify.boxes import Box
from qcore.certify.values import Accumulator

INT32, M64, INT64 = 2**31, 2**47, 2**63  # limits: E26 takes 48 bits
EXACT = 2**53  # sums in float64 are exact below
Ends = tuple[np.ndarray, np.ndarray]
Chosen = dict[int, np.ndarray]


@dataclass(frozen=True, eq=False)
class Sums:
    """The accumulators of one operator.

    lo, hi: int64, of every output element, channels last.  witness: index of an output element and
    whether its largest sum is meant -> the operands (codes) that make it.
    """

    lo: np.ndarray
    hi: np.ndarray
    limit: int
    stage: Stage | None
    witness: Callable[[tuple[int, ...], bool], Chosen] | None = None
    attained: bool = True
    any_order: bool = True
    raw: bool = True
    name: str = "sum"
    fits: bool = field(init=False)

    def __post_init__(self) -> None:
        inside = not self.lo.size or (self.lo.min() >= -self.limit and self.hi.max() < self.limit)
        object.__setattr__(self, "fits", bool(inside))

    @property
    def accumulator(self) -> Accumulator:
        lo, hi = by_channel(self.lo, self.hi)
        return Accumulator(
            self.name, self.limit, tuple(lo.tolist()), tuple(hi.tolist()), self.attained,
            self.fits and self.any_order, self.fits and self.any_order and self.raw,
        )  # fmt: skip


def by_channel(lo: np.ndarray, hi: np.ndarray) -> Ends:
    """Extremes over all axes but the last."""
    if not lo.size:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    width = lo.shape[-1] if lo.ndim else 1
    return lo.reshape(-1, width).min(0), hi.reshape(-1, width).max(0)


@dataclass(frozen=True, eq=False)
class Linear:
    """An operator that is linear in the operand at `position`.

    weights: float64, channels last, zero points subtracted.  sums: operand and weights -> sums
    without bias, channels last.  coefficients: index of an output element -> the weight that every
    element of the operand has in it.
    """

    position: int
    zero_point: int
    weights: np.ndarray
    bias: np.ndarray
    sums: Callable[[np.ndarray, np.ndarray], np.ndarray]
    coefficients: Callable[[tuple[int, ...]], np.ndarray]
    limit: int
    stage: Stage | None

    def between(self, lo: np.ndarray, hi: np.ndarray) -> Ends:
        """Extremes of the sums without bias, for operands (less the zero point) between lo and
        hi."""
        middle = self.sums((lo + hi).astype(np.float64), self.weights)
        spread = self.sums((hi - lo).astype(np.float64), np.abs(self.weights))
        least, most = (
            (np.rint(s) / 2).astype(np.int64) for s in (middle - spread, middle + spread)
        )
        return least, most

    def bounds(self, box: Box) -> Sums:
        """The accumulators for operands in the box."""
        lo, hi = box.steps(self.zero_point)
        least, most = self.between(lo, hi)
        partial = (least, most)
        if (lo > 0).any() or (hi < 0).any():  # a partial sum leaves products out: their 0 counts
            partial = self.between(np.minimum(lo, 0), np.maximum(hi, 0))
        low, high = partial
        ordered = all(_inside(low + b, high + b, self.limit) for b in (self.bias, 0))
        return Sums(
            least + self.bias, most + self.bias, self.limit, self.stage,
            lambda index, upper: self.witness(box, index, upper),
            any_order=ordered, raw=self._raw(box),
        )  # fmt: skip

    def _raw(self, box: Box) -> bool:
        """Whether sums of w q, without zero points, stay in range in any order; the zero point is
        in the bias, b - z sum w."""
        axes = tuple(range(self.weights.ndim - 1))
        size = np.abs(self.weights).sum(axes)
        folded = np.abs(self.bias - self.zero_point * self.weights.sum(axes))
        most = max(abs(int(box.lo.min(initial=0))), abs(int(box.hi.max(initial=0))))
        return bool((folded + most * size < self.limit).all())

    def witness(self, box: Box, index: tuple[int, ...], upper: bool) -> Chosen:
        """The operand for which one output element has its largest (or smallest) sum."""
        weight = self.coefficients(index)
        upward = weight > 0 if upper else weight < 0
        rest = np.clip(self.zero_point, box.lo, box.hi).astype(box.lo.dtype)
        chosen = np.where(upward, box.hi, np.where(weight == 0, rest, box.lo))
        return {self.position: chosen.astype(box.lo.dtype)}


def _inside(lo: np.ndarray, hi: np.ndarray, limit: int) -> bool:
    return not lo.size or bool(lo.min() >= -limit and hi.max() < limit)


# --- the operators --------------------------------------------------------------------------------


def sums(call: Call, boxes: dict[int, Box]) -> Sums | None:
    """The accumulators of an integer operator that sums products; None for others.

    boxes: the operands' boxes by position, constants among them. Raises KernelError for what the
    path does not compute.
    """
    if call.name not in OPERATORS or not call.form or call.form.startswith("hybrid"):
        return None
    if call.option("weights_format"):
        raise call.refuse("there is no rule for shuffled weights")
    varying = {p for p, box in boxes.items() if not box.known}
    if call.name == "BATCH_MATMUL" or (call.name == "FULLY_CONNECTED" and varying == {0, 1}):
        return _products(call, boxes)
    linear = of(call)
    if varying - {linear.position}:
        raise call.refuse("there is no rule for weights or biases that are computed")
    return linear.bounds(boxes[linear.position])


def of(call: Call) -> Linear:
    """The linear form of a call whose weights are constant."""
    return _MAKERS[call.name](call)


def _weights(call: Call, position: int = 1) -> np.ndarray:
    w = call[position]
    return w.x.astype(np.float64) - (w.z if w.dtype == "uint8" else 0)


def _product(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """x (..., C) @ w (C, O) as one product, which BLAS does faster than a stack of rows."""
    return (x.reshape(-1, x.shape[-1]) @ w).reshape(*x.shape[:-1], w.shape[-1])


def _limit(call: Call, at: _conv.At) -> int:
    return M64 if _conv.wide(call, at) else INT32


def _conv_2d(call: Call) -> Linear:
    at = _conv.At(0, 1, 2)
    window = _conv.window(call, call[0].shape[1:3], call[1].shape[1:3])
    w = np.moveaxis(_weights(call), 0, -1)
    if _conv.blind(call, window, call[0].shape[1:3]):
        w = np.zeros_like(w)
    depth, units = w.shape[-2:]
    groups = call[0].shape[3] // depth

    def coefficients(index: tuple[int, ...]) -> np.ndarray:
        found = np.zeros(call[0].shape)
        group = index[-1] // (units // groups)
        part = slice(group * depth, (group + 1) * depth)
        for tap, place in _places(window, index, call[0].shape):
            found[place][part] = w[tap][:, index[-1]]
        return found

    return Linear(
        0, call[0].z, w, _conv.biases(call, at, units).astype(np.int64),
        lambda x, v: _conv.conv_sums(x, v, window, _product), coefficients, _limit(call, at),
        _module(call).stage(call),
    )  # fmt: skip


def _depthwise_conv_2d(call: Call) -> Linear:
    at = _conv.At(0, 1, 2)
    window = _conv.window(call, call[0].shape[1:3], call[1].shape[1:3])
    w = _weights(call)[0]
    if _conv.blind(call, window, call[0].shape[1:3]):
        w = np.zeros_like(w)
    units = w.shape[-1]
    each = units // call[0].shape[3]

    def coefficients(index: tuple[int, ...]) -> np.ndarray:
        found = np.zeros(call[0].shape)
        for tap, place in _places(window, index, call[0].shape):
            found[place][index[-1] // each] = w[tap][index[-1]]
        return found

    return Linear(
        0, call[0].z, w, _conv.biases(call, at, units).astype(np.int64),
        lambda x, v: _conv.depthwise_sums(x, v, window), coefficients, _limit(call, at),
        _module(call).stage(call),
    )  # fmt: skip


def _transpose_conv(call: Call) -> Linear:
    at = _conv.At(2, 1, 3)
    space = tuple(int(n) for n in call.x(0)[1:-1])
    window = _conv.window(call, space, call[1].shape[1:3])
    w = np.moveaxis(_weights(call), 0, -1)
    units = w.shape[-1]

    def coefficients(index: tuple[int, ...]) -> np.ndarray:
        found = np.zeros(call[2].shape)
        for tap in window.taps():
            lands = [
                divmod(o + b - t * d, s)
                for o, b, t, d, s in zip(
                    index[1:3], window.before, tap, window.dilation, window.stride, strict=True
                )
            ]
            inside = zip(lands, call[2].shape[1:3], strict=True)
            if all(not rest and 0 <= i < n for (i, rest), n in inside):
                found[index[0], lands[0][0], lands[1][0]] = w[tap][:, index[-1]]
        return found

    return Linear(
        2, call[2].z, w, _conv.biases(call, at, units).astype(np.int64),
        lambda x, v: _conv.transposed_sums(x, v, window, space, _product), coefficients,
        _limit(call, at), _module(call).stage(call),
    )  # fmt: skip


def _places(
    window: _conv.Window, index: tuple[int, ...], shape: tuple[int, ...]
) -> list[tuple[tuple[int, ...], tuple[int, int, int]]]:
    """The taps that an output element meets inside of the image, with (image, row, column)."""
    found = []
    for tap in window.taps():
        place = [
            o * s - b + t * d
            for o, s, b, t, d in zip(
                index[1:3], window.stride, window.before, tap, window.dilation, strict=True
            )
        ]
        if all(0 <= i < n for i, n in zip(place, shape[1:3], strict=True)):
            found.append((tap, (index[0], place[0], place[1])))
    return found


def _fully_connected(call: Call) -> Linear:
    units, depth = call[1].shape
    w = call.x(1).astype(np.float64).T - fully_connected.weight_zero_point(call)
    bias = np.zeros(units, np.int64)
    if call.has(2):
        bias[:] = call.x(2).reshape(-1)
    stage = fully_connected.stage(call)

    def coefficients(index: tuple[int, ...]) -> np.ndarray:
        found = np.zeros(math.prod(call[0].shape))
        found[index[0] * depth : (index[0] + 1) * depth] = w[:, index[-1]]
        return found.reshape(call[0].shape)

    def rows(x: np.ndarray, v: np.ndarray) -> np.ndarray:
        count = x.size // depth
        return np.asarray(x.reshape(-1)[: count * depth].reshape(count, depth) @ v)

    return Linear(0, call[0].z, w, bias, rows, coefficients, _rows_limit(call, stage), stage)


def _rows_limit(call: Call, stage: Stage) -> int:
    """Of FULLY_CONNECTED: int16 activations are summed in 64 bits by the reference kernel."""
    if stage.rule is Rule.M64:
        return M64
    wide = call[0].dtype == "int16" and stage.rule is Rule.F64
    return INT64 if wide and call.option("quantized_bias_type") != _conv.INT32 else INT32


def _module(call: Call) -> ModuleType:
    found = ops.module(call.name)
    assert found is not None
    return found


_MAKERS: dict[str, Callable[[Call], Linear]] = {
    "CONV_2D": _conv_2d,
    "DEPTHWISE_CONV_2D": _depthwise_conv_2d,
    "TRANSPOSE_CONV": _transpose_conv,
    "FULLY_CONNECTED": _fully_connected,
}
OPERATORS = frozenset({*_MAKERS, "BATCH_MATMUL"})  # that sum products


# --- two operands that vary -----------------------------------------------------------------------


def _products(call: Call, boxes: dict[int, Box]) -> Sums | None:
    """BATCH_MATMUL, and FULLY_CONNECTED with computed weights: rows (..., M, K) and (..., N, K)."""
    matrices = call.name == "BATCH_MATMUL"
    turned = (
        matrices and bool(call.option("adj_x", False)),
        (matrices and not call.option("adj_y", False)),
    )
    zeros = call[0].z, call[1].z
    bias = np.zeros(1, np.int64)
    if matrices:
        if call.output.dtype == "int32":
            zeros = 0, 0
        elif call.profile.is_xnnpack:  # that of tensorflow 2.21 ignores it
            zeros = call[0].z, 0
        plain = call.output.dtype == "int32"
        stage = None if plain else _module(call).stage(call)
        limit = M64 if call[0].dtype == "int16" else INT32
    else:
        zeros = call[0].z, fully_connected.weight_zero_point(call)
        stage = fully_connected.stage(call)
        limit = _rows_limit(call, stage)
        if call.has(2):
            bias = call.x(2).reshape(-1).astype(np.int64)
    sides = []
    for position in (0, 1):
        ends = boxes[position].steps(zeros[position])
        if turned[position]:
            ends = ends[0].swapaxes(-1, -2), ends[1].swapaxes(-1, -2)
        elif not matrices and position == 0:
            depth = call[1].shape[1]
            ends = ends[0].reshape(-1, depth), ends[1].reshape(-1, depth)
        sides.append(ends)
    (x_lo, x_hi), (w_lo, w_hi) = sides
    least, most = _corner_sums(x_lo, x_hi, w_lo, w_hi)
    with_zero = [f(e, 0) for e, f in zip((x_lo, x_hi, w_lo, w_hi), (np.minimum, np.maximum) * 2)]
    partial = _corner_sums(*with_zero)
    raw = x_lo.shape[-1] * math.prod(
        max(abs(int(b.lo.min(initial=0))), abs(int(b.hi.max(initial=0))))
        for b in (boxes[0], boxes[1])
    )

    def witness(index: tuple[int, ...], upper: bool) -> Chosen:
        found = {}
        picked = []
        for (lo, hi), row in zip(sides, (index[-2], index[-1]), strict=True):
            batch = tuple(i if n > 1 else 0 for i, n in zip(index[-lo.ndim : -2], lo.shape[:-2]))
            picked.append((lo[(*batch, row)], hi[(*batch, row)], (*batch, row)))
        (a_lo, a_hi, a_at), (b_lo, b_hi, b_at) = picked
        corners = [(a, b) for a in (a_lo, a_hi) for b in (b_lo, b_hi)]
        all_products = np.stack([a * b for a, b in corners])
        best = all_products.argmax(0) if upper else all_products.argmin(0)
        for position, at, side in ((0, a_at, 0), (1, b_at, 1)):
            if boxes[position].known:
                continue
            values = np.choose(best, [pair[side] for pair in corners])
            lo, _ = sides[position]
            chosen = lo.copy()
            chosen[at] = values
            if turned[position]:
                chosen = chosen.swapaxes(-1, -2)
            box = boxes[position]
            found[position] = (chosen + zeros[position]).reshape(box.shape).astype(box.lo.dtype)
        return found

    return Sums(
        least + bias, most + bias, limit, stage, witness,
        any_order=all(_inside(partial[0] + b, partial[1] + b, limit) for b in (bias, 0)),
        raw=bool(raw + np.abs(bias).max() < limit),
    )  # fmt: skip


def _corner_sums(x_lo: np.ndarray, x_hi: np.ndarray, w_lo: np.ndarray, w_hi: np.ndarray) -> Ends:
    """(..., M, K) and (..., N, K) int64 -> (..., M, N): sums over K of the extreme products."""
    batch = np.broadcast_shapes(x_lo.shape[:-2], w_lo.shape[:-2])
    rows, units = x_lo.shape[-2], w_lo.shape[-2]
    least = np.empty((*batch, rows, units), np.int64)
    most = np.empty_like(least)
    for m in range(rows):  # a row at a time: K products of every unit are held
        products = [x[..., m, None, :] * w for x in (x_lo, x_hi) for w in (w_lo, w_hi)]
        least[..., m, :] = np.minimum.reduce(products).sum(-1)
        most[..., m, :] = np.maximum.reduce(products).sum(-1)
    return least, most


# --- hybrid ---------------------------------------------------------------------------------------


LANES = 2064  # columns from which LiteRT's 16-bit sums of weights may wrap (E44)


def hybrid(call: Call, position: int, name: str = "sum") -> Sums:
    """Sums of int8 rows made on the fly with the weights at `position`, whatever the floats are.

    A row less its zero point lies between -128 - z and 127 - z for one z in [-128, 127]: a line in
    z, so the extremes are those of [0, 255] and [-255, 0] (E90). Where the kernel takes signs or
    sums of weights wrongly (E35, E44), or keeps int4 with 7 added (E36), no more is known than that
    q and z have 8 bits.
    """
    w = call[position]
    if w.dtype == "uint8" and call.name == "FULLY_CONNECTED":
        values = w.x.view(np.int8).astype(np.int64)  # the kernel reads the bytes as they are
    else:
        values = w.x.astype(np.int64) - (w.z if w.dtype == "uint8" else 0)
    if call.name == "DEPTHWISE_CONV_2D":
        rows = values.reshape(-1, values.shape[-1]).T
    elif call.name == "BATCH_MATMUL":
        turned = values if call.option("adj_y", False) else values.swapaxes(-1, -2)
        rows = turned.reshape(-1, turned.shape[-1])
    else:
        rows = values.reshape(values.shape[0], -1)
    up, down = np.maximum(rows, 0).sum(1), -np.minimum(rows, 0).sum(1)
    total = np.abs(up - down)
    wrong = False
    if not call.profile.is_xnnpack:
        wrong = bool((rows == -128).any())
        if rows.shape[1] >= LANES:
            wrong, total = True, np.maximum(total, 8 * 2**15 + 8 * 128)
    raw = 128 * (up + down + total)
    if w.dtype == "int4" and not call.profile.is_xnnpack:
        wrong, raw = True, np.maximum(raw, 128 * 15 * rows.shape[1])
    most = raw if wrong else 255 * np.maximum(up, down)
    fits = bool((raw < INT32).all())
    return Sums(-most, most, INT32, None, attained=False, raw=fits, name=name)
