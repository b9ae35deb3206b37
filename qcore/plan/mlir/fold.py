"""What the converter merges and drops after quantization, so that integers change.

RELU, RELU6 and RELU_N1_TO_1 go into the operator that feeds them, which then writes the
activation's parameters. A reduction over axes of length 1 goes, and its readers read its input on
the input's parameters. SOFTMAX goes in front of ARG_MAX. Rewrites that change no number (RESHAPE
for SQUEEZE, two RESHAPEs into one, ...) are not made.

Sources: LiteRT converter/transforms/optimize_patterns.td, optimize_pass.cc.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np

import tflite_schema as ts
from qcore.graph import Graph
from qcore.plan.values import Step, SubgraphPlan

ACTIVATIONS = ("RELU", "RELU6", "RELU_N1_TO_1")
INTO = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD", "SUB", "MUL", "DIV"})
TWICE = frozenset({"FULLY_CONNECTED", "SQUARED_DIFFERENCE"})
REDUCTIONS = frozenset({"MEAN", "SUM", "REDUCE_PROD", "REDUCE_MIN", "REDUCE_MAX"})


class _Draft:
    """Steps that can go, forms that can stand for others, and who reads and writes each form."""

    def __init__(self, graph: Graph, plan: SubgraphPlan) -> None:
        self.graph = graph
        self.plan = plan
        self.steps: list[Step | None] = list(plan.steps)
        self.outputs = list(plan.outputs)
        self.folded = list(plan.folded)
        self.reads = Counter(f for step in plan.steps for f in step.inputs if f >= 0)
        self.reads.update(plan.outputs)
        self.writers = {f: n for n, step in enumerate(plan.steps) for f in step.outputs}

    def writer(self, form: int) -> tuple[int, Step] | None:
        """The step that writes a form, if it is one of the source's operators."""
        n = self.writers.get(form)
        step = None if n is None else self.steps[n]
        return None if n is None or step is None or step.source is None else (n, step)

    def drop(self, n: int, reason: str) -> None:
        step = self.steps[n]
        assert step is not None and step.source is not None
        self.steps[n] = None
        self.folded.append((step.source, reason))
        for form in step.inputs:
            self.reads[form] -= 1

    def substitute(self, old: int, new: int) -> None:
        """Everybody who reads form `old` reads form `new`."""

        def at(forms: tuple[int, ...]) -> tuple[int, ...]:
            return tuple(new if f == old else f for f in forms)

        self.steps = [s if s is None else s.replace(inputs=at(s.inputs)) for s in self.steps]
        self.outputs = [new if f == old else f for f in self.outputs]
        self.reads[new] += self.reads.pop(old, 0)

    def done(self) -> SubgraphPlan:
        """The plan, without forms that nobody needs any more."""
        steps = [s for s in self.steps if s is not None]
        used = {*self.plan.inputs, *self.outputs}
        for step in steps:
            used.update(f for f in (*step.inputs, *step.outputs, *step.intermediates) if f >= 0)
        kept = [f for f in range(len(self.plan.forms)) if f in used]
        number = {-1: -1, **{f: n for n, f in enumerate(kept)}}

        def at(forms: Iterable[int]) -> tuple[int, ...]:
            return tuple(number[f] for f in forms)

        return self.plan.replace(
            forms=tuple(self.plan.forms[f] for f in kept),
            steps=tuple(
                s.replace(
                    inputs=at(s.inputs), outputs=at(s.outputs), intermediates=at(s.intermediates)
                )
                for s in steps
            ),
            inputs=at(self.plan.inputs),
            outputs=at(self.outputs),
            folded=tuple(sorted(self.folded)),
        )


def fold(graph: Graph, plan: SubgraphPlan) -> SubgraphPlan:
    """The plan with activations merged and operators without effect gone."""
    draft = _Draft(graph, plan)
    for n, step in enumerate(plan.steps):
        if step.source is None:
            continue
        if step.name in ACTIVATIONS:
            _activation(draft, n)
        elif step.name in REDUCTIONS:
            _reduction(draft, n)
        elif step.name in ("ARG_MAX", "ARG_MIN"):
            _softmax(draft, n)
    return draft.done()


def _activation(draft: _Draft, n: int) -> None:
    """Merges an activation into its producer where that has none yet and no other reader.

    Those of TWICE may have other readers: they are computed twice, as the converter has it.
    """
    step = draft.steps[n]
    assert step is not None
    found = draft.writer(step.inputs[0])
    if found is None or not _takes(draft.graph, found[1], step.name):
        return
    at, before = found
    alone = draft.reads[step.inputs[0]] == 1
    if not alone and before.name not in TWICE:
        return
    draft.drop(n, f"merged into {before.name} {before.source}")
    if alone:
        draft.steps[at] = None
    options = dict(before.options)
    if before.name in INTO:
        options["fused_activation_function"] = ts.ActivationFunctionType[step.name]
    draft.steps[n] = before.replace(  # where the activation stood, as the converter has it
        outputs=step.outputs,
        options=options,
        note=f"{step.name} {step.source} merged in",
    )


def _takes(graph: Graph, step: Step, activation: str) -> bool:
    """Whether a step can apply an activation and applies none yet."""
    if step.name == "SQUARED_DIFFERENCE":  # never negative
        return activation == "RELU"
    if step.source is None or step.name not in INTO:
        return False
    if "fused_activation_function" in step.options:
        return False
    options = graph.operators[step.source].options
    return getattr(options, "fused_activation_function", 0) == 0


def _reduction(draft: _Draft, n: int) -> None:
    """Drops a reduction that leaves the shape as it is."""
    step = draft.steps[n]
    assert step is not None
    source, target = step.inputs[0], step.outputs[0]
    x, y = (draft.graph.tensors[draft.plan.forms[f].tensor] for f in (source, target))
    static = all(n >= 0 for t in (x, y) for n in t.shape_signature or ())
    if x.shape != y.shape or not static or source in draft.plan.inputs:
        return
    draft.drop(n, "changes nothing")
    draft.substitute(target, source)


def _softmax(draft: _Draft, n: int) -> None:
    """Drops SOFTMAX or LOG_SOFTMAX in front of ARG_MAX or ARG_MIN along the same axis."""
    step = draft.steps[n]
    assert step is not None and step.source is not None
    found = draft.writer(step.inputs[0])
    if found is None or found[1].name not in ("SOFTMAX", "LOG_SOFTMAX"):
        return
    at, before = found
    assert before.source is not None
    axis = draft.graph.constant(draft.graph.operators[step.source].inputs[1])
    rank = len(draft.graph.tensors[draft.plan.forms[step.inputs[0]].tensor].shape or ())
    last = axis is not None and axis.size == 1 and int(np.ravel(axis)[0]) in (-1, rank - 1)
    beta = getattr(draft.graph.operators[before.source].options, "beta", 1.0)
    if not last or draft.reads[step.inputs[0]] != 1 or beta < 0:
        return
    draft.steps[n] = step.replace(inputs=(before.inputs[0], *step.inputs[1:]))
    draft.drop(at, f"does not change {step.name} {step.source}")
    draft.reads[before.inputs[0]] += 1
