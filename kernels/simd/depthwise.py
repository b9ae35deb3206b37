"""Depthwise convolution: each channel with its own taps, several taps in one dot instruction.

    y[p, c] = stage(sum_t x[base(p) + tap(t), c] * w[t, c] + bias[c])

A pixel's taps lie at the same offsets from its base, on an image that has its border around it.
Taps are taken in groups, as many as the dot instruction multiplies into one lane: their rows of
bytes are interleaved, so that a lane holds one channel. Three walks over a row of the output:

depthwise_taps_B_kind      any window, B channels at a time
depthwise_flat_B_kind      any window of stride 1, fewer channels than B: pixels and channels are
                           one axis, along which the weights repeat
depthwise_columns_B_kind_KxS   up to `group` rows, K columns, stride S < K: a group is a column of
                           the window, and is kept for the K / S pixels that need it

With four vectors a block (64 channels of 16 lanes) the interleaving stays within 128-bit lanes,
where it is cheap; sums then are in `epilogue.order`, in which weights and constants are packed and
which the output stage's packing of four vectors into bytes undoes. Of more channels than a block
the last block starts at C - B and repeats some; fewer are a block by themselves.

Packed, for each block: [B int32 bias'] [groups x B x group int8] [B stage constants].

Kinds of `epilogue.Floats` store float32; "zero_point" is then where the image's record is
(quantize.py), the ends are bits of float32.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kernels.simd import epilogue
from kernels.simd.code import Code, Value, i8, i16, i32, i64, vector
from kernels.simd.gemm import aligned, store
from kernels.simd.target import Target
from kernels.stage import Stage

PARAMETERS = (
    "x", "y", "blocks", "row_offsets", "tap_offsets", "groups", "block_bytes", "count", "width",
    "column_bytes", "channels", "flip", "zero_point", "qmin", "qmax",
)  # fmt: skip


def write(name: str, rest: str, target: Target) -> str:
    """LLVM IR of a depthwise kernel. Units of work: rows of the output."""
    walk, size, kind, *shape = rest.split("_")
    k = Kernel(name, target, int(size), kind)
    c = k.code
    with c.loop(c.begin, c.end) as line:
        k.start = k.x + c.load(i64, k.row_offsets, line * 8, 8)
        k.line = k.y + line * k.width * k.channels * k.item
        if walk == "flat":
            _flat(k)
        elif walk == "taps":
            _taps(k)
        else:
            columns, stride = map(int, shape[0].split("x"))
            _columns(k, columns, stride)
    return c.finish()


class Kernel:
    """What the three walks share: parameters, blocks of weights, sums to bytes."""

    start: Value  # of the first pixel's taps in this line
    line: Value  # of the output

    def __init__(self, name: str, target: Target, block: int, kind: str):
        self.code = c = Code(name, target)
        self.target, self.block = target, block
        (self.x, self.y, self.blocks, self.row_offsets, self.tap_offsets, self.groups,
         self.block_bytes, self.count, self.width, self.column_bytes, self.channels, flip,
         *ends) = c.parameters(len(PARAMETERS))  # fmt: skip
        self.flip = target.flipper(c, flip)
        self.out: epilogue.Epilogue | epilogue.Real
        if epilogue.real(kind):
            self.out, self.item = epilogue.Real(c, kind, *ends[1:]), 4
            self.row = self.out.row(ends[0])
        else:
            self.out, self.item = epilogue.Epilogue(c, kind, *ends), 1
        self.vectors = block // target.lanes
        self.step_bytes = block * target.group
        self.vector_bytes = epilogue.WIDTH[kind] * target.lanes

    def bias(self, base: Value) -> list[Value]:
        lanes = self.target.lanes
        return [
            self.code.load(vector(i32, lanes), base, 4 * lanes * v, 4) for v in range(self.vectors)
        ]

    def tap(self, number: Value) -> Value:
        return self.code.load(i64, self.tap_offsets, number * 8, 8)

    def rows(self, at: Value, taps: list[Value]) -> list[Value]:
        """The bytes of a block under each tap of a group, interleaved."""
        found = [self.code.load(vector(i8, self.block), at, t) for t in taps]
        return interleave(self.target, found, self.flip)

    def add(self, sums: list[Value], group: list[Value], base: Value, number: object) -> None:
        """A group of taps times its weights, onto the sums."""
        offset = self.code.value(number) * self.step_bytes + 4 * self.block
        for v, taps in enumerate(group):
            at = offset + v * self.target.lanes * self.target.group
            sums[v] = self.target.dot(
                self.code, sums[v], taps, self.target.weights(self.code, base, at)
            )

    def finish(self, sums: list[Value], base: Value, to: Value, left: Value) -> None:
        constants = base + 4 * self.block + self.groups * self.step_bytes
        given = [self.out.load(constants, v * self.vector_bytes) for v in range(len(sums))]
        if isinstance(self.out, epilogue.Real):
            reals = [self.out.emit(s, g, self.row) for s, g in zip(sums, given)]
            for v, value in enumerate(_in_order(reals) if len(reals) == 4 else reals):
                store(self.code, value, to, v * self.target.lanes, left, self.item)
            return
        if len(sums) == 4:  # `order` is the one in which the bytes come out
            made = self.out.together(sums, given)
        else:
            made = self.out.emit(sums[0], given[0])
        store(self.code, made, to, 0, left)

    def each_block(self) -> Iterator[tuple[Value, Value]]:
        """(first channel, weights) of each block of channels; a `with` body by a generator."""
        with self.code.loop(0, self.count) as b:
            yield (
                (b * self.block).min((self.channels - self.block).max(0)),
                self.blocks + b * self.block_bytes,
            )

    def all_groups(self, sums: list[Value], base: Value, at: Value) -> list[Value]:
        c, n = self.code, self.target.group
        with c.loop(0, self.groups, carried=sums) as (g, state):
            taps = [self.tap(g * n + t) for t in range(n)]
            self.add(state, self.rows(at, taps), base, g)
        return state


def _taps(k: Kernel) -> None:
    for channel, base in k.each_block():
        with k.code.loop(0, k.width) as column:
            at = k.start + column * k.column_bytes + channel
            sums = k.all_groups(k.bias(base), base, at)
            to = k.line + (column * k.channels + channel) * k.item
            k.finish(sums, base, to, k.channels - channel)


def _flat(k: Kernel) -> None:
    size = k.width * k.channels
    with k.code.loop(0, size, k.block) as f:
        base = k.blocks + f / k.block % k.count * k.block_bytes
        sums = k.all_groups(k.bias(base), base, k.start + f)
        k.finish(sums, base, k.line + f * k.item, size - f)


def _columns(k: Kernel, columns: int, stride: int) -> None:
    c = k.code
    taps = [k.tap(c.value(t)) for t in range(k.target.group)]
    step = k.column_bytes / stride  # bytes from a column of the image to the next
    kept = columns - stride
    for channel, base in k.each_block():
        at = k.start + channel
        first = [v for j in range(kept) for v in k.rows(at + step * j, taps)]
        with c.loop(0, k.width, carried=first) as (column, state):
            here = at + column * k.column_bytes
            held = [state[i : i + k.vectors] for i in range(0, len(state), k.vectors)]
            held += [k.rows(here + step * j, taps) for j in range(kept, columns)]
            sums = k.bias(base)
            for number, group in enumerate(held):
                k.add(sums, group, base, number)
            to = k.line + (column * k.channels + channel) * k.item
            k.finish(sums, base, to, k.channels - channel)
            state[:] = [v for group in held[stride:] for v in group]


def _in_order(mixed: list[Value]) -> list[Value]:
    """Four vectors of float32 whose channels lie as `epilogue.order` says, one behind the other."""
    halves = [(range(8), range(16, 24)), (range(8, 16), range(24, 32))]
    quarters = [(0, 8, 16, 24), (4, 12, 20, 28)]
    made = []
    for first, second in halves:
        pairs = [a.shuffle([*first, *second], b) for a, b in (mixed[:2], mixed[2:])]
        for starts in quarters:
            picks = [i for start in starts for i in range(start, start + 4)]
            made.append(pairs[0].shuffle(picks, pairs[1]))
    return made


def interleave(target: Target, rows: list[Value], flip: Value | None) -> list[Value]:
    """The taps of each channel side by side, a vector of the dot instruction's width at a time."""
    if target.group == 1:
        return [rows[0].to(i32)]
    n = rows[0].lanes
    if target.group == 2:
        return [rows[0].shuffle([j for i in range(n) for j in (i, n + i)], rows[1]).to(i16)]
    assert flip is not None
    if n == target.lanes:
        pairs = [
            a.shuffle([j for i in range(n) for j in (i, n + i)], b)
            for a, b in ((rows[0], rows[1]), (rows[2], rows[3]))
        ]
        both = [j + k * 2 * n for i in range(0, 2 * n, 2) for k in (0, 1) for j in (i, i + 1)]
        return [pairs[0].shuffle(both, pairs[1]) ^ flip]

    def unpack(a: Value, b: Value, upper: bool, size: int) -> Value:
        """The lower or upper half of each 128-bit lane of a and b, pieces of `size` alternating."""
        picks = []
        for lane in range(0, n, 16):
            for i in range(lane + 8 * upper, lane + 8 * upper + 8, size):
                picks += [*range(i, i + size), *range(n + i, n + i + size)]
        return a.shuffle(picks, b)

    made = []
    for upper in (False, True):
        first, second = unpack(rows[0], rows[1], upper, 1), unpack(rows[2], rows[3], upper, 1)
        made += [unpack(first, second, False, 2) ^ flip, unpack(first, second, True, 2) ^ flip]
    return made


@dataclass(frozen=True, eq=False)
class Packed:
    """Weights of one operator in blocks; names the kernel.

    starts: first channel of each block (of the repeated channels for the flat walk).
    taps: the tap at each place of each group; -1 where a group is filled up.
    """

    kernel: str
    blocks: np.ndarray
    block_bytes: int
    count: int
    groups: int
    starts: tuple[int, ...]
    taps: np.ndarray


def pack(
    target: Target, w: np.ndarray, bias: np.ndarray, zero_point: int,
    stage: Stage | epilogue.Floats, stride: int = 1, dilation: int = 1,
) -> Packed:  # fmt: skip
    """Weights (KH, KW, C) int8 and bias (C,); zero_point of the activations; stride and dilation
    along a row."""
    height, width, channels = w.shape
    lanes, group = target.lanes, target.group
    kind = epilogue.kind_of(stage)
    assert kind is not None
    number = np.arange(height * width).reshape(height, width)
    block = 64 if lanes == 16 and (channels >= 64 or stride == 1) else lanes
    walk, suffix = "taps", ""
    if channels < block and stride == 1:
        walk = "flat"
    elif 1 < height <= group and stride < width <= 4 and dilation == 1 and group == 4:
        walk, suffix = "columns", f"_{width}x{stride}"
    if walk == "columns":
        taps = np.full((width, group), -1)
        taps[:, :height] = number.T
    else:
        groups = -(-number.size // group)
        taps = np.full((groups, group), -1)
        taps.flat[: number.size] = number.ravel()
    if walk == "flat":
        starts = [i * block for i in range(math.lcm(channels, block) // block)]
        reach = math.lcm(channels, block)
    else:
        last = max(channels - block, 0)
        starts = [min(i, last) for i in range(0, channels, block)]
        reach = max(channels, block)

    def wide(values: np.ndarray) -> np.ndarray:
        """(..., C) as (..., reach): repeated for the flat walk, else filled up with zeros."""
        if walk == "flat":
            return np.tile(values, reach // channels)
        out = np.zeros((*values.shape[:-1], reach), values.dtype)
        out[..., :channels] = values
        return out

    offset = bias.astype(np.int64) - (zero_point + target.flip) * w.sum((0, 1), dtype=np.int64)
    weights = np.concatenate([w.reshape(-1, channels), np.zeros((1, channels), np.int8)])[taps]
    each = wide(epilogue.constants(stage, channels, 1).T).T
    offset, weights = wide(offset.astype(np.int32)), wide(weights)
    streams = []
    for start in starts:
        picked = start + epilogue.order(block // lanes, lanes)
        packed = weights[:, :, picked].reshape(*taps.shape, -1, lanes).transpose(0, 2, 3, 1)
        parts = [offset[picked], packed, epilogue.constants_of(each, picked, kind, lanes)]
        streams.append(
            np.concatenate([np.ascontiguousarray(p).reshape(-1).view(np.uint8) for p in parts])
        )
    size = -(-len(streams[0]) // 64) * 64
    held = aligned(len(streams) * size).reshape(len(streams), size)
    for b, stream in enumerate(streams):
        held[b, : len(stream)] = stream
    name = f"depthwise_{walk}_{block}_{kind}{suffix}"
    return Packed(name, held, size, len(streams), len(taps), tuple(starts), taps)


def unpack(target: Target, packed: Packed, channels: int) -> np.ndarray:
    """The weights in the blocks, (taps, C) int8: `pack` backwards."""
    size = packed.kernel.split("_")[2]
    block, lanes, group = int(size), target.lanes, target.group
    found = np.zeros((packed.taps.max() + 2, max(channels, packed.starts[-1] + block)), np.int8)
    for b, start in enumerate(packed.starts):
        stream = packed.blocks[b, 4 * block : 4 * block + packed.taps.size * block].view(np.int8)
        taps = stream.reshape(packed.groups, -1, lanes, group).transpose(0, 3, 1, 2)
        places = start + epilogue.order(block // lanes, lanes)
        for tap, values in zip(packed.taps.ravel(), taps.reshape(packed.taps.size, -1)):
            found[tap, places] = values
    return found[:-1, :channels]
