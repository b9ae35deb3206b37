"""Constants to integers in one pass over memory, as kernels/affine.py does it in several.

encode_integers_<form>_<rule>   float32 -> bytes. rule: single, half_away(w * factor) in float32;
                                double, half_away(w / scale + zero point) in float64 (E16)
encode_halves                   float32 -> float16 (E19); units: elements
encode_extremes_<form>          smallest and largest value (E21)
encode_nibbles                  bytes in [-8, 7] -> two in a byte (E20); units: pairs

form: runs, `length` values with parameters of their own, group after group and then again; columns,
rows of `length` values with a parameter for each column. Units are runs or rows. Arrays need no
alignment, and nothing is read or written outside of them.

A NaN (and an infinity times 0) has no integer and belongs to no order: where a kernel meets one it
stores 1 at `lost`, and what it has written does not count. kernels/streaming.py calls these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import reduce

from llvmlite import ir

from kernels.simd.code import Code, Value, f32, f64, folded, i8, i16, i32, larger, smaller, vector
from kernels.simd.quantize import BELOW_HALF, BELOW_HALF_64
from kernels.simd.target import Target

LANES = 16
TOGETHER = 4  # vectors, for one look whether there is a tie or a NaN
ROWS = 8  # that meet in registers before they meet what is in memory

INTEGERS = (
    "x", "y", "lost", "length", "groups", "low", "high", "certain", "near", "factor", "shift",
    "scale", "zero_point",
)  # fmt: skip
EXTREMES = ("x", "low", "high", "lost", "length")

Body = Callable[[Value, int], None]
Row = tuple[Value, Value]  # where it is read, where its bytes go


def write(name: str, rest: str, target: Target) -> str:
    """LLVM IR of the kernel."""
    c = Code(name, target)
    what, _, how = rest.partition("_")
    if what == "integers":
        _Integers(c, *how.split("_")).write()
    elif what == "extremes":
        (_runs if how == "runs" else _columns)(c)
    elif what == "halves":
        _halves(c)
    else:
        _nibbles(c)
    return c.finish()


def _walk(c: Code, count: Value, body: Body) -> None:
    """body(place, values) for all of 0..count: four vectors at a time, then one. The last one ends
    with the last value, and does some again; where there are fewer than that, one by one."""
    many = TOGETHER * LANES
    fast = count / many * many
    with c.loop(0, fast, many) as i:
        body(i, many)
    with c.loop(fast, count / LANES * LANES, LANES) as i:
        body(i, LANES)
    with c.when((count % LANES > 0) & (count >= LANES)):
        body(count - LANES, LANES)
    with c.when(count < LANES), c.loop(0, count) as i:
        body(i, 1)


def _any(mask: Value) -> Value:
    """Whether a lane is set."""
    if mask.lanes == 1:
        return mask
    bits = ir.IntType(mask.lanes)
    return Value(mask.code, mask.code.b.icmp_signed("!=", mask.bits(bits).it, bits(0)))


def _unordered(a: Value, b: Value) -> Value:
    """Lanes in which one is a NaN."""
    return Value(a.code, a.code.b.fcmp_unordered("uno", a.it, b.it))


def _without_order(values: list[Value]) -> Value:
    """Lanes in which one of them is a NaN. Two are compared at once."""
    pairs = zip(values[::2], (values[1:] or values)[::2], strict=True)
    return reduce(lambda a, b: a | b, [_unordered(a, b) for a, b in pairs])


def _tell(c: Code, mask: Value, lost: Value) -> None:
    with c.when(_any(mask)):
        c.store(c.value(1), lost, 0, 8)


def _wide(value: Value, lanes: int) -> Value:
    return value if lanes == 1 else value.splat(lanes)


def _clip(v: Value, low: Value, high: Value) -> Value:
    """A NaN becomes `low`."""
    v = (v > low).choose(v, low)
    return (v < high).choose(v, high)


def _away(v: Value, below_half: float) -> Value:
    """What truncates to v rounded half away from zero."""
    c = v.code
    return v + c.intrinsic("copysign", v.kind, Value(c, c.constant(below_half, v.kind)), v)


class _Integers:
    """float32 to bytes. low, high: the ends, integers. certain: bits of float32, how far from its
    integer a float32 step may be that is the float64 integer, with a zero point of at most `near`.

    Other parameters are addresses: single takes factor, double scale and zero_point; by columns it
    takes 1 / scale and the zero point as float32 too, which of a run it makes itself (`shift` is a
    NaN where the zero point is too large, so that float64 decides). A scale of 0 counts as infinite
    by runs, and is given as that by columns.
    """

    def __init__(self, c: Code, form: str, rule: str):
        self.code, self.by_column, self.rule = c, form == "columns", rule
        p = c.parameters(len(INTEGERS))
        self.x, self.y, self.lost, self.length, self.groups = p[:5]
        self.low, self.high, self.certain = p[5], p[6], p[7].to(i32).bits(f32)
        self.near = p[8]
        self.addresses = dict(zip(INTEGERS[9:], p[9:], strict=True))

    def write(self) -> None:
        c, length = self.code, self.length
        start = c.begin
        if self.by_column:  # four rows meet each parameter: they are as many bytes as a row
            many = (length >= LANES).choose(c.end - c.begin, 0) / TOGETHER * TOGETHER
            start = c.begin + many
            with c.loop(c.begin, start, TOGETHER) as row:
                rows = [self._places(row + r) for r in range(TOGETHER)]
                with c.loop(0, length / LANES * LANES, LANES) as at:
                    self._body(at, LANES, rows)
                with c.when(length % LANES > 0):
                    self._body(length - LANES, LANES, rows)
        with c.loop(start, c.end) as unit:
            if not self.by_column:
                self.of_run = self._run(unit % self.groups)
            rows = [self._places(unit)]
            _walk(c, length, lambda at, count: self._body(at, count, rows))

    def _places(self, unit: Value) -> Row:
        return self.x + unit * self.length * 4, self.y + unit * self.length

    def _run(self, group: Value) -> dict[str, Value]:
        """The parameters of one group."""
        c = self.code
        if self.rule == "single":
            return {"factor": c.load(f32, self.addresses["factor"], group * 4, 4)}
        scale, zero = (
            c.load(f64, self.addresses[name], group * 8, 8) for name in ("scale", "zero_point")
        )
        scale = scale.equals(0.0).choose(float("inf"), scale)
        inside = c.intrinsic("fabs", f64, zero) <= self.near.to(f64)
        return {
            "factor": (c.value(1.0, f64) / scale).to(f32),
            "shift": inside.choose(zero, float("nan")).to(f32), "scale": scale, "zero_point": zero,
        }  # fmt: skip

    def _parameter(self, name: str, at: Value, lanes: int) -> Value:
        if not self.by_column:
            return _wide(self.of_run[name], lanes)
        kind, size = (f32, 4) if name in ("factor", "shift") else (f64, 8)
        return self.code.load(vector(kind, lanes), self.addresses[name], at * size, size)

    def _ends(self, kind: ir.Type, lanes: int) -> tuple[Value, Value]:
        return _wide(self.low.to(kind), lanes), _wide(self.high.to(kind), lanes)

    def _body(self, at: Value, count: int, rows: list[Row]) -> None:
        if self.rule == "single":
            self._single(at, count, rows)
        elif count == 1:
            self._double(at, 1, rows[0])
        else:
            self._near(at, count, rows)

    def _vectors(self, at: Value, count: int, rows: list[Row]) -> Iterator[tuple[Value, Row, int]]:
        """Place, row and lanes of each vector."""
        lanes = min(count, LANES)
        for v in range(0, count, lanes):
            for row in rows:
                yield at + v, row, lanes

    def _single(self, at: Value, count: int, rows: list[Row]) -> None:
        c = self.code
        steps = []
        for place, (x, y), lanes in self._vectors(at, count, rows):
            factor = self._parameter("factor", place, lanes)
            t = c.load(vector(f32, lanes), x, place * 4) * factor
            steps.append(t)
            rounded = _clip(_away(t, BELOW_HALF), *self._ends(f32, lanes))
            c.store(rounded.to(i32).to(i8), y, place)
        _tell(c, _without_order(steps), self.lost)

    def _near(self, at: Value, count: int, rows: list[Row]) -> None:
        """In float32 where no value is near a tie, which a NaN and an infinity are, too."""
        c = self.code
        found, sure = [], []
        for place, (x, y), lanes in self._vectors(at, count, rows):
            factor, shift = (self._parameter(n, place, lanes) for n in ("factor", "shift"))
            t = c.load(vector(f32, lanes), x, place * 4) * factor + shift
            rounded = t.rint()
            off = c.intrinsic("fabs", t.kind, t - rounded)
            sure.append(off < _wide(self.certain, lanes))
            found.append((y, place, _clip(rounded, *self._ends(f32, lanes)).to(i32).to(i8)))
        all_sure = reduce(lambda a, b: a & b, sure)
        doubt = _any(all_sure ^ c.value(True, all_sure.kind))
        with c.b.if_else(doubt.it, likely=False) as (doubtful, certain):
            with doubtful:
                for row in rows:
                    with c.loop(at, at + count, LANES // 2) as i:
                        self._double(i, LANES // 2, row)
            with certain:
                for y, place, bytes_ in found:
                    c.store(bytes_, y, place)

    def _double(self, at: Value, lanes: int, row: Row) -> None:
        c = self.code
        w = c.load(vector(f32, lanes), row[0], at * 4).to(f64)
        scale, zero = (self._parameter(n, at, lanes) for n in ("scale", "zero_point"))
        t = w / scale + zero
        rounded = _clip(_away(t, BELOW_HALF_64), *self._ends(f64, lanes))
        c.store(rounded.to(i32).to(i8), row[1], at)
        _tell(c, _unordered(t, t), self.lost)


def _runs(c: Code) -> None:
    """low, high: float32 for each run, of at least LANES values."""
    x, low, high, lost, length = c.parameters(len(EXTREMES))
    kind = vector(f32, LANES)
    many = TOGETHER * LANES
    nothing = c.value(False, vector(ir.IntType(1), LANES))
    with c.loop(c.begin, c.end) as unit:
        at = x + unit * length * 4
        first = c.load(kind, at)
        fast = length / many * many
        carried = [first] * (2 * TOGETHER) + [nothing]
        with c.loop(0, fast, many, carried=carried) as (i, state):
            found = [c.load(kind, at, (i + LANES * v) * 4) for v in range(TOGETHER)]
            for v, value in enumerate(found):
                state[2 * v] = smaller(value, state[2 * v])
                state[2 * v + 1] = larger(value, state[2 * v + 1])
            state[-1] = state[-1] | _without_order(found)
        least, most = (
            reduce(pick, state[start:-1:2]) for start, pick in ((0, smaller), (1, larger))
        )
        rest = [least, most, state[-1] | _unordered(first, first)]

        def take(value: Value, rest: list[Value]) -> None:
            rest[:] = [
                smaller(value, rest[0]), larger(value, rest[1]),
                rest[2] | _unordered(value, value),
            ]  # fmt: skip

        with c.loop(fast, length / LANES * LANES, LANES, carried=rest) as (i, state):
            take(c.load(kind, at, i * 4), state)
        take(c.load(kind, at, (length - LANES) * 4), state)
        c.store(folded(state[0], smaller), low, unit * 4, 4)
        c.store(folded(state[1], larger), high, unit * 4, 4)
        _tell(c, state[2], lost)


def _columns(c: Code) -> None:
    """low, high: float32 for each column, of at least LANES, with what was found before."""
    x, low, high, lost, length = c.parameters(len(EXTREMES))
    kind = vector(f32, LANES)

    def meet(row: Value, rows: int) -> None:
        def column(at: Value) -> None:
            found = [c.load(kind, x + (row + r) * length * 4, at * 4) for r in range(rows)]
            for address, pick in ((low, smaller), (high, larger)):
                c.store(reduce(pick, found, c.load(kind, address, at * 4)), address, at * 4)
            _tell(c, _without_order(found), lost)

        with c.loop(0, length / LANES * LANES, LANES) as at:
            column(at)
        with c.when(length % LANES > 0):
            column(length - LANES)

    fast = c.begin + (c.end - c.begin) / ROWS * ROWS
    with c.loop(c.begin, fast, ROWS) as row:
        meet(row, ROWS)
    with c.loop(fast, c.end) as row:
        meet(row, 1)


def _halves(c: Code) -> None:
    """Parameters: x, y, lost."""
    x, y, lost = c.parameters(3)
    most = 65504.0

    def body(at: Value, count: int) -> None:
        lanes = min(count, LANES)
        values = [
            c.load(vector(f32, lanes), x, (c.begin + at + v) * 4) for v in range(0, count, lanes)
        ]
        for v, value in enumerate(values):
            ends = (_wide(c.value(end, f32), lanes) for end in (-most, most))
            half = _half(_clip(value, *ends))
            c.store(half, y, (c.begin + at + v * lanes) * 2)
        _tell(c, _without_order(values), lost)

    _walk(c, c.end - c.begin, body)


def _half(v: Value) -> Value:
    """Bits of the nearest float16, ties to even, of |v| <= 65504.

    The x86 instruction is there with AVX2; elsewhere (and for single values) by integers, as
    kernels/affine.py has it: half a step less one is added, and one more where the bit to keep is
    odd; the exponent's bias moves in the same sum.
    """
    c = v.code
    if c.target.needs and v.lanes > 1:
        half = c.b.fptrunc(v.it, vector(ir.HalfType(), v.lanes))
        return Value(c, half).bits(vector(i16, v.lanes))
    bits = v.bits(vector(i32, v.lanes))
    magnitude = bits & 0x7FFFFFFF
    normal = (magnitude + ((magnitude >> 13) & 1) + (0xFFF - ((127 - 15) << 23))) >> 13
    size = magnitude.bits(v.kind)
    subnormal = (size + 0.5).bits(bits.kind) - 0x3F000000
    chosen = (size < 2.0**-14).choose(subnormal, normal)
    return (chosen | ((bits >> 16) & -0x8000)).to(i16)


def _nibbles(c: Code) -> None:
    """Parameters: x, y."""
    x, y = c.parameters(2)

    def body(at: Value, count: int) -> None:
        words = c.load(vector(i16, count), x, (c.begin + at) * 2)
        packed = (words & 15) | ((words >> 4) & 240)
        c.store(packed.to(i8), y, c.begin + at)

    _walk(c, c.end - c.begin, body)
