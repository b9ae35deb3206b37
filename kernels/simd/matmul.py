"""A computed right side of a matrix product, packed at run time for the matrix kernel (gemm.py).

matmul_<V>_n   from (depth, units), as BATCH_MATMUL has it        V: vectors a panel
matmul_<V>_t   from (units, depth)

A panel starts as a copy of a template, which gemm.pack made of zeros: it has the constants of the
output stage, and for a zero point of the right side further segments of constant weights, which
meet the same activations again. The weights of the first segment are written into it, and what they
owe to the zero point of the left side is added to its sums.

Units: rows of a table of int64: offset of the matrix, first unit (output channel), offset of the
panel, and of its template.
"""

from __future__ import annotations

from kernels.simd.code import Code, Value, i8, i16, i32, i64, vector
from kernels.simd.copy import memcpy
from kernels.simd.target import Target

ROW = 32  # bytes
PARAMETERS = ("w", "panels", "templates", "table", "panel_bytes", "depth", "units", "steps", "less")


def write(name: str, rest: str, target: Target) -> str:
    """LLVM IR of the kernel."""
    c = Code(name, target)
    width, order = rest.split("_")
    vectors, lanes = int(width), target.lanes
    w, panels, templates, table, size, depth, units, steps, less = c.parameters(len(PARAMETERS))
    step_bytes = vectors * lanes * target.group
    wide = {4: i8, 2: i16, 1: i32}[target.group]
    ones = Value(c, c.constant(1, vector(wide, lanes * target.group)))
    zero = c.value(0, i32).splat(lanes)
    read = _down if order == "n" else _across
    with c.loop(c.begin, c.end) as unit:
        row = (c.load(i64, table, unit * ROW + 8 * i, 8) for i in range(4))
        matrix, first, panel, template = row
        panel = panels + panel
        memcpy(c, panel, templates + template, size)
        for v in range(vectors):
            with c.loop(0, steps, carried=[zero]) as (s, sums):
                found = read(c, w + matrix, first + v * lanes, s, depth, units)
                at = s * step_bytes + 4 * lanes * vectors + v * lanes * target.group
                c.store(found, panel, at)
                sums[0] = target.dot(c, sums[0], ones, found.to(wide))
            owed = sums[0] * less.to(i32).splat(lanes)
            c.store(c.load(zero.kind, panel, 4 * lanes * v) - owed, panel, 4 * lanes * v)
    return c.finish()


def _down(c: Code, w: Value, unit: Value, step: Value, depth: Value, units: Value) -> Value:
    """`group` rows of w (depth, units), interleaved."""
    lanes, group = c.target.lanes, c.target.group
    rows = []
    for g in range(group):
        k = step * group + g
        here = c.load(vector(i8, lanes), w + k.min(depth - 1) * units + unit)
        there = (k < depth).splat(lanes)
        rows.append(there.choose(here, Value(c, c.constant(0, here.kind))))
    while len(rows) > 1:  # 0 and 2, 1 and 3, then both
        half = len(rows) // 2
        n = rows[0].lanes
        both = [j for i in range(n) for j in (i, n + i)]
        rows = [a.shuffle(both, b) for a, b in zip(rows[:half], rows[half:])]
    return rows[0]


def _across(c: Code, w: Value, unit: Value, step: Value, depth: Value, units: Value) -> Value:
    """`group` bytes of each row of w (units, depth)."""
    lanes, group = c.target.lanes, c.target.group
    kind = {4: i32, 2: i16, 1: i8}[group]
    at = step * group
    left = ((depth - at) * 8).min(8 * group)
    mask = ((c.value(1) << left) - 1).to(kind)
    found = Value(c, c.constant(0, vector(kind, lanes)))
    for lane in range(lanes):
        one = c.load(kind, w + (unit + lane).min(units - 1) * depth + at) & mask
        found = Value(c, c.b.insert_element(found.it, one.it, i32(lane)))
    return found.bits(vector(i8, lanes * group))
