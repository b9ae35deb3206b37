"""Random float models with ranges in them.

`random_graph(seed)` is a graph of 3 to 12 operators, `weight_model(...)` one operator with weights
and bias of a chosen kind, `range_model(seed)` many activation ranges side by side. Every tensor
that is computed carries min and max, so that a quantizer needs no calibration; shapes are static
and the float interpreter runs each model. The seed alone decides everything; `grow` takes its
numbers from anything with the methods of numpy's RandomState.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np

import tflite_schema as ts
from qcore.testing.build import Builder


def random_range(rng: Any, odd: float = 0.08) -> tuple[float, float]:
    """min and max as a calibrator could have recorded them; `odd`: how often a degenerate one."""
    if rng.rand() < odd:
        return ODD_RANGES[rng.randint(len(ODD_RANGES))]
    size = float(np.exp(rng.uniform(-3, 3)))
    kind = rng.randint(6)
    if kind == 0:  # around zero
        return -size * rng.rand(), size * rng.rand()
    if kind == 1:  # after RELU
        return 0.0, size
    if kind == 2:  # on one side, zero outside
        low = size * rng.rand()
        return (low, low + size) if rng.rand() < 0.5 else (-low - size, -low)
    if kind == 3:  # exactly symmetric: the zero point is a tie
        return -size, size
    if kind == 4:  # powers of two
        return -float(2.0 ** rng.randint(-6, 6)), float(2.0 ** rng.randint(-6, 6))
    return -size * 10, size / 10


# What really happens: a dead tensor as the calibrator records it, a constant one, RELU6.
ODD_RANGES: tuple[tuple[float, float], ...] = (
    (0.0, 1.1754943508222875e-38),
    (1.0, 1.0),
    (-1.0, -1.0),
    (0.0, 6.0),
    (0.0, 1e-6),
    (-1e-7, 3e-7),
    (-1e10, 1e9),
)
# What stresses the formulas beyond that: some of it no operator survives.
WILD_RANGES: tuple[tuple[float, float], ...] = (
    *ODD_RANGES,
    (0.0, 0.0),
    (-5e-7, 4.9e-7),
    (-5e-7, 5e-7),
    (-1.1754943508222875e-38, 1.1754943508222875e-38),
    (1e-45, 1e-45),
    (-3e38, 3e38),
    (0.0, 1e36),
    (-127.0, 128.0),
    (-128.0, 127.0),
)

WEIGHT_KINDS = ("normal", "zero_channels", "all_zero", "splat", "negative_splat", "tiny", "ties")
BIAS_KINDS = ("normal", "huge", "zero", "one_zero", "none")


def weights(rng: Any, shape: Sequence[int], kind: str = "normal", axis: int = 0) -> np.ndarray:
    """float32 values of a kind; axis: where the channels are."""
    w = np.asarray(rng.normal(0, np.exp(rng.uniform(-3, 1)), size=tuple(shape)), np.float32)
    by_channel = [1] * w.ndim
    if w.ndim:
        by_channel[axis] = w.shape[axis]
    if kind == "zero_channels":
        return (w * (rng.rand(*by_channel) < 0.5)).astype(np.float32)
    if kind == "all_zero":
        return np.zeros_like(w)
    if kind in ("splat", "negative_splat"):
        return np.full_like(w, rng.uniform(0.1, 2) * (-1 if kind == "negative_splat" else 1))
    if kind == "tiny":
        return (w * np.float32(10.0 ** rng.uniform(-12, -6))).astype(np.float32)
    if kind == "ties":  # the largest is 127 steps of a power of two, so half steps are exact
        steps = rng.randint(-127, 127, size=w.shape) + rng.choice([0.0, 0.5], size=w.shape)
        steps = np.asarray(steps)
        at = [slice(None)] * w.ndim
        if w.ndim:
            for i, n in enumerate(w.shape):
                if i != axis:
                    at[i] = slice(0, min(1, n))
        steps[tuple(at)] = 127.0
        return (steps * 2.0 ** rng.randint(-10, -2)).astype(np.float32)
    return w


def biases(rng: Any, count: int, kind: str = "normal") -> np.ndarray:
    """(count,) float32 of a kind; "none" is zeros as well."""
    b = rng.normal(0, 1, size=count).astype(np.float32)
    if kind == "huge":
        return (b * np.float32(10.0 ** rng.uniform(4, 9))).astype(np.float32)
    if kind in ("zero", "none"):
        return np.zeros_like(b)
    if kind == "one_zero":
        b[rng.randint(count)] = 0
    return b


Make = Callable[["Growing"], bool]
_MAKERS: dict[str, tuple[Make, float]] = {}


def maker(*names: str, weight: float = 1.0) -> Callable[[Any], Any]:
    """Registers a function that appends one operator; of several it is told which."""

    def register(make: Any) -> Any:
        for name in names:
            one = (lambda g, n=name: make(g, n)) if len(names) > 1 else make
            _MAKERS[name] = (one, weight / len(names))
        return make

    return register


def operators() -> tuple[str, ...]:
    """Every operator that a random graph may hold."""
    return tuple(_MAKERS)


class Growing:
    """The builder, its random numbers, and which tensors may be read.

    rng: the methods of numpy.random.RandomState.  odd: share of degenerate ranges.
    """

    def __init__(self, rng: Any, odd: float) -> None:
        self.rng = rng
        self.b = Builder()
        self.odd = odd
        self.live: list[int] = []  # float tensors that were computed or are inputs
        self.masks: list[int] = []  # bool tensors
        self.read: set[int] = set()
        self.constants: list[int] = []

    def shape(self, t: int) -> tuple[int, ...]:
        return self.b.tensors[t].shape or ()

    def chance(self, p: float) -> bool:
        return bool(self.rng.rand() < p)

    def pick(self, *ranks: int, where: Callable[[tuple[int, ...]], bool] | None = None) -> int:
        """A live tensor of one of the ranks, the newer the likelier; -1 if there is none."""
        fit = [
            t
            for t in self.live
            if (not ranks or len(self.shape(t)) in ranks)
            and (where is None or where(self.shape(t)))
        ]
        if not fit:
            return -1
        return fit[max(self.rng.randint(len(fit)), self.rng.randint(len(fit)))]

    def constant(self, shape: Sequence[int], axis: int = 0, share: float = 0.5) -> int:
        """A float constant, sometimes one that another operator already reads."""
        same = [c for c in self.constants if self.shape(c) == tuple(shape)]
        if same and self.chance(share):
            return same[self.rng.randint(len(same))]
        kind = WEIGHT_KINDS[self.rng.randint(len(WEIGHT_KINDS))] if self.chance(0.4) else "normal"
        c = self.b.const(weights(self.rng, shape, kind, axis), f"constant{len(self.b.tensors)}")
        self.constants.append(c)
        return c

    def bias(self, count: int) -> int:
        kind = BIAS_KINDS[self.rng.randint(4)] if self.chance(0.3) else "normal"
        c = self.b.const(biases(self.rng, count, kind), f"bias{len(self.b.tensors)}")
        if self.chance(0.5):
            self.constants.append(c)
        return c

    def activation(self) -> str:
        return ("NONE", "NONE", "RELU", "RELU6", "RELU_N1_TO_1")[self.rng.randint(5)]

    def op(self, name: str, operands: Sequence[Any], *shapes: Any, **fields: Any) -> bool:
        """Appends an operator with random output ranges."""
        dtype = fields.get("dtype", "FLOAT32")
        fields["range"] = [
            random_range(self.rng, self.odd) if dtype == "FLOAT32" else None for _ in shapes
        ]
        fields["names"] = [f"{name.lower()}{len(self.b.tensors) + i}" for i in range(len(shapes))]
        made = self.b.op(name, operands, *shapes, **fields)
        outputs = [made] if isinstance(made, int) else list(made)
        for x in operands:
            if isinstance(x, (int, np.integer)):
                self.read.add(int(x))
        if dtype == "FLOAT32":
            self.live += outputs
        elif dtype == "BOOL":
            self.masks += outputs
        return True


def random_graph(
    seed: int, *, only: Sequence[str] | None = None, without: Sequence[str] = (), odd: float = 0.08
) -> ts.Model:
    """A graph of 3 to 12 operators.

    only, without: which operators may be in it.  odd: share of degenerate ranges.
    """
    return grow(np.random.RandomState(seed), only, without, odd, f"seed {seed}")


def grow(
    rng: Any,
    only: Sequence[str] | None = None,
    without: Sequence[str] = (),
    odd: float = 0.08,
    what: str = "these numbers",
    sizes: tuple[int, int] = (3, 12),
    tries: int = 400,
    attempt: Callable[[Callable[[], bool]], bool] = lambda make: make(),
) -> ts.Model:
    """`random_graph` with numbers from `rng`, which has the methods of numpy.random.RandomState.

    what: how a message names the source of the numbers.  sizes: the fewest and the most operators.
    tries: how many makers of operators are asked.  attempt: asks one, so that a caller knows which
    numbers belong together.
    """
    g = Growing(rng, odd)
    base = (1, int(rng.choice([4, 6, 8])), int(rng.choice([4, 8])), int(rng.choice([1, 2, 4, 6])))
    shapes = [base, base, (1, 12), (2, 5, 4), (3, 8), (4, 2, 4, 2)]
    for i in range(rng.randint(1, 4)):
        shape = shapes[rng.randint(len(shapes))] if i else shapes[rng.choice([0, 0, 0, 2, 3])]
        g.live.append(g.b.input(shape, f"input{i}", range=random_range(rng, odd)))
    names = [n for n in _MAKERS if (only is None or n in only) and n not in without]
    chances = np.array([_MAKERS[n][1] for n in names])
    chances /= chances.sum()
    wanted = rng.randint(sizes[0], sizes[1] + 1)
    while len(g.b.operators) < wanted and tries > 0:
        tries -= 1
        attempt(lambda: _MAKERS[names[rng.choice(len(names), p=chances)]][0](g))
    if not g.b.operators:
        raise ValueError(f"no operator of {names} fits the shapes of {what}")
    written = [t for op in g.b.operators for t in op.outputs]
    outputs = [t for t in written if t not in g.read]
    also = [t for t in g.live if t in g.read and t in written]
    if also and rng.rand() < 0.3:  # an output that is read as well
        outputs.insert(rng.randint(len(outputs) + 1), also[rng.randint(len(also))])
    return g.b.model(outputs)


def _spatial(size: int, kernel: int, stride: int, padding: str) -> int:
    return -(-size // stride) if padding == "SAME" else (size - kernel) // stride + 1


def _window(g: Growing, x: int) -> tuple[int, int, str, int, int]:
    """kernel, stride, padding, and the height and width of the result."""
    _, h, w, _ = g.shape(x)
    kernel = min(h, w, int(g.rng.choice([1, 2, 3])))
    stride = int(g.rng.choice([1, 1, 2]))
    padding = str(g.rng.choice(["SAME", "VALID"]))
    high, wide = (_spatial(n, kernel, stride, padding) for n in (h, w))
    return kernel, stride, padding, high, wide


def _channels(g: Growing) -> int:
    return int(g.rng.choice([1, 2, 3, 4, 6, 8]))


@maker("CONV_2D", weight=3)
def _conv(g: Growing) -> bool:
    if (x := g.pick(4)) < 0:
        return False
    k, s, padding, h, w = _window(g, x)
    n, *_, c = g.shape(x)
    out = _channels(g)
    operands = [x, g.constant((out, k, k, c)), g.bias(out)]
    return g.op(
        "CONV_2D", operands, (n, h, w, out), padding=padding, stride_w=s, stride_h=s,
        fused_activation_function=g.activation(),
    )  # fmt: skip


@maker("DEPTHWISE_CONV_2D", weight=2)
def _depthwise(g: Growing) -> bool:
    if (x := g.pick(4)) < 0:
        return False
    k, s, padding, h, w = _window(g, x)
    n, *_, c = g.shape(x)
    times = int(g.rng.choice([1, 1, 2]))
    operands = [x, g.constant((1, k, k, c * times), axis=3), g.bias(c * times)]
    return g.op(
        "DEPTHWISE_CONV_2D", operands, (n, h, w, c * times), padding=padding, stride_w=s,
        stride_h=s, depth_multiplier=times, fused_activation_function=g.activation(),
    )  # fmt: skip


@maker("TRANSPOSE_CONV", weight=0.7)
def _transpose_conv(g: Growing) -> bool:
    if (x := g.pick(4, where=lambda s: max(s) <= 8)) < 0:
        return False
    n, h, w, c = g.shape(x)
    out = _channels(g)
    shape = (n, 2 * h, 2 * w, out)
    operands: list[Any] = [np.array(shape, np.int32), g.constant((out, 2, 2, c)), x]
    if g.chance(0.5):
        operands.append(g.bias(out))
    return g.op(
        "TRANSPOSE_CONV", operands, shape, padding="SAME", stride_w=2, stride_h=2,
        version=3 if len(operands) == 4 else 1,
    )  # fmt: skip


@maker("FULLY_CONNECTED", weight=2)
def _fully_connected(g: Growing) -> bool:
    if (x := g.pick(2, 3)) < 0:
        return False
    *rest, depth = g.shape(x)
    out = _channels(g)
    bias: list[Any] = [[g.bias(out)], [None], []][g.rng.choice(3, p=[0.7, 0.15, 0.15])]
    keep = len(rest) > 1
    return g.op(
        "FULLY_CONNECTED", [x, g.constant((out, depth)), *bias], (*rest, out),
        fused_activation_function=g.activation(), keep_num_dims=keep, version=5 if keep else 1,
    )  # fmt: skip


def _other(g: Growing, x: int, share: float = 0.45) -> int:
    """A second operand for `x`: live and of the same shape, or a constant that broadcasts."""
    shape = g.shape(x)
    if g.chance(share):
        kind = g.rng.randint(4)
        if kind == 0:
            return g.constant(())
        if kind == 1 and shape:
            return g.constant(shape[-1:])
        return g.constant(shape if kind == 2 else (1,) * (len(shape) - 1) + shape[-1:])
    return g.pick(where=lambda s: s == shape)


@maker("ADD", "SUB", "MUL", weight=6)
def _arithmetic(g: Growing, name: str) -> bool:
    if (x := g.pick(2, 3, 4)) < 0:
        return False
    pair = [x, _other(g, x)]
    if g.chance(0.3):
        pair.reverse()
    return g.op(name, pair, g.shape(x), fused_activation_function=g.activation())


@maker("DIV", "SQUARED_DIFFERENCE", weight=0.3)
def _other_arithmetic(g: Growing, name: str) -> bool:
    x = g.pick(2, 4)
    return x >= 0 and g.op(name, [x, _other(g, x)], g.shape(x))


@maker("MAXIMUM", "MINIMUM", weight=1.5)
def _extremum(g: Growing, name: str) -> bool:
    if (x := g.pick(2, 3, 4)) < 0:
        return False
    pair = [x, _other(g, x)]
    if g.chance(0.3):
        pair.reverse()
    return g.op(name, pair, g.shape(x))


@maker("AVERAGE_POOL_2D", "MAX_POOL_2D", weight=2)
def _pool(g: Growing, name: str) -> bool:
    if (x := g.pick(4)) < 0:
        return False
    k, s, padding, h, w = _window(g, x)
    n, *_, c = g.shape(x)
    return g.op(
        name, [x], (n, h, w, c), padding=padding, stride_w=s, stride_h=s, filter_width=k,
        filter_height=k, fused_activation_function=g.activation() if g.chance(0.3) else "NONE",
    )  # fmt: skip


@maker("CONCATENATION", weight=2)
def _concatenation(g: Growing) -> bool:
    if (x := g.pick(2, 3, 4)) < 0:
        return False
    shape = g.shape(x)
    operands = [x]
    for _ in range(g.rng.randint(1, 3)):
        operands.append(g.constant(shape) if g.chance(0.25) else g.pick(where=lambda s: s == shape))
    g.rng.shuffle(operands)
    axis = g.rng.randint(len(shape))
    out = [n * (len(operands) if i == axis else 1) for i, n in enumerate(shape)]
    if np.prod(out) > 4000:
        return False
    return g.op("CONCATENATION", operands, out, axis=axis - (len(shape) if g.chance(0.5) else 0))


@maker("PAD", "PADV2", "MIRROR_PAD", weight=1)
def _pad(g: Growing, name: str) -> bool:
    if (x := g.pick(2, 4)) < 0 or max(g.shape(x)) > 16:
        return False
    shape = g.shape(x)
    pads = np.array([[0, 0] if i == 0 else g.rng.randint(0, 2, 2) for i in range(len(shape))])
    if name == "MIRROR_PAD":
        pads[[i for i, n in enumerate(shape) if n < 2]] = 0
    out = np.add(shape, pads.sum(axis=1))
    extra = [g.constant(())] if name == "PADV2" else []
    return g.op(name, [x, pads.astype(np.int32), *extra], out)


@maker("RESHAPE", weight=1.5)
def _reshape(g: Growing) -> bool:
    x = g.pick()
    shape = g.shape(x)
    size = int(np.prod(shape))
    options = [(1, size), (size, 1), (*shape, 1), (1, 2, size // 2), (1, 2, 2, size // 4)]
    new = options[g.rng.randint(len(options))]
    if int(np.prod(new)) != size or len(new) > 4:
        return False
    return g.op("RESHAPE", [x, np.array(new, np.int32)], new, new_shape=new)


@maker("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", weight=1.5)
def _reduce(g: Growing, name: str) -> bool:
    if (x := g.pick(2, 3, 4)) < 0:
        return False
    shape, keep = g.shape(x), g.chance(0.5)
    axes = sorted({1, len(shape) - 2 if len(shape) > 2 else 1})
    out = [1 if i in axes else n for i, n in enumerate(shape) if keep or i not in axes]
    return g.op(name, [x, np.array(axes, np.int32)], out, keep_dims=keep)


@maker(
    "LOGISTIC", "TANH", "RELU", "RELU6", "RELU_N1_TO_1", "HARD_SWISH", "ABS", "GELU", weight=5
)  # fmt: skip
def _unary(g: Growing, name: str) -> bool:
    x = g.pick()
    return g.op(name, [x], g.shape(x), version=1)


@maker("EXP", "SQRT", "RSQRT", "LOG", "NEG", "SIN", "COS", "SQUARE", "FLOOR", "ELU", weight=1.2)
def _rare_unary(g: Growing, name: str) -> bool:
    x = g.pick()
    return g.op(name, [x], g.shape(x))


@maker("SOFTMAX", "LOG_SOFTMAX", "L2_NORMALIZATION", weight=1.5)
def _normalize(g: Growing, name: str) -> bool:
    if (x := g.pick(2, 4)) < 0:
        return False
    fields = {"beta": float(g.rng.choice([1.0, 0.5]))} if name == "SOFTMAX" else {}
    return g.op(name, [x], g.shape(x), **fields)


@maker("LEAKY_RELU", weight=0.6)
def _leaky(g: Growing) -> bool:
    x = g.pick()
    return g.op("LEAKY_RELU", [x], g.shape(x), alpha=float(g.rng.choice([0.1, 0.3])))


@maker("PRELU", weight=0.6)
def _prelu(g: Growing) -> bool:
    x = g.pick(4)
    return x >= 0 and g.op("PRELU", [x, g.constant((1, 1, g.shape(x)[-1]))], g.shape(x))


def _sliced(g: Growing) -> tuple[int, np.ndarray, np.ndarray] | None:
    if (x := g.pick(2, 3, 4)) < 0:
        return None
    shape = np.array(g.shape(x))
    begin = np.array([g.rng.randint(0, max(1, n // 2)) for n in shape])
    size = np.array([g.rng.randint(1, n - b + 1) for n, b in zip(shape, begin)])
    return x, begin.astype(np.int32), size.astype(np.int32)


@maker("SLICE", weight=0.7)
def _slice(g: Growing) -> bool:
    made = _sliced(g)
    return made is not None and g.op("SLICE", list(made), made[2])


@maker("STRIDED_SLICE", weight=0.7)
def _strided_slice(g: Growing) -> bool:
    if (made := _sliced(g)) is None:
        return False
    x, begin, size = made
    operands = [x, begin, begin + size, np.ones_like(begin)]
    return g.op("STRIDED_SLICE", operands, size)


@maker("SPLIT", "SPLIT_V", weight=0.8)
def _split(g: Growing, name: str) -> bool:
    x = g.pick(2, 3, 4, where=lambda s: s[-1] % 2 == 0)
    if x < 0:
        return False
    *rest, last = g.shape(x)
    axis = np.array(len(rest), np.int32)
    if name == "SPLIT":
        half = (*rest, last // 2)
        return g.op("SPLIT", [axis, x], half, half, num_splits=2)
    sizes = np.array([1, last - 1], np.int32)
    return g.op("SPLIT_V", [x, sizes, axis], (*rest, 1), (*rest, last - 1), num_splits=2)


@maker("PACK", weight=0.6)
def _pack(g: Growing) -> bool:
    if (x := g.pick(2, 3)) < 0:
        return False
    shape = g.shape(x)
    other = g.constant(shape) if g.chance(0.25) else g.pick(where=lambda s: s == shape)
    axis = g.rng.randint(len(shape) + 1)
    out = (*shape[:axis], 2, *shape[axis:])
    return g.op("PACK", [x, other], out, values_count=2, axis=axis)


@maker("UNPACK", weight=0.6)
def _unpack(g: Growing) -> bool:
    x = g.pick(3, 4, where=lambda s: 2 <= s[1] <= 4)
    if x < 0:
        return False
    n, count, *rest = g.shape(x)
    return g.op("UNPACK", [x], *[(n, *rest)] * count, num=count, axis=1)


@maker("TRANSPOSE", weight=0.8)
def _transpose(g: Growing) -> bool:
    if (x := g.pick(2, 3, 4)) < 0:
        return False
    order = g.rng.permutation(len(g.shape(x)))
    out = [g.shape(x)[i] for i in order]
    return g.op("TRANSPOSE", [x, order.astype(np.int32)], out)


@maker("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", weight=0.8)
def _resize(g: Growing, name: str) -> bool:
    x = g.pick(4, where=lambda s: max(s[1:3]) <= 8)
    if x < 0:
        return False
    n, h, w, c = g.shape(x)
    size = np.array([2 * h, 2 * w], np.int32)
    return g.op(name, [x, size], (n, *size, c), half_pixel_centers=g.chance(0.5))


@maker("BATCH_MATMUL", weight=0.8)
def _batch_matmul(g: Growing) -> bool:
    if (x := g.pick(3)) < 0:
        return False
    n, rows, depth = g.shape(x)
    if g.chance(0.6):
        cols = int(g.rng.choice([2, 3]))
        y, turned = g.constant((n, depth, cols)), False
    else:
        y, turned, cols = g.pick(where=lambda s: s == (n, rows, depth)), True, rows
    return g.op("BATCH_MATMUL", [x, y], (n, rows, cols), adj_y=turned)


@maker("GATHER", weight=0.6)
def _gather(g: Growing) -> bool:
    if g.chance(0.15):
        x = g.constant((5, 4))
    elif (x := g.pick(2, 3, 4)) < 0:
        return False
    *rest, last = g.shape(x)
    indices = g.rng.randint(0, last, 3).astype(np.int32)
    return g.op("GATHER", [x, indices], (*rest, 3), axis=len(rest))


@maker("GATHER_ND", weight=0.2)
def _gather_nd(g: Growing) -> bool:
    if (x := g.pick(2, 3)) < 0:
        return False
    first, *rest = g.shape(x)
    indices = g.rng.randint(0, first, (2, 1)).astype(np.int32)
    return g.op("GATHER_ND", [x, indices], (2, *rest))


@maker("SCATTER_ND", weight=0.15)
def _scatter_nd(g: Growing) -> bool:
    if (x := g.pick(2)) < 0:
        return False
    first, depth = g.shape(x)
    shape = np.array([first + 2, depth], np.int32)
    indices = np.arange(first, dtype=np.int32).reshape(-1, 1)
    return g.op("SCATTER_ND", [indices, x, shape], shape)


@maker("LESS", "EQUAL", "GREATER_EQUAL", "NOT_EQUAL", weight=1.2)
def _compare(g: Growing, name: str) -> bool:
    x = g.pick(2, 4)
    return x >= 0 and g.op(name, [x, _other(g, x)], g.shape(x), dtype="BOOL")


@maker("SELECT", "SELECT_V2", weight=1.6)
def _select(g: Growing, name: str) -> bool:
    if not g.masks:
        return False
    mask = g.masks[g.rng.randint(len(g.masks))]
    x = g.pick(where=lambda s: s == g.shape(mask))
    if x < 0:
        return False
    other = g.constant(g.shape(x)) if g.chance(0.3) else g.pick(where=lambda s: s == g.shape(x))
    pair = [x, other]
    if g.chance(0.5):
        pair.reverse()
    return g.op(name, [mask, *pair], g.shape(x))


@maker("ARG_MAX", weight=0.2)
def _arg_max(g: Growing) -> bool:
    if (x := g.pick(2, 4)) < 0:
        return False
    axis = np.array(len(g.shape(x)) - 1, np.int32)
    return g.op("ARG_MAX", [x, axis], g.shape(x)[:-1], dtype="INT64", output_type="INT64")


@maker("SHAPE", weight=0.1)
def _shape(g: Growing) -> bool:
    x = g.pick()
    return g.op("SHAPE", [x], (len(g.shape(x)),), dtype="INT32", out_type="INT32")


@maker("EXPAND_DIMS", "SQUEEZE", weight=0.4)
def _dims(g: Growing, name: str) -> bool:
    if name == "EXPAND_DIMS":
        x = g.pick(2, 3)
        return x >= 0 and g.op(name, [x, np.array(1, np.int32)], np.insert(g.shape(x), 1, 1))
    x = g.pick(3, 4, where=lambda s: s[0] == 1)
    return x >= 0 and g.op(name, [x], g.shape(x)[1:], squeeze_dims=[0])


@maker("SPACE_TO_DEPTH", "DEPTH_TO_SPACE", weight=0.4)
def _space_depth(g: Growing, name: str) -> bool:
    down = name == "SPACE_TO_DEPTH"
    x = g.pick(4, where=lambda s: (s[1] % 2 == s[2] % 2 == 0) if down else s[3] % 4 == 0)
    if x < 0:
        return False
    n, h, w, c = g.shape(x)
    out = (n, h // 2, w // 2, 4 * c) if down else (n, 2 * h, 2 * w, c // 4)
    return g.op(name, [x], out, block_size=2)


@maker("SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND", weight=0.4)
def _space_batch(g: Growing, name: str) -> bool:
    down = name == "SPACE_TO_BATCH_ND"
    x = g.pick(4, where=lambda s: (s[1] % 2 == s[2] % 2 == 0) if down else s[0] % 4 == 0)
    if x < 0:
        return False
    n, h, w, c = g.shape(x)
    out = (4 * n, h // 2, w // 2, c) if down else (n // 4, 2 * h, 2 * w, c)
    operands = [x, np.array([2, 2], np.int32), np.zeros((2, 2), np.int32)]
    return g.op(name, operands, out)


@maker("TILE", "REVERSE_V2", weight=0.4)
def _tile(g: Growing, name: str) -> bool:
    if (x := g.pick(2, 3)) < 0:
        return False
    shape = g.shape(x)
    if name == "REVERSE_V2":
        return g.op(name, [x, np.array([1], np.int32)], shape)
    times = np.array([1] * (len(shape) - 1) + [2], np.int32)
    return g.op(name, [x, times], np.multiply(shape, times))


@maker("BROADCAST_TO", weight=0.2)
def _broadcast_to(g: Growing) -> bool:
    x = g.pick(2, 3, 4, where=lambda s: s[0] == 1)
    if x < 0:
        return False
    out = np.array((2, *g.shape(x)[1:]), np.int32)
    return g.op("BROADCAST_TO", [x, out], out, version=2)


@maker("CUMSUM", weight=0.2)
def _cumsum(g: Growing) -> bool:
    x = g.pick(2, 3)
    return x >= 0 and g.op("CUMSUM", [x, np.array(1, np.int32)], g.shape(x))


@maker("TOPK_V2", weight=0.2)
def _top_k(g: Growing) -> bool:
    x = g.pick(2, where=lambda s: s[-1] >= 2)
    if x < 0:
        return False
    out = (g.shape(x)[0], 2)
    values = g.b.op(
        "TOPK_V2", [x, np.array(2, np.int32)], out, out, dtype=["FLOAT32", "INT32"],
        range=[random_range(g.rng, g.odd), None], names=[f"top{len(g.b.tensors)}", f"at{x}"],
    )[0]  # fmt: skip
    g.read.add(x)
    g.live.append(values)
    return True


WEIGHTED = ("FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV")


def weight_cases(seeds: Sequence[int]) -> Iterator[tuple[str, str, str, int]]:
    """(operator, weight kind, bias kind, seed) of every combination."""
    yield from product(WEIGHTED, WEIGHT_KINDS, BIAS_KINDS, seeds)


def weight_model(operator: str, weight: str, bias: str, seed: int) -> ts.Model:
    """One operator with weights and bias of the given kinds; bias "none" leaves it out."""
    rng = np.random.RandomState(seed)
    b = Builder()
    channels, depth = int(rng.choice([1, 3, 5, 8])), int(rng.choice([1, 4, 7]))
    offered: list[Any] = [] if bias == "none" else [biases(rng, channels, bias)]
    ranges = {"range": random_range(rng, 0.0)}
    if operator == "FULLY_CONNECTED":
        x = b.input((2, depth), "input", **ranges)
        w = weights(rng, (channels, depth), weight)
        y = b.op(operator, [x, w, *offered], (2, channels), range=random_range(rng, 0.0))
        return b.model([y])
    fields: dict[str, Any] = {
        "padding": "SAME",
        "stride_w": 1,
        "stride_h": 1,
        "range": random_range(rng, 0.0),
    }
    if operator == "DEPTHWISE_CONV_2D":
        x = b.input((1, 4, 4, channels), "input", **ranges)
        w = weights(rng, (1, 3, 3, channels), weight, axis=3)
        bias_operand = offered or [np.zeros(channels, np.float32)]
        y = b.op(operator, [x, w, *bias_operand], (1, 4, 4, channels), depth_multiplier=1, **fields)
        return b.model([y])
    x = b.input((1, 4, 4, depth), "input", **ranges)
    w = weights(rng, (channels, 3, 3, depth), weight)
    shape = (1, 4, 4, channels)
    if operator == "CONV_2D":
        y = b.op(operator, [x, w, *(offered or [np.zeros(channels, np.float32)])], shape, **fields)
    else:
        version = 3 if offered else 1
        operands = [np.array(shape, np.int32), w, x, *offered]
        y = b.op(operator, operands, shape, version=version, **fields)
    return b.model([y])


def range_model(seed: int, count: int = 100, wild: bool = True) -> ts.Model:
    """`count` inputs, each through LEAKY_RELU: 2 * count activation ranges in one model.

    wild: the first ranges are `WILD_RANGES`; the rest is random.
    """
    rng = np.random.RandomState(seed)
    b = Builder()
    ranges = list(WILD_RANGES) if wild else []
    while len(ranges) < 2 * count:
        ranges.append(random_range(rng, 0.02))
    outputs = []
    for i in range(count):
        x = b.input((1, 2), f"input{i}", range=ranges[2 * i])
        outputs.append(b.op("LEAKY_RELU", [x], (1, 2), alpha=0.1, range=ranges[2 * i + 1]))
    return b.model(outputs)


LSTM_VARIANTS = tuple(product((False, True), repeat=4))  # CIFG, peephole, projection, layer norm


def lstm_model(
    cifg: bool,
    peephole: bool,
    projection: bool,
    layer_norm: bool,
    seed: int,
    operator: str = "UNIDIRECTIONAL_SEQUENCE_LSTM",
) -> ts.Model:
    """One LSTM of the given variant; `operator` may be "LSTM" too."""
    rng = np.random.RandomState(seed)
    b = Builder()
    inputs, cells = 3, 4
    outputs = 2 if projection else cells

    def made(*shape: int, when: bool = True) -> int | None:
        return b.const(weights(rng, shape), f"weights{len(b.tensors)}") if when else None

    gates = [not (cifg and gate == 0) for gate in range(4)]
    steps = (1, 5) if operator == "UNIDIRECTIONAL_SEQUENCE_LSTM" else (1,)
    x = b.input((*steps, inputs), "input", range=random_range(rng, 0.0))
    operands = [x, *(made(cells, inputs, when=there) for there in gates)]
    operands += [made(cells, outputs, when=there) for there in gates]
    operands += [made(cells, when=peephole and there) for there in gates[:3]]
    operands += [made(cells, when=there) for there in gates]
    operands += [
        made(outputs, cells, when=projection),
        made(outputs, when=projection and seed % 2 == 0),
    ]
    operands += [
        b.tensor((1, n), name, is_variable=True, range=random_range(rng, 0.0))
        for name, n in (("output_state", outputs), ("cell_state", cells))
    ]
    operands += [made(cells, when=layer_norm and there) for there in gates]
    inner = [
        b.tensor((1, cells), f"inner{k}", range=random_range(rng, 0.0) if layer_norm else None)
        for k in range(4)
    ]
    inner.append(b.tensor((1, cells), "hidden", range=random_range(rng, 0.0)))
    y = b.op(
        operator, operands, (*steps, outputs), range=random_range(rng, 0.0), intermediates=inner,
        fused_activation_function="TANH", cell_clip=10.0 if seed % 3 else 0.0,
    )  # fmt: skip
    return b.model([y])


def svdf_model(seed: int) -> ts.Model:
    """One SVDF of rank 2, every other one with a bias."""
    rng = np.random.RandomState(seed)
    b = Builder()
    depth, features, memory, rank = 3, 4, 6, 2
    units = features // rank
    x = b.input((1, depth), "input", range=random_range(rng, 0.0))
    state = b.tensor(
        (1, features * memory), "state", is_variable=True, range=random_range(rng, 0.0)
    )
    operands: list[Any] = [
        x,
        weights(rng, (features, depth)),
        weights(rng, (features, memory)),
        biases(rng, units) if seed % 2 else None,
        state,
    ]
    y = b.op(
        "SVDF", operands, (1, units), range=(0.0, 3.0), rank=rank, fused_activation_function="RELU"
    )  # fmt: skip
    return b.model([y])
