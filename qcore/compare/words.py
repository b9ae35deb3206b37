"""Why a layer is bad, in words: each reason a small function of facts that were measured.

A reason is "" where it does not hold. `REASONS` has them in the order in which they are told: what
is broken first, then what the range is lost on, last what came from before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from kernels.opspec import Role
from qcore.compare.match import ACTIVATIONS
from qcore.compare.sums import Codes, Split
from qcore.compare.values import Layer, Seen
from qcore.execute import Block, constant, parameters
from qcore.graph import Graph
from qcore.observers.histogram import Histogram

FAR_DB = 10.0  # weights nearer to the float ones than this are only rounded, even with 4 bits
SATURATED = 1e-3  # share of values from which on clipping is worth a word
FEW = 1e-3  # share of values that count as outliers
NARROW = 0.25  # the others lie in so much of the range
WIDE = 4.0  # a range so many times as wide as its values has lost two bits
USED = 0.1  # share of codes below which few are used
OTHER_SCALE = 0.02  # relative difference of a bias' scale, as far as the runtimes go along
SEEN = 8  # values a channel must have had to be called dead
INHERITED_DB = 20.0  # above, nobody asks where the error is from


@dataclass(frozen=True, eq=False)
class Facts:
    """What is known of one layer of one candidate.

    graph, block: the candidate's.  truth: the float model's graph.  histogram: of float values.
    codes: of the candidate's integers, None where it is float.
    pairs: the operator's inputs -> those in the same places of the float operator.
    """

    layer: Layer
    seen: Seen
    graph: Graph
    block: Block
    truth: Graph
    histogram: Histogram | None
    codes: Codes | None
    pairs: Mapping[int, int]

    @property
    def operator(self) -> int:
        return self.graph.producer[self.seen.tensor]

    @property
    def span(self) -> float | None:
        """Width of the representable range in real units; None where float or per channel."""
        params, codes = self.seen.params, self.codes
        if params is None or params.groups != 1 or codes is None:
            return None
        return float(params.scale[0]) * (codes.qmax - codes.qmin)

    @property
    def reach(self) -> tuple[float, float] | None:
        """Ends of the float values, with 0 between them, as every range must have it."""
        h = self.histogram
        if h is None:
            return None
        edges = h.edges
        return min(float(edges[0]), 0.0), max(float(edges[-1]), 0.0)

    def constants(self, role: Role) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """(tensor, the float model's values, the candidate's in real units) of a role."""
        inputs = self.graph.operators[self.operator].inputs
        for position, t in enumerate(inputs):
            if t not in self.pairs or self.graph.role(self.operator, position) is not role:
                continue
            theirs, ours = _real(self.truth, self.pairs[t]), _real(self.graph, t)
            if theirs is not None and ours is not None and theirs.shape == ours.shape:
                yield t, theirs, ours


def _real(graph: Graph, tensor: int) -> np.ndarray | None:
    """A constant in real units, also one behind DEQUANTIZE."""
    at = graph.producer.get(tensor)
    if at is not None and graph.operators[at].name in ("DEQUANTIZE", "DENSIFY"):
        tensor = graph.operators[at].inputs[0]
    data = constant(graph, tensor)
    if data is None:
        return None
    made = replace(parameters(graph, tensor), data=data).real()
    return made if made.dtype.kind == "f" else None


def weights(f: Facts) -> str:
    """Weights that are not those of the float model."""
    for _, x, y in f.constants(Role.WEIGHT):
        if not y.any() and x.any():
            return "its weights are all 0"
        split = Split()
        split.add(x, y, None)
        difference = split.total
        if difference.SQNR_dB < FAR_DB:
            return f"its weights are far from the float ones ({difference.SQNR_dB:.1f} dB)"
    return ""


def other_operator(f: Facts) -> str:
    """Another operator in the same place of the graph."""
    name = f.graph.operators[f.operator].name
    fused = {f.layer.op, name} & set(ACTIVATIONS.values())
    return "" if name == f.layer.op or fused else f"computed by {name} instead of {f.layer.op}"


def empty_channels(f: Facts) -> str:
    """Channels whose weights all became 0."""
    for t, x, y in f.constants(Role.WEIGHT):
        found = parameters(f.graph, t)
        axis = found.axis if found.per_channel else 0
        if x.ndim < 2 or axis >= x.ndim:
            continue
        rest = tuple(i for i in range(x.ndim) if i != axis)
        gone = ~y.any(axis=rest) & x.any(axis=rest)
        count = int(np.count_nonzero(gone))
        if count and y.any():
            return f"the weights of {count} of {gone.size} channels became 0"
    return ""


def bias(f: Facts) -> str:
    """Biases at the end of int32."""
    inputs = f.graph.operators[f.operator].inputs
    for position, t in enumerate(inputs):
        if f.graph.role(f.operator, position) is not Role.BIAS:
            continue
        data = constant(f.graph, t)
        if data is None or data.dtype != np.int32:
            continue
        ends = np.iinfo(np.int32)
        count = int(np.count_nonzero((data <= -ends.max) | (data == ends.max)))
        if count:
            return f"bias saturated: {count} of {data.size} at the end of int32"
    return ""


def bias_scale(f: Facts) -> str:
    """A bias in other steps than the kernel adds it in: input scale times weight scale."""
    inputs = f.graph.operators[f.operator].inputs
    by_role = {
        f.graph.role(f.operator, p): f.block.tensors[t] for p, t in enumerate(inputs) if t >= 0
    }
    first = f.block.tensors[inputs[0]] if inputs and inputs[0] >= 0 else None
    w, b = by_role.get(Role.WEIGHT), by_role.get(Role.BIAS)
    if len(inputs) != 3 or any(t is None or not t.quantized for t in (first, w, b)):
        return ""
    assert first is not None and w is not None and b is not None
    ratio = b.scales.astype(np.float64) / (first.scales.astype(np.float64) * w.scales)
    worst = float(ratio.flat[np.argmax(np.abs(np.log(ratio)))])
    if abs(np.log(worst)) < OTHER_SCALE:
        return ""
    return f"its bias has {worst:.3g} times the scale of input times weights"


def dead_channels(f: Facts) -> str:
    """Channels that give one code whatever the sample, where the float model's values change by
    more than a step."""
    codes, params = f.codes, f.seen.params
    if (
        codes is None
        or params is None
        or codes.low.size < 2
        or codes.values < SEEN * codes.low.size
    ):
        return ""
    gone, always = codes.dead(float(params.scale[0]))
    if not gone:
        return ""
    also = f" ({always} more in the float model too)" if always else ""
    return f"{gone} of {codes.low.size} channels dead{also}"


def saturation(f: Facts) -> str:
    """A range that is too small for its values."""
    codes, params, reach = f.codes, f.seen.params, f.reach
    if codes is None or params is None or reach is None:
        return ""
    share = codes.clipped / max(codes.values, 1)
    if share < SATURATED:
        return ""
    scale, zero = float(params.scale[0]), int(params.zero_point[0])
    lo, hi = scale * (codes.qmin - zero), scale * (codes.qmax - zero)
    return (
        f"{_percent(share)} of the values saturate: the range is [{lo:.3g}, {hi:.3g}], the values "
        f"reach [{reach[0]:.3g}, {reach[1]:.3g}]"
    )


def outlier(f: Facts) -> str:
    """A range that a few values far from all others have set."""
    h, span, reach = f.histogram, f.span, f.reach
    if h is None or span is None or reach is None or reach[1] - reach[0] < span / 3:
        return ""
    count = int(h.counts.sum())
    allowed = max(1, int(FEW * count))
    if count < 20:
        return ""
    # The narrowest stretch of bins around 0 that leaves out no more than that.
    zero = min(max(-h.first, 0), h.counts.size)
    below, above = h.counts[:zero].cumsum(), h.counts[zero:][::-1].cumsum()
    best, out = span, 0
    edges = h.edges
    for low in range(int(np.searchsorted(below, allowed, "right")) + 1):
        spent = int(below[low - 1]) if low else 0
        cut = int(np.searchsorted(above, allowed - spent, "right"))
        lost = spent + (int(above[cut - 1]) if cut else 0)
        width = max(float(edges[h.counts.size - cut]), 0.0) - min(float(edges[low]), 0.0)
        if width < best:
            best, out = width, lost
    if not out or best > NARROW * span:
        return ""
    who = "one outlier" if out == 1 else f"{out:,} outliers"
    return (
        f"range set by {who} of {count:,} values: the others lie in {_percent(best / span)} of it"
    )


def fixed_or_tied(f: Facts) -> str:
    """A range that is much wider than its values, and whose doing that is."""
    span, reach = f.span, f.reach
    if span is None or reach is None or f.codes is None or f.codes.counts.size > 256:
        return ""
    width = reach[1] - reach[0]
    if width <= 0 or span < WIDE * width:
        return ""
    times = f"the range is {span / width:.3g} times as wide as the values"
    op = f.graph.operators[f.operator]
    spec = f.graph.spec(f.operator)
    operand = spec.output(op.outputs.index(f.seen.tensor)) if spec else None
    fixed = operand.fixed.get(f.seen.dtype) if operand is not None else None
    if fixed is not None:
        return f"{times}: {op.name} fixes it"
    tied = _tied(f)
    return f"scale limited by tied operand {tied!r}: {times}" if tied else times


def _tied(f: Facts) -> str:
    """Another tensor at one of the operators around that has the same parameters."""
    graph, own = f.graph, f.seen.tensor
    around = [f.operator, *(reader for reader, _ in graph.readers.get(own, ()))]
    for number in around:
        op = graph.operators[number]
        for t in (*op.inputs, *op.outputs):
            if t < 0 or t == own or graph.is_constant(t):
                continue
            other = f.block.tensors[t]
            mine = f.block.tensors[own]
            if other.quantized and other.dtype == mine.dtype and (
                np.array_equal(other.scales, mine.scales)
                and np.array_equal(other.zero_points, mine.zero_points)
            ):  # fmt: skip
                return graph.name(t)
    return ""


def few_codes(f: Facts) -> str:
    """Integers that never occur."""
    codes = f.codes
    if codes is None or codes.counts.size > 256 or codes.values < 10 * codes.counts.size:
        return ""
    return f"codes used {_percent(codes.used)}" if codes.used < USED else ""


def inherited(f: Facts) -> str:
    """An error that was there before the operator."""
    own, before = f.seen.own, f.seen.inherited
    if own is None or before is None or f.seen.total.SQNR_dB > INHERITED_DB:
        return ""
    both = own.noise + before.noise
    if not np.isfinite(both) or before.noise < 10 * own.noise:
        return ""
    return f"inherited: {_percent(before.noise / both)} of the noise is from the layers before"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.0995 else f"{100 * share:.0f} %"


REASONS: tuple[Callable[[Facts], str], ...] = (
    other_operator, weights, empty_channels, bias, bias_scale, dead_channels, saturation, outlier,
    fixed_or_tied, few_codes, inherited,
)  # fmt: skip


def reasons(f: Facts) -> tuple[str, ...]:
    """All that hold, worst first."""
    return tuple(text for reason in REASONS if (text := reason(f)))
