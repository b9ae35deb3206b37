"""A subgraph as a program of compiled kernels: planned once, run for one image or for many.

Operators that can be lowered (`lower` in their files) become kernels over one arena; what cannot is
computed by its `fast` function, with the arena's bytes as arrays. The integers are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from kernels import ops
from kernels.call import Call
from kernels.errors import KernelError
from kernels.profile import Profile
from kernels.simd.program import Form, NotLowered, Plan, Program
from qcore.errors import CannotRun
from qcore.execute import NotCompiled

if TYPE_CHECKING:
    from qcore.execute import Block, Node


def compile_block(block: Block, profile: Profile, keep: bool = False) -> Program:
    """The program of a subgraph for the shapes that its tensors declare.

    keep: every tensor stays readable after a run.
    Raises NotCompiled; kernels.simd.build.CompilerFailed when the compiler does.
    """
    graph = block.graph
    if block.variables or not all(_static(n) for n in block.nodes):
        raise NotCompiled("it keeps a state, calls subgraphs or has shapes that depend on data")
    plan = Plan(keep=keep)
    forms = [_form(t) for t in block.tensors]
    for tensor in graph.inputs:
        plan.input(tensor, _known(forms[tensor], tensor))
    for node in block.nodes:
        _add(plan, block, node, profile, forms)
    outputs = [t for t in graph.outputs if t >= 0]
    if any(t not in plan.tensors for t in outputs):
        raise NotCompiled("an output is a constant")
    return plan.finish(graph.inputs, outputs)


def _static(node: Node) -> bool:
    spec = ops.find(node.name)
    return spec is not None and spec.static


def _form(t: Any) -> Form | None:
    """Shape and type of a tensor, None where they are not known before."""
    shape = t.shape
    if t.dtype in ("resource", "string", "variant") or any(d < 0 for d in shape):
        return None
    return Form(tuple(shape), t.held)


def _known(form: Form | None, tensor: int) -> Form:
    if form is None:
        raise NotCompiled(f"the shape of tensor {tensor} is not known before")
    return form


def _add(
    plan: Plan, block: Block, node: Node, profile: Profile, forms: Sequence[Form | None]
) -> None:
    """One operator: its kernels, or a Python function in their place."""
    operands = [None if t < 0 else block.tensors[t] for t in node.inputs]
    outputs = [t for t in node.outputs if t >= 0]
    call = Call(
        node.name, tuple(operands), tuple(block.tensors[t] for t in outputs), node.options,
        profile, node.version, node.intermediates,
    )  # fmt: skip
    computed = [None if t is None or t.constant else n for n, t in zip(node.inputs, operands)]
    made = [_known(forms[t], t) for t in outputs]
    module = ops.module(node.name)
    try:
        call = ops.resolve(call)
        if module is None or not hasattr(module, "lower") or not call.form:
            raise NotLowered(f"{node.name} has no compiled form")
        lowering = plan.operator(call, computed, outputs, made)
        module.lower(call, lowering)
        lowering.done()
    except KernelError:
        inputs = [n for n in computed if n is not None]
        plan.foreign(_function(call, computed, made, block.where(node)), inputs, outputs, made)


def _function(
    call: Call, computed: Sequence[int | None], forms: Sequence[Form], where: str
) -> Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]]:
    """The operator on arrays, in Python."""

    def compute(arrays: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        given = iter(arrays)
        inputs = tuple(
            t if n is None or t is None else replace(t, data=next(given))
            for n, t in zip(computed, call.inputs)
        )
        try:
            made = ops.compute(call.on(inputs=inputs), "fast")[: len(forms)]
        except KernelError as error:
            raise CannotRun(f"{where}: {error}") from error
        for array, form in zip(made, forms):
            if array.shape != form.shape:
                raise NotCompiled(f"{where} makes {array.shape}, declared {form.shape}")
        return made

    return compute
