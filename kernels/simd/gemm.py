"""The matrix kernel: rows of int8 activations times packed int8 weights, requantized, stored.

    y[m, n] = stage(sum_k x[m, k] * w[n, k] + bias[n])

A row is a list of contiguous segments in memory, given by one offset for the row and one for each
segment, so that 1x1 convolutions, dense layers and kxk convolutions on a padded image (a segment
for each kernel row) are one kernel and nothing is copied into columns.

`gemm_RxV_kind` keeps a tile of R rows x V vectors of channels in registers through the whole sum;
the int32 sums never reach memory. The last tile starts at M - R and repeats rows instead of needing
a kernel of its own. Weights lie in panels of V vectors, one stream read front to back:

    [V x lanes int32 bias'] [steps x V x lanes x group int8] [V x stage constants]

With `_mixed` the channels of a panel lie in `epilogue.order`, from which four vectors of sums
become bytes in order. With `_pairs` a panel is one vector, each channel two lanes that sum half of
its products: a load of activations then serves two dot instructions, where loads would be what
bounds a narrow tile.

bias' = bias - (zero_point + flip) * sum(w): activations are read as they are, or with their sign
bit flipped where the dot instruction wants them unsigned.

Kinds of `epilogue.Floats` store float32. Rows have records (quantize.py) that lie `record_bytes`
apart, 0 where all have one; "zero_point" is where the first is, the ends are bits of float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kernels.simd import epilogue
from kernels.simd.code import Code, Value, i8, i32, i64, vector
from kernels.simd.target import Target
from kernels.stage import Stage

# Vectors a panel -> rows a tile: about as many sums as there are registers beside the weights.
ROWS = {16: {1: 10, 2: 12, 3: 7, 4: 6, 5: 4}, 8: {1: 6, 2: 6}}
ROWS_AVX2 = {1: 4, 2: 4, 3: 3}
PAIRS = {16: 12, 8: 5}  # the same for panels in pairs
WIDER = 0.02  # what a panel gains by one more vector, everything else being equal
PARAMETERS = (
    "x", "y", "panels", "row_offsets", "segment_offsets", "segments", "steps", "panel_bytes",
    "count", "rows", "row_bytes", "channels", "block", "flip", "zero_point", "qmin", "qmax",
    "record_bytes",
)  # fmt: skip


def write(name: str, rest: str, target: Target) -> str:
    """LLVM IR of gemm_<rows>x<vectors>_<kind>. Units of work: tiles of rows."""
    shape, kind, how = (*rest.split("_"), "")[:3]
    height, width = map(int, shape.split("x"))
    halves = 2 if how == "pairs" else 1
    real = epilogue.real(kind)
    c = Code(name, target)
    (
        x, y, panels, row_offsets, segment_offsets, segments, steps, panel_bytes, count, rows,
        row_bytes, channels, block, flip_at, zero_point, qmin, qmax, *record_bytes,
    ) = c.parameters(len(PARAMETERS) - (not real))  # fmt: skip
    lanes = target.lanes
    flip = target.flipper(c, flip_at)
    out: epilogue.Epilogue | epilogue.Real
    if real:
        out, item = epilogue.Real(c, kind, qmin, qmax), 4
    else:
        out, item = epilogue.Epilogue(c, kind, zero_point, qmin, qmax), 1
    vectors = width * halves
    bias_bytes, step_bytes = 4 * lanes * vectors, target.group * lanes * vectors
    vector_bytes = epilogue.WIDTH[kind] * lanes
    last = rows - height

    with c.loop(c.begin, c.end, block) as first:
        until = (first + block).min(c.end)
        with c.loop(0, count) as panel:
            base = panels + panel * panel_bytes
            weights = base + bias_bytes
            constants = weights + segments * steps * step_bytes
            column = y + panel * (lanes * width * item)
            left = (channels - panel * (lanes * width)).min(lanes * width)
            with c.loop(first, until) as tile:
                row = (tile * height).min(last)
                bias = [c.load(vector(i32, lanes), base, 4 * lanes * v, 4) for v in range(vectors)]
                heads = [x + c.load(i64, row_offsets, (row + r) * 8, 8) for r in range(height)]
                sums = [bias[v] for _ in range(height) for v in range(vectors)]
                with c.loop(0, segments, carried=[weights, *sums]) as (s, outer):
                    offset = c.load(i64, segment_offsets, s * 8, 8)
                    starts = [head + offset for head in heads]
                    with c.loop(0, steps, carried=outer) as (step, state):
                        stream, *totals = state
                        w = [
                            target.weights(c, stream, v * target.group * lanes)
                            for v in range(vectors)
                        ]
                        at = step * (target.group * halves)
                        for r in range(height):
                            a = target.broadcast(c, starts[r], at, flip, halves)
                            for v in range(vectors):
                                i = r * vectors + v
                                totals[i] = target.dot(c, totals[i], a, w[v])
                        state[:] = [stream + step_bytes, *totals]
                    outer[:] = state
                totals = outer[1:]
                if how == "pairs":
                    totals = [_paired(a, b) for a, b in zip(totals[::2], totals[1::2])]
                given = [out.load(constants, v * vector_bytes) for v in range(width)]
                if isinstance(out, epilogue.Real):
                    records = [zero_point + (row + r) * record_bytes[0] for r in range(height)]
                    made = _real(out, totals, given, records)
                else:
                    emitted = _mixed if how == "mixed" else _packed if out.packs else _single
                    made = emitted(out, totals, given)
                for r, v, value in made:
                    store(c, value, column + (row + r) * row_bytes, v * lanes, left, item)
    return c.finish()


def _paired(a: Value, b: Value) -> Value:
    """The sums of neighbouring lanes of a and b."""
    even = range(0, 2 * a.lanes, 2)
    return a.shuffle(even, b) + a.shuffle([i + 1 for i in even], b)


def _single(
    out: epilogue.Epilogue, totals: list[Value], given: list[list[Value]]
) -> Iterator[tuple[int, int, Value]]:
    """(row, first vector, bytes) of a tile, a vector at a time."""
    for i, total in enumerate(totals):
        r, v = divmod(i, len(given))
        yield r, v, out.emit(total, given[v])


def _real(
    out: epilogue.Real, totals: list[Value], given: list[list[Value]], records: list[Value]
) -> Iterator[tuple[int, int, Value]]:
    """(row, first vector, float32) of a tile; records: where those of its rows are."""
    width = len(given)
    for r, record in enumerate(records):
        row = out.row(record)
        for v in range(width):
            yield r, v, out.emit(totals[r * width + v], given[v], row)


def _mixed(
    out: epilogue.Epilogue, totals: list[Value], given: list[list[Value]]
) -> Iterator[tuple[int, int, Value]]:
    """The same, a row of four vectors at a time, whose channels lie as they come out."""
    for r in range(len(totals) // 4):
        yield r, 0, out.together(totals[4 * r : 4 * r + 4], given)


def _packed(
    out: epilogue.Epilogue, totals: list[Value], given: list[list[Value]]
) -> Iterator[tuple[int, int, Value]]:
    """The same, four vectors at a time: of one row, or of two or four narrow ones."""
    width = len(given)
    across = 4 // width  # rows
    lanes = out.code.target.lanes
    for first in range(0, len(totals) // width, across):
        part = range(first * width, min((first + across) * width, len(totals)))
        four = [*part, *[part[-1]] * (4 - len(part))]
        mixed = out.together([totals[i] for i in four], [given[i % width] for i in four])
        words = mixed.bits(vector(i32, 16))
        made = words.shuffle([4 * lane + v for v in range(4) for lane in range(4)])
        made = made.bits(mixed.kind)
        for r in range(len(part) // width):
            size = width * lanes
            picked = range(r * size, (r + 1) * size)
            yield first + r, 0, made.shuffle(picked) if width < 3 else made


def store(c: Code, value: Value, base: Value, offset: int, left: Value, item: int = 1) -> None:
    """The vector at base + offset, but nothing at or beyond base + left. offset, left: in elements
    of `item` bytes."""
    lanes = value.lanes
    room = left - offset
    if c.target.lanes == 16:
        order = c.lanes_numbered(lanes, i8)
        inside = order < room.min(lanes).to(i8).splat(lanes)
        c.store_some(value, inside, base, offset * item)
        return
    with c.when(room >= lanes):
        c.store(value, base, offset * item)
    with c.when(room < lanes):
        for lane in range(lanes):
            with c.when(room > lane):
                one = Value(c, c.b.extract_element(value.it, i32(lane)))
                c.store(one, base, (offset + lane) * item)


@dataclass(frozen=True, eq=False)
class Packed:
    """Weights of one operator in panels; names the kernel that reads them.

    panels: uint8, 64-byte aligned.  first: output channel of the first panel.  channels: how many
    channels the panels hold.
    """

    kernel: str
    panels: np.ndarray
    panel_bytes: int
    count: int
    steps: int
    height: int
    first: int
    channels: int


def shapes(target: Target, vectors: int, rows: int) -> list[tuple[int, int]]:
    """(panels, vectors each) that cover `vectors` as evenly as can be, wide panels first.

    As wide as there are registers, unless narrower and higher tiles fit `rows` so much better that
    less is computed twice: 49 rows are 7 tiles of 7, but 9 of 6.
    """
    heights = _rows(target)

    def cost(width: int) -> float:
        tiles = -(-rows // heights[width])
        return tiles * heights[width] * -(-vectors // width) * width * (1 + WIDER * (4 - width))

    most = min(max(heights), 4)
    width = min(range(max(most - 1, 1), most + 1), key=cost) if rows > heights[most] else most
    count = -(-vectors // width)
    wide, narrow = -(-vectors // count), vectors // count
    n_wide = vectors - narrow * count
    return [(n, w) for n, w in ((n_wide, wide), (count - n_wide, narrow)) if n and w]


def _rows(target: Target) -> dict[int, int]:
    return ROWS_AVX2 if target.group < 4 else ROWS[target.lanes]


def pack(
    target: Target, w: np.ndarray, bias: np.ndarray, zero_point: int,
    stage: Stage | epilogue.Floats, rows: int, plain: bool = False,
) -> list[Packed]:  # fmt: skip
    """Weights (N, segments, K) int8 and bias (N,) as panels, one Packed for each panel width.

    zero_point: of the activations.  rows: M; a tile is never higher.  plain: the channels of every
    panel lie one behind the other.
    """
    n, segments, k = w.shape
    lanes = target.lanes
    kind = epilogue.kind_of(stage)
    assert kind is not None
    vectors = -(-n // lanes)
    longest = 2 * target.group
    full = np.zeros((vectors * lanes, segments, -(-k // longest) * longest), np.int8)
    full[:n, :, :k] = w
    offset = np.zeros(vectors * lanes, np.int32)
    sums = (zero_point + target.flip) * w.sum((1, 2), dtype=np.int64)
    offset[:n] = (bias.astype(np.int64) - sums).astype(np.int32)
    each = np.zeros((vectors * lanes, epilogue.WIDTH[kind]), np.uint8)
    each[:n] = epilogue.constants(stage, n, 1)
    made, at = [], 0
    for count, width in shapes(target, vectors, rows):
        how = "" if plain else _arrangement(target, width, epilogue.real(kind))
        halves = 2 if how == "pairs" else 1
        step = target.group * halves
        steps = -(-k // step)
        heights = PAIRS[lanes] if how == "pairs" else _rows(target)[width]
        order = epilogue.order(width, lanes) if how == "mixed" else np.arange(width * lanes)
        picked = (at + np.arange(count)[:, None] * width) * lanes + order
        # (panels, vectors, channels of one, segments, steps, bytes of a channel)
        shape = count, width * halves, lanes // halves
        tiles = full[picked, :, : steps * step].reshape(*shape, segments, steps, step)
        first = np.zeros((*shape, halves), np.int32)
        first[..., 0] = offset[picked].reshape(shape)
        streams = [
            first.reshape(count, -1).view(np.uint8),
            tiles.transpose(0, 3, 4, 1, 2, 5).reshape(count, -1).view(np.uint8),
            epilogue.constants_of(each, picked, kind, lanes),
        ]
        panels = np.concatenate(streams, axis=1)
        size = -(-panels.shape[1] // 64) * 64
        held = aligned(count * size).reshape(count, size)
        held[:, : panels.shape[1]] = panels
        height = min(heights, rows)
        name = f"gemm_{height}x{width}_{kind}" + f"_{how}" * bool(how)
        left = min(n - at * lanes, count * width * lanes)
        made.append(Packed(name, held, size, count, steps, height, at * lanes, left))
        at += count * width
    return made


def _arrangement(target: Target, width: int, real: bool) -> str:
    """How the channels of a panel lie."""
    if width == 4 and target.lanes == 16 and not real:
        return "mixed"
    return "pairs" if width == 1 and target.group == 4 else ""


def unpack(target: Target, packed: Packed, segments: int) -> np.ndarray:
    """The weights in the panels, (channels, segments, steps * group) int8: `pack` backwards."""
    lanes, group = target.lanes, target.group
    halves = 2 if packed.kernel.endswith("_pairs") else 1
    vectors = int(packed.kernel.split("x")[1].split("_")[0])
    step, width = group * halves, vectors * halves
    start = 4 * lanes * width
    stop = start + segments * packed.steps * width * lanes * group
    found = packed.panels[:, start:stop].view(np.int8)
    found = found.reshape(packed.count, segments, packed.steps, width * (lanes // halves), step)
    if packed.kernel.endswith("_mixed"):
        found = found[:, :, :, np.argsort(epilogue.order(vectors, lanes))]
    found = found.transpose(0, 3, 1, 2, 4).reshape(-1, segments, packed.steps * step)
    return found[: packed.channels]


def aligned(size: int) -> np.ndarray:
    """Zeroed uint8 memory that starts at a multiple of 64, with room to read beyond its end."""
    memory = np.zeros(size + 192, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size]
