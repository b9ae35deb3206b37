"""What a certificate says: frozen values that print as a table and become JSON."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

PROVED, OVERFLOWS, UNKNOWN = "proved", "overflows", "unknown"


@dataclass(frozen=True)
class Accumulator:
    """The integer sum of one operator, bias included and zero points subtracted.

    limit: it has to stay in [-limit, limit).  lo, hi: its smallest and largest value in each output
    channel, over every position and every operator input inside of the bounds.
    attained: both ends are values of such inputs, not only bounds.
    any_order: every partial sum of centred products stays in range too, whatever the order, with
        the bias first or last (E86).
    raw: so does every partial sum of products whose zero point is folded into the bias (E86).
    """

    name: str
    limit: int
    lo: tuple[int, ...]
    hi: tuple[int, ...]
    attained: bool
    any_order: bool
    raw: bool

    @property
    def fits(self) -> bool:
        return all(-self.limit <= lo for lo in self.lo) and all(hi < self.limit for hi in self.hi)

    @property
    def largest(self) -> int:
        """The largest magnitude."""
        return max(map(abs, (*self.lo, *self.hi)), default=0)

    @property
    def spare(self) -> float:
        """Bits between the largest magnitude and the limit; below 0 it leaves the range."""
        return math.log2(self.limit / self.largest) if self.largest else math.inf

    @property
    def worst(self) -> int:
        """The channel with the largest magnitude."""
        each = [max(abs(lo), abs(hi)) for lo, hi in zip(self.lo, self.hi)]
        return each.index(max(each)) if each else 0

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name, "limit": self.limit, "fits": self.fits, "spare bits": self.spare,
            "attained": self.attained, "any order": self.any_order, "raw": self.raw,
            "lo": list(self.lo), "hi": list(self.hi),
        }  # fmt: skip


@dataclass(frozen=True, eq=False)
class Witness:
    """An input with which an accumulator leaves its range.

    inputs: position of the operand -> its values, codes.  index: of the output element.
    value: the exact sum; held: what is left of it in the accumulator, as the kernel had it.
    reaches: "model input" if `sample` makes the operator see exactly `inputs`, else "operator
    input": no input of the model is known that does.
    sample: input name -> array, for `qcore.run`.
    """

    accumulator: str
    channel: int
    index: tuple[int, ...]
    value: int
    held: int
    inputs: dict[int, np.ndarray]
    reaches: str
    sample: dict[str, np.ndarray] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "accumulator": self.accumulator, "channel": self.channel, "index": list(self.index),
            "value": self.value, "held": self.held, "reaches": self.reaches,
            "inputs": {str(k): _listed(v) for k, v in self.inputs.items()},
            "sample": {k: _listed(v) for k, v in self.sample.items()},
        }  # fmt: skip


def _listed(a: np.ndarray) -> dict[str, Any]:
    """Dtype, shape and values; long arrays as the runs of equal values in them."""
    flat = a.ravel()
    starts = np.flatnonzero(np.concatenate([[flat.size > 0], flat[1:] != flat[:-1]]))
    lengths = np.diff(np.append(starts, flat.size))
    runs = [[flat[s].item(), int(n)] for s, n in zip(starts, lengths)]
    return {"dtype": str(a.dtype), "shape": list(a.shape), "value, times": runs}


@dataclass(frozen=True)
class Saturation:
    """How far results can lie outside of the output's type before they are clipped, in its steps.

    Only what the fused activation would let through is counted. below, above: 0 where nothing
    saturates.  channels: output channels in which it can happen, out of `of` (0 of 0: by the
    operator as a whole).  share: in the worst channel, the part of the reachable interval that is
    outside.
    """

    below: float
    above: float
    channels: int
    of: int
    share: float

    @property
    def possible(self) -> bool:
        return self.below > 0 or self.above > 0


@dataclass(frozen=True)
class Error:
    """How far real(integers) can be from the float model's value at the same place, in real units.

    bound: for every input whose float values stay inside of the ranges that the file's integers
    can represent (H in docs/certify.md); inf where there is none.  steps: the same in steps.
    trivial: no more is known than that both lie in the same range.
    unconditional: H is proved up to here, for every input in the box.
    why: why it is trivial, or why not unconditional.
    """

    bound: float
    steps: float
    trivial: bool
    unconditional: bool
    why: str = ""


@dataclass(frozen=True)
class OperatorCertificate:
    """One operator. output: its first output tensor.  rule: how the outputs follow from the inputs.

    lo, hi: smallest and largest code (or float) of the first output.  wraps: why the requantization
    itself is not monotone (a shift that leaves int32), else "".
    status: of its sums, "proved", "overflows", "unknown" (integer sums without a rule here), "" if
    it has none.
    """

    subgraph: int
    number: int
    name: str
    output: str
    rule: str
    lo: float | None
    hi: float | None
    accumulators: tuple[Accumulator, ...] = ()
    saturation: Saturation | None = None
    error: Error | None = None
    witness: Witness | None = None
    wraps: str = ""
    status: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "subgraph": self.subgraph, "operator": self.number, "name": self.name,
            "output": self.output, "rule": self.rule, "lo": self.lo, "hi": self.hi,
            "status": self.status, "wraps": self.wraps,
            "accumulators": [a.to_json() for a in self.accumulators],
            "saturation": None if self.saturation is None else vars(self.saturation),
            "error": None if self.error is None else vars(self.error),
            "witness": None if self.witness is None else self.witness.to_json(),
        }  # fmt: skip


@dataclass(frozen=True)
class Certificate:
    """What `qcore.certify` found; `print(certificate)` shows it.

    profile: whose integers are meant.  inputs: name -> (lo, hi), as the inputs store them.
    against: what the error is measured from, "" where no bound was asked for.
    """

    profile: str
    inputs: dict[str, tuple[float, float]]
    operators: tuple[OperatorCertificate, ...]
    against: str

    @property
    def overflowing(self) -> tuple[OperatorCertificate, ...]:
        return tuple(o for o in self.operators if o.status == OVERFLOWS)

    @property
    def unknown(self) -> tuple[OperatorCertificate, ...]:
        return tuple(o for o in self.operators if o.status == UNKNOWN)

    @property
    def proved(self) -> bool:
        """No accumulator leaves its range, for any input in the box."""
        return not self.overflowing and not self.unknown

    @property
    def accumulators(self) -> tuple[tuple[OperatorCertificate, Accumulator], ...]:
        return tuple((o, a) for o in self.operators for a in o.accumulators)

    @property
    def verdict(self) -> str:
        """In one sentence."""
        count = sum(len(a.lo) for _, a in self.accumulators)
        if self.overflowing:
            o, others = self.overflowing[0], len(self.overflowing) - 1
            more = f", and {others} more" if others else ""
            how = f": {said(o.witness)}" if o.witness else ""
            return f"can overflow: {o.name} {o.number}{more}{how}"
        if self.unknown:
            o = self.unknown[0]
            return (
                f"not proved: {o.name} {o.number} has integer sums for which there is no rule here"
            )
        if not count:
            return "there are no integer sums"
        operator, least = min(self.accumulators, key=lambda pair: pair[1].spare)
        return (
            f"proved: none of {count:,} accumulator channels overflows; "
            f"{least.spare:.1f} bits are left in {operator.name} {operator.number}"
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "profile": self.profile, "inputs": {k: list(v) for k, v in self.inputs.items()},
            "proved": self.proved, "verdict": self.verdict, "error against": self.against,
            "operators": [o.to_json() for o in self.operators],
        }  # fmt: skip

    def __str__(self) -> str:
        lines = [f"certificate for the {self.profile}"]
        lines += [f"input {name!r} in [{lo:g}, {hi:g}]" for name, (lo, hi) in self.inputs.items()]
        for o in self.operators:
            parts = [f"{o.name} {o.number} ({o.output}): {o.rule}"]
            if o.lo is not None and o.hi is not None:
                parts.append(f"in [{o.lo:g}, {o.hi:g}]")
            parts += [f"{a.name} [{min(a.lo)}, {max(a.hi)}]" for a in o.accumulators if a.lo]
            if o.saturation is not None and o.saturation.possible:
                parts.append(f"saturates by up to {_outside(o.saturation)} steps")
            if o.error is not None:
                parts.append(f"error {_bound(o.error)}")
            parts += [f"overflows: {said(o.witness)}"] if o.witness else []
            lines.append("; ".join(parts))
        return "\n".join([*lines, self.verdict])


def said(w: Witness) -> str:
    """A witness in a few words."""
    place = ", ".join(map(str, w.index))
    return (
        f"channel {w.channel}, element [{place}]: sum {w.value:,}, held as {w.held:,} ({w.reaches})"
    )


def _outside(s: Saturation) -> str:
    return f"{max(s.below, s.above):.4g}"


def _bound(e: Error) -> str:
    return f"{e.bound:.4g} ({e.steps:.3g} steps{', trivial' if e.trivial else ''})"
