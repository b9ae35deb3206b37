"""Kernels that move bytes.

copy_pad         an image into another with a border of one value around it; units: rows with border
copy_runs        runs of bytes from one place to another, offsets from a table; units: runs
copy_runs<N>     the same, runs of N bytes
copy_gather<N>   elements of N bytes by a table of offsets; units: GATHERED elements
copy_turn        bytes (rows, columns) -> (columns, rows), of several matrices; units: 16 columns
"""

from __future__ import annotations

from llvmlite import ir

from kernels.simd.code import Code, Value, i1, i8, i16, i32, i64, pointer, vector
from kernels.simd.target import Target

GATHERED = 512  # elements of a gather that are one unit
ELEMENTS = {1: i8, 2: i16, 4: i32, 8: i64}


def write(name: str, rest: str, target: Target) -> str:
    """LLVM IR of the kernel."""
    c = Code(name, target)
    if rest == "pad":
        _pad(c)
    elif rest == "turn":
        _turn(c)
    elif rest.startswith("runs"):
        _runs(c, int(rest.removeprefix("runs") or 0))
    else:
        _gather(c, int(rest.removeprefix("gather")))
    return c.finish()


def memcpy(c: Code, to: Value, source: Value, size: Value) -> None:
    function = c._declared("llvm.memcpy.p0.p0.i64", ir.VoidType(), [pointer, pointer, i64, i1])
    c.b.call(function, [c.address(to), c.address(source), size.it, i1(0)])


def memset(c: Code, to: Value, value: Value, size: Value) -> None:
    function = c._declared("llvm.memset.p0.i64", ir.VoidType(), [pointer, i8, i64, i1])
    c.b.call(function, [c.address(to), value.it, size.it, i1(0)])


def _pad(c: Code) -> None:
    """Parameters: x, y, rows of x, bytes of a row, border above, left and right in bytes, value,
    rows of y in one image."""
    x, y, rows, size, above, left, right, value, padded = c.parameters(9)
    border = value.to(i8)
    whole = left + size + right
    with c.loop(c.begin, c.end) as row:
        to = y + row * whole
        image, inner = row / padded, row % padded - above
        inside = (inner >= 0) & (inner < rows)
        with c.b.if_else(inside.it) as (yes, no):
            with yes:
                memset(c, to, border, left)
                memcpy(c, to + left, x + (image * rows + inner) * size, size)
                memset(c, to + left + size, border, right)
            with no:
                memset(c, to, border, whole)


def _runs(c: Code, fixed: int) -> None:
    """Parameters: x, y, int64 table of (from, to), bytes of a run (where not `fixed`)."""
    x, y, table, size = c.parameters(4)
    with c.loop(c.begin, c.end) as run:
        source, to = x + c.load(i64, table, run * 16, 8), y + c.load(i64, table, run * 16 + 8, 8)
        if fixed:
            kind = ELEMENTS.get(fixed) or vector(i8, fixed)
            c.store(c.load(kind, source), to)
        else:
            memcpy(c, to, source, size)


def _gather(c: Code, size: int) -> None:
    """Parameters: x, y, int32 table of offsets in bytes, elements."""
    x, y, table, count = c.parameters(4)
    last = (c.end * GATHERED).min(count)
    first = (c.begin * GATHERED).min(count)
    fast = first + (last - first) / 8 * 8

    def move(i: Value) -> None:
        source = c.load(i32, table, i * 4, 4).to(i64)
        c.store(c.load(ELEMENTS[size], x, source), y, i * size)

    with c.loop(first, fast, 8) as i:
        for k in range(8):
            move(i + k)
    with c.loop(fast, last) as i:
        move(i)


def _turn(c: Code) -> None:
    """Parameters: x, y, int64 table of units (offset in x, offset in y, columns), rows, bytes from
    one row of x to the next. Blocks of 16 x 16: four rounds in which rows are interleaved."""
    x, y, table, rows, stride = c.parameters(5)
    both = [j for i in range(16) for j in (i, 16 + i)]
    with c.loop(c.begin, c.end) as unit:
        source, to, columns = (c.load(i64, table, unit * 24 + 8 * i, 8) for i in range(3))
        with c.loop(0, rows, 16) as row:
            lines = [
                c.load(vector(i8, 16), x + source, (row + r).min(rows - 1) * stride)
                for r in range(16)
            ]
            for _ in range(4):
                pairs = [lines[i].shuffle(both, lines[i + 8]) for i in range(8)]
                lines = [p.shuffle(range(k, k + 16)) for p in pairs for k in (0, 16)]
            for column, line in enumerate(lines):
                with c.when(columns > column):
                    c.store_first(line, rows - row, y + to + rows * column + row)
