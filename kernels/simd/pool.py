"""Windows and means: the largest or the sum of some bytes of each channel.

pool_max_<s|u>           largest byte of a window, clamped
pool_average_<s|u>       sum / pixels, half away (AVERAGE_POOL_2D, E64)
pool_even_<s|u>, pool_away_<s|u>   MEAN of XNNPACK: float32 scale and bias, two roundings (E62)
pool_fixed_<s|u>         MEAN of the TFLite kernels: fixed point, by channel (E60, E61)
pool_rows<kind>_<s|u>    even, away and fixed of contiguous bytes, one sum a unit

s, u: signed or unsigned bytes. A window is rows x columns of bytes at constant distances, so one at
the border of an image is a smaller one. Units: rows of a table, some channels of a window each.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from kernels.simd.code import Code, Value, f32, i8, i32, i64, vector
from kernels.simd.epilogue import Epilogue
from kernels.simd.target import Target

ROW = 48  # bytes of a unit: offsets in x and y, rows, columns, channels, the first channel's number
PARAMETERS = (
    "x", "y", "units", "row_bytes", "column_bytes", "zero_point", "qmin", "qmax", "scale", "bias",
    "constants", "subtracted",
)  # fmt: skip
BELOW_HALF = 0.49999997019767761  # the float32 below 1/2
WINDOW = 1 << 16  # pixels that the quotient of `average` is exact for


def write(name: str, rest: str, target: Target) -> str:
    """LLVM IR of the kernel."""
    c = Code(name, target)
    kind, sign = rest.split("_")
    if kind == "max":
        _largest(c, sign)
    elif kind.startswith("rows"):
        _rows(c, kind.removeprefix("rows"), sign)
    else:
        _sums(c, kind, sign)
    return c.finish()


def _largest(c: Code, sign: str) -> None:
    x, y, units, row_bytes, column_bytes, _, qmin, qmax, *_ = c.parameters(len(PARAMETERS))
    block = 64 if c.target.lanes == 16 else 32
    larger, smaller = (f"{sign}max", f"{sign}min")
    low, high = (v.to(i8).splat(block) for v in (qmin, qmax))

    def pick(at: Value, rows: Value, columns: Value) -> Value:
        with c.loop(0, rows, carried=[low]) as (row, outer):
            line = at + row * row_bytes
            with c.loop(0, columns, carried=outer) as (column, inner):
                found = c.load(low.kind, line, column * column_bytes)
                inner[0] = c.intrinsic(larger, low.kind, inner[0], found)
            outer[:] = inner
        return c.intrinsic(smaller, low.kind, outer[0], high)

    with c.loop(c.begin, c.end) as unit:
        source, to, rows, columns, channels, _ = _unit(c, units, unit)
        with c.loop(0, channels, block) as channel:
            made = pick(x + source + channel, rows, columns)
            c.store_first(made, channels - channel, y + to + channel)


def _unit(c: Code, units: Value, unit: Value) -> list[Value]:
    return [c.load(i64, units, unit * ROW + 8 * i, 8) for i in range(6)]


def _sums(c: Code, kind: str, sign: str) -> None:
    p = c.parameters(len(PARAMETERS))
    x, y, units, row_bytes, column_bytes = p[:5]
    lanes = c.target.lanes
    finish = _finish(c, kind, p)
    start = c.value(0, i32).splat(lanes)
    together = 4  # vectors of channels

    def window(at: Value, rows: Value, columns: Value, count: int) -> list[Value]:
        with c.loop(0, rows, carried=[start] * count) as (row, outer):
            line = at + row * row_bytes
            with c.loop(0, columns, carried=outer) as (column, inner):
                here = line + column * column_bytes
                for v in range(count):
                    inner[v] = inner[v] + _wide(c.load(vector(i8, lanes), here, v * lanes), sign)
            outer[:] = inner
        return outer

    with c.loop(c.begin, c.end) as unit:
        source, to, rows, columns, channels, first = _unit(c, units, unit)
        pixels = rows * columns
        fast = channels / (together * lanes) * (together * lanes)
        with c.loop(0, fast, together * lanes) as channel:
            totals = window(x + source + channel, rows, columns, together)
            for v, total in enumerate(totals):
                at = channel + v * lanes
                c.store(finish(total, pixels, first + at), y + to + at)
        with c.loop(fast, channels, lanes) as channel:
            (total,) = window(x + source + channel, rows, columns, 1)
            made = finish(total, pixels, first + channel)
            c.store_first(made, channels - channel, y + to + channel)


def _wide(value: Value, sign: str) -> Value:
    return value.unsigned(i32) if sign == "u" else value.to(i32)


def _rows(c: Code, kind: str, sign: str) -> None:
    p = c.parameters(len(PARAMETERS))
    x, y, units = p[:3]
    lanes = c.target.lanes
    finish = _finish(c, kind, p)
    order = c.lanes_numbered(lanes)
    zero = c.value(0, i32).splat(lanes)
    with c.loop(c.begin, c.end) as unit:
        source, to, _, count, _, _ = _unit(c, units, unit)
        whole = count / lanes * lanes
        with c.loop(0, whole, lanes, carried=[zero]) as (i, sums):
            sums[0] = sums[0] + _wide(c.load(vector(i8, lanes), x + source, i), sign)
        rest = _wide(c.load(vector(i8, lanes), x + source, whole), sign)
        inside = order < (count - whole).to(i32).splat(lanes)
        sums = sums[0] + inside.choose(rest, zero)
        name = f"llvm.vector.reduce.add.v{lanes}i32"
        total = c.instruction(name, i32, sums).splat(lanes)
        made = finish(total, count, c.value(0))
        c.store(Value(c, c.b.extract_element(made.it, i32(0))), y + to)


def _finish(c: Code, kind: str, p: list[Value]) -> Callable[[Value, Value, Value], Value]:
    """(sums, pixels, number of the first channel) -> bytes."""
    zero_point, qmin, qmax, scale, bias, constants, subtracted = p[5:]
    lanes = c.target.lanes
    low, high = (v.to(i32).splat(lanes) for v in (qmin, qmax))
    if kind == "fixed":
        epilogue = Epilogue(c, "fixed", zero_point, qmin, qmax)
        return partial(_fixed, epilogue, subtracted.to(i32).splat(lanes), constants)
    if kind == "average":
        return partial(_average, low, high)
    factor, offset = (v.to(i32).bits(f32).splat(lanes) for v in (scale, bias))
    return partial(_affine, c, kind, factor, offset, low, high)


def _fixed(
    epilogue: Epilogue, less: Value, constants: Value, total: Value, pixels: Value, first: Value
) -> Value:
    return epilogue.emit(total - less, epilogue.load(constants, first * 20))


def _average(low: Value, high: Value, total: Value, pixels: Value, first: Value) -> Value:
    """In float32: |sum| + n / 2 is below 2^24, and the quotient, below 2^8, is further from the
    next integer than it is rounded, so that cutting it is exact."""
    count = pixels.to(i32)
    half = (count / 2).splat(total.lanes)
    away = (total > 0).choose(total + half, total - half)
    return (away.to(f32) / count.to(f32).splat(total.lanes)).to(i32).max(low).min(high).to(i8)


def _affine(
    c: Code, kind: str, factor: Value, offset: Value, low: Value, high: Value, total: Value,
    pixels: Value, first: Value,
) -> Value:  # fmt: skip
    real = (total.to(f32) * factor + offset).min(high.to(f32)).max(low.to(f32))
    if kind == "away":
        half = Value(c, c.constant(BELOW_HALF, real.kind))
        real = real + c.intrinsic("copysign", real.kind, half, real)
    else:
        real = real.rint()
    return real.to(i32).to(i8)
