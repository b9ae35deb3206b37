"""What the operators of two broadcast operands share: runs, sums, products, comparisons.

A broadcast is walked in runs: the longest stretches of the output along which each operand either
goes along or stands still. They are also what the vector code of the optimized path counts its
blocks in (E45). Sources: LiteRT kernels/internal/reference/process_broadcast_shapes.h,
kernels/internal/optimized/optimized_ops.h (BinaryBroadcastFiveFold) and integer_ops/add.h, mul.h;
XNNPACK src/microparams-init.c (xnn_init_qs8_add_minmax_scalar_params).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from kernels import activation, delegate
from kernels import fixedpoint as fp
from kernels.call import Call, Tensor
from kernels.errors import RuntimeRefuses
from kernels.jit import jit
from kernels.numerics import Row
from kernels.scalar import clip, dbl, pot_away, rdhm, wrap16, wrap32, xf
from kernels.trace import note

EIGHT, WIDE = ("int8", "uint8"), ("int8", "int16", "uint8")
Shape = tuple[int, ...]
Kernel = Callable[[Call], tuple[np.ndarray, ...]]
XNNPACK_RANK = 6
RANK = 8  # axes that ai-edge-litert 2.3 broadcasts
# Axes that tensorflow 2.21 broadcasts, 4 where nothing is said.
TENSORFLOW_RANK = {"MUL": 6, "DIV": 5, "MAXIMUM": 5, "MINIMUM": 5, "SELECT_V2": 5} | dict.fromkeys(
    ("ADD", "SUB", "SQUARED_DIFFERENCE"), 8
)


def rows(rule: str, source: str, forms: Iterable[str], note: str = "") -> tuple[Row, ...]:
    """A row for each form, with one rule on both paths and nothing for XNNPACK."""
    return tuple(Row(form, rule, rule, "", source, note) for form in forms)


# shapes


def shape(call: Call) -> Shape:
    """The output's shape. Raises RuntimeRefuses where the runtime does not broadcast."""
    shapes = [t.shape for t in call.inputs if t is not None]
    try:
        found = np.broadcast_shapes(*shapes)
    except ValueError:
        raise RuntimeRefuses(f"{call.name}: shapes {shapes} do not broadcast") from None
    if any(s != found for s in shapes):
        limit = RANK if call.profile.litert else TENSORFLOW_RANK.get(call.name, 4)
        easy = (
            not call.profile.is_reference
            and call[0].dtype in {"MUL": EIGHT, "MAXIMUM": EIGHT[:1], "MINIMUM": EIGHT[:1]}.get(
                call.name, ()
            )
            and fivefold(*shapes)
        )  # fmt: skip
        if len(found) > limit and not easy:
            raise RuntimeRefuses(
                f"{call.name}: no broadcast over {len(found)} axes; {limit} at most"
            )
    return found


def fivefold(a: Shape, b: Shape) -> bool:
    """Whether vector code walks this broadcast: shared axes, axes of one operand, shared, of the
    other, shared, from the last axis to the first and no further (E45)."""
    pairs = list(zip(*_extended(a, b), strict=True))
    first = next((p for p in reversed(pairs) if p[0] != p[1]), None)
    if first is None:
        return True
    if first[0] != 1:
        pairs = [(q, p) for p, q in pairs]
    for fits in (_equal, lambda p: p[0] == 1, _equal, lambda p: p[1] == 1, _equal):
        while pairs and fits(pairs[-1]):
            pairs.pop()
    return not pairs


class Runs(NamedTuple):
    """a, b: where each run starts in the flat operands. length: of every run.
    a_step, b_step: 1 for an operand that goes along, 0 for one that stands still."""

    a: np.ndarray
    b: np.ndarray
    length: int
    a_step: int
    b_step: int


def runs(a: Shape, b: Shape) -> Runs:
    """The runs of the broadcast of a and b, in the order of the output."""
    a, b = _extended(a, b)
    out = np.broadcast_shapes(a, b)
    if 0 in out:
        return Runs(np.zeros(0, np.int64), np.zeros(0, np.int64), 1, 0, 0)
    kind = None
    cut = len(out)
    while cut and kind in (None, (a[cut - 1] == out[cut - 1], b[cut - 1] == out[cut - 1])):
        if out[cut - 1] > 1:
            kind = (a[cut - 1] == out[cut - 1], b[cut - 1] == out[cut - 1])
        cut -= 1
        while cut and out[cut - 1] == 1:
            cut -= 1
    length = math.prod(out[cut:])
    a_step, b_step = kind or (True, True)

    def starts(own: Shape, step: bool) -> np.ndarray:
        each = length if step else 1
        at = np.arange(math.prod(own[:cut]), dtype=np.int64).reshape(own[:cut]) * each
        return np.ascontiguousarray(np.broadcast_to(at, out[:cut]).ravel())

    return Runs(starts(a, a_step), starts(b, b_step), length, int(a_step), int(b_step))


def _extended(a: Shape, b: Shape) -> tuple[Shape, Shape]:
    rank = max(len(a), len(b))
    return (1,) * (rank - len(a)) + tuple(a), (1,) * (rank - len(b)) + tuple(b)


def _equal(pair: tuple[int, int]) -> bool:
    return pair[0] == pair[1]


def in_blocks(out: Shape, length: int, lanes: int) -> np.ndarray:
    """Which elements lie in whole blocks of `lanes` of their run, bool of shape `out`."""
    return (np.arange(math.prod(out)) % length < length // lanes * lanes).reshape(out)


# what is not quantized


def limits(call: Call, dtype: np.dtype) -> tuple[Any, Any]:
    """The fused activation for plain numbers. Without one the ends are those of the type (also of
    a float: infinities become its largest number), but for XNNPACK, which leaves infinities."""
    lo, hi = activation.bounds(call)
    if dtype.kind == "f":
        end = math.inf if call.profile.is_xnnpack else float(np.finfo(dtype).max)
        return dtype.type(max(lo, -end)), dtype.type(min(hi, end))
    ends = np.iinfo(dtype)
    return dtype.type(max(lo, ends.min)), dtype.type(min(hi, ends.max))


def plain(call: Call, function: Callable[..., np.ndarray]) -> tuple[np.ndarray, ...]:
    """function(a, b) and the fused activation; integers wrap."""
    shape(call)
    with np.errstate(all="ignore"):
        y = np.asarray(function(call.x(0), call.x(1)))
        lo, hi = limits(call, y.dtype)
        return (np.minimum(np.maximum(y, lo), hi),)


def raw(function: Callable[..., np.ndarray]) -> Kernel:
    """A kernel that applies `function` to the values as they are: no scale is looked at."""

    def kernel(call: Call) -> tuple[np.ndarray, ...]:
        shape(call)
        with np.errstate(all="ignore"):
            return (np.asarray(function(*(call.x(i) for i in range(len(call.inputs))))),)

    return kernel


def truncated_quotient(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a / b of integers as C divides, toward zero; b != 0."""
    q = np.abs(a.astype(np.int64)) // np.abs(b.astype(np.int64))
    return np.where((a < 0) == (b < 0), q, -q).astype(a.dtype)


# quantized operands


def check(call: Call, dtypes: Iterable[str]) -> Shape:
    """The output's shape, if both operands and the output are quantized in one of these types.

    Raises NoKernel, or RuntimeRefuses where the runtime stops.
    """
    a, b, y = call[0], call[1], call.output
    if a.dtype not in dtypes or not (a.quantized and b.quantized and y.quantized):
        raise call.refuse(f"there is an integer kernel for quantized {', '.join(dtypes)} only")
    if not a.dtype == b.dtype == y.dtype:
        raise RuntimeRefuses(f"{call.name}: operands and output must have one type")
    if a.dtype == "int16" and (a.z or b.z or y.z):
        raise RuntimeRefuses(f"{call.name}: int16 needs zero points 0")
    return shape(call)


def clamp(call: Call) -> tuple[int, int]:
    """The fused activation in output steps. Raises RuntimeRefuses where a bound leaves int32."""
    y = call.output
    if not call.profile.is_xnnpack:
        for bound in activation.bounds(call):
            with np.errstate(all="ignore"):
                steps = float(np.float32(bound) / y.s) + y.z if math.isfinite(bound) else 0.0
            if not -(2.0**31) <= steps < 2.0**31:
                raise RuntimeRefuses(
                    f"{call.name}: the fused activation leaves int32 in steps of {y.s:g}; the "
                    "runtime stops; give the output a larger scale"
                )
    return activation.clamp(call)


def smaller_than_one(call: Call, factor: float) -> tuple[int, int]:
    """Multiplier and shift <= 0 of a factor in (0, 1); the runtime aborts on any other (E45)."""
    if 0 < factor < 1:
        multiplier, shift = _multiplier(factor)
        if shift <= 0:
            return multiplier, shift
    raise RuntimeRefuses(
        f"{call.name}: a factor is {factor:g} and must lie in (0, 1); the runtime aborts; "
        "give the output a larger scale"
    )


def _multiplier(factor: float) -> tuple[int, int]:
    multiplier, shift = fp.quantize_multiplier(factor)
    return int(multiplier), int(shift)


def delegated(call: Call, product: bool = False) -> bool:
    """Whether XNNPACK takes this ADD or SUB (product: MUL): 8 bits, and scale ratios in a window.

    Source: LiteRT delegates/xnnpack/xnnpack_delegate.cc (VisitBinaryNode).
    """
    a, b, y = call[0], call[1], call.output
    if a.dtype == "float32":
        return floats_delegated(call)
    if not (
        delegate.per_tensor(a, b, y)
        and a.dtype == b.dtype == y.dtype
        and _fits(a, b)
        and activation.fused(call) in activation.BOUNDS
    ):
        return False
    with np.errstate(all="ignore"):
        if product:
            return bool(2.0**-16 <= (a.s * b.s) / y.s < 256)
        return all(2.0**-10 <= t.s / y.s < 256 for t in (a, b))


def floats_delegated(call: Call) -> bool:
    """Whether XNNPACK takes this operator of two float32 operands."""
    return (
        call[0].dtype == call[1].dtype == call.output.dtype == "float32"
        and _fits(call[0], call[1])
        and activation.fused(call) in activation.BOUNDS
    )


def _fits(a: Tensor, b: Tensor) -> bool:
    """At most six axes, none of length 0."""
    return all(len(t.shape) <= XNNPACK_RANK and 0 not in t.shape for t in (a, b))


# shifts that C does not define


def pot_any(x: np.ndarray, exponent: np.ndarray | int) -> np.ndarray:
    """POT_away as x86 computes it for any exponent: shift counts keep 5 (of a 64-bit value 6)
    bits (E48). Inside [0, 31] it is pot_away."""
    x, e = np.asarray(x, np.int64), np.asarray(exponent, np.int64)
    with np.errstate(over="ignore"):  # all 64 bits set
        mask = fp.wrap32((np.int64(1) << (e & 63)) - 1)
    return (x >> (e & 31)) + ((x & mask) > (mask >> 1) + (x < 0))


@jit
def pot_any1(x, exponent):
    """pot_any of one number."""
    e = np.int64(exponent)
    mask = wrap32((np.int64(1) << (e & 63)) - 1)
    return (x >> (e & 31)) + (1 if (x & mask) > (mask >> 1) + (1 if x < 0 else 0) else 0)


def pot_lanes(x: np.ndarray, exponent: int, wide: bool) -> np.ndarray:
    """pot_any of a negative exponent as vector code computes it: its shift keeps the sign only, and
    so does its mask, but that of int16 (`wide`), whose count goes modulo 64 (E45)."""
    mask = int(fp.wrap32((1 << (exponent & 63)) - 1)) if wide else -1
    return (x >> 31) + ((x & mask) > (mask >> 1) + (x < 0))


@jit
def pot_lanes1(x, exponent, wide):
    """pot_lanes of one number."""
    mask = wrap32((np.int64(1) << (exponent & 63)) - 1) if wide else np.int64(-1)
    return (x >> 31) + (1 if (x & mask) > (mask >> 1) + (1 if x < 0 else 0) else 0)


# sums


class Sum(NamedTuple):
    """sign: +1, or -1 for a difference.  left: the shift before anything is rounded.
    squared: the sum is squared.  lost: an output multiplier above 1, whose shift is undefined.
    lanes: of the vector code, 0 for none.  early: it shifts before the multiplication.  In vector
    code a lost difference keeps its sign only."""

    left: int
    a_zero: int
    a_multiplier: int
    a_shift: int
    b_zero: int
    b_multiplier: int
    b_shift: int
    sign: int
    squared: bool
    lost: bool
    multiplier: int
    shift: int
    lanes: int
    early: bool
    zero_point: int
    qmin: int
    qmax: int


def sum_parameters(call: Call, sign: int, squared: bool = False) -> Sum:
    """Both operands over twice the larger scale, and back (E45)."""
    a, b, y = call[0], call[1], call.output
    left = 7 if squared else 15 if y.dtype == "int16" else 20
    twice = float(np.float32(2) * max(a.s, b.s))
    power = 2 * left if squared else left
    factor = (twice * twice if squared else twice) / float(np.float32(2.0**power) * y.s)
    lost = sign < 0 and not squared and factor > 1
    lanes, early = (_four(call), False) if lost else _vector(call, sign, squared)
    bounds = (y.range.qmin, y.range.qmax) if squared else clamp(call)
    return Sum(
        left,
        a.z, *smaller_than_one(call, float(a.s) / twice),
        b.z, *smaller_than_one(call, float(b.s) / twice),
        sign, squared, lost,
        *(_multiplier(factor) if lost else smaller_than_one(call, factor)),
        lanes, early, y.z, *bounds,
    )  # fmt: skip


def _vector(call: Call, sign: int, squared: bool) -> tuple[int, bool]:
    """Lanes of the vector code, and whether it shifts early; only ADD has any (E45)."""
    a, b = call[0].shape, call[1].shape
    if sign < 0 or squared or call.profile.is_reference or not fivefold(a, b):
        return 0, False
    walk = runs(a, b)
    if call.output.dtype == "int16":
        return (16, True) if walk.a.size == 1 and walk.a_step and walk.b_step else (0, False)
    if call.output.dtype == "uint8" or not (walk.a_step and walk.b_step):
        return 8, False
    return 16, True


def _four(call: Call) -> int:
    """Lanes of the loop that a compiler made of the plain one; where it broadcasts it made none."""
    a, b = call[0].shape, call[1].shape
    walk = runs(a, b)
    if not (walk.a_step and walk.b_step):
        return 0
    wide = call.output.dtype == "int16" and not call.profile.is_reference and fivefold(a, b)
    return 4 if walk.a.size == 1 or wide else 0


def sum_reference(call: Call, p: Sum) -> tuple[np.ndarray, ...]:
    """Scaled to a common unit, added, scaled to the output (E45)."""
    a = call.x(0).astype(np.int64) - p.a_zero
    b = call.x(1).astype(np.int64) - p.b_zero
    one = fp.multiply_double(a << p.left, p.a_multiplier, p.a_shift)
    two = fp.multiply_double(b << p.left, p.b_multiplier, p.b_shift)
    y = _total(p, one, two)
    out = np.clip(y + p.zero_point, p.qmin, p.qmax)
    if p.lanes and p.lost:
        block = in_blocks(out.shape, runs(a.shape, b.shape).length, p.lanes)
        wide = call.output.dtype == "int16"
        steps = pot_lanes(fp.rdhm(one - two, p.multiplier), -p.shift, wide)
        out = np.where(block, np.clip(steps + p.zero_point, p.qmin, p.qmax), out)
    elif p.lanes:
        y = _total(
            p,
            _in_vector(a, p.left, p.a_multiplier, p.a_shift, p.early),
            _in_vector(b, p.left, p.b_multiplier, p.b_shift, p.early),
        )
        if call.output.dtype != "int16":
            y = fp.wrap16(fp.wrap16(y) + p.zero_point)
        block = in_blocks(out.shape, runs(a.shape, b.shape).length, p.lanes)
        note("in a block of the vector code", block, "E45")
        out = np.where(block, np.clip(y, p.qmin, p.qmax), out)
    note("output", out)
    return (out.astype(call.output.held),)


def _total(p: Sum, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    note("first operand", a, "E45")
    note("second operand", b, "E45")
    total = a + p.sign * b
    note("sum", total, "E45")
    if p.squared:
        total = fp.wrap32(total * total)
    return pot_any(fp.rdhm(total, p.multiplier), -p.shift)


def _in_vector(x: np.ndarray, left: int, multiplier: int, shift: int, early: bool) -> np.ndarray:
    if early:
        ahead = left + shift
        return fp.rdhm(x << ahead if ahead >= 0 else x >> min(-ahead, 31), multiplier)
    return fp.rdhm(x << left, multiplier) >> -shift


def sum_fast(call: Call, p: Sum) -> tuple[np.ndarray, ...]:
    """`sum_reference`, jitted."""
    a, b = _flat(call, 0), _flat(call, 1)
    out = np.empty(shape(call), call.output.held)
    _sums(a, b, runs(call[0].shape, call[1].shape), p, out.reshape(-1))
    return (out,)


def _flat(call: Call, position: int) -> np.ndarray:
    return np.ascontiguousarray(call.x(position)).reshape(-1)


@jit
def _vector1(x, left, multiplier, shift, early):
    if early:
        ahead = left + shift
        moved = x << ahead if ahead >= 0 else x >> min(-ahead, 31)
        return rdhm(moved, multiplier)
    return rdhm(x << left, multiplier) >> -shift


@jit
def _output1(total, p):
    if p.squared:
        total = wrap32(total * total)
    high = rdhm(total, p.multiplier)
    return pot_any1(high, -p.shift) if p.lost else pot_away(high, -p.shift)


@jit
def _sums(a, b, walk, p, out):
    n = walk.length
    blocks = n // p.lanes * p.lanes if p.lanes else 0
    narrow = out.itemsize == 1
    for run in range(walk.a.size):
        a_at, b_at, at = walk.a[run], walk.b[run], run * n
        for i in range(blocks if not p.lost else 0):
            x = np.int64(a[a_at + i * walk.a_step]) - p.a_zero
            y = np.int64(b[b_at + i * walk.b_step]) - p.b_zero
            total = _vector1(x, p.left, p.a_multiplier, p.a_shift, p.early) + p.sign * _vector1(
                y, p.left, p.b_multiplier, p.b_shift, p.early
            )
            steps = _output1(total, p)
            if narrow:
                steps = wrap16(wrap16(steps) + p.zero_point)
            out[at + i] = clip(steps, p.qmin, p.qmax)
        for i in range(0 if p.lost else blocks, n):
            x = (np.int64(a[a_at + i * walk.a_step]) - p.a_zero) << p.left
            y = (np.int64(b[b_at + i * walk.b_step]) - p.b_zero) << p.left
            total = dbl(x, p.a_multiplier, p.a_shift) + p.sign * dbl(y, p.b_multiplier, p.b_shift)
            steps = _output1(total, p)
            if p.lost and i < blocks:
                steps = pot_lanes1(rdhm(total, p.multiplier), np.int64(-p.shift), not narrow)
            out[at + i] = clip(steps + p.zero_point, p.qmin, p.qmax)


# sums of int16 with power-of-two scales


class Shifted(NamedTuple):
    """a_shift, b_shift: to the right, one of them 0."""

    a_shift: int
    b_shift: int
    sign: int
    qmin: int
    qmax: int


def shifted_parameters(call: Call, sign: int) -> Shifted | None:
    """Where an int16 ADD or SUB only shifts: pot_scale_int16 and powers of two (E45). Else None."""
    if call.output.dtype != "int16" or not call.option("pot_scale_int16", True):
        return None
    tensors = (call[0], call[1], call.output)
    powers = [p for t in tensors if (p := _log2(t)) is not None]
    if len(powers) < len(tensors):
        return None
    a, b = powers[2] - powers[0], powers[2] - powers[1]
    if min(a, b) != 0:
        raise RuntimeRefuses(
            f"{call.name}: with pot_scale_int16 one input must have the output's scale and none a "
            "larger one; clear the option"
        )
    if sign > 0 and not call[0].x.size == call[1].x.size == math.prod(shape(call)):
        raise RuntimeRefuses(
            f"{call.name}: with pot_scale_int16 and power-of-two scales nothing is broadcast; the "
            "runtime aborts; clear the option"
        )
    return Shifted(a, b, sign, *clamp(call))


def _log2(t: Tensor) -> int | None:
    """The exponent of a scale that counts as a power of two: log2 within 1e-3, in float32."""
    power = np.float32(np.log(t.s) * np.float32(np.float32(1) / np.log(np.float32(2))))
    whole = np.float32(np.rint(power))
    return int(whole) if abs(np.float32(power - whole)) < np.float32(1e-3) else None


def _pot16(x: np.ndarray, exponent: int) -> np.ndarray:
    """POT_away whose mask is an int16: from 16 on it gives the sign."""
    mask = int(fp.wrap16((1 << min(exponent, 16)) - 1))
    return (x >> min(exponent, 31)) + ((x & mask) > (mask >> 1) + (x < 0))


def shifted_reference(call: Call, p: Shifted) -> tuple[np.ndarray, ...]:
    """clip16(POT_away(a) +- POT_away(b)), then the activation (E45)."""
    a = _pot16(call.x(0).astype(np.int64), p.a_shift)
    b = _pot16(call.x(1).astype(np.int64), p.b_shift)
    total = np.clip(a + p.sign * b, -(2**15), 2**15 - 1)
    note("sum", total, "E45")
    return (np.clip(total, p.qmin, p.qmax).astype(np.int16).reshape(shape(call)),)


def shifted_fast(call: Call, p: Shifted) -> tuple[np.ndarray, ...]:
    """`shifted_reference`, jitted."""
    out = np.empty(shape(call), np.int16)
    walk = runs(call[0].shape, call[1].shape)
    _shifts(_flat(call, 0), _flat(call, 1), walk, p, out.reshape(-1))
    return (out,)


@jit
def _pot16_1(x, exponent):
    mask = wrap16((np.int64(1) << np.int64(min(exponent, 16))) - 1)
    up = 1 if (x & mask) > (mask >> 1) + (1 if x < 0 else 0) else 0
    return (x >> np.int64(min(exponent, 31))) + up


@jit
def _shifts(a, b, walk, p, out):
    for run in range(walk.a.size):
        for i in range(walk.length):
            x = _pot16_1(np.int64(a[walk.a[run] + i * walk.a_step]), p.a_shift)
            y = _pot16_1(np.int64(b[walk.b[run] + i * walk.b_step]), p.b_shift)
            total = clip(x + p.sign * y, -32768, 32767)
            out[run * walk.length + i] = clip(total, p.qmin, p.qmax)


# sums by XNNPACK


class Xnnpack(NamedTuple):
    """(a * a_multiplier + b * b_multiplier + half) >> shift."""

    a_zero: int
    a_multiplier: int
    b_zero: int
    b_multiplier: int
    shift: int
    zero_point: int
    qmin: int
    qmax: int


def xnnpack_parameters(call: Call, sign: int) -> Xnnpack:
    """Two multipliers of 21 bits for one common shift (E46)."""
    a, b, y = call[0], call[1], call.output
    ratios = (np.float32(a.s / y.s), np.float32(b.s / y.s))
    shift = 21 - int(np.frexp(max(ratios))[1])
    one, two = (int(np.rint(np.float32(np.ldexp(r, shift)))) for r in ratios)
    return Xnnpack(a.z, one, b.z, sign * two, shift, y.z, *clamp(call))


def xnnpack_reference(call: Call, p: Xnnpack) -> tuple[np.ndarray, ...]:
    """One exact sum of products, one rounding, ties up (E46)."""
    a = call.x(0).astype(np.int64) - p.a_zero
    b = call.x(1).astype(np.int64) - p.b_zero
    total = a * p.a_multiplier + b * p.b_multiplier
    note("sum", total, "E46")
    out = np.clip(fp.pot_up(total, p.shift) + p.zero_point, p.qmin, p.qmax)
    return (out.astype(call.output.held),)


def xnnpack_fast(call: Call, p: Xnnpack) -> tuple[np.ndarray, ...]:
    """`xnnpack_reference`, jitted."""
    out = np.empty(shape(call), call.output.held)
    walk = runs(call[0].shape, call[1].shape)
    _xnnpack_sums(_flat(call, 0), _flat(call, 1), walk, p, out.reshape(-1))
    return (out,)


@jit
def _xnnpack_sums(a, b, walk, p, out):
    half = np.int64(1) << np.int64(p.shift - 1)
    for run in range(walk.a.size):
        a_at, b_at, at = walk.a[run], walk.b[run], run * walk.length
        for i in range(walk.length):
            x = (np.int64(a[a_at + i * walk.a_step]) - p.a_zero) * p.a_multiplier
            y = (np.int64(b[b_at + i * walk.b_step]) - p.b_zero) * p.b_multiplier
            out[at + i] = clip(((x + y + half) >> p.shift) + p.zero_point, p.qmin, p.qmax)


# products


SATURATE, WRAP = 1, 2


class Product(NamedTuple):
    """lanes: of the vector code, 0 for none.  narrow: how it makes int16 of the product, SATURATE
    or WRAP.  vector_shift: its shift.  factor: of XNNPACK, 0 on the other paths."""

    a_zero: int
    b_zero: int
    multiplier: int
    shift: int
    vector_shift: int
    lanes: int
    narrow: int
    factor: np.float32
    zero_point: int
    qmin: int
    qmax: int


def product_parameters(call: Call) -> Product:
    """One factor, a float32 product and quotient on every path (E47)."""
    a, b, y = call[0], call[1], call.output
    factor = np.float32(a.s * b.s) / y.s
    lanes, narrow, xnnpack = 0, SATURATE, np.float32(0)
    if call.profile.is_xnnpack:
        xnnpack = factor
    elif not call.profile.is_reference and y.dtype in EIGHT and fivefold(a.shape, b.shape):
        walk = runs(a.shape, b.shape)
        lanes = 16 if y.dtype == "int8" else 8
        if y.dtype == "uint8" and not (walk.a_step and walk.b_step):
            narrow = WRAP
    multiplier, shift = _multiplier(float(factor))
    return Product(
        a.z, b.z, multiplier, machine_shift(shift), min(shift, 32), lanes, narrow, xnnpack,
        y.z, *clamp(call),
    )  # fmt: skip


def machine_shift(shift: int) -> int:
    """A shift to the left of 32 and more, which C does not define: x86 takes 5 bits (E47)."""
    return shift % 32 if shift > 31 else shift


def product_reference(call: Call, p: Product) -> tuple[np.ndarray, ...]:
    """The product of the two differences, then the rule of the path (E47)."""
    a = call.x(0).astype(np.int64) - p.a_zero
    b = call.x(1).astype(np.int64) - p.b_zero
    product = a * b
    note("product", product, "E47")
    if p.factor:
        out = fp.requantize_xnnpack(product, p.factor, p.zero_point, p.qmin, p.qmax)
        return (out.astype(call.output.held),)
    steps = fp.multiply_double(product, p.multiplier, p.shift)
    out = np.clip(steps + p.zero_point, p.qmin, p.qmax)
    if p.lanes:
        kept = product if p.vector_shift < 32 else np.zeros_like(product)
        steps = fp.multiply_double(kept, p.multiplier, p.vector_shift)
        short = np.clip(steps, -(2**15), 2**15 - 1) if p.narrow == SATURATE else fp.wrap16(steps)
        block = in_blocks(out.shape, runs(a.shape, b.shape).length, p.lanes)
        note("in a block of the vector code", block, "E47")
        out = np.where(block, np.clip(fp.wrap16(short + p.zero_point), p.qmin, p.qmax), out)
    note("output", out)
    return (out.astype(call.output.held),)


def product_fast(call: Call, p: Product) -> tuple[np.ndarray, ...]:
    """`product_reference`, jitted."""
    out = np.empty(shape(call), call.output.held)
    walk = runs(call[0].shape, call[1].shape)
    _products(_flat(call, 0), _flat(call, 1), walk, p, out.reshape(-1))
    return (out,)


@jit
def _products(a, b, walk, p, out):
    n = walk.length
    blocks = n // p.lanes * p.lanes if p.lanes else 0
    for run in range(walk.a.size):
        a_at, b_at, at = walk.a[run], walk.b[run], run * n
        if p.factor != 0:
            for i in range(n):
                x = np.int64(a[a_at + i * walk.a_step]) - p.a_zero
                y = np.int64(b[b_at + i * walk.b_step]) - p.b_zero
                out[at + i] = xf(x * y, p.factor, p.zero_point, p.qmin, p.qmax)
            continue
        for i in range(n):
            x = np.int64(a[a_at + i * walk.a_step]) - p.a_zero
            y = np.int64(b[b_at + i * walk.b_step]) - p.b_zero
            if i < blocks:
                kept = x * y if p.vector_shift < 32 else np.int64(0)
                steps = dbl(kept, p.multiplier, p.vector_shift)
                short = clip(steps, -32768, 32767) if p.narrow == 1 else wrap16(steps)
                out[at + i] = clip(wrap16(short + p.zero_point), p.qmin, p.qmax)
            else:
                steps = dbl(x * y, p.multiplier, p.shift)
                out[at + i] = clip(steps + p.zero_point, p.qmin, p.qmax)


# comparisons


EQUAL, NOT_EQUAL, LESS, LESS_EQUAL, GREATER, GREATER_EQUAL = range(6)
_COMPARE = {
    EQUAL: np.equal, NOT_EQUAL: np.not_equal, LESS: np.less, LESS_EQUAL: np.less_equal,
    GREATER: np.greater, GREATER_EQUAL: np.greater_equal,
}  # fmt: skip
_COMPARED_AS_THEY_ARE = (LESS, LESS_EQUAL, GREATER, GREATER_EQUAL)  # where the type is int16


class Comparison(NamedTuple):
    """code: which comparison.  A shift above 0 (a scale of more than 1) is undefined in C; up to
    2^15 (int16: 2^7) every compiled loop leaves the sign, +1 or -1."""

    code: int
    a_zero: int
    a_multiplier: int
    a_shift: int
    b_zero: int
    b_multiplier: int
    b_shift: int


def compare_real(call: Call, code: int) -> tuple[np.ndarray, ...]:
    """a ? b of plain values."""
    shape(call)
    return (np.asarray(_COMPARE[code](call.x(0), call.x(1))),)


def comparison_parameters(call: Call, code: int) -> Comparison | None:
    """How the operands are scaled before they are compared (E49); None where they are not."""
    a, b = call[0], call[1]
    if a.dtype not in WIDE or not a.quantized:
        raise call.refuse("there is an integer kernel for quantized int8, uint8 and int16 only")
    if a.dtype != b.dtype:
        raise RuntimeRefuses(f"{call.name}: both operands must have one type")
    if a.dtype == "int16" and code in _COMPARED_AS_THEY_ARE:
        return None
    sides = []
    for t in (a, b):
        if not t.quantized:
            raise call.refuse("both operands need a scale")
        multiplier, shift = _multiplier(float(t.s))
        if shift > 0 and t.s <= 1:
            raise RuntimeRefuses(f"{call.name}: a scale is exactly 1; the runtime aborts")
        if shift > (7 if a.dtype == "int16" else 15):
            raise call.refuse(
                f"a scale of {t.s:g} is undefined in C; give the operand a smaller one"
            )
        sides += [t.z, multiplier, shift]
    return Comparison(code, *sides)


def compare_reference(call: Call, code: int) -> tuple[np.ndarray, ...]:
    """Both sides times 2^8 and their scale, rounded to integers, then compared (E49)."""
    p = comparison_parameters(call, code)
    if p is None:
        return compare_real(call, code)
    shape(call)
    sides = []
    for name, x, zero, multiplier, shift in (
        ("first operand", call.x(0), p.a_zero, p.a_multiplier, p.a_shift),
        ("second operand", call.x(1), p.b_zero, p.b_multiplier, p.b_shift),
    ):
        high = fp.rdhm(fp.wrap32((x.astype(np.int64) - zero) << 8), multiplier)
        sides.append(pot_any(high, -shift))
        note(name, sides[-1], "E49")
    return (np.asarray(_COMPARE[code](*sides)),)


def compare_fast(call: Call, code: int) -> tuple[np.ndarray, ...]:
    """`compare_reference`, jitted."""
    p = comparison_parameters(call, code)
    if p is None:
        return compare_real(call, code)
    out = np.empty(shape(call), np.bool_)
    walk = runs(call[0].shape, call[1].shape)
    _compares(_flat(call, 0), _flat(call, 1), walk, p, out.reshape(-1))
    return (out,)


@jit
def _side(x, zero, multiplier, shift):
    return pot_any1(rdhm(wrap32((np.int64(x) - zero) << 8), multiplier), -shift)


@jit
def _compares(a, b, walk, p, out):
    for run in range(walk.a.size):
        a_at, b_at, at = walk.a[run], walk.b[run], run * walk.length
        for i in range(walk.length):
            x = _side(a[a_at + i * walk.a_step], p.a_zero, p.a_multiplier, p.a_shift)
            y = _side(b[b_at + i * walk.b_step], p.b_zero, p.b_multiplier, p.b_shift)
            if p.code == 0:
                out[at + i] = x == y
            elif p.code == 1:
                out[at + i] = x != y
            elif p.code == 2:
                out[at + i] = x < y
            elif p.code == 3:
                out[at + i] = x <= y
            elif p.code == 4:
                out[at + i] = x > y
            else:
                out[at + i] = x >= y
