"""The kernels that call kernels: a table of operators run in order, for images, by a team.

A table row is (address of a kernel, its units of work, address of its parameters). What follows is
compiled like any kernel, so that between the operators of a model there is no Python.

runner_images   parameters: rows, table, then copies in and out; units: images. For each image its
                inputs are copied into the arena, the table is run, and its outputs are copied out
runner_team     parameters: rows, table, members, address of a counter; begin is the member's
                number. Each operator's units are shared out, and everybody waits for the slowest
runner_member   parameters: a member's line (team.py). Does the work that is posted there; sleeps
                after a while without any; never returns
runner_wake     parameters: a member's line. Wakes it to look for work
runner_lead     parameters: kernel, its parameters, begin, end, address of a count, members, their
                lines: posts what stands in the lines, calls the kernel, waits for all
"""

from __future__ import annotations

import ctypes
from typing import Any

from llvmlite import ir

from kernels.simd.code import Code, Value, i1, i8, i32, i64, pointer
from kernels.simd.target import Target

ENTRY = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)

ROW = 24  # bytes
COPY = 32  # bytes: outside address, bytes of one image, arena address, bytes to copy
KERNEL = ir.FunctionType(ir.VoidType(), [pointer, i64, i64])
SPINS = 2000  # looks at the counter before the processor is given away
LOOKS = 20_000  # looks for work before a member sleeps, some hundred microseconds
LINE = 64  # bytes that the cache moves together
IDLE, POSTED, ASLEEP = range(3)  # states of a member


def write(name: str, rest: str, target: Target) -> str:
    """LLVM IR of runner_<rest>."""
    c = Code(name, target)
    {
        "images": _images, "team": _team, "member": _member, "wake": _wake, "lead": _lead,
    }[rest](c)  # fmt: skip
    return c.finish()


def _call(c: Code, row: Value, begin: Value, end: Value) -> None:
    _enter(c, c.load(i64, row, 0, 8), c.load(i64, row, 16, 8), begin, end)


def _enter(c: Code, kernel: Value, parameters: Value, begin: Value, end: Value) -> None:
    function = c.b.inttoptr(kernel.it, KERNEL.as_pointer())
    c.b.call(function, [c.b.inttoptr(parameters.it, pointer), begin.it, end.it])


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
    with c.loop(0, rows) as r:
        row = table + r * ROW
        units = c.load(i64, row, 8, 8)
        begin, end = units * member / members, units * (member + 1) / members
        with c.when(begin < end):
            _call(c, row, begin, end)
        c.b.atomic_rmw("add", counter, i64(1), "acq_rel")
        _wait(c, counter, (r + 1) * members)


def _member(c: Code) -> None:
    b, line = c.b, c.p
    state = c.address(line)
    look, work, again, tired, sleep = (
        b.append_basic_block(n) for n in ("look", "work", "again", "tired", "sleep")
    )
    before, byte = b.block, b.alloca(i8)
    b.branch(look)
    b.position_at_end(look)
    looks = b.phi(i64)
    looks.add_incoming(i64(LOOKS), before)
    seen = b.load_atomic(state, "acquire", 8, typ=i64)
    b.cbranch(b.icmp_signed("==", seen, i64(POSTED)), work, again)

    b.position_at_end(again)
    more = b.add(looks, i64(1))
    looks.add_incoming(more, again)
    _pause(c)
    b.cbranch(b.icmp_signed("<", more, i64(LOOKS)), look, tired)

    b.position_at_end(tired)  # unless work was posted just now
    _exchange(c, state, IDLE, ASLEEP)
    slept = b.icmp_signed("==", b.load_atomic(state, "acquire", 8, typ=i64), i64(ASLEEP))
    looks.add_incoming(i64(0), tired)
    b.cbranch(slept, sleep, look)

    b.position_at_end(sleep)
    function = c._declared("read", i64, [i32, pointer, i64])
    b.call(function, [c.load(i64, line, 48, 8).to(i32).it, byte, i64(1)])
    _exchange(c, state, ASLEEP, IDLE)  # a signal woke it
    looks.add_incoming(i64(0), sleep)
    b.branch(look)

    b.position_at_end(work)
    kernel, parameters, begin, end, done = (c.load(i64, line, 8 * i, 8) for i in range(1, 6))
    # Idle before it is done: what is posted behind the last of all must not be lost.
    b.atomic_rmw("xchg", state, i64(IDLE), "acq_rel")
    _enter(c, kernel, parameters, begin, end)
    b.atomic_rmw("add", c.address(done), i64(1), "acq_rel")
    looks.add_incoming(i64(0), b.block)
    b.branch(look)
    b.position_at_end(b.append_basic_block("never"))


def _exchange(c: Code, state: Any, old: int, new: int) -> Value:
    """The state becomes `new` if it is `old`; whether it was."""
    made = c.b.cmpxchg(state, i64(old), i64(new), "acq_rel", "acquire")
    return Value(c, c.b.extract_value(made, 1))


def _ring(c: Code, line: Value) -> None:
    """A byte through the member's pipe; its value means nothing."""
    function = c._declared("write", i64, [i32, pointer, i64])
    c.b.call(function, [c.load(i64, line, 56, 8).to(i32).it, c.address(line), i64(1)])


def _wake(c: Code) -> None:
    line = Value(c, c.b.ptrtoint(c.p, i64))
    with c.when(_exchange(c, c.address(line), ASLEEP, IDLE)):
        _ring(c, line)


def _lead(c: Code) -> None:
    kernel, parameters, begin, end, count, others = c.parameters(6)
    with c.loop(0, others) as i:
        line = c.load(i64, c.p, i * 8 + 48, 8)
        before = c.b.atomic_rmw("xchg", c.address(line), i64(POSTED), "acq_rel")
        with c.when(Value(c, before).equals(ASLEEP)):
            _ring(c, line)
    _enter(c, kernel, parameters, begin, end)
    _wait(c, c.address(count), others)


def _wait(c: Code, counter: Any, until: Value) -> None:
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
        b.call(c._declared("sched_yield", i32, []), [])
    looks.add_incoming(more, b.block)
    b.branch(head)
    b.position_at_end(done)


def _pause(c: Code) -> None:
    """Leaves the core to its other thread for some cycles, where there is an instruction for it."""
    if c.target.needs:
        c.b.call(c._declared("llvm.x86.sse2.pause", ir.VoidType(), []), [])
