"""Kernels of operators in which nothing is quantized: float32 in and out.

real_widen             float32 images into float64 ones with a border of zeros; units: lines
real_conv_<R>x<V>      sums of products in float64, in the order of the taps and channels, rounded
                       once (gemm.py's tiles, rows and panels); units: tiles of rows
real_depthwise_<V>     the same for one filter a channel, on float32 images; units: output lines
real_<op>_<steps>      a op b of a broadcast, clamped; op: add, sub, mul; steps: vv, vs or sv, where
                       s stands still; units: as elementwise.py has them
real_clamp             one operand, clamped; units: PIECE elements
real_pool_<max|average>  windows, the mean by a sum in float64; units: as pool.py has them

real_softmax           rows as kernels/ops/softmax.py defines them; units: rows

Products of two float32 numbers are exact in float64, so a fused multiply-add there is the same as
the product and then the sum. What is no number stays so.
"""

from __future__ import annotations

from collections.abc import Callable

from kernels.ops._softmax import INVERSE_FACTORIALS, LN_2, LOG2_E, REACH
from kernels.simd.code import Code, Value, f32, f64, folded, i8, i32, i64, vector
from kernels.simd.copy import memset
from kernels.simd.gemm import store
from kernels.simd.target import Target

LANES = 16
PIECE = 4096  # elements
ROW = 40  # bytes of a unit of two operands: offsets in a, b and y, elements, one unused
WINDOW = 48  # bytes of a unit of a pool: offsets in x and y, rows, columns, channels, one unused
# Vectors a panel -> rows a tile, by the lanes of float64.
ROWS = {8: {1: 12, 2: 12, 3: 8, 4: 6}, 4: {1: 6, 2: 5, 3: 3, 4: 2}}
CONV = (
    "x", "y", "panels", "row_offsets", "segment_offsets", "segments", "steps", "panel_bytes",
    "count", "rows", "row_bytes", "channels", "low", "high",
)  # fmt: skip
DEPTHWISE = (
    "x", "y", "weights", "tap_offsets", "taps", "block_bytes", "count", "line_offsets", "width",
    "column_bytes", "channels", "low", "high",
)  # fmt: skip


def write(name: str, rest: str, target: Target) -> str:
    """LLVM IR of the kernel."""
    c = Code(name, target)
    what, *how = rest.split("_")
    kernels: dict[str, Callable[..., None]] = {
        "widen": _widen, "conv": _conv, "depthwise": _depthwise, "clamp": _clamp, "pool": _pool,
        "softmax": _softmax,
    }  # fmt: skip
    if what in kernels:
        kernels[what](c, *how)
    else:
        _binary(c, what, *how)
    return c.finish()


def lanes(target: Target) -> int:
    """float64 values in a vector."""
    return target.lanes // 2


def shape(target: Target, channels: int, rows: int) -> tuple[int, int]:
    """Rows and vectors of a tile for so many channels."""
    vectors = -(-channels // lanes(target))
    width = min(-(-vectors // -(-vectors // 4)), 4)
    return min(ROWS[lanes(target)][width], rows), width


def _ends(low: Value, high: Value, count: int) -> Callable[[Value], Value]:
    """Clamping between two float32, given as their bits."""
    least, most = (v.to(i32).bits(f32).splat(count) for v in (low, high))

    def clamp(y: Value) -> Value:
        y = (y < least).choose(least, y)
        return (y > most).choose(most, y)

    return clamp


def _plus(c: Code, total: Value, x: Value, w: Value) -> Value:
    """total + x w, where the product is exact."""
    if c.target.name == "portable":  # may have no such instruction
        return total + x * w
    return c.intrinsic("fma", total.kind, x, w, total)


def _widen(c: Code) -> None:
    """Parameters: those of quantize_lines without records, all sizes in elements."""
    x, y, height, size, above, left, right, tall = c.parameters(8)
    border = c.value(0, i8)
    half = lanes(c.target)
    with c.loop(c.begin, c.end) as unit:
        image, line = unit / tall, unit % tall - above
        to = y + unit * (left + size + right) * 8
        with c.b.if_else(((line >= 0) & (line < height)).it) as (yes, no):
            with yes:
                memset(c, to, border, left * 8)
                source, inside = x + (image * height + line) * size * 4, to + left * 8
                whole = size / half * half
                with c.loop(0, whole, half) as i:
                    c.store(c.load(vector(f32, half), source, i * 4, 4).to(f64), inside, i * 8, 8)
                with c.loop(whole, size) as i:
                    c.store(c.load(f32, source, i * 4, 4).to(f64), inside, i * 8, 8)
                memset(c, inside + size * 8, border, right * 8)
            with no:
                memset(c, to, border, (left + size + right) * 8)


def _conv(c: Code, tile: str) -> None:
    """Offsets in bytes. A panel: segments x steps x V vectors of weights, then V of biases."""
    height, width = map(int, tile.split("x"))
    (
        x, y, panels, row_offsets, segment_offsets, segments, steps, panel_bytes, count, rows,
        row_bytes, channels, low, high,
    ) = c.parameters(len(CONV))  # fmt: skip
    half = lanes(c.target)
    wide = vector(f64, half)
    clamp = _ends(low, high, half)
    step_bytes = 8 * half * width
    zero = Value(c, c.constant(0.0, wide))
    with c.loop(c.begin, c.end) as unit:
        row = (unit * height).min(rows - height)
        heads = [x + c.load(i64, row_offsets, (row + r) * 8, 8) for r in range(height)]
        with c.loop(0, count) as panel:
            base = panels + panel * panel_bytes
            column = y + panel * (half * width * 4)
            left = (channels - panel * (half * width)).min(half * width)
            sums = [zero] * (height * width)
            with c.loop(0, segments, carried=[base, *sums]) as (s, outer):
                offset = c.load(i64, segment_offsets, s * 8, 8)
                starts = [head + offset for head in heads]
                with c.loop(0, steps, carried=outer) as (step, state):
                    stream, *totals = state
                    w = [c.load(wide, stream, 8 * half * v, 8) for v in range(width)]
                    for r in range(height):
                        a = c.load(f64, starts[r], step * 8, 8).splat(half)
                        for v in range(width):
                            i = r * width + v
                            totals[i] = _plus(c, totals[i], a, w[v])
                    state[:] = [stream + step_bytes, *totals]
                outer[:] = state
            end, *totals = outer
            bias = [c.load(wide, end, 8 * half * v, 8) for v in range(width)]
            for r in range(height):
                for v in range(width):
                    made = clamp((totals[r * width + v] + bias[v]).to(f32))
                    store(c, made, column + (row + r) * row_bytes, v * half, left, 4)


def _depthwise(c: Code, vectors: str) -> None:
    """Offsets in bytes. A block of V vectors of channels: a bias each, then the taps' weights."""
    together = int(vectors)
    (
        x, y, weights, tap_offsets, taps, block_bytes, count, line_offsets, width, column_bytes,
        channels, low, high,
    ) = c.parameters(len(DEPTHWISE))  # fmt: skip
    half = lanes(c.target)
    wide = vector(f64, half)
    clamp = _ends(low, high, half)
    block = half * together
    zero = Value(c, c.constant(0.0, wide))
    with c.loop(c.begin, c.end) as line:
        start = x + c.load(i64, line_offsets, line * 8, 8)
        to = y + line * width * channels * 4
        with c.loop(0, count) as b:
            base = weights + b * block_bytes
            left = channels - b * block
            with c.loop(0, width) as column:
                at = start + column * column_bytes + b * (block * 4)
                with c.loop(0, taps, carried=[zero] * together) as (t, sums):
                    here = at + c.load(i64, tap_offsets, t * 8, 8)
                    stream = base + (t + 1) * (8 * block)
                    for v in range(together):
                        found = c.load(vector(f32, half), here, 4 * half * v, 4).to(f64)
                        w = c.load(wide, stream, 8 * half * v, 8)
                        sums[v] = _plus(c, sums[v], found, w)
                there = to + (column * channels + b * block) * 4
                for v in range(together):
                    bias = c.load(wide, base, 8 * half * v, 8)
                    store(c, clamp((sums[v] + bias).to(f32)), there, v * half, left, 4)


def _binary(c: Code, op: str, steps: str) -> None:
    """Parameters: a, b, y, units, low, high."""
    a, b, y, units, low, high = c.parameters(6)
    clamp = _ends(low, high, LANES)
    wide = vector(f32, LANES)
    compute: Callable[[Value, Value], Value] = {
        "add": lambda p, q: p + q, "sub": lambda p, q: p - q, "mul": lambda p, q: p * q,
    }[op]  # fmt: skip
    with c.loop(c.begin, c.end) as unit:
        a_at, b_at, y_at, count = (c.load(i64, units, unit * ROW + 8 * i, 8) for i in range(4))

        def operand(at: Value, step: str) -> Callable[[Value], Value]:
            if step == "v":
                return lambda i: c.load(wide, at, i * 4, 4)
            still = c.load(f32, at, 0, 4).splat(LANES)
            return lambda i: still

        one, two = operand(a + a_at * 4, steps[0]), operand(b + b_at * 4, steps[1])
        _along(c, y + y_at * 4, count, lambda i: clamp(compute(one(i), two(i))))


def _along(
    c: Code, y: Value, count: Value, made: Callable[[Value], Value], size: int = LANES
) -> None:
    """y[i] = made(i), `size` at a time."""
    whole = count / size * size
    with c.loop(0, whole, size) as i:
        c.store(made(i), y, i * 4, 4)
    with c.when(whole < count):
        c.store_first(made(whole), count - whole, y + whole * 4)


def _clamp(c: Code) -> None:
    """Parameters: x, y, elements, low, high."""
    x, y, count, low, high = c.parameters(5)
    clamp = _ends(low, high, LANES)
    first, last = (c.begin * PIECE).min(count), (c.end * PIECE).min(count)
    source = x + first * 4
    wide = vector(f32, LANES)
    _along(c, y + first * 4, last - first, lambda i: clamp(c.load(wide, source, i * 4, 4)))


def _pool(c: Code, what: str) -> None:
    """Parameters: x, y, units, bytes from row to row, from column to column, low, high."""
    x, y, units, row_bytes, column_bytes, low, high = c.parameters(7)
    half = lanes(c.target)
    clamp = _ends(low, high, half)
    narrow, wide = vector(f32, half), vector(f64, half)
    start = Value(c, c.constant(-float("inf"), narrow) if what == "max" else c.constant(0.0, wide))

    def take(total: Value, found: Value) -> Value:
        if what == "max":
            return c.intrinsic("maximum", narrow, total, found)
        return total + found.to(f64)

    def window(at: Value, rows: Value, columns: Value) -> Value:
        with c.loop(0, rows, carried=[start]) as (row, outer):
            line = at + row * row_bytes
            with c.loop(0, columns, carried=outer) as (column, inner):
                inner[0] = take(inner[0], c.load(narrow, line, column * column_bytes, 4))
            outer[:] = inner
        total = outer[0]
        if what == "average":
            total = (total / (rows * columns).to(f64).splat(half)).to(f32)
        return clamp(total)

    with c.loop(c.begin, c.end) as unit:
        source, to, rows, columns, channels = (
            c.load(i64, units, unit * WINDOW + 8 * i, 8) for i in range(5)
        )
        with c.loop(0, channels, half) as channel:
            made = window(x + (source + channel) * 4, rows, columns)
            c.store_first(made, channels - channel, y + (to + channel) * 4)


def _softmax(c: Code) -> None:
    """Parameters: x, y, elements of a row, beta."""
    x, y, length, beta = c.parameters(4)
    half = lanes(c.target)
    narrow = vector(f32, half)
    factor = beta.to(i32).bits(f32).splat(half)
    least = Value(c, c.constant(-float("inf"), narrow))
    whole = length / half * half
    inside = c.lanes_numbered(half) < (length - whole).to(i32).splat(half)
    with c.loop(c.begin, c.end) as row:
        source, to = x + row * length * 4, y + row * length * 4

        def larger(a: Value, b: Value) -> Value:
            return c.intrinsic("maximum", a.kind, a, b)

        def wide(base: Value, i: Value) -> Value:
            return c.load(narrow, base, i * 4, 4)

        with c.loop(0, whole, half, carried=[least]) as (i, found):
            found[0] = larger(found[0], wide(source, i))
        most = larger(found[0], inside.choose(wide(source, whole), least))
        most = folded(most, larger).splat(half)

        def power(i: Value) -> Value:
            return _exponential(c, (wide(source, i) - most) * factor)

        _along(c, to, length, power, half)
        with c.loop(0, length, carried=[c.value(0.0, f64)]) as (i, total):
            total[0] = total[0] + c.load(f32, to, i * 4, 4).to(f64)
        divisor = total[0].to(f32).splat(half)
        _along(c, to, length, lambda i: wide(to, i) / divisor, half)


def _exponential(c: Code, x: Value) -> Value:
    """kernels.ops._softmax.exponential, operation by operation."""
    far = c.intrinsic("copysign", x.kind, Value(c, c.constant(REACH, x.kind)), x)
    near = c.intrinsic("fabs", x.kind, x) < REACH
    v = near.choose(x, far).to(f64)
    known = x.equals(x)  # not so of what is no number
    v = known.choose(v, 0.0)
    n = (v * LOG2_E).rint()
    rest = (v - n * LN_2[0]) - n * LN_2[1]
    y = Value(c, c.constant(INVERSE_FACTORIALS[-1], rest.kind))
    for factor in INVERSE_FACTORIALS[-2::-1]:
        y = y * rest + factor
    scale = ((n.to(i32).to(i64) + 1023) << 52).bits(rest.kind)
    return known.choose((y * scale).to(f32), x)
