"""What the processor could do at most: dot instructions on registers, nothing else.

peak_dot   parameters: 64 bytes, address of 64 bytes for the sums; units: rounds of `SUMS` dots
"""

from __future__ import annotations

from kernels.simd.code import Code, i8, i16, i32, vector
from kernels.simd.target import Target

SUMS = {16: 24, 8: 12}  # independent sums by lanes: more than an instruction takes to end


def write(name: str, rest: str, target: Target) -> str:
    """LLVM IR of peak_dot."""
    c = Code(name, target)
    given, out = c.parameters(2)
    lanes, group = target.lanes, target.group
    w = c.load(vector(i8, lanes * group), given)
    w = w if group == 4 else w.to(i16 if group == 2 else i32)
    zero = c.value(0, vector(i32, lanes))
    sums = [zero + i for i in range(SUMS[lanes])]
    with c.loop(c.begin, c.end, carried=sums) as (_, state):
        for i, total in enumerate(state):
            # Where a product is an instruction of its own it must not leave the loop.
            x = w if group == 4 else total.bits(w.kind)
            state[i] = target.dot(c, total, x, w)
    total = state[0]
    for other in state[1:]:
        total = total ^ other
    c.store(total, out)
    return c.finish()


def macs(target: Target) -> int:
    """Products in one unit."""
    return SUMS[target.lanes] * target.lanes * target.group
