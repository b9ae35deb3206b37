"""A user's own kernel against ours: `check_operator(my_add, "ADD", form="int8")`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from kernels import ops
from kernels.call import Call, Tensor
from kernels.errors import KernelError
from kernels.profile import Profile
from qcore.execute import as_profile
from qcore.testing import strategies
from qcore.testing.checks.failure import Case, CheckFailed
from qcore.testing.checks.search import SIZES, Found, search
from qcore.testing.conformance import same

Kernel = Callable[[Call], Any]


@dataclass
class OperatorCheck:
    """What `check_operator` went through.

    examples: calls that both computed.  compared: their output elements.  refused: calls that our
    kernel refuses, as the runtime does.  skipped: calls that the user's kernel does not take.
    forms: form -> outputs compared.
    """

    operator: str
    profile: Profile
    examples: int = 0
    compared: int = 0
    refused: int = 0
    skipped: int = 0
    forms: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        return (
            f"{self.operator} as on the {self.profile}: {self.examples:,} examples, "
            f"{self.compared:,} outputs equal, {self.refused} refused, {self.skipped} skipped"
        )


def check_operator(
    fn: Kernel,
    op: str,
    profile: Profile | str = "reference",
    form: str | None = None,
    *,
    examples: int = 200,
    size: int | Sequence[int] = SIZES,
    seed: int | None = 0,
    folder: str | Path | None = None,
) -> OperatorCheck:
    """Compare `fn` with our kernel of the operator on random calls; equal means ==.

    fn: takes a `Call` (kernels/call.py: `call.x(0)` the values of an input, `call[0].s` and `.z`
        its scale and zero point, `call.output`, `call.option("axis")`) and returns the output, or a
        tuple with one for each. Raises NotImplementedError for what it does not compute.
    op, form: of `strategies.operators()` and `forms(op)`; all forms if none is named.
    profile: the execution path whose integers are meant, or its name.
    examples: calls for each form.  size: about how many outputs a call has, at most; several are
        tried from small to large.
    seed: the same calls for the same number; None draws new ones.
    folder: where the case is written that fails; a temporary folder if not given.
    Raises CheckFailed with the smallest case found, and if nothing was compared at all; BadInput
    for an operator, form or profile that is not known.
    """
    at = as_profile(profile)
    strategies.calls(op, form)  # refuses what it does not know
    sizes = (size,) if isinstance(size, int) else size
    done = OperatorCheck(op, at)
    names = strategies.forms(op) if form is None else (form,)
    for failed in look(fn, names, done, examples, sizes, seed, folder):
        raise failed
    if not done.compared:
        raise CheckFailed(
            f"{op} on the {at}: nothing was compared ({done.refused} calls refused, "
            f"{done.skipped} skipped)"
        )
    return done


def look(
    fn: Kernel,
    forms: Iterable[str],
    done: OperatorCheck,
    examples: int,
    sizes: Sequence[int] = SIZES,
    seed: int | None = 0,
    folder: str | Path | None = None,
) -> Iterator[CheckFailed]:
    """A failure for each form that has one; counts go to `done`."""
    op, profile = done.operator, done.profile
    for form in forms:
        before = done.compared
        found = search(
            partial(strategies.calls, op, form),
            lambda call: _compare(fn, call.on(profile=profile), done),
            examples,
            seed,
            sizes,
        )
        done.forms[form] = done.compared - before
        if found is not None:
            case: Case = found.more[0]
            yield case.failed(f"{op} as {form} on the {profile}: {found.sentence}", folder)


def _compare(fn: Kernel, call: Call, done: OperatorCheck) -> None:
    """Count one call. Raises Found where the answers differ."""
    try:
        want = ops.compute(call, "reference")
    except KernelError:
        done.refused += 1
        return
    try:
        made = fn(_copy(call))
    except (NotImplementedError, KernelError):
        done.skipped += 1
        return
    except Exception as error:
        said = f"raised {type(error).__name__}: {error}"
        raise Found(f"it {said}", Case(call, want, said)) from error
    got = tuple(np.asarray(y) for y in (made if isinstance(made, (tuple, list)) else (made,)))
    # States may be left out: many users' kernels return outputs alone.
    want = want[: len(call.outputs)] if len(got) == len(call.outputs) else want
    if why := difference(want, got):
        raise Found(why, Case(call, want, got))
    done.examples += 1
    done.compared += sum(y.size for y in want)


def difference(want: Sequence[np.ndarray], got: Sequence[np.ndarray]) -> str:
    """A sentence about the first place where `got` is not `want`, "" if there is none."""
    if len(want) != len(got):
        return f"{len(got)} outputs, should be {len(want)}"
    for i, (a, b) in enumerate(zip(want, got)):
        name = "output" if len(want) == 1 else f"output {i}"
        if a.shape != b.shape:
            return f"{name} has shape {b.shape}, should be {a.shape}"
        if a.dtype != b.dtype:
            return f"{name} is {b.dtype}, should be {a.dtype}"
        wrong = ~same(a, b)
        if wrong.any():
            first = tuple(int(n) for n in np.argwhere(wrong)[0])
            count = int(np.count_nonzero(wrong))
            return (
                f"{name}{list(first) if first else ''} is {b[first]}, should be {a[first]} "
                f"({count} of {a.size} differ)"
            )
    return ""


def _copy(call: Call) -> Call:
    """With arrays of its own, so that a kernel that writes to its inputs harms nothing."""

    def copied(t: Tensor | None) -> Tensor | None:
        return t if t is None or t.data is None else replace(t, data=t.data.copy())

    return call.on(inputs=tuple(map(copied, call.inputs)))
