"""One element of one operator: how each path comes to its integer, step by step.

The steps are what `kernels` records while `reference` runs (kernels/trace.py); this module picks
the element out of them and writes it down.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from kernels import ops
from kernels.call import Call
from kernels.errors import KernelError
from kernels.profile import PATHS, Profile
from kernels.trace import Noted, tracing
from qcore.errors import BadInput, CannotRun
from qcore.execute import Executor, Node, as_profile
from qcore.verify import rule

# An exact value with more digits than this says less than its shortened form.
_DIGITS = 12


@dataclass(frozen=True)
class Step:
    """One step at one element. value: its result; exact: what was rounded, as text, with the
    integers on both sides in `candidates`; "" and () where nothing was rounded."""

    name: str
    equation: str
    value: int | float
    exact: str = ""
    candidates: tuple[int, ...] = ()
    tie: bool = False


@dataclass(frozen=True)
class PathSteps:
    """One path. rule: in the words of docs/numerics.md.  computed_by: "XNNPACK" or "TFLite".
    error: why there is no answer, else ""."""

    path: str
    rule: str
    computed_by: str
    steps: tuple[Step, ...]
    output: int | float | None
    real: float | None
    error: str = ""


@dataclass(frozen=True)
class Explanation:
    """What `explain` found; `print(explanation)` shows it."""

    operator: str
    output: str
    element: tuple[int, ...]
    runtime: str
    inputs_of: str
    operands: tuple[str, ...]
    paths: tuple[PathSteps, ...]

    @property
    def agree(self) -> bool:
        """Every path gives the same output."""
        return len({p.output for p in self.paths}) == 1

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        place = ", ".join(map(str, self.element))
        lines = [
            f"{self.operator}, output {self.output!r}, element [{place}], {self.runtime}",
            f"inputs as on the {self.inputs_of} path",
            *(f"  {text}" for text in self.operands),
        ]
        for p in self.paths:
            lines += ["", f"{p.path} path ({p.computed_by}): {p.rule or 'plain'}"]
            if p.error:
                lines.append(f"  no answer: {p.error}")
                continue
            width = max((len(s.name) for s in p.steps), default=6)
            lines += [f"  {s.name:<{width}}  {_said(s)}" for s in p.steps]
            real = "" if p.real is None else f"  = {p.real:.9g} in real units"
            lines.append(f"  {'output':<{width}}  {p.output}{real}")
        lines += ["", self.verdict]
        return "\n".join(lines)

    @property
    def verdict(self) -> str:
        """Which path gives which output, in one sentence."""
        if self.agree:
            return f"All paths give {self.paths[0].output}."
        said: dict[Any, list[str]] = {}
        for p in self.paths:
            said.setdefault("no answer" if p.error else p.output, []).append(p.path)
        return "; ".join(f"{' and '.join(who)}: {what}" for what, who in said.items()) + "."


def _said(s: Step) -> str:
    text = f"{s.value}"
    if s.exact:
        low, high = s.candidates
        between = f"between {low} and {high}" if low != high else "exact"
        text += f"  from {s.exact}, {between}{', a tie' if s.tie else ''}"
    return text + (f"  ({s.equation})" if s.equation else "")


def explain(
    model: Any,
    sample: Any,
    operator: int | str,
    element: Sequence[int] | int,
    *,
    paths: Sequence[str] = PATHS,
    runtime: str = "litert",
    inputs_of: str = "reference",
    output: int = 0,
    signature: str | None = None,
) -> Explanation:
    """How each path computes one output element of one operator.

    operator: its number in the signature's subgraph, or the name of one of its output tensors.
    element: index in the output, or a flat position.  inputs_of: the path whose tensors the
    operator is given, the same for all paths, so that only the operator's own arithmetic differs.
    output: which of several outputs.
    Raises BadInput for an operator or an element that is not there, CannotRun, BadSample.
    """
    if not paths:
        raise BadInput("paths is empty; name at least one")
    executor = Executor(model, as_profile(inputs_of, runtime), signature=signature)
    bound = executor.binder.bind(sample, 0)
    entry = executor.binder.entries[bound.entry]
    block = executor.blocks[entry.subgraph]
    given = {i.tensor: block.encode(i.tensor, a) for i, a in zip(entry.inputs, bound.arrays)}
    node = _find(executor, entry.subgraph, operator)
    values = executor.invoke(entry.subgraph, given, keep=True)
    call = executor.call(entry.subgraph, node, values)
    found = []
    index: tuple[int, ...] | None = None
    for path in paths:
        here = ops.resolve(call.on(profile=Profile(path, runtime)))
        try:
            with tracing() as noted:
                made = ops.apply(here, "reference")
        except KernelError as error:
            found.append(PathSteps(path, rule(here), _who(here), (), None, None, str(error)))
            continue
        array = made[output]
        index = _index(element, array.shape)
        steps = tuple(s for n in noted if (s := _step(n, here, array.shape, index)) is not None)
        value = array[index].item()
        y = call.outputs[output]
        real = float(y.s) * (value - y.z) if y.quantized else None
        found.append(PathSteps(path, rule(here), _who(here), steps, value, real))
    if index is None:
        raise CannotRun(f"{block.where(node)}: {found[0].error}")
    graph = block.graph
    return Explanation(
        f"{node.name} {node.number}",
        graph.name(node.outputs[output]),
        index,
        runtime,
        inputs_of,
        _operands(call, graph, node),
        tuple(found),
    )


def _who(call: Call) -> str:
    return "XNNPACK" if call.profile.is_xnnpack else "TFLite"


def _find(executor: Executor, subgraph: int, operator: int | str) -> Node:
    block = executor.blocks[subgraph]
    if isinstance(operator, str) and not operator.lstrip("-").isdigit():
        for node in block.nodes:
            if operator in block.graph.output_names(node.number):
                return node
        raise BadInput(
            f"no operator writes a tensor called {operator!r}; `qcore inspect` lists the names"
        )
    number = int(operator)
    if not 0 <= number < len(block.nodes):
        raise BadInput(f"there is no operator {number}; the graph has 0 to {len(block.nodes) - 1}")
    return block.nodes[number]


def _index(element: Sequence[int] | int, shape: tuple[int, ...]) -> tuple[int, ...]:
    if isinstance(element, (int, np.integer)):
        if not 0 <= element < math.prod(shape):
            raise BadInput(f"element {element} is outside of {list(shape)}; give 0 to "
                           f"{math.prod(shape) - 1}")  # fmt: skip
        return tuple(int(i) for i in np.unravel_index(int(element), shape))
    index = tuple(int(i) for i in element)
    if len(index) != len(shape) or not all(0 <= i < n for i, n in zip(index, shape)):
        raise BadInput(f"element {list(index)} is outside of the output, which is {list(shape)}")
    return index


def _step(noted: Noted, call: Call, shape: tuple[int, ...], index: tuple[int, ...]) -> Step | None:
    """The noted step at one element; None where it does not belong to single elements."""
    at = _place(noted.value, call, shape, index)
    if at is None:
        return None
    value = at(noted.value)
    if noted.exact is None:
        return Step(noted.name, noted.equation, value)
    top, bottom = (at(np.broadcast_to(np.asarray(part), noted.value.shape)) for part in noted.exact)
    if not np.isfinite(top):
        return Step(noted.name, noted.equation, value, str(top), (value, value))
    exact = Fraction(top) / Fraction(bottom)
    low, high = math.floor(exact), math.ceil(exact)
    text = f"{float(exact):.{_DIGITS}g}"
    if bottom != 1:
        text = f"{top} / {bottom} = {text}"
    tie = exact - low == Fraction(1, 2)
    return Step(noted.name, noted.equation, value, text, (low, high), tie)


def _place(value: np.ndarray, call: Call, shape: tuple[int, ...], index: tuple[int, ...]) -> Any:
    """A function that picks the element out of arrays like `value`; None if there is none."""
    codes = call.x(0) if call.has(0) else None
    table = value.shape == (256,)
    if table and codes is not None and codes.dtype.itemsize == 1 and codes.shape == shape:
        code = int(codes[index]) - (0 if codes.dtype == np.uint8 else -128)
        return lambda a: a[code].item()
    try:
        np.broadcast_shapes(value.shape, shape)
        if np.broadcast_to(value, shape).shape != shape:
            return None
    except ValueError:
        return None
    return lambda a: np.broadcast_to(a, shape)[index].item()


def _operands(call: Call, graph: Any, node: Node) -> tuple[str, ...]:
    """A line for each quantized operand."""
    lines = []
    named = [*zip(node.inputs, call.inputs), *zip(node.outputs, call.outputs)]
    for position, (tensor, t) in enumerate(named):
        if t is None or not t.quantized:
            continue
        where = "input" if position < len(node.inputs) else "output"
        scale = f"{float(t.s):.9g}" + ("" if t.scales.size == 1 else f" ... ({t.scales.size})")
        lines.append(
            f"{where} {graph.name(tensor)!r}: {t.dtype} {'x'.join(map(str, t.shape))}, scale "
            f"{scale}, zero point {t.z}"
        )
    return tuple(lines)
