"""Float rows to int8 rows with a scale and a zero point of their own, found at run time (E31).

quantize_range          smallest and largest value of each piece of a row, and 0; units: pieces
quantize_scale_<rule>   a row's record, from the ranges of its pieces; units: rows
quantize_lines_<rule>   images by their records, each into another one with a border of its zero
                        point around it; units: lines with border
quantize_rows_<rule>    all of it for a row that is one piece and has no border; units: rows
quantize_minus          y = -|q| of int8 (E35); units: PIECE elements

rule: asymmetric, symmetric or qd8, those of kernels/hybrid.py. A record is a float32 scale, an
int32 zero point, the float32 by which values are multiplied, and 4 bytes unused.
"""

from __future__ import annotations

from collections.abc import Callable

from kernels.simd.code import Code, Value, f32, f64, folded, i8, i32, larger, smaller, vector
from kernels.simd.copy import memset
from kernels.simd.target import Target

LANES = 16
PIECE = 8192  # elements
RECORD = 16  # bytes
SCALE, ZERO, INVERSE = 0, 4, 8
BELOW_HALF = 0.49999997019767761  # the float32 below 1/2
BELOW_HALF_64 = 0.49999999999999994
OUTSIDE = -(2**31)  # what x86 makes of a float that is no int32
LINES = ("x", "y", "records", "height", "size", "above", "left", "right", "tall")


def write(name: str, rest: str, target: Target) -> str:
    """LLVM IR of the kernel."""
    c = Code(name, target)
    what, _, rule = rest.partition("_")
    if what == "range":
        _range(c)
    elif what == "scale":
        _scale(c, rule)
    elif what == "lines":
        _lines(c, rule)
    elif what == "rows":
        _rows(c, rule)
    else:
        _minus(c)
    return c.finish()


def _range(c: Code) -> None:
    """Parameters: x, ranges (two float32 a unit), elements and pieces of a row."""
    x, ranges, length, pieces = c.parameters(4)
    with c.loop(c.begin, c.end) as unit:
        first = unit % pieces * PIECE
        at = x + (unit / pieces * length + first) * 4
        low, high = _extremes(c, at, (length - first).min(PIECE))
        c.store(low, ranges, unit * 8, 4)
        c.store(high, ranges, unit * 8 + 4, 4)


def _extremes(c: Code, x: Value, count: Value) -> tuple[Value, Value]:
    """The smallest and the largest of the values and 0."""
    wide = vector(f32, LANES)
    zero = Value(c, c.constant(0.0, wide))
    together = 4
    whole = count / LANES * LANES
    fast = count / (together * LANES) * (together * LANES)

    def take(state: list[Value], found: Value, v: int) -> None:
        state[2 * v] = smaller(found, state[2 * v])
        state[2 * v + 1] = larger(found, state[2 * v + 1])

    with c.loop(0, fast, together * LANES, carried=[zero] * (2 * together)) as (i, state):
        for v in range(together):
            take(state, c.load(wide, x + i * 4, 4 * LANES * v, 4), v)
    with c.loop(fast, whole, LANES, carried=state) as (i, rest):
        take(rest, c.load(wide, x, i * 4, 4), 0)
    left = (count - whole).to(i32).splat(LANES)
    last = (c.lanes_numbered(LANES) < left).choose(c.load(wide, x, whole * 4, 4), zero)
    take(rest, last, 1)
    low, high = rest[0], rest[1]
    for v in range(1, together):
        low, high = smaller(rest[2 * v], low), larger(rest[2 * v + 1], high)
    return folded(low, smaller), folded(high, larger)


def _scale(c: Code, rule: str) -> None:
    """Parameters: ranges, records, pieces of a row."""
    ranges, records, pieces = c.parameters(3)
    zero = c.value(0.0, f32)
    with c.loop(c.begin, c.end) as row:
        at = ranges + row * pieces * 8
        with c.loop(0, pieces, carried=[zero, zero]) as (i, ends):
            ends[0] = smaller(c.load(f32, at, i * 8, 4), ends[0])
            ends[1] = larger(c.load(f32, at, i * 8 + 4, 4), ends[1])
        _store(c, _record(c, rule, ends[0], ends[1]), records + row * RECORD)


Record = tuple[Value, Value, Value]


def _store(c: Code, record: Record, at: Value) -> None:
    for value, offset in zip(record, (SCALE, ZERO, INVERSE), strict=True):
        c.store(value, at, offset, 4)


def _load(c: Code, at: Value) -> Record:
    return c.load(f32, at, SCALE, 4), c.load(i32, at, ZERO, 4), c.load(f32, at, INVERSE, 4)


def _record(c: Code, rule: str, low: Value, high: Value) -> Record:
    """Scale, zero point and factor of a row with these ends (E31)."""
    make = {"asymmetric": _asymmetric, "symmetric": _symmetric, "qd8": _qd8}
    return make[rule](c, low, high)


def _asymmetric(c: Code, low: Value, high: Value) -> Record:
    one, empty = c.value(1.0, f32), low.equals(high)
    step = (high - low).to(f64) / 255.0
    down, up = low.to(f64) / step, high.to(f64) / step
    from_low = c.intrinsic("fabs", f64, down) + 128.0 < c.intrinsic("fabs", f64, up) + 127.0
    chosen = from_low.choose(c.value(-128.0, f64) - down, c.value(127.0, f64) - up)
    chosen = (chosen > -128.0).choose(chosen, -128.0)
    chosen = (chosen < 127.0).choose(chosen, 127.0)
    half = c.intrinsic("copysign", f64, c.value(BELOW_HALF_64, f64), chosen)
    scale = step.to(f32)
    inverse = (c.value(1.0, f64) / scale.to(f64)).to(f32)
    inverse = scale.equals(0.0).choose(0.0, inverse)
    return (
        empty.choose(one, scale), empty.choose(0, (chosen + half).to(i32)),
        empty.choose(one, inverse),
    )  # fmt: skip


def _symmetric(c: Code, low: Value, high: Value) -> Record:
    most = larger(low * -1.0, high)
    empty = most.equals(0.0)
    inverse = c.value(127.0, f32) / most
    return empty.choose(1.0, most / 127.0), c.value(0, i32), empty.choose(0.0, inverse)


def _qd8(c: Code, low: Value, high: Value) -> Record:
    one = c.value(1.0, f32)
    inverse = low.equals(high).choose(one, c.value(255.0, f32) / (high - low))
    down, up = low * inverse, high * inverse
    from_low = (down + -128.0) + (up + 127.0) > 0.0
    chosen = from_low.choose(c.value(-128.0, f32) - down, c.value(127.0, f32) - up)
    chosen = (chosen > -128.0).choose(chosen, -128.0)
    chosen = (chosen < 127.0).choose(chosen, 127.0)
    return one / inverse, chosen.rint().to(i32), inverse


class Quantizer:
    """int8 steps of a row's values by its record."""

    def __init__(self, c: Code, rule: str, record: Record):
        self.code, self.rule = c, rule
        _, self.zero, self.inverse = record
        self.low = -127 if rule == "symmetric" else -128

    def line(self, x: Value, y: Value, count: Value, whole: Value) -> None:
        """y = q of x, `count` values; those from `whole` on are the row's tail."""
        c = self.code
        if self.rule == "qd8":
            self._run(x, y, c.value(0), count, LANES, self._nearest)
            return
        body = whole.max(0).min(count)
        self._run(x, y, c.value(0), body, LANES, self._block)
        with c.when(body < count):
            self._run(x, y, body, count, 8, self._tail)

    def _run(
        self, x: Value, y: Value, first: Value, last: Value, lanes: int,
        rule: Callable[[Value, Value], Value],
    ) -> None:  # fmt: skip
        """Elements first..last, `lanes` at a time."""
        c = self.code
        zero, inverse = self.zero.splat(lanes), self.inverse.splat(lanes)

        def steps(at: Value) -> Value:
            t = c.load(vector(f32, lanes), x, at * 4, 4) * inverse
            return rule(t, zero).max(self.low).min(127).to(i8)

        whole = first + (last - first) / lanes * lanes
        with c.loop(first, whole, lanes) as i:
            c.store(steps(i), y, i)
        with c.when(whole < last):
            c.store_first(steps(whole), last - whole, y + whole)

    def _nearest(self, t: Value, zero: Value) -> Value:
        t = (t < 32767.0).choose(t, 32767.0)  # not a number, too
        return (t > -32768.0).choose(t, -32768.0).rint().to(i32) + zero

    def _block(self, t: Value, zero: Value) -> Value:
        return self._integer(t, 0.5) + zero

    def _tail(self, t: Value, zero: Value) -> Value:
        steps = self._integer(t, BELOW_HALF)
        return steps.equals(OUTSIDE).choose(steps, steps + zero)

    def _integer(self, t: Value, half: float) -> Value:
        c = self.code
        t = t + c.intrinsic("copysign", t.kind, Value(c, c.constant(half, t.kind)), t)
        inside = c.intrinsic("fabs", t.kind, t) < 2.0**31
        return inside.choose(inside.choose(t, 0.0).to(i32), OUTSIDE)


def _lines(c: Code, rule: str) -> None:
    x, y, records, height, size, above, left, right, tall = c.parameters(len(LINES))
    whole = height * size / 8 * 8
    with c.loop(c.begin, c.end) as unit:
        image, line = unit / tall, unit % tall - above
        record = _load(c, records + image * RECORD)
        border = record[1].to(i8)
        to = y + unit * (left + size + right)
        with c.b.if_else(((line >= 0) & (line < height)).it) as (yes, no):
            with yes:
                memset(c, to, border, left)
                source = x + (image * height + line) * size * 4
                Quantizer(c, rule, record).line(source, to + left, size, whole - line * size)
                memset(c, to + left + size, border, right)
            with no:
                memset(c, to, border, left + size + right)


def _rows(c: Code, rule: str) -> None:
    """Parameters: x, y, records, elements of a row."""
    x, y, records, length = c.parameters(4)
    with c.loop(c.begin, c.end) as row:
        source = x + row * length * 4
        record = _record(c, rule, *_extremes(c, source, length))
        _store(c, record, records + row * RECORD)
        Quantizer(c, rule, record).line(source, y + row * length, length, length / 8 * 8)


def _minus(c: Code) -> None:
    """Parameters: q, y, elements."""
    q, y, count = c.parameters(3)
    first, last = (c.begin * PIECE).min(count), (c.end * PIECE).min(count)

    def found(at: Value) -> Value:
        v = c.load(vector(i8, LANES), q, at)
        return v.min(v * -1)

    whole = first + (last - first) / LANES * LANES
    with c.loop(first, whole, LANES) as i:
        c.store(found(i), y, i)
    with c.when(whole < last):
        c.store_first(found(whole), last - whole, y + whole)
