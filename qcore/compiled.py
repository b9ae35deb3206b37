"""A subgraph as a program of compiled kernels: planned once, run for one image or for many.

Operators that can be lowered (`lower` in their files) become kernels over one arena; what cannot is
computed by its `fast` function, with the arena's bytes as arrays. The integers are the same.
Resource variables are blocks of the arena too, and keep their values from one run to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from kernels import ops
from kernels.call import Call, Tensor
from kernels.errors import KernelError
from kernels.profile import Profile
from kernels.simd.program import Form, NotLowered, Plan, Program
from qcore.errors import CannotRun
from qcore.execute import NotCompiled

if TYPE_CHECKING:
    from qcore.execute import Block, Node

NO_FORM = Form((), np.dtype(np.void))  # of a tensor that has no bytes


def compile_block(block: Block, profile: Profile, keep: bool = False) -> Program:
    """The program of a subgraph for the shapes that its tensors declare.

    keep: every tensor stays readable after a run.
    Raises NotCompiled; kernels.simd.build.CompilerFailed when the compiler does.
    """
    graph = block.graph
    if block.variables or not all(_planned(n) for n in block.nodes):
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


def _planned(node: Node) -> bool:
    """Whether a program can be planned with the operator: by its operands alone, or since it says
    itself how (what has to do with resources)."""
    spec = ops.find(node.name)
    return spec is not None and (spec.static or hasattr(ops.module(node.name), "lower"))


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
    operands = [None if t < 0 else _operand(plan, block, t) for t in node.inputs]
    outputs = [t for t in node.outputs if t >= 0]
    call = Call(
        node.name, tuple(operands), tuple(block.tensors[t] for t in outputs), node.options,
        profile, node.version, node.intermediates,
    )  # fmt: skip
    computed = [None if t is None or t.constant else n for n, t in zip(node.inputs, operands)]
    module, spec = ops.module(node.name), ops.find(node.name)
    static = spec is not None and spec.static
    # An operator that is not static may have a handle for an output.
    made = [_known(forms[t], t) if static else forms[t] or NO_FORM for t in outputs]
    try:
        if call.form or not static:  # what is not quantized is `real` on every path
            call = ops.resolve(call)
        if module is None or not hasattr(module, "lower"):
            raise NotLowered(f"{node.name} has no compiled form")
        lowering = plan.operator(call, computed, outputs, made)
        module.lower(call, lowering)
        lowering.done()
        for t in outputs:
            if t not in plan.known:
                _known(forms[t], t)
    except KernelError as error:
        if not static:
            raise NotCompiled(str(error)) from error
        inputs = [n for n in computed if n is not None]
        plan.foreign(_function(call, computed, made, block.where(node)), inputs, outputs, made)


def _operand(plan: Plan, block: Block, tensor: int) -> Tensor:
    """The tensor, with its value where that is known before the run."""
    found = block.tensors[tensor]
    if tensor in plan.known:
        return replace(found, data=plan.known[tensor], constant=True)
    if not found.constant and tensor not in plan.tensors:
        raise NotCompiled(f"tensor {tensor} is read before it is computed")
    return found


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
