"""What the processor can do: four kinds of vector code, and how each multiplies bytes.

avx512vnni, avxvnni  vpdpbusd: four products of an unsigned and a signed byte into each int32 lane
avx2                 vpmaddwd: two products of int16 into each lane
portable             one product a lane, left to LLVM: runs anywhere (on ARM untested)

All are exact: no step saturates. `host()` picks the best that the processor has; the environment
variable QCORE_SIMD, or `use`, names another (tests run all that the machine can).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache

from kernels.errors import KernelError
from kernels.simd.code import Code, Value, i8, i16, i32, i64, vector


@dataclass(frozen=True)
class Target:
    """lanes: int32 values in a vector.  group: bytes of the inner dimension that one dot takes.
    flip: what is added to activations to make them unsigned (128), else 0.
    needs: processor features, as LLVM names them.  cpu, features: what is compiled for; "" for the
    host's own."""

    name: str
    lanes: int
    group: int
    flip: int
    needs: tuple[str, ...]
    cpu: str = ""
    features: str = ""

    @property
    def permutes(self) -> bool:
        """Whether there is a table look-up of 128 bytes in one instruction (VBMI)."""
        return self.lanes == 16 and "avx512vbmi" in _features()

    def dot(self, code: Code, total: Value, x: Value, w: Value) -> Value:
        """total (lanes of int32) + the products of x and w in groups."""
        if self.group == 4:
            bits = 32 * self.lanes
            name = f"llvm.x86.avx512.vpdpbusd.{bits}"
            return code.instruction(name, total.kind, total, x, w)
        if self.group == 2:
            return total + code.instruction("llvm.x86.avx2.pmadd.wd", total.kind, x, w)
        return total + x * w

    def broadcast(
        self, code: Code, base: object, offset: object, flip: Value | None, halves: int = 1
    ) -> Value:
        """`group` bytes of one row of activations, for every lane, as `dot` takes them. halves: 2
        for twice as many bytes, which even and odd lanes share."""
        if self.group == 4:
            four = code.load(i32 if halves == 1 else i64, base, offset).splat(self.lanes // halves)
            assert flip is not None
            return four.bits(vector(i8, 4 * self.lanes)) ^ flip
        if self.group == 2:
            two = code.load(i16, base, offset).splat(self.lanes)
            return two.bits(vector(i8, 2 * self.lanes)).to(i16)
        return code.load(i8, base, offset).to(i32).splat(self.lanes)

    def flipper(self, code: Code, constants: object) -> Value | None:
        """The mask that `broadcast` needs, loaded from `constants`.

        From memory and not a constant: LLVM 22 does not end when it folds a constant into the
        broadcast, and folds a loaded one into the instruction for nothing.
        """
        return code.load(vector(i8, 4 * self.lanes), constants, align=64) if self.flip else None

    def weights(self, code: Code, base: object, offset: object) -> Value:
        """`lanes` x `group` packed weights, as `dot` takes them."""
        found = code.load(vector(i8, self.lanes * self.group), base, offset, align=self.lanes)
        return found if self.group == 4 else found.to(i16 if self.group == 2 else i32)


TARGETS = {
    t.name: t
    for t in (
        Target("avx512vnni", 16, 4, 128, ("avx512vnni", "avx512bw", "avx512vl")),
        Target("avxvnni", 8, 4, 128, ("avxvnni",), "haswell", "+avxvnni"),
        Target("avx2", 8, 2, 0, ("avx2",), "haswell"),
        Target("portable", 8, 1, 0, (), "generic"),
    )
}


@cache
def _features() -> frozenset[str]:
    import llvmlite.binding as llvm

    return frozenset(name for name, there in llvm.get_host_cpu_features().items() if there)


def available() -> tuple[str, ...]:
    """Names of the targets that this processor runs, the best first."""
    return tuple(t.name for t in TARGETS.values() if set(t.needs) <= _features())


_chosen: ContextVar[str | None] = ContextVar("target", default=None)


@contextmanager
def use(name: str) -> Iterator[None]:
    """Inside the block, that target. Raises KernelError for one that cannot run here."""
    host_or_named(name)
    token = _chosen.set(name)
    try:
        yield
    finally:
        _chosen.reset(token)


def host() -> Target:
    """The target in use: `use`, else QCORE_SIMD, else the best there is."""
    name = _chosen.get() or os.environ.get("QCORE_SIMD")
    return host_or_named(name or available()[0])


def host_or_named(name: str) -> Target:
    if name not in TARGETS:
        raise KernelError(f"no vector code is called {name!r}; there is {', '.join(TARGETS)}")
    if name not in available():
        raise KernelError(
            f"this processor has no {name}; it runs {', '.join(available())} (QCORE_SIMD)"
        )
    return TARGETS[name]
