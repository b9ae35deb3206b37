"""A machine function, written as Python: values with operators, loops as `with` blocks.

    code = Code("triple", target)
    n, x, y = code.parameters("n", "x", "y")
    with code.loop(0, n, 16) as i:
        code.store(code.load(i32x16, x, i * 4) * 3, y, i * 4)

Every function has the signature of a program's kernels: void(int64 *p, int64 begin, int64 end), p
its parameters (numbers and addresses), begin and end the range of its units of work. What is
written is LLVM IR through llvmlite; nothing is compiled here (kernels/simd/build.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from llvmlite import ir

i1, i8, i16, i32, i64 = (ir.IntType(n) for n in (1, 8, 16, 32, 64))
f32, f64 = ir.FloatType(), ir.DoubleType()
pointer = ir.PointerType()


def vector(element: Any, lanes: int) -> Any:
    """The vector type; the element itself for one lane."""
    return ir.VectorType(element, lanes) if lanes > 1 else element


def element_of(kind: Any) -> Any:
    return kind.element if isinstance(kind, ir.VectorType) else kind


def lanes_of(kind: Any) -> int:
    return kind.count if isinstance(kind, ir.VectorType) else 1


class Value:
    """A number or a vector of them inside a Code. Python numbers beside it become constants."""

    __slots__ = ("code", "it")

    def __init__(self, code: Code, it: Any):
        self.code, self.it = code, it

    @property
    def kind(self) -> Any:
        return self.it.type

    @property
    def lanes(self) -> int:
        return lanes_of(self.kind)

    @property
    def floating(self) -> bool:
        return isinstance(element_of(self.kind), (ir.FloatType, ir.DoubleType))

    def _binary(self, other: Any, integer: str, real: str | None) -> Value:
        b = self.code.b
        name = real if self.floating else integer
        assert name is not None, f"{integer} on {self.kind}"
        return Value(self.code, getattr(b, name)(self.it, self.code.constant(other, self.kind)))

    def __add__(self, other: Any) -> Value:
        return self._binary(other, "add", "fadd")

    def __sub__(self, other: Any) -> Value:
        return self._binary(other, "sub", "fsub")

    def __mul__(self, other: Any) -> Value:
        return self._binary(other, "mul", "fmul")

    def __truediv__(self, other: Any) -> Value:
        return self._binary(other, "sdiv", "fdiv")  # of integers: toward zero

    def __mod__(self, other: Any) -> Value:
        return self._binary(other, "srem", None)

    def __lshift__(self, other: Any) -> Value:
        return self._binary(other, "shl", None)

    def __rshift__(self, other: Any) -> Value:
        """Arithmetic: the sign stays."""
        return self._binary(other, "ashr", None)

    def __and__(self, other: Any) -> Value:
        return self._binary(other, "and_", None)

    def __or__(self, other: Any) -> Value:
        return self._binary(other, "or_", None)

    def __xor__(self, other: Any) -> Value:
        return self._binary(other, "xor", None)

    def _compare(self, sign: str, other: Any) -> Value:
        b, right = self.code.b, self.code.constant(other, self.kind)
        compare = b.fcmp_ordered if self.floating else b.icmp_signed
        return Value(self.code, compare(sign, self.it, right))

    def __lt__(self, other: Any) -> Value:
        return self._compare("<", other)

    def __le__(self, other: Any) -> Value:
        return self._compare("<=", other)

    def __gt__(self, other: Any) -> Value:
        return self._compare(">", other)

    def __ge__(self, other: Any) -> Value:
        return self._compare(">=", other)

    def equals(self, other: Any) -> Value:
        return self._compare("==", other)

    def choose(self, yes: Any, no: Any) -> Value:
        """self ? yes : no, by lane; one of them is a Value."""
        kind = (yes if isinstance(yes, Value) else no).kind
        c = self.code
        return Value(c, c.b.select(self.it, c.constant(yes, kind), c.constant(no, kind)))

    def max(self, other: Any) -> Value:
        return self._extreme(other, "maxnum", "smax")

    def min(self, other: Any) -> Value:
        return self._extreme(other, "minnum", "smin")

    def _extreme(self, other: Any, real: str, integer: str) -> Value:
        right = Value(self.code, self.code.constant(other, self.kind))
        return self.code.intrinsic(real if self.floating else integer, self.kind, self, right)

    def rint(self) -> Value:
        """Nearest even, of floats."""
        return self.code.intrinsic("rint", self.kind, self)

    def to(self, element: Any) -> Value:
        """Another element type: integers widen with their sign or keep the low bits; floats to
        integers truncate toward zero."""
        kind, b = vector(element, self.lanes), self.code.b
        old, new = element_of(self.kind), element
        if old == new:
            return self
        real_old, real_new = (isinstance(t, (ir.FloatType, ir.DoubleType)) for t in (old, new))
        if real_old and real_new:
            made = (b.fpext if isinstance(new, ir.DoubleType) else b.fptrunc)(self.it, kind)
        elif real_old:
            made = b.fptosi(self.it, kind)
        elif real_new:
            made = b.sitofp(self.it, kind)
        elif old.width < new.width:
            made = (b.zext if old.width == 1 else b.sext)(self.it, kind)
        else:
            made = b.trunc(self.it, kind)
        return Value(self.code, made)

    def unsigned(self, element: Any) -> Value:
        """Wider integers without sign."""
        return Value(self.code, self.code.b.zext(self.it, vector(element, self.lanes)))

    def bits(self, kind: Any) -> Value:
        """The same bits as another type."""
        return Value(self.code, self.code.b.bitcast(self.it, kind))

    def splat(self, lanes: int) -> Value:
        """This number in every lane."""
        kind = vector(self.kind, lanes)
        b = self.code.b
        first = b.insert_element(ir.Constant(kind, ir.Undefined), self.it, i32(0))
        zeros = ir.Constant(vector(i32, lanes), [0] * lanes)
        return Value(self.code, b.shuffle_vector(first, ir.Constant(kind, ir.Undefined), zeros))

    def shuffle(self, order: Sequence[int], other: Value | None = None) -> Value:
        """Lanes by number; those from self.lanes on are `other`'s."""
        second = ir.Constant(self.kind, ir.Undefined) if other is None else other.it
        picks = ir.Constant(vector(i32, len(order)), [int(i) for i in order])
        return Value(self.code, self.code.b.shuffle_vector(self.it, second, picks))


class Code:
    """One function under construction; `target` says which vector instructions there are."""

    def __init__(self, name: str, target: Any):
        self.name, self.target = name, target
        self.module = ir.Module(name)
        kind = ir.FunctionType(ir.VoidType(), [pointer, i64, i64])
        self.function = ir.Function(self.module, kind, name)
        self.b = ir.IRBuilder(self.function.append_basic_block("entry"))
        self.p, begin, end = self.function.args
        self.begin, self.end = Value(self, begin), Value(self, end)

    def finish(self) -> str:
        """The text of the module."""
        self.b.ret_void()
        return str(self.module)

    def constant(self, value: Any, kind: Any) -> Any:
        """A Value's own llvmlite value; of a number, a constant of the type in every lane."""
        if isinstance(value, Value):
            assert value.kind == kind, f"{value.kind} beside {kind}"
            return value.it
        count = lanes_of(kind)
        return ir.Constant(kind, value) if count == 1 else ir.Constant(kind, [value] * count)

    def lanes_numbered(self, lanes: int, element: Any = i32) -> Value:
        """0, 1, 2, ... in lanes of an integer type."""
        return Value(self, ir.Constant(vector(element, lanes), list(range(lanes))))

    def value(self, number: Any, kind: Any = i64) -> Value:
        return number if isinstance(number, Value) else Value(self, self.constant(number, kind))

    def parameters(self, count: int) -> list[Value]:
        """The first `count` parameters, int64."""
        return [self.load(i64, self.p, i * 8, align=8) for i in range(count)]

    def address(self, base: Any, offset: Any = 0) -> Any:
        """base (an address or a pointer) + offset bytes, as llvmlite's pointer."""
        base = base.it if isinstance(base, Value) else base
        if base.type == i64:
            base = self.b.inttoptr(base, pointer)
        if isinstance(offset, int) and offset == 0:
            return base
        return self.b.gep(base, [self.constant(offset, i64)], source_etype=i8)

    def load(self, kind: Any, base: Any, offset: Any = 0, align: int = 1) -> Value:
        return Value(self, self.b.load(self.address(base, offset), typ=kind, align=align))

    def store(self, value: Value, base: Any, offset: Any = 0, align: int = 1) -> None:
        self.b.store(value.it, self.address(base, offset), align=align)

    def store_some(self, value: Value, mask: Value, base: Any, offset: Any = 0) -> None:
        """Only the lanes whose mask is set. mask: i1 in each lane."""
        at = self.address(base, offset)
        kind = value.kind
        name = f"llvm.masked.store.v{kind.count}{_short(kind.element)}.p0"
        function = self._declared(name, ir.VoidType(), [kind, pointer, i32, mask.kind])
        self.b.call(function, [value.it, at, i32(1), mask.it])

    def store_first(self, value: Value, count: Value, base: Any) -> None:
        """The first `count` lanes (int64; all of them where it is more, none where it is below 1).

        Without masked stores: whole, or in pieces of halving size from a copy on the stack.
        """
        lanes, b = value.lanes, self.b
        if self.target.lanes == 16:
            order = self.lanes_numbered(lanes)
            inside = order < count.min(lanes).to(i32).splat(lanes)
            self.store_some(value, inside, base)
            return
        with b.if_else((count >= lanes).it) as (whole, some):
            with whole:
                self.store(value, base)
            with some, self.when(count > 0):
                with b.goto_entry_block():
                    spare = Value(self, b.alloca(value.kind))
                self.store(value, spare)
                size = element_of(value.kind).width // 8 if not value.floating else 4
                kind, half = element_of(value.kind), lanes // 2
                while half:
                    with self.when((count & half).equals(half)):
                        at = (count & (lanes - 2 * half)) * size
                        piece = self.load(vector(kind, half), spare, at)
                        self.store(piece, base, at)
                    half //= 2

    @contextmanager
    def loop(
        self, start: Any, stop: Any, step: Any = 1, carried: Sequence[Value] = ()
    ) -> Iterator[Any]:
        """for i in range(start, stop, step). Yields i; with `carried` values (i, list), whose
        entries hold them at the start of a turn, are replaced in the body, and hold the last ones
        behind the loop."""
        b = self.b
        start, stop, step = (self.value(v) for v in (start, stop, step))
        before = b.block
        head, body, done = (b.append_basic_block(n) for n in ("head", "body", "done"))
        b.branch(head)
        b.position_at_end(head)
        counter = b.phi(i64)
        counter.add_incoming(start.it, before)
        phis = []
        for value in carried:
            phi = b.phi(value.kind)
            phi.add_incoming(value.it, before)
            phis.append(phi)
        b.cbranch(b.icmp_signed("<", counter, stop.it), body, done)
        b.position_at_end(body)
        state = [Value(self, phi) for phi in phis]
        i = Value(self, counter)
        yield (i, state) if carried else i
        counter.add_incoming(b.add(counter, step.it), b.block)
        for phi, value in zip(phis, state):
            phi.add_incoming(value.it, b.block)
        b.branch(head)
        b.position_at_end(done)
        state[:] = [Value(self, phi) for phi in phis]

    @contextmanager
    def when(self, condition: Value) -> Iterator[None]:
        """The block only if the condition holds."""
        with self.b.if_then(condition.it):
            yield

    def intrinsic(self, name: str, kind: Any, *arguments: Value) -> Value:
        """A generic LLVM intrinsic on values of one type: llvm.<name>.v16f32 and the like."""
        shape = f"v{lanes_of(kind)}" if lanes_of(kind) > 1 else ""
        full = f"llvm.{name}.{shape}{_short(element_of(kind))}"
        return self.instruction(full, kind, *arguments)

    def instruction(self, name: str, kind: Any, *arguments: Value) -> Value:
        """An intrinsic or external function by its full name."""
        function = self._declared(name, kind, [a.kind for a in arguments])
        return Value(self, self.b.call(function, [a.it for a in arguments]))

    def _declared(self, name: str, kind: Any, arguments: Sequence[Any]) -> Any:
        found = self.module.globals.get(name)
        return found or ir.Function(self.module, ir.FunctionType(kind, list(arguments)), name)


def smaller(a: Value, b: Value) -> Value:
    return (a < b).choose(a, b)


def larger(a: Value, b: Value) -> Value:
    return (a > b).choose(a, b)


def folded(v: Value, pick: Callable[[Value, Value], Value]) -> Value:
    """One value of the lanes."""
    size = v.lanes
    while size > 2:
        size //= 2
        v = pick(v.shuffle(range(size, 2 * size)), v.shuffle(range(size)))
    first, second = (Value(v.code, v.code.b.extract_element(v.it, i32(i))) for i in range(2))
    return pick(first, second)


def _short(element: Any) -> str:
    if isinstance(element, ir.IntType):
        return f"i{element.width}"
    return "f32" if isinstance(element, ir.FloatType) else "f64"
