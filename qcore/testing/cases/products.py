"""FULLY_CONNECTED, BATCH_MATMUL, EMBEDDING_LOOKUP."""

from __future__ import annotations

import math

import numpy as np

from kernels.call import Call, Tensor, options
from qcore.testing.cases import cases
from qcore.testing.draw import Draw

FC = "FULLY_CONNECTED"
INT32, INT64 = 2, 4


def bias(
    draw: Draw, x: Tensor, w: Tensor, dtype: str = "int32", limit: int = 3000, constant: bool = True
) -> Tensor:
    """An integer bias; per-tensor scales a little off the product, as converters leave them."""
    scale = np.asarray(x.s * w.scales, np.float32)
    if draw.chance(0.2):
        scale = (scale * np.float32(1.0005)).astype(np.float32)
    values = draw.random.integers(-limit, limit, w.shape[0]).astype(dtype)
    return Tensor(dtype, values, scale, np.zeros(scale.size, np.int64), constant=constant)


def sizes(draw: Draw, size: int, least: int = 1, step: int = 1) -> tuple[int, int, int]:
    """Rows, units, depth; large shapes are drawn larger, since limits take some away."""
    rows, units = draw.shape(2, size if size < 1000 else size * 9 // 4, most=600)
    most = max(least, min(200, 4_000_000 // max(rows * units, 1)))
    depth = draw.choice([draw.integer(least, most), draw.integer(1, 12) * 8 + least - 1])
    return rows, units, -(-depth // step) * step


def input_shape(draw: Draw, rows: int, depth: int, keep: bool) -> tuple[int, ...]:
    """A shape of rows * depth values: with `keep` the last axis is the depth, else any."""
    first = draw.choice([d for d in (1, 2, 3, 4) if rows % d == 0])
    kinds = [(rows, depth), (first, rows // first, depth), (1, first, rows // first, depth)]
    if rows == 1:
        kinds.append((depth,))
    if not keep:
        kinds.append((rows * depth,))
        if depth % 2 == 0:
            kinds.append((rows, 2, depth // 2))
    return draw.choice(kinds)


def narrow(draw: Draw, shape: tuple[int, int], dtype: str, per_channel: bool) -> Tensor:
    return draw.weight(shape, 0 if per_channel else None, dtype)


@cases(FC, "int8", "uint8", "int8 x int4", "int8 x int2", "uint8 to int16")
def fully_connected(draw: Draw, form: str, size: int) -> Call:
    rows, units, depth = sizes(draw, size)
    keep = draw.chance(0.4)
    kind, out, weights = "int8", "int8", "int8"
    if form.startswith("uint8"):
        kind = weights = "uint8"
        out = "int16" if form.endswith("int16") else "uint8"
    elif " x " in form:
        weights = form.split(" x ")[1]
        if draw.chance(0.7):
            depth = -(-depth // 4) * 4
    x = draw.tensor(kind, input_shape(draw, rows, depth, keep))
    w = narrow(draw, (units, depth), weights, kind != "uint8" and draw.chance())
    if kind == "uint8":
        w = Tensor(w.dtype, w.data, w.scale, np.array([draw.zero_point("uint8")]), constant=True)
    elif weights == "int8" and not w.per_channel and draw.chance(0.25):
        w = Tensor(w.dtype, w.data, w.scale, np.array([draw.zero_point("int8")]), constant=True)
    if draw.chance(0.15) and units * depth < 50_000:
        w = Tensor(w.dtype, w.data, w.scale, w.zero_point, constant=False)
        if weights != "int8" and weights != "uint8":
            w = Tensor(w.dtype, w.data, w.scale, w.zero_point, constant=True)
    b = None
    if draw.chance(0.8) or out == "int16":
        b = bias(draw, x, w, constant=draw.chance(0.9))
    top = float(x.s) * float(w.scales.max())  # XNNPACK takes factors below 256
    y = draw.output(out, (rows, units), scale=max(draw.scale(0.01, 2), np.float32(top / 128)))
    if out == "int16":
        y = draw.output(out, (rows, units), scale=draw.scale(1e-4, 0.01), zero_point=0)
    act = draw.integer(0, 3)
    if draw.chance(0.05):  # factors beyond what int32 holds
        tiny = float(x.s) * float(w.scales.min()) * 2.0 ** -draw.random.uniform(5, 20)
        y = Tensor(y.dtype, None, np.array([tiny], np.float32), y.zero_point, declared=y.declared)
    if not w.per_channel and b is not None:
        y = _wide_enough(y, x, w, b)
    return Call(
        FC, (x, w, b), (y,), options(fused_activation_function=act, keep_num_dims=keep)
    )  # fmt: skip


def _wide_enough(y: Tensor, x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    """An output scale at which the bias scale passes the runtime's check."""
    off = abs(float(x.s) * float(w.s) - float(b.s)) / 0.02
    if off <= float(y.s):
        return y
    return Tensor(
        y.dtype, None, np.array([off * 1.01], np.float32), y.zero_point, declared=y.declared
    )


@cases(
    FC, "int16, int64 bias", "int16, int32 bias", "int16, no bias", "int16 x int4", "int16 x int2",
    "int16 x int16",
)  # fmt: skip
def fully_connected_16(draw: Draw, form: str, size: int) -> Call:
    rows, units, depth = sizes(draw, size)
    keep = draw.chance(0.3)
    x = draw.tensor("int16", input_shape(draw, rows, depth, keep), draw.scale(1e-4, 1e-2))
    weights = form.split(" x ")[1] if " x " in form else "int8"
    w = narrow(draw, (units, depth), weights, draw.chance())
    if weights in ("int8", "int16") and not w.per_channel and draw.chance(0.2):
        z = draw.integer(-100, 100)
        w = Tensor(w.dtype, w.data, w.scale, np.array([z]), constant=True)
    kind = draw.choice(["int64", "int32", None])
    if "," in form:
        kind = {"int64 bias": "int64", "int32 bias": "int32", "no bias": None}[form.split(", ")[1]]
    b, stated = None, draw.choice([0, INT32, INT64])
    if kind:
        b = bias(draw, x, w, kind, 3_000_000)
        stated = {"int32": INT32, "int64": INT64}[kind]
        if kind == "int64" and weights != "int16" and draw.chance():
            stated = 0
    y = draw.output("int16", (rows, units), scale=draw.scale(1e-3, 0.1))
    if not w.per_channel and b is not None:
        y = _wide_enough(y, x, w, b)
    return Call(
        FC, (x, w, b), (y,),
        options(
            fused_activation_function=draw.integer(0, 3), keep_num_dims=keep,
            quantized_bias_type=stated,
        ),
    )  # fmt: skip


@cases(FC, "shuffled")
def fully_connected_shuffled(draw: Draw, form: str, size: int) -> Call:
    rows = draw.choice([1, 4])
    units = 4 * max(1, min(-(-size // rows // 4), 1800))
    depth = 16 * draw.integer(1, 8)
    x = draw.tensor("uint8", (rows, depth), zero_point=128)
    w = draw.weight((units, depth), None, "uint8")
    w = Tensor("uint8", w.data, w.scale, np.array([128]), constant=True)
    y = draw.output("int16", (rows, units), scale=draw.scale(1e-4, 0.01), zero_point=0)
    b = bias(draw, x, w)
    work = Tensor("uint8", None, declared=(rows, depth))
    return Call(
        FC, (x, w, b), (_wide_enough(y, x, w, b), work),
        options(fused_activation_function=draw.integer(0, 3), weights_format=1),
    )  # fmt: skip


def float_rows(draw: Draw, shape: tuple[int, ...]) -> np.ndarray:
    """Activations for a hybrid kernel: ties, rows of one sign, of zeros, of one value."""
    x = draw.floats(shape)
    flat = x.reshape(-1, shape[-1])
    for row in range(len(flat)):
        kind = draw.random.random()
        if kind < 0.06:
            flat[row] = 0
        elif kind < 0.16:
            flat[row] = np.abs(flat[row])
        elif kind < 0.22:
            flat[row] = -np.abs(flat[row])
        elif kind < 0.26:
            flat[row] = flat[row, 0]
        elif kind < 0.3:
            flat[row] *= np.float32(10.0 ** draw.integer(-6, 6))
        elif draw.ties:  # multiples of half a step of a grid whose ends are drawn
            grid = draw.random.integers(-254, 255, flat.shape[1])
            grid[0] = draw.choice([254, -254, 255, 510])
            flat[row] = (grid * np.float32(0.5) * draw.scale()).astype(np.float32)
    return x


@cases(
    FC, "hybrid", "hybrid x uint8", "hybrid x int4", "hybrid x int2", "hybrid, blocks int4",
    "hybrid, blocks int2",
)  # fmt: skip
def fully_connected_hybrid(draw: Draw, form: str, size: int) -> Call:
    blocks = "blocks" in form
    weights = form.split()[-1] if form != "hybrid" else "int8"
    rows, units, depth = sizes(draw, size, 24 if weights == "int4" else 1)
    keep = draw.chance(0.3)
    if weights in ("int4", "int2") and draw.chance(0.8):
        depth = -(-depth // 4) * 4
    block = 32 * draw.choice([1, 1, 2, 4])
    if blocks:
        depth = max(1 + (units == 1), depth // block) * block
    shape = input_shape(draw, rows, depth, keep)
    x = Tensor("float32", float_rows(draw, (rows, depth)).reshape(shape))
    if draw.chance(0.03):
        x = Tensor("float32", np.zeros(shape, np.float32))
    w = narrow(draw, (units, depth), weights, weights != "uint8" and draw.chance())
    if weights == "int8" and draw.chance(0.3):  # all of int8, -128 included
        values = draw.values("int8", (units, depth))
        w = Tensor(w.dtype, values, w.scale, w.zero_point, constant=True)
    if weights == "int4" and draw.chance(0.6):  # without -8, which one kernel mangles
        w = Tensor(w.dtype, np.maximum(w.x, -7), w.scale, w.zero_point, constant=True)
    if weights in ("int8", "uint8") and not w.per_channel and draw.chance(0.2):
        w = Tensor(w.dtype, w.data, w.scale, np.array([draw.zero_point("int8")]), constant=True)
    if blocks:
        scale = draw.scales(units * depth // block).reshape(units, -1)
        scale = scale.astype(np.float16).astype(np.float32)
        w = Tensor(weights, w.data, scale, None, constant=True)
    elif weights in ("int8", "int4") and draw.chance(0.1):
        w = Tensor(w.dtype, w.data, w.scale, w.zero_point, constant=weights == "int4")
    b = None
    if draw.chance(0.7):
        b = Tensor("float32", draw.floats((units,)), constant=draw.chance(0.9))
    return Call(
        FC, (x, w, b), (Tensor("float32", None, declared=(rows, units)),),
        options(
            fused_activation_function=draw.integer(0, 3 if blocks else 5), keep_num_dims=keep,
            asymmetric_quantize_inputs=draw.chance(),
        ),
    )  # fmt: skip


def matrices(draw: Draw, size: int, most: int = 64) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shapes (..., rows, depth) and (..., depth, units): ranks 2-5, batch axes that broadcast."""
    ranks = draw.integer(2, 5), draw.integer(2, 5)
    rank = max(ranks)
    batch = [draw.integer(1, 3) for _ in range(rank - 2)]
    sides = []
    for r in ranks:
        own = batch[rank - r :]
        sides.append([1 if draw.chance(0.3) else d for d in own])
    matrix = max(4, size // max(1, math.prod(batch)))
    rows, units = draw.shape(2, matrix if size < 1000 else matrix * 2, most=400)
    depth = draw.choice([draw.integer(1, most), draw.integer(1, 4) * 16])
    return (*sides[0], rows, depth), (*sides[1], depth, units)


def written(left: tuple[int, ...], right: tuple[int, ...]) -> bool:
    """Whether tensorflow 2.21 writes the whole output when adj_x is set."""
    both = len(left) > 2 and len(right) > 2
    return not (both and right[-3] == 1 < left[-3])


def swapped(shape: tuple[int, ...], swap: bool) -> tuple[int, ...]:
    return (*shape[:-2], shape[-1], shape[-2]) if swap else shape


@cases("BATCH_MATMUL", "int8", "int8 to int32", "int16", "int16 x int8")
def batch_matmul(draw: Draw, form: str, size: int) -> Call:
    left, right = matrices(draw, size)
    adj_x, adj_y = draw.chance(0.4) and written(left, right), draw.chance()
    left, right = swapped(left, adj_x), swapped(right, adj_y)
    kind = form.split()[0]
    x = draw.tensor(kind, left, draw.scale(1e-3, 0.1), constant=draw.chance(0.1))
    other = "int8" if "int8" in form else kind
    z = 0 if kind == "int16" or draw.chance() else None
    w = draw.tensor(other, right, draw.scale(1e-3, 0.1), z, constant=draw.chance())
    if form == "int8 to int32":
        y = Tensor("int32", None)
    else:
        y = draw.output(kind, scale=draw.scale(0.01, 2))
    return Call("BATCH_MATMUL", (x, w), (y,), options(adj_x=adj_x, adj_y=adj_y))


@cases("BATCH_MATMUL", "hybrid")
def batch_matmul_hybrid(draw: Draw, form: str, size: int) -> Call:
    left, right = matrices(draw, size)
    asymmetric = draw.chance()
    if len(right) == 5 and sum(n - 1 for n in right[:3]) >= right[1] * right[2]:
        right = right[1:]  # with asymmetric inputs these read memory that nobody wrote
    x = float_rows(draw, left)
    adj_x, adj_y = draw.chance(0.4) and written(left, right), draw.chance()
    if adj_x:
        x = np.ascontiguousarray(x.swapaxes(-1, -2))
    right = swapped(right, adj_y)
    axis = len(right) - (2 if adj_y else 1) if draw.chance() else None
    w = draw.weight(right, axis)
    return Call(
        "BATCH_MATMUL", (Tensor("float32", x), w), (Tensor("float32", None),),
        options(adj_x=adj_x, adj_y=adj_y, asymmetric_quantize_inputs=asymmetric),
    )  # fmt: skip


@cases(
    "EMBEDDING_LOOKUP", "int8", "uint8", "int4", "int2", "int8 to int8", "int16 to int16",
    "int4 blocks", "int2 blocks",
)  # fmt: skip
def embedding_lookup(draw: Draw, form: str, size: int) -> Call:
    kind = form.split()[0]
    blocks = form.endswith("blocks")
    rank = 2 if blocks else draw.integer(2, 4)
    rows, *rest = draw.shape(rank, max(size // 2, 1), most=500)
    if blocks:
        block = draw.choice([4, 8, 32, 64])
        rest = [block * draw.integer(1, 4)]
    shape = (rows, *rest)
    count = max(1, size * 5 // 4 // math.prod(rest))
    found = draw.random.integers(0, rows, count).astype(np.int32)
    lookup = Tensor("int32", found, constant=draw.chance(0.3))
    if " to " in form:
        table = draw.tensor(kind, shape, constant=draw.chance(0.8))
        return Call("EMBEDDING_LOOKUP", (lookup, table), (draw.output(kind),))
    values = draw.values(kind, shape)
    if blocks:
        rest[0] = max(rest[0], 2 * block) if rows == 1 else rest[0]
        shape = (rows, *rest)
        values = draw.values(kind, shape)
        scale = draw.scales(rows * rest[0] // block).reshape(rows, -1)
        scale = scale.astype(np.float16).astype(np.float32)
        table = Tensor(kind, values, scale, None, constant=True)
    else:
        scale = draw.scales(rows if draw.chance() else 1)
        constant = kind in ("int4", "int2") or draw.chance(0.8)
        table = Tensor(kind, values, scale, np.zeros(scale.size, np.int64), constant=constant)
    return Call("EMBEDDING_LOOKUP", (lookup, table), (Tensor("float32", None),))
