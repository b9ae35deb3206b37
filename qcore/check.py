"""Which operators of a model a device takes, which stay on the CPU, and why: `qcore.check`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from kernels.errors import KernelError
from qcore.targets import find
from qcore.targets.rule import Placement, Target
from qcore.targets.site import Site, macs, sites


@dataclass(frozen=True)
class Reason:
    """Why an operator is not taken. rule: what would have to hold.  found: what was found instead.
    mend: what to do about it, "" where nothing is known.  source: where the rule is written."""

    rule: str
    found: str
    mend: str = ""
    source: str = ""

    def __str__(self) -> str:
        return f"not so that {self.rule}: {self.found}" + (f"; {self.mend}" if self.mend else "")


@dataclass(frozen=True)
class OperatorFit:
    """One operator on one target.

    number: position in its subgraph.  output: name of its first output.  macs: products that it
    sums, for one invocation with the shapes that the file declares.
    taken: no rule is broken.  runs: on the target; False for what is taken but stands where the
    target does not go (behind the first that is not, outside of the largest partition).
    """

    subgraph: int
    number: int
    name: str
    output: str
    macs: int
    reasons: tuple[Reason, ...]
    runs: bool

    @property
    def taken(self) -> bool:
        return not self.reasons

    @property
    def where(self) -> str:
        return f"{self.name} {self.number}" + (f" ({self.output})" if self.output else "")


@dataclass(frozen=True)
class TargetFit:
    """A model on one target. rest: where operators run that do not run on it.  beneath: the runtime
    that does not load the model, which keeps all of it from running, else ""; missing: how many
    operators that runtime has no kernel for."""

    target: str
    title: str
    rest: str
    placement: str
    operators: tuple[OperatorFit, ...]
    beneath: str = ""
    missing: int = 0

    @property
    def running(self) -> int:
        """How many operators run on the target."""
        return sum(o.runs for o in self.operators)

    @property
    def share(self) -> float | None:
        """Share of the model's products that are summed on the target; None if it sums none."""
        whole = sum(o.macs for o in self.operators)
        return sum(o.macs for o in self.operators if o.runs) / whole if whole else None

    @property
    def whole(self) -> bool:
        """Every operator runs on the target."""
        return self.running == len(self.operators)

    @property
    def runs(self) -> bool:
        """The model runs, and something of it on the target."""
        return self.running > 0

    @property
    def verdict(self) -> str:
        """What becomes of the model, in a few words."""
        count = len(self.operators)
        if self.beneath:
            return f"does not load: {self.beneath} has no kernel for {self.missing} of {count}"
        if self.whole:
            return f"all {count} operators" if count != 1 else "the operator"
        left = [o for o in self.operators if not o.runs]
        if self.placement == Placement.ALL.value:
            return f"does not load: no kernel for {sum(not o.taken for o in left)} of {count}"
        if not self.running:
            return f"nothing: all {count} operators on the {self.rest}"
        return f"{self.running} of {count} operators; {len(left)} on the {self.rest}"


@dataclass(frozen=True)
class Check:
    """A model on several targets; `print(check)` shows it."""

    targets: tuple[TargetFit, ...]

    @property
    def runs(self) -> bool:
        """Every target runs the model or a part of it."""
        return all(t.runs for t in self.targets)

    @property
    def whole(self) -> bool:
        """Every target runs all of it."""
        return all(t.whole for t in self.targets)

    def __getitem__(self, key: str) -> TargetFit:
        """The result for the target with this key. Raises KeyError."""
        for t in self.targets:
            if t.target == key:
                return t
        raise KeyError(key)

    def table(self) -> str:
        """A line for each target, and one for each operator that does not run on it."""
        lines = []
        for t in self.targets:
            share = "" if t.share is None else f", {100 * t.share:.1f} % of the products"
            lines.append(f"{t.target}: {t.verdict}{share}")
            for o in t.operators:
                lines += [f"  {o.where}: {reason}" for reason in o.reasons]
        return "\n".join(lines)

    __str__ = table

    def to_json(self) -> dict[str, Any]:
        """Plain values, for --json."""
        return {
            "runs": self.runs,
            "whole": self.whole,
            "targets": [
                {
                    **asdict(t), "running": t.running, "share": t.share, "runs": t.runs,
                    "whole": t.whole, "verdict": t.verdict,
                }
                for t in self.targets
            ],
        }  # fmt: skip


def check(model: Any, targets: str | Iterable[str] | None = None) -> Check:
    """What each target takes of a model, by the tables of `qcore.targets`; runs nothing.

    model: path, bytes, Model or quantized model, float or not.  targets: keys ("edgetpu"), all if
    not named; `qcore.targets.names()` lists them.  Raises BadInput for a name that is none.
    """
    from qcore.load import load
    from qcore.targets import names

    wanted = names() if targets is None else (targets,) if isinstance(targets, str) else targets
    found = [find(key) for key in dict.fromkeys(wanted)]
    looked_at = sites(load(model))
    counts = [macs(site) for site in looked_at]
    return Check(tuple(_fit(target, looked_at, counts) for target in found))


def _fit(target: Target, looked_at: Sequence[Site], counts: Sequence[int]) -> TargetFit:
    reasons = [why(target, site) for site in looked_at]
    runs = placed(target.placement, looked_at, [not r for r in reasons])
    under = find(target.beneath) if target.beneath else None
    missing = sum(bool(why(under, site)) for site in looked_at) if under else 0
    if missing:
        runs = [False] * len(runs)
    fits = tuple(
        OperatorFit(
            s.subgraph,
            s.number,
            s.name,
            s.outputs[0].name if s.outputs else "",
            count,
            broken,
            here,
        )
        for s, count, broken, here in zip(looked_at, counts, reasons, runs, strict=True)
    )
    return TargetFit(
        target.key, target.title, target.rest, target.placement.value, fits,
        target.beneath if missing else "", missing,
    )  # fmt: skip


def why(target: Target, site: Site) -> tuple[Reason, ...]:
    """The rules of the target that an operator breaks."""
    found = []
    for rule in target.rules:
        try:
            value = rule.found(site)
        except (KernelError, IndexError) as error:  # an operand that the rule is about is not there
            value = str(error) or "an operand is missing"
        if value:
            found.append(Reason(rule.name, value, rule.mend, rule.source))
            if rule.final:
                break
    return tuple(found)


def placed(placement: Placement, looked_at: Sequence[Site], taken: Sequence[bool]) -> list[bool]:
    """Which operators run on the target, of those that it takes."""
    if placement is Placement.EACH:
        return list(taken)
    if placement is Placement.ALL:
        return [all(taken)] * len(taken)
    if placement is Placement.FIRST:
        return _before_the_first(looked_at, taken)
    return _largest(looked_at, taken)


def _before_the_first(looked_at: Sequence[Site], taken: Sequence[bool]) -> list[bool]:
    runs, stopped = [], set()
    for site, ok in zip(looked_at, taken, strict=True):
        entry = site.name == "QUANTIZE" and site.input(0).tensor.dtype == "float32"
        if not ok and not entry:
            stopped.add(site.subgraph)
        runs.append(ok and site.subgraph not in stopped)
    return runs


def _largest(looked_at: Sequence[Site], taken: Sequence[bool]) -> list[bool]:
    """The largest part of what is taken that can run as one operator.

    As LiteRT partitions a graph (tflite/graph_info.cc): operators that are ready are put together
    as long as they are of one kind, taken or not, then those of the other kind.
    """
    parts = partitions(looked_at, taken)
    best = max((p for kind, p in parts if kind), key=len, default=[])
    return [i in set(best) for i in range(len(taken))]


def partitions(looked_at: Sequence[Site], taken: Sequence[bool]) -> list[tuple[bool, list[int]]]:
    """(taken or not, positions of the operators) of each part, in the order of execution."""
    found: list[tuple[bool, list[int]]] = []
    waiting = list(range(len(taken)))
    made = {(s.subgraph, o.index): i for i, s in enumerate(looked_at) for o in s.outputs}
    needs = [
        {made[key] for o in s.inputs if o is not None and (key := (s.subgraph, o.index)) in made}
        for s in looked_at
    ]
    done: set[int] = set()
    while waiting:
        kind, part = None, []
        for i in waiting:
            if needs[i] - done or (kind is not None and taken[i] != kind):
                continue
            kind = taken[i]
            part.append(i)
            done.add(i)
        if not part:  # a cycle, which no interpreter runs
            break
        waiting = [i for i in waiting if i not in done]
        found.append((bool(kind), part))
    return found
