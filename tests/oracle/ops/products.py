"""FULLY_CONNECTED, BATCH_MATMUL, EMBEDDING_LOOKUP by their sums."""

from __future__ import annotations

from fractions import Fraction

from tests import oracle as o
from tests.oracle.hybrid import asymmetric, qd8, symmetric
from tests.oracle.stage import BOUNDS, clamp, stage
from tests.oracle.task import Answer, Operand, Task, count, indices, oracle

ZERO = Fraction(0)


@oracle("FULLY_CONNECTED")
def fully_connected(task: Task) -> list[Answer]:
    x, w = task.x(0), task.x(1)
    if task.option("weights_format") == 1:
        return _shuffled(task)
    units, depth = w.shape
    rows = len(x.values) // depth
    one = _hybrid_row if x.dtype == "float32" else _integer_row
    values = [y for r in range(rows) for y in one(task, x.values[r * depth : (r + 1) * depth])]
    shape = (*x.shape[:-1], units) if task.option("keep_num_dims", False) else (rows, units)
    return [(shape, values)]


def _weights(w: Operand, unit: int) -> list[int]:
    depth = w.shape[-1]
    return w.values[unit * depth : (unit + 1) * depth]


def _scale(w: Operand, unit: int) -> Fraction:
    return w.scales[unit if len(w.scales) > 1 else 0]


def _integer_row(task: Task, row: list[int]) -> list[int]:
    x, w, y = task.x(0), task.x(1), task.y
    several = len(w.scales) > 1
    wz = 0 if several or (task.path == "xnnpack" and w.dtype == "int8") else w.zero_point
    rule, bits = _integer_rule(task, wz)
    found = []
    for unit in range(w.shape[0]):
        acc = sum(
            (a - x.zero_point) * (b - wz) for a, b in zip(row, _weights(w, unit), strict=True)
        )
        if task.has(2):
            acc += task.x(2).values[unit]
        sw = _scale(w, unit)
        if rule == "XF":
            factor = o.f32(o.f32(x.scale * sw) / y.scale)
        elif rule == "F64" or several:
            factor = o.f64(o.f64(x.scale * sw) / y.scale)
        else:
            factor = o.f64(o.f32(x.scale * sw) / y.scale)
        found.append(stage(task, rule, o.wrap(acc, bits), factor, y))
    return found


def _integer_rule(task: Task, wz: int) -> tuple[str, int]:
    """The output rule and the bits of the accumulator."""
    x, w = task.x(0), task.x(1)
    if task.path == "xnnpack":
        return "XF", 32
    if w.dtype == "int16":
        return "M64", 64
    if x.dtype != "int16":
        return ("F64" if task.path == "reference" else "UP"), 32
    stated = task.option("quantized_bias_type")  # 2 is int32, 4 int64
    wide = (task.has(2) and task.x(2).dtype == "int64") or (
        stated == 4 and task.runtime == "litert"
    )
    if task.path == "reference" or w.zero_point or wide:
        return "F64", 32 if stated == 2 else 64
    return "UP", 32


def _shuffled(task: Task) -> list[Answer]:
    x, w, y = task.x(0), task.x(1), task.y
    units, depth = w.shape
    rows = len(x.values) // depth

    def signed(byte: int) -> int:
        return o.wrap(byte ^ 128, 8)

    values = []
    for r in range(rows):
        for unit in range(units):
            acc = task.x(2).values[unit]
            for group in range(depth // 16):
                tile = ((unit // 4) * (depth // 16) + group) * 64 + unit % 4 * 16
                for j in range(8):
                    pair = 0
                    for k in (j, j + 8):
                        weight = o.wrap(w.values[tile + k], 8)
                        pair += signed(x.values[r * depth + group * 16 + k]) * weight
                    acc += pair if task.path == "reference" else o.wrap(pair, 16)
            multiplier, shift = o.quantize_multiplier(o.f64(o.f32(x.scale * w.scale) / y.scale))
            ends = clamp(task, y) if task.path == "reference" else (-32768, 32767)
            values.append(o.clip(o.multiply_double(o.wrap(acc, 32), multiplier, shift), *ends))
    work = []
    for position in range(rows * depth):
        if rows == 4:
            group, rest = divmod(position, 64)
            position = rest // 16 * depth + group * 16 + rest % 16
        work.append(x.values[position] ^ 128)
    return [((rows, units), values), ((rows, depth), work)]


def _hybrid_row(task: Task, row: list[Fraction]) -> list[Fraction]:
    w = task.x(1)
    units, depth = w.shape
    xnnpack, blocks = task.path == "xnnpack", len(w.scales) > 1 and len(w.zero_points) == 1
    packed = (
        task.path == "optimized" and w.dtype == "int4" and w.constant
        and depth % 2 == 0 and depth >= 32 and units >= 4
    )  # fmt: skip
    bias = task.x(2).values if task.has(2) else None
    found = []
    if blocks and (packed or xnnpack):
        quantized = (qd8 if xnnpack else asymmetric)(row)
        for unit in range(units):
            y = _block_sum(task, quantized, unit)
            y = y if bias is None else o.f32(y + bias[unit])
            found.append(_act(task, y) if xnnpack else y)
        return found
    if packed:
        return [_act(task, y) for y in _nibble_row(row, w, bias)]
    rule = symmetric
    if task.option("asymmetric_quantize_inputs", False):
        rule = asymmetric
    q, s, z = (qd8 if xnnpack else rule)(row)
    for unit in range(units):
        sw, b = (ZERO if blocks else _scale(w, unit)), (bias[unit] if bias else ZERO)
        weights = [o.wrap(v, 8) for v in _weights(w, unit)]
        acc = sum((a - z) * v for a, v in zip(q, weights, strict=True))
        if xnnpack:
            scaled = o.f32(o.f32(Fraction(acc)) * s)
            if w.dtype == "int2" and task.runtime == "tensorflow":
                scaled, sw = o.f32(scaled * sw), Fraction(1)
            y = o.f32(scaled * sw + b)
        else:
            acc = sum(
                _vector_product(a, v) if i < depth // 16 * 16 else a * v
                for i, (a, v) in enumerate(zip(q, weights, strict=True))
            ) - z * sum(weights)
            y = o.f32(b + o.f32(o.f32(Fraction(acc)) * o.f32(s * sw)))
        found.append(_act(task, y))
    return found


def _vector_product(q: int, w: int) -> int:
    """|q| times the weight with q's sign, which is taken in 8 bits."""
    return abs(q) * o.wrap(-w if q < 0 else w, 8)


def _nibble_row(row: list[Fraction], w: Operand, bias: list[Fraction] | None) -> list[Fraction]:
    most = max(abs(v) for v in row) or Fraction(127)
    s, inverse = o.f32(most / 127), o.f32(127 / most)
    q = [o.half_away(o.f32(v * inverse)) for v in row]
    found = []
    for unit in range(w.shape[0]):
        sw = _scale(w, unit)
        y = o.f32(o.f32(o.f32(Fraction(-7 * sum(q))) * s) * sw)
        if bias is not None:
            y = o.f32(y + bias[unit])
        acc = sum(a * v for a, v in zip(q, _nibbles(_weights(w, unit)), strict=False))
        found.append(o.f32(y + o.f32(o.f32(o.f32(Fraction(acc)) * s) * sw)))
    return found


def _nibbles(weights: list[int]) -> list[int]:
    """What the packed kernel finds for each weight, by packing bytes as its code does."""
    found = []
    for start in range(0, len(weights), 32):
        group = weights[start : start + 32]
        whole = len(group) == 32
        planes = []
        for half in (0, 1):  # low nibbles of the stored bytes, then high ones
            plus = [(v + 7) & 255 for v in group[half::2]] + [7] * (16 - len(group) // 2)
            packed = []
            if whole:  # 16-bit lanes: a byte that is too large carries into its neighbour
                for lane in range(0, 8, 2):
                    word = (plus[lane] | plus[lane + 1] << 8) << 4 & 0xFFFF
                    packed += [word & 255, word >> 8]
                packed = [a | b for a, b in zip(packed, plus[8:], strict=True)]
            else:
                packed = [(plus[j] << 4 & 255) | plus[j + 8] for j in range(8)]
            planes.append(packed)
        for nibble in (4, 0):
            for j in range(8):
                found += [planes[0][j] >> nibble & 15, planes[1][j] >> nibble & 15]
    return found


def _block_sum(task: Task, quantized: tuple[list[int], Fraction, int], unit: int) -> Fraction:
    w, (q, s, z) = task.x(1), quantized
    blocks = len(w.scales) // w.shape[0]
    size = w.shape[1] // blocks
    weights = _weights(w, unit)
    parts = [slice(i * size, (i + 1) * size) for i in range(blocks)]
    scales = w.scales[unit * blocks : (unit + 1) * blocks]
    if task.path == "xnnpack":
        scales = [_bfloat16(v, task.runtime == "litert") for v in scales]
    total = ZERO
    for part, sb in zip(parts, scales, strict=True):
        total = o.f32(total + o.f32(sb * o.f32(Fraction(sum(weights[part])))))
    if task.path == "xnnpack":
        y = -o.f32(total * (z + 128))
        for part, sb in zip(parts, scales, strict=True):
            acc = sum((a + 128) * v for a, v in zip(q[part], weights[part], strict=True))
            y = o.f32(o.f32(Fraction(acc)) * sb + y)
        return o.f32(y * s)
    y = ZERO
    for part, sb in zip(parts, scales, strict=True):
        acc = sum(a * v for a, v in zip(q[part], weights[part], strict=True))
        y = o.f32(y + o.f32(o.f32(Fraction(acc)) * sb))
    return o.f32(o.f32(y - o.f32(z * total)) * s)


def _bfloat16(value: Fraction, nearest: bool) -> Fraction:
    """8 bits of precision; float16 values are normal there."""
    if value == 0:
        return value
    unit = Fraction(2) ** -7
    while unit * 256 <= value:
        unit *= 2
    while unit * 128 > value:
        unit /= 2
    return (o.half_even if nearest else o.toward_zero)(value / unit) * unit


def _act(task: Task, y: Fraction) -> Fraction:
    number = int(task.option("fused_activation_function"))
    if number == 4:
        return _tanh(y)
    if number == 5:
        return Fraction(int(y < 0))
    lo, hi = BOUNDS[number]
    return min(max(y, lo), hi)


def _tanh(x: Fraction) -> Fraction:
    """Eigen's rational function."""

    def poly(x2: Fraction, terms: tuple[float, ...]) -> Fraction:
        found = o.f32(Fraction(terms[0]))
        for term in terms[1:]:
            found = o.f32(o.f32(found * x2) + o.f32(Fraction(term)))
        return found

    end = o.f32(Fraction(7.90738964080810547))
    x = min(max(x, -end), end)
    x2 = o.f32(x * x)
    top = poly(x2, (1.394553628e-8, 2.102733560e-5, 3.520756727e-3, 1.340216100e-1))
    low = poly(x2, (8.015776984e-7, 3.326951409e-4, 2.597254514e-2, 4.673548340e-1, 1.0))
    return o.f32(o.f32(o.f32(o.f32(x2 * x) * top) + x) / low)


@oracle("BATCH_MATMUL")
def batch_matmul(task: Task) -> list[Answer]:
    x, w = task.x(0), task.x(1)
    adj_x, adj_y = bool(task.option("adj_x", False)), bool(task.option("adj_y", False))
    rows, depth = (x.shape[-1], x.shape[-2]) if adj_x else x.shape[-2:]
    units = w.shape[-2] if adj_y else w.shape[-1]
    rank = max(len(x.shape), len(w.shape)) - 2
    batch_x, batch_w = ((1,) * (rank + 2 - len(t.shape)) + t.shape[:-2] for t in (x, w))
    batch = tuple(max(a, b) for a, b in zip(batch_x, batch_w, strict=True))

    def own(index: tuple[int, ...], t: Operand) -> tuple[int, ...]:
        kept = index[len(index) - len(t.shape) + 2 :]
        return tuple(i if n > 1 else 0 for i, n in zip(kept, t.shape, strict=False))

    def row_of(matrix: tuple[int, ...], r: int) -> list:
        return [x.at(*matrix, *((k, r) if adj_x else (r, k))) for k in range(depth)]

    def unit_of(matrix: tuple[int, ...], u: int) -> list[int]:
        return [w.at(*matrix, *((u, k) if adj_y else (k, u))) for k in range(depth)]

    values = []
    for index in indices(batch):
        for r in range(rows):
            row = row_of(own(index, x), r)
            other = (own(index, x), r), own(index, w)
            if x.dtype == "float32" and task.path != "xnnpack":
                other = _misread(task, index, r, rows, adj_x)
            for u in range(units):
                weights = unit_of(own(index, w), u)
                if x.dtype != "float32":
                    values.append(_integer_product(task, row, weights))
                    continue
                sw = _scale(w, u)
                values.append(
                    _hybrid_product(task, row, weights, row_of(*other[0]), unit_of(other[1], u), sw)
                )
    return [((*batch, rows, units), values)]


def _integer_product(task: Task, row: list[int], weights: list[int]) -> int:
    x, w, y = task.x(0), task.x(1), task.y
    xz, wz = x.zero_point, 0 if task.path == "xnnpack" else w.zero_point
    if y.dtype == "int32":
        return o.wrap(sum(a * b for a, b in zip(row, weights, strict=True)), 32)
    acc = sum((a - xz) * (b - wz) for a, b in zip(row, weights, strict=True))
    if task.path == "xnnpack":
        return stage(task, "XF", o.wrap(acc, 32), o.f32(o.f32(x.scale * w.scale) / y.scale), y)
    factor = o.f64(o.f32(x.scale * w.scale) / y.scale)
    if x.dtype == "int16":
        return stage(task, "M64", o.wrap(acc, 64), factor, y)
    return stage(task, "DBL", o.wrap(acc, 32), factor, y)


def _hybrid_product(
    task: Task, row: list[Fraction], weights: list[int], scaled_by: list[Fraction],
    summed: list[int], sw: Fraction,
) -> Fraction:  # fmt: skip
    """scaled_by: the row whose scale and zero point are taken; summed: the weights whose sum is."""
    if task.path == "xnnpack":
        q, s, z = qd8(row)
        acc = sum((a - z) * b for a, b in zip(q, weights, strict=True))
        return o.f32(o.f32(o.f32(Fraction(acc)) * s) * sw)
    rule = asymmetric if task.option("asymmetric_quantize_inputs", False) else symmetric
    q, (_, s, z) = rule(row)[0], rule(scaled_by)
    dot = o.f32(Fraction(sum(a * b for a, b in zip(q, weights, strict=True))))
    acc = o.toward_zero(o.f32(dot - o.f32(o.f32(Fraction(sum(summed))) * z)))
    return o.f32(o.f32(s * sw) * acc)


def _misread(task: Task, index: tuple[int, ...], r: int, rows: int, adj_x: bool):
    """Whose row scale and whose weight sums LiteRT takes: the batch indices are added up.

    Flat positions of rows and matrices, turned back into indices of x and of w.
    """
    x, w = task.x(0), task.x(1)
    shape_x, shape_w = x.shape[:-2], w.shape[:-2]
    rank = len(index)
    taller = False
    if shape_x and shape_w and shape_w[-1] == 1:  # taken as one taller matrix
        shape_w, taller = shape_w[:-1], True
        r, rows = index[-1] % shape_x[-1] * rows + r if shape_x[-1] > 1 else r, rows * shape_x[-1]
        shape_x, index, rank = shape_x[:-1], index[:-1], rank - 1

    def position(shape: tuple[int, ...]) -> int:
        full = (1,) * (rank - len(shape)) + shape
        return sum(i for i, n in zip(index, full, strict=True) if n > 1)

    row = position(shape_x) * rows + r
    lines = x.shape[-1] if adj_x else x.shape[-2]
    matrix, line = divmod(row, lines)
    at_x = list(indices(x.shape[:-2]))[matrix]
    at_w = list(indices(w.shape[:-2]))[position(shape_w)]
    assert taller or line == r
    return (at_x, line), at_w


@oracle("EMBEDDING_LOOKUP")
def embedding_lookup(task: Task) -> list[Answer]:
    lookup, table, y = task.x(0), task.x(1), task.y
    length = count(table.shape[1:])
    shape = (len(lookup.values), *table.shape[1:])
    values = []
    for i in lookup.values:
        start = i * length
        if y.dtype == table.dtype:
            values += table.values[start : start + length]
            continue
        per_byte = {"int4": 2, "int2": 4}.get(table.dtype, 1)
        start -= start % per_byte  # rows begin at whole bytes, wherever they were stored
        for j in range(length):
            if len(table.scales) > 1 and len(table.zero_points) == 1:
                blocks = len(table.scales) // table.shape[0]
                scale = table.scales[i * blocks + j * blocks // length]
            else:
                scale = table.scales[i if len(table.scales) > 1 else 0]
            bits = {"int4": 4, "int2": 2}.get(table.dtype, 8)
            values.append(o.f32(o.wrap(table.values[start + j], bits) * scale))
    return [(shape, values)]
