"""Operators of two broadcast operands: ADD to RIGHT_SHIFT, comparisons, SELECT, ADD_N."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from kernels.call import Call, Tensor, options
from qcore.testing.cases import cases
from qcore.testing.draw import Draw

WIDE = ("int8", "int16", "uint8")
Shape = tuple[int, ...]


def full(draw: Draw, size: int, rank: int = 6) -> Shape:
    """An output shape of at most `rank` axes."""
    rank = draw.choice([0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 6]) if rank > 4 else draw.integer(0, rank)
    return draw.shape(rank, size)


def pair(draw: Draw, size: int, broadcast: int = 6) -> tuple[Shape, Shape]:
    """Two shapes that broadcast; if they differ, over at most `broadcast` axes."""
    out = full(draw, size)
    if draw.chance(0.25):
        return out, out
    out = out[-broadcast:]
    while len(out) and math.prod(out) < size // 3 and len(out) < broadcast:
        out = (min(size // math.prod(out), 40), *out)
    kind = draw.integer(0, 4)
    if kind == 0:  # a scalar, without axes or with some
        a, b = out, (1,) * draw.integer(0, len(out))
    elif kind == 1:  # the last axes
        a, b = out, out[draw.integer(0, len(out)) :]
    elif kind == 2:  # all but the last axes, which stand still
        cut = draw.integer(0, len(out))
        a, b = out, out[:cut] + (1,) * (len(out) - cut)
    else:  # anything, in both
        odds = draw.choice([[0.4, 0.3, 0.3], [0.7, 0.3, 0.0], [0.1, 0.45, 0.45]])
        kinds = draw.random.choice(3, len(out), p=odds)
        a = tuple(1 if k == 1 else n for k, n in zip(kinds, out, strict=True))
        b = tuple(1 if k == 2 else n for k, n in zip(kinds, out, strict=True))
    if draw.chance(0.3):
        while b and b[0] == 1:
            b = b[1:]
    return (a, b) if draw.chance() else (b, a)


def operands(
    draw: Draw, dtype: str, a: Shape, b: Shape, low: float = 1e-3, high: float = 0.5
) -> tuple[Tensor, Tensor]:
    """Two quantized operands; one of them is now and then a constant."""
    fixed = draw.integer(0, 4)
    first, second = fixed == 0 and not _loses(a, b), fixed == 1 and not _loses(b, a)
    one = draw.tensor(dtype, a, scale=draw.scale(low, high), constant=first)
    two = draw.tensor(dtype, b, scale=draw.scale(low, high), constant=second)
    return one, two


def _loses(constant: Shape, other: Shape) -> bool:
    """Whether XNNPACK forgets the rank of this constant (runtime bug xnnpack-lost-rank)."""
    return math.prod(constant) == 1 and len(constant) > len(other)


def same(draw: Draw, tensor: Tensor, shape: Shape) -> Tensor:
    """Another tensor with the parameters of this one."""
    return draw.tensor(tensor.dtype, shape, scale=tensor.s, zero_point=tensor.z)


def numbers(draw: Draw, dtype: str, shape: Shape, positive: bool = False) -> np.ndarray:
    """Plain numbers: small ones, and now and then the whole type."""
    if dtype == "bool":
        return draw.random.random(shape) < 0.5
    if dtype == "float32":
        return np.asarray(draw.floats(shape), np.float32)
    ends = np.iinfo(dtype)
    lo, hi = (ends.min, ends.max) if draw.chance(0.4) else (-20, 20)
    lo = 0 if positive else max(lo, ends.min)
    return np.asarray(draw.random.integers(lo, hi, shape, dtype, endpoint=True))


def plain(draw: Draw, dtype: str, shape: Shape, constant: bool = False, **kind: bool) -> Tensor:
    return Tensor(dtype, numbers(draw, dtype, shape, **kind), constant=constant)


def result(dtype: str, *shapes: Shape) -> Tensor:
    return Tensor(dtype, declared=np.broadcast_shapes(*shapes))


def sum_scale(draw: Draw, a: Tensor, b: Tensor, left: int) -> np.float32:
    """An output scale for which ADD has an answer, often close to where it has not."""
    twice = 2 * float(max(a.s, b.s))
    if draw.chance(0.15):
        return np.float32(twice / 2**left / draw.choice([0.97, 0.5, 0.3, 0.2]))
    if draw.chance(0.1):
        return np.float32(twice * 2.0 ** draw.integer(2, 12))
    return max(draw.scale(1e-3, 2), np.float32(twice / 2**left * 1.5))


@cases("ADD", "int8", "int16", "uint8", "int16, power of two")
def add(draw: Draw, form: str, size: int) -> Call:
    return _sum("ADD", draw, form, size)


@cases("SUB", "int8", "int16", "uint8", "int16, power of two")
def sub(draw: Draw, form: str, size: int) -> Call:
    return _sum("SUB", draw, form, size)


def _sum(name: str, draw: Draw, form: str, size: int) -> Call:
    a, b = pair(draw, size)
    flag, activation = False, draw.integer(0, 3)
    if form == "int16, power of two":
        if name == "ADD":
            b = a  # the runtime aborts on a broadcast
        power = draw.integer(-14, -2)
        less = draw.choice([0, 1, 2, 3, 7, 15, 16, 17])
        powers = [power, power - less]
        draw.random.shuffle(powers)
        off = np.float32(draw.choice([1, 1, 1.0004]))  # still counts as a power of two
        one, two = (draw.tensor("int16", s, scale=2.0**p) for s, p in zip((a, b), powers))
        y = draw.output("int16", scale=np.float32(2.0**power) * off)
        flag = True
    else:
        one, two = operands(draw, form, a, b)
        if draw.chance(0.1):
            two = draw.tensor(form, b, scale=one.s * np.float32(2.0 ** draw.integer(-26, -9)))
        y = draw.output(form, scale=sum_scale(draw, one, two, 15 if form == "int16" else 20))
        if name == "SUB" and draw.chance(0.05):  # beyond, where the difference keeps its sign only
            y = draw.output(form, scale=np.float32(y.s * 2.0 ** draw.integer(-110, -22)))
            activation = activation % 2  # 6 would leave int32
    given = {"fused_activation_function": activation}
    if form.startswith("int16"):
        given["pot_scale_int16"] = flag
    return Call(
        name, (one, two), (Tensor(y.dtype, None, y.scale, y.zero_point, declared=_out(a, b)),),
        options(**given),
    )  # fmt: skip


def _out(*shapes: Shape) -> Shape:
    return np.broadcast_shapes(*shapes)


@cases("MUL", *WIDE)
def mul(draw: Draw, form: str, size: int) -> Call:
    a, b = pair(draw, size)
    one, two = operands(draw, form, a, b)
    ratio = draw.choice([0.01, 0.004, 0.02, 1, 3, 0.2]) if form != "int16" else 3e-5
    scale = draw.scale(1e-3, 2)
    if draw.chance(0.6):
        scale = np.float32(float(one.s) * float(two.s) / ratio)
    elif draw.chance(0.15):
        scale = np.float32(float(one.s) * float(two.s) * 2.0 ** draw.integer(-14, 18))
    activation = draw.integer(0, 3)
    if draw.chance(0.04):  # shifts of 32 and more
        scale = np.float32(float(one.s) * float(two.s) * 2.0 ** draw.integer(-110, -28))
        activation = activation % 2  # 6 would leave int32
    return Call(
        "MUL", (one, two), (draw.output(form, _out(a, b), scale=scale),),
        options(fused_activation_function=activation),
    )  # fmt: skip


@cases("SQUARED_DIFFERENCE", "int8")
def squared_difference(draw: Draw, form: str, size: int) -> Call:
    a, b = pair(draw, size)
    one, two = operands(draw, form, a, b)
    twice = 2 * float(max(one.s, two.s))
    scale = max(draw.scale(1e-3, 4), np.float32(twice * twice / 2**14 * 1.1))
    return Call("SQUARED_DIFFERENCE", (one, two), (draw.output(form, _out(a, b), scale=scale),))


@cases("DIV", *WIDE)
def div(draw: Draw, form: str, size: int) -> Call:
    a, b = pair(draw, size, broadcast=5)
    one, two = operands(draw, form, a, b)
    # Neither runtime may see what it takes for a zero: the integer 0 in one, the real 0 in both.
    bad = (two.x == 0) | (two.x == two.z)
    good = np.asarray(two.z + (11 if two.z in (-11, 100) or two.z <= 100 else -11))
    if int(good) == 0:
        good = np.asarray(two.z + 12)
    data = np.where(bad, good, two.x).astype(two.x.dtype)
    two = Tensor(form, data, two.scale, two.zero_point, constant=two.constant)
    scale = draw.scale(1e-3, 4)
    if draw.chance(0.5):
        scale = np.float32(float(one.s) / float(two.s) * draw.choice([0.01, 0.1, 1, 2, 0.5, 20]))
    return Call(
        "DIV", (one, two), (draw.output(form, _out(a, b), scale=scale),),
        options(fused_activation_function=draw.integer(0, 3)),
    )  # fmt: skip


@cases("PRELU", *WIDE)
def prelu(draw: Draw, form: str, size: int) -> Call:
    x = full(draw, size)
    alpha = x
    if draw.chance(0.8):
        x = x[-4:]
        alpha = tuple(n if draw.chance(0.4) else 1 for n in x)
        alpha = alpha if draw.chance() else x[draw.integer(0, len(x)) :]
    dtype = "int8" if form == "int16" else form
    one = draw.tensor(form, x)
    two = draw.tensor(
        dtype, alpha, scale=draw.scale(1e-3, 0.05), constant=draw.chance(0.8),
        zero_point=0 if form == "int16" or (dtype == "int8" and draw.chance()) else None,
    )  # fmt: skip
    return Call("PRELU", (one, two), (draw.output(form, x, scale=draw.scale(1e-3, 1)),))


@cases("MAXIMUM", *WIDE, "plain")
def maximum(draw: Draw, form: str, size: int) -> Call:
    return _integers("MAXIMUM", draw, form, size, 5, ["int32", "int64", "float32"])


@cases("MINIMUM", *WIDE, "plain")
def minimum(draw: Draw, form: str, size: int) -> Call:
    return _integers("MINIMUM", draw, form, size, 5, ["int32", "int64", "float32"])


@cases("BITWISE_XOR", *WIDE, "plain")
def bitwise_xor(draw: Draw, form: str, size: int) -> Call:
    return _integers("BITWISE_XOR", draw, form, size, 4, ["int32", "uint32"])


@cases("RIGHT_SHIFT", *WIDE, "plain")
def right_shift(draw: Draw, form: str, size: int) -> Call:
    return _integers("RIGHT_SHIFT", draw, form, size, 4, ["int32", "uint32"])


def _integers(
    name: str, draw: Draw, form: str, size: int, broadcast: int, kinds: list[str]
) -> Call:
    """An operator that takes integers as they are."""
    a, b = pair(draw, size, broadcast)
    if form == "plain":
        dtype = draw.choice(kinds)
        return Call(name, (plain(draw, dtype, a), plain(draw, dtype, b)), (result(dtype, a, b),))
    one = draw.tensor(form, a)
    two = same(draw, one, b)
    return Call(name, (one, two), (draw.output(form, _out(a, b), one.s, one.z),))


@cases("FLOOR_DIV", "int8", "int16", "plain")
def floor_div(draw: Draw, form: str, size: int) -> Call:
    return _divided("FLOOR_DIV", draw, form, size, ["int32", "int32", "float32"])


@cases("FLOOR_MOD", "int8", "int16", "plain")
def floor_mod(draw: Draw, form: str, size: int) -> Call:
    return _divided("FLOOR_MOD", draw, form, size, ["int32", "int64", "float32"])


def _divided(name: str, draw: Draw, form: str, size: int, kinds: list[str]) -> Call:
    call = _integers(name, draw, form, size, 4, kinds)
    one, two = call.inputs
    assert one is not None and two is not None
    data = np.where(two.x == 0, np.ones((), two.x.dtype), two.x)
    if data.dtype.kind == "i":  # the least integer over -1 stops the process
        data = np.where(data == -1, np.asarray(3, data.dtype), data)
    return call.on(
        inputs=(one, Tensor(two.dtype, np.asarray(data), two.scale, two.zero_point)),
        version=0 if form != "plain" else {"FLOOR_DIV": 2, "FLOOR_MOD": 1}[name],
    )


@cases("ADD", "plain")
def add_plain(draw: Draw, form: str, size: int) -> Call:
    return _arithmetic("ADD", draw, size, 6, ["int32", "int64", "float32"])


@cases("SUB", "plain")
def sub_plain(draw: Draw, form: str, size: int) -> Call:
    return _arithmetic("SUB", draw, size, 6, ["int32", "int64", "float32"])


@cases("MUL", "plain")
def mul_plain(draw: Draw, form: str, size: int) -> Call:
    return _arithmetic("MUL", draw, size, 6, ["int32", "int64", "float32"])


@cases("SQUARED_DIFFERENCE", "plain")
def squared_difference_plain(draw: Draw, form: str, size: int) -> Call:
    call = _arithmetic("SQUARED_DIFFERENCE", draw, size, 4, ["int32", "float32"])
    return call.on(options=options())


@cases("DIV", "plain")
def div_plain(draw: Draw, form: str, size: int) -> Call:
    call = _arithmetic("DIV", draw, size, 5, ["int32", "float32"])
    one, two = call.inputs
    assert one is not None and two is not None
    bad = (two.x == 0) | (two.x == -1)
    data = np.asarray(np.where(bad, np.asarray(3, two.x.dtype), two.x))
    return call.on(inputs=(one, Tensor(two.dtype, data)))


def _arithmetic(name: str, draw: Draw, size: int, broadcast: int, kinds: list[str]) -> Call:
    a, b = pair(draw, size, broadcast)
    dtype = draw.choice(kinds)
    return Call(
        name, (plain(draw, dtype, a), plain(draw, dtype, b)), (result(dtype, a, b),),
        options(fused_activation_function=draw.integer(0, 3)),
    )  # fmt: skip


@cases("EQUAL", *WIDE, "plain")
def equal(draw: Draw, form: str, size: int) -> Call:
    return _compared("EQUAL", draw, form, size)


@cases("NOT_EQUAL", *WIDE, "plain")
def not_equal(draw: Draw, form: str, size: int) -> Call:
    return _compared("NOT_EQUAL", draw, form, size)


@cases("LESS", *WIDE, "plain")
def less(draw: Draw, form: str, size: int) -> Call:
    return _compared("LESS", draw, form, size)


@cases("LESS_EQUAL", *WIDE, "plain")
def less_equal(draw: Draw, form: str, size: int) -> Call:
    return _compared("LESS_EQUAL", draw, form, size)


@cases("GREATER", *WIDE, "plain")
def greater(draw: Draw, form: str, size: int) -> Call:
    return _compared("GREATER", draw, form, size)


@cases("GREATER_EQUAL", *WIDE, "plain")
def greater_equal(draw: Draw, form: str, size: int) -> Call:
    return _compared("GREATER_EQUAL", draw, form, size)


def _compared(name: str, draw: Draw, form: str, size: int) -> Call:
    a, b = pair(draw, size, broadcast=4)
    if form == "plain":
        kinds = ["int32", "int64", "float32", "bool"]
        dtype = draw.choice(kinds if name in ("EQUAL", "NOT_EQUAL") else kinds[:3])
        return Call(name, (plain(draw, dtype, a), plain(draw, dtype, b)), (result("bool", a, b),))
    low = 2e-5 if form == "int16" else 1e-3
    one, two = operands(draw, form, a, b, low, 0.9)
    if draw.chance(0.1) and not draw.ties:  # above 1 only the sign is left; at 1 there is an abort
        one, two = operands(draw, form, a, b, 1.001, 100)
    if draw.chance(0.4):
        two = same(draw, one, b)
    elif draw.chance(0.4):
        two = draw.tensor(form, b, scale=one.s * np.float32(draw.choice([0.5, 0.999, 0.25, 0.75])))
    one, two = (
        replace(t, scale=np.where(t.scales == 1, np.float32(0.5), t.scales)) for t in (one, two)
    )
    version = {"EQUAL": 5, "NOT_EQUAL": 4, "LESS": 3}.get(name, 1) if form == "int16" else 0
    return Call(name, (one, two), (result("bool", a, b),), version=version)


@cases("SELECT", *WIDE, "plain")
def select(draw: Draw, form: str, size: int) -> Call:
    out = full(draw, size)
    kind = draw.integer(0, 2)
    condition = out if kind == 0 else () if kind == 1 else out[:1]
    return _selected("SELECT", draw, form, condition, out, out)


@cases("SELECT_V2", *WIDE, "plain")
def select_v2(draw: Draw, form: str, size: int) -> Call:
    a, b = pair(draw, size, broadcast=5)
    out = _out(a, b)
    condition = tuple(n if draw.chance(0.6) else 1 for n in out) if len(out) <= 5 else out
    if draw.chance(0.3):
        condition = condition[draw.integer(0, len(out)) :]
    shapes = [condition, a, b]
    if len(out) <= 5:
        draw.random.shuffle(shapes)
    return _selected("SELECT_V2", draw, form, *map(tuple, shapes))


def _selected(name: str, draw: Draw, form: str, condition: Shape, a: Shape, b: Shape) -> Call:
    test = Tensor("bool", np.asarray(draw.random.random(condition) < 0.5))
    out = _out(condition, a, b) if name == "SELECT_V2" else a
    if form == "plain":
        dtype = draw.choice(["int32", "int64", "float32", "bool"])
        return Call(
            name, (test, plain(draw, dtype, a), plain(draw, dtype, b)),
            (Tensor(dtype, declared=out),),
        )  # fmt: skip
    one = draw.tensor(form, a)
    return Call(name, (test, one, same(draw, one, b)), (draw.output(form, out, one.s, one.z),))


@cases("POW", "plain")
def power(draw: Draw, form: str, size: int) -> Call:
    a, b = pair(draw, size, broadcast=4)
    base = plain(draw, "int32", a)
    # One exponent multiplies and wraps; several go through float64, where int32 must hold them.
    one = math.prod(b) == 1 and a != b and a == _out(a, b)
    low, high = (1, 9) if one else (0, 7)
    data = base.x if one else np.asarray(np.clip(base.x, -20, 20))
    exponents = draw.random.integers(low, high, b, "int32", endpoint=True)
    return Call(
        "POW", (Tensor("int32", data), Tensor("int32", np.asarray(exponents))),
        (result("int32", a, b),),
    )  # fmt: skip


@cases("ADD_N", "plain")
def add_n(draw: Draw, form: str, size: int) -> Call:
    shape = full(draw, size)
    dtype = draw.choice(["int32", "float32"])
    count = draw.integer(2, 5)
    return Call(
        "ADD_N", tuple(plain(draw, dtype, shape) for _ in range(count)), (result(dtype, shape),)
    )


@cases("LOGICAL_AND", "plain")
def logical_and(draw: Draw, form: str, size: int) -> Call:
    return _integers("LOGICAL_AND", draw, form, size, 4, ["bool"])


@cases("LOGICAL_OR", "plain")
def logical_or(draw: Draw, form: str, size: int) -> Call:
    return _integers("LOGICAL_OR", draw, form, size, 4, ["bool"])


@cases("LOGICAL_NOT", "plain")
def logical_not(draw: Draw, form: str, size: int) -> Call:
    shape = full(draw, size)
    return Call("LOGICAL_NOT", (plain(draw, "bool", shape),), (result("bool", shape),))
