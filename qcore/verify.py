"""Our kernels against an official interpreter on a whole model, operator by operator.

Each operator is given the interpreter's own input tensors, so that a difference shows where it
arises and nowhere else; and the whole graph is run end to end beside it. Values are compared with
== (the sign of a zero is no difference). Where sums or functions of floats may rightly be computed
in another order or by another approximation, the operator's file states a `bound`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from kernels import ops
from kernels.call import Call
from kernels.errors import KernelError, Undefined
from kernels.profile import PATHS, Profile
from kernels.simd import target
from qcore.errors import BadInput, CannotRun, RuntimeFailed
from qcore.execute import Block, Executor, Node, as_profile


@dataclass(frozen=True)
class Compared:
    """Counts over the elements of some tensors.

    elements: that were compared.  differing: not equal, or beyond the bound.  largest: the largest
    difference of two unequal elements, in steps for integers, in real units for floats.
    bounded: elements that only had to be within a bound.
    """

    elements: int = 0
    differing: int = 0
    largest: float = 0.0
    bounded: int = 0

    def __add__(self, other: Compared) -> Compared:
        return Compared(
            self.elements + other.elements,
            self.differing + other.differing,
            max(self.largest, other.largest),
            self.bounded + other.bounded,
        )


@dataclass(frozen=True)
class OperatorCheck:
    """One operator on one path, fed with the interpreter's tensors, over all samples.

    number: position in subgraph 0 (or the signature's).  rule: what this path computes.
    delegated: XNNPACK computes it, as the interpreter shows; in other subgraphs than the first, of
    which it shows nothing, XNNPACK's integers are meant.
    error: why our kernels gave no answer, "" if they did.
    undefined: why there is no right answer: the runtime's own depends on memory.
    unseen: outputs of which the interpreter shows no values.
    """

    number: int
    name: str
    output: str
    form: str
    rule: str
    delegated: bool
    compared: Compared = Compared()
    error: str = ""
    undefined: str = ""
    unseen: int = 0

    @property
    def ok(self) -> bool:
        return not self.error and self.compared.differing == 0


@dataclass(frozen=True)
class PathCheck:
    """One path. outputs, tensors: end to end, of the model's outputs and of every tensor.

    loose: of `tensors`, those behind a float operator that was only held to a bound.
    failed: why the interpreter could not run this path (its message, an abort included), else "".
    stopped: why our end-to-end run gave no answer where every operator by itself did, else "".
    by_target: of `tensors`, those that a compiled program made and that are not loose, by the kind
    of vector code; with several kinds asked for, the whole is run and compared once for each.
    Behind an operator whose result the runtime leaves undefined, nothing is compared end to end.
    """

    path: str
    runtime: str
    samples: int
    operators: tuple[OperatorCheck, ...]
    outputs: Compared
    tensors: Compared
    loose: Compared = Compared()
    failed: str = ""
    stopped: str = ""
    by_target: Mapping[str, Compared] = field(default_factory=dict)

    @property
    def compared(self) -> Compared:
        return sum((o.compared for o in self.operators), Compared())

    @property
    def mismatches(self) -> tuple[OperatorCheck, ...]:
        return tuple(o for o in self.operators if not o.ok)

    @property
    def ok(self) -> bool:
        """Everything that the interpreter computed was computed alike, operator by operator and
        end to end, and both compared something. What stands behind floats that only had to be
        within a bound may differ end to end, what stands behind an undefined operator need not be
        compared, and a path that the interpreter cannot run is no difference."""
        if self.failed:
            return True
        reached = self.tensors.elements > 0 or any(o.undefined for o in self.operators)
        whole = self.tensors.differing == self.loose.differing and not self.stopped
        return reached and whole and not self.mismatches and self.compared.elements > 0


@dataclass(frozen=True)
class Verification:
    """What `verify` found; `print(check)` shows it."""

    paths: tuple[PathCheck, ...] = field(default=())

    @property
    def compared(self) -> int:
        """Elements compared, of all operators on all paths."""
        return sum(p.compared.elements for p in self.paths)

    @property
    def mismatches(self) -> tuple[tuple[PathCheck, OperatorCheck], ...]:
        """(path, operator) of every operator that differs or that we could not compute."""
        return tuple((p, o) for p in self.paths for o in p.mismatches)

    @property
    def ok(self) -> bool:
        """Nothing differs, and something was compared."""
        return self.compared > 0 and all(p.ok for p in self.paths)

    def table(self) -> str:
        """The result as text, a line for each operator and path that differs, and the sums."""
        lines = []
        for p in self.paths:
            where = f"{p.runtime} {p.path}"
            if p.failed:
                lines.append(f"{where}: not run: {p.failed}")
                continue
            c = p.compared
            lines.append(
                f"{where}: {p.samples} samples, {len(p.operators)} operators, {c.elements:,} "
                f"elements, {c.differing:,} differ; end to end {p.outputs.differing:,} of "
                f"{p.outputs.elements:,} outputs, {p.tensors.differing:,} of "
                f"{p.tensors.elements:,} elements of all tensors"
            )
            lines += [f"  {line(o)}" for o in p.operators if not o.ok or o.undefined]
            lines += [f"  end to end: {p.stopped}"] if p.stopped else []
        return "\n".join(lines)

    __str__ = table

    def _repr_html_(self) -> str:
        from qcore.report import notebook

        return notebook.verification(self)

    def to_json(self) -> dict[str, Any]:
        """Plain values, for --json."""
        return {
            "ok": self.ok,
            "compared": self.compared,
            "paths": [{"ok": p.ok, **asdict(p)} for p in self.paths],
        }


def line(o: OperatorCheck) -> str:
    """One operator in one line."""
    text = f"{o.name} {o.number} ({o.output}): "
    if o.error or o.undefined:
        return text + (o.error or f"undefined: {o.undefined}")
    return (
        f"{text}{o.compared.differing:,} of {o.compared.elements:,} differ, by up to "
        f"{o.compared.largest:g}; rule {o.rule or 'plain'}"
    )


def verify(
    model: Any,
    samples: Iterable[Any],
    paths: Sequence[str] = PATHS,
    runtime: str | Sequence[str] = "litert",
    *,
    mode: str = "fast",
    signature: str | None = None,
    targets: Sequence[str] = (),
    time_limit: float | None = None,
    memory_limit: int | None = None,
) -> Verification:
    """Compare our integers with an official interpreter's on real inputs.

    model: path, bytes, Model or quantized model.  samples: any iterable, read once (kept when there
    are several paths); floats for quantized inputs are rounded to them half away.  paths: which of
    "reference", "optimized", "xnnpack".  runtime: "litert", "tensorflow", or both.
    mode: "fast" or "reference".  targets: kinds of vector code (kernels.simd.target) with each of
    which the end-to-end run is compiled; the machine's best.  The interpreter runs in a child
    process, one thread, all tensors kept; what it cannot run is a result with its message.
    Raises BadInput, BadSample.
    """
    if mode not in ("fast", "reference"):
        raise BadInput(f"mode {mode!r} does not make the integers of a path; use fast or reference")
    runtimes = (runtime,) if isinstance(runtime, str) else tuple(runtime)
    profiles = [as_profile(path, name) for name in runtimes for path in paths]
    if not profiles:
        raise BadInput("paths is empty; name at least one")
    try:
        named = tuple(target.host_or_named(name).name for name in targets)
    except KernelError as error:
        raise BadInput(str(error)) from None
    held = samples if len(profiles) == 1 else list(samples)
    return Verification(
        tuple(
            _path(model, held, p, mode, signature, named, time_limit, memory_limit)
            for p in profiles
        )
    )


def _path(
    model: Any,
    samples: Iterable[Any],
    profile: Profile,
    mode: str,
    signature: str | None,
    targets: Sequence[str],
    time_limit: float | None,
    memory_limit: int | None,
) -> PathCheck:
    from qcore.peers import interpreter

    walk = Walk(model, profile, mode, signature, targets)
    theirs = interpreter.run(
        model, walk.encoded(samples), profile.runtime, profile.path, tensors=True,
        signature=signature, delegated=True, time_limit=time_limit, memory_limit=memory_limit,
    )  # fmt: skip
    failed, count = "", 0
    try:
        for _, tensors, delegated in theirs:
            walk.delegated = walk.delegated if delegated is None else delegated
            walk.sample(tensors)
            count += 1
    except RuntimeFailed as error:
        failed = str(error)
    return walk.result(count, failed)


class Walk:
    """Goes through the graph beside the interpreter, one sample after another."""

    def __init__(
        self, model: Any, profile: Profile, mode: str, signature: str | None,
        targets: Sequence[str] = (),
    ):  # fmt: skip
        self.fed = Executor(model, profile, mode, signature=signature)
        # One for each kind of vector code; the first also goes step by step.
        self.wholes = {
            name: Executor(self.fed.model, profile, mode, signature=signature)
            for name in targets or (target.host().name,)
        }
        self.whole = next(iter(self.wholes.values()))
        self.by_target: dict[str, Compared] = {}
        self.found: dict[tuple[int, int], OperatorCheck] = {}
        self.outputs = self.tensors = self.loose = Compared()
        self.stopped = ""
        self.delegated: frozenset[int] | None = None  # operators of subgraph 0; None: not shown
        self._loose: set[int] = set()  # tensors behind a bound, of the sample at hand
        self._waiting: list[tuple[int, dict[int, np.ndarray]]] = []

    def encoded(self, samples: Iterable[Any]) -> Iterator[Any]:
        """The samples as the interpreter takes them; each is remembered for `sample`."""
        binder = self.fed.binder
        for bound in binder.all(samples):
            entry = binder.entries[bound.entry]
            block = self.fed.blocks[entry.subgraph]
            arrays = tuple(block.encode(i.tensor, a) for i, a in zip(entry.inputs, bound.arrays))
            self._waiting.append(
                (entry.subgraph, {i.tensor: a for i, a in zip(entry.inputs, arrays)})
            )
            yield arrays if entry.name is None else (entry.name, arrays)

    def result(self, samples: int, failed: str = "") -> PathCheck:
        """What was compared. samples: how many.  failed: why there were no more."""
        return PathCheck(
            self.fed.profile.path, self.fed.profile.runtime, samples,
            tuple(self._told(*key) for key in sorted(self.found)), self.outputs, self.tensors,
            self.loose, failed, self.stopped, self.by_target,
        )  # fmt: skip

    def _told(self, subgraph: int, number: int) -> OperatorCheck:
        """The check of an operator, with who computes it as the interpreter shows it."""
        check = self.found[subgraph, number]
        if subgraph or self.delegated is None:
            return check
        return replace(check, delegated=number in self.delegated)

    def sample(self, theirs: Mapping[int, np.ndarray]) -> None:
        """Compare one sample; theirs: every tensor of the subgraph after the invocation."""
        subgraph, given = self._waiting.pop(0)
        block = self.whole.blocks[subgraph]
        hidden = unpacked(block) if self.fed.profile.is_xnnpack else set()
        visible = {t: a for t, a in theirs.items() if t < len(block.tensors) and t not in hidden}
        visible |= given
        shown = frozenset(visible)
        self._loose = set()
        if block.declares(given) and any(self._programs(subgraph)):
            for node in block.nodes:
                self._fed(subgraph, node, visible)
            for name, executor in self.wholes.items():
                self._end_to_end(name, executor, subgraph, given, visible, shown)
        else:
            self._step_by_step(subgraph, given, visible, shown)
        for tensor in block.variables & shown:
            self.fed.set_state(subgraph, tensor, visible[tensor])

    def _programs(self, subgraph: int) -> list[bool]:
        """Whether each target has a program, all of them made."""
        made = []
        for name, executor in self.wholes.items():
            with target.use(name):
                made.append(executor.program(subgraph, keep=True) is not None)
        return made

    def _end_to_end(
        self, name: str, executor: Executor, subgraph: int, given: Mapping[int, np.ndarray],
        visible: Mapping[int, np.ndarray], shown: frozenset[int],
    ) -> None:  # fmt: skip
        """The whole by one target's program, compared tensor by tensor."""
        block = executor.blocks[subgraph]
        try:
            made = executor.invoke(subgraph, given, keep=True)
        except CannotRun as error:
            made = {}
            checks = (self.found[subgraph, node.number] for node in block.nodes)
            if not any(c.error or c.undefined for c in checks):  # else it says why
                self.stopped = str(error)
        if executor.program(subgraph, keep=True) is None:
            name = ""  # the file declares other shapes; Python computed it
        for tensor, array in made.items():
            if tensor in shown and tensor not in given:
                self._add(block, tensor, array, visible[tensor], name)

    def _add(
        self, block: Block, tensor: int, ours: np.ndarray, theirs: np.ndarray, name: str = ""
    ) -> bool:
        """Count one tensor of the end-to-end run, made by a target's program or in Python; whether
        it is equal."""
        compared, _ = compare(ours, theirs)
        self.tensors += compared
        if name and tensor not in self._loose:
            self.by_target[name] = self.by_target.get(name, Compared()) + compared
        if tensor in self._loose:
            self.loose += compared
        if tensor in block.graph.outputs:
            self.outputs += compared
        return not compared.differing

    def _step_by_step(
        self,
        subgraph: int,
        given: Mapping[int, np.ndarray],
        visible: dict[int, np.ndarray],
        shown: frozenset[int],
    ) -> None:
        """Both runs at once: an operator whose inputs are equal is computed only once."""
        block = self.whole.blocks[subgraph]
        ours: dict[int, np.ndarray] = dict(given)
        alike = set(given)  # tensors that are equal to the interpreter's, so far
        for node in block.nodes:
            made = self._fed(subgraph, node, visible)
            equal = all(t in alike or block.tensors[t].constant for t in node.inputs if t >= 0)
            if made is None or not equal:
                made = self._whole(subgraph, node, ours)
            else:
                self.whole.keep_states(subgraph, node, made)
            for tensor, array in zip(node.outputs, made or ()):
                if tensor >= 0:
                    ours[tensor] = array
                    # Nothing tells apart what the interpreter does not show.
                    if tensor not in shown or self._add(block, tensor, array, visible[tensor]):
                        alike.add(tensor)

    def _fed(
        self, subgraph: int, node: Node, theirs: dict[int, np.ndarray]
    ) -> tuple[np.ndarray, ...] | None:
        """The operator on the interpreter's own inputs, compared with its outputs."""
        block = self.fed.blocks[subgraph]
        try:
            call = ops.resolve(self.fed.call(subgraph, node, theirs))
            check = self.found.get((subgraph, node.number)) or describe(block.graph, node, call)
            made = ops.apply(call, self.fed.mode)
        except (KernelError, CannotRun) as error:
            names = block.graph.output_names(node.number)
            old = self.found.get((subgraph, node.number)) or OperatorCheck(
                node.number, node.name, names[0] if names else "", "", "", False
            )
            if isinstance(error, Undefined):
                self.found[subgraph, node.number] = replace(old, undefined=str(error))
            else:
                self.found[subgraph, node.number] = replace(old, error=str(error))
            return None
        self.fed.keep_states(subgraph, node, made)
        tensors = (*node.outputs, *(node.inputs[p] for p in node.states))
        for tensor, array, bound in zip(tensors, made, bounds(call, made), strict=True):
            if tensor < 0:
                continue
            if tensor not in theirs:  # handles never show; what follows is given ours
                theirs[tensor] = array
                check = replace(check, unseen=check.unseen + (array.dtype.kind in "biufc"))
                continue
            compared, shape = compare(array, theirs[tensor], bound)
            check = replace(check, compared=check.compared + compared, error=check.error or shape)
        self.found[subgraph, node.number] = check
        if check.compared.bounded or self._loose.intersection(node.inputs):
            self._loose.update(node.outputs)
        return made

    def _whole(
        self, subgraph: int, node: Node, ours: Mapping[int, np.ndarray]
    ) -> tuple[np.ndarray, ...] | None:
        """The operator on what we computed ourselves; None after an operator that we could not."""
        try:
            made = ops.compute(self.whole.call(subgraph, node, ours), self.whole.mode)
        except (KernelError, CannotRun):
            return None
        self.whole.keep_states(subgraph, node, made)
        return made


def unpacked(block: Block) -> set[int]:
    """Constants that XNNPACK dequantizes where it packs them: it need not compute their tensors,
    and what the interpreter then shows is the memory as it was."""
    nodes = (n for n in block.nodes if n.name == "DEQUANTIZE")
    return {n.outputs[0] for n in nodes if block.tensors[n.inputs[0]].constant}


def describe(graph: Any, node: Node, call: Call) -> OperatorCheck:
    """An operator before anything was compared; `call` is resolved."""
    names = graph.output_names(node.number)
    return OperatorCheck(
        node.number,
        node.name,
        names[0] if names else "",
        call.form,
        rule(call),
        call.profile.is_xnnpack,
    )


def rule(call: Call, form: str = "") -> str:
    """What the path computes, in the words of docs/numerics.md; `call` is resolved.

    form: the row, where it is known; else the first whose types are the call's.
    """
    rows = getattr(ops.module(call.name), "NUMERICS", ())
    wanted = [r for r in rows if r.form == (form or call.form)]
    wanted += [r for r in rows if r.form.split(",")[0] == call.form]
    if not wanted:
        return ""
    row = wanted[0]
    said = {p: getattr(row, p) for p in PATHS}
    text = said[call.profile.path] or row.optimized
    # "as reference": say what that is.
    return str(said.get(text.removeprefix("as "), text) if text.startswith("as ") else text)


def bounds(call: Call, made: Sequence[np.ndarray]) -> tuple[Any, ...]:
    """For each output and state of a call that `ops.compute` made: how far a runtime's values may
    be from it, None where they are equal."""
    found = getattr(ops.module(call.name), "bound", None)
    if found is None or call.form or all(a.dtype.kind != "f" for a in made):
        return (None,) * len(made)
    bound = found(call)
    each = bound if isinstance(bound, tuple) else (bound,) * len(made)
    return tuple(b if a.dtype.kind == "f" else None for a, b in zip(made, each, strict=True))


def compare(ours: np.ndarray, theirs: np.ndarray, bound: Any = None) -> tuple[Compared, str]:
    """Two arrays, elementwise; and a sentence if their shapes or types are not even alike."""
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        return Compared(differing=theirs.size), (
            f"{ours.dtype} {ours.shape} where the interpreter has {theirs.dtype} {theirs.shape}"
        )
    equal = ours == theirs
    if ours.dtype.kind == "f":
        equal |= np.isnan(ours) & np.isnan(theirs)
    if equal.all():
        return Compared(ours.size, bounded=0 if bound is None else ours.size), ""
    kind = np.float64 if ours.dtype.kind == "f" else np.int64
    with np.errstate(invalid="ignore"):
        off = np.abs(ours.astype(kind) - theirs.astype(kind))
    wrong = ~equal if bound is None else ~equal & ~(off <= bound)
    return Compared(
        ours.size,
        int(np.count_nonzero(wrong)),
        float(np.nan_to_num(off[~equal], nan=np.inf).max()),
        0 if bound is None else ours.size,
    ), ""
