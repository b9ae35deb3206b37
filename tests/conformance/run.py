"""The comparison itself: random calls of an operator, our kernels against an official runtime."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from kernels import ops
from kernels.call import Call
from kernels.errors import KernelError
from kernels.profile import Profile
from qcore.errors import RuntimeFailed
from qcore.peers.child import Child, Items
from tests.conformance import models
from tests.conformance.cases import make


@dataclass
class Row:
    """What one (operator, form, path, runtime) showed.

    compared, differing: output elements.  ties: models with tie-making scales.  refused: models
    that the runtime would not run, with its first message.  taken: models that XNNPACK took;
    mistaken: seeds where `delegated` said otherwise.  seeds: the first that differ.
    ours: messages where the runtime answered and we did not.
    """

    operator: str
    form: str
    profile: Profile
    models: int = 0
    ties: int = 0
    compared: int = 0
    differing: int = 0
    largest: float = 0.0
    refused: int = 0
    refusal: str = ""
    taken: int = 0
    mistaken: list[int] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    ours: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Everything compared, nothing differs. A row in which all was refused is ok if our
        kernels did not have to answer either."""
        return not (self.differing or self.ours or self.mistaken) and (
            self.compared > 0 or self.refused == self.models > 0
        )


def follow(call: Call, times: int, mode: str) -> tuple[np.ndarray, ...]:
    """Our outputs and states after invoking the call `times` times."""
    kept = models.states(call)
    found: tuple[np.ndarray, ...] = ()
    for _ in range(times):
        found = ops.compute(call, mode)
        inputs = list(call.inputs)
        for position, value in zip(kept, found[len(call.outputs) :], strict=True):
            inputs[position] = replace(call[position], data=value)
        call = call.on(inputs=tuple(inputs))
    return found


def same(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Elementwise: the same value; floats bit for bit but for the sign of zero, NaN equals NaN."""
    if a.dtype.kind == "f":
        return (a == b) | (np.isnan(a) & np.isnan(b))
    return a == b


def answers(
    calls: Sequence[tuple[int, Call]], profile: Profile, times: int
) -> Iterator[tuple[int, Call, object]]:
    """Each call with the runtime's answer; a crash is an answer (its message) as well."""
    waiting = list(calls)
    while waiting:
        done = 0
        with Child("tests.conformance.worker:answer", what=str(profile), time_limit=300) as child:
            items = ((models.to_bytes(c), models.arrays(c), times) for _, c in waiting)
            try:
                for answer in child.stream(
                    profile.runtime, profile.path, Items(), items=items, ahead=1
                ):
                    yield (*waiting[done], answer)
                    done += 1
            except RuntimeFailed as error:
                yield (*waiting[done], str(error))
                done += 1
        waiting = waiting[done:]


def row(
    operator: str,
    form: str,
    profile: Profile,
    seeds: Sequence[int],
    size: int,
    modes: Sequence[str] = ("reference", "fast"),
) -> Row:
    """Compare the calls of these seeds. Stateful operators are invoked twice."""
    found = Row(operator, form, profile)
    calls = [(seed, make(operator, form, seed, size).on(profile=profile)) for seed in seeds]
    times = 2 if calls and models.states(calls[0][1]) else 1
    from tests.conformance.draw import Draw

    for seed, call, answer in answers(calls, profile, times):
        found.models += 1
        found.ties += Draw(seed).ties
        if isinstance(answer, str):
            found.refused += 1
            found.refusal = found.refusal or answer
            continue
        theirs, taken = answer
        found.taken += taken
        if profile.is_xnnpack and taken != ops.resolve(call).profile.is_xnnpack:
            found.mistaken.append(seed)
        for mode in modes:
            try:
                ours = follow(call, times, mode)
            except KernelError as error:
                found.ours.append(f"seed {seed}: {error}")
                break
            if not _compare(found, ours, theirs) and seed not in found.seeds:
                found.seeds.append(seed)
    return found


def _compare(found: Row, ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> bool:
    good = True
    for a, b in zip(ours, theirs, strict=True):
        if a.shape != b.shape or a.dtype != b.dtype:
            found.ours.append(f"{a.dtype} {a.shape} where the runtime has {b.dtype} {b.shape}")
            return False
        equal = same(a, b)
        found.compared += a.size
        wrong = int(a.size - np.count_nonzero(equal))
        if wrong:
            good = False
            found.differing += wrong
            off = np.abs(a.astype(np.float64) - b.astype(np.float64))[~equal]
            found.largest = max(found.largest, float(np.nanmax(off)))
    return good
