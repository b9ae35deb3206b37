"""Codes of an operator's outputs from boxes of its inputs, by the operator's own kernel.

    ends        never decreases (or, `FALLING`, never increases) in any element of an operand: the
                kernel on one end of every box and on the other (E89)
    corners     a product of two operands, or a slope that is one: the kernel on all corners
    codes       a function of one code: the kernel on every code, then the extremes between two
    selection   outputs are elements of the inputs, at places that are not known before
    fixed       the operator's own range, the whole of the output's type
    type        no rule: the whole of the output's type

All but the last are those of the profile's integers, roundings included. An operator's kernel wraps
at some scales (E45, E47, E55, E60); `_unsafe` says where, and the output then is the whole type.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from types import SimpleNamespace

import numpy as np

from kernels import ops
from kernels.call import Call, Tensor
from kernels.errors import KernelError
from kernels.ops import _pool, _reduce
from kernels.opspec import Role
from qcore.certify.boxes import Box, Extremes, hull, whole
from qcore.certify.linear import INT32, Sums

EIGHT = ("int8", "uint8")

# Operators that move elements, or whose integers never decrease in an input (E89).
RISING = frozenset(
    """ADD ADD_N AVERAGE_POOL_2D BATCH_TO_SPACE_ND BROADCAST_TO CONCATENATION DEPTH_TO_SPACE
    DEQUANTIZE DYNAMIC_UPDATE_SLICE EXPAND_DIMS GATHER GATHER_ND MAXIMUM MAX_POOL_2D MEAN MINIMUM
    MIRROR_PAD PACK PAD PADV2 QUANTIZE REDUCE_MAX REDUCE_MIN RESHAPE RESIZE_BILINEAR
    RESIZE_NEAREST_NEIGHBOR REVERSE_SEQUENCE REVERSE_V2 SELECT SELECT_V2 SLICE SPACE_TO_BATCH_ND
    SPACE_TO_DEPTH SPLIT SPLIT_V SQUEEZE STRIDED_SLICE SUM TILE TRANSPOSE UNPACK RELU RELU6
    RELU_0_TO_1 RELU_N1_TO_1 SHAPE RANK ZEROS_LIKE""".split()
)
FALLING = {"SUB": 1}  # the operand in which it falls; it rises in the other
CORNERS = frozenset({"MUL", "PRELU"})
CODES = frozenset(
    """ABS ELU EXP GELU HARD_SWISH LEAKY_RELU LOG LOGISTIC NEG RELU RELU6 RELU_0_TO_1 RELU_N1_TO_1
    RSQRT SQRT TANH""".split()
)
SELECTION = {  # operands that are selected from; others say where
    "GATHER": (0,), "GATHER_ND": (0,), "SELECT": (1, 2), "SELECT_V2": (1, 2), "SLICE": (0,),
    "STRIDED_SLICE": (0,), "DYNAMIC_UPDATE_SLICE": (0, 1), "REVERSE_SEQUENCE": (0,),
    "TOPK_V2": (0,), "EMBEDDING_LOOKUP": (1,),
}  # fmt: skip
# What a variable holds is not followed.
HELD = frozenset({"READ_VARIABLE", "VAR_HANDLE", "ASSIGN_VARIABLE"})
SHAPED = frozenset({"UNIQUE", "WHERE"})  # by their data: there is no box
REDUCTIONS = frozenset({"MEAN", "SUM", "AVERAGE_POOL_2D", "L2_NORMALIZATION"})
FIXED = frozenset({"SOFTMAX", "LOG_SOFTMAX", "L2_NORMALIZATION"})


@dataclass(frozen=True, eq=False)
class Outcome:
    """boxes: one for each output, None for what is no number.  rule: which one, and why not a
    better one.  evaluated: operand position -> array of each call that the kernel computed."""

    boxes: tuple[Box | None, ...]
    rule: str
    evaluated: tuple[dict[int, np.ndarray], ...] = ()


def outcome(call: Call, boxes: dict[int, Box]) -> Outcome:
    """Boxes of the outputs of a call whose inputs lie in `boxes` (by position, constants too).

    call: resolved; its data are the lower ends.
    """
    present = [p for p in range(len(call.inputs)) if call.has(p)]
    missing = [p for p in present if p not in boxes]
    if missing or call.name in HELD:
        return typed(call, "type")
    try:
        if all(boxes[p].known for p in present):
            made = _run(call, {})
            boxes_of = (Box.of(a) if a.dtype.kind in "biuf" else None for a in made)
            return Outcome(tuple(boxes_of), "known")
        return _by_rule(call, boxes)
    except (KernelError, ValueError, IndexError) as error:  # declared shapes that do not fit, too
        return typed(call, f"type: {error}")


def typed(call: Call, rule: str) -> Outcome:
    """The whole of every output's type, in the declared shapes."""
    if call.name in SHAPED:
        return Outcome((None,) * len(call.outputs), rule)
    return Outcome(tuple(whole(t, t.shape) for t in call.outputs), rule)


def _by_rule(call: Call, boxes: dict[int, Box]) -> Outcome:
    name, plain = call.name, not call.form
    varying = [p for p, b in boxes.items() if not b.known]
    if name in CODES and not plain:
        return _codes(call, boxes[0])
    unsafe = _unsafe(call, boxes)
    if unsafe:
        return typed(call, f"type: {unsafe}")
    known_places = all(_is_data(call, p) for p in varying)
    if name in RISING and known_places and (not plain or _floating(call)):
        return _ends(call, boxes, varying)
    if name in FALLING and (not plain or _floating(call)):
        return _ends(call, boxes, varying, FALLING[name])
    if name in CORNERS and not plain:
        return _corners(call, boxes, varying)
    if name in SELECTION:
        return _selection(call, boxes)
    if name in FIXED and not plain:
        return typed(call, "fixed")
    return typed(call, "type")


def _is_data(call: Call, position: int) -> bool:
    """Whether the operand holds data, and not where to look for them."""
    spec = ops.find(call.name)
    operand = None if spec is None else spec.operand(position)
    return operand is not None and operand.role is not Role.INDEX


def _floating(call: Call) -> bool:
    """Whether a call in which nothing is quantized rises: integers wrap in sums, and interpolation
    in float32 has weights that are not of one sign."""
    sums = call.name in ("ADD", "ADD_N", "SUB", "SUM", "MEAN", "AVERAGE_POOL_2D")
    return call.name != "RESIZE_BILINEAR" and (not sums or call[0].x.dtype.kind == "f")


def _run(call: Call, arrays: dict[int, np.ndarray]) -> tuple[np.ndarray, ...]:
    """Outputs of the kernel with other values in some operands."""
    inputs = tuple(
        t if t is None or p not in arrays else replace(t, data=arrays[p], constant=False)
        for p, t in enumerate(call.inputs)
    )
    with np.errstate(all="ignore"):
        return ops.apply(call.on(inputs=inputs), "reference")[: len(call.outputs)]


def _between(first: np.ndarray, *others: np.ndarray) -> Box:
    """The box around several results; NaN (of infinities) is anything."""
    box = hull(*(Box.of(a) for a in (first, *others)))
    if box.lo.dtype.kind == "f":
        bad = np.isnan(box.lo) | np.isnan(box.hi)
        if bad.any():
            return Box(
                np.where(bad, -np.inf, box.lo).astype(box.lo.dtype),
                np.where(bad, np.inf, box.hi).astype(box.lo.dtype),
            )
    return box


def _ends(
    call: Call, boxes: dict[int, Box], varying: list[int], falling: int | None = None
) -> Outcome:
    lower = {p: boxes[p].hi if p == falling else boxes[p].lo for p in varying}
    upper = {p: boxes[p].lo if p == falling else boxes[p].hi for p in varying}
    made = zip(_run(call, lower), _run(call, upper), strict=True)
    return Outcome(tuple(_between(*pair) for pair in made), "ends", (lower, upper))


def _corners(call: Call, boxes: dict[int, Box], varying: list[int]) -> Outcome:
    """MUL at its corners; PRELU, a line on either side of the zero point, there as well."""
    sides = []
    for p in varying:
        box = boxes[p]
        values = [box.lo, box.hi]
        if call.name == "PRELU" and p == 0:
            values.append(np.clip(call[0].z, box.lo, box.hi).astype(box.lo.dtype))
        sides.append([(p, v) for v in values])
    chosen = tuple(dict(pairs) for pairs in product(*sides))
    made = zip(*(_run(call, arrays) for arrays in chosen), strict=True)
    return Outcome(tuple(_between(*found) for found in made), "corners", chosen)


def _codes(call: Call, box: Box) -> Outcome:
    """The kernel on every code of the type, then the extremes between two of them."""
    found = Extremes(table(call))
    lo, hi = box.steps(int(call[0].range.qmin))
    return Outcome((Box(*found(lo, hi)),), "codes")


def table(call: Call) -> np.ndarray:
    """The output code of every input code, from the lowest on, of a function of one operand."""
    q = call[0].range
    codes = np.arange(q.qmin, q.qmax + 1, dtype=np.int64).astype(call[0].held)
    (made,) = _run(call, {0: codes.reshape((1,) * max(call[0].x.ndim - 1, 0) + (-1,))})
    return made.reshape(-1)


def _selection(call: Call, boxes: dict[int, Box]) -> Outcome:
    chosen = [boxes[p] for p in SELECTION[call.name] if p in boxes]
    lo, hi = min(b.lo.min() for b in chosen), max(b.hi.max() for b in chosen)
    if call.output.dtype != call[SELECTION[call.name][0]].dtype:
        return typed(call, "type")
    first, *rest = _run(call, {})  # for their shapes
    made = Box(np.full_like(first, lo), np.full_like(first, hi))
    others = (whole(t, a.shape) for t, a in zip(call.outputs[1:], rest, strict=True))
    return Outcome((made, *others), "selection")


# --- where a kernel wraps -------------------------------------------------------------------------


def _unsafe(call: Call, boxes: dict[int, Box]) -> str:
    """Why the kernel may wrap for inputs in these boxes, so that it need not rise; "" if it cannot.

    The conditions are sufficient, not necessary: they bound every intermediate integer (E89).
    """
    if not call.form:
        return ""
    check = _CHECKS.get(call.name)
    return check(call, boxes) if check is not None else ""


def _sum_of_two(call: Call, boxes: dict[int, Box]) -> str:
    if call.profile.is_xnnpack:
        return ""
    ratio = max(float(call[0].s), float(call[1].s)) / float(call.output.s)
    # 8 bits: 2 * 255 * 62 + 128 < 2^15, what vector code keeps of a sum.
    limit = 62 if call.output.dtype in EIGHT else 2.0**13
    return "" if ratio < limit else f"a scale is {ratio:.3g} times the output's"


def _product(call: Call, boxes: dict[int, Box]) -> str:
    if call.profile.is_xnnpack:
        return ""
    sizes = [max(map(_largest, boxes[p].steps(call[p].z))) for p in (0, 1)]
    steps = math.prod(sizes) * float(call[0].s) * float(call[1].s) / float(call.output.s)
    limit = 32000 if call.output.dtype in EIGHT else 2.0**28
    return "" if steps < limit else f"products reach {steps:.3g} output steps"


def _prelu(call: Call, boxes: dict[int, Box]) -> str:
    ratios = (
        float(call[0].s) / float(call.output.s),
        float(call[0].s) * float(call[1].s) / float(call.output.s),
    )
    return "" if ratios[0] < 2.0**14 and ratios[1] < 2.0**12 else "the output scale is too fine"


def _reduction(call: Call, boxes: dict[int, Box]) -> str:
    sums = reduction(call, boxes[0])
    if sums is None or not sums.fits:
        return "the sum leaves int32"
    if call.name == "SUM" and call.profile.is_reference:
        return "the reference kernel reads and writes bytes without sign"
    steps = max(_largest(sums.lo), _largest(sums.hi)) * float(call[0].s) / float(call.output.s)
    return "" if steps < 2.0**29 else "the output scale is too fine"


def _average(call: Call, boxes: dict[int, Box]) -> str:
    sums = reduction(call, boxes[0])
    return "" if sums is not None and sums.fits else "the sum leaves int32"


def _quantize(call: Call, boxes: dict[int, Box]) -> str:
    x, y, box = call[0], call.output, boxes[0]
    if x.dtype == "float32":
        with np.errstate(all="ignore"):
            most = float(np.max(np.abs([box.lo.min(), box.hi.max()]))) / float(y.scales.min())
        return "" if most < 2.0**30 else "floats beyond 2^30 steps"
    ratio = float(x.s) / float(y.scales.min())
    most = max(map(_largest, box.steps(x.z)))
    return "" if most * max(1.0, 2 * ratio) < 2.0**30 else "the shift leaves int32"


def _resize(call: Call, boxes: dict[int, Box]) -> str:
    floats = call[0].dtype == "uint8" and not call.profile.is_xnnpack
    return "sums in float32 (E74)" if floats else ""


def _largest(x: np.ndarray) -> int:
    return int(np.abs(x).max(initial=0))


_CHECKS: dict[str, Callable[[Call, dict[int, Box]], str]] = {
    "ADD": _sum_of_two, "SUB": _sum_of_two, "MUL": _product, "PRELU": _prelu, "MEAN": _reduction,
    "SUM": _reduction, "AVERAGE_POOL_2D": _average, "QUANTIZE": _quantize,
    "RESIZE_BILINEAR": _resize,
}  # fmt: skip


# --- other sums -----------------------------------------------------------------------------------


def reduction(call: Call, box: Box) -> Sums | None:
    """The int32 sum of MEAN, SUM, AVERAGE_POOL_2D and L2_NORMALIZATION; None for others.

    MEAN and SUM: of codes less the zero point; bare codes are added first (`raw`).
    """
    if call.name not in REDUCTIONS or not call.form or call.form.startswith("hybrid"):
        return None
    wide = Box(box.lo.astype(np.int64), box.hi.astype(np.int64))
    if call.name == "SUM" and call.profile.is_reference and call[0].dtype == "int8":  # as bytes
        wide = Box(np.zeros_like(wide.lo), np.full_like(wide.hi, 255))
    size = max(map(_largest, (wide.lo, wide.hi)))
    if call.name in ("MEAN", "SUM"):
        along = _reduce.axes(call)
        lo, hi = (_reduce.fold(e, along) for e in wide.steps(call[0].z))
        raw = size * lo.shape[1] < INT32
        return Sums(_column(lo.sum(1)), _column(hi.sum(1)), INT32, None, raw=raw)
    if call.name == "AVERAGE_POOL_2D":
        w = _pool.window(call)
        fits = size * math.prod(w.kernel) < INT32
        return Sums(_pool.total(wide.lo, w), _pool.total(wide.hi, w), INT32, None, raw=fits)
    lo, hi = wide.steps(call[0].z)
    most = np.maximum(lo**2, hi**2).sum(-1)
    least = np.where((lo > 0) | (hi < 0), np.minimum(lo**2, hi**2), 0).sum(-1)
    return Sums(_column(least), _column(most), INT32, None, name="sum of squares")


def _column(x: np.ndarray) -> np.ndarray:
    """Sums of no channel: one column."""
    return x.reshape(-1, 1)


def plain(call: Call, arrays: dict[int, np.ndarray]) -> Call:
    """The call in real units: `arrays` for its quantized operands, constants dequantized."""
    inputs: list[Tensor | None] = []
    for p, t in enumerate(call.inputs):
        if t is None or not (t.quantized or p in arrays):
            inputs.append(t)
            continue
        values = arrays[p] if p in arrays else t.real()
        inputs.append(Tensor("float32", values, constant=t.constant))
    outputs = tuple(Tensor("float32", declared=t.shape) for t in call.outputs)
    options = call.options if call.options is not None else SimpleNamespace()
    return call.on(inputs=tuple(inputs), outputs=outputs, options=options)
