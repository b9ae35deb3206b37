"""The kernels that call kernels: a table of operators run in order, for images, by a team.

A table row is (address of a kernel, its units of work, address of its parameters). What follows is
compiled like any kernel, so that between the operators of a model there is no Python.

runner_images   parameters: rows, table, then copies in and out; units: images. For each image its
                inputs are copied into the arena, the table is run, and its outputs are copied out
runner_team     parameters: rows, table, members, address of a counter; begin is the member's
                number. Each operator's units are shared out, and everybody waits for the slowest
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from kernels.simd.code import Code, Value, i1, i32, i64, pointer
from kernels.simd.target import Target

ROW = 24  # bytes
COPY = 32  # bytes: outside address, bytes of one image, arena address, bytes to copy
KERNEL = ir.FunctionType(ir.VoidType(), [pointer, i64, i64])
SPINS = 2000  # looks at the counter before the processor is given away


def write(name: str, rest: str, target: Target) -> str:
    """LLVM IR of runner_images or runner_team."""
    c = Code(name, target)
    {"images": _images, "team": _team}[rest](c)
    return c.finish()


def _call(c: Code, row: Value, begin: Value, end: Value) -> None:
    function = c.b.inttoptr(c.load(i64, row, 0, 8).it, KERNEL.as_pointer())
    parameters = c.b.inttoptr(c.load(i64, row, 16, 8).it, pointer)
    c.b.call(function, [parameters, begin.it, end.it])


def _images(c: Code) -> None:
    rows, table, ins, outs, copies = c.parameters(5)
    zero = c.value(0)
    with c.loop(c.begin, c.end) as image:
        with c.loop(0, ins) as i:
            _copy(c, copies + i * COPY, image, inward=True)
        with c.loop(0, rows) as r:
            row = table + r * ROW
            _call(c, row, zero, c.load(i64, row, 8, 8))
        with c.loop(0, outs) as i:
            _copy(c, copies + (ins + i) * COPY, image, inward=False)


def _copy(c: Code, at: Value, image: Value, inward: bool) -> None:
    outside, stride, inside, size = (c.load(i64, at, 8 * i, 8) for i in range(4))
    there, here = c.address(outside + image * stride), c.address(inside)
    to, source = (here, there) if inward else (there, here)
    name = "llvm.memcpy.p0.p0.i64"
    function = c._declared(name, ir.VoidType(), [pointer, pointer, i64, i1])
    c.b.call(function, [to, source, size.it, i1(0)])


def _team(c: Code) -> None:
    rows, table, members, counter_at = c.parameters(4)
    member = c.begin
    counter = c.address(counter_at)
    yielding = c._declared("sched_yield", i32, [])
    with c.loop(0, rows) as r:
        row = table + r * ROW
        units = c.load(i64, row, 8, 8)
        begin, end = units * member / members, units * (member + 1) / members
        with c.when(begin < end):
            _call(c, row, begin, end)
        c.b.atomic_rmw("add", counter, i64(1), "acq_rel")
        _wait(c, counter, (r + 1) * members, yielding)


def _wait(c: Code, counter: Any, until: Value, yielding: Any) -> None:
    """Until the counter has come so far."""
    b = c.b
    before = b.block
    head, again, done = (b.append_basic_block(n) for n in ("wait", "again", "go"))
    b.branch(head)
    b.position_at_end(head)
    looks = b.phi(i64)
    looks.add_incoming(i64(0), before)
    seen = b.load_atomic(counter, "acquire", 8, typ=i64)
    b.cbranch(b.icmp_signed(">=", seen, until.it), done, again)
    b.position_at_end(again)
    more = b.add(looks, i64(1))
    with b.if_then(b.icmp_signed(">", more, i64(SPINS))):
        b.call(yielding, [])
    looks.add_incoming(more, b.block)
    b.branch(head)
    b.position_at_end(done)
