"""Kernels that need all of a row before its first output: SOFTMAX and L2_NORMALIZATION.

rows_table_<s|u>   SOFTMAX of the optimized path: a table of float32 exponentials, its order of
                   additions (E71)
rows_fixed_<s|u>   SOFTMAX of the reference path: fixed point (E70); fewer than 512 values a row
rows_norm_<s|u>    L2_NORMALIZATION (E58)

Units: rows. s, u: signed or unsigned bytes.
"""

from __future__ import annotations

from collections.abc import Callable

from kernels.gemmlowp import HALF_SQRT_2, SLOPE, START
from kernels.simd.code import Code, Value, f32, i1, i8, i32, i64, vector
from kernels.simd.epilogue import high_product
from kernels.simd.target import Target

TABLE = (
    "x", "y", "length", "table", "scale", "half", "zero_point", "qmin", "qmax", "spare",
)  # fmt: skip
FIXED = ("x", "y", "length", "powers", "qmin", "qmax", "spare")
NORM = ("x", "y", "length", "zero_point", "left", "middle", "qmin", "qmax")
LANES = 16
TOP = 2**31 - 1
BELOW_HALF = 0.49999997019767761  # the float32 below 1/2


def write(name: str, rest: str, target: Target) -> str:
    """LLVM IR of the kernel."""
    c = Code(name, target)
    kind, sign = rest.split("_")
    {"table": _table, "fixed": _fixed, "norm": _norm}[kind](c, sign)
    return c.finish()


def _code(c: Code, at: Value, sign: str) -> Value:
    found = c.load(i8, at)
    return found.unsigned(i64) if sign == "u" else found.to(i64)


def _largest(c: Code, source: Value, length: Value, sign: str) -> Value:
    whole = length / LANES * LANES
    start = c.load(i8, source)
    with c.loop(0, whole, LANES, carried=[start.splat(LANES)]) as (i, wide):
        here = c.load(vector(i8, LANES), source, i)
        wide[0] = c.intrinsic(f"{sign}max", here.kind, wide[0], here)
    name = f"llvm.vector.reduce.{sign}max.v{LANES}i8"
    with c.loop(whole, length, carried=[c.instruction(name, i8, wide[0])]) as (i, state):
        state[0] = c.intrinsic(f"{sign}max", i8, state[0], c.load(i8, source, i))
    return state[0].unsigned(i64) if sign == "u" else state[0].to(i64)


def _rows(c: Code, x: Value, y: Value, length: Value, body: Callable[[Value, Value], None]) -> None:
    with c.loop(c.begin, c.end) as row:
        body(x + row * length, y + row * length)


def _table(c: Code, sign: str) -> None:
    """table: float32 by the distance from the largest value. half: what is added before cutting.
    spare: room for a float32 for each value."""
    x, y, length, table, scale, half, zero_point, qmin, qmax, spare = c.parameters(len(TABLE))
    scale, half = (v.to(i32).bits(f32) for v in (scale, half))
    zero, low, high = (v.to(i32).splat(LANES) for v in (zero_point, qmin, qmax))
    wide_half = half.splat(LANES)

    together = 4  # rows, whose sums are chains of additions that do not wait for one another

    def rows(first: Value, count: int) -> None:
        sources = [x + (first + r) * length for r in range(count)]
        powers = [spare + (first + r) * length * 4 for r in range(count)]
        most = [_largest(c, source, length, sign) for source in sources]
        with c.loop(0, length, carried=[c.value(0.0, f32)] * count) as (i, totals):
            for r in range(count):
                distance = most[r] - _code(c, sources[r] + i, sign)
                power = c.load(f32, table, distance * 4, 4)
                c.store(power, powers[r], i * 4, 4)
                totals[r] = totals[r] + power
        for r, total in enumerate(totals):
            scaled(powers[r], c.value(1.0, f32) / (total * scale), y + (first + r) * length)

    def scaled(powers: Value, inverse: Value, to: Value) -> None:
        factor = inverse.splat(LANES)

        def steps(i: Value) -> Value:
            found = c.load(factor.kind, powers, i * 4, 4)
            return ((found * factor + wide_half).to(i32) + zero).max(low).min(high).to(i8)

        whole = length / LANES * LANES
        with c.loop(0, whole, LANES) as i:
            c.store(steps(i), to, i)
        with c.when(whole < length):
            c.store_first(steps(whole), length - whole, to + whole)

    fast = c.begin + (c.end - c.begin) / together * together
    with c.loop(c.begin, fast, together) as row:
        rows(row, together)
    with c.loop(fast, c.end) as row:
        rows(row, 1)


def _fixed(c: Code, sign: str) -> None:
    """powers: int32 exponentials in Q0 by the distance from the largest value. spare: room for an
    int32 for each value."""
    x, y, length, powers, qmin, qmax, spare = c.parameters(len(FIXED))
    low, high = (v.to(i32).splat(LANES) for v in (qmin, qmax))
    wide = vector(i32, LANES)
    whole = length / LANES * LANES
    lane = c.lanes_numbered(LANES)

    def halved(v: Value, right: Value) -> Value:
        """v / 2^(right + 1), ties away from zero, of v >= 0."""
        return ((v >> right) + 1) >> 1

    with c.loop(c.begin, c.end) as row:
        source, to, here = x + row * length, y + row * length, spare + row * length * 4
        most = _largest(c, source, length, sign)
        with c.loop(0, length) as i:
            distance = most - _code(c, source + i, sign)
            c.store(c.load(i32, powers, distance * 4, 4), here, i * 4, 4)

        def term(i: Value) -> Value:
            """What an exponential adds to the sum, in Q12."""
            eleven = c.value(11, i32).splat(LANES)
            return halved(c.load(wide, here, i * 4, 4), eleven)

        zero = c.value(0, i32).splat(LANES)
        with c.loop(0, whole, LANES, carried=[zero]) as (i, sums):
            sums[0] = sums[0] + term(i)
        inside = lane < (length - whole).to(i32).splat(LANES)
        rest = inside.choose(term(whole), zero)
        total = c.instruction(f"llvm.vector.reduce.add.v{LANES}i32", i32, sums[0] + rest).to(i64)

        zeros = _leading_zeros(c, total)
        scale = _reciprocal(c, (total << zeros) - (1 << 31)).to(i32).splat(LANES)
        right = (c.value(34) - zeros).to(i32).splat(LANES)

        def steps(i: Value) -> Value:
            product = high_product(c.load(wide, here, i * 4, 4), scale)
            return (halved(product, right) + low).max(low).min(high).to(i8)

        with c.loop(0, whole, LANES) as i:
            c.store(steps(i), to, i)
        with c.when(whole < length):
            c.store_first(steps(whole), length - whole, to + whole)


def _norm(c: Code, sign: str) -> None:
    """left: shift of the differences before the product, or of the product."""
    x, y, length, zero_point, left, middle, qmin, qmax = c.parameters(len(NORM))

    def row(source: Value, to: Value) -> None:
        with c.loop(0, length, carried=[c.value(0)]) as (i, total):
            v = _code(c, source + i, sign) - zero_point
            total[0] = total[0] + v * v
        multiplier, right = _inverse_sqrt(c, total[0])
        if sign == "s":  # the shift is raised
            ahead, right = (left - right).max(0), (right - left).max(0)
        else:
            ahead = left
        with c.loop(0, length) as i:
            v = _code(c, source + i, sign) - zero_point
            steps = _away(c, _high((v << ahead).to(i32).to(i64), multiplier), right) + middle
            c.store(steps.max(qmin).min(qmax).to(i8), to, i)

    _rows(c, x, y, length, row)


# fixed point, one number at a time in int64


def _high(a: Value, b: Value) -> Value:
    """Doubling high product, ties up (E23)."""
    return ((a * b + (1 << 30)) >> 31).min(TOP)


def _away(c: Code, x: Value, right: Value) -> Value:
    """x / 2^right, ties away from zero (E24)."""
    half = (c.value(1) << right) >> 1
    return (x + half + ((x >> 63) & (right > 0).choose(c.value(-1), c.value(0)))) >> right


def _shifted(x: Value, left: int) -> Value:
    """x * 2^left, saturated to 32 bits."""
    return (x << left).max(-TOP - 1).min(TOP)


def _leading_zeros(c: Code, x: Value) -> Value:
    """Of the lower 32 bits; 0 <= x < 2^32."""
    function = c._declared("llvm.ctlz.i64", i64, [i64, i1])
    return Value(c, c.b.call(function, [x.it, i1(0)])) - 32


def _reciprocal(c: Code, x: Value) -> Value:
    """1 / (1 + x) of x in Q0 by three Newton steps in Q2 (E40)."""
    half = _away(c, x + TOP, c.value(1))
    y = _high(half, c.value(SLOPE)) + START
    for _ in range(3):
        y = y + _shifted(_high(y, c.value(1 << 29) - _high(half, y)), 2)
    return _shifted(y, 1)


def _inverse_sqrt(c: Code, x: Value) -> tuple[Value, Value]:
    """Multiplier and right shift of 1 / sqrt(x), 0 <= x < 2^31 (E41)."""
    small = x <= 1
    right = c.value(11)
    for _ in range(2):
        big = x >= 1 << 29
        x, right = big.choose(x >> 2, x), big.choose(right + 1, right)
    pairs = (_leading_zeros(c, x.max(1)) - 1) / 2 - 1
    right = right - pairs
    half = _away(c, (x << (pairs * 2)) >> 1, c.value(1))
    y = c.value(1 << 28)
    for _ in range(5):
        cube = _shifted(_high(_high(y, y), y), 6)
        y = _shifted((_high(y, c.value(3 << 27)) - _high(half, cube)).to(i32).to(i64), 3)
    y = (_high(y, c.value(HALF_SQRT_2)) << (right * -1).max(0)).to(i32).to(i64)
    return small.choose(c.value(TOP), y), small.choose(c.value(0), right.max(0))
