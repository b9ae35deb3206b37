"""Kernels that go along one or two operands, element by element.

elementwise_sum_<rule>_<steps>       E45, E46. rule: xnnpack, reference, squared, early (in blocks
                                     the shift precedes the product), floor (in blocks it floors),
                                     any (an undefined shift), sign (that, in blocks the sign only);
                                     with 1 or 2 behind it: that operand is only shifted
elementwise_product_<rule>_<steps>   E47. rule: xnnpack, reference
elementwise_prelu_reference_<steps>  E47
elementwise_larger_plain_<steps>, elementwise_smaller_plain_<steps>
elementwise_table                    y = table[x] of bytes
elementwise_quantize_<rule>          E55: float32 to bytes. rule: xnnpack, blocks, tail, divide
elementwise_dequantize_<rule>_<s|u>  E3, E56: bytes to float32. rule: exact, blocks

A broadcast is walked in runs (kernels/ops/_binary.py): along a run each operand goes along or
stands still. steps: vv, vs or sv (s stands still), then s or u for signed or unsigned bytes. Units
of work are runs or pieces of one, a row of the table for each: offsets in a, b and y, elements, and
how many of them lie in whole blocks of the optimized path's vector code.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy

from kernels.simd.code import Code, Value, f32, f64, i8, i16, i32, i64, vector
from kernels.simd.epilogue import high_product, nearest
from kernels.simd.target import Target

LANES = 16
ROW = 40  # bytes of a unit: five int64
TABLE_PIECE = 4096  # elements a unit of the kernels of one operand
HIGH = ("upper", "lower", "outer", "inner", "cut", "rest")
LINEAR = (
    "a", "b", "y", "units", "a_zero", "b_zero", "a_multiplier", "b_multiplier", "right",
    "zero_point", "qmin", "qmax",
)  # fmt: skip
SUM = (
    "a", "b", "y", "units", "a_zero", "b_zero", *HIGH, "a_right", *HIGH, "b_right", "multiplier",
    "right", "mask", "sign", "zero_point", "qmin", "qmax",
)  # fmt: skip
EARLY = (*SUM, *HIGH, *HIGH)
PRODUCT = (
    "a", "b", "y", "units", "a_zero", "b_zero", *HIGH, "right", "factor", "zero_point", "qmin",
    "qmax",
)  # fmt: skip
PRELU = (
    "a", "b", "y", "units", "a_zero", "b_zero", *HIGH, "right", "below_upper", "below_lower",
    "below_right", "zero_point", "qmin", "qmax",
)  # fmt: skip
EXTREME = ("a", "b", "y", "units")
QUANTIZE = ("x", "y", "count", "scale", "zero_point", "qmin", "qmax")
DEQUANTIZE = ("x", "y", "count", "scale", "zero_point", "offset")
BELOW_HALF = 0.49999997019767761  # the float32 below 1/2
BELOW_HALF_64 = 0.49999999999999994
Compute = Callable[[Value, Value, "Value | None"], Value]


def write(name: str, rest: str, target: Target) -> str:
    """LLVM IR of the kernel."""
    c = Code(name, target)
    what, *how = rest.split("_")
    kernels: dict[str, Callable[..., None]] = {
        "sum": _sum, "product": _product, "prelu": _prelu, "larger": _extreme,
        "smaller": _extreme, "table": _table, "quantize": _quantize, "dequantize": _dequantize,
    }  # fmt: skip
    if what in ("larger", "smaller"):
        how[0] = what
    kernels[what](c, *how)
    return c.finish()


def splat(c: Code, value: Value) -> Value:
    return value.to(i32).splat(LANES)


class High:
    """rdhm(x << left, m) of small x in 32 bits: m is cut in two, m = upper * 2^cut + lower, so that
    neither product nor their sum overflows (`high_parts`)."""

    def __init__(self, c: Code, parameters: list[Value]):
        self.upper, self.lower, self.outer, self.inner, self.cut, self.rest = (
            splat(c, v) for v in parameters
        )

    def less(self, zero: Value) -> High:
        """The same of x - zero, the differences already in the constants."""
        made = copy(self)
        made.outer = self.outer - zero * self.upper
        made.inner = self.inner - zero * self.lower
        return made

    def on(self, side: Value, upper: Value, lower: Value) -> High:
        """This multiplier where `side` holds, else another one, cut in the same way."""
        made = copy(self)
        made.upper, made.lower = side.choose(self.upper, upper), side.choose(self.lower, lower)
        return made

    def __call__(self, x: Value) -> Value:
        low = (x * self.lower + self.inner) >> self.cut
        return (x * self.upper + self.outer + low) >> self.rest


def high_parts(multiplier: int, left: int, largest: int) -> tuple[int, ...] | None:
    """What `High` takes, for |x| <= largest; None where 32 bits are not enough.

    With s = 31 - left: floor((x m + 2^(s-1)) / 2^s), in two steps of `cut` and s - cut bits; the
    half that rounds is added where it is a whole number.
    """
    s = 31 - left
    cut = min(16, s)
    lower = (multiplier + (1 << cut - 1)) % (1 << cut) - (1 << cut - 1)
    upper = multiplier - lower >> cut
    outer, inner = (1 << s - 1 - cut, 0) if s > cut else (0, 1 << s - 1)
    low = largest * (1 << cut - 1) + inner
    if max(low, largest * upper + outer + (low >> cut) + 1, largest << left) >= 2**31:
        return None
    return upper, lower, outer, inner, cut, s - cut


class Away:
    """Division by 2^right, ties away from zero (E24); right at most 30."""

    def __init__(self, c: Code, right: Value):
        bits = right.to(i32)
        self.right = bits.splat(LANES)
        self.half = ((c.value(1, i32) << bits) >> 1).splat(LANES)
        self.nudge = (bits > 0).choose(c.value(-1, i32), c.value(0, i32)).splat(LANES)

    def on(self, side: Value, other: Away) -> Away:
        """This division where `side` holds, else the other."""
        made = copy(self)
        for name in ("right", "half", "nudge"):
            setattr(made, name, side.choose(getattr(self, name), getattr(other, name)))
        return made

    def __call__(self, x: Value) -> Value:
        return (x + self.half + ((x >> 31) & self.nudge)) >> self.right


class Finish:
    """int32 steps -> bytes: the zero point, the ends."""

    def __init__(self, c: Code, ends: list[Value], sign: str):
        self.code, self.sign, self.ends = c, sign, ends
        self.wide = [splat(c, v) for v in ends]

    def one(self, steps: Value) -> Value:
        """A vector by itself."""
        zero, low, high = self.wide
        return (steps + zero).max(low).min(high).to(i8)

    def four(self, steps: list[Value]) -> Value:
        """Four vectors. Packs that saturate do the clamping to bytes on the way."""
        c = self.code
        if c.target.lanes != 16:
            first, second, *rest = map(self.one, steps)
            return _joined(_joined(first, second), _joined(*rest))
        words = [
            c.instruction("llvm.x86.avx512.packssdw.512", vector(i16, 32), a, b)
            for a, b in (steps[:2], steps[2:])
        ]
        zero, low, high = self.ends
        words = [c.intrinsic("sadd.sat", w.kind, w, zero.to(i16).splat(32)) for w in words]
        packed = "packuswb" if self.sign == "u" else "packsswb"
        mixed = c.instruction(f"llvm.x86.avx512.{packed}.512", vector(i8, 64), *words)
        for name, end in (("max", low), ("min", high)):
            other = end.to(i8).splat(64)
            mixed = c.intrinsic(f"{self.sign}{name}", mixed.kind, mixed, other)
        return _sorted(mixed)


def _joined(a: Value, b: Value) -> Value:
    return a.shuffle(range(2 * a.lanes), b)


def _sorted(mixed: Value) -> Value:
    """Four vectors' bytes one behind the other, which the packs left by 128-bit lanes."""
    words = mixed.bits(vector(i32, 16))
    return words.shuffle([4 * lane + v for v in range(4) for lane in range(4)]).bits(mixed.kind)


def _along(c: Code, parameters: list[Value], steps: str, compute: Compute, finish: Finish) -> None:
    """Walk the units: compute(a, b, inside) -> what `finish` takes, inside: the lanes in whole
    blocks, None where all are."""
    a, b, y, units = parameters[:4]
    widen = (lambda v: v.unsigned(i32)) if steps[2] == "u" else (lambda v: v.to(i32))
    lane = c.lanes_numbered(LANES)
    with c.loop(c.begin, c.end) as unit:
        a_at, b_at, y_at, count, blocks = (
            c.load(i64, units, unit * ROW + 8 * i, 8) for i in range(5)
        )
        a_at, b_at, y_at = a + a_at, b + b_at, y + y_at

        def operand(at: Value, step: str) -> Callable[[Value], Value]:
            if step == "v":
                return lambda i: widen(c.load(vector(i8, LANES), at, i))
            still = widen(c.load(i8, at)).splat(LANES)
            return lambda i: still

        one, two = operand(a_at, steps[0]), operand(b_at, steps[1])
        fast = blocks / (4 * LANES) * (4 * LANES)
        whole = blocks / LANES * LANES
        with c.loop(0, fast, 4 * LANES) as i:
            here = (i + LANES * v for v in range(4))
            c.store(finish.four([compute(one(at), two(at), None) for at in here]), y_at, i)
        with c.loop(fast, whole, LANES) as i:
            c.store(finish.one(compute(one(i), two(i), None)), y_at, i)
        with c.loop(whole, count, LANES) as i:
            inside = lane < splat(c, blocks - i)
            c.store_first(finish.one(compute(one(i), two(i), inside)), count - i, y_at + i)


def _sum(c: Code, rule: str, steps: str) -> None:
    if rule == "xnnpack":
        _linear(c, steps)
        return
    rule, shifted = rule.rstrip("12"), rule[-1]
    p = c.parameters(len(EARLY if rule == "early" else SUM))
    a_zero, b_zero = (splat(c, v) for v in p[4:6])
    one, two = High(c, p[6:12]).less(a_zero), High(c, p[13:19]).less(b_zero)
    a_offset, b_offset = a_zero * one.upper, b_zero * two.upper
    a_right, b_right, right = p[12], p[19], p[21]
    m, mask = splat(c, p[20]), splat(c, p[22])
    sign, zero, qmin, qmax = (splat(c, v) for v in p[23:27])
    finish = Finish(c, p[24:27], steps[2])
    a_away, b_away, away = Away(c, a_right), Away(c, b_right), Away(c, right)
    a_shift, b_shift, shift = (splat(c, v) for v in (a_right, b_right, right))

    def exact(a: Value, b: Value) -> Value:
        """Both roundings of each operand, and their sum."""
        first = a * one.upper - a_offset if shifted == "1" else a_away(one(a))
        if shifted == "2":
            return first - b_offset + b * two.upper
        return first + ((b_away(two(b)) ^ flips) - flips)

    def anyhow(high: Value) -> Value:
        """A shift that C does not define, as x86 computes it (E48)."""
        above = (high & mask) > (mask >> 1) + (high < 0).unsigned(i32)
        return (high >> shift) + above.unsigned(i32)

    flips = (sign - 1) >> 1  # all bits where the second operand is subtracted

    # Only the sign of high_product(total, m) counts there: total m + 2^30 >= 0, with m >= 2^30.
    least = splat(c, (c.value(1 << 30) / p[20].max(1)) * -1)
    up, down = (c.value(v, i32).splat(LANES) for v in (1, -1))

    def scaled(total: Value) -> Value:
        return away(high_product(total, m))

    if rule == "early":
        ahead, behind = High(c, p[27:33]).less(a_zero), High(c, p[33:39]).less(b_zero)

    def block(a: Value, b: Value) -> Value:
        """In a whole block of the vector code."""
        if rule == "early":
            return scaled(ahead(a) + behind(b))
        if rule == "floor":
            return scaled((one(a) >> a_shift) + (two(b) >> b_shift))
        return (exact(a, b) >= least).choose(up, down)

    def alone(a: Value, b: Value) -> Value:
        total = exact(a, b)
        if rule in ("any", "sign"):
            return wrapped(anyhow(high_product(total, m)))
        return scaled(total * total if rule == "squared" else total)

    def wrapped(steps: Value) -> Value:
        """Its sum with the zero point, which may leave 32 bits, then without it again."""
        return (steps + zero).max(qmin).min(qmax) - zero

    def compute(a: Value, b: Value, inside: Value | None) -> Value:
        if rule in ("reference", "squared", "any"):
            return alone(a, b)
        return block(a, b) if inside is None else inside.choose(block(a, b), alone(a, b))

    _along(c, p, steps, compute, finish)


def _linear(c: Code, steps: str) -> None:
    """XNNPACK's sum (E46): the zero points and the half that rounds are one constant."""
    p = c.parameters(len(LINEAR))
    a_zero, b_zero, ma, mb, shift = (splat(c, v) for v in p[4:9])
    offset = splat(c, c.value(1) << (p[8] - 1)) - a_zero * ma - b_zero * mb

    def compute(a: Value, b: Value, inside: Value | None) -> Value:
        return (a * ma + b * mb + offset) >> shift

    _along(c, p, steps, compute, Finish(c, p[9:], steps[2]))


def _product(c: Code, rule: str, steps: str) -> None:
    p = c.parameters(len(PRODUCT))
    right, factor, zero, _, qmax = p[12:]
    high = (qmax - zero).to(f32).splat(LANES)
    scale = factor.to(i32).bits(f32).splat(LANES)
    times, away = High(c, p[6:12]), Away(c, right)
    a_zero, b_zero = (splat(c, v) for v in p[4:6])

    def compute(a: Value, b: Value, inside: Value | None) -> Value:
        product = (a - a_zero) * (b - b_zero)
        if rule == "xnnpack":
            return nearest((product.to(f32) * scale).min(high))
        return away(times(product))

    _along(c, p, steps, compute, Finish(c, p[14:], steps[2]))


def _prelu(c: Code, rule: str, steps: str) -> None:
    p = c.parameters(len(PRELU))
    above, away = High(c, p[6:12]), Away(c, p[12])
    upper, lower, other = splat(c, p[13]), splat(c, p[14]), Away(c, p[15])
    a_zero, b_zero = (splat(c, v) for v in p[4:6])

    def compute(a: Value, b: Value, inside: Value | None) -> Value:
        v = a - a_zero
        side = v >= 0
        times, parted = above.on(side, upper, lower), away.on(side, other)
        return parted(times(side.choose(v, v * (b - b_zero))))

    _along(c, p, steps, compute, Finish(c, p[16:], steps[2]))


def _extreme(c: Code, what: str, steps: str) -> None:
    pick = (lambda a, b, _: a.max(b)) if what == "larger" else (lambda a, b, _: a.min(b))
    ends = (0, 0, 255) if steps[2] == "u" else (0, -128, 127)
    finish = Finish(c, [c.value(v) for v in ends], steps[2])
    _along(c, c.parameters(len(EXTREME)), steps, pick, finish)


def _pieces(c: Code, count: Value) -> tuple[Value, Value]:
    """The elements of the units from begin to end."""
    return (c.begin * TABLE_PIECE).min(count), (c.end * TABLE_PIECE).min(count)


def _table(c: Code) -> None:
    """Parameters: x, y, table of 256 bytes by the byte's bits, elements. Units: TABLE_PIECE
    elements."""
    x, y, table, count = c.parameters(4)
    first, last = _pieces(c, count)
    fast = first
    if c.target.permutes:
        quarters = [c.load(vector(i8, 64), table, 64 * i, align=64) for i in range(4)]
        fast = first + (last - first) / 64 * 64

        def looked(at: Value) -> Value:
            codes = c.load(vector(i8, 64), x, at)
            name = "llvm.x86.avx512.vpermi2var.qi.512"
            low, high = (
                c.instruction(name, codes.kind, quarters[i], codes, quarters[i + 1]) for i in (0, 2)
            )
            return (codes < 0).choose(high, low)

        with c.loop(first, fast, 64) as i:
            c.store(looked(i), y, i)
        with c.when(fast < last):
            c.store_first(looked(fast), last - fast, y + fast)
        return
    fast = first + (last - first) / 8 * 8
    with c.loop(first, fast, 8) as i:
        for k in range(8):
            code = c.load(i8, x, i + k).unsigned(i64)
            c.store(c.load(i8, table, code), y, i + k)
    with c.loop(fast, last) as i:
        c.store(c.load(i8, table, c.load(i8, x, i).unsigned(i64)), y, i)


def _quantize(c: Code, rule: str) -> None:
    """scale: bits of float32 (of its inverse for xnnpack and blocks), of float64 for tail."""
    x, y, count, scale, zero_point, qmin, qmax = c.parameters(len(QUANTIZE))
    first, last = _pieces(c, count)
    real = f64 if rule == "tail" else f32
    lanes = 8 if rule == "tail" else LANES
    factor = (scale.bits(f64) if rule == "tail" else scale.to(i32).bits(f32)).splat(lanes)
    zero, low, high = (v.to(i32).splat(lanes) for v in (zero_point, qmin, qmax))
    # What does not fit in int32 becomes -2^31, and the sum with a negative zero point wraps.
    lost = (zero_point < 0).choose(qmax - zero_point, qmin - zero_point).to(real).splat(lanes)
    least, most = (v.to(real).splat(lanes) for v in (qmin - zero_point - 1, qmax - zero_point + 1))

    def steps(at: Value) -> Value:
        v = c.load(vector(f32, lanes), x, at * 4, 4).to(real)
        t = v / factor if rule in ("divide", "tail") else v * factor
        if rule == "xnnpack":
            largest = c.value(32767.0, f32).splat(lanes)
            t = (t < largest).choose(t, largest)
        else:
            if rule != "blocks":
                half = BELOW_HALF if rule == "divide" else BELOW_HALF_64
                t = t + c.intrinsic("copysign", t.kind, Value(c, c.constant(half, t.kind)), t)
                t = c.intrinsic("trunc", t.kind, t)
            else:
                t = t.rint()
            t = ((t >= -(2.0**31)) & (t < 2.0**31)).choose(t, lost)
        return (t.max(least).min(most).rint().to(i32) + zero).max(low).min(high).to(i8)

    whole = first + (last - first) / lanes * lanes
    with c.loop(first, whole, lanes) as i:
        c.store(steps(i), y, i)
    with c.when(whole < last):
        c.store_first(steps(whole), last - whole, y + whole)


def _dequantize(c: Code, rule: str, sign: str) -> None:
    x, y, count, scale, zero_point, offset = c.parameters(len(DEQUANTIZE))
    first, last = _pieces(c, count)
    factor, shift = (v.to(i32).bits(f32).splat(LANES) for v in (scale, offset))
    zero = splat(c, zero_point)

    def real(at: Value) -> Value:
        q = c.load(vector(i8, LANES), x, at)
        q = q.unsigned(i32) if sign == "u" else q.to(i32)
        return q.to(f32) * factor + shift if rule == "blocks" else (q - zero).to(f32) * factor

    whole = first + (last - first) / LANES * LANES
    with c.loop(first, whole, LANES) as i:
        c.store(real(i), y, i * 4)
    with c.when(whole < last):
        c.store_first(real(whole), last - whole, y + whole * 4)
