"""RESIZE_BILINEAR in integers (E73).

resize_tenth_<s|u>      weights of 10 bits, half away: the TFLite kernels
resize_eleventh_<s|u>   weights of 11 bits, half up: XNNPACK

Units: rows of the output. Tables of int64: for each row the offsets of the lines above and below
and the weight of the one below, for each column the offsets of the pixels to the left and to the
right and the weight of the one to the right.
"""

from __future__ import annotations

from kernels.simd.code import Code, Value, i8, i32, i64, vector
from kernels.simd.target import Target

LANES = 16
ROW = 24  # bytes
PARAMETERS = ("x", "y", "rows", "columns", "width", "channels")


def write(name: str, rest: str, target: Target) -> str:
    """LLVM IR of the kernel."""
    c = Code(name, target)
    rule, sign = rest.split("_")
    x, y, rows, columns, width, channels = c.parameters(len(PARAMETERS))
    bits = 10 if rule == "tenth" else 11
    one = c.value(1 << bits, i32).splat(LANES)

    def read(base: Value, offset: Value) -> Value:
        found = c.load(vector(i8, LANES), base, offset)
        return found.unsigned(i32) if sign == "u" else found.to(i32)

    with c.loop(c.begin, c.end) as row:
        above, below, wy = (c.load(i64, rows, row * ROW + 8 * i, 8) for i in range(3))
        wy = wy.to(i32).splat(LANES)
        with c.loop(0, width) as column:
            left, right, wx = (c.load(i64, columns, column * ROW + 8 * i, 8) for i in range(3))
            wx = wx.to(i32).splat(LANES)
            to = y + (row * width + column) * channels
            with c.loop(0, channels, LANES) as channel:
                at = x + channel
                top = read(at + above, left) * (one - wx) + read(at + above, right) * wx
                bottom = read(at + below, left) * (one - wx) + read(at + below, right) * wx
                total = top * (one - wy) + bottom * wy
                half = total + (1 << (2 * bits - 1))
                if rule == "tenth":
                    half = half + (total >> 31)
                made = (half >> (2 * bits)).to(i8)
                c.store_first(made, channels - channel, to + channel)
    return c.finish()
