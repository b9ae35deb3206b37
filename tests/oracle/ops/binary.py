"""Operators of two broadcast operands, element by element."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

from tests import oracle as o
from tests.oracle.stage import BOUNDS, clamp
from tests.oracle.task import Answer, Operand, Task, count, indices, oracle

Shape = tuple[int, ...]


def broadcast(*shapes: Sequence[int]) -> Shape:
    rank = max(map(len, shapes))
    full = [(1,) * (rank - len(s)) + tuple(s) for s in shapes]
    return tuple(next((n for n in axis if n != 1), 1) for axis in zip(*full, strict=True))


def seen(x: Operand, index: Sequence[int]) -> Any:
    """The value of x that broadcasting puts at an index of the output."""
    own = index[len(index) - len(x.shape) :]
    return x.at(*(0 if n == 1 else i for i, n in zip(own, x.shape, strict=True)))


def each(task: Task, function: Callable[..., Any], positions: int = 2) -> list[Answer]:
    """function of the operands' values, at every index of the output."""
    xs = [task.x(p) for p in range(positions)]
    shape = broadcast(*(x.shape for x in xs))
    return [(shape, [function(*(seen(x, i) for x in xs)) for i in indices(shape)])]


def stretch(a: Shape, b: Shape) -> tuple[int, bool, bool, bool]:
    """How the vector code walks: the length of a stretch, whether a and b go along in it, and
    whether it walks this broadcast at all: the axes, from the last, read as groups of
    shared / one stands still / shared / the other stands still / shared."""
    rank = max(len(a), len(b))
    pairs = list(
        zip((1,) * (rank - len(a)) + tuple(a), (1,) * (rank - len(b)) + tuple(b), strict=True)
    )
    letters = ["=" if p == q else "a" if p == 1 else "b" for p, q in pairs][::-1]
    sizes = [max(p) for p in pairs][::-1]
    groups: list[str] = []
    for letter in letters:
        if not groups or groups[-1] != letter:
            groups.append(letter)
    # An axis of 1 in both operands fits every group.
    wanted = next((g for g in groups if g != "="), None)
    if wanted is None:
        return math.prod(sizes), True, True, True
    pattern, at, walks = ["=", wanted, "=", "b" if wanted == "a" else "a", "="], 0, True
    for letter, n in zip(letters, sizes, strict=True):
        while at < 5 and not (letter == pattern[at] or (letter == "=" and n == 1)):
            at += 1
        if at == 5:
            walks = False
            break
    shared = 1
    for letter, n in zip(letters, sizes, strict=True):
        if letter != "=":
            break
        shared *= n
    if shared > 1:
        return shared, True, True, walks
    still = 1
    for letter, n in zip(letters, sizes, strict=True):
        if letter != wanted and n > 1:
            break
        still *= n
    return still, wanted == "b", wanted == "a", walks


def any_shift(x: int, exponent: int) -> int:
    """A rounding right shift as the machine does it: counts modulo 32, the mask's modulo 64."""
    mask = o.wrap((1 << exponent % 64) - 1, 32)
    return (x >> exponent % 32) + ((x & mask) > (mask >> 1) + (x < 0))


def scaled(x: int, factor: tuple[int, int]) -> int:
    return o.pot_away(o.rdhm(x, factor[0]), -factor[1])


def ahead(x: int, left: int, factor: tuple[int, int], early: bool) -> int:
    """The same in vector code: shifted before the product, or after it and floored."""
    if early:
        shift = left + factor[1]
        return o.rdhm(x << shift if shift >= 0 else x >> -shift, factor[0])
    return o.rdhm(x << left, factor[0]) >> -factor[1]


def log2(scale: Fraction) -> int | None:
    power = math.log2(scale)
    return round(power) if abs(power - round(power)) < 1e-3 else None


@oracle("ADD", "SUB", "SQUARED_DIFFERENCE")
def sums(task: Task) -> list[Answer]:
    if task.x().scales is None:
        return plain(task)
    a, b, y = task.x(0), task.x(1), task.y
    square = task.operator == "SQUARED_DIFFERENCE"
    sign = 1 if task.operator == "ADD" else -1
    if task.path == "xnnpack":
        return by_xnnpack(task, sign)
    lo, hi = (y.qmin, y.qmax) if square else clamp(task, y)
    if y.dtype == "int16" and task.option("pot_scale_int16", True):
        powers = [log2(t.scale) for t in (a, b, y)]
        if None not in powers:
            return by_shifts(task, powers[2] - powers[0], powers[2] - powers[1], sign, lo, hi)
    left = 7 if square else 15 if y.dtype == "int16" else 20
    twice = o.f32(2 * max(a.scale, b.scale))
    fa, fb = (o.quantize_multiplier(o.f64(t.scale / twice)) for t in (a, b))
    top = o.f64(twice * twice) if square else twice
    whole = o.f64(top / o.f32(2 ** (2 * left if square else left) * y.scale))
    fy = o.quantize_multiplier(whole)
    length, a_goes, b_goes, walks = stretch(a.shape, b.shape)
    shape = broadcast(a.shape, b.shape)
    alone = length == count(shape) and a_goes and b_goes
    optimized = task.path != "reference"
    lost = whole > 1
    lanes, early = 0, False
    if lost:
        wide = y.dtype == "int16" and optimized and walks and a_goes and b_goes
        lanes = 4 if alone or wide else 0
    elif sign > 0 and optimized and walks:
        if y.dtype == "int16":
            lanes, early = (16 if alone else 0), True
        else:
            early = y.dtype == "int8" and a_goes and b_goes
            lanes = 16 if early else 8
    values = []
    for number, index in enumerate(indices(shape)):
        va, vb = seen(a, index) - a.zero_point, seen(b, index) - b.zero_point
        block = lanes > 0 and number % length < length // lanes * lanes
        if block and not lost:
            total = ahead(va, left, fa, early) + ahead(vb, left, fb, early)
            steps = scaled(total, fy)
            if y.bits == 8:
                steps = o.wrap(o.wrap(steps, 16) + y.zero_point, 16) - y.zero_point
        else:
            total = scaled(va << left, fa) + sign * scaled(vb << left, fb)
            high = o.rdhm(o.wrap(total * total, 32) if square else total, fy[0])
            if lost and block:
                int16 = y.dtype == "int16"
                steps = sign_of_lanes(high, -fy[1]) if int16 else 1 if high >= 0 else -1
            else:
                steps = any_shift(high, -fy[1]) if lost else o.pot_away(high, -fy[1])
        values.append(o.clip(steps + y.zero_point, lo, hi))
    return [(shape, values)]


def sign_of_lanes(x: int, exponent: int) -> int:
    """A shift by a negative count, by lanes: all bits leave but the sign; the mask wraps at 64."""
    mask = o.wrap(2 ** (exponent % 64) - 1, 32)
    low = o.wrap(x & mask, 32) if mask < 0 else x % (mask + 1)
    half = mask // 2
    return (-1 if x < 0 else 0) + (1 if low > half + (1 if x < 0 else 0) else 0)


def by_shifts(task: Task, ea: int, eb: int, sign: int, lo: int, hi: int) -> list[Answer]:
    def moved(x: int, exponent: int) -> int:
        if exponent < 16:
            return o.pot_away(x, exponent)
        return 1 if x >= 0 else -1  # the mask has 16 bits, all of them set

    def result(x: int, y: int) -> int:
        return o.clip(o.clip(moved(x, ea) + sign * moved(y, eb), -(2**15), 2**15 - 1), lo, hi)

    return each(task, result)


def by_xnnpack(task: Task, sign: int) -> list[Answer]:
    a, b, y = task.x(0), task.x(1), task.y
    lo, hi = clamp(task, y)
    ra, rb = o.f32(a.scale / y.scale), o.f32(b.scale / y.scale)
    exponent = 0  # of the larger ratio: 2^exponent <= ratio < 2^(exponent + 1)
    while Fraction(2) ** exponent > max(ra, rb):
        exponent -= 1
    while Fraction(2) ** (exponent + 1) <= max(ra, rb):
        exponent += 1
    unit = Fraction(2) ** (20 - exponent)
    ma, mb = o.half_even(ra * unit), sign * o.half_even(rb * unit)

    def result(p: int, q: int) -> int:
        exact = ((p - a.zero_point) * ma + (q - b.zero_point) * mb) / unit
        return o.clip(o.half_up(Fraction(exact)) + y.zero_point, lo, hi)

    return each(task, result)


@oracle("MUL")
def product(task: Task) -> list[Answer]:
    if task.x().scales is None:
        return plain(task)
    a, b, y = task.x(0), task.x(1), task.y
    lo, hi = clamp(task, y)
    factor = o.f32(o.f32(a.scale * b.scale) / y.scale)
    multiplier, shift = o.quantize_multiplier(factor)
    length, a_goes, b_goes, walks = stretch(a.shape, b.shape)
    lanes = 0
    if task.path == "optimized" and walks:
        lanes = {"int8": 16, "uint8": 8, "int16": 0}[y.dtype]
    wraps = y.dtype == "uint8" and not (a_goes and b_goes)
    values = []
    shape = broadcast(a.shape, b.shape)
    for number, index in enumerate(indices(shape)):
        acc = (seen(a, index) - a.zero_point) * (seen(b, index) - b.zero_point)
        if task.path == "xnnpack":
            values.append(o.requantize_xnnpack(acc, factor, y.zero_point, lo, hi))
            continue
        block = lanes and number % length < length // lanes * lanes
        # Vector code shifts everything out, the machine's own shift takes 5 bits of the count.
        left = shift if block or shift < 32 else shift % 32
        steps = o.multiply_double(acc, multiplier, left)
        if block:
            steps = o.wrap(steps, 16) if wraps else o.clip(steps, -(2**15), 2**15 - 1)
            steps = o.wrap(steps + y.zero_point, 16) - y.zero_point
        values.append(o.clip(steps + y.zero_point, lo, hi))
    return [(shape, values)]


@oracle("PRELU")
def prelu(task: Task) -> list[Answer]:
    x, alpha, y = task.x(0), task.x(1), task.y
    up = o.quantize_multiplier(o.f32(x.scale / y.scale))
    down = o.quantize_multiplier(o.f32(o.f32(x.scale * alpha.scale) / y.scale))

    def result(v: int, w: int) -> int:
        v -= x.zero_point
        steps = (
            o.multiply_double(v, *up)
            if v >= 0
            else o.multiply_double(v * (w - alpha.zero_point), *down)
        )
        return o.clip(steps + y.zero_point, y.qmin, y.qmax)

    return each(task, result)


def inverse(x: int) -> tuple[int, int]:
    """1 / x as r 2^-31 2^-d: Newton from 48/17 - 32/17 h, h = x 2^-(d + 1) in [1/2, 1)."""
    digits = x.bit_length() - 1
    top = x << (31 - digits)  # in [2^31, 2^32)
    h = top >> 1  # half of it, in units of 2^-31
    y = round(Fraction(48, 17) * 2**29) + o.rdhm(h, round(Fraction(-32, 17) * 2**29))
    for _ in range(3):
        y += o.clip(o.rdhm(y, 2**29 - o.rdhm(h, y)) * 4, -(2**31), 2**31 - 1)
    return o.clip(2 * y, -(2**31), 2**31 - 1), digits


@oracle("DIV")
def quotient(task: Task) -> list[Answer]:
    if task.x().scales is None:
        return plain(task)
    a, b, y = task.x(0), task.x(1), task.y
    lo, hi = clamp(task, y)
    multiplier, shift = o.quantize_multiplier(o.f32(a.scale / o.f32(b.scale * y.scale)))

    def result(p: int, q: int) -> int:
        p, q = p - a.zero_point, q - b.zero_point
        if q < 0:
            p, q = -p, -q
        r, digits = inverse(q)
        room = 31 - (p if p >= 0 else -p - 1).bit_length()
        high = o.rdhm(o.rdhm(o.wrap(p << room, 32), r), multiplier)
        steps = any_shift(high, digits + room - shift)
        return o.clip(o.wrap(steps + y.zero_point, 32), lo, hi)

    return each(task, result)


COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "EQUAL": lambda p, q: p == q,
    "NOT_EQUAL": lambda p, q: p != q,
    "LESS": lambda p, q: p < q,
    "LESS_EQUAL": lambda p, q: p <= q,
    "GREATER": lambda p, q: p > q,
    "GREATER_EQUAL": lambda p, q: p >= q,
}


@oracle(*COMPARE)
def comparison(task: Task) -> list[Answer]:
    a, b, test = task.x(0), task.x(1), COMPARE[task.operator]
    ordered = task.operator not in ("EQUAL", "NOT_EQUAL")
    if a.scales is None or (a.dtype == "int16" and ordered):
        return each(task, test)

    def side(x: Operand, value: int) -> int:
        multiplier, shift = o.quantize_multiplier(x.scale)
        high = o.rdhm((value - x.zero_point) << 8, multiplier)
        if shift > 0:
            return 1 if high >= 0 else -1
        return o.pot_away(high, -shift)

    return each(task, lambda p, q: test(side(a, p), side(b, q)))


def plain(task: Task) -> list[Answer]:
    """Numbers that carry no scale: integers wrap, float32 is rounded once."""
    dtype = task.x().dtype
    lo, hi = BOUNDS[int(task.option("fused_activation_function"))]
    whole = dtype != "float32"
    bits = task.x().bits if whole else 0

    def rounded(x: Any) -> Any:
        return o.wrap(x, bits) if whole else o.f32(x)

    def result(p: Any, q: Any) -> Any:
        if task.operator == "DIV":
            v = rounded(abs(p) // abs(q) * (1 if (p < 0) == (q < 0) else -1) if whole else p / q)
        elif task.operator == "MUL":
            v = rounded(p * q)
        elif task.operator == "ADD":
            v = rounded(p + q)
        else:
            v = rounded(p - q)
        if task.operator == "SQUARED_DIFFERENCE":
            return rounded(v * v)
        return min(max(v, lo), hi)

    return each(task, lambda p, q: number(result(p, q), whole))


def number(x: Any, whole: bool) -> Any:
    return int(x) if whole else x


@oracle("MAXIMUM", "MINIMUM")
def extremes(task: Task) -> list[Answer]:
    return each(task, max if task.operator == "MAXIMUM" else min)


@oracle("FLOOR_DIV", "FLOOR_MOD", "BITWISE_XOR", "RIGHT_SHIFT", "POW")
def integers(task: Task) -> list[Answer]:
    x = task.x()
    whole = x.dtype != "float32"

    def result(p: Any, q: Any) -> Any:
        if task.operator == "POW":
            return o.wrap(p**q, 32)
        if task.operator == "BITWISE_XOR":
            return p ^ q
        if task.operator == "RIGHT_SHIFT":
            return p >> o.clip(q, 0, x.bits - 1)
        if task.operator == "FLOOR_DIV":
            return o.wrap(p // q, x.bits) if whole else o.f32(Fraction(math.floor(o.f64(p / q))))
        if whole:
            return p % q
        rest = abs(p) % abs(q) * (-1 if p < 0 else 1)  # fmod: exact, with the sign of p
        return o.f32(rest + q) if rest != 0 and (q < 0) != (rest < 0) else rest

    return each(task, result)


@oracle("LOGICAL_AND", "LOGICAL_OR", "LOGICAL_NOT")
def logic(task: Task) -> list[Answer]:
    if task.operator == "LOGICAL_NOT":
        return each(task, lambda p: not p, 1)
    both = task.operator == "LOGICAL_AND"
    return each(task, lambda p, q: (p and q) if both else (p or q))


@oracle("SELECT_V2")
def select_v2(task: Task) -> list[Answer]:
    return each(task, lambda c, p, q: p if c else q, 3)


@oracle("SELECT")
def select(task: Task) -> list[Answer]:
    condition, a, b = task.x(0), task.x(1), task.x(2)
    assert a.values is not None and b.values is not None and condition.values is not None
    inner = count(a.shape) // max(len(condition.values), 1)
    values = [
        a.values[i] if condition.values[i // inner] else b.values[i] for i in range(len(a.values))
    ]
    return [(a.shape, values)]


@oracle("ADD_N")
def add_n(task: Task) -> list[Answer]:
    first = task.x()
    values = []
    for i in range(count(first.shape)):
        total: Any = 0
        for p in range(len(task.inputs)):
            xs = task.x(p).values
            assert xs is not None
            total = o.f32(total + xs[i]) if first.dtype == "float32" else o.wrap(total + xs[i], 32)
        values.append(total)
    return [(first.shape, values)]
