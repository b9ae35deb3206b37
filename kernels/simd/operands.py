"""Operators that go along their operands, as steps of a program: ADD to PRELU, tables, QUANTIZE.

What is decided here is which compiled rule computes a call and where it is exact; the parameters
are those of the operators' own files (kernels/ops/_binary.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from kernels import fixedpoint as fp
from kernels.call import Call, Tensor
from kernels.ops import _binary
from kernels.simd import elementwise
from kernels.simd.elementwise import TABLE_PIECE
from kernels.simd.program import Lowering, NotLowered, Place

SHORT = 512  # a constant that is gone through in runs shorter than this is repeated
PIECE = 4096  # elements of a long run that are one unit of work; whole blocks of 8 and of 16
MOST_UNITS = 1 << 16
RIGHT = 30  # the longest shift to the right that the compiled rules take, and to the left
EIGHT = ("int8", "uint8")


def filled(call: Call, value: Callable[[Tensor], np.ndarray] | None = None) -> Call:
    """The call with zeros for the inputs that are not known yet: for what only looks at shapes."""
    make = value or (lambda t: np.broadcast_to(np.zeros((), t.held), t.shape))
    return call.on(
        inputs=tuple(
            t if t is None or t.data is not None else replace(t, data=make(t)) for t in call.inputs
        )
    )


def bits32(value: float | np.float32) -> int:
    """The bits of a float32."""
    return int(np.float32(value).view(np.int32))


def split(shift: int) -> tuple[int, int]:
    """A shift as (left, right). Raises NotLowered where one is too long for int32 lanes."""
    if not -RIGHT <= shift <= RIGHT:
        raise NotLowered(f"a shift of {shift}; {RIGHT} at most")
    return max(shift, 0), max(-shift, 0)


def eight(call: Call) -> None:
    """Raises NotLowered unless data are of 8 bits."""
    tensors = (*call.inputs, *call.outputs)
    if any(t is not None and t.dtype not in EIGHT for t in tensors):
        kinds = ", ".join(t.dtype for t in tensors if t is not None)
        raise NotLowered(f"{call.name}: compiled for 8-bit operands, not {kinds}")


# two operands


HALF = 1 << 30, 0  # multiplier and shift of 1/2


def sum_of(to: Lowering, sign: int, squared: bool = False) -> None:
    """ADD, SUB (sign -1) and SQUARED_DIFFERENCE."""
    call = to.call
    eight(call)
    _binary.check(call, EIGHT)
    if call.profile.is_xnnpack:
        x = _binary.xnnpack_parameters(call, sign)
        if not 1 <= x.shift <= RIGHT:
            raise NotLowered(f"{call.name}: a shift of {x.shift}")
        along(
            to, "sum_xnnpack", 0, x.a_zero, x.b_zero, x.a_multiplier, x.b_multiplier, x.shift,
            x.zero_point, x.qmin, x.qmax,
        )  # fmt: skip
        return
    p = _binary.sum_parameters(call, sign, squared)
    largest = [_largest(call[i]) for i in (0, 1)]
    rule, mask = "squared" if squared else "reference", 0
    extra: tuple[int, ...] = ()
    right = max(-p.shift, 0)
    if p.lost:
        rule = "sign" if p.lanes else "any"
        right = -p.shift & 31
        mask = int(fp.wrap32((1 << (-p.shift & 63)) - 1))
    elif p.lanes:
        rule = "early" if p.early else "floor"
        steps = 255 * (float(call[0].s) + float(call[1].s)) / float(call.output.s)
        if steps > 2**15 - 256:
            raise NotLowered(f"{call.name}: a sum may leave int16, where the vector code wraps")
        if p.early:
            ahead = p.left + p.a_shift, p.left + p.b_shift
            if min(ahead) < 0:
                raise NotLowered(f"{call.name}: an input scale far below the other")
            extra = (
                *high(p.a_multiplier, ahead[0], largest[0]),
                *high(p.b_multiplier, ahead[1], largest[1]),
            )
    if max(-p.a_shift, -p.b_shift, 0 if p.lost else right) > RIGHT:
        raise NotLowered(f"{call.name}: a shift of more than {RIGHT}")
    one, two = high(p.a_multiplier, p.left, largest[0]), high(p.b_multiplier, p.left, largest[1])
    if rule in ("reference", "squared", "any", "sign"):
        # The operand with the larger scale is multiplied by 1/2, which nothing has to round.
        if (p.a_multiplier, p.a_shift) == HALF and p.left:
            rule, one = rule + "1", (1 << p.left - 1, *one[1:])
        elif (p.b_multiplier, p.b_shift) == HALF and p.left:
            rule, two = rule + "2", (sign << p.left - 1, *two[1:])
    along(
        to, f"sum_{rule}", p.lanes, p.a_zero, p.b_zero, *one, -p.a_shift, *two, -p.b_shift,
        p.multiplier, right, mask, sign, p.zero_point, p.qmin, p.qmax, *extra,
    )  # fmt: skip


def _largest(t: Tensor) -> int:
    """How far a value can be from the zero point."""
    return max(t.range.qmax - t.z, t.z - t.range.qmin)


def high(multiplier: int, left: int, largest: int) -> tuple[int, ...]:
    """`elementwise.high_parts`; raises NotLowered where 32 bits are not enough."""
    found = elementwise.high_parts(multiplier, left, largest)
    if found is None:
        raise NotLowered(f"{largest} << {left} times {multiplier} leaves 32 bits")
    return found


def product_of(to: Lowering) -> None:
    """MUL."""
    call = to.call
    eight(call)
    _binary.check(call, EIGHT)
    p = _binary.product_parameters(call)
    parts: tuple[int, ...] = (0,) * 6
    right = 0
    if not p.factor:
        left, right = split(p.shift)
        parts = high(p.multiplier, left, _largest(call[0]) * _largest(call[1]))
        if p.lanes:
            steps = 255 * 255 * float(call[0].s) * float(call[1].s) / float(call.output.s)
            if steps > 2**15 - 256:
                raise NotLowered("MUL: a product may leave int16, where the vector code saturates")
    rule = "product_xnnpack" if p.factor else "product_reference"
    along(
        to, rule, 0, p.a_zero, p.b_zero, *parts, right, bits32(p.factor), p.zero_point, p.qmin,
        p.qmax,
    )  # fmt: skip


def extreme_of(to: Lowering, largest: bool) -> None:
    """MAXIMUM and MINIMUM."""
    eight(to.call)
    if len({t.dtype for t in (to.call[0], to.call[1], to.call.output)}) > 1:
        raise NotLowered(f"{to.call.name}: operands of different types")
    along(to, f"{'larger' if largest else 'smaller'}_plain", 0)


def along(to: Lowering, kernel: str, lanes: int, *parameters: int) -> None:
    """Add an elementwise kernel of two operands; lanes: of the blocks that `kernel` tells apart."""
    call = to.call
    shape = _binary.shape(call)
    to.check(0, shape)
    walk = _binary.runs(call[0].shape, call[1].shape)
    if walk.a.size > MOST_UNITS:
        raise NotLowered(f"{call.name}: broadcast in {walk.a.size} runs; {MOST_UNITS} at most")
    sign = "u" if call[0].dtype == "uint8" else "s"
    steps = "".join("v" if step else "s" for step in (walk.a_step, walk.b_step))
    b, table = to.x(1), _units(walk, lanes or 1)
    if to.inputs[1] is None and lanes == 0 and walk.length < SHORT and _repeats(walk):
        run = call.x(1).reshape(-1)[walk.b[0] :][: walk.length]
        times = min(-(-PIECE // walk.length), walk.a.size)
        b, table = to.constant(np.tile(run, times)), _tiled(walk, times)
    to.run(
        f"elementwise_{kernel}_{steps}{sign}", len(table), to.x(0), b, to.y(),
        to.constant(table), *parameters,
    )  # fmt: skip


def _repeats(walk: _binary.Runs) -> bool:
    """Whether the second operand is the same in every run and the first goes straight on."""
    straight = np.arange(walk.a.size) * walk.length
    return bool(
        walk.a_step and walk.b_step and walk.a.size > 1
        and (walk.b == walk.b[0]).all() and (walk.a == straight).all()
    )  # fmt: skip


def _tiled(walk: _binary.Runs, times: int) -> np.ndarray:
    """`_units` with `times` runs in one, beside a second operand that was repeated as often."""
    total, length = walk.a.size * walk.length, walk.length * times
    first = np.arange(0, total, length)
    count = np.minimum(total - first, length)
    return np.stack([first, np.zeros_like(first), first, count, count], -1).astype(np.int64)


def _units(walk: _binary.Runs, lanes: int) -> np.ndarray:
    """int64 (units, 5): offsets in a, b and y, elements, elements in whole blocks."""
    first = np.arange(0, max(walk.length, 1), PIECE)
    count = np.minimum(walk.length - first, PIECE)
    blocks = np.clip(walk.length // lanes * lanes - first, 0, count)
    run = np.arange(walk.a.size)[:, None]
    columns = (
        walk.a[:, None] + first * walk.a_step, walk.b[:, None] + first * walk.b_step,
        run * walk.length + first, count, blocks,
    )  # fmt: skip
    return np.stack(np.broadcast_arrays(*columns), -1).reshape(-1, 5).astype(np.int64)


def prelu(to: Lowering) -> None:
    """PRELU by the parameters of its file."""
    from kernels.ops.prelu import _factors

    call = to.call
    eight(call)
    p = _factors(call)
    (up_left, up_right), (down_left, down_right) = split(p.positive_shift), split(p.negative_shift)
    largest = _largest(call[0])
    product = largest * _alpha(call[1])
    if max(largest << up_left, product << down_left) >= 2**31:
        raise NotLowered("PRELU: a left shift leaves 32 bits")
    # A multiplier shifted to the left, so that both sides are cut at the same bit.
    above, below = (
        high(p.positive << up_left, 0, largest),
        high(p.negative << down_left, 0, product),
    )
    along(
        to, "prelu_reference", 0, p.zero, p.alpha_zero, *above, up_right, *below[:2], down_right,
        p.zero_point, p.qmin, p.qmax,
    )  # fmt: skip


def _alpha(t: Tensor) -> int:
    """The largest distance of alpha from its zero point."""
    if t.data is None:
        return _largest(t)
    return int(np.abs(t.x.astype(np.int64) - t.z).max(initial=0))


# one operand


def table_of(to: Lowering, reference: Callable[[Call], tuple[np.ndarray, ...]]) -> None:
    """An operator of one 8-bit variable: what `reference` makes of all 256 codes."""
    call = to.call
    eight(call.on(inputs=call.inputs[:1]))
    (found,) = reference(coded(call))
    to.check(0, call[0].shape)
    look_up(to, found, to.x(0), to.y(), call[0].shape)


def coded(call: Call) -> Call:
    """The call on the 256 codes of its first input, each at the place of its own byte."""
    codes = np.arange(256, dtype=np.uint8).view(call[0].held)
    return call.on(inputs=(replace(call[0], data=codes), *call.inputs[1:]))


def look_up(
    to: Lowering, table: np.ndarray, x: Place, y: Place, shape: tuple[int, ...] | int
) -> None:
    """y = table[x], bytes."""
    count = int(np.prod(shape))
    if table.shape != (256,) or table.itemsize != 1:
        raise NotLowered(f"a table of {table.shape} {table.dtype}")
    to.run("elementwise_table", -(-count // TABLE_PIECE), x, y, to.constant(table), count)


def requantize(to: Lowering) -> None:
    """QUANTIZE of 8 bits to 8 bits: a table, and another for the end of the optimized path's."""
    from kernels.ops import quantize

    call = to.call
    eight(call)
    to.check(0, call[0].shape)
    quantize._check(call)
    count = int(np.prod(call[0].shape))
    codes = np.arange(256, dtype=np.uint8).view(call[0].held)
    whole = count // 16 * 16 if quantize._mixed(call) else 0
    for first, size, multiply in (
        (0, whole, fp.multiply_up), (whole, count - whole, fp.multiply_double),
    ):  # fmt: skip
        if size:
            table = quantize._requantized(call, codes, multiply)
            look_up(to, table, to.x(0) + first, to.y() + first, size)


def quantize_floats(to: Lowering) -> None:
    """QUANTIZE of float32 to 8 bits, one scale."""
    from kernels.ops import quantize

    call = to.call
    x, y = call[0], call.output
    if x.dtype != "float32" or y.dtype not in EIGHT or y.per_channel:
        raise NotLowered(f"QUANTIZE: compiled for 8 bits per tensor, not {x.dtype} to {y.dtype}")
    to.check(0, x.shape)
    quantize._check(call)
    count = int(np.prod(x.shape))
    rule = quantize._rule(call)
    limits = y.z, y.range.qmin, y.range.qmax

    def run(name: str, first: int, size: int, scale: int) -> None:
        if size:
            to.run(
                f"elementwise_quantize_{name}", -(-size // TABLE_PIECE), to.x(0) + 4 * first,
                to.y() + first, size, scale, *limits,
            )  # fmt: skip

    with np.errstate(all="ignore"):
        if rule == quantize.XNNPACK:
            run("xnnpack", 0, count, bits32(np.float32(1) / y.s))
        elif rule == quantize.DIVIDE:
            run("divide", 0, count, bits32(y.s))
        else:
            whole = count // 8 * 8
            run("blocks", 0, whole, bits32(1 / np.float64(y.s)))
            run("tail", whole, count - whole, int(np.float64(y.s).view(np.int64)))


def dequantize(to: Lowering) -> None:
    """DEQUANTIZE of 8 bits, one scale."""
    from kernels.ops import dequantize as op

    call = to.call
    x = call[0]
    if x.dtype not in EIGHT or x.per_channel:
        raise NotLowered(f"DEQUANTIZE: compiled for 8 bits per tensor, not {x.dtype}")
    op._check(call)
    to.check(0, x.shape, 4)
    count = int(np.prod(x.shape))
    whole = count // 8 * 8 if op._blocks(call) else 0
    sign = "u" if x.dtype == "uint8" else "s"
    for rule, first, size in (("blocks", 0, whole), ("exact", whole, count - whole)):
        if size:
            to.run(
                f"elementwise_dequantize_{rule}_{sign}", -(-size // TABLE_PIECE), to.x(0) + first,
                to.y() + 4 * first, size, bits32(x.s), x.z, bits32(op._offset(x)),
            )  # fmt: skip
