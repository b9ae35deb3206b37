"""What holds for every input of a quantized model, not only for samples of it.

    certificate = qcore.certify("int8.tflite")
    print(certificate.verdict)

Boxes (`boxes`) go through the graph (`walk`): sums of products exactly from the weights (`linear`,
`recurrent`), everything else by the operators' own kernels (`rules`), the output stages on the ends
of the sums (`stages`), and beside them how far the integers can be from the float model (`error`,
`floats`). docs/certify.md says what each figure means, docs/math.md E85 to E95 why it holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kernels import affine
from kernels.profile import Profile
from qcore.certify import floats
from qcore.certify.boxes import Box, whole
from qcore.certify.error import Errors
from qcore.certify.values import (
    Accumulator,
    Certificate,
    Error,
    OperatorCertificate,
    Saturation,
    Witness,
)
from qcore.certify.walk import Walk
from qcore.errors import BadInput
from qcore.execute import Executor

__all__ = [
    "Accumulator", "Certificate", "Error", "OperatorCertificate", "Saturation", "Witness",
    "certify",
]  # fmt: skip

Range = tuple[float, float]


def certify(
    model: Any,
    *,
    inputs: Range | Mapping[str, Range] | None = None,
    float_model: Any = None,
    profile: str | Profile = "xnnpack",
    runtime: str | None = None,
    signature: str | None = None,
    errors: bool = True,
) -> Certificate:
    """Bounds that hold for every input of a quantized model, and where there are none.

    model: path, bytes, Model or quantized model.  inputs: (lo, hi) for all inputs or by name,
    integers for codes, floats for real units (what lies between them becomes codes, rounded half
    away); by default all that the types hold.  float_model: the model that was quantized; the
    error is then measured from it, else from what the file's own integers mean in real numbers.
    errors: whether to bound the error at all.
    profile, runtime, signature: as for `qcore.run`.
    Raises BadInput, and CannotRun for files whose operators are not in order.
    """
    walk, given, against = started(model, inputs, float_model, profile, runtime, signature, errors)
    entry = walk.executor.binder.entries[walk.executor.binder.default]
    walk.subgraph(entry.subgraph, given)
    shown = {
        i.name: (given[i.tensor].lo.min().item(), given[i.tensor].hi.max().item())
        for i in entry.inputs
        if i.tensor in given and given[i.tensor].lo.size
    }
    order = sorted(walk.found, key=lambda o: (o.subgraph != entry.subgraph, o.subgraph, o.number))
    return Certificate(str(walk.executor.profile), shown, tuple(order), against)


def started(
    model: Any,
    inputs: Range | Mapping[str, Range] | None = None,
    float_model: Any = None,
    profile: str | Profile = "xnnpack",
    runtime: str | None = None,
    signature: str | None = None,
    errors: bool = True,
) -> tuple[Walk, dict[int, Box], str]:
    """A walk that has not begun, the boxes of its inputs, and what errors are measured from."""
    executor = Executor(model, profile, "reference", runtime=runtime, signature=signature)
    entry = executor.binder.entries[executor.binder.default]
    block = executor.blocks[entry.subgraph]
    found: Errors | None = None
    against = ""
    if errors:
        known = None
        against = "the integers' own meaning"
        if float_model is not None:
            known = floats.constants(executor, float_model, entry.subgraph)
            against = "the float model"
        found = Errors(known)
    names = [i.name for i in entry.inputs]
    if isinstance(inputs, Mapping) and set(inputs) - set(names):
        unknown = next(n for n in inputs if n not in names)
        raise BadInput(
            f"{unknown!r} is no input of the model; it has {', '.join(map(repr, names))}"
        )
    given = {}
    for i in entry.inputs:
        t = block.tensors[i.tensor]
        asked = inputs.get(i.name) if isinstance(inputs, Mapping) else inputs
        box = whole(t, t.shape) if asked is None else _box(i.name, t, asked)
        if box is not None:
            given[i.tensor] = box
        if found is not None:
            found.given(i.tensor, t)
    return Walk(executor, found), given, against


def _box(name: str, t: Any, asked: Range) -> Box:
    """The box of an input. Raises BadInput for a range that is none, or not of this input."""
    full = whole(t, t.shape)
    lo, hi = asked
    if full is None or not lo <= hi:
        raise BadInput(f"input {name!r}: [{lo}, {hi}] is no range of {t.dtype}; give lo <= hi")
    ends = [np.asarray(v) for v in asked]
    if t.quantized and any(v.dtype.kind == "f" for v in ends):
        made = [affine.quantize(v.astype(np.float32), t.s, t.z, t.range) for v in ends]
    else:
        if full.lo.dtype.kind in "iu" and any(float(v) != int(v) for v in ends):
            raise BadInput(f"input {name!r} holds {t.dtype}; give integers")
        if full.lo.size and not full.lo.min() <= lo <= hi <= full.hi.max():
            raise BadInput(
                f"input {name!r}: [{lo}, {hi}] are not codes of {t.dtype}; write real units with a "
                "decimal point"
            )
        made = ends
    return Box(*(np.full(t.shape, v).astype(t.held) for v in made))
