"""What a certificate claims, held against the integer kernels: the checkers of this folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.errors import UnsatisfiedAssumption

from kernels import ops
from kernels.call import Call
from kernels.errors import KernelError
from kernels.profile import PATHS, RUNTIMES, Profile
from kernels.trace import tracing
from qcore.certify import started
from qcore.certify.boxes import Box
from qcore.certify.walk import Walk
from qcore.errors import CannotRun, QcoreError
from qcore.testing import models, strategies
from qcore.testing.cases import generators, make

QUANTIZED = ("int8", "uint8", "int16", "hybrid")
# What comes out has a shape of its own for other data, or is declared without one.
LEFT_OUT = ("UNIQUE", "WHERE", "EMBEDDING_LOOKUP")


def forms(*operators: str) -> list[tuple[str, str]]:
    """Quantized operators and their forms."""
    return [
        key for key in generators()
        if key[1].split(",")[0].split()[0] in QUANTIZED and key[0] not in LEFT_OUT
        and (not operators or key[0] in operators)
    ]  # fmt: skip


def integer_calls(*operators: str) -> st.SearchStrategy[Call]:
    """Calls of quantized operators."""
    known = forms(*operators)
    return st.sampled_from(known).flatmap(lambda key: strategies.calls(*key, 40))


def every(seeds: int) -> Iterator[tuple[Call, Profile, np.random.Generator]]:
    """`seeds` calls of every form of every operator, the paths in turn."""
    for operator, form in forms():
        for seed in range(seeds):
            path, runtime = PATHS[seed % 3], tuple(RUNTIMES)[seed // 3 % 2]
            made = make(operator, form, seed, 40)
            yield made, Profile(path, runtime), np.random.default_rng(seed)


def numbers() -> st.SearchStrategy[np.random.Generator]:
    """Sources of random numbers."""
    return st.integers(0, 2**32 - 1).map(np.random.default_rng)


def between(
    rng: np.random.Generator, call: Call, walk: Walk
) -> tuple[dict[int, Box], list[dict[int, Any]]]:
    """Boxes of the model's inputs, and inputs in them: both ends and mixtures.

    One end is the call's own data, the other the same moved by a few steps or in another order.
    """
    block = walk.executor.blocks[0]
    boxes, both = {}, {}
    for tensor, a in zip(block.graph.inputs, models.arrays(call), strict=True):
        t, b = block.tensors[tensor], a
        if t.quantized and rng.random() < 0.5:
            q = t.range
            moved = a.astype(np.int64) + rng.integers(-9, 10, a.shape)
            b = np.clip(moved, q.qmin, q.qmax).astype(a.dtype)
        elif t.quantized or a.dtype.kind == "f":
            b = rng.permutation(a.reshape(-1)).reshape(a.shape)
        boxes[tensor], both[tensor] = Box(np.minimum(a, b), np.maximum(a, b)), (a, b)
    inputs = [
        {t: np.where(rng.random(a.shape) < share, a, b) for t, (a, b) in both.items()}
        for share in (0, 1, 0.5)
    ]
    return boxes, inputs


def walk_of(call: Call, profile: Any) -> Walk:
    """A walk that has not begun, of the model that holds the call."""
    try:
        return started(models.to_bytes(call), profile=profile)[0]
    except QcoreError:
        raise UnsatisfiedAssumption("no model of this call") from None


def computed(walk: Walk, given: Mapping[int, np.ndarray]) -> tuple[Call, Any, Any]:
    """The only operator on these inputs: the call, its outputs and what the kernel noted."""
    walk.executor.reset()
    node = walk.executor.blocks[0].nodes[0]
    try:
        call = ops.resolve(walk.executor.call(0, node, given))
        with tracing() as noted, np.errstate(all="ignore"):
            return call, ops.apply(call, "reference")[: len(node.outputs)], noted
    except (KernelError, CannotRun):
        raise UnsatisfiedAssumption("the path does not compute this") from None


def outside(boxes: Mapping[int, Box], values: Mapping[int, np.ndarray]) -> tuple[int, list[str]]:
    """How many elements were compared, and the tensors with elements outside of their boxes."""
    count, found = 0, []
    for tensor, array in values.items():
        box = boxes.get(tensor)
        if box is None or array.dtype.kind not in "biuf":
            continue
        count += array.size
        if box.lo.size == array.size:
            box = box.map(lambda end, to=array.shape: end.reshape(to))
        else:  # a box of the type, in a declared shape that is none
            assert len(np.unique(box.lo)) == len(np.unique(box.hi)) == 1
            box = box.map(lambda end, to=array.shape: np.full(to, end.flat[0]))
        inside = (array >= box.lo) & (array <= box.hi)
        if array.dtype.kind == "f":
            inside |= np.isnan(array)
        if not inside.all():
            at = tuple(np.argwhere(~inside)[0])
            found.append(
                f"tensor {tensor}{list(at)}: {array[at]} not in [{box.lo[at]}, {box.hi[at]}]"
            )
    return count, found


def beyond(walk: Walk, noted: Any) -> tuple[int, list[str]]:
    """The same of the accumulators that a kernel noted, for an operator with one sum."""
    sums = walk.sums[0, 0]
    kept = [n.value for n in noted if n.name == "accumulator"]
    if len(sums) != 1 or not kept or not sums[0].fits:
        return 0, []
    acc = kept[-1]
    lo, hi = sums[0].lo, sums[0].hi
    if acc.size != lo.size:  # one bound a channel
        acc = acc.reshape(-1, lo.shape[-1])
    else:
        acc = acc.reshape(lo.shape)
    wrong = (acc < lo) | (acc > hi)
    return acc.size, [f"{np.count_nonzero(wrong)} accumulators"] if wrong.any() else []


def too_far(
    real: np.ndarray, floats: np.ndarray, e: np.ndarray, ends: tuple[float, float]
) -> tuple[int, str]:
    """How many elements whose float value lies inside of `ends` were compared, and what is further
    apart than e."""
    inside = (floats >= ends[0]) & (floats <= ends[1])
    off = np.abs(real - floats)
    wrong = inside & ~(off <= e)
    count = int(np.count_nonzero(inside))
    if not wrong.any():
        return count, ""
    return count, f"{np.count_nonzero(wrong)} elements, by {off[wrong].max()}"
