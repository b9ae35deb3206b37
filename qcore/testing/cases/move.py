"""The operators that move elements: shapes, indices and masks are what varies.

Outputs are declared with the shapes that `reference` gives them: a converter knows them too.
"plain" calls have int32, int64, bool or float32 data without scales.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from kernels import ops
from kernels.call import Call, Tensor, options
from kernels.profile import REFERENCE
from qcore.testing.cases import cases
from qcore.testing.draw import Draw, index

ALL = ("int8", "int16", "uint8", "plain")
PACKED = (*ALL, "int4")
EIGHT = ("int8", "uint8", "plain")
PLAIN = ("int32", "int64", "bool", "float32")
NUMBERS = ("int32", "int64", "float32")


def data(
    draw: Draw, form: str, shape: Sequence[int], kinds: Sequence[str] = PLAIN, like: Any = None
) -> Tensor:
    """A tensor of this form; with the parameters, or the plain type, of `like`."""
    if form != "plain":
        if like is None:
            return draw.tensor(form, shape)
        return draw.tensor(form, shape, like.s, like.z)
    kind = draw.choice(kinds) if like is None else like.dtype
    if kind == "float32":
        return Tensor(kind, draw.floats(shape))
    limit = {"int32": 2**31, "int64": 2**63, "bool": 1}[kind]
    found = draw.random.integers(
        -limit if limit > 1 else 0, limit, tuple(shape), endpoint=limit == 1
    )
    return Tensor(kind, np.asarray(found).astype(kind))


def output(t: Tensor, **changes: Any) -> Tensor:
    """An output with the parameters of an input."""
    return replace(t, data=None, constant=False, declared=(), **changes)


def finish(call: Call) -> Call:
    """The call with its outputs' shapes declared."""
    found = ops.compute(call.on(profile=REFERENCE), "reference")
    outputs = zip(call.outputs, found, strict=True)
    return call.on(outputs=tuple(replace(t, declared=a.shape) for t, a in outputs))


def made(name: str, inputs: Sequence[Tensor], like: Tensor, count: int = 1, **fields: Any) -> Call:
    """A call whose outputs are all like one of its inputs."""
    return finish(Call(name, tuple(inputs), (output(like),) * count, options(**fields)))


def known(draw: Draw, *values: Any, dtype: str = "int32") -> Tensor:
    """An index operand: mostly constant, now and then computed."""
    return index(*values, dtype=dtype, constant=draw.chance(0.8))


def either(draw: Draw) -> str:
    return draw.choice(("int32", "int32", "int64"))


def factors(draw: Draw, count: int, rank: int) -> list[int]:
    """A random shape of `rank` axes with `count` elements."""
    shape = [1] * rank
    for prime in _primes(count):
        shape[draw.integer(0, rank - 1)] *= prime
    return shape


def _primes(n: int) -> list[int]:
    found, p = [], 2
    while n > 1:
        if n % p:
            p += 1
        else:
            found.append(p)
            n //= p
    return found


@cases("RESHAPE", *PACKED)
def reshape(draw: Draw, form: str, size: int) -> Call:
    x = data(draw, form, draw.shape(draw.integer(1, 6), size))
    shape = factors(draw, x.x.size, draw.integer(1, 6))
    if draw.chance(0.4):
        shape[draw.integer(0, len(shape) - 1)] = -1
    y = output(x)
    if draw.chance(0.05):  # how old files say that the result has no axes
        x = data(draw, form, (1,) * draw.integer(0, 2), like=x)
        return made("RESHAPE", (x,), x, new_shape=(0,))
    if draw.chance(0.1) and form in ("int8", "uint8"):  # the integers stay, XNNPACK does not come
        y = replace(y, scale=y.scales * np.float32(2))
    by_option = draw.chance(0.3)
    inputs = (x,) if by_option else (x, known(draw, shape))
    new = {"new_shape": tuple(shape)} if by_option or draw.chance() else {}
    return finish(Call("RESHAPE", inputs, (y,), options(**new)))


@cases("SQUEEZE", *PACKED)
def squeeze(draw: Draw, form: str, size: int) -> Call:
    shape = list(draw.shape(draw.integer(1, 4), size))
    for _ in range(draw.integer(1, 3)):
        shape.insert(draw.integer(0, len(shape)), 1)
    ones = [i for i, n in enumerate(shape) if n == 1]
    axes = [a - len(shape) if draw.chance(0.3) else a for a in ones if draw.chance(0.6)]
    fields: dict[str, Any] = {"squeeze_dims": tuple(axes)} if axes else {}
    x = data(draw, form, shape)
    return made("SQUEEZE", (x,), x, **fields)


@cases("EXPAND_DIMS", *PACKED)
def expand_dims(draw: Draw, form: str, size: int) -> Call:
    rank = draw.integer(1, 5)
    x = data(draw, form, draw.shape(rank, size))
    new = draw.integer(-rank - 1, rank)
    axis = known(draw, new if draw.chance() else [new], dtype=either(draw))
    return made("EXPAND_DIMS", (x, axis), x)


@cases("TRANSPOSE", *PACKED)
def transpose(draw: Draw, form: str, size: int) -> Call:
    rank = draw.integer(1, 6)
    perm = draw.random.permutation(rank)
    if draw.chance(0.2):
        perm = np.where(draw.random.random(rank) < 0.5, perm - rank, perm)
    x = data(draw, form, draw.shape(rank, size))
    return made("TRANSPOSE", (x, known(draw, perm)), x)


@cases("SLICE", *PACKED)
def slice_(draw: Draw, form: str, size: int) -> Call:
    rank = draw.integer(1, 5)
    shape = draw.shape(rank, 3 * size)
    begin = [draw.integer(0, n - 1) if draw.chance(0.6) else 0 for n in shape]
    sizes = [
        -1 if draw.chance(0.2) else draw.integer(1, n - b) if draw.chance() else n - b
        for n, b in zip(shape, begin, strict=True)
    ]
    x = data(draw, form, shape)
    kind = either(draw)
    return made("SLICE", (x, known(draw, begin, dtype=kind), known(draw, sizes, dtype=kind)), x)


@cases("STRIDED_SLICE", *ALL)
def strided_slice(draw: Draw, form: str, size: int) -> Call:
    """Every mask; begin and end inside, negative and out of range; plain cuts for XNNPACK too.

    With `offset` every axis has an entry and `end` is a constant: the runtime reads on, or through
    a null pointer, where not. Half of the calls are version 4, which the reference path knows.
    """
    rank = draw.integer(1, 5)
    x = data(draw, form, draw.shape(rank, 8 * size))
    kind = draw.choice(("simple", "simple", "offset", "dots", "masks", "masks"))
    masks = dict.fromkeys(("begin", "end", "ellipsis", "new_axis", "shrink_axis"), 0)
    given = draw.integer(1, rank) if kind == "masks" else rank
    dots = draw.integer(0, given) if kind == "dots" else None  # the axis at which the ellipsis is
    room = 5 - rank  # new axes that still fit
    entries: list[tuple[int, int, int]] = []
    axis = 0
    while axis < given or axis == dots:
        at = len(entries)
        if axis == dots:
            masks["ellipsis"] = 1 << at
            entries.append((draw.integer(-2, 2), draw.integer(-2, 2), 1))
            gone = draw.integer(0 if draw.chance(0.2) else 1, given - axis) if axis < given else 0
            axis, dots = axis + gone, None
            if gone == 0:  # the runtime gives it an axis all the same: nothing fits, all is cut off
                kind = "shifted"
        elif kind in ("dots", "masks") and room and draw.chance(0.2):
            masks["new_axis"] |= 1 << at
            entries.append((draw.integer(-2, 2), draw.integer(-2, 2), draw.integer(1, 3)))
            room -= 1
        else:
            entries.append(_entry(draw, x.shape[axis], at, masks, kind))
            axis += 1
    begin, end, strides = (known(draw, values) for values in zip(*entries, strict=True))
    if kind == "offset":  # the runtime reads `end` before it is computed
        end = replace(end, constant=True)
    operands = (x, begin, end, strides)
    fields: dict[str, Any] = {f"{name}_mask": bits for name, bits in masks.items()}
    if kind == "offset":
        fields["offset"] = True
    call = made("STRIDED_SLICE", operands, x, **fields)
    return call.on(version=4) if draw.chance() else call


def _entry(draw: Draw, n: int, at: int, masks: dict[str, int], kind: str) -> tuple[int, int, int]:
    """begin, end and stride of one axis of n elements, and its masks."""
    first = draw.integer(0, n - 1) if draw.chance(0.6) else 0
    last = draw.integer(first + 1, n)
    if kind == "shifted":
        masks["end"] |= 1 << at
        return 0, draw.integer(-2, 2), 1
    if kind == "offset":
        return first - n if draw.chance(0.2) else first, last - first, 1
    if kind != "simple" and draw.chance(0.15):
        masks["shrink_axis"] |= 1 << at
        return first - n if draw.chance(0.3) else first, draw.integer(-n, n), 1
    stride = 1 if kind == "simple" or draw.chance() else draw.choice((2, 3, 7, -1, -2, -3))
    for name in ("begin", "end"):
        if draw.chance(0.3):
            masks[name] |= 1 << at
    if stride < 0:
        first, last = last - 1, first - 1
    if kind == "simple" and draw.chance(0.05):  # empty, but to XNNPACK the end of the axis
        last = 0
    elif last < 0:
        last = draw.choice((-n - 1, -2 * n - 1))
    elif draw.chance(0.2) and last < n:
        last -= n if last else 0
    if draw.chance(0.2):
        first -= n
    if draw.chance(0.1):
        first = -n - 3 if stride > 0 else n + 2
    if draw.chance(0.1) and stride > 0:
        last = n + 5
    return first, last, stride


@cases("SPLIT", *ALL)
def split(draw: Draw, form: str, size: int) -> Call:
    rank, count = draw.integer(1, 5), draw.integer(1, 6)
    shape = list(draw.shape(rank, max(1, size // count)))
    axis = draw.integer(0, rank - 1)
    shape[axis] *= count
    x = data(draw, form, shape, NUMBERS)
    axis -= rank if draw.chance(0.3) else 0
    at = known(draw, axis if draw.chance() else [axis])
    return made("SPLIT", (at, x), x, count, num_splits=count)


@cases("SPLIT_V", *ALL)
def split_v(draw: Draw, form: str, size: int) -> Call:
    rank, count = draw.integer(1, 5), draw.integer(1, 6)
    shape = list(draw.shape(rank, size))
    axis = draw.integer(0, rank - 1)
    sizes = [draw.integer(1, max(1, 2 * shape[axis] // count)) for _ in range(count)]
    shape[axis] = sum(sizes)
    if draw.chance(0.4):
        sizes[draw.integer(0, count - 1)] = -1
    x = data(draw, form, shape, NUMBERS)
    axis -= rank if draw.chance(0.3) else 0
    operands = (x, known(draw, sizes, dtype=either(draw)), known(draw, axis))
    return made("SPLIT_V", operands, x, count, num_splits=count)


@cases("PACK", *ALL)
def pack(draw: Draw, form: str, size: int) -> Call:
    rank, count = draw.integer(0, 4), draw.integer(1, 6)
    shape = draw.shape(rank, max(1, size // count))
    first = data(draw, form, shape, NUMBERS)
    x = [first, *(data(draw, form, shape, like=first) for _ in range(count - 1))]
    if count > 1 and draw.chance(0.3):
        x[-1] = replace(x[-1], constant=True)
    return made("PACK", x, first, values_count=count, axis=draw.integer(-rank - 1, rank))


@cases("UNPACK", *ALL)
def unpack(draw: Draw, form: str, size: int) -> Call:
    rank = draw.integer(1, 5)
    shape = list(draw.shape(rank, size))
    axis = draw.integer(0, rank - 1)
    shape[axis] = draw.integer(1, 6)
    x = data(draw, form, shape, ("int32", "bool", "float32"))
    axis -= rank if draw.chance(0.3) else 0
    return made("UNPACK", (x,), x, shape[axis], num=shape[axis], axis=axis)


@cases("CONCATENATION", *PACKED)
def concatenation(draw: Draw, form: str, size: int) -> Call:
    """uint8: in half of the calls every input has parameters of its own."""
    rank, count = draw.integer(1, 5), draw.integer(1, 9)
    shape = draw.shape(rank, max(1, size // count))
    axis = draw.integer(0, rank - 1)
    own = form == "uint8" and draw.chance()
    x: list[Tensor] = []
    for _ in range(count):
        cut = list(shape)
        cut[axis] = draw.integer(1, 2 * shape[axis])
        x.append(data(draw, form, cut, like=x[0] if x and not (own and draw.chance(0.8)) else None)
                 if form != "plain" or not x else data(draw, form, cut, like=x[0]))  # fmt: skip
    if count > 1 and draw.chance(0.3):
        x[-1] = replace(x[-1], constant=True)
    axis -= rank if draw.chance(0.3) else 0
    y = draw.output("uint8") if own and draw.chance(0.6) else output(x[0])
    fields = options(axis=axis, fused_activation_function=0)
    return finish(Call("CONCATENATION", tuple(x), (y,), fields))


def _paddings(draw: Draw, most: Sequence[int]) -> list[list[int]]:
    return [[draw.integer(0, m) if draw.chance(0.6) else 0 for _ in range(2)] for m in most]


@cases("PAD", *ALL)
def pad(draw: Draw, form: str, size: int) -> Call:
    shape = draw.shape(draw.integer(1, 5), max(1, size // 3))
    x = data(draw, form, shape, NUMBERS)
    kind = "int32" if draw.chance(0.8) else "int64"
    return made("PAD", (x, known(draw, _paddings(draw, [3] * len(shape)), dtype=kind)), x)


@cases("PADV2", *ALL)
def padv2(draw: Draw, form: str, size: int) -> Call:
    shape = draw.shape(draw.integer(1, 5), max(1, size // 3))
    x = data(draw, form, shape, NUMBERS)
    value = data(draw, form, () if draw.chance() else (1,), like=x)
    value = replace(value, constant=draw.chance(0.7))
    return made("PADV2", (x, known(draw, _paddings(draw, [3] * len(shape))), value), x)


@cases("MIRROR_PAD", *ALL)
def mirror_pad(draw: Draw, form: str, size: int) -> Call:
    shape = draw.shape(draw.integer(1, 5), max(1, size // 3))
    mode = draw.integer(0, 1)
    most = [n - 1 + mode for n in shape]
    x = data(draw, form, shape)
    paddings = known(draw, _paddings(draw, most), dtype=either(draw))
    return made("MIRROR_PAD", (x, paddings), x, mode=mode)


@cases("GATHER", *PACKED)
def gather(draw: Draw, form: str, size: int) -> Call:
    rank = draw.integer(1, 5)
    if form == "int4":  # an even number of elements must follow the axis
        rank = max(rank, 2)
    axis = draw.integer(0, rank - 1 - (form == "int4"))
    shape = list(draw.shape(rank, size))
    shape[-1] *= 1 + (form == "int4")
    shape[axis] = draw.integer(1, 40)
    batch = draw.integer(0, axis) if draw.chance(0.4) else 0
    extra = draw.shape(draw.integer(0 if draw.chance(0.3) else 1, 2), 6)
    indices = draw.random.integers(0, shape[axis], (*shape[:batch], *extra))
    kind = draw.choice(("int32", "int32", "int64", "int16"))
    x = data(draw, form, shape)
    if draw.chance(0.3):
        x = replace(x, constant=True)
    if batch and batch <= indices.ndim and draw.chance(0.3):
        batch -= indices.ndim
    axis -= rank if draw.chance(0.3) else 0
    at = Tensor(kind, indices.astype(kind), constant=not x.constant and draw.chance(0.5))
    return made("GATHER", (x, at), x, axis=axis, batch_dims=batch)


@cases("GATHER_ND", *ALL)
def gather_nd(draw: Draw, form: str, size: int) -> Call:
    rank = draw.integer(1, 5)
    shape = draw.shape(rank, size)
    depth = draw.integer(1, rank)
    rest = int(np.prod(shape[depth:]))
    outer = draw.shape(draw.integer(1, 2), max(1, size // rest), most=200)
    indices = np.stack([draw.random.integers(0, n, outer) for n in shape[:depth]], -1)
    kind = draw.choice(("int32", "int32", "int64", "int16"))
    x = data(draw, form, shape)
    at = Tensor(kind, indices.astype(kind), constant=draw.chance(0.5))
    return made("GATHER_ND", (x, at), x)


@cases("TILE", *ALL)
def tile(draw: Draw, form: str, size: int) -> Call:
    rank = draw.integer(1, 5)
    times = [draw.integer(1, 3) for _ in range(rank)]
    x = data(draw, form, draw.shape(rank, max(1, size // int(np.prod(times)))))
    return made("TILE", (x, known(draw, times, dtype=either(draw))), x).on(version=1)


@cases("BROADCAST_TO", *ALL)
def broadcast_to(draw: Draw, form: str, size: int) -> Call:
    rank = draw.integer(1, 5)
    shape = draw.shape(rank, size)
    own = [1 if draw.chance(0.4) else n for n in shape][draw.integer(0, rank - 1) :]
    x = data(draw, form, own)
    return made("BROADCAST_TO", (x, known(draw, shape, dtype=either(draw))), x)


@cases("REVERSE_V2", *ALL)
def reverse_v2(draw: Draw, form: str, size: int) -> Call:
    rank = draw.integer(1, 5)
    first = draw.integer(0, rank - 1)
    axes = draw.random.permutation(np.arange(first, draw.integer(first, rank - 1) + 1))
    axes = np.where(draw.random.random(axes.size) < 0.2, axes - rank, axes)
    x = data(draw, form, draw.shape(rank, size))
    return made("REVERSE_V2", (x, known(draw, axes)), x).on(version=1)


@cases("REVERSE_SEQUENCE", "int16", "uint8", "plain")
def reverse_sequence(draw: Draw, form: str, size: int) -> Call:
    rank = draw.integer(2, 5)
    along, batch = (int(a) for a in draw.random.permutation(rank)[:2])
    x = data(draw, form, draw.shape(rank, size), NUMBERS)
    lengths = draw.random.integers(1, x.shape[along] + 1, x.shape[batch])
    at = known(draw, lengths, dtype=either(draw))
    return made("REVERSE_SEQUENCE", (x, at), x, seq_dim=along, batch_dim=batch)


@cases("FILL", *ALL)
def fill(draw: Draw, form: str, size: int) -> Call:
    value = data(draw, form, ())
    dims = known(draw, draw.shape(draw.integer(1, 6), size), dtype=either(draw))
    return made("FILL", (dims, replace(value, constant=not dims.constant)), value)


@cases("SCATTER_ND", *EIGHT)
def scatter_nd(draw: Draw, form: str, size: int) -> Call:
    """Equal indices often: sums of integers, which wrap; float sums stay in order."""
    rank = draw.integer(1, 4)
    shape = draw.shape(rank, size)
    depth = draw.integer(1, rank)
    outer = draw.shape(draw.integer(1, 2), draw.choice((4, 40)), most=60)
    indices = np.stack([draw.random.integers(0, n, outer) for n in shape[:depth]], -1)
    updates = data(draw, form, (*outer, *shape[depth:]))
    at = Tensor("int32", indices.astype(np.int32), constant=draw.chance(0.3))
    return made("SCATTER_ND", (at, updates, known(draw, shape)), updates)


@cases("DYNAMIC_UPDATE_SLICE", *PACKED)
def dynamic_update_slice(draw: Draw, form: str, size: int) -> Call:
    shape = draw.shape(draw.integer(1, 5), size)
    cut = [draw.integer(1, n) for n in shape]
    start = [draw.integer(-2, n + 1) for n in shape]
    x = data(draw, form, shape)
    update = data(draw, form, cut, like=x)
    at = known(draw, start, dtype=either(draw))
    return made("DYNAMIC_UPDATE_SLICE", (x, update, at), x)


def _image(draw: Draw, size: int, block: int, deep: bool) -> list[int]:
    shape = list(draw.shape(4, max(1, size // block**2)))
    for axis in (3,) if deep else (1, 2):
        shape[axis] *= block**2 if deep else block
    return shape


@cases("SPACE_TO_DEPTH", *EIGHT)
def space_to_depth(draw: Draw, form: str, size: int) -> Call:
    block = draw.integer(1, 4)
    x = data(draw, form, _image(draw, size, block, False), NUMBERS)
    return made("SPACE_TO_DEPTH", (x,), x, block_size=block)


@cases("DEPTH_TO_SPACE", *EIGHT)
def depth_to_space(draw: Draw, form: str, size: int) -> Call:
    """Version 1, which the reference path takes as well."""
    block = draw.integer(1, 4)
    x = data(draw, form, _image(draw, size, block, True), NUMBERS)
    return made("DEPTH_TO_SPACE", (x,), x, block_size=block).on(version=1)


@cases("SPACE_TO_BATCH_ND", *ALL)
def space_to_batch_nd(draw: Draw, form: str, size: int) -> Call:
    space = draw.integer(1, 2)
    block = [draw.integer(1, 4) for _ in range(space)]
    shape = draw.shape(space + 2, size)
    amounts = []
    for n, b in zip(shape[1:-1], block, strict=True):
        before, after = draw.integer(0, 3), draw.integer(0, 3)
        amounts.append([before, after + -(n + before + after) % b])
    x = data(draw, form, shape, NUMBERS)
    return made("SPACE_TO_BATCH_ND", (x, known(draw, block), known(draw, amounts)), x)


@cases("BATCH_TO_SPACE_ND", *ALL)
def batch_to_space_nd(draw: Draw, form: str, size: int) -> Call:
    space = draw.integer(1, 2)
    block = [draw.integer(1, 4) for _ in range(space)]
    many = int(np.prod(block))
    shape = list(draw.shape(space + 2, max(1, size // many)))
    shape[0] *= many
    crops = []
    for n, b in zip(shape[1:-1], block, strict=True):
        before = draw.integer(0, min(3, n * b - 1))
        crops.append([before, draw.integer(0, min(3, n * b - 1 - before))])
    x = data(draw, form, shape, NUMBERS)
    return made("BATCH_TO_SPACE_ND", (x, known(draw, block), known(draw, crops)), x)


@cases("SHAPE", *ALL)
def shape(draw: Draw, form: str, size: int) -> Call:
    x = data(draw, form, draw.shape(draw.integer(1, 6), size))  # of a scalar: empty, not readable
    kind = draw.integer(0, 1)
    y = Tensor(("int32", "int64")[kind])
    return finish(Call("SHAPE", (x,), (y,), options(out_type=(2, 4)[kind])))


@cases("RANK", *ALL)
def rank(draw: Draw, form: str, size: int) -> Call:
    x = data(draw, form, draw.shape(draw.integer(0, 6), size))
    return finish(Call("RANK", (x,), (Tensor("int32"),), options()))


@cases("ONE_HOT", *EIGHT)
def one_hot(draw: Draw, form: str, size: int) -> Call:
    rank, depth = draw.integer(0, 3), draw.integer(1, 12)
    shape = draw.shape(rank, max(1, size // depth))
    indices = Tensor("int32", draw.random.integers(-1, depth + 1, shape).astype(np.int32))
    if draw.chance(0.3):
        indices = Tensor("int64", indices.x.astype(np.int64))
    on = data(draw, form, ())
    off = data(draw, form, (), like=on)
    on, off = (replace(t, constant=True) for t in (on, off))
    inputs = (indices, known(draw, depth), on, off)
    return made("ONE_HOT", inputs, on, axis=draw.integer(-1, rank))


@cases("UNIQUE", *ALL)
def unique(draw: Draw, form: str, size: int) -> Call:
    x = data(draw, form, (size,), NUMBERS)
    if form in ("int16", "plain"):
        x = replace(x, data=draw.random.choice(x.x[: max(1, size // 3)], size))
    kind = draw.integer(0, 1)
    places = Tensor(("int32", "int64")[kind])
    fields = options(idx_out_type=(2, 4)[kind])
    return finish(Call("UNIQUE", (x,), (output(x), places), fields))


@cases("WHERE", *EIGHT)
def where(draw: Draw, form: str, size: int) -> Call:
    rank = draw.integer(1, 4)
    x = data(draw, form, draw.shape(rank, max(1, size // rank)))
    kept = draw.random.random(x.shape) < draw.choice((0.1, 0.5, 0.9))
    kept.flat[0] = True  # an empty output cannot be read
    x = replace(x, data=np.where(kept, np.where(x.x, x.x, 1), 0).astype(x.x.dtype))
    return finish(Call("WHERE", (x,), (Tensor("int64"),), options()))


@cases("MATRIX_DIAG", *ALL)
def matrix_diag(draw: Draw, form: str, size: int) -> Call:
    n = draw.integer(1, 12)
    outer = draw.shape(draw.integer(0, 3), max(1, size // n**2))
    x = data(draw, form, (*outer, n), NUMBERS)
    return made("MATRIX_DIAG", (x,), x)


@cases("MATRIX_SET_DIAG", *ALL)
def matrix_set_diag(draw: Draw, form: str, size: int) -> Call:
    shape = draw.shape(draw.integer(2, 5), size)
    x = data(draw, form, shape, NUMBERS)
    diagonal = data(draw, form, (*shape[:-2], min(shape[-2:])), like=x)
    return made("MATRIX_SET_DIAG", (x, diagonal), x)


@cases("SPARSE_TO_DENSE", *EIGHT)
def sparse_to_dense(draw: Draw, form: str, size: int) -> Call:
    rank = draw.integer(1, 4)
    shape = draw.shape(rank, size)
    count = draw.integer(1, 30)
    at = np.stack([draw.random.integers(0, n, count) for n in shape], -1)
    if rank == 1 and draw.chance():
        at = at[:, 0]
    kind = either(draw)
    values = data(draw, form, () if draw.chance(0.3) else (count,), NUMBERS)
    default = replace(data(draw, form, (), like=values), constant=draw.chance(0.6))
    inputs = (
        Tensor(kind, at.astype(kind), constant=draw.chance(0.3)),
        known(draw, shape, dtype=either(draw)), values, default,
    )  # fmt: skip
    return made("SPARSE_TO_DENSE", inputs, values)


@cases("RANGE", "plain")
def range_(draw: Draw, form: str, size: int) -> Call:
    kind = draw.choice(NUMBERS)
    count = draw.integer(1, size)
    delta: Any = draw.choice((-1, 1)) * (draw.integer(1, 9) if kind != "float32" else draw.scale())
    start = draw.integer(-999, 999) if kind != "float32" else draw.floats(()).item()
    limit = start + delta * (count - draw.random.random() * 0.9)
    if kind != "float32":
        limit = start + delta * count - draw.integer(0, abs(delta) - 1) * (1 if delta > 0 else -1)
    inputs = tuple(known(draw, v, dtype=kind) for v in (start, limit, delta))
    return finish(Call("RANGE", inputs, (Tensor(kind),), options()))


@cases("BROADCAST_ARGS", "plain")
def broadcast_args(draw: Draw, form: str, size: int) -> Call:
    kind = either(draw)
    whole = [draw.integer(1, 9) for _ in range(draw.integer(1, 6))]
    shapes = []
    for _ in range(2):
        cut = whole[draw.integer(0, len(whole) - 1) :]
        shapes.append(known(draw, [1 if draw.chance(0.3) else n for n in cut], dtype=kind))
    return finish(Call("BROADCAST_ARGS", tuple(shapes), (Tensor(kind),), options()))


@cases("SEGMENT_SUM", "plain")
def segment_sum(draw: Draw, form: str, size: int) -> Call:
    x = data(draw, form, draw.shape(draw.integer(1, 4), size), ("int32", "float32"))
    ids = np.cumsum(draw.random.random(x.shape[0]) < draw.choice((0.1, 0.5)))
    return made("SEGMENT_SUM", (x, known(draw, ids - ids[0])), x)
