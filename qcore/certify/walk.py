"""Through a graph, operator by operator: boxes, sums, saturation, errors, witnesses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from kernels import ops, ranges
from kernels.call import Call
from kernels.errors import KernelError
from kernels.trace import tracing
from qcore.certify import linear, recurrent, rules, stages
from qcore.certify.boxes import Box, hull, whole
from qcore.certify.error import Errors
from qcore.certify.linear import Sums
from qcore.certify.rules import Outcome, typed
from qcore.certify.values import (
    OVERFLOWS,
    PROVED,
    UNKNOWN,
    OperatorCertificate,
    Saturation,
    Witness,
)
from qcore.errors import CannotRun
from qcore.execute import Executor, Node

CONTROL = {"IF": ("then_subgraph_index", "else_subgraph_index"),
           "WHILE": ("cond_subgraph_index", "body_subgraph_index"),
           "CALL_ONCE": ("init_subgraph_index",)}  # fmt: skip
# Operators through which an input of the model reaches another one as it is.
STRAIGHT = frozenset({"RESHAPE", "EXPAND_DIMS", "SQUEEZE", "QUANTIZE"})


@dataclass
class Walk:
    """One certificate being made. boxes: by subgraph and tensor, for whoever wants to look."""

    executor: Executor
    errors: Errors | None = None
    found: list[OperatorCertificate] = field(default_factory=list)
    boxes: dict[int, dict[int, Box]] = field(default_factory=dict)
    sums: dict[tuple[int, int], tuple[Sums, ...]] = field(default_factory=dict)
    _inside: set[int] = field(default_factory=set)

    def subgraph(self, number: int, given: Mapping[int, Box], entry: bool = True) -> dict[int, Box]:
        """The boxes of a subgraph's tensors for inputs in `given`."""
        block = self.executor.blocks[number]
        boxes = dict(given)
        self._inside.add(number)
        for tensor, t in enumerate(block.tensors):
            if t.constant:
                boxes[tensor] = Box.of(t.x)
            elif tensor in block.variables:
                box = whole(t, t.shape)
                if box is not None:
                    boxes[tensor] = box
        for node in block.nodes:
            self._operator(number, node, boxes, entry)
        self._inside.discard(number)
        self.boxes[number] = boxes
        return boxes

    def _operator(self, number: int, node: Node, boxes: dict[int, Box], entry: bool) -> None:
        block = self.executor.blocks[number]
        here = {p: boxes[t] for p, t in enumerate(node.inputs) if t in boxes}
        call = self._call(number, node, boxes)
        outcome, sums, status, wraps = self._bounded(node, call, here)
        self._called(node, outcome, here)
        for tensor, box in zip(node.outputs, outcome.boxes):
            if tensor >= 0 and box is not None:
                boxes[tensor] = box
        first = outcome.boxes[0] if outcome.boxes else None
        shown = None if first is None or not first.lo.size else first
        witness = None
        broken = next((s for s in sums if not s.fits), None)
        if broken is not None:
            status = OVERFLOWS
            witness = self._witness(number, node, call, broken, here, entry)
        self.sums[number, node.number] = sums
        names = block.graph.output_names(node.number)
        error = None
        if self.errors is not None and entry:
            stage_sums = sums[0] if len(sums) == 1 and sums[0].stage is not None else None
            error = self.errors.operator(
                node.number, call, node.inputs, node.outputs, here, outcome, stage_sums
            )
        self.found.append(
            OperatorCertificate(
                number, node.number, node.name, names[0] if names else "", outcome.rule,
                None if shown is None else shown.lo.min().item(),
                None if shown is None else shown.hi.max().item(),
                tuple(s.accumulator for s in sums), _saturation(call, sums, outcome, wraps), error,
                witness, wraps, status,
            )
        )  # fmt: skip

    def _call(self, number: int, node: Node, boxes: Mapping[int, Box]) -> Call:
        """The operator on the lower ends; where a box is missing, without values."""
        block = self.executor.blocks[number]
        values = {t: boxes[t].lo for t in node.inputs if t in boxes}
        call = Call(
            node.name,
            tuple(
                None if t < 0 else _filled(block.tensors[t], values.get(t)) for t in node.inputs
            ),
            tuple(block.tensors[t] for t in node.outputs if t >= 0),
            node.options, self.executor.profile, node.version, node.intermediates,
        )  # fmt: skip
        try:
            return ops.resolve(call) if call.form else call
        except KernelError:
            return call

    def _bounded(
        self, node: Node, call: Call, here: dict[int, Box]
    ) -> tuple[Outcome, tuple[Sums, ...], str, str]:
        """Outputs, sums, the status of the sums, and why the requantization may wrap."""
        if node.name in CONTROL:
            return typed(call, "type"), (), "", ""
        if any(t >= 0 and p not in here for p, t in enumerate(node.inputs)):
            outcome = rules.outcome(call, here)
            return outcome, (), UNKNOWN if _products(call) else "", ""
        try:
            if recurrent.summing(call):
                made = recurrent.outcome(call, here)
                if made is None:
                    return typed(call, "type"), (), UNKNOWN, ""
                return made[0], made[1], PROVED if made[1] else "", ""
            sums = linear.sums(call, here)
            if sums is not None:
                return self._summed(call, sums)
            other = rules.reduction(call, here[0]) if 0 in here else None
        except (KernelError, ValueError, IndexError) as error:  # declared shapes do not fit
            return typed(call, f"type: {error}"), (), UNKNOWN if _products(call) else "", ""
        outcome = rules.outcome(call, here)
        return outcome, () if other is None else (other,), PROVED if other is not None else "", ""

    def _summed(self, call: Call, sums: Sums) -> tuple[Outcome, tuple[Sums, ...], str, str]:
        """Sums of products, and their output stage."""
        if not sums.fits:
            return typed(call, "type: the sum can leave its range"), (sums,), OVERFLOWS, ""
        if sums.stage is None:  # int32 outputs of BATCH_MATMUL
            made = Box(sums.lo.astype(np.int32), sums.hi.astype(np.int32))
            return Outcome((made,), "sums"), (sums,), PROVED, ""
        wraps = stages.wraps(sums.stage, sums.lo, sums.hi)
        if wraps:
            lo, hi = (
                np.full(sums.lo.shape, end, sums.stage.dtype)
                for end in (sums.stage.qmin, sums.stage.qmax)
            )
            box = Box(lo, hi)
        else:
            box = stages.outputs(sums.stage, sums)
        shape = box.shape
        if call.name == "FULLY_CONNECTED" and call.option("keep_num_dims", False):
            shape = (*call[0].shape[:-1], box.shape[-1])
        box = box.map(lambda a: a.reshape(shape).astype(call.output.held))
        rule = f"type: {wraps}" if wraps else "sums"
        return Outcome((box,), rule), (sums,), PROVED, wraps

    def _called(self, node: Node, outcome: Outcome, here: dict[int, Box]) -> None:
        """Certify the subgraphs that control flow runs: IF on its operands, others on anything."""
        for option in CONTROL.get(node.name, ()):
            number = int(getattr(node.options, option))
            if number in self._inside:
                continue
            block = self.executor.blocks[number]
            given = {}
            for position, tensor in enumerate(block.graph.inputs):
                t = block.tensors[tensor]
                box = here.get(position + 1) if node.name == "IF" else None
                box = whole(t, t.shape) if box is None or box.shape != t.shape else box
                if box is not None:
                    given[tensor] = box
            self.subgraph(number, given, entry=False)

    # --- witnesses ---

    def _witness(
        self, number: int, node: Node, call: Call, sums: Sums, here: dict[int, Box], entry: bool
    ) -> Witness | None:
        """The worst sum, by an operand that makes it, as the reference kernel holds it."""
        if sums.witness is None or not sums.attained:
            return None
        upper = int(sums.hi.max()) - sums.limit >= -sums.limit - int(sums.lo.min())
        which = sums.hi.argmax() if upper else sums.lo.argmin()
        index = tuple(int(i) for i in np.unravel_index(int(which), sums.lo.shape))
        value = int((sums.hi if upper else sums.lo)[index])
        inputs = sums.witness(index, upper)
        operands = tuple(
            _filled(t, inputs[p]) if t is not None and p in inputs else t
            for p, t in enumerate(call.inputs)
        )
        with tracing() as noted:
            ops.apply(call.on(inputs=operands), "reference")
        acc = next(n.value for n in noted if n.name == "accumulator")
        held = int(acc.reshape(sums.lo.shape)[index])
        reaches, sample = "operator input", {}
        if entry and len(inputs) == 1:
            ((position, array),) = inputs.items()
            sample = self._sample(number, node.inputs[position], array)
            reaches = "model input" if sample else reaches
        return Witness(sums.name, index[-1], index, value, held, inputs, reaches, sample)

    def _sample(self, number: int, tensor: int, wanted: np.ndarray) -> dict[str, np.ndarray]:
        """A model input for which `tensor` is `wanted`: {} unless one is found by going back
        through operators that pass elements on."""
        block = self.executor.blocks[number]
        entry = self.executor.binder.entries[self.executor.binder.default]
        names = {i.tensor: i.name for i in entry.inputs}
        if entry.subgraph != number or len(names) != 1:
            return {}
        at, value = tensor, wanted
        while at not in names:
            made_by = block.graph.producer.get(at)
            node = None if made_by is None else block.nodes[made_by]
            if node is None or node.name not in STRAIGHT:
                return {}
            before, after = block.tensors[node.inputs[0]], block.tensors[at]
            if node.name == "QUANTIZE":
                real = float(after.s) * (value.astype(np.float64) - after.z)
                if before.quantized:
                    q = before.range
                    codes = np.rint(real / float(before.s)) + before.z
                    value = np.clip(codes, q.qmin, q.qmax).astype(before.held)
                else:
                    value = real.astype(np.float32)
            at, value = node.inputs[0], value.reshape(before.shape)
        try:
            made = self.executor.invoke(number, {at: value}, keep=True)
        except CannotRun:
            return {}
        return {names[at]: value} if np.array_equal(made[tensor], wanted) else {}


def _filled(t: Any, data: np.ndarray | None) -> Any:
    """A tensor with values, unless it has its own."""
    return t if t.constant or data is None else replace(t, data=data)


def _products(call: Call) -> bool:
    """Whether the operator sums integer products."""
    return call.name in linear.OPERATORS and bool(call.form)


def _saturation(
    call: Call, sums: tuple[Sums, ...], outcome: Outcome, wraps: str
) -> Saturation | None:
    """What is clipped: by channel for sums of products, else from the operator's real meaning."""
    y = call.outputs[0] if call.outputs else None
    if y is None or y.dtype not in ranges.NAMED or not y.quantized or not call.form:
        return None
    if len(sums) == 1 and sums[0].stage is not None:
        ready = sums[0].fits and not wraps
        return stages.saturation(call, sums[0].stage, sums[0]) if ready else None
    if not outcome.evaluated or y.per_channel:
        return None
    ends = []
    for arrays in outcome.evaluated:
        real = {p: a if not call[p].quantized else _real(call[p], a) for p, a in arrays.items()}
        try:
            made = _meant(call, real)
        except KernelError:
            return None
        ends.append(Box.of(made / float(y.s) + y.z))
    around = hull(*ends)
    if not around.finite:
        return None
    return stages.outside(call, around.lo, around.hi)


def _real(t: Any, values: np.ndarray) -> np.ndarray:
    found: np.ndarray = float(t.s) * (values.astype(np.float64) - t.z)
    return found


def _meant(call: Call, arrays: dict[int, np.ndarray]) -> np.ndarray:
    """The first output in real units, float64."""
    module = ops.module(call.name)
    assert module is not None
    given = {p: a.astype(np.float32) for p, a in arrays.items()}
    with np.errstate(all="ignore"):
        made = module.real(rules.plain(call, given))
    return np.asarray(made[0], np.float64)
